//! Keeps every measurement of a tune at once, and tells of it: on the terminal, or in the run log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footplate_core::record::{ProfilePurpose, ProfiledRecord, Record, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::{Reading, Watts};
use footplate_tune::predict::Source;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::records::{KeptProfile, sources};
use footplate_tune::tuner::{Observer, Purpose};
use footplate_tune::{Knobs, Setting};

use super::machine::Machine;
use super::report;
use crate::failure::Failure;
use crate::output;
use crate::power::RunClock;
use crate::profile_file::ProfileStore;

/// Where measurements go.
pub(crate) struct Keeper {
    store: Option<ProfileStore>,
    machine: String,
    workload: String,
    goal: String,
    /// Records of the same job on the same machine, from earlier.
    pub(crate) earlier: Vec<KeptProfile>,
    /// Records of other jobs and machines.
    others: Vec<KeptProfile>,
    /// All that was measured since.
    pub(crate) records: Vec<(ProfileRecord, Purpose)>,
    stop: Arc<AtomicBool>,
    /// The run log, whose view tells what is recorded; `None`: it is told here.
    log: Option<(RecordSink, RunClock)>,
    quiet: bool,
}

impl Keeper {
    /// Opens the records in `folder`, if one is given.
    pub(crate) fn open(
        folder: Option<&Path>,
        machine: &Machine,
        workload: &str,
        goal: &str,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let (mut earlier, mut others) = (Vec::new(), Vec::new());
        let store = match folder {
            None => None,
            Some(folder) => {
                let (store, kept, damaged) = ProfileStore::open(folder)?;
                damaged.iter().for_each(|line| output::warning(line));
                (earlier, others) = kept.into_iter().partition(|k| k.is_of(&machine.name, workload));
                Some(store)
            }
        };
        Ok(Self {
            store,
            machine: machine.name.clone(),
            workload: workload.to_owned(),
            goal: goal.to_owned(),
            earlier,
            others,
            records: Vec::new(),
            stop,
            log: None,
            quiet: false,
        }
        .told())
    }

    fn told(self) -> Self {
        if !self.earlier.is_empty() {
            let count = self.earlier.len();
            output::note(&format!("{count} earlier profiles of this job on this machine are used"));
        }
        self
    }

    /// What other jobs on this machine, or this job on other machines, may tell.
    pub(crate) fn sources(&self, space: &[Setting]) -> Vec<Source> {
        sources(&self.others, &self.machine, &self.workload, &Knobs::of(space))
    }

    /// Tells warnings only.
    pub(crate) fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// Gives up the run log.
    pub(crate) fn end_log(&mut self) {
        self.log = None;
    }

    /// Tells by the run log.
    pub(crate) fn logged(self, sink: RecordSink, clock: RunClock) -> Self {
        Self { log: Some((sink, clock)), ..self }
    }
}

impl Observer for Keeper {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), String> {
        if let Some(store) = &mut self.store {
            store.append(&KeptProfile {
                machine: self.machine.clone(),
                workload: self.workload.clone(),
                goal: self.goal.clone(),
                verifies: purpose == Purpose::Verify,
                profile: record.clone(),
            })?;
        }
        self.records.push((record.clone(), purpose));
        match &self.log {
            Some((sink, clock)) => sink.send(Record::Profile(logged(record, purpose, clock.now_ns()))),
            None if self.quiet => {}
            None => output::note(&report::progress(self.records.len(), record, purpose)),
        }
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        match &self.log {
            Some((sink, _)) => sink.send(Record::Warning(WarningRecord { message: message.to_owned() })),
            None => output::warning(message),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A measurement as the run log keeps it.
fn logged(record: &ProfileRecord, purpose: Purpose, t_ns: u64) -> ProfiledRecord {
    ProfiledRecord {
        t_ns,
        purpose: match purpose {
            Purpose::Search => ProfilePurpose::Search,
            Purpose::Verify => ProfilePurpose::Verify,
        },
        mode: record.setting.mode,
        got: record.got,
        workers: record.setting.workers.and_then(|n| u32::try_from(n).ok()),
        steps: record.steps,
        step_s: record.step_s,
        step_error_s: record.step_error_s,
        stall_share: record.stall_share,
        power_w: match &record.power {
            Reading::Value(power) => Reading::Value(Watts(power.mean_w)),
            Reading::Absent => Reading::Absent,
            Reading::Unreadable { reason } => Reading::Unreadable { reason: reason.clone() },
        },
        throttled: record.throttled.clone(),
        simulated: record.simulated,
    }
}
