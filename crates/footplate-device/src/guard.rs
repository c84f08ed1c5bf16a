//! The journal of what was set before: written and synced before the first write, gone when all is put back.
//!
//! A lock file with its owner's process id keeps a second process from the controls. The kernel gives the lock
//! up when its owner dies, however it dies; the journal stays and tells what is to be put back (docs/journal.md).
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the journal is no control file")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use footplate_files::lock::{Lock, LockError, is_held};
use footplate_files::whole;
use serde::{Deserialize, Serialize};

use crate::discover::Device;
use crate::error::DeviceError;
use crate::knob::Snapshot;
use crate::perform::{self, Wait};
use crate::root::{Root, Source};

/// The system folder for journals.
pub const SYSTEM_FOLDER: &str = "/var/lib/footplate";
const JOURNAL: &str = "journal.json";
const LOCK: &str = "controls.lock";
const VERSION: u32 = 1;
const JOURNAL_BYTES_MAX: u64 = 4 << 20;

/// What was set before a process changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The format's version, 1 (docs/journal.md).
    pub version: u32,
    /// The process that made the change.
    pub owner_pid: u32,
    /// The board, by its name in commands.
    pub board: String,
    /// The values that were there.
    pub saved: Snapshot,
}

/// The exclusive right to the controls, and the journal's place.
///
/// ```
/// use footplate_core::ports::PowerControl;
/// use footplate_device::knob::Hold;
/// use footplate_device::sim::SimOptions;
/// use footplate_device::{Control, Device, Guard, Presets, SimBoard, guard};
///
/// let folder = tempfile::tempdir()?;
/// let board = SimBoard::new("tx2", SimOptions::default())?;
/// let device = Device::discover(board.root());
/// let guard = Guard::take(folder.path())?;
/// assert!(Guard::take(folder.path()).is_err(), "one process has the controls");
///
/// let mut control = Control::new(device.clone(), &Presets::default(), Hold::Pinned, Some(guard));
/// let slowest = control.space().modes()[0];
/// control.apply(&slowest)?;
/// // As after SIGKILL: nothing was put back, but the lock is free and the journal stays.
/// # let journal = std::fs::read(folder.path().join("journal.json"))?;
/// # control.keep()?;
/// # std::fs::write(folder.path().join("journal.json"), journal)?;
/// drop(control);
///
/// let journal = guard::put_back(&device, folder.path())?.ok_or("no journal")?;
/// assert_eq!(journal.board, "tx2");
/// assert_eq!(guard::put_back(&device, folder.path())?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Guard {
    folder: PathBuf,
    _lock: Lock,
    is_saved: bool,
}

impl Guard {
    /// Takes the controls. Fails if another living process has them, or if the folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self, DeviceError> {
        fs::create_dir_all(folder).map_err(|e| failed("create", folder, e))?;
        let lock = Lock::take(&folder.join(LOCK))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock, is_saved: false })
    }

    /// The journal that a dead process left, now that the controls are ours.
    pub fn stale(&self) -> Result<Option<Journal>, DeviceError> {
        if self.is_saved { Ok(None) } else { read(&self.folder) }
    }

    /// Writes the journal. It must reach the disk before the first control is written. A dead process's journal is
    /// never overwritten: it is an error, and what it holds is to be put back first.
    pub fn save(&mut self, board: &str, saved: &Snapshot) -> Result<(), DeviceError> {
        if let Some(journal) = self.stale()? {
            return Err(journal.into());
        }
        let owner_pid = std::process::id();
        let journal = Journal { version: VERSION, owner_pid, board: board.to_owned(), saved: saved.clone() };
        let path = self.folder.join(JOURNAL);
        let text = serde_json::to_string_pretty(&journal).map_err(|e| DeviceError::Other(e.to_string()))?;
        whole::write_bytes(&path, text.as_bytes()).map_err(|e| failed("write", &path, e))?;
        self.is_saved = true;
        Ok(())
    }

    /// Makes a dead process's journal ours: it was put back, and may be removed.
    pub fn adopt(mut self) -> Self {
        self.is_saved = true;
        self
    }

    /// Whether this process wrote a journal that stands.
    pub fn has_saved(&self) -> bool {
        self.is_saved
    }

    /// Takes the journal away: all is put back. The controls stay ours.
    pub fn forget(&mut self) -> Result<(), DeviceError> {
        let path = self.folder.join(JOURNAL);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path, error));
            }
            _ => self.is_saved = false,
        }
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| failed("sync", &self.folder, e))
    }

    /// Takes the journal away and gives the controls up.
    pub fn clear(mut self) -> Result<(), DeviceError> {
        if self.is_saved { self.forget() } else { Ok(()) }
    }
}

impl From<Journal> for DeviceError {
    fn from(journal: Journal) -> Self {
        Self::Stale { owner_pid: journal.owner_pid, board: journal.board }
    }
}

/// Where a machine's journal is, unless the user names a folder; `None`: its state ends with the process (a simulated
/// board), or it cannot be written (a capture's archive).
pub fn state_folder(root: &Root) -> Option<PathBuf> {
    match root.source() {
        Source::System => Some(PathBuf::from(SYSTEM_FOLDER)),
        Source::Capture(path) if path.is_dir() => Some(path.join(SYSTEM_FOLDER.trim_start_matches('/'))),
        Source::Capture(_) | Source::Simulated(_) => None,
    }
}

/// Puts back what a dead process's journal in `folder` holds, takes the journal away, and gives it. `None`: there is
/// none. The journal stays where it is if it is of another board, if its owner lives, or if any write fails.
pub fn put_back(device: &Device, folder: &Path) -> Result<Option<Journal>, DeviceError> {
    put_back_with(device, folder, &perform::sleep())
}

/// [`put_back`] with another way to wait between the tries of a write.
pub fn put_back_with(device: &Device, folder: &Path, wait: &Wait) -> Result<Option<Journal>, DeviceError> {
    if stale(folder)?.is_none() && !folder.exists() {
        return Ok(None);
    }
    let guard = Guard::take(folder)?;
    let Some(journal) = guard.stale()? else { return Ok(None) };
    if journal.board != device.facts.id {
        return Err(DeviceError::OtherBoard { journal: journal.board, machine: device.facts.id.to_owned() });
    }
    // Who set a GPU's limit had allowed it; putting it back needs no further word.
    let device = &device.clone().allow_gpu_settings();
    perform::restore(device, &journal.saved, wait)?;
    guard.adopt().clear()?;
    Ok(Some(journal))
}

/// The journal of a folder whose owner is dead. `None`: there is none, or its owner lives.
pub fn stale(folder: &Path) -> Result<Option<Journal>, DeviceError> {
    let lock = folder.join(LOCK);
    if is_held(&lock) {
        return Ok(None);
    }
    let journal = read(folder)?;
    // Its owner may have begun since: then the journal is that of a living process.
    Ok(journal.filter(|_| !is_held(&lock)))
}

impl From<LockError> for DeviceError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { path, owner } => Self::Held { path: path.display().to_string(), owner },
            LockError::File { action, path, source } => failed(action, &path, source),
        }
    }
}

fn read(folder: &Path) -> Result<Option<Journal>, DeviceError> {
    let path = folder.join(JOURNAL);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path, error)),
    };
    let mut text = String::new();
    file.take(JOURNAL_BYTES_MAX).read_to_string(&mut text).map_err(|e| failed("read", &path, e))?;
    let broken = |problem: String| DeviceError::Other(format!("{}: {problem}", path.display()));
    let journal: Journal = serde_json::from_str(&text).map_err(|e| broken(format!("no journal: {e}")))?;
    match journal.version {
        VERSION => Ok(Some(journal)),
        version => Err(broken(format!("version {version} is not known; this program writes {VERSION}"))),
    }
}

fn failed(action: &str, path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Node { action: action.to_owned(), path: path.display().to_string(), source }
}
