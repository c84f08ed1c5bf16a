//! A lock file with its owner's process id. The kernel gives the lock up when its owner ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

/// Someone who only looks holds the lock for a moment: that is waited for, so often
const TRIES: u32 = 10;
/// and so long each time.
const PAUSE: Duration = Duration::from_millis(10);
/// A process id has fewer digits.
const OWNER_BYTES_MAX: u64 = 32;

/// Why a lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// A living process has it.
    #[error("{path} is held by process {owner}", path = path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The owner's process id, as it wrote it; empty if it has not yet.
        owner: String,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// Such as "open".
        action: &'static str,
        /// The lock file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A lock that is held until it is dropped.
///
/// ```
/// use footplate_files::lock::{Lock, LockError};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("run.lock");
/// let held = Lock::take(&path)?;
/// let Err(LockError::Held { owner, .. }) = Lock::take(&path) else { panic!("taken twice") };
/// assert_eq!(owner, std::process::id().to_string());
/// drop(held);
/// assert!(Lock::take(&path).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, making the file if need be, and writes this process's id into it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |action, source| LockError::File { action, path: path.to_owned(), source };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(|e| failed("open", e))?;
        if let Err(error) = locked(&file) {
            if error != Errno::WOULDBLOCK {
                return Err(failed("lock", error.into()));
            }
            let mut owner = String::new();
            let _ = (&mut file).take(OWNER_BYTES_MAX).read_to_string(&mut owner);
            return Err(LockError::Held { path: path.to_owned(), owner: owner.trim().to_owned() });
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(|e| failed("write", e))?;
        Ok(Self { _file: file })
    }
}

/// Whether a living process holds the lock at `path`. No file, or one that may not be read: nobody does.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

fn locked(file: &File) -> Result<(), Errno> {
    for _ in 0..TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(PAUSE),
            result => return result,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_next_when_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_held(&path));
        let first = Lock::take(&path).unwrap();
        assert!(is_held(&path));
        let Err(LockError::Held { owner, .. }) = Lock::take(&path) else { panic!("taken twice") };
        assert_eq!(owner, std::process::id().to_string());
        drop(first);
        assert!(!is_held(&path));
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_place_where_nothing_can_be_made_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not-there/lock");
        let text = Lock::take(&path).unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot open {}", path.display())), "{text}");
    }

    #[test]
    fn what_an_owner_left_in_the_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "99999999999999\n").unwrap();
        let _held = Lock::take(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
