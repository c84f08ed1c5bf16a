//! The memory controller's knob: how its clock is locked and capped, and its table.

use footplate_core::{Hertz, Reading};

use crate::board::{BoardFacts, EmcPaths, Soc};
use crate::error::told;
use crate::parse;
use crate::root::Root;

use super::{Identity, Problem, hertz_of};

/// How the memory controller's clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmcControl {
    /// T210: by `clk/override.emc` in debugfs.
    ClkOverride,
    /// T186 and T194: `bpmp/debug/clk/emc`.
    Bpmp,
    /// T234 and later: the same, with `bwmgr_halt`.
    BpmpHalt,
}

/// The memory controller's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct EmcKnob {
    /// How it is set.
    pub control: EmcControl,
    /// Its clocks in Hz, ascending.
    pub table_hz: Vec<u64>,
    /// Whether the table was read from the machine; else it is the published one.
    pub table_is_read: bool,
    /// Whether the nodes that lock it can be reached; else there is at most the cap.
    pub can_lock: bool,
    /// The cap's node and what means no cap.
    pub cap: Option<(String, &'static str)>,
}

const DEBUG: &str = "/sys/kernel/debug";

impl EmcKnob {
    /// The folder of the lock's nodes.
    pub fn folder(&self) -> &'static str {
        match self.control {
            EmcControl::ClkOverride => "/sys/kernel/debug/clk/override.emc",
            EmcControl::Bpmp | EmcControl::BpmpHalt => "/sys/kernel/debug/bpmp/debug/clk/emc",
        }
    }

    /// The node that gives the present clock.
    pub fn rate_path(&self) -> String {
        match self.control {
            EmcControl::ClkOverride => format!("{}/clk_rate", self.folder()),
            EmcControl::Bpmp | EmcControl::BpmpHalt => format!("{}/rate", self.folder()),
        }
    }

    /// The clock that it runs at now.
    pub fn present(&self, root: &Root) -> Reading<Hertz> {
        hertz_of(root, &self.rate_path(), 1)
    }
}

/// The node that stops the bandwidth manager.
pub const BWMGR_HALT: &str = "/sys/kernel/debug/bpmp/debug/bwmgr/bwmgr_halt";

pub(super) fn find(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    problems: &mut Vec<Problem>,
) -> Option<EmcKnob> {
    if facts.soc == Soc::Other {
        return None;
    }
    // On R28 and R32 the BPMP's tree appears after one read of its mount node.
    let _ = root.text(&format!("{DEBUG}/bpmp/mount"));
    let control = match facts.soc {
        Soc::T210 => EmcControl::ClkOverride,
        Soc::T186 | Soc::T194 => EmcControl::Bpmp,
        Soc::T234 | Soc::T264 | Soc::Other => EmcControl::BpmpHalt,
    };
    let caps =
        [("/sys/kernel/nvpmodel_clk_cap/emc", "-1"), ("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", "0")];
    let cap =
        caps.into_iter().find(|(path, _)| root.exists(path)).map(|(path, none)| (path.to_owned(), none));
    let mut knob = EmcKnob { control, table_hz: Vec::new(), table_is_read: false, can_lock: false, cap };
    let lock = match control {
        EmcControl::ClkOverride => format!("{}/clk_state", knob.folder()),
        _ => format!("{}/mrq_rate_locked", knob.folder()),
    };
    knob.can_lock = match root.tree().exists(&lock) {
        Ok(true) => true,
        Ok(false) if !root.exists(DEBUG) || root.list(DEBUG).is_ok_and(|names| names.is_empty()) => {
            problems
                .push(Problem::new("EMC clock", format!("{DEBUG} is empty: mount -t debugfs none {DEBUG}")));
            false
        }
        Ok(false) => {
            problems.push(Problem::new("EMC clock", format!("there is no {lock}")));
            false
        }
        // Root can: plans hold the lock's writes, which are refused to this user.
        Err(error) => {
            let cause = format!("cannot look into {DEBUG}: {}; root sees it", told(&error));
            problems.push(Problem::new("EMC clock", cause));
            error.kind() == std::io::ErrorKind::PermissionDenied
        }
    };
    if root.exists(&lock) && control == EmcControl::BpmpHalt && !root.exists(BWMGR_HALT) {
        problems.push(Problem::new("EMC clock", format!("there is no {BWMGR_HALT}: the lock may not hold")));
        knob.control = EmcControl::Bpmp;
    }
    if !knob.can_lock && knob.cap.is_none() && !root.exists(&knob.rate_path()) {
        return None;
    }
    fill_table(root, facts, identity, &mut knob, problems);
    Some(knob)
}

fn fill_table(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    knob: &mut EmcKnob,
    problems: &mut Vec<Problem>,
) {
    let tables = root.list(&format!("{DEBUG}/bpmp/debug/emc/tables/regular")).unwrap_or_default();
    let mut table = parse::emc_folders(&tables);
    if table.is_empty() && knob.control == EmcControl::BpmpHalt {
        let dvfs = root.text(&format!("{}/dvfs", knob.folder())).unwrap_or_default();
        table = parse::emc_dvfs(&dvfs);
    }
    knob.table_is_read = !table.is_empty();
    if table.is_empty() {
        let major = identity.l4t.as_ref().map(|l4t| l4t.major);
        let of_release = facts.releases.iter().find(|release| Some(release.l4t) == major);
        let release = of_release.or(facts.releases.first()).filter(|r| r.emc != EmcPaths::None);
        table = release.map(|release| release.emc_hz.to_vec()).unwrap_or_default();
        let cause = "its table cannot be read here: the published one is taken";
        problems.push(Problem::new("EMC clock", cause));
    }
    if let Ok(max) = root.number::<u64>(&limit_path(knob, "max")) {
        table.retain(|hz| *hz <= max);
    }
    if let Ok(min) = root.number::<u64>(&limit_path(knob, "min")) {
        table.retain(|hz| *hz >= min);
    }
    knob.table_hz = table;
}

fn limit_path(knob: &EmcKnob, which: &str) -> String {
    match knob.control {
        EmcControl::ClkOverride => format!("{DEBUG}/tegra_bwmgr/emc_{which}_rate"),
        EmcControl::Bpmp | EmcControl::BpmpHalt => format!("{}/{which}_rate", knob.folder()),
    }
}
