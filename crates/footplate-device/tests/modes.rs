//! Plans on simulated kernels: random pairs of modes, deaths at random writes, and what a crash leaves behind.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use footplate_core::ports::{Clock, PowerControl};
use footplate_core::{Hertz, PowerMode};
use footplate_device::control::{Control, Wait, restore};
use footplate_device::discover::Device;
use footplate_device::guard::{self, Guard};
use footplate_device::knob::{self, Hold, ModeTarget, Snapshot, plan};
use footplate_device::preset::Presets;
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Probe, Root, Source, Tree};

const BOARDS: [&str; 9] =
    ["tx1", "tx2", "nano", "xavier-nx", "agx-xavier", "orin-nano", "orin-nx", "agx-orin", "thor"];

/// Numbers that look random and are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Passes everything on, checks each write, and dies at a given one.
struct Watched {
    inner: Arc<dyn Tree>,
    /// Writes until death; negative: it lives for ever.
    left: AtomicI64,
    broken: Mutex<Vec<String>>,
}

impl Watched {
    fn new(inner: Arc<dyn Tree>) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicI64::new(-1), broken: Mutex::default() })
    }

    fn number(&self, path: &str) -> Option<u64> {
        String::from_utf8(self.inner.read(path).ok()?).ok()?.trim().parse().ok()
    }

    /// After a write the pair that it belongs to must be in order.
    fn check(&self, path: &str) {
        let pairs = [("scaling_min_freq", "scaling_max_freq"), ("min_freq", "max_freq")];
        let (folder, file) = path.rsplit_once('/').unwrap();
        for (min, max) in pairs {
            if file == min || file == max {
                let min = self.number(&format!("{folder}/{min}"));
                let max = self.number(&format!("{folder}/{max}"));
                if min.is_none() || min > max {
                    self.broken.lock().unwrap().push(format!("{path}: {min:?} > {max:?}"));
                }
            }
        }
    }
}

impl Tree for Watched {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // A write that the kernel answers with "busy" comes again and does not count.
        self.inner.write(path, value)?;
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        self.check(path);
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

fn cold(name: &str) -> SimBoard {
    SimBoard::new(name, SimOptions { heat: false, ..SimOptions::default() }).unwrap()
}

fn waiting(board: &SimBoard) -> Wait {
    let clock = board.clock();
    Arc::new(move |pause: Duration| clock.wait_ns(pause.as_nanos() as u64))
}

/// 10,000 pairs: each mode after another random one.
#[test]
fn random_modes_are_set_and_read_back_equal_on_every_board() {
    const PAIRS: usize = 10_000;
    let run = |name: &'static str| {
        let board = cold(name);
        let watched = Watched::new(board.root().tree().clone());
        let device = Device::discover(Root::from_tree(watched.clone(), Source::Simulated(name.into())));
        let space = device.space();
        let mut control =
            Control::new(device, &Presets::default(), Hold::Pinned, None).with_wait(waiting(&board));
        let mut random = Random(7);
        for number in 0..PAIRS {
            let mode = space.modes()[random.below(space.modes().len())];
            let applied = control.apply(&mode).unwrap_or_else(|e| panic!("{name}, pair {number}: {e}"));
            assert_eq!(applied.got, mode, "{name}, pair {number}: {:?}", applied.warnings);
            assert_eq!(applied.warnings, [""; 0], "{name}, pair {number}: {mode}");
        }
        assert_eq!(*watched.broken.lock().unwrap(), [""; 0], "{name}");
    };
    std::thread::scope(|scope| {
        let (left, right) = BOARDS.split_at(5);
        for half in [left, right] {
            scope.spawn(|| half.iter().for_each(|name| run(name)));
        }
    });
}

/// A process that dies at a random write of a random change: what it left is put back from its journal.
#[test]
fn a_thousand_deaths_leave_nothing_behind() {
    let mut random = Random(11);
    let folder = tempfile::tempdir().unwrap();
    let spaces = BOARDS.map(|name| Device::discover(cold(name).root()).space());
    let mut journals = 0;
    for death in 0..1000 {
        let which = death % BOARDS.len();
        let modes = spaces[which].modes();
        let (from, to) = (modes[random.below(modes.len())], modes[random.below(modes.len())]);
        let what = format!("{}, death {death}: {from} -> {to}", BOARDS[which]);
        let at = random.below(60);
        journals += u32::from(dies_at(&cold(BOARDS[which]), folder.path(), (&from, &to), at, &what));
    }
    assert!(journals > 900, "{journals}");
}

/// Changes `from` to `to` and dies after `at` writes (of as many as there are, counted round). Whether a journal
/// was left.
fn dies_at(
    board: &SimBoard,
    folder: &Path,
    (from, to): (&PowerMode, &PowerMode),
    at: usize,
    what: &str,
) -> bool {
    let wait = waiting(board);
    let device = Device::discover(board.root());
    // The machine was not in its first state before, either.
    let mut before =
        Control::new(device.clone(), &Presets::default(), Hold::Limited, None).with_wait(wait.clone());
    before.apply(from).unwrap();
    before.keep().unwrap();
    let saved = Snapshot::read(&device.root, &device);

    let watched = Watched::new(board.root().tree().clone());
    let victim = Device::discover(Root::from_tree(watched.clone(), Source::Simulated(board.name().into())));
    let writes = plan(&victim, &saved, &ModeTarget::of(&victim, to, Hold::Pinned)).len();
    let guard = Guard::take(folder).unwrap();
    let mut control =
        Control::new(victim, &Presets::default(), Hold::Pinned, Some(guard)).with_wait(wait.clone());
    let at = at % (writes + 1);
    watched.left.store(at as i64, Ordering::Relaxed);
    assert_eq!(control.apply(to).is_ok(), at >= writes, "{what}");
    // No destructor runs after SIGKILL; here every further write is refused instead.
    watched.left.store(0, Ordering::Relaxed);
    drop(control);

    let left = guard::stale(folder).unwrap();
    if let Some(journal) = &left {
        assert_eq!(journal.saved, saved, "{what}");
        restore(&device, &journal.saved, &wait).unwrap();
        Guard::take(folder).unwrap().adopt().forget().unwrap();
    }
    let now = Snapshot::read(&device.root, &device);
    assert_eq!(comparable(&device, &now), comparable(&device, &saved), "{what}");
    left.is_some()
}

/// All nodes, but for the EMC's present rate while nothing locks it: then it follows the load and is no control.
fn comparable(device: &Device, snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    if let Some(emc) = device.emc.as_ref().filter(|emc| !knob::emc::is_locked(emc, &snapshot)) {
        snapshot.values.remove(&emc.rate_path());
    }
    snapshot
}

/// The published sizes of the mode spaces.
#[test]
fn mode_spaces_have_the_published_sizes() {
    for (board, count) in
        [("agx-orin@r35", 18_096), ("agx-xavier@r32", 29_232), ("nano@r32", 4 * 15 * 12 * 2)]
    {
        let device = Device::discover(cold(board).root());
        assert_eq!(device.space().modes().len(), count, "{board}");
    }
    let nano = Device::discover(cold("nano").root());
    assert_eq!(nano.tables().emc_hz.len(), 2);
}

/// Where the EMC cannot be locked, modes below the floor that the CPU's clock brings are left out.
#[test]
fn without_a_lock_the_floors_count() {
    let mut device = Device::discover(cold("nano").root());
    device.emc.as_mut().unwrap().can_lock = false;
    let space = device.space();
    let low = space.modes().iter().filter(|mode| mode.emc_hz.unwrap().0 == 204_000_000);
    assert!(low.clone().all(|mode| mode.cpu_hz.unwrap().0 < 710_400_000));
    assert_eq!(low.count(), 4 * 6 * 12);
}

/// One change on every board and release, ended after each of its writes in turn.
#[test]
fn death_after_every_single_write_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    for facts in footplate_device::board::BOARDS {
        for release in facts.releases {
            let name = format!("{}@{}", facts.id, release.id);
            let device = Device::discover(cold(&name).root());
            let space = device.space();
            let (from, to) = (space.modes()[space.modes().len() / 3], *space.modes().last().unwrap());
            let saved = Snapshot::read(&device.root, &device);
            let most = plan(&device, &saved, &ModeTarget::of(&device, &to, Hold::Pinned)).len() + 16;
            for at in 0..most {
                dies_at(&cold(&name), folder.path(), (&from, &to), at, &format!("{name}, write {at}"));
            }
        }
    }
}

/// A panic unwinds through the controls: what was set before is back, and no journal is left.
#[test]
fn a_panic_puts_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let board = cold("xavier-nx");
    let device = Device::discover(board.root());
    let before = Snapshot::read(&device.root, &device);
    let mode = device.space().modes()[0];
    let root = board.root();
    let wait = waiting(&board);
    let state = folder.path().to_owned();
    let panicked = std::thread::spawn(move || {
        let guard = Guard::take(&state).unwrap();
        let device = Device::discover(root);
        let mut control =
            Control::new(device, &Presets::default(), Hold::Pinned, Some(guard)).with_wait(wait);
        control.apply(&mode).unwrap();
        assert!(guard::stale(&state).unwrap().is_none(), "its owner lives");
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let now = Snapshot::read(&device.root, &device);
    assert_eq!(comparable(&device, &now), comparable(&device, &before));
    assert!(guard::stale(folder.path()).unwrap().is_none());
    assert!(!folder.path().join("journal.json").exists());
}

/// A journal of another version or board, or a broken one, is told and not acted on.
#[test]
fn a_strange_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.json");
    for (text, part) in [
        ("{", "no journal"),
        (r#"{"version": 2, "owner_pid": 1, "board": "nano", "saved": {}}"#, "version 2"),
        (r#"{"version": 1, "owner_pid": 1, "board": "nano", "saved": {}, "more": 1}"#, "no journal"),
    ] {
        std::fs::write(&journal, text).unwrap();
        let error = guard::stale(folder.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A PC with a discrete GPU: its power limit is no knob until the user allows it; then it is set and put back.
#[test]
fn a_gpu_s_power_limit_needs_the_user_s_word() {
    let tree = footplate_device::memory_tree::MemoryTree::new();
    for (file, value) in
        [("power_limit_mw", 250_000), ("power_limit_min_mw", 100_000), ("power_limit_max_mw", 250_000)]
    {
        tree.file(&format!("/nvml/0/{file}"), &format!("{value}"), 0o644);
    }
    let root = Root::from_tree(Arc::new(tree), Source::System);
    let closed = Device::discover(root.clone());
    assert_eq!(closed.tables().gpu_power_limit_mw, [0; 0]);
    let device = Device::discover(root.clone()).allow_gpu_settings();
    let table: Vec<u64> = device.tables().gpu_power_limit_mw.iter().map(|mw| mw / 1000).collect();
    assert_eq!(table, [100, 125, 150, 175, 200, 225, 250]);
    let mode = PowerMode { gpu_power_limit_mw: Some(125_000), ..PowerMode::default() };
    let limit = || root.number::<u64>("/nvml/0/power_limit_mw").unwrap();

    let mut closed = Control::new(closed, &Presets::default(), Hold::Pinned, None);
    closed.apply(&mode).unwrap();
    assert_eq!(limit(), 250_000);
    let mut control = Control::new(device, &Presets::default(), Hold::Pinned, None);
    let applied = control.apply(&mode).unwrap();
    assert_eq!((applied.got, limit()), (mode, 125_000));
    control.restore().unwrap();
    assert_eq!(limit(), 250_000);
}

/// The same for application clocks: each GPU takes the nearest clock of its table that is not above the wanted one.
#[test]
fn gpu_clocks_need_the_users_word_and_are_put_back() {
    let tree = footplate_device::memory_tree::MemoryTree::new();
    for (gpu, table) in [(0, "210 600 1200 1410"), (1, "210 615 1200 1410")] {
        for (file, value) in [
            ("graphics_clock_mhz", "1410"),
            ("graphics_clock_now_mhz", "210"),
            ("graphics_clocks_mhz", table),
        ] {
            tree.file(&format!("/nvml/{gpu}/{file}"), value, 0o644);
        }
    }
    let root = Root::from_tree(Arc::new(tree), Source::System);
    let closed = Device::discover(root.clone());
    assert_eq!(closed.gpu_clocks.len(), 2);
    assert_eq!(closed.tables().gpu_hz, []);
    let device = Device::discover(root.clone()).allow_gpu_settings();
    assert_eq!(device.tables().gpu_hz, [210_000_000, 1_200_000_000, 1_410_000_000].map(Hertz));
    let clocks = || [0, 1].map(|gpu| root.number::<u64>(&format!("/nvml/{gpu}/graphics_clock_mhz")).unwrap());
    let mode = PowerMode { gpu_hz: Some(Hertz(1_200_000_000)), ..PowerMode::default() };

    Control::new(closed, &Presets::default(), Hold::Pinned, None).apply(&mode).unwrap();
    assert_eq!(clocks(), [1410, 1410]);
    let mut control = Control::new(device, &Presets::default(), Hold::Pinned, None);
    let applied = control.apply(&mode).unwrap();
    assert_eq!((applied.got, applied.warnings, clocks()), (mode, vec![], [1200, 1200]));
    control.restore().unwrap();
    assert_eq!(clocks(), [1410, 1410]);
}
