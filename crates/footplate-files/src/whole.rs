//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Ending of files that are being written. One that is found is what a crash left, and may be removed.
pub const PARTIAL_ENDING: &str = ".partial";
/// Bytes that wait in memory for the next write to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes `path` through a neighbour: write, fsync, rename, fsync the folder. After an error the old file
/// (or none) is there, and the neighbour is gone.
///
/// ```
/// use std::io::{Error, Write};
/// use footplate_files::whole;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("settings.toml");
/// whole::write(&path, |file| file.write_all(b"epochs = 8\n"))?;
/// // A write that fails in the middle leaves what was there.
/// let failed = whole::write(&path, |file| {
///     file.write_all(b"epo")?;
///     Err::<(), _>(Error::other("the disk is full"))
/// });
/// assert!(failed.is_err());
/// assert_eq!(std::fs::read_to_string(&path)?, "epochs = 8\n");
/// # Ok::<(), Error>(())
/// ```
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

/// The same for content that is in memory.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, |file| file.write_all(bytes))
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
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, File::create(partial)?);
    let value = fill(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok(value)
}

/// Makes the presence of `path` in its folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_appears_with_its_content_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        assert_eq!(write(&path, |file| file.write_all(b"one").map(|()| 7)).unwrap(), 7);
        write_bytes(&path, b"two").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"two".to_vec(), vec!["a.toml".to_owned()])
        );
    }

    #[test]
    fn an_error_at_any_byte_leaves_the_old_file_and_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        write_bytes(&path, b"old").unwrap();
        for written in 0..3 {
            let failed = write(&path, |file| {
                file.write_all(&b"new"[..written])?;
                Err::<(), _>(io::ErrorKind::StorageFull.into())
            });
            assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"old".to_vec(), 1));
        }
    }

    #[test]
    fn a_target_that_cannot_be_replaced_is_an_error_and_leaves_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("is-a-folder");
        fs::create_dir_all(path.join("with-content")).unwrap();
        assert!(write_bytes(&path, b"x").is_err());
        assert_eq!(names(folder.path()), ["is-a-folder"]);
        assert!(write_bytes(&folder.path().join("nowhere/file"), b"x").is_err());
        assert_eq!(write_bytes(Path::new("/"), b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
