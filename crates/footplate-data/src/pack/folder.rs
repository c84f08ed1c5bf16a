//! The folder that shards are written to. Its first file, `pack.toml`, says what the shards are made from. A folder that has
//! other files but no `pack.toml` is not touched.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use footplate_files::whole::PARTIAL_ENDING;

use super::plan::Plan;
use super::{FileWriter, PackError, PackOptions};
use crate::pack_marker::{COMPLETE, INCOMPLETE, MARKER, ORIGIN};
use crate::source::tar::CLASSES_FILE;

/// A folder that this process packs into.
pub(super) struct Folder {
    path: PathBuf,
    marker: String,
    /// Held while shards are written.
    _lock: File,
}

impl Folder {
    /// Creates the folder, or continues in one in which the same job was begun.
    pub(super) fn begin(
        disk: &dyn FileWriter,
        path: &Path,
        plan: &Plan,
        source: &Path,
        options: &PackOptions,
    ) -> Result<Self, PackError> {
        fs::create_dir_all(path).map_err(PackError::write("create", path))?;
        let lock = locked(path)?;
        let origin = format!("{ORIGIN}\"{:016x}\"", plan.origin);
        let marker_path = path.join(MARKER);
        match fs::read_to_string(&marker_path) {
            Ok(text) if text.lines().any(|line| line == origin) => {}
            Ok(_) => return Err(PackError::OtherPack { folder: path.to_owned() }),
            Err(_) => only_ours(path)?,
        }
        remove_partial(path)?;
        let marker = marker_text(plan, source, options, &origin);
        let folder = Self { path: path.to_owned(), marker, _lock: lock };
        folder.mark(disk, INCOMPLETE)?;
        Ok(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn mark(&self, disk: &dyn FileWriter, state: &str) -> Result<(), PackError> {
        let path = self.path(MARKER);
        let text = format!("{}{state}\n", self.marker);
        disk.write(&path, &mut |out| out.write_all(text.as_bytes())).map_err(PackError::write("write", &path))
    }

    /// Writes the class names, and marks the folder as complete.
    pub(super) fn finish(&self, disk: &dyn FileWriter, classes: &[String]) -> Result<(), PackError> {
        let path = self.path(CLASSES_FILE);
        // A line break in a name would shift all names after it.
        let name = |name: &String| name.replace(char::is_control, "_") + "\n";
        let names: String = classes.iter().map(name).collect();
        disk.write(&path, &mut |out: &mut dyn Write| out.write_all(names.as_bytes()))
            .map_err(PackError::write("write", &path))?;
        self.mark(disk, COMPLETE)
    }
}

fn marker_text(plan: &Plan, source: &Path, options: &PackOptions, origin: &str) -> String {
    let number = |value: Option<u64>| value.map_or("\"no\"".to_owned(), |value| value.to_string());
    let source = source.display().to_string();
    format!(
        "# Written by `footplate pack`: what these shards are made from.\nversion = 1\n{origin}\n\
         source = {source:?}\nsamples = {}\nshards = {}\nseed = {}\nresize = {}\nquality = {}\n",
        plan.samples,
        plan.shards.len(),
        options.seed,
        number(options.change.resize.map(u64::from)),
        number(options.change.quality.map(u64::from)),
    )
}

/// Locks the folder itself, which leaves no file behind. On a file system without locks, nothing is locked.
fn locked(path: &Path) -> Result<File, PackError> {
    let file = File::open(path).map_err(PackError::write("open", path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(PackError::Busy { folder: path.to_owned() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Checks that a folder without `pack.toml` is empty, except for an unfinished first file of a process that died.
fn only_ours(path: &Path) -> Result<(), PackError> {
    for entry in fs::read_dir(path).map_err(PackError::write("list", path))? {
        let name = entry.map_err(PackError::write("list", path))?.file_name().to_string_lossy().into_owned();
        if !is_partial(&name) {
            return Err(PackError::Foreign { folder: path.to_owned(), found: name });
        }
    }
    Ok(())
}

fn is_partial(name: &str) -> bool {
    let ours = [MARKER, CLASSES_FILE, "train-", "val-", "data-"];
    name.ends_with(PARTIAL_ENDING)
        && name.strip_prefix('.').is_some_and(|n| ours.iter().any(|o| n.starts_with(o)))
}

/// Removes unfinished files of a process that died. This process holds the lock, so that nobody is writing them.
fn remove_partial(path: &Path) -> Result<(), PackError> {
    for entry in fs::read_dir(path).map_err(PackError::write("list", path))? {
        let entry = entry.map_err(PackError::write("list", path))?;
        if is_partial(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(PackError::write("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Checks that the shards do not become part of their own source.
pub(super) fn not_inside(source: &Path, folder: &Path) -> Result<(), PackError> {
    let Ok(source) = source.canonicalize() else { return Ok(()) };
    let folder = std::path::absolute(folder).map_err(PackError::write("find", folder))?;
    let existing = folder.ancestors().find_map(|path| path.canonicalize().ok());
    match existing {
        Some(path) if path.starts_with(&source) => Err(PackError::Inside { folder }),
        _ => Ok(()),
    }
}
