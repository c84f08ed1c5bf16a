//! A run that is stopped in any way and resumed ends as if it had not been stopped, bit for bit.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::place::{Place, assert_fails, assert_ok, checkpoints, text};

/// Kills at random times.
const KILLS: u64 = 50;

fn resume(place: &Place, run: &str) -> Command {
    place.footplate(&["train", "--resume", run])
}

/// A run of 18 steps that nothing disturbs.
fn reference(place: &Place) -> Vec<u8> {
    assert_ok(&place.train("whole", &[]).output().unwrap());
    place.weights("whole")
}

#[test]
fn the_same_command_gives_the_same_weights() {
    let place = Place::new();
    let first = reference(&place);
    assert_ok(&place.train("again", &["--checkpoint-every", "0s"]).output().unwrap());
    assert!(place.weights("again") == first, "two equal runs differ");
    assert_ok(&place.train("workers", &["--workers", "0"]).output().unwrap());
    assert!(place.weights("workers") == first, "the number of workers matters");
    assert_ok(&place.train("seed", &["--seed", "1"]).output().unwrap());
    assert!(place.weights("seed") != first, "the seed does not matter");
}

/// Sends SIGINT as soon as the first checkpoint is there.
fn interrupt_after_a_checkpoint(place: &Place, run: &str, mut command: Command) -> i32 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while checkpoints(&place.path(run)).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    child.wait().unwrap().code().unwrap()
}

#[test]
fn ctrl_c_writes_a_checkpoint_and_the_rest_is_equal() {
    let place = Place::new();
    let whole = {
        assert_ok(&place.train("whole", &["--epochs", "40"]).output().unwrap());
        place.weights("whole")
    };
    let command = place.train("cut", &["--epochs", "40", "--checkpoint-every", "0s"]);
    assert_eq!(interrupt_after_a_checkpoint(&place, "cut", command), 7);
    assert_ok(&resume(&place, "cut").output().unwrap());
    assert!(place.weights("cut") == whole, "a resumed run differs from a whole one");
    let again = resume(&place, "cut").output().unwrap();
    assert_ok(&again);
    assert!(text(&again.stdout).contains("completed after 240 steps"), "{}", text(&again.stdout));
}

#[test]
fn a_model_with_dropout_and_adamw_resumes_equal_too() {
    let place = Place::new();
    let data = place.data();
    let train = |run: &str| {
        let data = data.to_str().unwrap();
        let fixed = ["train", "mobilenet_v3_small", "--data", data, "--batch-size", "8", "--epochs", "2"];
        let mut command = place.footplate(&fixed);
        command.args(["--workers", "1", "--checkpoint-every", "0s", "--accumulate", "2", "--run-dir", run]);
        command
    };
    assert_ok(&train("whole").output().unwrap());
    assert_eq!(interrupt_after_a_checkpoint(&place, "cut", train("cut")), 7);
    assert_ok(&resume(&place, "cut").output().unwrap());
    assert!(place.weights("cut") == place.weights("whole"), "a resumed run differs from a whole one");
}

/// A small generator for the times of the kills; its seed makes a failure repeatable.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Starts the command and kills it (SIGKILL) after `wait`; `true` if it had ended by itself.
fn killed_after(mut command: Command, wait: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(wait);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    ended
}

#[test]
fn kills_at_random_times_cost_at_most_what_came_after_the_last_checkpoint() {
    let place = Place::new();
    let begun = Instant::now();
    let whole = reference(&place);
    let duration = begun.elapsed();
    let mut random = 20_261_124;
    let mut wait = || duration.mul_f64(splitmix(&mut random) as f64 / u64::MAX as f64);
    let (mut kills, mut number) = (0, 0);
    while kills < KILLS {
        number += 1;
        let run = format!("run{number}");
        let begin = || place.train(&run, &["--checkpoint-every", "0s"]);
        // A run that was killed before its folder was complete is begun anew.
        let go_on =
            || if place.path(&run).join("run.toml").exists() { resume(&place, &run) } else { begin() };
        while !killed_after(go_on(), wait()) && kills < KILLS {
            kills += 1;
        }
        let output = go_on().output().unwrap();
        assert_ok(&output);
        assert!(place.weights(&run) == whole, "{run} differs after {kills} kills");
        fs::remove_dir_all(place.path(&run)).unwrap();
    }
}

fn interrupted_run(place: &Place) {
    let command = place.train("cut", &["--epochs", "40", "--checkpoint-every", "0s"]);
    assert_eq!(interrupt_after_a_checkpoint(place, "cut", command), 7);
    assert_eq!(checkpoints(&place.path("cut")).len(), 2);
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_the_one_before_and_says_so() {
    let place = Place::new();
    assert_ok(&place.train("whole", &["--epochs", "40"]).output().unwrap());
    for damage in [truncate as fn(&Path), flip_a_bit] {
        interrupted_run(&place);
        damage(checkpoints(&place.path("cut")).last().unwrap());
        let output = resume(&place, "cut").output().unwrap();
        assert_ok(&output);
        let said = text(&output.stderr);
        assert!(said.contains("cannot be used") && said.contains("taking the one before"), "{said}");
        assert!(place.weights("cut") == place.weights("whole"));
        fs::remove_dir_all(place.path("cut")).unwrap();
    }
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    fs::write(path, bytes).unwrap();
}

#[test]
fn without_any_good_checkpoint_resume_says_why() {
    let place = Place::new();
    interrupted_run(&place);
    for path in checkpoints(&place.path("cut")) {
        truncate(&path);
    }
    assert_fails(&mut resume(&place, "cut"), 3, &["no usable checkpoint", "checksum"]);
}

#[test]
fn changed_data_and_changed_settings_are_refused() {
    let place = Place::new();
    interrupted_run(&place);
    assert_fails(
        &mut place.footplate(&["train", "--resume", "cut", "--epochs", "50"]),
        2,
        &["keeps its own settings"],
    );
    fs::remove_file(place.data().join("train/stop/0000.jpg")).unwrap();
    assert_fails(&mut resume(&place, "cut"), 3, &["not the one that this run began with"]);
}

/// The limit on a file's size stands for a full disk: the write of a checkpoint fails in its midst.
#[test]
fn a_disk_that_is_full_keeps_the_last_good_checkpoint() {
    let place = Place::new();
    let whole = reference(&place);
    let program = env!("CARGO_BIN_EXE_footplate");
    let data = place.data();
    let limited = format!(
        "trap '' XFSZ; ulimit -f 200; exec {program} train lenet5 --data {} --run-dir full --image-size 16 \
         --batch-size 8 --workers 1 --epochs 3 --checkpoint-every 0s",
        data.display()
    );
    let mut command = place.footplate(&[]);
    let environment: Vec<_> =
        command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    command = Command::new("bash");
    command.args(["-c", &limited]).envs(environment).current_dir(place.path(""));
    assert_fails(&mut command, 4, &["no checkpoint at step", "cannot write", "step-"]);
    let left: Vec<_> = fs::read_dir(place.path("full/checkpoints")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_ok(&resume(&place, "full").output().unwrap());
    assert!(place.weights("full") == whole);
}
