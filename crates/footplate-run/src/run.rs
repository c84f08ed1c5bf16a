//! A run from its request to its end, whatever makes its steps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use footplate_core::record::{Record, RunEnd, RunStart, RunStatus, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::steps::{Ending, JobFacts, StepContext, StepError, StepJob, StepsEnd};
use footplate_core::summary::SummaryBuilder;
use footplate_device::{Device, host};

use crate::SharedClock;
use crate::error::RunError;
use crate::folder::RunFolder;
use crate::listener::Listener;
use crate::machine_log::MachineLog;
use crate::recorder::Recorder;
use crate::run_machine::RunMachine;
use crate::tuned_run::{Log, TuneReport, TunedRun, Tuning};

/// What is asked of a run, but for who makes its steps.
pub struct RunRequest {
    /// Where it is kept; its `run.toml` is written already.
    pub folder: RunFolder,
    /// The moment of its beginning (RFC 3339), for people.
    pub started_at: String,
    /// Version of the program, for people.
    pub version: String,
    /// The machine whose state is recorded beside the run.
    pub device: Device,
    /// The mode that is wanted, and the machine that it is chosen on; `None`: the present mode stays.
    pub mode: Option<(Tuning, RunMachine)>,
    /// The clock of all records, which shows 0 at the run's beginning.
    pub clock: SharedClock,
    /// Set by whoever wants the run to stop after the present step.
    pub stop: Arc<AtomicBool>,
    /// Who hears of it.
    pub listener: Arc<dyn Listener>,
}

/// A run that is over in this process.
pub struct FinishedRun {
    /// How the steps ended.
    pub ended: Result<StepsEnd, StepError>,
    /// What went wrong with the mode that was wanted: nothing feasible, no permission.
    pub mode_error: Option<RunError>,
    /// The result of the mode's choice, if a search came to its end.
    pub report: Option<TuneReport>,
    /// The summary of all records of this process.
    pub figures: SummaryBuilder,
    /// Whether the run log is complete.
    pub log: Result<(), RunError>,
}

impl RunRequest {
    /// Runs the job from here to its end: records its steps and the machine, and chooses a mode if one is wanted.
    ///
    /// # Errors
    ///
    /// Only what keeps it from beginning. What comes later is in the [`FinishedRun`], as the steps made so far are kept.
    pub fn run(self, mut job: Box<dyn StepJob>) -> Result<FinishedRun, RunError> {
        let Self { folder, started_at, version, device, mode, clock, stop, listener } = self;
        let machine = mode.as_ref().map(|(_, machine)| machine);
        let mut warnings = job.take_warnings();
        warnings.extend(machine.and_then(RunMachine::label));
        let begin =
            RunBegin { folder: &folder, started_at, version, warnings, device, machine, clock, listener };
        let run = Run::begin(begin, &job.facts())?;
        let context = StepContext {
            checkpoints: Some(folder.checkpoints()),
            sink: run.sink(),
            clock: run.clock(),
            stop: stop.clone(),
        };
        let (mut mode_error, mut report) = (None, None);
        let ended = job.start(context).and_then(|mut steps| {
            match mode {
                None => steps.train_to_end(),
                Some((tuning, machine)) => {
                    let tuned = TunedRun::begin(steps.as_ref(), machine, tuning, stop, run.log(&folder));
                    match tuned {
                        Ok(mut tuned) => {
                            mode_error = tuned.run(steps.as_mut()).err();
                            report = tuned.report();
                        }
                        Err(error) => mode_error = Some(error),
                    }
                }
            }
            steps.finish()
        });
        let (figures, log) = run.finish(&ended)?;
        Ok(FinishedRun { ended, mode_error, report, figures, log })
    }
}

/// What [`Run::begin`] needs beside the facts of the job.
pub struct RunBegin<'a> {
    /// Where the run is kept.
    pub folder: &'a RunFolder,
    /// The moment of its beginning (RFC 3339), for people.
    pub started_at: String,
    /// Version of the program, for people.
    pub version: String,
    /// What the user should know before the first step.
    pub warnings: Vec<String>,
    /// The machine whose state is recorded beside the run.
    pub device: Device,
    /// The machine that a mode is chosen on, if one is: its meter is shared.
    pub machine: Option<&'a RunMachine>,
    /// The clock of all records, which shows 0 now.
    pub clock: SharedClock,
    /// Who hears of it.
    pub listener: Arc<dyn Listener>,
}

/// The records of a run in progress, for whoever makes the steps in a loop of its own; [`RunRequest::run`] is for those
/// who make them when they are asked to.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
///
/// use footplate_core::Record;
/// use footplate_core::record::WarningRecord;
/// use footplate_core::steps::{Ending, JobFacts, StepsEnd};
/// use footplate_core::units::Bytes;
/// use footplate_device::meter::RealClock;
/// use footplate_device::{Device, Root};
/// use footplate_run::listener::NoListener;
/// use footplate_run::run::RunBegin;
/// use footplate_run::{Run, RunFile, RunFolder};
///
/// # let place = tempfile::tempdir()?;
/// # let place = place.path();
/// // A folder with what was asked for, in whatever settings the loop has.
/// let folder = RunFolder::create(Some(&place.join("run")), "mine", "today")?;
/// let settings: toml::Table = "rate = 0.1\n".parse()?;
/// folder.write_run_file(&RunFile::new("0.1.0", "/data".into(), None, 0.2, "cpu".into(), settings))?;
///
/// let begin = RunBegin {
///     folder: &folder,
///     started_at: "2026-11-29T10:00:00Z".into(),
///     version: "0.1.0".into(),
///     warnings: Vec::new(),
///     device: Device::discover(Root::system()),
///     machine: None,
///     clock: Arc::new(RealClock::since(Instant::now())),
///     listener: Arc::new(NoListener),
/// };
/// let facts = JobFacts {
///     model: "mine".into(),
///     device: "cpu".into(),
///     data: "three numbers".into(),
///     parameters: 1,
///     train_items: 3,
///     validation_items: 0,
///     batch_size: 1,
///     step_items: 1,
///     epochs: 1,
///     steps_per_epoch: 3,
///     steps_total: 3,
///     steps_done: 0,
///     seed: 0,
///     planned_memory: Bytes(0),
///     settings_toml: "rate = 0.1".into(),
/// };
/// let run = Run::begin(begin, &facts)?;
/// let sink = run.sink();
/// for step in 0..3 {
///     // One step of the loop, and what there is to say of it.
///     sink.send(Record::Warning(WarningRecord { message: format!("step {step} was made") }));
/// }
/// drop(sink);
/// let end = StepsEnd { ending: Ending::Completed, steps: 3, bad_samples: 0 };
/// let (figures, log) = run.finish(&Ok(end))?;
/// log?;
/// assert_eq!(figures.summary().map(|summary| summary.model), Some("mine".to_owned()));
/// let mut records = 0;
/// folder.read_log(|_| records += 1)?;
/// assert!(records >= 1 + 3 + 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Run {
    clock: SharedClock,
    sink: RecordSink,
    recording: JoinHandle<Recorder>,
    machine_log: MachineLog,
    listener: Arc<dyn Listener>,
}

impl Run {
    /// Opens the run log, records the beginning, and starts to record the machine.
    pub fn begin(begin: RunBegin<'_>, facts: &JobFacts) -> Result<Self, RunError> {
        let RunBegin { folder, started_at, version, warnings, device, machine, clock, listener } = begin;
        let mut recorder = Recorder::new(folder.append_log(clock.clone())?, listener.clone());
        recorder.record(&Record::RunStart(run_start(started_at, version, facts)));
        for message in warnings {
            recorder.record(&Record::Warning(WarningRecord { message }));
        }
        let (sink, records) = RecordSink::bounded();
        let recording = recorder.listen(records)?;
        let meter = machine.and_then(RunMachine::meter);
        let device = machine.and_then(RunMachine::simulated_device).unwrap_or(device);
        let machine_log = MachineLog::start(device, meter, sink.clone(), clock.clone());
        Ok(Self { clock, sink, recording, machine_log, listener })
    }

    /// Where whoever makes the steps puts its records. All clones must be gone before [`Run::finish`].
    pub fn sink(&self) -> RecordSink {
        self.sink.clone()
    }

    /// The clock of all records.
    pub fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    fn log<'a>(&self, folder: &'a RunFolder) -> Log<'a> {
        let (sink, clock, listener) = (self.sink(), self.clock(), self.listener.clone());
        Log { sink, clock, listener, folder: folder.path() }
    }

    /// Records the end and closes the log; gives the summary, and whether the log is complete. Waits until all senders
    /// of records are gone.
    pub fn finish(
        self,
        ended: &Result<StepsEnd, StepError>,
    ) -> Result<(SummaryBuilder, Result<(), RunError>), RunError> {
        let Self { clock, sink, recording, machine_log, .. } = self;
        let (energy_j, last) = machine_log.finish();
        last.into_iter().for_each(|record| sink.send(record));
        let dropped_records = sink.dropped();
        drop(sink);
        let mut recorder = recording.join().map_err(|_| RunError::RecorderPanicked)?;
        let figures = recorder.figures();
        let end = RunEnd {
            t_ns: clock.now_ns(),
            status: status(ended),
            steps: ended.as_ref().map_or_else(|_| figures.steps_done(), |end| end.steps),
            bad_samples: ended.as_ref().map_or_else(|_| figures.bad_samples(), |end| end.bad_samples),
            dropped_records,
            peak_memory_bytes: host::peak_memory(),
            energy_j,
        };
        recorder.record(&Record::RunEnd(end));
        Ok(recorder.finish())
    }
}

fn status(ended: &Result<StepsEnd, StepError>) -> RunStatus {
    match ended.as_ref().map(|end| end.ending) {
        Ok(Ending::Completed) => RunStatus::Completed,
        Ok(Ending::EarlyStopped) => RunStatus::EarlyStopped,
        Ok(Ending::Interrupted) => RunStatus::Interrupted,
        Err(_) => RunStatus::Failed,
    }
}

fn run_start(started_at: String, version: String, facts: &JobFacts) -> RunStart {
    let facts = facts.clone();
    RunStart {
        started_at,
        version,
        model: facts.model,
        device: facts.device,
        data: facts.data,
        host: host::description(),
        parameters: facts.parameters,
        train_items: facts.train_items,
        validation_items: facts.validation_items,
        batch_size: facts.batch_size,
        epochs: facts.epochs,
        steps_per_epoch: facts.steps_per_epoch,
        steps_total: facts.steps_total,
        first_step: facts.steps_done,
        planned_memory_bytes: facts.planned_memory,
        settings_toml: facts.settings_toml,
    }
}
