//! What several tests need: trees that count and fail, boards without heat, and a wait that moves the board's clock.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use footplate_core::ports::Clock;
use footplate_device::control::Wait;
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Device, Probe, Root, Source, Tree};

/// Names of all simulated boards with each of their releases.
pub(crate) fn boards() -> Vec<String> {
    let of = |facts: &'static footplate_device::BoardFacts| {
        facts.releases.iter().map(move |release| format!("{}@{}", facts.id, release.id))
    };
    footplate_device::board::BOARDS.into_iter().flat_map(of).collect()
}

/// A board that does not warm up, seen by root.
pub(crate) fn cold(name: &str) -> SimBoard {
    SimBoard::new(name, SimOptions { heat: false, ..SimOptions::default() }).unwrap()
}

/// Waits on the board's own clock.
pub(crate) fn waiting(board: &SimBoard) -> Wait {
    let clock = board.clock();
    Arc::new(move |pause: Duration| clock.wait_ns(pause.as_nanos() as u64))
}

/// Which calls of a tree count and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Reads,
    Writes,
}

/// Passes everything on, and fails some of the calls of one kind with an error of the system.
pub(crate) struct Failing {
    inner: Arc<dyn Tree>,
    kind: Calls,
    /// Calls until the first that fails.
    left: AtomicI64,
    /// How many fail then; the later ones go through again.
    failures: AtomicI64,
    errno: i32,
    pub(crate) calls: AtomicU32,
    pub(crate) written: Mutex<Vec<String>>,
}

impl Failing {
    /// The call with number `at` (from 0) fails, and `failures` in all.
    pub(crate) fn new(inner: Arc<dyn Tree>, kind: Calls, at: i64, failures: i64, errno: i32) -> Arc<Self> {
        Arc::new(Self {
            inner,
            kind,
            left: AtomicI64::new(at),
            failures: AtomicI64::new(failures),
            errno,
            calls: AtomicU32::new(0),
            written: Mutex::default(),
        })
    }

    /// Of a board, with its root.
    pub(crate) fn of(board: &SimBoard, kind: Calls, at: i64, failures: i64, errno: i32) -> (Arc<Self>, Root) {
        let tree = Self::new(board.root().tree().clone(), kind, at, failures, errno);
        let root = Root::from_tree(tree.clone(), Source::Simulated(board.name().to_owned()));
        (tree, root)
    }

    fn count(&self, kind: Calls) -> io::Result<()> {
        if kind != self.kind {
            return Ok(());
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 0 && self.failures.fetch_sub(1, Ordering::Relaxed) > 0
        {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        Ok(())
    }
}

impl Tree for Failing {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.count(Calls::Reads)?;
        self.inner.read(path)
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.count(Calls::Writes)?;
        self.inner.write(path, value)?;
        self.written.lock().unwrap().push(format!("{value} > {path}"));
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.inner.link(path)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        self.inner.writable(path)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        self.inner.open(path)
    }
}

/// All nodes that plans may write, but for the EMC's present rate while nothing locks it: then it follows the load.
pub(crate) fn controls(device: &Device) -> footplate_device::knob::Snapshot {
    use footplate_device::knob::{Snapshot, emc};
    let mut snapshot = Snapshot::read(&device.root, device);
    if let Some(knob) = device.emc.as_ref().filter(|knob| !emc::is_locked(knob, &snapshot)) {
        snapshot.values.remove(&knob.rate_path());
    }
    snapshot
}
