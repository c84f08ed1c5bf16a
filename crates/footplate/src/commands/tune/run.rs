//! A run whose mode is chosen on its own first steps, and looked after while it goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use footplate_core::PowerMode;
use footplate_core::ports::{
    Applied, Clock, ControlError, PowerControl, WindowReading, WorkError, WorkStep, Workload,
};
use footplate_core::power_mode::{ModeSpace, Preset};
use footplate_core::record::{ModePurpose, ModeRecord, Record, TuneRecord, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::steps::{JobFacts, StepError, Steps, StepsEnd};
use footplate_core::{Reading, stats};
use footplate_device::Device;
use footplate_device::meter::Meter;
use footplate_device::sim::SimWorkload;
use footplate_tune::Setting;
use footplate_tune::drift::{Action, Replanner, Verdict, still_known};
use footplate_tune::goal::Goal;
use footplate_tune::plan::SearchOptions;
use footplate_tune::predict::Prediction;
use footplate_tune::profiler::{Ports, ProfileError, ProfileRecord};
use footplate_tune::tuner::{TuneError, TuneOptions, Tuned, Tuner};

use super::arguments::Wish;
use super::keeper::Keeper;
use super::machine::Machine;
use super::rehearsal::Rehearsal;
use super::{JobSize, beginning, failure, goal, log, options, report};
use crate::failure::{Failure, Kind};
use crate::power::RunClock;

/// Measurements of a new plan at most, beside that of the present mode and the verification.
const REPLAN_PROFILES: usize = 3;
/// A look at the running job has at least so many steps,
const LOOK_STEPS: u32 = 6;
/// and takes at least so long.
const LOOK_NS: u64 = 10_000_000_000;
/// On a simulated board a look makes so many real steps at least, for so long.
const SIMULATED_LOOK: (u32, u64) = (20, 1_000_000_000);
/// Steps of the simulated board in a look.
const SIMULATED_STEPS_MAX: u32 = 100_000;
/// Steps longer than this many medians are interruptions.
const OUTLIER: f64 = 4.0;
/// A power over a window of which steps fill less than this is not that of a step.
const FILLED: f64 = 0.9;

/// A job on a simulated board in place of a run's own times.
struct Simulated {
    job: SimWorkload,
    model: String,
    rehearsal: Rehearsal,
}

/// The machine of a run and, where it is simulated, the job on it.
pub(crate) struct Place {
    pub(crate) machine: Machine,
    simulated: Option<Simulated>,
}

impl Place {
    /// What a run log must say of a simulated machine.
    pub(crate) fn label(&self) -> Option<String> {
        let model = &self.simulated.as_ref()?.model;
        Some(format!(
            "training is real, the machine is not: all modes, and times and powers of profiles, are those of the \
             simulated board {} with {model} on photographs of 224 pixels",
            self.machine.name
        ))
    }

    /// Opens what a wish asks for.
    pub(crate) fn open(wish: &Wish, clock: RunClock, job: &JobFacts) -> Result<Self, Failure> {
        let (model, seed) = (job.model.as_str(), job.seed);
        let batch_size = usize::try_from(job.step_items).unwrap_or(usize::MAX);
        match &wish.machine.sim {
            Some(board) => {
                let (mut machine, job) = Machine::on_board(board, seed, model, batch_size)?;
                // It is said with the log's first warning.
                machine.notes.clear();
                let rehearsal = Rehearsal::new(job.board().clone(), &wish.machine.sim_change);
                Ok(Self { machine, simulated: Some(Simulated { job, model: model.to_owned(), rehearsal }) })
            }
            None => {
                Machine::check_here(wish.goal.needs_power())?;
                let machine = Machine::here(&wish.machine, clock)?;
                Ok(Self { machine, simulated: None })
            }
        }
    }

    /// The board that stands in for this machine.
    pub(crate) fn simulated_board(&self) -> Option<Device> {
        self.simulated.as_ref().and_then(|_| self.machine.board().cloned())
    }

    /// A meter that runs already, for whoever needs one too.
    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        self.machine.shared_meter()
    }
}

/// What is done once a mode is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Train to the end in it, then put back what was set.
    Train,
    /// Nothing: the run can be resumed. Stay in the mode, or put back what was set.
    Stop { keep: bool },
}

/// How a run with a wish came out.
pub(crate) struct Ended {
    /// Of the training.
    pub(crate) result: Result<StepsEnd, StepError>,
    /// What went wrong beside it: nothing feasible, no permission.
    pub(crate) failure: Option<Failure>,
    /// What the tune came to, if there was one.
    pub(crate) tuned: Option<Told>,
}

impl Ended {
    /// A run that did not begin.
    pub(crate) fn failed(error: StepError) -> Self {
        Self { result: Err(error), failure: None, tuned: None }
    }
}

/// All that a report needs.
pub(crate) struct Told {
    pub(crate) machine: Machine,
    pub(crate) size: JobSize,
    pub(crate) goal: Goal,
    pub(crate) tuned: Tuned,
    pub(crate) keeper: Keeper,
}

/// A run as a tuner drives it.
enum Lent {
    Real(Box<dyn Steps>),
    /// Each measurement makes real steps, and its times are those of the simulated board.
    Simulated(Box<dyn Steps>, Box<Simulated>),
}

impl Lent {
    fn into_steps(self) -> Box<dyn Steps> {
        match self {
            Self::Real(training) | Self::Simulated(training, _) => training,
        }
    }

    /// Trains on for the length of a look, without waiting for each step's end on the device.
    fn look(&mut self) -> Result<Vec<WorkStep>, WorkError> {
        match self {
            Self::Real(training) => training.train(LOOK_STEPS, LOOK_NS),
            Self::Simulated(training, board) => {
                training.train(SIMULATED_LOOK.0, SIMULATED_LOOK.1)?;
                board.rehearsal.advance(&mut board.job);
                board.job.run(LOOK_STEPS, 3_000_000_000, SIMULATED_STEPS_MAX)
            }
        }
    }
}

impl Workload for Lent {
    fn name(&self) -> &str {
        match self {
            Self::Real(training) | Self::Simulated(training, _) => training.name(),
        }
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        match self {
            Self::Real(training) => training.run(steps_min, time_min_ns, steps_max),
            Self::Simulated(training, board) => {
                training.run(steps_min, 0, steps_min)?;
                board.job.run(steps_min, time_min_ns, steps_max)
            }
        }
    }

    fn steps_left(&self) -> Option<u64> {
        match self {
            Self::Real(training) | Self::Simulated(training, _) => training.steps_left(),
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        match self {
            Self::Real(training) | Self::Simulated(training, _) => training.steps_per_epoch(),
        }
    }

    fn worker_choices(&self) -> &[usize] {
        match self {
            Self::Real(training) => training.worker_choices(),
            Self::Simulated(_, board) => board.job.worker_choices(),
        }
    }

    fn set_workers(&mut self, workers: usize) {
        match self {
            Self::Real(training) => training.set_workers(workers),
            Self::Simulated(_, board) => board.job.set_workers(workers),
        }
    }
}

/// Controls that tell the run log of every mode that is set.
struct Logged<'a> {
    control: &'a mut dyn PowerControl,
    sink: RecordSink,
    clock: RunClock,
}

impl PowerControl for Logged<'_> {
    fn space(&self) -> &ModeSpace {
        self.control.space()
    }

    fn presets(&self) -> &[Preset] {
        self.control.presets()
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        self.control.present()
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        let applied = self.control.apply(mode)?;
        let record = mode_record(&applied, ModePurpose::Profile, self.clock.as_ref());
        self.sink.send(Record::Mode(record));
        Ok(applied)
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        self.control.restore()
    }
}

fn mode_record(applied: &Applied, purpose: ModePurpose, clock: &dyn Clock) -> ModeRecord {
    ModeRecord {
        t_ns: clock.now_ns(),
        purpose,
        asked: applied.asked,
        got: applied.got,
        warnings: applied.warnings.clone(),
    }
}

/// Chooses a mode on the session's first steps (or takes the one that an earlier process chose), and does what comes
/// then. Whatever happens, what was set before is back at the end, unless it was to be kept.
pub(crate) fn run(
    training: Box<dyn Steps>,
    mut place: Place,
    wish: &Wish,
    run: (&JobFacts, RecordSink, RunClock),
    earlier: Option<&TuneRecord>,
    (stop, folder): (&Arc<AtomicBool>, &Path),
    then: Then,
) -> Ended {
    let mut lent = match place.simulated.take() {
        Some(board) => Lent::Simulated(training, Box::new(board)),
        None => Lent::Real(training),
    };
    let begun = Tuning::begin(&mut lent, place.machine, wish, run, (stop, folder));
    let (result, tuned) = match begun {
        Ok(mut tuning) => {
            let done = tuning.run(&mut lent, earlier, then);
            (done, tuning.told())
        }
        Err(failure) => (Err(failure), None),
    };
    Ended { result: lent.into_steps().finish(), failure: result.err(), tuned }
}

/// A tune on a run, and the watch over it.
struct Tuning<'w> {
    machine: Machine,
    wish: &'w Wish,
    size: JobSize,
    goal: Goal,
    keeper: Keeper,
    sink: RecordSink,
    clock: RunClock,
    seed: u64,
    tuned: Option<Tuned>,
}

impl<'w> Tuning<'w> {
    fn begin(
        lent: &mut Lent,
        mut machine: Machine,
        wish: &'w Wish,
        (facts, sink, clock): (&JobFacts, RecordSink, RunClock),
        (stop, folder): (&Arc<AtomicBool>, &Path),
    ) -> Result<Self, Failure> {
        if wish.goal.tune_workers {
            machine.with_workers(lent.worker_choices());
        }
        let (name, seed) = (lent.name().to_owned(), facts.seed);
        let size = JobSize { steps_per_epoch: facts.steps_per_epoch, steps: facts.steps_total };
        let goal = goal(&wish.goal, &size, &machine)?;
        let records = wish.goal.records.as_deref().unwrap_or(folder);
        let keeper = Keeper::open(Some(records), &machine, &name, &report::goal_text(&goal), stop.clone())?
            .logged(sink.clone(), clock.clone());
        Ok(Self { machine, wish, size, goal, keeper, sink, clock, seed, tuned: None })
    }

    fn told(self) -> Option<Told> {
        let Self { machine, size, goal, keeper, tuned, .. } = self;
        tuned.map(|tuned| Told { machine, size, goal, tuned, keeper })
    }

    fn warn(&self, message: String) {
        self.sink.send(Record::Warning(WarningRecord { message }));
    }

    /// The whole: what was set before comes back at its end, in whatever way it ends.
    fn run(&mut self, lent: &mut Lent, earlier: Option<&TuneRecord>, then: Then) -> Result<(), Failure> {
        let done = self.choose_and_go_on(lent, earlier, then);
        if done.is_ok() && then == (Then::Stop { keep: true }) {
            return done;
        }
        let restored = self.restore();
        done.and(restored)
    }

    fn restore(&mut self) -> Result<(), Failure> {
        self.machine.restore()?;
        if let Ok(now) = self.machine.control().present() {
            let applied = Applied { asked: now, got: now, warnings: Vec::new() };
            self.sink.send(Record::Mode(mode_record(&applied, ModePurpose::Restore, self.clock.as_ref())));
        }
        Ok(())
    }

    fn choose_and_go_on(
        &mut self,
        lent: &mut Lent,
        earlier: Option<&TuneRecord>,
        then: Then,
    ) -> Result<(), Failure> {
        let (setting, expected) = match earlier.and_then(log::choice) {
            Some(choice) => choice,
            None => match self.choose(lent)? {
                Some(choice) => choice,
                None => return Ok(()),
            },
        };
        match then {
            Then::Stop { keep: true } => return self.machine.keep(&setting),
            Then::Stop { keep: false } => return Ok(()),
            Then::Train => {}
        }
        self.set(lent, &setting)?;
        self.train(lent, setting, expected)
    }

    /// Tunes: all that is said of it goes to the run log. `None`: the run ended before anything was measured.
    fn choose(&mut self, lent: &mut Lent) -> Result<Option<(Setting, Prediction)>, Failure> {
        let earlier = std::mem::take(&mut self.keeper.earlier);
        let goal_text = report::goal_text(&self.goal);
        let result = self.with_tuner(lent, options(&self.wish.goal, self.seed), self.goal, |mut tuner| {
            for kept in earlier {
                let counts = kept.goal == goal_text && !kept.verifies;
                tuner.resume(kept.profile, counts);
            }
            tuner.run()
        });
        match result {
            Ok(tuned) => self.keep_result(tuned, None).map(Some),
            Err(TuneError::Profile(ProfileError::Work(WorkError::Finished))) => {
                self.warn("the run ended before a mode could be measured".to_owned());
                Ok(None)
            }
            Err(error) => Err(failure(&error, &self.wish.goal)),
        }
    }

    /// Notes a tune's result; gives the choice, or the refusal.
    fn keep_result(
        &mut self,
        tuned: Tuned,
        message: Option<String>,
    ) -> Result<(Setting, Prediction), Failure> {
        let record = log::record(&self.machine, &self.goal, &tuned, message, self.clock.now_ns());
        let choice = log::choice(&record);
        let refusal = log::refusal_text(&tuned);
        self.sink.send(Record::Tune(record));
        self.tuned = Some(tuned);
        choice.ok_or_else(|| {
            let failure = Failure::new(Kind::Infeasible, refusal.unwrap_or_default());
            failure.hint(
                "the steps made so far are kept; another budget needs a new run, or --weights from this one",
            )
        })
    }

    fn with_tuner<R>(
        &mut self,
        lent: &mut Lent,
        options: TuneOptions,
        goal: Goal,
        drive: impl FnOnce(Tuner<'_>) -> R,
    ) -> R {
        let space = self.machine.space.clone();
        let sources = self.keeper.sources(&space);
        let (control, meter, clock) = self.machine.parts();
        let mut control = Logged { control, sink: self.sink.clone(), clock: self.clock.clone() };
        let ports = Ports { control: &mut control, meter, workload: lent, clock };
        let mut tuner = Tuner::new(ports, space, goal, options, &mut self.keeper);
        sources.into_iter().for_each(|source| tuner.learn_from(source));
        drive(tuner)
    }

    /// Sets a mode to train in, and reads it back.
    fn set(&mut self, lent: &mut Lent, setting: &Setting) -> Result<(), Failure> {
        let applied = self.machine.control().apply(&setting.mode).map_err(|error| {
            let failure = Failure::new(Kind::Machine, format!("the chosen mode cannot be set: {error}"));
            if error.permission { failure.hint("sudo") } else { failure }
        })?;
        if let Some(workers) = setting.workers {
            lent.set_workers(usize::try_from(workers).unwrap_or(usize::MAX));
        }
        if applied.got != setting.mode {
            self.warn(format!("asked for {}, got {}", applied.asked, applied.got));
        }
        self.sink.send(Record::Mode(mode_record(&applied, ModePurpose::Train, self.clock.as_ref())));
        Ok(())
    }

    /// Trains to the end, and plans anew when the job is no longer as predicted.
    fn train(&mut self, lent: &mut Lent, mut setting: Setting, expected: Prediction) -> Result<(), Failure> {
        let mut replanner = Replanner::new(expected, self.goal.limits.power_w);
        loop {
            let steps = match lent.look() {
                Ok(steps) => steps,
                // The run is over, or failed in a way that it tells by itself.
                Err(_) => return Ok(()),
            };
            let Some(seen) = self.seen(&steps) else { continue };
            match replanner.look(seen.step_s, seen.power_w, seen.throttled) {
                Action::CarryOn => {}
                Action::Tell(verdict) => self.warn(format!(
                    "{}; {} new plans were made already: the mode stays",
                    verdict.text(),
                    replanner.replans()
                )),
                // Nothing else could be chosen.
                Action::Replan(verdict) if self.machine.space.len() < 2 => {
                    self.warn(format!("{}; there is no other mode to choose", verdict.text()));
                    replanner.replanned(seen.expected());
                }
                Action::Replan(verdict) => {
                    self.warn(format!("{}: planning anew", verdict.text()));
                    let Some((next, expected)) = self.replan(lent, &setting, &verdict, &seen)? else {
                        return Ok(());
                    };
                    setting = next;
                    replanner.replanned(expected);
                }
            }
        }
    }

    /// A new plan from what is known; `None`: the run has ended meanwhile.
    fn replan(
        &mut self,
        lent: &mut Lent,
        present: &Setting,
        verdict: &Verdict,
        seen: &Seen,
    ) -> Result<Option<(Setting, Prediction)>, Failure> {
        let records: Vec<ProfileRecord> =
            self.keeper.records.iter().map(|(record, _)| record.clone()).collect();
        let known = still_known(&records, verdict);
        let mut options = options(&self.wish.goal, self.seed);
        options.search = SearchOptions { profiles: REPLAN_PROFILES, ..options.search };
        let throttled = (*verdict == Verdict::Throttled).then_some(seen.power_w);
        let result = self.with_tuner(lent, options, self.goal, |mut tuner| {
            known.into_iter().for_each(|record| tuner.resume(record, false));
            tuner.replan(present, throttled)
        });
        let tuned = match result {
            Ok(tuned) => tuned,
            Err(TuneError::Interrupted { .. }) => return Ok(None),
            Err(error) if lent.steps_left() == Some(0) => {
                self.warn(format!("the run ended while it was planned anew ({error})"));
                return Ok(None);
            }
            Err(error) => return Err(failure(&error, &self.wish.goal)),
        };
        let message = format!("a new plan: {}", verdict.text());
        match self.keep_result(tuned, Some(message)) {
            Ok((setting, expected)) => {
                self.set(lent, &setting)?;
                Ok(Some((setting, expected)))
            }
            // A run that was feasible goes on as well as it can: the user is told, and decides.
            Err(refusal) => {
                self.warn(format!("{}; the mode stays", refusal.message));
                self.set(lent, present)?;
                Ok(Some((*present, seen.expected())))
            }
        }
    }

    /// What a look saw; `None` without steps.
    fn seen(&mut self, steps: &[WorkStep]) -> Option<Seen> {
        let (first, last) = (steps.first()?, steps.last()?);
        let (from_ns, to_ns) = (first.end_ns.saturating_sub(first.step_ns), last.end_ns);
        let reading = self.machine.meter().window(from_ns, to_ns);
        Some(Seen::of(steps, &reading, to_ns.saturating_sub(from_ns)))
    }
}

/// A window of the running job.
struct Seen {
    step_s: f64,
    /// `None`: there is no sensor, or something else came between the steps.
    power_w: Option<f64>,
    throttled: bool,
}

impl Seen {
    fn of(steps: &[WorkStep], reading: &WindowReading, window_ns: u64) -> Self {
        let seconds: Vec<f64> = steps.iter().map(|step| step.step_ns as f64 / 1e9).collect();
        let median = stats::quantile(&seconds, 0.5).unwrap_or(0.0);
        let kept: Vec<f64> = seconds.iter().copied().filter(|s| *s <= OUTLIER * median).collect();
        let filled = seconds.iter().sum::<f64>() * 1e9 >= FILLED * window_ns as f64;
        let power_w = match &reading.total {
            Reading::Value(total) if filled => Some(total.mean_power_w.0),
            _ => None,
        };
        Self {
            step_s: stats::mean(&kept).unwrap_or(median),
            power_w,
            throttled: !reading.throttled.is_empty(),
        }
    }

    /// What it is from now on, for a job that stays as it is.
    fn expected(&self) -> Prediction {
        use footplate_tune::predict::Estimate;
        let exact = |value| Estimate { value, log_sd: 0.0 };
        Prediction {
            time_s: Some(exact(self.step_s)),
            power_w: self.power_w.map(exact),
            energy_j: self.power_w.map(|power| exact(power * self.step_s)),
        }
    }
}

/// Lines for the beginning of a run with a wish.
pub(crate) fn beginning_lines(place: &Place, wish: &Wish, steps: (u64, u64)) -> Result<Vec<String>, Failure> {
    let size = JobSize { steps_per_epoch: steps.0, steps: steps.1 };
    Ok(beginning(&place.machine, &goal(&wish.goal, &size, &place.machine)?))
}
