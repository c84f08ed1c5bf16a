//! The views of a run from outside: `watch`, `doctor`, `--metrics`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use footplate_core::{Record, runlog};
use serde_json::Value;

use crate::place::{Place, assert_fails, assert_ok, text};

#[test]
fn a_finished_run_is_watched_in_lines_and_ends_with_its_summary() {
    let place = Place::new();
    assert_ok(&place.train("run", &[]).output().unwrap());
    let output = place.footplate(&["watch", "run"]).output().unwrap();
    assert_ok(&output);
    assert!(text(&output.stderr).contains("epoch 3/3: train loss"), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("completed after 18 steps") && shown.contains("run folder  run"), "{shown}");
    // At any speed it is the same in the end.
    let fast = place.footplate(&["watch", "run", "--speed", "1000"]).output().unwrap();
    assert_ok(&fast);
    assert_eq!(text(&fast.stdout), shown);
}

#[test]
fn what_is_no_run_is_told() {
    let place = Place::new();
    assert_fails(&mut place.footplate(&["watch", "nowhere"]), 3, &["nowhere is not a run", "hint"]);
    assert_fails(&mut place.footplate(&["watch", "run", "--speed", "0"]), 2, &["above 0"]);
}

#[test]
fn a_live_run_is_followed_to_its_end_though_its_log_was_torn() {
    let place = Place::new();
    assert_ok(&place.train("run", &[]).output().unwrap());
    let path = place.path("run/records.jsonl");
    let whole = fs::read(&path).unwrap();
    // As a writer leaves it that was killed in the middle of a line.
    fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
    let mut watch = place.footplate(&["watch", "run"]);
    let child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(700));
    // The process that goes on with it cuts the torn line off and appends.
    let kept = runlog::decode_all(&whole[..whole.len() * 2 / 3]).whole_bytes as usize;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(kept as u64).unwrap();
    thread::sleep(Duration::from_millis(100));
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&whole[kept..]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_ok(&output);
    assert!(text(&output.stdout).contains("completed after 18 steps"), "{}", text(&output.stdout));
}

#[test]
fn a_run_writes_the_machines_state_into_its_log() {
    let place = Place::new();
    assert_ok(&place.train("run", &[]).output().unwrap());
    let log = runlog::decode_all(&fs::read(place.path("run/records.jsonl")).unwrap());
    let machine = log.records.iter().find_map(|r| if let Record::Machine(m) = r { Some(m) } else { None });
    let machine = machine.expect("a machine record");
    assert!(machine.memory_bytes.value().is_some_and(|bytes| bytes.0 > 1 << 20), "{machine:?}");
    assert!(!machine.simulated);
}

fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

#[test]
fn metrics_are_served_while_a_run_goes_on() {
    let place = Place::new();
    // A port that is free now; the test would fail if another program took it in between.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut command = place.train("run", &["--epochs", "100000", "--metrics", &port.to_string()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    let mut page = String::new();
    while !page.contains("footplate_steps_total") && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
        page = scrape(&address).unwrap_or_default();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(page.contains("footplate_run_info{version="), "{page}");
    assert!(page.contains("footplate_step_seconds_total{part=\"compute\"}"), "{page}");
}

#[test]
fn a_port_in_use_ends_the_command_before_it_makes_anything() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_fails(&mut place.train("run", &["--metrics", &port]), 4, &["--metrics 127.0.0.1", "another one"]);
    assert!(!place.path("run").exists());
    assert_fails(&mut place.train("run", &["--metrics", "example.org:80"]), 2, &["ADDRESS:PORT"]);
}

#[test]
fn the_doctor_looks_at_this_machine_and_at_simulated_ones() {
    let place = Place::new();
    let output = place.footplate(&["doctor", "--json"]).output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let worst = findings["worst"].as_str().unwrap();
    assert_eq!(output.status.code(), Some(if worst == "problem" { 4 } else { 0 }), "{findings:#}");
    let checks: Vec<&str> =
        findings["findings"].as_array().unwrap().iter().map(|f| f["check"].as_str().unwrap()).collect();
    for check in ["gpu driver", "device", "memory", "swap", "disk", "clock", "journal", "cpu cores"] {
        assert!(checks.contains(&check), "{check} is not among {checks:?}");
    }
    let output = place.footplate(&["doctor", "--sim", "agx-orin"]).output().unwrap();
    assert_ok(&output);
    let shown = text(&output.stdout);
    assert!(shown.contains("SIMULATED") && shown.contains("0 problems"), "{shown}");
    assert_fails(&mut place.footplate(&["doctor", "--sim", "agx-orin", "--data", "data"]), 2, &["--data"]);
}

#[test]
fn the_doctor_measures_storage_against_the_model_and_tells_of_data_that_cannot_be_opened() {
    let place = Place::new();
    let data = place.data();
    let output = place.footplate(&["doctor", "lenet5", "--data", data.to_str().unwrap()]).output().unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("storage") && shown.contains("the steps take"), "{shown}{}", text(&output.stderr));
    let output = place.footplate(&["doctor", "--data", "nowhere", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let data = findings["findings"].as_array().unwrap().iter().find(|f| f["check"] == "data").unwrap();
    assert_eq!(data["level"], "problem");
}

/// Runs a shell command on a terminal of 80 x 24 that `script` (util-linux) makes. `None`: there is no `script`.
fn on_a_terminal(place: &Place, command: &str, environment: &[(&str, &str)]) -> Option<String> {
    let line = format!("stty rows 24 cols 80; {command}; echo ended $?; stty -a");
    // `footplate` sets the folder and the user's variables; the program itself is started by the shell.
    let prepared = place.footplate(&[]);
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(prepared.get_current_dir()?);
    script.envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    script.envs([("TERM", "xterm"), ("LC_ALL", "C.UTF-8")]).env_remove("NO_COLOR");
    script.envs(environment.iter().copied()).stdin(Stdio::null());
    Some(text(&script.output().ok()?.stdout))
}

#[test]
fn a_terminal_has_a_screen_and_is_put_back() {
    let place = Place::new();
    let train = |more: &str| {
        let data = place.data();
        format!(
            "{} train lenet5 --data {} --image-size 16 --batch-size 8 --workers 1 --epochs 60 {more}",
            env!("CARGO_BIN_EXE_footplate"),
            data.display()
        )
    };
    let Some(shown) = on_a_terminal(&place, &train("--run-dir a"), &[]) else { return };
    assert!(shown.contains("ended 0") && shown.contains("completed after 360 steps"), "{shown}");
    for part in ["\u{1b}[24;", "\u{1b}[0;36mstep", "items/s", "q lines instead of this"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    // Keys are shown again and come in lines, as before.
    let modes = shown.rsplit("ended 0").next().unwrap();
    assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
    let bare = on_a_terminal(&place, &train("--run-dir b"), &[("NO_COLOR", "1"), ("LC_ALL", "C")]).unwrap();
    assert!(bare.contains("\u{1b}[24;") && !bare.contains("\u{1b}[0;3"), "{bare}");
    let drawn = bare.split("ended 0").next().unwrap();
    assert!(drawn.is_ascii(), "{drawn}");
    for dumb in [
        on_a_terminal(&place, &train("--run-dir c"), &[("TERM", "dumb")]).unwrap(),
        on_a_terminal(&place, &train("--run-dir d --plain"), &[]).unwrap(),
    ] {
        assert!(!dumb.contains('\u{1b}') && dumb.contains("epoch 60/60: train loss"), "{dumb}");
    }
    // An error after the screen began is told below it, with the terminal put back.
    let failed = on_a_terminal(&place, &train("--run-dir e --learning-rate 1e30"), &[]).unwrap();
    assert!(failed.contains("ended 1") && failed.contains("error: "), "{failed}");
}
