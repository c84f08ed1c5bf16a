//! `footplate train`.

mod arguments;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use footplate_core::steps::{Ending, JobFacts, StepJob};
use footplate_core::summary::SummaryBuilder;
use footplate_device::meter::RealClock;
use footplate_device::{Device, Root};
use footplate_run::mode_request::{GoalRequest, JobSize, Minimise};
use footplate_run::run::FinishedRun;
use footplate_run::run_machine::{JobOnBoard, RunMachine};
use footplate_run::tuned_run::{self, AfterTune, Tuning};
use footplate_run::{ErrorKind, Listener, ModeRequest, RunFile, RunFolder, RunRequest, SharedClock};
use footplate_train::checkpoint::CheckpointStore;
use footplate_train::settings::TrainSettings;
use footplate_train::{JobRequest, PreparedRun, ResumeRequest};
use footplate_views::live::Phase;
use footplate_views::summary;

pub(crate) use self::arguments::TrainArguments;
use crate::commands::tune::{self, TuneArguments};
use crate::exporter::Exporter;
use crate::failure::{Failure, Kind};
use crate::goal::{BoardArguments, GoalArguments};
use crate::heap::Heap;
use crate::live::{self, Board, Screen};
use crate::options::SettingsFile;
use crate::signals::{self, Intent};
use crate::view::{Detail, Progress, Viewer};
use crate::{machine, output, plan_text};

/// Who watches the run.
struct Watchers {
    detail: Detail,
    board: Arc<Board>,
    screen: Option<Screen>,
    stop: Arc<AtomicBool>,
    exporter: Option<Exporter>,
}

impl Watchers {
    fn begin(arguments: &TrainArguments) -> Result<Self, Failure> {
        let detail = Detail::of_run(arguments.quiet, arguments.plain || arguments.dry_run);
        let board = Board::new();
        let exporter =
            arguments.metrics.map(|address| Exporter::start(address, board.clone())).transpose()?;
        if let Some(exporter) = exporter.as_ref().filter(|_| detail != Detail::Quiet) {
            output::note(&format!("metrics: http://{}/metrics", exporter.address()));
        }
        let its_board = board.clone();
        let stop = signals::watch(move || asked_to_stop(&its_board))?;
        let screen = match detail {
            // A screen that cannot be shown is no reason not to train.
            Detail::Screen => Screen::start(board.clone(), live::Kind::Train).ok(),
            _ => None,
        };
        Ok(Self { detail, board, screen, stop, exporter })
    }
}

/// Before the run's folder is there nothing is lost by an interrupt.
fn asked_to_stop(board: &Board) -> Intent {
    if board.look(|state, _, _| matches!(state.phase(), Phase::Preparing(_))) {
        return Intent::Die;
    }
    board.notice(Some("stopping after this step with a checkpoint; Ctrl-C again ends at once".to_owned()));
    Intent::Finish
}

/// A run whose folder is there and whose job is ready.
struct Ready {
    job: PreparedRun,
    folder: RunFolder,
    mode: Option<ModeRequest>,
}

pub(crate) fn run(arguments: &TrainArguments) -> Result<ExitCode, Failure> {
    let watchers = Watchers::begin(arguments)?;
    let ready = match &arguments.resume {
        Some(folder) => resumed(folder, arguments, &watchers.board)?,
        None => {
            let (file, request) = job_request(arguments)?;
            let mode = wanted_mode(arguments, file.goal)?;
            match started(&request, mode, arguments.dry_run, &watchers)? {
                Some(ready) => ready,
                None => return Ok(ExitCode::SUCCESS),
            }
        }
    };
    let folder = ready.folder.clone();
    let finished = run_through(ready, watchers, AfterTune::Train)?;
    finish(finished, &folder, arguments.json)
}

/// `footplate tune` on this machine: begins a run, chooses a mode on its first steps, and leaves it to be resumed.
pub(crate) fn tune_here(arguments: &TuneArguments) -> Result<ExitCode, Failure> {
    let mut mode = ModeRequest::from(arguments);
    if !mode.goal.is_set() {
        mode.goal.minimise = Some(Minimise::Time);
    }
    tune::check(&mode, None)?;
    let start = TrainArguments::of_tune(arguments);
    let watchers = Watchers::begin(&start)?;
    let (_, request) = job_request(&start)?;
    let Some(ready) = started(&request, Some(mode), false, &watchers)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let folder = ready.folder.clone();
    let finished = run_through(ready, watchers, AfterTune::Stop { keep: arguments.keep })?;
    let FinishedRun { ended, mode_error, report, log, .. } = finished;
    ended.map_err(Failure::of_steps)?;
    let failure = match mode_error {
        Some(error) if error.kind() != ErrorKind::Infeasible => return Err(error.into()),
        error => error.map(Failure::from),
    };
    let none = || Failure::new(Kind::Data, "the job ended before a mode was measured");
    tune::tell(arguments, &report.ok_or_else(none)?, Some(folder.path()))?;
    log?;
    let folder = folder.path().display();
    output::note(&format!("the run's steps so far are kept: footplate train --resume {folder}"));
    Ok(failure.map_or(ExitCode::SUCCESS, |failure| failure.kind.exit_code()))
}

/// What the flags ask for, completed by the settings file.
fn job_request(arguments: &TrainArguments) -> Result<(SettingsFile, JobRequest), Failure> {
    let file = match &arguments.config {
        Some(path) => SettingsFile::read(path)?,
        None => SettingsFile::default(),
    };
    let model = arguments.model.clone();
    let request = JobRequest { model, ..arguments.options.clone() }.or(file.options.clone());
    Ok((file, request))
}

/// The mode that is wanted, if any.
fn wanted_mode(arguments: &TrainArguments, file: GoalRequest) -> Result<Option<ModeRequest>, Failure> {
    let goal = GoalRequest::from(arguments.goal.clone()).or(file);
    let mode = ModeRequest { goal, machine: arguments.machine.clone().into() };
    if mode.goal.is_set() {
        return Ok(Some(mode));
    }
    if mode != ModeRequest::default() {
        let message = "options for choosing a mode, and none that says which mode is wanted";
        return Err(Failure::new(Kind::Usage, message)
            .hint("add a limit such as --power-max 20W, or --minimise time"));
    }
    Ok(None)
}

/// A new run; `None` after a dry run.
fn started(
    request: &JobRequest,
    mode: Option<ModeRequest>,
    dry_run: bool,
    watchers: &Watchers,
) -> Result<Option<Ready>, Failure> {
    let Watchers { detail, board, .. } = watchers;
    let mut progress = Progress::with_board(*detail, board);
    let mut tell = |what| progress.prepares(what);
    let plan = footplate_train::prepare(request, &machine::of_process(), &Heap, &mut tell)?;
    if *detail != Detail::Quiet {
        plan.notes.iter().for_each(|note| output::note(note));
        output::note(&plan_text::text(&plan.memory, &plan.available));
    }
    let mut file = RunFile::new(
        env!("CARGO_PKG_VERSION"),
        plan.open.data.clone(),
        request.format.clone(),
        plan.open.validation_fraction,
        plan.device.name.to_owned(),
        plan.settings.clone(),
    );
    file.tune = mode.clone();
    if dry_run {
        let text = toml::to_string(&file).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?;
        output::result(text.trim_end());
        return Ok(None);
    }
    let name = plan.open.entry.name;
    if let Some(mode) = &mode {
        tune::check(mode, Some(name))?;
    }
    let job = plan.build(&mut tell)?;
    let folder = RunFolder::create(request.run_dir.as_deref(), name, &file_time())?;
    folder.write_run_file(&file)?;
    Ok(Some(Ready { job, folder, mode }))
}

/// The rest of a run.
fn resumed(folder: &Path, arguments: &TrainArguments, board: &Board) -> Result<Ready, Failure> {
    let own_mode = arguments.goal != GoalArguments::default()
        || BoardArguments { restore_stale: false, ..arguments.machine.clone() } != BoardArguments::default();
    if arguments.options != JobRequest::default() || own_mode {
        let message = "a resumed run keeps its own settings: --resume goes with --json, --plain, --quiet and --metrics only";
        return Err(Failure::new(Kind::Usage, message)
            .hint("to go on with other settings, start a new run with --weights"));
    }
    let folder = RunFolder::open(folder)?;
    let file: RunFile<TrainSettings> = folder.read_run_file()?;
    board.preparing("reading what was recorded so far");
    folder.read_log(|record| board.change(Duration::ZERO, |state| state.push(&record)))?;
    let request = ResumeRequest {
        data: file.data,
        format: file.format,
        validation_fraction: file.validation_fraction,
        device: file.device.parse().map_err(|e: String| Failure::new(Kind::Data, e))?,
        settings: file.settings,
        checkpoints: folder.checkpoints(),
    };
    let job = footplate_train::resume(request, &machine::of_process(), &Heap, &mut |what| {
        board.change(Duration::ZERO, |state| state.resuming(what.to_string()));
    })?;
    let mut mode = file.tune;
    if let Some(mode) = &mut mode {
        mode.machine.restore_stale = arguments.machine.restore_stale;
    }
    Ok(Ready { job, folder, mode })
}

/// Trains and records.
fn run_through(ready: Ready, watchers: Watchers, after: AfterTune) -> Result<FinishedRun, Failure> {
    let Ready { job, folder, mode } = ready;
    let Watchers { detail, board, screen, stop, exporter } = watchers;
    let clock: SharedClock = Arc::new(RealClock::since(Instant::now()));
    let listener = Arc::new(Viewer::new(detail, board));
    let mode = match mode {
        Some(request) => Some(tuning(request, &job.facts(), &folder, &clock, listener.as_ref(), after)?),
        None => None,
    };
    let request = RunRequest {
        folder,
        started_at: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: Device::discover(Root::system()),
        mode,
        clock,
        stop,
        listener,
    };
    let finished = request.run(Box::new(job));
    if let Some(screen) = screen {
        screen.finish();
    }
    drop(exporter);
    Ok(finished?)
}

/// What is needed to choose a mode, and the machine that it is chosen on. Says what it is chosen from.
fn tuning(
    request: ModeRequest,
    facts: &JobFacts,
    folder: &RunFolder,
    clock: &SharedClock,
    listener: &dyn Listener,
    after: AfterTune,
) -> Result<(Tuning, RunMachine), Failure> {
    let batch_size = u32::try_from(facts.step_items).unwrap_or(u32::MAX);
    let job = JobOnBoard { model: &facts.model, batch_size, seed: facts.seed };
    let machine = tune::machine(&request, job, clock.clone())?;
    let size = JobSize { steps_per_epoch: facts.steps_per_epoch, steps: facts.steps_total };
    let goal = tuned_run::goal_on(&request.goal, &size, &machine)?;
    tuned_run::beginning(&machine, &goal).iter().for_each(|line| listener.note(line));
    // What was chosen once holds for the whole run.
    let earlier = folder.last_choice()?;
    Ok((Tuning { request, size, seed: facts.seed, earlier, after }, machine))
}

/// Prints the figures, and says how the run came out.
fn finish(finished: FinishedRun, folder: &RunFolder, json: bool) -> Result<ExitCode, Failure> {
    let FinishedRun { ended, mode_error, figures, log, .. } = finished;
    let end = ended.map_err(|error| resumable(Failure::of_steps(error), folder))?;
    tell(&figures, folder, json)?;
    log?;
    match (mode_error, end.ending) {
        // What the user interrupted was the choice of a mode: the run itself says how to go on.
        (Some(error), _) if error.kind() != ErrorKind::Interrupted => Err(resumable(error.into(), folder)),
        (_, Ending::Completed | Ending::EarlyStopped) => Ok(ExitCode::SUCCESS),
        (_, Ending::Interrupted) => {
            let folder = folder.path().display();
            output::note(&format!("interrupted; go on with: footplate train --resume {folder}"));
            Ok(Kind::Interrupted.exit_code())
        }
    }
}

/// Tells how to go on after an error, where there is something to go on from.
fn resumable(failure: Failure, folder: &RunFolder) -> Failure {
    let has_checkpoint = matches!(CheckpointStore::open(&folder.checkpoints()).newest(), Ok((Some(_), _)));
    if !has_checkpoint {
        return failure;
    }
    let resume = format!("the last checkpoint is kept: footplate train --resume {}", folder.path().display());
    let hint = failure.hint.clone().map_or(resume.clone(), |hint| format!("{hint}\n      {resume}"));
    failure.hint(hint)
}

/// Prints the figures: for people on stdout, or as one JSON document.
fn tell(figures: &SummaryBuilder, folder: &RunFolder, json: bool) -> Result<(), Failure> {
    let Some(summary) = figures.summary() else { return Ok(()) };
    let text = if json {
        summary::json(&summary, folder.path()).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?
    } else {
        summary::text(&summary, &figures.energy(), folder.path().display())
    };
    output::result(&text);
    Ok(())
}

/// The time (UTC) as a part of a folder's name.
fn file_time() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}
