//! `footplate train`.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use footplate_core::ports::Clock;
use footplate_core::record::{Record, RunEnd, RunStart, RunStatus, TuneRecord, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::steps::{Ending, JobFacts, StepContext, StepError, StepJob, StepsEnd};
use footplate_core::summary::{Summary, SummaryBuilder};
use footplate_core::{Joules, Reading};
use footplate_device::meter::RealClock;
use footplate_train::checkpoint::CheckpointStore;
use footplate_train::device::DeviceChoice;
use footplate_train::{PreparedRun, ResumeRequest};
use footplate_views::live::Phase;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::TrainArguments;
use crate::commands::tune::run::{Ended, Place, Then, Told};
use crate::commands::tune::{self, BoardArguments, GoalArguments, TuneArguments, Wish};
use crate::exporter::Exporter;
use crate::failure::{Failure, Kind};
use crate::heap::Heap;
use crate::live::{self, Board, Screen};
use crate::options::{SettingsFile, TrainOptions};
use crate::power::{PowerWatch, RunClock};
use crate::recorder::Recorder;
use crate::run_store::{RunFile, RunStore};
use crate::signals::{self, Intent};
use crate::view::{Detail, Progress, View};
use crate::{host, output, summary_text};

/// Everything that is known before training starts.
struct Prepared {
    job: PreparedRun,
    store: RunStore,
    /// The mode that is wanted, if any, and what an earlier process chose for it.
    wish: Option<Wish>,
    earlier: Option<TuneRecord>,
}

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
        let stop = signals::watch(move || asked_to_stop(&its_board));
        let stop = stop.map_err(|e| Failure::new(Kind::Machine, format!("signals: {e}")))?;
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

pub(crate) fn run(arguments: &TrainArguments) -> Result<ExitCode, Failure> {
    let watchers = Watchers::begin(arguments)?;
    let prepared = match &arguments.resume {
        Some(folder) => resumed(folder, arguments, &watchers.board)?,
        None => match started(arguments, &watchers)? {
            Some(prepared) => prepared,
            None => return Ok(ExitCode::SUCCESS),
        },
    };
    train(prepared, watchers, arguments.json)
}

/// `footplate tune` on this machine: begins a run, chooses a mode on its first steps, and leaves it to be resumed.
pub(crate) fn tune_here(arguments: &TuneArguments) -> Result<ExitCode, Failure> {
    let mut wish = Wish { goal: arguments.goal.clone(), machine: arguments.machine.clone() };
    wish.goal.ensure_set();
    let start = TrainArguments {
        model: arguments.model.clone(),
        options: arguments.options.clone(),
        goal: wish.goal.clone(),
        machine: wish.machine.clone(),
        config: None,
        resume: None,
        dry_run: false,
        json: arguments.json,
        quiet: arguments.quiet,
        plain: true,
        metrics: None,
    };
    wish.check(None)?;
    let watchers = Watchers::begin(&start)?;
    let Some(prepared) = started(&start, &watchers)? else { return Ok(ExitCode::SUCCESS) };
    let folder = prepared.store.folder().to_owned();
    let ran = run_through(prepared, watchers, Then::Stop { keep: arguments.keep })?;
    if ran.failure.as_ref().is_some_and(|f| f.kind != Kind::Infeasible) || ran.ended.is_err() {
        return Err(ran.failure_of());
    }
    let told = ran
        .told
        .as_ref()
        .ok_or_else(|| Failure::new(Kind::Data, "the job ended before a mode was measured"))?;
    tune::tell(arguments, told, &folder)?;
    ran.log?;
    output::note(&format!("the run's steps so far are kept: footplate train --resume {}", folder.display()));
    Ok(ran.failure.map_or(ExitCode::SUCCESS, |failure| failure.kind.exit_code()))
}

/// A new run; `None` after a dry run.
fn started(arguments: &TrainArguments, watchers: &Watchers) -> Result<Option<Prepared>, Failure> {
    let Watchers { detail, board, .. } = watchers;
    let file = match &arguments.config {
        Some(path) => SettingsFile::read(path)?,
        None => SettingsFile::default(),
    };
    let model = arguments.model.clone();
    let request = TrainOptions { model, ..arguments.options.clone() }.or(file.options);
    let wish = wish(arguments, file.goal)?;
    let mut progress = Progress::with_board(*detail, board);
    let mut tell = |what| progress.prepares(what);
    let plan = footplate_train::prepare(&request, &host::of_process(), &Heap, &mut tell)?;
    if *detail != Detail::Quiet {
        plan.notes.iter().for_each(|note| output::note(note));
        output::note(&summary_text::plan(&plan.memory, &plan.available));
    }
    let mut run = RunFile::new(
        plan.open.data.clone(),
        request.format.clone(),
        plan.open.validation_fraction,
        plan.device.name.to_owned(),
        plan.settings.clone(),
    );
    run.tune = wish.clone();
    if arguments.dry_run {
        let text = toml::to_string(&run).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?;
        output::result(text.trim_end());
        return Ok(None);
    }
    let name = plan.open.entry.name;
    if let Some(wish) = &wish {
        wish.check(Some(name))?;
    }
    let job = plan.build(&mut tell)?;
    let store = RunStore::create(request.run_dir.as_deref(), name, &file_time())?;
    store.write_run_file(&run)?;
    Ok(Some(Prepared { job, store, wish, earlier: None }))
}

/// The mode that is wanted, if any.
fn wish(arguments: &TrainArguments, file: GoalArguments) -> Result<Option<Wish>, Failure> {
    let wish = Wish { goal: arguments.goal.clone().or(file), machine: arguments.machine.clone() };
    if wish.goal.is_set() {
        return Ok(Some(wish));
    }
    if wish != Wish::default() {
        let message = "options for choosing a mode, and none that says which mode is wanted";
        return Err(Failure::new(Kind::Usage, message)
            .hint("add a limit such as --power-max 20W, or --minimise time"));
    }
    Ok(None)
}

/// The rest of a run.
fn resumed(folder: &Path, arguments: &TrainArguments, board: &Board) -> Result<Prepared, Failure> {
    let options = &arguments.options;
    let own_mode = arguments.goal != GoalArguments::default()
        || BoardArguments { restore_stale: false, ..arguments.machine.clone() } != BoardArguments::default();
    if *options != TrainOptions::default() || own_mode {
        let message = "a resumed run keeps its own settings: --resume goes with --json, --plain, --quiet and --metrics only";
        return Err(Failure::new(Kind::Usage, message)
            .hint("to go on with other settings, start a new run with --weights"));
    }
    let store = RunStore::open(folder)?;
    let run = store.read_run_file()?;
    board.preparing("reading what was recorded so far");
    store.read_log(|record| board.change(Duration::ZERO, |state| state.push(&record)))?;
    let choice: DeviceChoice = run.device.parse().map_err(|e: String| Failure::new(Kind::Data, e))?;
    let request = ResumeRequest {
        data: run.data,
        format: run.format,
        validation_fraction: run.validation_fraction,
        device: choice,
        settings: run.settings,
        checkpoints: store.checkpoints(),
    };
    let job = footplate_train::resume(request, &host::of_process(), &Heap, &mut |what| {
        board.change(Duration::ZERO, |state| state.resuming(what.to_string()));
    })?;
    let wish = run.tune.map(|mut wish| {
        wish.machine.restore_stale = arguments.machine.restore_stale;
        wish
    });
    // What was chosen once holds for the whole run.
    let earlier = if wish.is_some() { store.last_choice()? } else { None };
    Ok(Prepared { job, store, wish, earlier })
}

/// Trains, records, and prints the figures.
fn train(prepared: Prepared, watchers: Watchers, json: bool) -> Result<ExitCode, Failure> {
    let store = prepared.store.clone();
    let ran = run_through(prepared, watchers, Then::Train)?;
    let Ok(outcome) = &ran.ended else { return Err(resumable(ran.failure_of(), &store)) };
    let ending = outcome.ending;
    tell(&ran.figures, &store, json)?;
    ran.log?;
    match (ran.failure, ending) {
        // What the user interrupted was the choice of a mode: the run itself says how to go on.
        (Some(failure), _) if failure.kind != Kind::Interrupted => Err(resumable(failure, &store)),
        (_, Ending::Completed | Ending::EarlyStopped) => Ok(ExitCode::SUCCESS),
        (_, Ending::Interrupted) => {
            output::note(&format!(
                "interrupted; go on with: footplate train --resume {}",
                store.folder().display()
            ));
            Ok(Kind::Interrupted.exit_code())
        }
    }
}

/// A run that is over in this process.
struct Ran {
    ended: Result<StepsEnd, StepError>,
    /// What went wrong with the mode that was wanted.
    failure: Option<Failure>,
    told: Option<Told>,
    figures: SummaryBuilder,
    log: Result<(), Failure>,
}

impl Ran {
    fn failure_of(self) -> Failure {
        match (self.ended, self.failure) {
            (Err(error), _) => Failure::of_steps(error),
            (Ok(_), Some(failure)) => failure,
            (Ok(_), None) => Failure::new(Kind::Internal, "a run without an error was taken for one"),
        }
    }
}

/// Trains and records.
fn run_through(prepared: Prepared, watchers: Watchers, then: Then) -> Result<Ran, Failure> {
    let Prepared { mut job, store, wish, earlier } = prepared;
    let Watchers { detail, board, screen, stop, exporter } = watchers;
    let clock: RunClock = Arc::new(RealClock::since(Instant::now()));
    let facts = job.facts();
    let place = wish.as_ref().map(|wish| Place::open(wish, clock.clone(), &facts)).transpose()?;
    if let (Some(wish), Some(place)) = (&wish, &place) {
        let steps = (facts.steps_per_epoch, facts.steps_total);
        let lines = tune::run::beginning_lines(place, wish, steps)?;
        lines.iter().filter(|_| detail != Detail::Quiet).for_each(|line| output::note(line));
    }
    let mut recorder = Recorder::new(store.append_log()?, View::new(detail), board);
    recorder.record(&Record::RunStart(run_start(&facts)));
    for message in job.take_warnings().into_iter().chain(place.as_ref().and_then(Place::label)) {
        recorder.record(&Record::Warning(WarningRecord { message }));
    }
    let (sink, records) = RecordSink::bounded();
    let listener = recorder.listen(records)?;
    let power = PowerWatch::start(
        clock.clone(),
        sink.clone(),
        place.as_ref().and_then(Place::meter),
        place.as_ref().and_then(Place::simulated_board),
    );
    let context = StepContext {
        checkpoints: Some(store.checkpoints()),
        sink: sink.clone(),
        clock: clock.clone(),
        stop: stop.clone(),
    };
    let ended = match (Box::new(job).start(context), &wish, place) {
        (Err(error), ..) => Ended::failed(error),
        (Ok(steps), Some(wish), Some(place)) => {
            let run = (&facts, sink.clone(), clock.clone());
            tune::run::run(steps, place, wish, run, earlier.as_ref(), (&stop, store.folder()), then)
        }
        (Ok(mut steps), ..) => {
            steps.train_to_end();
            Ended { result: steps.finish(), failure: None, tuned: None }
        }
    };
    let Ended { result, failure, tuned: mut told } = ended;
    let (energy_j, last_power) = power.finish();
    for record in last_power {
        sink.send(record);
    }
    let dropped = sink.dropped();
    drop(sink);
    // The listener ends when nobody can tell it anything any more.
    if let Some(told) = &mut told {
        told.keeper.end_log();
    }
    let mut recorder = listener
        .join()
        .map_err(|_| Failure::new(Kind::Internal, "the thread that keeps the run log panicked"))?;
    let end = run_end(&result, recorder.figures(), clock.as_ref(), dropped, energy_j);
    recorder.record(&Record::RunEnd(end));
    let (figures, log) = recorder.finish();
    if let Some(screen) = screen {
        screen.finish();
    }
    drop(exporter);
    Ok(Ran { ended: result, failure, told, figures, log })
}

fn run_start(facts: &JobFacts) -> RunStart {
    RunStart {
        started_at: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: facts.model.clone(),
        device: facts.device.clone(),
        data: facts.data.clone(),
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
        settings_toml: facts.settings_toml.clone(),
    }
}

fn run_end(
    result: &Result<StepsEnd, StepError>,
    figures: &SummaryBuilder,
    clock: &dyn Clock,
    dropped_records: u64,
    energy_j: Reading<Joules>,
) -> RunEnd {
    let status = match result.as_ref().map(|outcome| outcome.ending) {
        Ok(Ending::Completed) => RunStatus::Completed,
        Ok(Ending::EarlyStopped) => RunStatus::EarlyStopped,
        Ok(Ending::Interrupted) => RunStatus::Interrupted,
        Err(_) => RunStatus::Failed,
    };
    RunEnd {
        t_ns: clock.now_ns(),
        status,
        steps: result.as_ref().map_or(figures.steps_done(), |outcome| outcome.steps),
        bad_samples: result.as_ref().map_or(figures.bad_samples(), |outcome| outcome.bad_samples),
        dropped_records,
        peak_memory_bytes: host::peak_memory(),
        energy_j,
    }
}

/// Tells how to go on after an error, where there is something to go on from.
fn resumable(failure: Failure, store: &RunStore) -> Failure {
    let has_checkpoint = matches!(CheckpointStore::open(&store.checkpoints()).newest(), Ok((Some(_), _)));
    if !has_checkpoint {
        return failure;
    }
    let resume =
        format!("the last checkpoint is kept: footplate train --resume {}", store.folder().display());
    let hint = failure.hint.clone().map_or(resume.clone(), |hint| format!("{hint}\n      {resume}"));
    failure.hint(hint)
}

/// Prints the figures: for people on stdout, or as one JSON document.
fn tell(figures: &SummaryBuilder, store: &RunStore, json: bool) -> Result<(), Failure> {
    let Some(summary) = figures.summary() else { return Ok(()) };
    let text = if json {
        json_text(&summary, store.folder()).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?
    } else {
        let energy: Reading<Joules> = figures.energy();
        summary_text::text(&summary, &energy, store.folder())
    };
    output::result(&text);
    Ok(())
}

fn json_text(summary: &Summary, run_dir: &Path) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        run_dir: &'a Path,
    }
    serde_json::to_string_pretty(&Document { summary, run_dir })
}

/// The first signal asks the run to stop after the present step, the second ends the process at once.
pub(crate) fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on(&stop)?;
    Ok(stop)
}

/// The same with a flag that is there already.
pub(crate) fn stop_on(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the first handler sees the flag as it was before this signal.
        signal_hook::flag::register_conditional_shutdown(signal, Kind::Interrupted as i32, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(())
}

/// The time (UTC) as a part of a folder's name.
fn file_time() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}
