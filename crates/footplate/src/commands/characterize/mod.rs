//! `footplate characterize`: runs a grid of settings, one run each in a process of its own, and compares them.

mod cells;
mod child;
mod simulated;
mod store;
mod study;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use footplate_device::preset::Presets;
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Device, Root};
use footplate_views::report::{RunView, compare};
use footplate_views::text::clock;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::{Failure, Kind};
use crate::view::{Detail, Progress};
use crate::{embedded, log_file, output};

use self::cells::{Cell, CellFile, State};
pub(crate) use self::store::Finished;
use self::store::StudyStore;
use self::study::{Modes, Study};

const EXAMPLES: &str = "\
Examples:
  footplate characterize examples/small.toml --dry-run            what would be run
  footplate characterize examples/small.toml                      run it; the same command goes on after Ctrl-C
  footplate characterize examples/sigmetrics23.toml --sim agx-orin    on a simulated board: no training, only its model
  footplate report studies/small                                  the page once more

Each run is a process of its own, so that memory and crashes stay apart. What is done already is skipped: settings are
compared by a hash that is kept with each run. A run that fails is recorded and told, and the study goes on.
A cold page cache is made with posix_fadvise on the data's files; it needs no rights. Modes need the rights of
`footplate mode set`. docs/characterize.md describes the study's file.
Exit codes: 0 done, 1 some runs failed, 2 usage or a study that makes no sense, 3 data that is not there, 4 storage,
7 interrupted: the same command goes on.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CharacterizeArguments {
    /// The study: a TOML file
    pub(crate) study: PathBuf,

    /// Where runs and the page go [default: studies/NAME-OF-THE-FILE]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// List the runs, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Take a simulated board in the place of this machine: its model's steps, not a training
    #[arg(long, value_name = "BOARD", help_heading = "Simulation")]
    pub(crate) sim: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// A study that is ready to run.
struct Session {
    title: String,
    cells: Vec<Cell>,
    store: StudyStore,
    /// The simulated board's name.
    sim: Option<String>,
    /// Set by each signal.
    stop: Arc<AtomicBool>,
    /// Seconds of the runs that were made now.
    taken: Vec<f64>,
}

/// What became of one cell now.
enum Came {
    Skipped,
    Ran(CellFile),
    Interrupted,
}

pub(crate) fn run(arguments: &CharacterizeArguments) -> Result<ExitCode, Failure> {
    let text = store::read_study(&arguments.study)?;
    let study = Study::parse(&text)
        .map_err(|e| Failure::new(Kind::Usage, format!("{}: {}", arguments.study.display(), e.trim_end())))?;
    let sim = arguments.sim.clone().or_else(|| study.sim.as_ref().map(|sim| sim.get_ref().clone()));
    if let Some(name) = &sim {
        simulated_board(name, 0)?;
    }
    let presets = presets(&study, sim.as_deref())?;
    let folder = arguments.study.parent().unwrap_or(Path::new(""));
    let cells = cells::cells(&study, folder, &presets, sim.as_deref());
    if sim.is_none() {
        store::check_places(&cells)?;
    }
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&arguments.study, sim.as_deref()));
    let name = arguments.study.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let title = study.title.clone().unwrap_or(name);
    if arguments.dry_run {
        return dry_run(&cells, &out, arguments.json);
    }
    let store = StudyStore::open(&out, &text, &title)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Failure::new(Kind::Machine, format!("signals: {e}")))?;
    }
    let mut session = Session { title, cells, store, sim, stop, taken: Vec::new() };
    let interrupted = session.run_all()?;
    session.finish(interrupted, arguments.json)
}

fn default_out(study: &Path, sim: Option<&str>) -> PathBuf {
    let name = study.file_stem().unwrap_or_default().to_string_lossy();
    let board = sim.map_or(String::new(), |board| format!("-sim-{}", board.replace(['@', '/'], "-")));
    Path::new("studies").join(format!("{name}{board}"))
}

/// The names that the word "presets" stands for, and whether named modes are there on a simulated board.
fn presets(study: &Study, sim: Option<&str>) -> Result<Vec<String>, Failure> {
    let wants_all = matches!(study.modes.as_ref().map(toml::Spanned::get_ref), Some(Modes::All(_)));
    if !wants_all {
        return Ok(Vec::new());
    }
    let root = match sim {
        Some(name) => simulated_board(name, 0)?.root(),
        None => Root::system(),
    };
    let presets = Presets::read(&Device::discover(root), &mut Vec::new());
    if presets.modes.is_empty() {
        let message = "modes = \"presets\": this machine has no presets (no /etc/nvpmodel.conf)";
        return Err(Failure::new(Kind::Machine, message)
            .hint("leave `modes` out, name modes of your own, or take a simulated board with --sim"));
    }
    Ok(presets.modes.into_iter().map(|mode| mode.name).collect())
}

fn simulated_board(name: &str, seed: u64) -> Result<SimBoard, Failure> {
    let options = SimOptions { seed, power_noise: 0.01, time_noise: 0.01, ..SimOptions::default() };
    SimBoard::new(name, options).map_err(|error| {
        let names = SimBoard::names().join(", ");
        Failure::new(Kind::Usage, error.to_string()).hint(format!("the simulated boards are {names}"))
    })
}

fn dry_run(cells: &[Cell], out: &Path, json: bool) -> Result<ExitCode, Failure> {
    let done = |cell: &Cell| {
        store::known(&out.join(store::CELLS).join(cell.folder()), cell)
            .is_some_and(|f| f.state == State::Done)
    };
    if json {
        let list =
            cells.iter().map(|cell| CellDocument::new(cell, done(cell).then_some(State::Done), None, out));
        let document = Document { out, report: None, cells: list.collect() };
        output::result(&document.text()?);
        return Ok(ExitCode::SUCCESS);
    }
    for (index, cell) in cells.iter().enumerate() {
        let state = if done(cell) { " (done)" } else { "" };
        output::result(&format!("{:>4}  {}{state}", index + 1, cell.words()));
    }
    let left = cells.iter().filter(|cell| !done(cell)).count();
    output::note(&format!("{} runs, {left} of them to be made, into {}", cells.len(), out.display()));
    Ok(ExitCode::SUCCESS)
}

impl Session {
    /// Runs what is not done. Gives whether a signal ended it.
    fn run_all(&mut self) -> Result<bool, Failure> {
        let embedded = self.embedded()?;
        if let Some(board) = &self.sim {
            output::note(&format!(
                "{board} is a simulated board: its model's steps are made, no training; all figures are simulated"
            ));
        }
        let cells = std::mem::take(&mut self.cells);
        let mut interrupted = false;
        for (index, cell) in cells.iter().enumerate() {
            let left = cells[index..].iter().filter(|cell| !self.store.is_done(cell)).count();
            match self.one(cell, embedded.as_deref())? {
                Came::Skipped => {}
                Came::Ran(file) => {
                    self.taken.push(file.seconds);
                    self.tell(index + 1, cells.len(), cell, &file, left.saturating_sub(1));
                }
                Came::Interrupted => {
                    interrupted = true;
                    break;
                }
            }
        }
        self.cells = cells;
        Ok(interrupted)
    }

    /// The embedded data set, made before the first run that needs it.
    fn embedded(&self) -> Result<Option<PathBuf>, Failure> {
        if self.sim.is_some() || self.cells.iter().all(|cell| cell.path.is_some()) {
            return Ok(None);
        }
        let cache = self.cells[0].train.get("cache-dir").and_then(toml::Value::as_str).map(PathBuf::from);
        embedded::folder(cache.as_deref(), &mut Progress::new(Detail::of_terminal(false))).map(Some)
    }

    fn one(&self, cell: &Cell, embedded: Option<&Path>) -> Result<Came, Failure> {
        if self.store.is_done(cell) {
            return Ok(Came::Skipped);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Came::Interrupted);
        }
        let folder = self.store.begin(cell)?;
        let begun = Instant::now();
        let result = match &self.sim {
            Some(board) => simulated::run(cell, board, &folder),
            None => child::run(cell, cell.path.as_deref().or(embedded), &folder, &self.stop),
        };
        let (state, error, notes) = match result {
            Ok(child::Ended::Done { notes }) => (State::Done, None, notes),
            Ok(child::Ended::Failed { error, notes }) => (State::Failed, Some(error), notes),
            Ok(child::Ended::Interrupted) => return Ok(Came::Interrupted),
            Err(failure) => (State::Failed, Some(failure.message), Vec::new()),
        };
        let settings = cell.settings();
        let file = CellFile {
            version: cells::VERSION,
            hash: cells::hash(&settings),
            state,
            seconds: begun.elapsed().as_secs_f64(),
            error,
            notes,
            settings,
            labels: cell.labels(),
        };
        self.store.end(cell, &file)?;
        Ok(Came::Ran(file))
    }

    fn tell(&self, number: usize, of: usize, cell: &Cell, file: &CellFile, left: usize) {
        let each = self.taken.iter().sum::<f64>() / self.taken.len() as f64;
        let eta = clock(std::time::Duration::from_secs_f64(each * left as f64));
        let what = match &file.error {
            Some(error) => format!("failed: {error}"),
            None => format!("{:.1} s", file.seconds),
        };
        output::note(&format!("[{number}/{of}] {}: {what}; {left} to go, about {eta}", cell.words()));
        file.notes.iter().for_each(|note| output::warning(note));
    }

    /// The page, and what it came to.
    fn finish(&self, interrupted: bool, json: bool) -> Result<ExitCode, Failure> {
        let report = self.store.folder().join("report.html");
        let files: Vec<Option<CellFile>> = self.cells.iter().map(|cell| self.store.known(cell)).collect();
        let count = |state: State| files.iter().flatten().filter(|file| file.state == state).count();
        let (done, failed) = (count(State::Done), count(State::Failed));
        let views = self.views(&files)?;
        let written = if views.is_empty() { None } else { Some(report.as_path()) };
        if let Some(path) = written {
            let html = compare(&self.title, &views, &self.notes(&files, interrupted));
            log_file::write_whole(path, html.as_bytes())?;
        }
        if json {
            let cell = |(cell, file): (&Cell, &Option<CellFile>)| {
                CellDocument::new(cell, file.as_ref().map(|f| f.state), file.as_ref(), self.store.folder())
            };
            let cells = self.cells.iter().zip(&files).map(cell).collect();
            let document = Document { out: self.store.folder(), report: written, cells };
            output::result(&document.text()?);
        } else if let Some(path) = written {
            output::result(&path.display().to_string());
        }
        output::note(&format!("{done} of {} runs are done, {failed} failed", self.cells.len()));
        if interrupted {
            output::note("interrupted; the same command goes on");
            return Ok(Kind::Interrupted.exit_code());
        }
        Ok(if failed > 0 { Kind::Internal.exit_code() } else { ExitCode::SUCCESS })
    }

    fn views(&self, files: &[Option<CellFile>]) -> Result<Vec<RunView>, Failure> {
        let done = self.cells.iter().zip(files).filter_map(|(cell, file)| Some((cell, file.as_ref()?)));
        done.filter(|(_, file)| file.state == State::Done)
            .map(|(cell, file)| store::view(&self.store.cell_folder(cell), file))
            .collect()
    }

    fn notes(&self, files: &[Option<CellFile>], interrupted: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(board) = &self.sim {
            notes.push(format!(
                "All figures are those of a model of {board}: no board was measured and nothing was trained. A run is the \
                 simulated board's own work load for the network, with the loader's threads as the study says."
            ));
        }
        if interrupted {
            notes.push("The study was interrupted: runs that were not made are missing here.".to_owned());
        }
        for (cell, file) in self.cells.iter().zip(files) {
            match file {
                Some(CellFile { error: Some(error), .. }) => {
                    notes.push(format!("Failed: {}: {error}", cell.words()));
                }
                Some(file) => notes.extend(file.notes.iter().map(|note| format!("{}: {note}", cell.words()))),
                None => {}
            }
        }
        notes.sort();
        notes.dedup();
        notes
    }
}

#[derive(Serialize)]
struct Document<'a> {
    out: &'a Path,
    report: Option<&'a Path>,
    cells: Vec<CellDocument>,
}

impl Document<'_> {
    fn text(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(|e| Failure::new(Kind::Internal, e.to_string()))
    }
}

/// A cell; `null` is what is not known yet.
#[derive(Serialize)]
struct CellDocument {
    name: String,
    folder: PathBuf,
    state: Option<State>,
    seconds: Option<f64>,
    error: Option<String>,
    simulated: bool,
}

impl CellDocument {
    fn new(cell: &Cell, state: Option<State>, file: Option<&CellFile>, out: &Path) -> Self {
        Self {
            name: cell.words(),
            folder: out.join(store::CELLS).join(cell.folder()),
            state,
            seconds: file.map(|file| file.seconds),
            error: file.and_then(|file| file.error.clone()),
            simulated: cell.sim.is_some(),
        }
    }
}

/// The page of a study that was run: for `footplate report`. `None`: the folder holds no study.
pub(crate) fn finished(folder: &Path) -> Result<Option<Finished>, Failure> {
    store::finished(folder)
}
