//! `footplate train`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use footplate_core::record::{Record, RunEnd, RunStart, RunStatus, TuneRecord, WarningRecord};
use footplate_core::summary::SummaryBuilder;
use footplate_core::{Bytes, Joules, Reading};
use footplate_data::{Dataset, Format, OpenOptions, Split};
use footplate_train::checkpoint::CheckpointStore;
use footplate_train::device::{ChosenDevice, DeviceChoice};
use footplate_train::engine::{self, Ending, Outcome, Session, Surroundings};
use footplate_train::feed::{FeedChoice, FeedWay};
use footplate_train::memory::{HeapMeter, MemoryPlan};
use footplate_train::model::{ModelEntry, Task};
use footplate_train::records::{RecordSink, RunClock};
use footplate_train::settings::TrainSettings;
use footplate_train::{Job, MemoryPlanner, TrainError};
use footplate_views::live::Phase;
use footplate_views::summary;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::TrainArguments;
use crate::commands::tune::run::{Ended, Place, Then, Told};
use crate::commands::tune::{self, BoardArguments, GoalArguments, TuneArguments, Wish};
use crate::exporter::Exporter;
use crate::failure::{Failure, Kind};
use crate::heap::Heap;
use crate::live::{self, Board, Screen};
use crate::options::{BatchSize, CacheChoice, SettingsFile, TrainOptions};
use crate::power::PowerWatch;
use crate::recorder::Recorder;
use crate::run_store::{RunFile, RunStore};
use crate::signals::{self, Intent};
use crate::view::{Detail, Progress, View};
use crate::{auto_cache, embedded, host, output, plan_text, resolve};

/// The largest batch that `--batch-size auto` chooses: larger ones seldom learn better.
pub(crate) const AUTO_BATCH_MAX: usize = 256;
/// `auto` leaves this share of the available memory to others.
const AUTO_HEADROOM: f64 = 0.2;

/// Everything that is known before training starts.
struct Prepared {
    job: Job,
    plan: MemoryPlan,
    store: RunStore,
    device: ChosenDevice,
    /// Said once the log is open.
    warnings: Vec<String>,
    first_step: u64,
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
    let options = arguments.options.clone().or(file.options);
    let wish = wish(arguments, file.goal)?;
    let entry = resolve::entry(arguments.model.as_deref().or(file.model.as_deref()))?;
    let device = resolve::opened_device(&options)?;
    let data = match &options.data {
        Some(path) => absolute(path)?,
        None => embedded_data_told(entry, &options, &mut Progress::with_board(*detail, board))?,
    };
    board.preparing("reading the data set's list of samples");
    let fraction = resolve::validation_fraction(&options, entry.task);
    let seed = options.seed.unwrap_or(0);
    let dataset = open(&data, options.format.as_deref(), fraction, seed, resolve::sequence_length(&options))?;
    let mut settings = settings_for(&options, entry, &dataset);
    let available = available_memory(&options);
    board.preparing("planning the memory: two small steps are measured");
    let planner = planner(&settings, &dataset)?.on(&device);
    if options.batch_size == Some(BatchSize::Auto) {
        settings.batch_size = auto_batch(&planner, &dataset, available)?;
        let fixed =
            TrainOptions { batch_size: Some(BatchSize::Fixed(settings.batch_size)), ..options.clone() };
        settings = settings_for(&fixed, entry, &dataset);
    }
    let planner = planner.with_batch_size(settings.batch_size);
    let mut plan = planner.checked(available)?;
    if options.cache == Some(CacheChoice::Auto) {
        let (cache, why) = auto_cache::choose(&dataset, available, plan.total());
        if *detail != Detail::Quiet {
            output::note(&why);
        }
        settings.cache = cache;
        // It takes a part of what the plan leaves: nothing needs to be measured again.
        plan.pipeline += settings.cache.as_ref().map_or(0, |cache| cache.memory_bytes(&dataset));
    }
    if *detail != Detail::Quiet {
        output::note(&plan_text::text(&plan, available));
    }
    let mut run =
        RunFile::new(data, options.format.clone(), fraction, device.name.to_owned(), settings.clone());
    run.tune = wish.clone();
    if arguments.dry_run {
        let text = toml::to_string(&run).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?;
        output::result(text.trim_end());
        return Ok(None);
    }
    if let Some(wish) = &wish {
        wish.check(Some(entry.name))?;
    }
    board.preparing("making the model on the device");
    let (job, report) = Job::new(settings, dataset.clone(), device.clone())?;
    let mut warnings = dataset.warnings().to_vec();
    if let Some(report) = report {
        warnings.extend(report.warnings());
    }
    let store = RunStore::create(options.run_dir.as_deref(), entry.name, &file_time())?;
    store.write_run_file(&run)?;
    Ok(Some(Prepared { job, plan, store, device, warnings, first_step: 0, wish, earlier: None }))
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
    board.change(Duration::ZERO, |state| state.resuming("reading the data set's list of samples"));
    let checkpoints = CheckpointStore::open(&store.checkpoints());
    let (checkpoint, rejected) = match checkpoints.newest() {
        Ok(found) => found,
        Err(error) if !store.checkpoints().exists() => {
            let _ = error;
            (None, Vec::new())
        }
        Err(error) => return Err(error.into()),
    };
    let warnings: Vec<String> = rejected
        .iter()
        .map(|r| format!("{} cannot be used ({}); taking the one before", r.path.display(), r.error))
        .collect();
    let choice: DeviceChoice = run.device.parse().map_err(|e: String| Failure::new(Kind::Data, e))?;
    // How minibatches get there makes no difference to what is computed.
    let device = resolve::open_device(choice, FeedChoice::Auto, options.cache_dir.as_deref())?;
    let settings = &run.settings;
    let dataset = open(
        &run.data,
        run.format.as_deref(),
        run.validation_fraction,
        settings.seed,
        settings.sequence_length,
    )?;
    board.change(Duration::ZERO, |state| state.resuming("planning the memory: two small steps are measured"));
    let plan = planner(settings, &dataset)?.on(&device).checked(available_memory(options))?;
    board.change(Duration::ZERO, |state| state.resuming("taking the model up from its checkpoint"));
    let job = match checkpoint {
        Some(checkpoint) => Job::resume(checkpoint, dataset, device.clone())?,
        // Killed before its first checkpoint: the beginning is where it stands.
        None if rejected.is_empty() => Job::new(settings.clone(), dataset, device.clone())?.0,
        None => return Err(no_checkpoint(&checkpoints, warnings)),
    };
    let first_step = job.progress().steps;
    let wish = run.tune.map(|mut wish| {
        wish.machine.restore_stale = arguments.machine.restore_stale;
        wish
    });
    // What was chosen once holds for the whole run.
    let earlier = if wish.is_some() { store.last_choice()? } else { None };
    Ok(Prepared { job, plan, store, device, warnings, first_step, wish, earlier })
}

fn no_checkpoint(store: &CheckpointStore, reasons: Vec<String>) -> Failure {
    let mut failure: Failure = TrainError::NoCheckpoint { folder: store.folder().to_owned() }.into();
    failure.details = reasons;
    failure
}

pub(crate) fn embedded_data(
    entry: &ModelEntry,
    options: &TrainOptions,
    detail: Detail,
) -> Result<PathBuf, Failure> {
    embedded_data_told(entry, options, &mut Progress::new(detail))
}

fn embedded_data_told(
    entry: &ModelEntry,
    options: &TrainOptions,
    progress: &mut Progress,
) -> Result<PathBuf, Failure> {
    if entry.task == Task::CharacterLm {
        return Err(Failure::new(Kind::Usage, format!("{} needs a text to train on", entry.name))
            .hint("name a text file with --data"));
    }
    embedded::folder(options.cache_dir.as_deref(), progress)
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io("use", path, &e))
}

pub(crate) fn open(
    path: &Path,
    format: Option<&str>,
    validation_fraction: f64,
    seed: u64,
    sequence_length: usize,
) -> Result<Arc<Dataset>, Failure> {
    let format: Option<Format> = format
        .map(str::parse)
        .transpose()
        .map_err(|e| Failure::new(Kind::Usage, format!("--format: {e}")))?;
    if !(0.0..1.0).contains(&validation_fraction) {
        let message =
            format!("validation-fraction = {validation_fraction}: must be 0 or more and less than 1");
        return Err(Failure::new(Kind::Usage, message));
    }
    let options = OpenOptions { format, seed, validation_fraction, sequence_length };
    Ok(Arc::new(footplate_data::open(path, &options)?))
}

pub(crate) fn settings_for(options: &TrainOptions, entry: &ModelEntry, dataset: &Dataset) -> TrainSettings {
    let side = match dataset {
        Dataset::Images(images) => images.typical_side(),
        Dataset::Text(_) => None,
    };
    resolve::settings(options, entry, side, dataset.len(Split::Train))
}

pub(crate) fn planner(settings: &TrainSettings, dataset: &Arc<Dataset>) -> Result<MemoryPlanner, Failure> {
    // What is resident beside the heap: the program's code and the system's own.
    let resident = host::resident_memory().value().map_or(0, |bytes| bytes.0);
    let program = Bytes(resident.max(Heap.live_bytes()));
    Ok(MemoryPlanner::new(settings, dataset, &Heap, program)?)
}

pub(crate) fn available_memory(options: &TrainOptions) -> Bytes {
    let system = match host::available_memory() {
        Reading::Value(bytes) => bytes,
        // Unknown: nothing is refused on a guess.
        Reading::Absent | Reading::Unreadable { .. } => Bytes(u64::MAX),
    };
    options.memory_max.map_or(system, |size| system.min(size))
}

/// The largest power of two that fits with some headroom, and that gives an epoch at least ten steps.
pub(crate) fn auto_batch(
    planner: &MemoryPlanner,
    dataset: &Dataset,
    available: Bytes,
) -> Result<usize, Failure> {
    let headroom = Bytes((available.0 as f64 * (1.0 - AUTO_HEADROOM)) as u64);
    let limit = AUTO_BATCH_MAX.min((dataset.len(Split::Train) / 10).max(1));
    match planner.largest_batch(limit, headroom) {
        0 => Err(TrainError::Memory {
            batch_size: 1,
            needed: planner.plan(1).total(),
            available: headroom,
            largest_batch: 0,
        }
        .into()),
        largest => Ok(1 << largest.ilog2()),
    }
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
    ended: Result<Outcome, TrainError>,
    /// What went wrong with the mode that was wanted.
    failure: Option<Failure>,
    told: Option<Told>,
    figures: SummaryBuilder,
    log: Result<(), Failure>,
}

impl Ran {
    fn failure_of(self) -> Failure {
        match (self.ended, self.failure) {
            (Err(error), _) => error.into(),
            (Ok(_), Some(failure)) => failure,
            (Ok(_), None) => Failure::new(Kind::Internal, "a run without an error was taken for one"),
        }
    }
}

/// Trains and records.
fn run_through(prepared: Prepared, watchers: Watchers, then: Then) -> Result<Ran, Failure> {
    let Prepared { job, plan, store, device, warnings, first_step, wish, earlier } = prepared;
    let Watchers { detail, board, screen, stop, exporter } = watchers;
    let clock = RunClock::start();
    let settings = job.settings();
    let about = (settings.model.as_str(), settings.batch_size * settings.accumulate, settings.seed);
    let place = wish.as_ref().map(|wish| Place::open(wish, clock, about)).transpose()?;
    if let (Some(wish), Some(place)) = (&wish, &place) {
        let lines = tune::run::beginning_lines(place, wish, (job.steps_per_epoch(), job.steps_total()))?;
        lines.iter().filter(|_| detail != Detail::Quiet).for_each(|line| output::note(line));
    }
    let mut recorder = Recorder::new(store.append_log()?, View::new(detail), board);
    recorder.record(&Record::RunStart(run_start(&job, &plan, &device, first_step)?));
    for message in warnings.into_iter().chain(place.as_ref().and_then(Place::label)) {
        recorder.record(&Record::Warning(WarningRecord { message }));
    }
    let checkpoints = CheckpointStore::create(&store.checkpoints())?;
    let (sink, records) = RecordSink::bounded();
    let listener = recorder.listen(records)?;
    let power = PowerWatch::start(
        clock,
        sink.clone(),
        place.as_ref().and_then(Place::meter),
        place.as_ref().and_then(Place::simulated_board),
    );
    let around = Surroundings { store: Some(checkpoints), sink: sink.clone(), clock, stop: &stop };
    let ended = match (&wish, place) {
        (Some(wish), Some(place)) => match Session::start(job, around) {
            Ok(session) => {
                tune::run::run(session, place, wish, earlier.as_ref(), &stop, store.folder(), then)
            }
            Err(error) => Ended::failed(error),
        },
        _ => Ended { result: engine::run(job, around), failure: None, tuned: None },
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
    let end = run_end(&result, recorder.figures(), clock, dropped, energy_j);
    recorder.record(&Record::RunEnd(end));
    let (figures, log) = recorder.finish();
    if let Some(screen) = screen {
        screen.finish();
    }
    drop(exporter);
    Ok(Ran { ended: result, failure, told, figures, log })
}

fn run_start(
    job: &Job,
    plan: &MemoryPlan,
    device: &ChosenDevice,
    first_step: u64,
) -> Result<RunStart, Failure> {
    let settings = job.settings();
    Ok(RunStart {
        started_at: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: settings.model.clone(),
        device: device_text(device),
        data: job.dataset().description(),
        host: host::description(),
        parameters: job.parameter_count() as u64,
        train_items: job.dataset().len(Split::Train) as u64,
        validation_items: job.dataset().len(Split::Validation) as u64,
        batch_size: settings.batch_size as u64,
        epochs: settings.epochs,
        steps_per_epoch: job.steps_per_epoch(),
        steps_total: job.steps_total(),
        first_step,
        planned_memory_bytes: plan.total(),
        settings_toml: toml::to_string(settings).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?,
    })
}

/// The device, why it was taken, and how minibatches get there where that is not as a matter of course.
fn device_text(device: &ChosenDevice) -> String {
    match device.feed {
        FeedWay::View => format!("{} ({})", device.name, device.reason),
        way => format!("{} ({}; feed {})", device.name, device.reason, way.name()),
    }
}

fn run_end(
    result: &Result<Outcome, TrainError>,
    figures: &SummaryBuilder,
    clock: RunClock,
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
        summary::json(&summary, store.folder()).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?
    } else {
        summary::text(&summary, &figures.energy(), store.folder().display())
    };
    output::result(&text);
    Ok(())
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
