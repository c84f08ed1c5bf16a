//! A folder of checkpoints.
#![expect(clippy::disallowed_methods, reason = "keeps checkpoints in files")]

use std::fs;
use std::path::{Path, PathBuf};

use footplate_files::whole;

use super::{Checkpoint, CheckpointError, decode, encode};

/// Checkpoints that are kept besides the best: the newest, and the one before in case the newest is damaged.
const KEPT: usize = 2;
const ENDING: &str = ".ckpt";
const BEST: &str = "best.ckpt";

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
}

/// A checkpoint that could not be used.
#[derive(Debug)]
pub struct Rejected {
    /// The file that was rejected.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub error: CheckpointError,
}

impl CheckpointStore {
    /// Opens `folder`, making it where it is not there.
    pub fn create(folder: &Path) -> Result<Self, CheckpointError> {
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Opens a folder that may not be there.
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where the checkpoints are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a checkpoint, then removes those that are too old. Returns its file name and its size in bytes.
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<(String, u64), CheckpointError> {
        // The steps are padded so that names sort as numbers do.
        let name = format!("step-{:012}{ENDING}", checkpoint.progress.steps);
        let size = self.write_as(&name, checkpoint)?;
        self.remove_old();
        Ok((name, size))
    }

    /// Writes the checkpoint of the best model, in place of the one before.
    pub fn write_best(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        self.write_as(BEST, checkpoint).map(|_| ())
    }

    fn write_as(&self, name: &str, checkpoint: &Checkpoint) -> Result<u64, CheckpointError> {
        let path = self.folder.join(name);
        whole::write(&path, |file| encode(checkpoint, file)).map_err(io_error("write", &path))
    }

    /// The newest checkpoint that can be used, and the newer ones that cannot.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<Rejected>), CheckpointError> {
        let mut rejected = Vec::new();
        for path in self.step_files()?.into_iter().rev() {
            match read(&path) {
                Ok(checkpoint) => return Ok((Some(checkpoint), rejected)),
                Err(error) => rejected.push(Rejected { path, error }),
            }
        }
        Ok((None, rejected))
    }

    /// As [`Self::newest`]; a folder that is not there holds none.
    pub fn newest_if_any(&self) -> Result<(Option<Checkpoint>, Vec<Rejected>), CheckpointError> {
        match self.newest() {
            Err(CheckpointError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok((None, Vec::new()))
            }
            other => other,
        }
    }

    /// The checkpoint of the best model, if there is one.
    pub fn best(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let path = self.folder.join(BEST);
        match read(&path) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(CheckpointError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Files of steps, oldest first.
    fn step_files(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let entries = fs::read_dir(&self.folder).map_err(io_error("list", &self.folder))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.folder))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("step-") && name.ends_with(ENDING) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// Old checkpoints and what a crash left. That one of them cannot be removed costs space, not the run.
    fn remove_old(&self) {
        let Ok(files) = self.step_files() else { return };
        for path in files.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(path);
        }
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with(whole::PARTIAL_ENDING) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    decode(&bytes)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    move |source| CheckpointError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{bytes_of, small};
    use super::*;

    fn store_with_steps(folder: &Path, steps: &[u64]) -> CheckpointStore {
        let store = CheckpointStore::create(folder).unwrap();
        for steps in steps {
            let mut checkpoint = small();
            checkpoint.progress.steps = *steps;
            store.write(&checkpoint).unwrap();
        }
        store
    }

    fn newest_steps(store: &CheckpointStore) -> (Option<u64>, usize) {
        let (checkpoint, rejected) = store.newest().unwrap();
        (checkpoint.map(|c| c.progress.steps), rejected.len())
    }

    #[test]
    fn the_two_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_steps(folder.path(), &[9, 10, 100]);
        let names: Vec<_> =
            store.step_files().unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["step-000000000010.ckpt", "step-000000000100.ckpt"]);
    }

    #[test]
    fn a_newest_that_is_cut_at_any_byte_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_steps(folder.path(), &[1, 2]);
        let newest = folder.path().join("step-000000000002.ckpt");
        let bytes = fs::read(&newest).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&newest, &bytes[..cut]).unwrap();
            assert_eq!(newest_steps(&store), (Some(1), 1), "cut at {cut}");
        }
        fs::write(&newest, &bytes).unwrap();
        assert_eq!(newest_steps(&store), (Some(2), 0));
    }

    #[test]
    fn a_partial_file_is_neither_read_nor_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_steps(folder.path(), &[1]);
        let partial = folder.path().join(".step-000000000002.ckpt.77.partial");
        fs::write(&partial, &bytes_of(&small())[..50]).unwrap();
        assert_eq!(newest_steps(&store), (Some(1), 0));
        store_with_steps(folder.path(), &[3]);
        assert!(!partial.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let full = whole::write(&path, |_| Err::<(), _>(std::io::ErrorKind::StorageFull.into()));
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_has_none_and_one_that_cannot_be_listed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(&folder.path().join("none"));
        assert!(matches!(store.newest(), Err(CheckpointError::Io { action: "list", .. })));
        let (checkpoint, rejected) = store.newest_if_any().unwrap();
        assert!(checkpoint.is_none() && rejected.is_empty());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(CheckpointStore::open(&file).newest_if_any().is_err());
    }

    #[test]
    fn the_best_is_kept_beside_the_newest_and_is_none_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_steps(folder.path(), &[5]);
        assert!(store.best().unwrap().is_none());
        let mut best = small();
        best.progress.steps = 3;
        store.write_best(&best).unwrap();
        store_with_steps(folder.path(), &[6, 7, 8]);
        assert_eq!(store.best().unwrap().unwrap().progress.steps, 3);
        assert_eq!(newest_steps(&store), (Some(8), 0));
        fs::write(folder.path().join(BEST), "damaged").unwrap();
        assert!(matches!(
            store.best(),
            Err(CheckpointError::NotACheckpoint | CheckpointError::Truncated { .. })
        ));
    }

    #[test]
    fn all_that_are_damaged_are_named_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with_steps(folder.path(), &[1, 2]);
        for step in [1, 2] {
            fs::write(folder.path().join(format!("step-{step:012}.ckpt")), b"FOOTPLCK\x09\0\0\0").unwrap();
        }
        let (checkpoint, rejected) = store.newest().unwrap();
        assert!(checkpoint.is_none());
        let names: Vec<_> = rejected.iter().map(|r| r.path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["step-000000000002.ckpt", "step-000000000001.ckpt"]);
        assert!(rejected.iter().all(|r| matches!(r.error, CheckpointError::Version { found: 9 })));
    }
}
