//! `footplate characterize`: runs a grid of settings, one run each in a process of its own, and compares them.

mod child;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use footplate_device::preset::Presets;
use footplate_device::{Device, Root};
use footplate_files::whole;
use footplate_run::run_machine::simulated_board;
use footplate_run::study::cells::{self, Cell, CellFile, CellState};
use footplate_run::study::file::{Known, Modes, Study, StudyError};
use footplate_run::study::folder::{self, CellFolder, StudyFolder};
use footplate_run::study::simulated;
use footplate_train::model;
use footplate_train::prepare::embedded_data;
use footplate_views::report::{RunView, compare};
use footplate_views::text::clock;
use serde::Serialize;

use super::report;
use crate::failure::{Failure, Kind};
use crate::options::{self, TrainOptions};
use crate::view::{Detail, Progress};
use crate::{cache_folder, output, signals};

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
    store: StudyFolder,
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
    let (text, study) = read(&arguments.study)?;
    let sim = arguments.sim.clone().or_else(|| study.sim.as_ref().map(|sim| sim.get_ref().clone()));
    if let Some(name) = &sim {
        simulated_board(name, 0)?;
    }
    let presets = presets(&study, sim.as_deref())?;
    let beside = arguments.study.parent().unwrap_or(Path::new(""));
    let cells = cells::cells(&study, beside, &presets, sim.as_deref());
    if sim.is_none() {
        folder::check_data(&cells)?;
    }
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&arguments.study, sim.as_deref()));
    let name = arguments.study.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let title = study.title.clone().unwrap_or(name);
    if arguments.dry_run {
        return dry_run(&cells, &out, arguments.json);
    }
    let store = StudyFolder::open(&out, &text, &title)?;
    let stop = signals::flag_each()?;
    let mut session = Session { title, cells, store, sim, stop, taken: Vec::new() };
    let interrupted = session.run_all()?;
    session.finish(interrupted, arguments.json)
}

/// The study's text, and what it says.
fn read(path: &Path) -> Result<(String, Study), Failure> {
    let text = options::read(path).map_err(|e| {
        Failure::new(Kind::Usage, format!("cannot read the study {}: {e}", path.display()))
            .hint("examples/ holds studies; docs/characterize.md describes their form")
    })?;
    let models: Vec<&str> = model::models().iter().map(|model| model.name).collect();
    let check_train = |table: &toml::Table| {
        let options: Result<TrainOptions, _> = table.clone().try_into();
        options.map(|_| ()).map_err(|e| e.to_string().trim().to_owned())
    };
    let study = Study::parse(&text, Known { models: &models, check_train: &check_train });
    let wrong = |e: StudyError| format!("{}: {}", path.display(), e.to_string().trim_end());
    Ok((text, study.map_err(|e| Failure::new(Kind::Usage, wrong(e)))?))
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

fn dry_run(cells: &[Cell], out: &Path, json: bool) -> Result<ExitCode, Failure> {
    let done = |cell: &Cell| CellFolder::of(out, cell).is_done(cell);
    if json {
        let list = cells
            .iter()
            .map(|cell| CellDocument::new(cell, done(cell).then_some(CellState::Done), None, out));
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
            let left = cells[index..].iter().filter(|cell| !self.store.cell(cell).is_done(cell)).count();
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
        let mut progress = Progress::new(Detail::of_terminal(false));
        let made = embedded_data(cache.or_else(cache_folder::user_cache).as_deref(), &mut |what| {
            progress.prepares(what);
        });
        progress.clear();
        Ok(Some(made?))
    }

    fn one(&self, cell: &Cell, embedded: Option<&Path>) -> Result<Came, Failure> {
        if self.store.cell(cell).is_done(cell) {
            return Ok(Came::Skipped);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Came::Interrupted);
        }
        let folder = self.store.begin(cell)?;
        let begun = Instant::now();
        let result = match &self.sim {
            Some(board) => {
                let (now, version) = (jiff::Timestamp::now().to_string(), env!("CARGO_PKG_VERSION"));
                let made = simulated::run(cell, board, &folder, &now, version);
                made.map(|()| child::Ended::Done { notes: Vec::new() }).map_err(Failure::from)
            }
            None => child::run(cell, cell.path.as_deref().or(embedded), &folder, &self.stop),
        };
        let (error, notes) = match result {
            Ok(child::Ended::Done { notes }) => (None, notes),
            Ok(child::Ended::Failed { error, notes }) => (Some(error), notes),
            Ok(child::Ended::Interrupted) => return Ok(Came::Interrupted),
            Err(failure) => (Some(failure.message), Vec::new()),
        };
        let file = CellFile::new(cell, begun.elapsed().as_secs_f64(), error, notes);
        folder.end(&file)?;
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
        let report = self.store.path().join("report.html");
        let files: Vec<Option<CellFile>> =
            self.cells.iter().map(|cell| self.store.cell(cell).known(cell)).collect();
        let count = |state: CellState| files.iter().flatten().filter(|file| file.state == state).count();
        let (done, failed) = (count(CellState::Done), count(CellState::Failed));
        let views = self.views(&files)?;
        let written = if views.is_empty() { None } else { Some(report.as_path()) };
        if let Some(path) = written {
            let html = compare(&self.title, &views, &self.notes(&files, interrupted));
            whole::write_bytes(path, html.as_bytes()).map_err(|e| Failure::io("write", path, &e))?;
        }
        if json {
            let cell = |(cell, file): (&Cell, &Option<CellFile>)| {
                CellDocument::new(cell, file.as_ref().map(|f| f.state), file.as_ref(), self.store.path())
            };
            let cells = self.cells.iter().zip(&files).map(cell).collect();
            let document = Document { out: self.store.path(), report: written, cells };
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
        done.filter(|(_, file)| file.state == CellState::Done)
            .map(|(cell, file)| view(&self.store.cell(cell), file))
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
    state: Option<CellState>,
    seconds: Option<f64>,
    error: Option<String>,
    simulated: bool,
}

impl CellDocument {
    fn new(cell: &Cell, state: Option<CellState>, file: Option<&CellFile>, out: &Path) -> Self {
        Self {
            name: cell.words(),
            folder: CellFolder::of(out, cell).path().to_owned(),
            state,
            seconds: file.map(|file| file.seconds),
            error: file.and_then(|file| file.error.clone()),
            simulated: cell.sim.is_some(),
        }
    }
}

/// A cell's run, with the study's names.
fn view(folder: &CellFolder, file: &CellFile) -> Result<RunView, Failure> {
    let mut view = report::read(&folder.run())?;
    view.name = folder.name();
    view.labels.extend(file.labels.clone());
    Ok(view)
}

/// A study that was run, for `footplate report`: its title, the runs that are done, and what is to be known of the others.
pub(crate) struct Finished {
    pub(crate) title: String,
    pub(crate) views: Vec<RunView>,
    pub(crate) notes: Vec<String>,
}

/// The page of a study that was run: for `footplate report`. `None`: the folder holds no study.
pub(crate) fn finished(folder: &Path) -> Result<Option<Finished>, Failure> {
    let Some(study) = folder::finished(folder)? else { return Ok(None) };
    let views: Vec<RunView> =
        study.done.iter().map(|(folder, file)| view(folder, file)).collect::<Result<_, _>>()?;
    if views.is_empty() {
        let message = format!("{}: no run of this study is done", folder.display());
        return Err(Failure::new(Kind::Data, message).hint("footplate characterize goes on with it"));
    }
    Ok(Some(Finished { title: study.title, views, notes: study.notes }))
}
