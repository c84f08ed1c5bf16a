//! Power modes on copies of captured trees, by real processes that are interrupted and killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use footplate_device::memory_tree::{MemoryTree, Node, Reader};

use crate::place::{assert_ok, text};

/// A board's captured tree as real files, and a folder for the journal.
struct Board {
    folder: tempfile::TempDir,
}

impl Board {
    fn new(fixture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = fixture_path(fixture);
        let tree = MemoryTree::parse(&fs::read_to_string(&file).unwrap(), fixture, Reader::Root).unwrap();
        for (path, node) in tree.nodes() {
            let here = folder.path().join("tree").join(&path[1..]);
            fs::create_dir_all(here.parent().unwrap()).unwrap();
            match node {
                Node::File { bytes, .. } => fs::write(here, bytes).unwrap(),
                Node::Link(target) => symlink(target, here).unwrap(),
                Node::Folder => fs::create_dir_all(here).unwrap(),
                Node::Failing { .. } => {}
            }
        }
        Self { folder }
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn mode(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footplate"));
        command.args(&arguments[..2]).arg("--root").arg(self.tree()).arg("--state-dir").arg(self.state());
        command.args(&arguments[2..]).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.mode(arguments).output().unwrap()
    }

    /// Starts and waits until the mode is set.
    fn holding(&self, arguments: &[&str]) -> Child {
        let mut child = self.mode(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("set and read back"), "{line}");
        child
    }

    /// All files but the memory clock, which follows the load on a real board.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.tree()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() || path.ends_with("clk/emc/rate") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    fn signal(child: &Child, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../footplate-device/tests/fixtures/{name}.txt"))
}

#[test]
fn a_killed_process_is_told_and_put_back() {
    let board = Board::new("tx2-r32");
    let before = board.files();
    let mut child = board.holding(&["mode", "set", "MAXN"]);
    assert_ne!(board.files(), before);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(board.files(), before);

    let told = board.run(&["mode", "show"]);
    assert_ok(&told);
    assert!(text(&told.stderr).contains("ended without putting them back"), "{}", text(&told.stderr));
    let refused = board.run(&["mode", "set", "MAXQ", "--keep"]);
    assert_eq!(refused.status.code(), Some(4));

    let dry = board.run(&["mode", "restore", "--dry-run"]);
    assert!(text(&dry.stdout).contains("0 > /sys/devices/system/cpu/cpu2/online"), "{}", text(&dry.stdout));
    assert_ok(&board.run(&["mode", "restore"]));
    assert_eq!(board.files(), before);
    assert_eq!(text(&board.run(&["mode", "restore"]).stdout).trim(), "nothing to put back");
}

/// Killed at many moments of starting, setting and holding. `FOOTPLATE_KILLS=1000` for as many.
#[test]
fn whenever_it_is_killed_all_comes_back() {
    let kills = std::env::var("FOOTPLATE_KILLS").map_or(60, |text| text.parse::<u64>().unwrap());
    let modes: [(&str, &[&str]); 3] = [
        ("agx-orin-r35", &["--cpu-cores", "3", "--gpu-clock", "522.75MHz", "--emc-clock", "665.6MHz"]),
        ("agx-xavier-r32", &["MODE_30W_ALL"]),
        ("nano-r32", &["5W"]),
    ];
    let boards = modes.map(|(name, _)| Board::new(name));
    let before = boards.each_ref().map(Board::files);
    // How long it takes here to set a mode: the deaths lie evenly over that and half as long again, in no order.
    let begun = Instant::now();
    let mut first = boards[0].holding(&[&["mode", "set"], modes[0].1].concat());
    let reach = begun.elapsed().mul_f64(1.5);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_ok(&boards[0].run(&["mode", "restore"]));
    let mut interrupted = 0;
    for number in 0..kills {
        let which = usize::try_from(number % 3).unwrap();
        let (board, (name, mode)) = (&boards[which], modes[which]);
        let arguments = [&["mode", "set"], mode].concat();
        let mut child = board.mode(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(reach.mul_f64((number * 7919 % 1000) as f64 / 1000.0));
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += u64::from(board.files() != before[which]);
        assert_ok(&board.run(&["mode", "restore"]));
        assert_eq!(board.files(), before[which], "kill {number} on {name}");
    }
    assert!(interrupted > 0, "none of {kills} deaths left anything to put back");
}

#[test]
fn signals_time_and_commands_end_a_mode() {
    let board = Board::new("agx-xavier-r32");
    let before = board.files();
    for (signal, code) in [
        (rustix::process::Signal::TERM, 7),
        (rustix::process::Signal::HUP, 7),
        (rustix::process::Signal::INT, 0),
    ] {
        let mut child = board.holding(&["mode", "set", "MODE_30W_ALL"]);
        Board::signal(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal:?}");
        assert_eq!(board.files(), before, "{signal:?}");
    }
    let timed = board.run(&["mode", "set", "MODE_30W_ALL", "--for", "100ms"]);
    assert_ok(&timed);
    assert_eq!(board.files(), before);

    let command = board.run(&["mode", "set", "MODE_30W_ALL", "--", "sh", "-c", "echo inside; exit 5"]);
    assert_eq!((command.status.code(), text(&command.stdout).trim()), (Some(5), "inside"));
    assert_eq!(board.files(), before);
    let missing = board.run(&["mode", "set", "MODE_30W_ALL", "--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(board.files(), before);

    assert_ok(&board.run(&["mode", "set", "MODE_30W_ALL", "--keep"]));
    assert_ne!(board.files(), before);
    assert_eq!(text(&board.run(&["mode", "restore"]).stdout).trim(), "nothing to put back");
}

#[test]
fn two_processes_cannot_hold_the_controls() {
    let board = Board::new("nano-r32");
    let mut first = board.holding(&["mode", "set", "5W"]);
    let second = board.run(&["mode", "set", "--cpu-cores", "1"]);
    assert_eq!(second.status.code(), Some(4));
    let told = text(&second.stderr);
    assert!(told.contains(&format!("held by process {}", first.id())), "{told}");
    first.kill().unwrap();
    first.wait().unwrap();
    let third = board.run(&["mode", "set", "--cpu-cores", "1", "--for", "1ms", "--restore-stale"]);
    assert_ok(&third);
}

#[test]
fn what_cannot_be_set_is_refused_with_its_reason() {
    let board = Board::new("agx-orin-r35");
    let before = board.files();
    for (arguments, code, part) in [
        (&["mode", "set", "MODE_30W"][..], 4, "needs a reboot"),
        (&["mode", "set", "MODE_99W"], 2, "the presets are MAXN"),
        (&["mode", "set"], 2, "nothing to set"),
        (&["mode", "set", "--gpu-clock", "350MHz"], 2, "no clock near"),
        (&["mode", "set", "--cpu-cores", "13"], 2, "1 to 12"),
        (&["mode", "set", "--cpu-clock", "12"], 2, "`12` has no unit"),
        (&["mode", "export", "--name", "a b"], 2, "no name for a mode"),
    ] {
        let output = board.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(board.files(), before);
    // A capture that someone without rights made: reads work, each write is refused by name.
    let fixture = fixture_path("orin-nano-r36");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footplate"));
        command.args(arguments).arg("--root").arg(&fixture).output().unwrap()
    };
    let refused = run(&["mode", "set", "15W"]);
    assert_eq!(refused.status.code(), Some(4));
    let told = text(&refused.stderr);
    assert!(
        told.contains("scaling_") && told.contains("permission denied") && told.contains("--dry-run"),
        "{told}"
    );
    let dry = run(&["mode", "set", "15W", "--dry-run"]);
    assert_ok(&dry);
    assert!(
        text(&dry.stdout).contains("2133000000 > /sys/kernel/nvpmodel_clk_cap/emc"),
        "{}",
        text(&dry.stdout)
    );
}

#[test]
fn an_exported_mode_is_in_nvpmodel_s_grammar() {
    let board = Board::new("agx-orin-r35");
    let output =
        board.run(&["mode", "export", "--name", "QUIET", "--cpu-cores", "4", "--gpu-clock", "522.75MHz"]);
    assert_ok(&output);
    let conf_path = board.tree().join("etc/nvpmodel.conf");
    let whole = format!("{}\n{}", fs::read_to_string(&conf_path).unwrap(), text(&output.stdout));
    fs::write(&conf_path, whole).unwrap();
    let shown = board.run(&["mode", "show", "QUIET", "--json"]);
    assert_ok(&shown);
    let document: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(document["preset"]["mode"]["cpu_cores"], 4);
    assert_eq!(document["preset"]["mode"]["gpu_hz"], 522_750_000);
    assert_eq!(document["needs_reboot"], false);
}

#[test]
fn a_machine_is_shown_captured_and_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("board.tar.gz");
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_footplate")).args(arguments).output().unwrap();
    let archive = archive.to_str().unwrap();
    assert_ok(&run(&["device", "capture", archive, "--sim", "xavier-nx"]));
    let shown = run(&["device", "--json", "--root", archive]);
    assert_ok(&shown);
    let document: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(document["board_id"], "xavier-nx");
    assert_eq!(document["simulated"], false);
    for (arguments, code) in [
        (&["device", "--sim", "toaster"][..], 2),
        (&["device", "--root", "/no/such/folder"], 3),
        (&["device", "capture", "board.zip"], 2),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}
