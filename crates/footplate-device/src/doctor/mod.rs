//! What would stop or slow a run on this machine, each with its repair. Pure judgements on what control files say; a
//! figure that only the caller can know (the time of day, the free space of a folder) is given.

mod controls;
mod memory;
mod storage;
mod system;

use serde::Serialize;

use crate::discover::Device;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know: nothing needs to be done.
    Note,
    /// It will cost speed, or may cost the run.
    Warning,
    /// A run will fail, or its figures will be wrong.
    Problem,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `swap`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, as a sentence for the user.
    pub message: String,
    /// What the user can do about it.
    pub repair: Option<String>,
}

impl Finding {
    /// A finding without a repair.
    pub fn new(check: &'static str, level: Level, message: impl Into<String>) -> Self {
        Self { check, level, message: message.into(), repair: None }
    }

    /// The same with what helps.
    pub fn repair(mut self, repair: impl Into<String>) -> Self {
        self.repair = Some(repair.into());
        self
    }
}

/// What control files do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The time of day in seconds since 1970; `None`: not looked at, as for a machine that is not this one.
    pub now_unix_s: Option<i64>,
}

/// Looks at everything that control files say.
pub fn examine(device: &Device, outside: Outside) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(system::container(device));
    findings.push(controls::gpu(device));
    findings.extend(controls::permissions(device));
    findings.extend(controls::sensors(device));
    findings.extend(controls::power_mode(device));
    findings.extend(controls::governor(device));
    findings.extend(controls::cores(device));
    findings.extend(controls::heat(device));
    findings.extend(controls::supply(device));
    findings.extend(memory::memory(&device.root));
    findings.extend(memory::swap(&device.root));
    findings.extend(memory::limits(&device.root));
    findings.extend(outside.now_unix_s.map(system::clock));
    findings
}

pub use storage::StorageVerdict;
pub use system::{folder_space, journal};

#[cfg(test)]
mod tests;
