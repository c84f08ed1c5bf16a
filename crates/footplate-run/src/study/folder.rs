//! A study's folder: `study.toml` (a copy of what was asked for), `cells/NAME-HASH/` with `cell.toml`, the run in `run/`
//! and what its process printed in `stderr.txt`, and `report.html`.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "files of a run are opened here")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use footplate_files::lock::{Lock, LockError};
use footplate_files::whole;

use super::cells::{Cell, CellFile, CellState, VERSION};
use crate::error::RunError;

const CELLS: &str = "cells";
const STUDY_FILE: &str = "study.toml";
const TITLE_FILE: &str = "title.txt";
const CELL_FILE: &str = "cell.toml";
const RUN: &str = "run";
const STDERR: &str = "stderr.txt";
const SETTINGS: &str = "settings.toml";

/// Refuses a study whose data is not there, before anything is run. Patterns of shards are not looked at.
pub fn check_data(cells: &[Cell]) -> Result<(), RunError> {
    let is_pattern = |path: &Path| path.to_string_lossy().contains('{');
    let mut paths = cells.iter().filter_map(|cell| cell.path.as_deref());
    match paths.find(|path| !is_pattern(path) && !path.exists()) {
        Some(path) => Err(RunError::NoData { path: path.to_owned() }),
        None => Ok(()),
    }
}

/// A study's folder, held by this process.
#[derive(Debug)]
pub struct StudyFolder {
    path: PathBuf,
    _lock: Lock,
}

impl StudyFolder {
    /// Takes the folder, making it if need be; two processes must not run the same study. `study` is the text of the
    /// study's file.
    pub fn open(path: &Path, study: &str, title: &str) -> Result<Self, RunError> {
        let cells = path.join(CELLS);
        fs::create_dir_all(&cells).map_err(RunError::file("create the study's folder", &cells))?;
        let lock = Lock::take(&path.join(".lock")).map_err(|error| match error {
            LockError::Held { .. } => RunError::StudyHeld { folder: path.to_owned() },
            LockError::File { action, path, source } => RunError::File { action, path, source },
        })?;
        write(&path.join(STUDY_FILE), study)?;
        write(&path.join(TITLE_FILE), title)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one cell.
    pub fn cell(&self, cell: &Cell) -> CellFolder {
        CellFolder::of(&self.path, cell)
    }

    /// An empty folder for a cell: what an earlier try left there is removed.
    pub fn begin(&self, cell: &Cell) -> Result<CellFolder, RunError> {
        let folder = self.cell(cell);
        match fs::remove_dir_all(&folder.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RunError::file("remove", &folder.path)(error)),
        }
        fs::create_dir_all(&folder.path).map_err(RunError::file("create", &folder.path))?;
        Ok(folder)
    }
}

/// The folder of a cell in a study's folder.
#[derive(Clone, Debug)]
pub struct CellFolder {
    path: PathBuf,
}

impl CellFolder {
    /// The folder that a cell has, or will have, in a study's folder.
    pub fn of(study: &Path, cell: &Cell) -> Self {
        Self { path: study.join(CELLS).join(cell.folder_name()) }
    }

    /// The cell's own folder, below `cells/`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which tells one cell from another.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The folder of the cell's run.
    pub fn run(&self) -> PathBuf {
        self.path.join(RUN)
    }

    /// Writes the settings file of the run's process, and gives its path.
    pub fn write_settings(&self, text: &str) -> Result<PathBuf, RunError> {
        let path = self.path.join(SETTINGS);
        write(&path, text)?;
        Ok(path)
    }

    /// A file for what the run's process prints on stderr.
    pub fn create_stderr(&self) -> Result<File, RunError> {
        let path = self.path.join(STDERR);
        File::create(&path).map_err(RunError::file("create", &path))
    }

    /// The line of what the process printed that tells why it failed: the last error, or the last line.
    pub fn last_words(&self) -> Option<String> {
        let bytes = fs::read(self.path.join(STDERR)).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let error = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
        error.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty())).map(ToOwned::to_owned)
    }

    /// What is known of the cell from earlier or now: its file, if it is whole and of these settings.
    pub fn known(&self, cell: &Cell) -> Option<CellFile> {
        self.read().filter(|file| file.settings == cell.settings())
    }

    /// Whether the cell's run was made.
    pub fn is_done(&self, cell: &Cell) -> bool {
        self.known(cell).is_some_and(|file| file.state == CellState::Done)
    }

    /// Keeps what became of the cell. Only then it counts.
    pub fn end(&self, file: &CellFile) -> Result<(), RunError> {
        let text = toml::to_string(file).map_err(|e| RunError::Encoding(e.to_string()))?;
        write(&self.path.join(CELL_FILE), &text)
    }

    fn read(&self) -> Option<CellFile> {
        let file: CellFile = toml::from_str(&fs::read_to_string(self.path.join(CELL_FILE)).ok()?).ok()?;
        (file.version == VERSION).then_some(file)
    }
}

/// A study that was run.
#[derive(Debug)]
pub struct FinishedStudy {
    /// What its page is called.
    pub title: String,
    /// The cells whose run is done, by the order of their folders' names.
    pub done: Vec<(CellFolder, CellFile)>,
    /// What is to be known of cells: their notes, and which failed or have not ended.
    pub notes: Vec<String>,
}

/// All runs of a study that was run; `None`: the folder holds no study.
pub fn finished(folder: &Path) -> Result<Option<FinishedStudy>, RunError> {
    if !folder.join(STUDY_FILE).is_file() {
        return Ok(None);
    }
    let title = fs::read_to_string(folder.join(TITLE_FILE)).unwrap_or_else(|_| folder.display().to_string());
    let path = folder.join(CELLS);
    let entries = fs::read_dir(&path).map_err(RunError::file("read", &path))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let mut study = FinishedStudy { title, done: Vec::new(), notes: Vec::new() };
    for folder in folders.into_iter().map(|path| CellFolder { path }) {
        let name = folder.name();
        match folder.read() {
            Some(file) if file.state == CellState::Done => {
                study.notes.extend(file.notes.iter().map(|note| format!("{name}: {note}")));
                study.done.push((folder, file));
            }
            Some(file) => study.notes.push(format!("Failed: {name}: {}", file.error.unwrap_or_default())),
            None => study.notes.push(format!("{name} has not ended.")),
        }
    }
    Ok(Some(study))
}

fn write(path: &Path, text: &str) -> Result<(), RunError> {
    whole::write_bytes(path, text.as_bytes()).map_err(RunError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::study::cells::cells;
    use crate::study::file::{Known, Study};

    fn some_cells() -> Vec<Cell> {
        let text = "models = [\"lenet5\"]\nbatch-sizes = [8, 16]\n[[data]]\nname = \"d\"\npath = \"data\"\n";
        let known = Known { models: &["lenet5"], check_train: &|_| Ok(()) };
        cells(&Study::parse(text, known).unwrap(), Path::new("/studies"), &[], None)
    }

    fn study(place: &Path) -> StudyFolder {
        StudyFolder::open(&place.join("study"), "models = []", "A title").unwrap()
    }

    #[test]
    fn a_cell_counts_only_when_its_end_was_kept_and_for_its_own_settings() {
        let place = tempfile::tempdir().unwrap();
        let study = study(place.path());
        let [cell, other] = &some_cells()[..] else { panic!("two cells") };
        let folder = study.begin(cell).unwrap();
        assert!(!folder.is_done(cell));
        folder.end(&CellFile::new(cell, 1.5, None, vec!["a note".into()])).unwrap();
        assert!(folder.is_done(cell) && !folder.is_done(other) && !study.cell(other).is_done(other));
        assert_eq!(folder.known(cell).unwrap().notes, ["a note"]);
        // Whoever tries again begins with nothing.
        study.begin(cell).unwrap();
        assert!(!folder.is_done(cell));
    }

    #[test]
    fn a_cell_file_that_is_damaged_or_of_another_version_is_not_known() {
        let place = tempfile::tempdir().unwrap();
        let study = study(place.path());
        let cell = &some_cells()[0];
        let folder = study.begin(cell).unwrap();
        let path = folder.path().join(CELL_FILE);
        folder.end(&CellFile::new(cell, 1.5, Some("no memory".into()), Vec::new())).unwrap();
        assert_eq!(folder.known(cell).unwrap().state, CellState::Failed);
        let good = fs::read_to_string(&path).unwrap();
        for bad in [good.replace("version = 1", "version = 2"), good[..good.len() / 2].to_owned()] {
            fs::write(&path, bad).unwrap();
            assert_eq!(folder.known(cell), None);
        }
    }

    #[test]
    fn two_processes_cannot_run_the_same_study() {
        let place = tempfile::tempdir().unwrap();
        let held = study(place.path());
        let second = StudyFolder::open(held.path(), "", "").unwrap_err();
        assert!(matches!(second, RunError::StudyHeld { .. }) && second.kind() == ErrorKind::Usage);
        drop(held);
        study(place.path());
    }

    #[test]
    fn the_last_words_are_the_last_error_or_else_the_last_line() {
        let place = tempfile::tempdir().unwrap();
        let folder = CellFolder { path: place.path().to_owned() };
        assert_eq!(folder.last_words(), None);
        for (said, words) in [
            ("", None),
            ("\n \n", None),
            ("epoch 1\nepoch 2\n\n", Some("epoch 2")),
            ("error: first\nerror: no memory\nhint: less\n", Some("no memory")),
        ] {
            fs::write(place.path().join(STDERR), said).unwrap();
            assert_eq!(folder.last_words().as_deref(), words, "{said:?}");
        }
    }

    #[test]
    fn data_that_is_not_there_is_refused_and_patterns_are_let_be() {
        let mut cells = some_cells();
        assert_eq!(check_data(&cells).unwrap_err().to_string(), "there is no data at /studies/data");
        cells.iter_mut().for_each(|cell| cell.path = Some("/no/{000..009}.tar".into()));
        check_data(&cells).unwrap();
        cells.iter_mut().for_each(|cell| cell.path = None);
        check_data(&cells).unwrap();
    }

    #[test]
    fn a_finished_study_lists_what_is_done_and_says_what_became_of_the_rest() {
        let place = tempfile::tempdir().unwrap();
        assert!(finished(place.path()).unwrap().is_none());
        let study = study(place.path());
        let [done, failed] = &some_cells()[..] else { panic!("two cells") };
        study.begin(done).unwrap().end(&CellFile::new(done, 1.0, None, vec!["warm".into()])).unwrap();
        study
            .begin(failed)
            .unwrap()
            .end(&CellFile::new(failed, 1.0, Some("broke".into()), Vec::new()))
            .unwrap();
        fs::create_dir(study.path().join(CELLS).join("zz-begun")).unwrap();
        let read = finished(study.path()).unwrap().unwrap();
        assert_eq!((read.title.as_str(), read.done.len()), ("A title", 1));
        assert_eq!(read.done[0].0.name(), done.folder_name());
        let notes = read.notes.join("; ");
        for part in [": warm", "Failed: ", ": broke", "zz-begun has not ended"] {
            assert!(notes.contains(part), "{part}: {notes}");
        }
    }
}
