//! Evicts a whole data set from the page cache, or reads it in, so that runs that are compared start alike. This needs no
//! rights beyond reading the files.

use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Files for which the system is asked whether they left the page cache.
const CHECKED: usize = 32;

/// What was evicted or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treated {
    /// Number of files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Number of files for which the system told afterwards whether they are in memory.
    pub asked: u64,
    /// How many of these are still in memory.
    pub still_cached: u64,
}

/// Asks the kernel to evict a file, or all files below a folder. Pages that wait to be written or that other processes use
/// stay in memory, and so do files of file systems that are in memory; the result tells. Folders themselves stay cached.
pub fn forget(path: &Path, stop: &AtomicBool) -> io::Result<Treated> {
    let files = files(path, stop)?;
    let mut treated = Treated::default();
    for file in &files {
        let opened = File::open(file)?;
        treated.files += 1;
        treated.bytes += opened.metadata()?.len();
        fadvise(&opened, 0, None, Advice::DontNeed)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let stride = files.len().div_ceil(CHECKED).max(1);
    for file in files.iter().step_by(stride) {
        if let Some(cached) = is_cached(&File::open(file)?)? {
            treated.asked += 1;
            treated.still_cached += u64::from(cached);
        }
    }
    Ok(treated)
}

/// Reads a file, or all files below a folder, once.
pub fn read_in(path: &Path, stop: &AtomicBool) -> io::Result<Treated> {
    let mut treated = Treated::default();
    let mut buffer = vec![0; 1 << 20];
    for file in files(path, stop)? {
        let mut opened = File::open(file)?;
        treated.files += 1;
        loop {
            let read = opened.read(&mut buffer)?;
            treated.bytes += read as u64;
            if read == 0 || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(treated)
}

/// Whether a file's first byte is in memory; `None` if it is empty, or if the file system does not tell.
fn is_cached(file: &File) -> io::Result<Option<bool>> {
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    let mut byte = [0u8];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    Ok(match preadv2(file, &mut buffers, 0, ReadWriteFlags::NOWAIT) {
        Ok(_) => Some(true),
        Err(Errno::AGAIN) => Some(false),
        Err(_) => None,
    })
}

/// The file itself, or all files below the folder. Links are not followed, so that no file is found twice.
fn files(path: &Path, stop: &AtomicBool) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut found, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_below_a_folder_are_treated() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        for (name, text) in [("a", "12345"), ("below/b", "123"), ("below/empty", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let go = AtomicBool::new(false);
        let read = read_in(folder.path(), &go).unwrap();
        assert_eq!((read.files, read.bytes), (3, 8));
        let forgotten = forget(folder.path(), &go).unwrap();
        assert_eq!((forgotten.files, forgotten.bytes), (3, 8));
        assert!(forgotten.asked <= 2 && forgotten.still_cached <= forgotten.asked);
        assert_eq!(read_in(&folder.path().join("a"), &go).unwrap().files, 1);
        assert!(forget(&folder.path().join("not there"), &go).is_err());
    }
}
