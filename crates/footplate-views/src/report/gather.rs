//! Takes a run log in, record by record, and keeps what a page shows of it, in bounded memory. Eight bytes a step remain,
//! for the exact median.

use std::collections::BTreeMap;

use footplate_core::record::{
    EpochRecord, MachineRecord, MinibatchRecord, ModePurpose, ModeRecord, PowerRecord, RunStart,
    ValidationRecord,
};
use footplate_core::runlog::{LineError, VERSION};
use footplate_core::summary::SummaryBuilder;
use footplate_core::{Reading, Record};
use thiserror::Error;

use super::log_data::{LISTED_MAX, Listed, LogData, RunView, Stretch};
use super::totals::{Process, Totals, add};

/// Rails and clocks that are kept apart.
const LABELS_MAX: usize = 24;

/// Why a log gives no page.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRun {
    /// It holds no whole record, as that of a run which has just begun.
    #[error("no whole record")]
    Empty,
    /// All that it holds was written by a newer program.
    #[error("run log version {found}; this program reads up to {VERSION}")]
    Newer {
        /// The log's version.
        found: u32,
    },
    /// It does not tell how the run began.
    #[error("the record of the run's start is missing")]
    NoStart,
}

/// Reads records into a [`RunView`].
#[derive(Debug)]
pub struct Gather {
    name: String,
    log: LogData,
    sums: SummaryBuilder,
    start: Option<RunStart>,
    /// Where this process's clock began, on the axis of the whole run.
    offset_ns: u64,
    /// The last moment seen.
    last_ns: u64,
    step: u64,
    /// Whole records.
    records: u64,
    /// The version of the first line that is newer than this program.
    newer: Option<u32>,
}

impl Gather {
    /// Begins. `name` is what the run is called.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            log: LogData::default(),
            sums: SummaryBuilder::default(),
            start: None,
            offset_ns: 0,
            last_ns: 0,
            step: 0,
            records: 0,
            newer: None,
        }
    }

    /// Takes note of a line that is not a record; `line` counts from 1.
    pub fn damaged(&mut self, line: usize, error: &LineError) {
        if let LineError::Version { found, .. } = error {
            self.newer.get_or_insert(*found);
        }
        self.log.damaged.push((line, error.to_string()));
    }

    /// What is to be shown.
    ///
    /// # Errors
    ///
    /// If the log does not tell how a run began.
    pub fn finish(mut self) -> Result<RunView, NoRun> {
        if self.log.recent.steps == 0 {
            self.log.recent = self.log.totals;
        }
        let (Some(start), Some(summary)) = (self.start, self.sums.summary()) else {
            return Err(match (self.records, self.newer) {
                (0, Some(found)) => NoRun::Newer { found },
                (0, None) => NoRun::Empty,
                _ => NoRun::NoStart,
            });
        };
        Ok(RunView { name: self.name, labels: BTreeMap::new(), start, summary, log: self.log })
    }

    /// The moment on the axis of the whole run, in seconds.
    fn at(&mut self, t_ns: u64) -> f64 {
        let t_ns = t_ns.saturating_add(self.offset_ns);
        self.last_ns = self.last_ns.max(t_ns);
        if let Some(process) = self.log.processes.last_mut() {
            process.wall_ns = self.last_ns.saturating_sub(self.offset_ns);
        }
        t_ns as f64 / 1e9
    }

    /// Takes one record.
    pub fn push(&mut self, record: &Record) {
        self.records += 1;
        self.sums.push(record);
        match record {
            Record::RunStart(start) => self.start(start),
            Record::Minibatch(minibatch) => self.minibatch(minibatch),
            Record::Loader(loader) => {
                let at = self.at(loader.t_ns);
                self.log.loaders.push((at, loader.clone()));
            }
            Record::Kernels(kernels) => {
                self.at(kernels.t_ns);
            }
            Record::Epoch(epoch) => {
                self.at(epoch.t_ns);
                self.epoch(epoch);
            }
            Record::Validation(validation) => self.validation(validation),
            Record::Checkpoint(checkpoint) => {
                self.at(checkpoint.t_ns);
                add(&mut self.log.totals.snapshot_ns, checkpoint.snapshot_ns);
                add(&mut self.log.recent.snapshot_ns, checkpoint.snapshot_ns);
            }
            Record::BadSample(bad) => self.log.bad.push((bad.name.clone(), bad.reason.clone())),
            Record::Power(power) => self.power(power),
            Record::Machine(machine) => self.machine(machine),
            Record::Mode(mode) => self.mode(mode),
            Record::Profile(profile) => {
                self.at(profile.t_ns);
                self.log.simulated |= profile.simulated;
                self.log.profiles.push(profile.clone());
            }
            Record::Tune(tune) => {
                self.at(tune.t_ns);
                self.log.simulated |= tune.simulated;
                self.log.tunes += 1;
                self.log.tune = Some(tune.clone());
            }
            Record::Warning(warning) => self.warning(&warning.message),
            Record::RunEnd(end) => {
                self.at(end.t_ns);
                if let Some(process) = self.log.processes.last_mut() {
                    process.end = Some(end.clone());
                }
            }
        }
    }

    fn start(&mut self, start: &RunStart) {
        self.offset_ns = self.last_ns;
        self.start = Some(start.clone());
        let log = &mut self.log;
        for series in [&mut log.loss, &mut log.rate, &mut log.val_loss, &mut log.val_top1] {
            series.forget_from(start.first_step as f64);
        }
        log.simulated_steps |= start.device.starts_with("simulated ");
        log.starts.push(start.clone());
        if log.processes.len() == LISTED_MAX {
            // Two of the oldest become one, so that sums stay right.
            let second = log.processes.remove(1);
            log.processes[0].absorb(&second);
        }
        log.processes.push(Process::default());
    }

    fn minibatch(&mut self, minibatch: &MinibatchRecord) {
        let t_s = self.at(minibatch.t_ns);
        self.step = minibatch.step;
        let log = &mut self.log;
        let step = minibatch.step as f64;
        if let Some(loss) = minibatch.loss {
            log.loss.push(step, [f64::from(loss)]);
        }
        log.rate.push(step, [minibatch.learning_rate]);
        let ms = |ns: u64| ns as f64 / 1e6;
        let parts = [
            ms(minibatch.fetch_stall_ns()),
            ms(minibatch.prep_stall_ns()),
            ms(minibatch.transfer_ns),
            ms(minibatch.compute_ns),
            ms(minibatch.other_ns()),
        ];
        log.parts.push(t_s, parts);
        log.totals.step(minibatch);
        log.recent.step(minibatch);
        log.throttling.step(minibatch.step_ns);
        if let Some(bytes) = minibatch.copied_bytes {
            log.copied_bytes = Some(log.copied_bytes.unwrap_or(0).saturating_add(bytes));
        }
    }

    fn epoch(&mut self, epoch: &EpochRecord) {
        let epochs = &mut self.log.epochs;
        epochs.retain(|(known, _)| known.epoch < epoch.epoch);
        if epochs.len() == LISTED_MAX {
            epochs.pop_front();
        }
        epochs.push_back((epoch.clone(), None));
    }

    fn validation(&mut self, validation: &ValidationRecord) {
        self.at(validation.t_ns);
        let step = self.step.saturating_add(1) as f64;
        let log = &mut self.log;
        log.val_loss.push(step, [validation.loss]);
        log.val_top1.push(step, [validation.top1]);
        add(&mut log.totals.validation_ns, validation.duration_ns);
        add(&mut log.recent.validation_ns, validation.duration_ns);
        if let Some((epoch, its)) = log.epochs.back_mut()
            && epoch.epoch == validation.epoch
        {
            *its = Some(validation.clone());
        }
    }

    fn power(&mut self, power: &PowerRecord) {
        let t_s = self.at(power.t_ns);
        let log = &mut self.log;
        log.simulated |= power.simulated;
        log.total_w.push(t_s, &power.total_w, |w| w.0);
        for (label, reading) in &power.rails {
            if let Some(rail) = labelled(&mut log.rails, label) {
                rail.push(t_s, reading, |w| w.0);
            }
        }
        log.temperature.push(t_s, &power.temperature_c, |c| c.0);
        if let (Reading::Value(watts), Some(process)) = (&power.total_w, log.processes.last_mut()) {
            process.power_j += watts.0 * power.span_ns as f64 / 1e9;
            add(&mut process.power_ns, power.span_ns);
        }
        log.throttling.window(power.span_ns, !power.throttled.is_empty());
        if !power.throttled.is_empty() {
            let from_s = t_s - power.span_ns as f64 / 1e9;
            stretch(&mut log.stretches, from_s, t_s, &power.throttled);
        }
    }

    fn machine(&mut self, machine: &MachineRecord) {
        let t_s = self.at(machine.t_ns);
        let log = &mut self.log;
        log.simulated |= machine.simulated;
        log.cores.push(t_s, &machine.cpu_cores, |n| f64::from(*n));
        log.trip.push(t_s, &machine.trip_c, |c| c.0);
        log.memory.push(t_s, &machine.memory_bytes, |b| b.0 as f64 / f64::from(1 << 20));
        for clock in &machine.clocks {
            if let Some(gauge) = labelled(&mut log.clocks, &clock.label) {
                gauge.asked.push(t_s, &clock.asked_hz, |hz| hz.0 as f64 / 1e6);
                gauge.got.push(t_s, &clock.got_hz, |hz| hz.0 as f64 / 1e6);
            }
        }
    }

    fn mode(&mut self, mode: &ModeRecord) {
        let t_s = self.at(mode.t_ns);
        self.log.throttling.modes += 1;
        if mode.purpose == ModePurpose::Train {
            self.log.recent = Totals::default();
            self.log.throttling.begin_mode();
        }
        self.log.modes.push((t_s, mode.clone()));
    }

    fn warning(&mut self, message: &str) {
        let warnings = &mut self.log.warnings;
        match warnings.kept.iter_mut().find(|(known, _)| known == message) {
            Some((_, times)) => *times += 1,
            None => warnings.push((message.to_owned(), 1)),
        }
    }
}

/// The entry of a label, unless there are too many of them.
fn labelled<'a, T: Default>(map: &'a mut BTreeMap<String, T>, label: &str) -> Option<&'a mut T> {
    if !map.contains_key(label) {
        if map.len() >= LABELS_MAX {
            return None;
        }
        map.insert(label.to_owned(), T::default());
    }
    map.get_mut(label)
}

/// Adds a stretch, or makes the last one longer where they touch.
fn stretch(stretches: &mut Listed<Stretch>, from_s: f64, to_s: f64, evidence: &[String]) {
    if let Some(last) = stretches.kept.last_mut()
        && from_s - last.to_s < 0.5
    {
        last.to_s = to_s;
        for text in evidence {
            if !last.evidence.contains(text) && last.evidence.len() < LABELS_MAX {
                last.evidence.push(text.clone());
            }
        }
        return;
    }
    stretches.push(Stretch { from_s, to_s, evidence: evidence.to_vec() });
}
