//! A run whose mode is chosen on its own first steps, and looked after while it goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use footplate_core::ports::{Applied, Clock, WorkError, WorkStep, Workload};
use footplate_core::record::{ModePurpose, ModeRecord, Record, TuneRecord, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::steps::{JobFacts, StepError, Steps, StepsEnd};
use footplate_device::Device;
use footplate_device::meter::Meter;
use footplate_device::sim::SimWorkload;
use footplate_tune::Setting;
use footplate_tune::drift::Verdict;
use footplate_tune::drive::{Observer, Ports, drive, drive_to_choice};
use footplate_tune::goal::Goal;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{NotKept, Purpose, TuneError, Tuned, Tuner};

use super::arguments::Wish;
use super::keeper::Keeper;
use super::machine::Machine;
use super::rehearsal::Rehearsal;
use super::{JobSize, beginning, failure, goal, log, options, report};
use crate::failure::{Failure, Kind};
use crate::power::RunClock;

/// On a simulated board a look makes so many real steps at least, for so long.
const SIMULATED_LOOK: (u32, u64) = (20, 1_000_000_000);
/// A look at the job of a simulated board: at least so many of its steps, for so long, and at most so many.
const BOARD_LOOK: (u32, u64, u32) = (6, 3_000_000_000, 100_000);

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

    fn train(&mut self, steps_min: u32, time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        match self {
            Self::Real(training) => training.train(steps_min, time_min_ns),
            Self::Simulated(training, board) => {
                training.train(SIMULATED_LOOK.0, SIMULATED_LOOK.1)?;
                board.rehearsal.advance(&mut board.job);
                board.job.run(BOARD_LOOK.0, BOARD_LOOK.1, BOARD_LOOK.2)
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

/// Tells the run log of all that a tuner does.
struct Teller<'a> {
    keeper: &'a mut Keeper,
    about: log::About,
    goal: Goal,
    sink: RecordSink,
    clock: RunClock,
    /// The last result.
    tuned: &'a mut Option<Tuned>,
}

impl Observer for Teller<'_> {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept> {
        self.keeper.profiled(record, purpose)
    }

    fn warn(&mut self, message: &str) {
        self.keeper.warn(message);
    }

    fn chosen(&mut self, tuned: &Tuned, because: Option<&Verdict>) {
        let message = because.map(|verdict| format!("a new plan: {}", verdict.text()));
        let record = log::record(&self.about, &self.goal, tuned, message, self.clock.now_ns());
        self.sink.send(Record::Tune(record));
        *self.tuned = Some(tuned.clone());
    }

    fn mode_set(&mut self, applied: &Applied, purpose: ModePurpose) {
        self.sink.send(Record::Mode(mode_record(applied, purpose, self.clock.as_ref())));
    }

    fn stopped(&self) -> bool {
        self.keeper.stopped()
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
        let space = self.machine.space.clone();
        let sources = self.keeper.sources(&space);
        let mut tuner = Tuner::new(space, self.goal, options(&self.wish.goal, self.seed));
        sources.into_iter().for_each(|source| tuner.learn_from(source));
        let setting = match earlier.and_then(log::choice) {
            Some((setting, expected)) => {
                tuner.resume_choice(setting, expected);
                setting
            }
            None => match self.choose(&mut tuner, lent)? {
                Some(setting) => setting,
                None => return Ok(()),
            },
        };
        match then {
            Then::Stop { keep: true } => self.machine.keep(&setting),
            Then::Stop { keep: false } => Ok(()),
            Then::Train => {
                let result = self.with_ports(lent, |ports, teller| drive(&mut tuner, ports, teller));
                result.map_err(|error| self.failure(&error))
            }
        }
    }

    /// Tunes: all that is said of it goes to the run log. `None`: the run ended before anything was measured.
    fn choose(&mut self, tuner: &mut Tuner, lent: &mut Lent) -> Result<Option<Setting>, Failure> {
        let goal_text = report::goal_text(&self.goal);
        for kept in std::mem::take(&mut self.keeper.earlier) {
            let counts = kept.goal == goal_text && !kept.verifies;
            tuner.resume(kept.profile, counts);
        }
        match self.with_ports(lent, |ports, teller| drive_to_choice(tuner, ports, teller)) {
            Ok(tuned) => {
                let chosen = tuned.chosen().ok_or_else(|| self.failure(&TuneError::Infeasible))?;
                Ok(Some(chosen))
            }
            Err(error) if error.is_end_of_job() => {
                self.warn("the run ended before a mode could be measured".to_owned());
                Ok(None)
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// What a tuner's error is for the user.
    fn failure(&self, error: &TuneError) -> Failure {
        match error {
            TuneError::Infeasible => {
                let refusal = self.tuned.as_ref().and_then(Tuned::refusal_text);
                Failure::new(Kind::Infeasible, refusal.unwrap_or_default()).hint(
                    "the steps made so far are kept; another budget needs a new run, or --weights from this one",
                )
            }
            error => failure(error, &self.wish.goal),
        }
    }

    fn with_ports<R>(
        &mut self,
        lent: &mut Lent,
        drive: impl FnOnce(&mut Ports<'_>, &mut Teller<'_>) -> R,
    ) -> R {
        let about = log::About::of(&self.machine);
        let (control, meter, clock) = self.machine.parts();
        let mut ports = Ports { control, meter, workload: lent, clock };
        let mut teller = Teller {
            keeper: &mut self.keeper,
            about,
            goal: self.goal,
            sink: self.sink.clone(),
            clock: self.clock.clone(),
            tuned: &mut self.tuned,
        };
        drive(&mut ports, &mut teller)
    }
}

/// Lines for the beginning of a run with a wish.
pub(crate) fn beginning_lines(place: &Place, wish: &Wish, steps: (u64, u64)) -> Result<Vec<String>, Failure> {
    let size = JobSize { steps_per_epoch: steps.0, steps: steps.1 };
    Ok(beginning(&place.machine, &goal(&wish.goal, &size, &place.machine)?))
}
