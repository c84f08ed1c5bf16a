//! The state of a run as its records tell it, in bounded memory.

use core::time::Duration;

use footplate_core::record::{
    CheckpointRecord, EpochRecord, LoaderRecord, MachineRecord, MinibatchRecord, ModeRecord, PowerRecord,
    RunEnd, RunStart, RunStatus, TuneRecord, ValidationRecord,
};
use footplate_core::{Joules, Record, Watts};

use super::notices::Notices;
use super::recent::{Recent, Work};
use super::series::Series;

/// Most points of a curve: more than a wide terminal has columns of dots.
const CURVE: usize = 512;
/// Time of a validation item as a share of a training item's, about: a forward pass without the backward pass. Used for
/// the time left before the first validation.
pub const FORWARD_SHARE: f64 = 0.35;
/// Weight of a new step in the moving mean of the loss.
const SMOOTHING: f64 = 0.05;
/// A run without a record for this long is shown as silent; machine records come every second.
const SILENCE: Duration = Duration::from_secs(10);

/// What the run is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun; the text says what is being prepared.
    Preparing(String),
    /// It has begun, and the first step has not ended.
    WarmingUp,
    /// Training steps are being done.
    Training,
    /// The validation after an epoch is being done.
    Validating,
    /// The run is over, in this way.
    Ended(RunStatus),
}

/// Curves over the run. Their x is the step, except for `power_w` and `items_per_s`, where it is seconds of the run.
#[derive(Clone, Debug)]
pub struct Curves {
    /// Loss of the steps.
    pub train_loss: Series,
    /// Loss of the validations.
    pub validation_loss: Series,
    /// Top-1 accuracy of the validations, 0 to 1.
    pub accuracy: Series,
    /// Samples a second of each step.
    pub items_per_s: Series,
    /// Power of the whole board in watts.
    pub power_w: Series,
}

/// The energy so far, added up from power records. The record of the run's end has the measured energy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EnergySoFar {
    /// Sum of mean power times duration over the power records, in joules.
    pub energy_j: f64,
    /// The time that these records cover, in nanoseconds.
    pub covered_ns: u64,
}

/// All that the live views show of a run. Counts and means are those of the process that wrote the last `run_start`.
///
/// ```
/// use std::time::Duration;
///
/// use footplate_core::Record;
/// use footplate_core::record::WarningRecord;
/// use footplate_views::live::{LiveState, Look, Moment, Phase, draw};
/// use ratatui::{Terminal, backend::TestBackend};
///
/// let mut state = LiveState::default();
/// state.preparing("reading the data set");
/// state.push(&Record::Warning(WarningRecord { message: "one file is damaged".into() }));
/// assert_eq!(*state.phase(), Phase::Preparing("reading the data set".into()));
///
/// // The screen is a function of the state, the moment and what the terminal can show.
/// let mut terminal = Terminal::new(TestBackend::new(60, 16))?;
/// let moment = Moment { since_last: Duration::from_secs(3), keys: "q leave", notice: None };
/// terminal.draw(|frame| draw(frame, &state, &moment, Look::FULL))?;
/// let first_row: String = (0..60).map(|x| terminal.backend().buffer()[(x, 0)].symbol()).collect();
/// assert_eq!(first_row.trim_end(), "footplate: reading the data set (3 s)");
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Clone, Debug)]
pub struct LiveState {
    pub(crate) phase: Phase,
    phase_since_ns: u64,
    pub(crate) last_ns: u64,
    /// Total duration of the processes before this one.
    before_ns: u64,
    pub(crate) resumes: u64,
    pub(crate) start: Option<RunStart>,
    pub(crate) end: Option<RunEnd>,
    pub(crate) step: Option<MinibatchRecord>,
    pub(crate) loss: Option<f64>,
    pub(crate) epoch: Option<EpochRecord>,
    pub(crate) validation: Option<ValidationRecord>,
    pub(crate) best: Option<ValidationRecord>,
    pub(crate) checkpoint: Option<CheckpointRecord>,
    pub(crate) checkpoints: u64,
    pub(crate) loader: Option<LoaderRecord>,
    /// Kernels chosen by measuring so far.
    pub(crate) kernels: u64,
    pub(crate) power: Option<PowerRecord>,
    pub(crate) energy: Option<EnergySoFar>,
    pub(crate) machine: Option<MachineRecord>,
    pub(crate) mode: Option<ModeRecord>,
    pub(crate) tune: Option<TuneRecord>,
    pub(crate) profiles: u64,
    pub(crate) curves: Curves,
    pub(crate) recent: Recent,
    pub(crate) all: Work,
    pub(crate) notices: Notices,
    pub(crate) bad_samples: u64,
    pub(crate) throttled_records: u64,
    pub(crate) damaged_lines: u64,
}

impl Default for LiveState {
    fn default() -> Self {
        let curve = || Series::new(CURVE);
        Self {
            phase: Phase::Preparing("starting".to_owned()),
            phase_since_ns: 0,
            last_ns: 0,
            before_ns: 0,
            resumes: 0,
            start: None,
            end: None,
            step: None,
            loss: None,
            epoch: None,
            validation: None,
            best: None,
            checkpoint: None,
            checkpoints: 0,
            loader: None,
            kernels: 0,
            power: None,
            energy: None,
            machine: None,
            mode: None,
            tune: None,
            profiles: 0,
            curves: Curves {
                train_loss: curve(),
                validation_loss: curve(),
                accuracy: curve(),
                items_per_s: curve(),
                power_w: curve(),
            },
            recent: Recent::default(),
            all: Work::default(),
            notices: Notices::default(),
            bad_samples: 0,
            throttled_records: 0,
            damaged_lines: 0,
        }
    }
}

impl LiveState {
    /// Sets what is being prepared before the run's first record.
    pub fn preparing(&mut self, what: impl Into<String>) {
        if matches!(self.phase, Phase::Preparing(_)) {
            self.phase = Phase::Preparing(what.into());
        }
    }

    /// Sets what is being prepared before the run is resumed.
    pub fn resuming(&mut self, what: impl Into<String>) {
        self.phase = Phase::Preparing(what.into());
        self.phase_since_ns = self.last_ns;
    }

    /// Sets the number of damaged lines in the log.
    pub fn damaged_lines(&mut self, count: u64) {
        self.damaged_lines = count;
    }

    /// Adds one record; records come in the order of the log.
    pub fn push(&mut self, record: &Record) {
        if let Some(t_ns) = time_of(record) {
            self.last_ns = self.last_ns.max(t_ns);
        }
        match record {
            Record::RunStart(start) => self.begin(start),
            Record::Minibatch(step) => self.step(step),
            Record::Loader(loader) => self.loader = Some(loader.clone()),
            Record::Kernels(kernels) => self.kernels = kernels.tuned,
            Record::Epoch(epoch) => self.epoch(epoch),
            Record::Validation(validation) => self.validation(validation),
            Record::Checkpoint(checkpoint) => {
                self.checkpoints += 1;
                self.checkpoint = Some(checkpoint.clone());
            }
            Record::BadSample(bad) => {
                self.bad_samples += 1;
                self.notices.push(format!("left out {}: {}", bad.name, bad.reason));
            }
            Record::Power(power) => self.power(power),
            Record::Machine(machine) => self.machine = Some(machine.clone()),
            Record::Mode(mode) => {
                self.mode = Some(mode.clone());
                for warning in &mode.warnings {
                    self.notices.push(warning.clone());
                }
            }
            Record::Profile(_) => {
                self.profiles += 1;
                self.preparing(format!("measuring power modes: {} done", self.profiles));
            }
            Record::Tune(tune) => {
                self.tune = Some(tune.clone());
                if let Some(message) = &tune.message {
                    self.notices.push(message.clone());
                }
            }
            Record::Warning(warning) => self.notices.push(warning.message.clone()),
            Record::RunEnd(end) => {
                self.end = Some(end.clone());
                self.enter(Phase::Ended(end.status));
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.phase_since_ns = self.last_ns;
        }
    }

    /// A process begins: the first of the run, or one that resumes it. Its clock begins at 0.
    fn begin(&mut self, start: &RunStart) {
        if self.start.is_some() {
            self.resumes += 1;
            self.before_ns = self.before_ns.saturating_add(self.last_ns);
        }
        let x = start.first_step as f64;
        self.curves.train_loss.cut_from(x);
        for curve in [&mut self.curves.validation_loss, &mut self.curves.accuracy] {
            curve.cut_from(x + 0.5);
        }
        self.start = Some(start.clone());
        (self.last_ns, self.phase_since_ns) = (0, 0);
        (self.end, self.step, self.loader, self.energy) = (None, None, None, None);
        (self.checkpoints, self.bad_samples, self.throttled_records, self.kernels) = (0, 0, 0, 0);
        self.recent.clear();
        self.all = Work::default();
        self.phase = Phase::WarmingUp;
    }

    /// Seconds since the run began, without the pauses between its processes.
    fn run_s(&self, t_ns: u64) -> f64 {
        self.before_ns.saturating_add(t_ns) as f64 / 1e9
    }

    fn step(&mut self, step: &MinibatchRecord) {
        let work = Work::of(step);
        self.recent.push(&work);
        self.all.add(&work);
        if let Some(rate) = work.items_per_s() {
            self.curves.items_per_s.push(self.run_s(step.t_ns), rate);
        }
        if let Some(loss) = step.loss {
            let loss = f64::from(loss);
            self.loss = Some(self.loss.map_or(loss, |mean| mean + SMOOTHING * (loss - mean)));
            self.curves.train_loss.push(step.step as f64, loss);
        }
        self.step = Some(step.clone());
        self.enter(Phase::Training);
    }

    fn epoch(&mut self, epoch: &EpochRecord) {
        self.epoch = Some(epoch.clone());
        if self.start.as_ref().is_some_and(|start| start.validation_items > 0) {
            self.enter(Phase::Validating);
        }
    }

    fn validation(&mut self, validation: &ValidationRecord) {
        if let Some(start) = &self.start {
            let end_of_epoch = (u64::from(validation.epoch) + 1).saturating_mul(start.steps_per_epoch);
            let x = end_of_epoch.min(start.steps_total) as f64;
            for (curve, y) in [
                (&mut self.curves.validation_loss, validation.loss),
                (&mut self.curves.accuracy, validation.top1),
            ] {
                curve.cut_from(x);
                curve.push(x, y);
            }
        }
        if validation.best {
            self.best = Some(validation.clone());
        }
        self.validation = Some(validation.clone());
        self.enter(Phase::Training);
    }

    fn power(&mut self, power: &PowerRecord) {
        if let Some(Watts(watts)) = power.total_w.value() {
            self.curves.power_w.push(self.run_s(power.t_ns), *watts);
            let energy = self.energy.get_or_insert_default();
            energy.energy_j += watts * power.span_ns as f64 / 1e9;
            energy.covered_ns = energy.covered_ns.saturating_add(power.span_ns);
        }
        if !power.throttled.is_empty() {
            self.throttled_records += 1;
            let was = self.power.as_ref().is_some_and(|before| before.throttled == power.throttled);
            if !was {
                self.notices.push(format!("throttled: {}", power.throttled.join(", ")));
            }
        }
        self.power = Some(power.clone());
    }

    /// What the run is doing.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The start record of the last process; `None` before it.
    pub fn start(&self) -> Option<&RunStart> {
        self.start.as_ref()
    }

    /// The last epoch's record; `None` before the end of the first.
    pub fn last_epoch(&self) -> Option<&EpochRecord> {
        self.epoch.as_ref()
    }

    /// The last validation's record; `None` before the first.
    pub fn last_validation(&self) -> Option<&ValidationRecord> {
        self.validation.as_ref()
    }

    /// Moving mean of the steps' loss; `None` before the first.
    pub fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// Time and work of the steps of the last ten seconds or so.
    pub fn recent(&self) -> Work {
        self.recent.sum()
    }

    /// Time and work of all steps of this process.
    pub fn all(&self) -> &Work {
        &self.all
    }

    /// The last machine record.
    pub fn machine(&self) -> Option<&MachineRecord> {
        self.machine.as_ref()
    }

    /// Warnings and other messages of the run.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Steps done, over the whole run.
    pub fn steps_done(&self) -> u64 {
        match (&self.end, &self.step, &self.start) {
            (Some(end), ..) => end.steps,
            (None, Some(step), _) => step.step.saturating_add(1),
            (None, None, Some(start)) => start.first_step,
            (None, None, None) => 0,
        }
    }

    /// The limit on the board's power in watts, if tuning set one.
    pub fn budget_w(&self) -> Option<f64> {
        self.tune.as_ref().and_then(|tune| tune.power_max_w)
    }

    /// The measured energy of the run; `None` until it is over, and where it was not measured.
    pub fn energy_j(&self) -> Option<Joules> {
        self.end.as_ref().and_then(|end| end.energy_j.value().copied())
    }

    /// Whether the machine's figures are those of a simulated board.
    pub fn is_simulated(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.simulated)
            || self.power.as_ref().is_some_and(|power| power.simulated)
    }

    /// Time since this process began; `since_last` is the time since its last record was received.
    pub fn elapsed(&self, since_last: Duration) -> Duration {
        let so_far = Duration::from_nanos(self.last_ns);
        if matches!(self.phase, Phase::Ended(_)) { so_far } else { so_far.saturating_add(since_last) }
    }

    /// Time since the present phase began.
    pub fn in_phase(&self, since_last: Duration) -> Duration {
        let so_far = Duration::from_nanos(self.last_ns.saturating_sub(self.phase_since_ns));
        if matches!(self.phase, Phase::Ended(_)) { so_far } else { so_far.saturating_add(since_last) }
    }

    /// Time since the last record, if that is longer than it should be: 10 s, or three steps.
    pub fn silent(&self, since_last: Duration) -> Option<Duration> {
        let step_s = self.recent.sum().step_s().unwrap_or(0.0);
        let patience = SILENCE.max(Duration::try_from_secs_f64(step_s * 3.0).unwrap_or(Duration::MAX));
        let is_at_work = matches!(self.phase, Phase::Training | Phase::Validating | Phase::WarmingUp);
        (is_at_work && since_last > patience).then_some(since_last)
    }

    /// Estimated time left: the steps at the present pace, and the validations at the pace of the last one or, before the
    /// first, of a forward pass ([`FORWARD_SHARE`]).
    pub fn time_left(&self) -> Option<Duration> {
        let start = self.start.as_ref()?;
        let pace = self.recent.sum();
        let step_s = pace.step_s()?;
        if matches!(self.phase, Phase::Ended(_)) {
            return None;
        }
        let steps_left = start.steps_total.saturating_sub(self.steps_done());
        let mut validations = steps_left.div_ceil(start.steps_per_epoch.max(1));
        validations = validations.saturating_add(u64::from(self.phase == Phase::Validating));
        let validation_s = match &self.validation {
            Some(validation) => validation.duration_ns as f64 / 1e9,
            None => start.validation_items as f64 / pace.items_per_s()? * FORWARD_SHARE,
        };
        let left = steps_left as f64 * step_s + validations as f64 * validation_s;
        Duration::try_from_secs_f64(left).ok()
    }
}

/// When a record was made, in nanoseconds of its process's clock; `None` if it does not say.
pub(super) fn time_of(record: &Record) -> Option<u64> {
    match record {
        Record::Minibatch(r) => Some(r.t_ns),
        Record::Loader(r) => Some(r.t_ns),
        Record::Kernels(r) => Some(r.t_ns),
        Record::Epoch(r) => Some(r.t_ns),
        Record::Validation(r) => Some(r.t_ns),
        Record::Checkpoint(r) => Some(r.t_ns),
        Record::Power(r) => Some(r.t_ns),
        Record::Machine(r) => Some(r.t_ns),
        Record::Mode(r) => Some(r.t_ns),
        Record::Profile(r) => Some(r.t_ns),
        Record::Tune(r) => Some(r.t_ns),
        Record::RunEnd(r) => Some(r.t_ns),
        Record::RunStart(_) | Record::BadSample(_) | Record::Warning(_) => None,
    }
}

#[cfg(test)]
mod tests;
