//! Chooses a power mode on a job's own first steps, and looks after it while the job goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use footplate_core::ports::{Applied, Workload};
use footplate_core::record::{ModePurpose, ModeRecord, Record, TuneRecord, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_device::sim::TrueCost;
use footplate_tune::Setting;
use footplate_tune::drift::Verdict;
use footplate_tune::drive::{Observer, Ports, drive, drive_to_choice};
use footplate_tune::goal::Goal;
use footplate_tune::predict::{Estimate, Prediction};
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{NotKept, Outcome, Purpose, TuneError, Tuned, Tuner};

use crate::SharedClock;
use crate::error::RunError;
use crate::listener::Listener;
use crate::mode_request::{GoalRequest, JobSize, ModeRequest};
use crate::profile_recorder::{ProfileRecorder, Subject};
use crate::run_machine::RunMachine;
use crate::tune_record::{self, TunedOn};
use crate::words::{goal_text, knobs_text};

/// What is done once a mode is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTune {
    /// Train to the end in it, then put back what was set.
    Train,
    /// Nothing: the run can be resumed.
    Stop {
        /// Stay in the chosen mode; else what was set before is put back.
        keep: bool,
    },
}

/// What a mode is chosen for.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What is asked of the mode.
    pub request: ModeRequest,
    /// How many steps the job has.
    pub size: JobSize,
    /// Decides the search's random draws.
    pub seed: u64,
    /// What an earlier process of the run chose: it holds, and nothing is searched.
    pub earlier: Option<TuneRecord>,
    /// What is done once a mode is chosen.
    pub after: AfterTune,
}

/// All that a report of a tune needs.
pub struct TuneReport {
    /// The machine, as it was tuned.
    pub machine: RunMachine,
    /// How many steps the job has.
    pub size: JobSize,
    /// What was asked for, for one step.
    pub goal: Goal,
    /// The result of the last search.
    pub tuned: Tuned,
    /// All that was measured, in order.
    pub records: Vec<(ProfileRecord, Purpose)>,
}

impl TuneReport {
    /// By how many per cent the choice exceeds the best that a table truly has under the same limits; `None` without a
    /// table or a choice.
    pub fn regret_pct(&self) -> Option<f64> {
        let Outcome::Chosen { choice, .. } = &self.tuned.outcome else { return None };
        let goal = &self.tuned.outlook.goal;
        let exact = |value: f64| Estimate { value, log_sd: 0.0 };
        let score = |cost: &TrueCost| {
            let prediction = Prediction {
                time_s: Some(exact(cost.time_s)),
                power_w: cost.power_w.map(exact),
                energy_j: cost.power_w.map(|power| exact(power * cost.time_s)),
            };
            let holds = goal.excess(&prediction) <= 1.0;
            goal.objective_of(&prediction).filter(|_| holds).map(|estimate| estimate.value)
        };
        let best = self.machine.machine().true_best(score)?;
        Some(100.0 * (choice.objective.value / best - 1.0))
    }
}

/// The goal of a request on a machine.
pub fn goal_on(request: &GoalRequest, size: &JobSize, machine: &RunMachine) -> Result<Goal, RunError> {
    Ok(request.goal(size, machine.machine().largest_limit_w())?)
}

/// What can be said before the first measurement: notes on the machine, and what is chosen from for which goal.
pub fn beginning(machine: &RunMachine, goal: &Goal) -> Vec<String> {
    let mut lines = machine.notes().to_vec();
    let (name, space) = (machine.name(), machine.space());
    lines.push(format!("{name}: {} settings of {}; {}", space.len(), knobs_text(space), goal_text(goal)));
    lines
}

/// Adds the loader's workers to what can be chosen, if the request says so.
pub fn add_workers(
    request: &GoalRequest,
    machine: &mut RunMachine,
    steps: &dyn Workload,
    listener: &dyn Listener,
) {
    if request.tune_workers && !machine.choose_workers_too(&machine.worker_choices(steps)) {
        listener.warn("the loader's workers cannot be chosen: this job makes its minibatches by itself");
    }
}

/// Tunes a job that has no run log, such as a simulated one. Whatever happens, what was set before is back at the end,
/// unless the choice is to be kept.
pub fn tune(
    steps: &mut dyn Workload,
    mut machine: RunMachine,
    tuning: &Tuning,
    stop: Arc<AtomicBool>,
    listener: Arc<dyn Listener>,
) -> Result<TuneReport, RunError> {
    let goal = goal_on(&tuning.request.goal, &tuning.size, &machine)?;
    let subject = subject(&machine, steps, &goal);
    let folder = tuning.request.goal.records.as_deref();
    let mut recorder = ProfileRecorder::open(folder, subject, stop, listener)?;
    let mut tuner = tuner(&machine, goal, tuning, &mut recorder);
    let tuned = machine.with_ports(steps, |ports| drive_to_choice(&mut tuner, ports, &mut recorder));
    let kept = match (&tuned, tuning.after) {
        (Ok(tuned), AfterTune::Stop { keep: true }) => tuned.chosen(),
        _ => None,
    };
    match kept {
        Some(setting) => machine.keep(&setting)?,
        None => machine.restore()?,
    }
    let records = tuning.request.goal.records.clone();
    let tuned = tuned.map_err(|error| RunError::Tune { error, records })?;
    Ok(TuneReport { machine, size: tuning.size, goal, tuned, records: recorder.into_records() })
}

fn subject(machine: &RunMachine, steps: &dyn Workload, goal: &Goal) -> Subject {
    let (machine, workload) = (machine.name().to_owned(), steps.name().to_owned());
    Subject { machine, workload, goal: goal_text(goal) }
}

/// A tuner that knows what was measured before.
fn tuner(machine: &RunMachine, goal: Goal, tuning: &Tuning, recorder: &mut ProfileRecorder) -> Tuner {
    let space = machine.space().to_vec();
    let sources = recorder.sources(&space);
    let mut tuner = Tuner::new(space, goal, tuning.request.goal.options(tuning.seed));
    sources.into_iter().for_each(|source| tuner.learn_from(source));
    if tuning.earlier.is_none() {
        recorder.take_earlier().into_iter().for_each(|(profile, counts)| tuner.resume(profile, counts));
    }
    tuner
}

/// Where a tuned run is recorded, and who hears of it.
pub(crate) struct Log<'a> {
    pub(crate) sink: RecordSink,
    pub(crate) clock: SharedClock,
    pub(crate) listener: Arc<dyn Listener>,
    /// The run's folder: profiles are kept there unless the request names another.
    pub(crate) folder: &'a Path,
}

/// A tune on a run, and the watch over the run.
pub(crate) struct TunedRun {
    machine: RunMachine,
    tuning: Tuning,
    goal: Goal,
    recorder: ProfileRecorder,
    sink: RecordSink,
    clock: SharedClock,
    tuned: Option<Tuned>,
}

impl TunedRun {
    pub(crate) fn begin(
        steps: &dyn Workload,
        mut machine: RunMachine,
        tuning: Tuning,
        stop: Arc<AtomicBool>,
        log: Log<'_>,
    ) -> Result<Self, RunError> {
        add_workers(&tuning.request.goal, &mut machine, steps, log.listener.as_ref());
        let goal = goal_on(&tuning.request.goal, &tuning.size, &machine)?;
        let Log { sink, clock, listener, folder } = log;
        let subject = subject(&machine, steps, &goal);
        let folder = tuning.request.goal.records.as_deref().unwrap_or(folder);
        let recorder =
            ProfileRecorder::open(Some(folder), subject, stop, listener)?.logged(sink.clone(), clock.clone());
        Ok(Self { machine, tuning, goal, recorder, sink, clock, tuned: None })
    }

    /// What a report needs; `None`: no search came to an end.
    pub(crate) fn report(self) -> Option<TuneReport> {
        let Self { machine, tuning, goal, recorder, tuned, .. } = self;
        let records = recorder.into_records();
        tuned.map(|tuned| TuneReport { machine, size: tuning.size, goal, tuned, records })
    }

    /// The whole: what was set before comes back at its end, in whatever way it ends.
    pub(crate) fn run(&mut self, steps: &mut dyn Workload) -> Result<(), RunError> {
        let done = self.choose_and_go_on(steps);
        if done.is_ok() && self.tuning.after == (AfterTune::Stop { keep: true }) {
            return done;
        }
        let restored = self.restore();
        done.and(restored)
    }

    fn restore(&mut self) -> Result<(), RunError> {
        self.machine.restore()?;
        if let Ok(now) = self.machine.machine_mut().control().present() {
            let applied = Applied { asked: now, got: now, warnings: Vec::new() };
            self.sink.send(mode_record(&applied, ModePurpose::Restore, self.clock.now_ns()));
        }
        Ok(())
    }

    fn choose_and_go_on(&mut self, steps: &mut dyn Workload) -> Result<(), RunError> {
        let mut tuner = tuner(&self.machine, self.goal, &self.tuning, &mut self.recorder);
        let setting = match self.tuning.earlier.as_ref().and_then(tune_record::choice) {
            Some((setting, expected)) => {
                tuner.resume_choice(setting, expected);
                setting
            }
            None => match self.choose(&mut tuner, steps)? {
                Some(setting) => setting,
                None => return Ok(()),
            },
        };
        match self.tuning.after {
            AfterTune::Stop { keep: true } => self.machine.keep(&setting),
            AfterTune::Stop { keep: false } => Ok(()),
            AfterTune::Train => {
                let result = self.with_ports(steps, |ports, teller| drive(&mut tuner, ports, teller));
                result.map_err(|error| self.failure(error))
            }
        }
    }

    /// Searches. `None`: the run ended before anything was measured.
    fn choose(&mut self, tuner: &mut Tuner, steps: &mut dyn Workload) -> Result<Option<Setting>, RunError> {
        match self.with_ports(steps, |ports, teller| drive_to_choice(tuner, ports, teller)) {
            Ok(tuned) => Ok(Some(tuned.chosen().ok_or_else(|| self.failure(TuneError::Infeasible))?)),
            Err(error) if error.is_end_of_job() => {
                let message = "the run ended before a mode could be measured".to_owned();
                self.sink.send(Record::Warning(WarningRecord { message }));
                Ok(None)
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    fn failure(&self, error: TuneError) -> RunError {
        let refusal = self.tuned.as_ref().and_then(Tuned::refusal_text);
        match error {
            TuneError::Infeasible => RunError::Infeasible { refusal: refusal.unwrap_or_default() },
            error => RunError::Tune { error, records: self.records_folder() },
        }
    }

    fn records_folder(&self) -> Option<PathBuf> {
        self.tuning.request.goal.records.clone()
    }

    fn with_ports<R>(
        &mut self,
        steps: &mut dyn Workload,
        drive: impl FnOnce(&mut Ports<'_>, &mut RunLogObserver<'_>) -> R,
    ) -> R {
        let mut observer = RunLogObserver {
            recorder: &mut self.recorder,
            on: self.machine.tuned_on(),
            goal: self.goal,
            sink: self.sink.clone(),
            clock: self.clock.clone(),
            tuned: &mut self.tuned,
        };
        self.machine.with_ports(steps, |ports| drive(ports, &mut observer))
    }
}

/// Records all that a tuner does in the run log.
struct RunLogObserver<'a> {
    recorder: &'a mut ProfileRecorder,
    on: TunedOn,
    goal: Goal,
    sink: RecordSink,
    clock: SharedClock,
    /// What the last search came to, once there was one.
    tuned: &'a mut Option<Tuned>,
}

impl Observer for RunLogObserver<'_> {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept> {
        self.recorder.profiled(record, purpose)
    }

    fn warn(&mut self, message: &str) {
        self.recorder.warn(message);
    }

    fn chosen(&mut self, tuned: &Tuned, because: Option<&Verdict>) {
        let message = because.map(|verdict| format!("a new plan: {}", verdict.text()));
        let record = tune_record::record(&self.on, &self.goal, tuned, message, self.clock.now_ns());
        self.sink.send(Record::Tune(record));
        *self.tuned = Some(tuned.clone());
    }

    fn mode_set(&mut self, applied: &Applied, purpose: ModePurpose) {
        self.sink.send(mode_record(applied, purpose, self.clock.now_ns()));
    }

    fn stopped(&self) -> bool {
        self.recorder.stopped()
    }
}

fn mode_record(applied: &Applied, purpose: ModePurpose, t_ns: u64) -> Record {
    let Applied { asked, got, warnings } = applied.clone();
    Record::Mode(ModeRecord { t_ns, purpose, asked, got, warnings })
}
