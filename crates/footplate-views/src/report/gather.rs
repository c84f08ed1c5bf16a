//! Takes a run log in, record by record, and keeps what a page shows of it, in bounded memory: series are thinned, lists
//! have a limit and a count of what they leave out. Eight bytes a step remain, for the exact median.

use std::collections::{BTreeMap, VecDeque};

use footplate_core::record::{
    EpochRecord, LoaderRecord, MachineRecord, MinibatchRecord, ModePurpose, ModeRecord, PowerRecord,
    ProfiledRecord, RunStart, TuneRecord, ValidationRecord,
};
use footplate_core::summary::{Summary, SummaryBuilder};
use footplate_core::{Reading, Record};

use super::thin::Thin;
use super::totals::{Process, Throttling, Totals};

/// Entries of a list that are kept.
const LISTED_MAX: usize = 200;
/// Rails and clocks that are kept apart.
const LABELS_MAX: usize = 24;
/// Stretches of throttling, changes of mode and of the loader that are marked.
const MARKS_MAX: usize = 400;
/// The finest distance of two places in time, in seconds.
const TIME_STEP_S: f64 = 0.02;

/// A list with a limit.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    /// The first ones.
    pub(crate) kept: Vec<T>,
    /// How many there are in all.
    pub(crate) count: u64,
    limit: usize,
}

impl<T> Listed<T> {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), count: 0, limit }
    }

    fn push(&mut self, item: T) {
        self.count += 1;
        if self.kept.len() < self.limit {
            self.kept.push(item);
        }
    }

    /// How many are not shown.
    pub(crate) fn left_out(&self) -> u64 {
        self.count - self.kept.len() as u64
    }
}

/// A quantity over time that may be absent or unreadable at times.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    /// What was measured.
    pub(crate) series: Thin<1>,
    /// How often it was absent.
    pub(crate) absent: u64,
    /// How often it could not be read, and the last reason.
    pub(crate) unreadable: Option<(u64, String)>,
}

impl Default for Gauge {
    fn default() -> Self {
        Self { series: Thin::new(TIME_STEP_S), absent: 0, unreadable: None }
    }
}

impl Gauge {
    fn push<T>(&mut self, t_s: f64, reading: &Reading<T>, value: impl Fn(&T) -> f64) {
        match reading {
            Reading::Value(measured) => self.series.push(t_s, [value(measured)]),
            Reading::Absent => self.absent += 1,
            Reading::Unreadable { reason } => {
                let count = self.unreadable.as_ref().map_or(0, |(count, _)| *count);
                self.unreadable = Some((count + 1, reason.clone()));
                self.series.gap(t_s);
            }
        }
    }

    /// "-" or "x (reason)" for a quantity without a single value.
    pub(crate) fn missing(&self) -> Option<String> {
        match (&self.unreadable, self.series.is_empty()) {
            (_, false) => None,
            (Some((_, reason)), true) => Some(format!("x ({reason})")),
            (None, true) => Some("-".to_owned()),
        }
    }
}

/// A clock: what it was held to and what it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockGauge {
    pub(crate) asked: Gauge,
    pub(crate) got: Gauge,
}

/// A stretch of time in which the machine slowed itself down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) evidence: Vec<String>,
}

/// What a page shows of a run.
#[derive(Clone, Debug)]
pub struct RunView {
    /// What the run is called: its folder, or the name it has in a study.
    pub name: String,
    /// What the log does not tell, such as the name of a preset or of a kind of storage. Stands in place of what the
    /// log has under the same key: `model`, `data`, `storage`, `page cache`, `mode`, `batch size` or `workers`.
    pub labels: BTreeMap<String, String>,
    /// How the last process began.
    pub(crate) start: RunStart,
    /// The figures of the whole log.
    pub(crate) summary: Summary,
    /// Everything else.
    pub(crate) seen: Seen,
}

/// What was seen in a log.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) starts: Listed<RunStart>,
    pub(crate) processes: Vec<Process>,
    pub(crate) totals: Totals,
    /// Since the last mode that was set to train in; the same as `totals` where none was.
    pub(crate) recent: Totals,
    pub(crate) throttling: Throttling,
    pub(crate) loss: Thin<1>,
    pub(crate) rate: Thin<1>,
    pub(crate) val_loss: Thin<1>,
    pub(crate) val_top1: Thin<1>,
    /// Fetch, prep, transfer, compute, other, in milliseconds a step.
    pub(crate) parts: Thin<5>,
    pub(crate) epochs: VecDeque<(EpochRecord, Option<ValidationRecord>)>,
    pub(crate) total_w: Gauge,
    pub(crate) rails: BTreeMap<String, Gauge>,
    pub(crate) temperature: Gauge,
    pub(crate) trip: Gauge,
    pub(crate) clocks: BTreeMap<String, ClockGauge>,
    pub(crate) cores: Gauge,
    /// Resident memory in MiB.
    pub(crate) memory: Gauge,
    pub(crate) stretches: Listed<Stretch>,
    pub(crate) modes: Listed<(f64, ModeRecord)>,
    pub(crate) profiles: Listed<ProfiledRecord>,
    /// The last tune, and how many there were.
    pub(crate) tune: Option<TuneRecord>,
    pub(crate) tunes: u64,
    pub(crate) loaders: Listed<(f64, LoaderRecord)>,
    pub(crate) bad: Listed<(String, String)>,
    pub(crate) warnings: Listed<(String, u64)>,
    pub(crate) damaged: Listed<(usize, String)>,
    /// Whether a simulated board gave power, temperatures, clocks or the tune's figures.
    pub(crate) simulated: bool,
    /// Whether the steps themselves were made by a simulated board.
    pub(crate) simulated_steps: bool,
    /// Bytes that were copied to bring inputs to the device, where it was counted.
    pub(crate) copied_bytes: Option<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            starts: Listed::new(LISTED_MAX),
            processes: Vec::new(),
            totals: Totals::default(),
            recent: Totals::default(),
            throttling: Throttling::default(),
            loss: Thin::new(1.0),
            rate: Thin::new(1.0),
            val_loss: Thin::new(1.0),
            val_top1: Thin::new(1.0),
            parts: Thin::new(TIME_STEP_S),
            epochs: VecDeque::new(),
            total_w: Gauge::default(),
            rails: BTreeMap::new(),
            temperature: Gauge::default(),
            trip: Gauge::default(),
            clocks: BTreeMap::new(),
            cores: Gauge::default(),
            memory: Gauge::default(),
            stretches: Listed::new(MARKS_MAX),
            modes: Listed::new(MARKS_MAX),
            profiles: Listed::new(MARKS_MAX),
            tune: None,
            tunes: 0,
            loaders: Listed::new(MARKS_MAX),
            bad: Listed::new(LISTED_MAX),
            warnings: Listed::new(LISTED_MAX),
            damaged: Listed::new(LISTED_MAX),
            simulated: false,
            simulated_steps: false,
            copied_bytes: None,
        }
    }
}

/// Reads records into a [`RunView`].
#[derive(Debug)]
pub struct Gather {
    name: String,
    seen: Seen,
    sums: SummaryBuilder,
    start: Option<RunStart>,
    /// Where this process's clock began, on the axis of the whole run.
    offset_ns: u64,
    /// The last moment seen.
    last_ns: u64,
    step: u64,
}

impl Gather {
    /// Begins. `name` is what the run is called.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            seen: Seen::default(),
            sums: SummaryBuilder::default(),
            start: None,
            offset_ns: 0,
            last_ns: 0,
            step: 0,
        }
    }

    /// A line of the log that is damaged.
    pub fn damaged(&mut self, line: usize, reason: &str) {
        self.seen.damaged.push((line, reason.to_owned()));
    }

    /// What is to be shown. `None`: the log does not tell how a run began.
    pub fn finish(mut self) -> Option<RunView> {
        if self.seen.recent.steps == 0 {
            self.seen.recent = self.seen.totals;
        }
        Some(RunView {
            name: self.name,
            labels: BTreeMap::new(),
            start: self.start?,
            summary: self.sums.summary()?,
            seen: self.seen,
        })
    }

    /// The moment on the axis of the whole run, in seconds.
    fn at(&mut self, t_ns: u64) -> f64 {
        let t_ns = t_ns.saturating_add(self.offset_ns);
        self.last_ns = self.last_ns.max(t_ns);
        if let Some(process) = self.seen.processes.last_mut() {
            process.wall_ns = self.last_ns.saturating_sub(self.offset_ns);
        }
        t_ns as f64 / 1e9
    }

    /// Takes one record.
    pub fn push(&mut self, record: &Record) {
        self.sums.push(record);
        match record {
            Record::RunStart(start) => self.start(start),
            Record::Minibatch(minibatch) => self.minibatch(minibatch),
            Record::Loader(loader) => {
                let at = self.at(loader.t_ns);
                self.seen.loaders.push((at, loader.clone()));
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
                self.seen.totals.snapshot_ns += checkpoint.snapshot_ns;
                self.seen.recent.snapshot_ns += checkpoint.snapshot_ns;
            }
            Record::BadSample(bad) => self.seen.bad.push((bad.name.clone(), bad.reason.clone())),
            Record::Power(power) => self.power(power),
            Record::Machine(machine) => self.machine(machine),
            Record::Mode(mode) => self.mode(mode),
            Record::Profile(profile) => {
                self.at(profile.t_ns);
                self.seen.simulated |= profile.simulated;
                self.seen.profiles.push(profile.clone());
            }
            Record::Tune(tune) => {
                self.at(tune.t_ns);
                self.seen.simulated |= tune.simulated;
                self.seen.tunes += 1;
                self.seen.tune = Some(tune.clone());
            }
            Record::Warning(warning) => self.warning(&warning.message),
            Record::RunEnd(end) => {
                self.at(end.t_ns);
                if let Some(process) = self.seen.processes.last_mut() {
                    process.end = Some(end.clone());
                }
            }
        }
    }

    fn start(&mut self, start: &RunStart) {
        self.offset_ns = self.last_ns;
        self.start = Some(start.clone());
        let seen = &mut self.seen;
        for series in [&mut seen.loss, &mut seen.rate, &mut seen.val_loss, &mut seen.val_top1] {
            series.forget_from(start.first_step as f64);
        }
        seen.simulated_steps |= start.device.starts_with("simulated ");
        seen.starts.push(start.clone());
        if seen.processes.len() == LISTED_MAX {
            // Two of the oldest become one, so that sums stay right.
            let second = seen.processes.remove(1);
            seen.processes[0].absorb(&second);
        }
        seen.processes.push(Process::default());
    }

    fn minibatch(&mut self, minibatch: &MinibatchRecord) {
        let t_s = self.at(minibatch.t_ns);
        self.step = minibatch.step;
        let seen = &mut self.seen;
        let step = minibatch.step as f64;
        if let Some(loss) = minibatch.loss {
            seen.loss.push(step, [f64::from(loss)]);
        }
        seen.rate.push(step, [minibatch.learning_rate]);
        let ms = |ns: u64| ns as f64 / 1e6;
        let parts = [
            ms(minibatch.fetch_stall_ns()),
            ms(minibatch.prep_stall_ns()),
            ms(minibatch.transfer_ns),
            ms(minibatch.compute_ns),
            ms(minibatch.other_ns()),
        ];
        seen.parts.push(t_s, parts);
        seen.totals.step(minibatch);
        seen.recent.step(minibatch);
        seen.throttling.step(minibatch.step_ns);
        if let Some(bytes) = minibatch.copied_bytes {
            seen.copied_bytes = Some(seen.copied_bytes.unwrap_or(0) + bytes);
        }
    }

    fn epoch(&mut self, epoch: &EpochRecord) {
        let epochs = &mut self.seen.epochs;
        epochs.retain(|(known, _)| known.epoch < epoch.epoch);
        if epochs.len() == LISTED_MAX {
            epochs.pop_front();
        }
        epochs.push_back((epoch.clone(), None));
    }

    fn validation(&mut self, validation: &ValidationRecord) {
        self.at(validation.t_ns);
        let step = (self.step + 1) as f64;
        let seen = &mut self.seen;
        seen.val_loss.push(step, [validation.loss]);
        seen.val_top1.push(step, [validation.top1]);
        seen.totals.validation_ns += validation.duration_ns;
        seen.recent.validation_ns += validation.duration_ns;
        if let Some((epoch, its)) = seen.epochs.back_mut()
            && epoch.epoch == validation.epoch
        {
            *its = Some(validation.clone());
        }
    }

    fn power(&mut self, power: &PowerRecord) {
        let t_s = self.at(power.t_ns);
        let seen = &mut self.seen;
        seen.simulated |= power.simulated;
        seen.total_w.push(t_s, &power.total_w, |w| w.0);
        for (label, reading) in &power.rails {
            if let Some(rail) = labelled(&mut seen.rails, label) {
                rail.push(t_s, reading, |w| w.0);
            }
        }
        seen.temperature.push(t_s, &power.temperature_c, |c| c.0);
        if let (Reading::Value(watts), Some(process)) = (&power.total_w, seen.processes.last_mut()) {
            process.power_j += watts.0 * power.span_ns as f64 / 1e9;
            process.power_ns += power.span_ns;
        }
        seen.throttling.window(power.span_ns, !power.throttled.is_empty());
        if !power.throttled.is_empty() {
            let from_s = t_s - power.span_ns as f64 / 1e9;
            stretch(&mut seen.stretches, from_s, t_s, &power.throttled);
        }
    }

    fn machine(&mut self, machine: &MachineRecord) {
        let t_s = self.at(machine.t_ns);
        let seen = &mut self.seen;
        seen.simulated |= machine.simulated;
        seen.cores.push(t_s, &machine.cpu_cores, |n| f64::from(*n));
        seen.trip.push(t_s, &machine.trip_c, |c| c.0);
        seen.memory.push(t_s, &machine.memory_bytes, |b| b.0 as f64 / f64::from(1 << 20));
        for clock in &machine.clocks {
            if let Some(gauge) = labelled(&mut seen.clocks, &clock.label) {
                gauge.asked.push(t_s, &clock.asked_hz, |hz| hz.0 as f64 / 1e6);
                gauge.got.push(t_s, &clock.got_hz, |hz| hz.0 as f64 / 1e6);
            }
        }
    }

    fn mode(&mut self, mode: &ModeRecord) {
        let t_s = self.at(mode.t_ns);
        self.seen.throttling.modes += 1;
        if mode.purpose == ModePurpose::Train {
            self.seen.recent = Totals::default();
            self.seen.throttling.begin_mode();
        }
        self.seen.modes.push((t_s, mode.clone()));
    }

    fn warning(&mut self, message: &str) {
        let warnings = &mut self.seen.warnings;
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
