//! A study's folder: `study.toml` (a copy of what was asked for), `cells/NAME-HASH/` with `cell.toml`, the run in `run/`
//! and what it said in `stderr.txt`, and `report.html`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use footplate_views::report::RunView;

use crate::commands::report;
use crate::failure::{Failure, Kind};
use crate::log_file::write_whole;

use super::cells::{Cell, CellFile, State, VERSION};

/// Where the cells are.
pub(super) const CELLS: &str = "cells";
const STUDY_FILE: &str = "study.toml";
const TITLE_FILE: &str = "title.txt";
const CELL_FILE: &str = "cell.toml";
/// The run's folder in a cell's.
pub(super) const RUN: &str = "run";
/// What the run's process said.
pub(super) const SAID: &str = "stderr.txt";
/// The child's settings.
pub(super) const SETTINGS: &str = "settings.toml";

/// A study's folder, held by this process.
pub(super) struct StudyStore {
    folder: PathBuf,
    _lock: File,
}

/// The study's text.
pub(super) fn read_study(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| {
        Failure::new(Kind::Usage, format!("cannot read the study {}: {e}", path.display()))
            .hint("examples/ holds studies; docs/characterize.md describes their form")
    })
}

/// All data must be there before anything is run.
pub(super) fn check_places(cells: &[Cell]) -> Result<(), Failure> {
    for path in cells.iter().filter_map(|cell| cell.path.as_ref()) {
        let is_pattern = path.to_string_lossy().contains('{');
        if !is_pattern && !path.exists() {
            return Err(Failure::new(Kind::Data, format!("there is no data at {}", path.display()))
                .hint("paths of a study are relative to its file"));
        }
    }
    Ok(())
}

impl StudyStore {
    /// Takes the folder; two processes must not run the same study.
    pub(super) fn open(folder: &Path, study: &str, title: &str) -> Result<Self, Failure> {
        let cells = folder.join(CELLS);
        fs::create_dir_all(&cells).map_err(|e| Failure::io("create the study's folder", &cells, &e))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(|e| Failure::io("create", &path, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process runs a study in {}", folder.display());
                return Err(
                    Failure::new(Kind::Usage, message).hint("wait for it, or name another folder with --out")
                );
            }
            Err(TryLockError::Error(e)) => return Err(Failure::io("lock", &path, &e)),
        }
        write_whole(&folder.join(STUDY_FILE), study.as_bytes())?;
        write_whole(&folder.join(TITLE_FILE), title.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn cell_folder(&self, cell: &Cell) -> PathBuf {
        self.folder.join(CELLS).join(cell.folder())
    }

    /// What is known of a cell from earlier or now.
    pub(super) fn known(&self, cell: &Cell) -> Option<CellFile> {
        known(&self.cell_folder(cell), cell)
    }

    pub(super) fn is_done(&self, cell: &Cell) -> bool {
        self.known(cell).is_some_and(|file| file.state == State::Done)
    }

    /// An empty folder for a cell: what an earlier try left there is removed.
    pub(super) fn begin(&self, cell: &Cell) -> Result<PathBuf, Failure> {
        let folder = self.cell_folder(cell);
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io("remove", &folder, &error)),
        }
        fs::create_dir_all(&folder).map_err(|e| Failure::io("create", &folder, &e))?;
        Ok(folder)
    }

    /// Keeps what became of a cell. Only then it counts.
    pub(super) fn end(&self, cell: &Cell, file: &CellFile) -> Result<(), Failure> {
        let text = toml::to_string(file).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?;
        write_whole(&self.cell_folder(cell).join(CELL_FILE), text.as_bytes())
    }
}

/// The cell's file, if it is whole and of these settings.
pub(super) fn known(folder: &Path, cell: &Cell) -> Option<CellFile> {
    let file = read_cell(folder)?;
    (file.settings == cell.settings()).then_some(file)
}

fn read_cell(folder: &Path) -> Option<CellFile> {
    let file: CellFile = toml::from_str(&fs::read_to_string(folder.join(CELL_FILE)).ok()?).ok()?;
    (file.version == VERSION).then_some(file)
}

/// A file that a child writes to.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|e| Failure::io("create", path, &e))
}

/// The line of a child's words that tells why it failed: the last error, or the last line.
pub(super) fn last_words(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    let error = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty())).map(ToOwned::to_owned)
}

/// A cell's run, with the study's names.
pub(super) fn view(folder: &Path, file: &CellFile) -> Result<RunView, Failure> {
    let mut view = report::read(&folder.join(RUN))?;
    view.name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    view.labels.extend(file.labels.clone());
    Ok(view)
}

/// A study that was run: its title, the runs that are done, and what is to be known of the others.
pub(crate) struct Finished {
    pub(crate) title: String,
    pub(crate) views: Vec<RunView>,
    pub(crate) notes: Vec<String>,
}

/// All runs of a study that was run, by the order of their folders' names.
pub(super) fn finished(folder: &Path) -> Result<Option<Finished>, Failure> {
    if !folder.join(STUDY_FILE).is_file() {
        return Ok(None);
    }
    let title = fs::read_to_string(folder.join(TITLE_FILE)).unwrap_or_else(|_| folder.display().to_string());
    let path = folder.join(CELLS);
    let entries = fs::read_dir(&path).map_err(|e| Failure::io("read", &path, &e))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let (mut views, mut notes) = (Vec::new(), Vec::new());
    for cell in folders {
        let name = cell.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match read_cell(&cell) {
            Some(file) if file.state == State::Done => {
                notes.extend(file.notes.iter().map(|note| format!("{name}: {note}")));
                views.push(view(&cell, &file)?);
            }
            Some(file) => notes.push(format!("Failed: {name}: {}", file.error.unwrap_or_default())),
            None => notes.push(format!("{name} has not ended.")),
        }
    }
    if views.is_empty() {
        let message = format!("{}: no run of this study is done", folder.display());
        return Err(Failure::new(Kind::Data, message).hint("footplate characterize goes on with it"));
    }
    Ok(Some(Finished { title, views, notes }))
}
