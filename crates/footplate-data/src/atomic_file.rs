//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Ending of files that are being written. One that is found is what a crash left, and may be removed.
pub const PARTIAL_ENDING: &str = ".partial";

/// Writes `path` through a neighbour: write, fsync, rename, fsync the folder. After an error the old file
/// (or none) is there, and the neighbour is gone.
pub fn write<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>) -> io::Result<T> {
    let partial = partial_path(path).ok_or(io::ErrorKind::InvalidInput)?;
    let result = write_partial(&partial, fill).and_then(|value| {
        fs::rename(&partial, path)?;
        sync_folder(path)?;
        Ok(value)
    });
    if result.is_err() {
        // What is left of it is of no use; that it cannot be removed is no second problem.
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Where `path` is written before it is renamed. The process id keeps two processes that write the same file
/// apart.
fn partial_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    Some(path.with_file_name(format!(".{name}.{}{PARTIAL_ENDING}", std::process::id())))
}

fn write_partial<T>(
    partial: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(partial)?);
    let value = fill(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok(value)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
