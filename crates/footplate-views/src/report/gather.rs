//! Reads a run log record by record into what a page shows of it. Memory is bounded, except for eight bytes per step for the
//! exact median.

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

/// Most rails, and most clocks, that are kept apart.
const LABELS_MAX: usize = 24;

/// Why no page can be made of a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRun {
    /// There is no whole record yet, as in the log of a run that has just begun.
    #[error("no whole record")]
    Empty,
    /// A newer program wrote it.
    #[error("run log version {found}; this program reads up to {VERSION}")]
    Newer {
        /// The version that the first line states.
        found: u32,
    },
    /// There are records, but not the one of the run's start.
    #[error("the record of the run's start is missing")]
    NoStart,
}

/// Reads records into a [`RunView`].
///
/// ```
/// use footplate_core::runlog;
/// use footplate_views::report::{Gather, NoRun, page};
///
/// # let start = footplate_core::Record::RunStart(footplate_core::record::RunStart {
/// #     started_at: "2026-11-24T10:00:00Z".into(), version: "0.1.0".into(), model: "lenet5".into(),
/// #     device: "cpu".into(), data: "64 images".into(), host: "linux".into(), parameters: 61_000,
/// #     train_items: 64, validation_items: 16, batch_size: 32, epochs: 1, steps_per_epoch: 2, steps_total: 2,
/// #     first_step: 0, planned_memory_bytes: footplate_core::Bytes(1), settings_toml: String::new(),
/// # });
/// # let log = runlog::encode(&start)?;
/// // `log` is the text of a run's records.jsonl; a line that cannot be read is shown as such.
/// let mut gather = Gather::new("runs/example");
/// for (number, line) in (1..).zip(log.lines()) {
///     match runlog::decode(line) {
///         Ok(record) => gather.push(&record),
///         Err(error) => gather.damaged(number, &error),
///     }
/// }
/// let html = page(&gather.finish()?);
/// assert!(html.contains("runs/example: unfinished: 0 of 2 steps (still running, or killed)."));
///
/// assert!(matches!(Gather::new("an empty log").finish(), Err(NoRun::Empty)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Gather {
    name: String,
    log: LogData,
    sums: SummaryBuilder,
    start: Option<RunStart>,
    /// Time of the run when this process began: its own clock begins at 0.
    offset_ns: u64,
    /// Time of the run at the last record.
    last_ns: u64,
    step: u64,
    records: u64,
    /// The version of the first line that is newer than this program.
    newer: Option<u32>,
}

impl Gather {
    /// Begins with an empty log. `name` is what the run is called.
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

    /// The run as far as its log goes.
    ///
    /// # Errors
    ///
    /// If the log does not contain the record of the run's start.
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

    /// Converts a time of this process to seconds of the whole run.
    fn at(&mut self, t_ns: u64) -> f64 {
        let t_ns = t_ns.saturating_add(self.offset_ns);
        self.last_ns = self.last_ns.max(t_ns);
        if let Some(process) = self.log.processes.last_mut() {
            process.wall_ns = self.last_ns.saturating_sub(self.offset_ns);
        }
        t_ns as f64 / 1e9
    }

    /// Adds one record; records come in the order of the log.
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
            // The two oldest are merged, so that sums stay right.
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

/// The entry of a label; `None` if it would be one too many.
fn labelled<'a, T: Default>(map: &'a mut BTreeMap<String, T>, label: &str) -> Option<&'a mut T> {
    if !map.contains_key(label) {
        if map.len() >= LABELS_MAX {
            return None;
        }
        map.insert(label.to_owned(), T::default());
    }
    map.get_mut(label)
}

/// Adds a period, or extends the last one if they touch.
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
