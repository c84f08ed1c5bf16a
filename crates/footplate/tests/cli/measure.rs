//! `footplate measure`.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::place::{Place, assert_ok, text};

fn document(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stdout)))
}

#[test]
fn a_command_on_a_simulated_board_has_time_energy_and_rails() {
    let place = Place::new();
    let arguments = ["measure", "--json", "--sim", "nano", "--", "sh", "-c", "echo out; sleep 1.2"];
    let output = place.footplate(&arguments).output().unwrap();
    assert_ok(&output);
    let document = document(&output);
    assert_eq!(
        (&document["simulated"], &document["machine"]),
        (&true.into(), &"nano@r32 (simulated)".into())
    );
    assert!(document["wall_s"].as_f64().unwrap() >= 1.2, "{document:#}");
    let (energy, coverage) = (document["energy_j"].as_f64().unwrap(), document["coverage"].as_f64().unwrap());
    assert!(energy > 0.5 && energy < 20.0 && coverage > 0.3, "{document:#}");
    let power = document["mean_power_w"].as_f64().unwrap();
    // A constant power's mean may end in another last digit.
    assert!(document["peak_power_w"].as_f64().unwrap() >= power * 0.999_999, "{document:#}");
    for rail in ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"] {
        assert!(document["rails"][rail]["energy_j"].is_number(), "{rail}: {document:#}");
    }
    let told =
        document["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("simulated"));
    assert!(told && document["throttled"].is_array(), "{document:#}");
    assert!(text(&output.stderr).contains("out"), "the command's output goes to stderr");
}

#[test]
fn the_exit_code_is_the_commands() {
    let place = Place::new();
    let code = |command: &[&str]| {
        let arguments = [&["measure", "--"], command].concat();
        place.footplate(&arguments).output().unwrap().status.code()
    };
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(code(&["no-such-program-here"]), Some(127));
    assert_eq!(code(&[]), Some(2));
}

#[test]
fn the_command_keeps_stdout_and_the_figures_go_to_stderr() {
    let place = Place::new();
    let output = place.footplate(&["measure", "--", "echo", "hello"]).output().unwrap();
    assert_ok(&output);
    assert_eq!(text(&output.stdout), "hello\n");
    let shown = text(&output.stderr);
    assert!(shown.contains("time ") && shown.contains("echo hello (exit code 0)"), "{shown}");
}

#[test]
fn several_runs_have_a_spread_and_the_first_failure_ends_them() {
    let place = Place::new();
    let output = place.footplate(&["measure", "--json", "--repeat", "3", "--", "true"]).output().unwrap();
    let document1 = document(&output);
    assert_eq!(document1["repeat"], 3);
    assert!(document1["spread"]["wall_s"]["sd"].is_number(), "{document1:#}");
    let output = place.footplate(&["measure", "--json", "--repeat", "3", "--", "false"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(document(&output)["repeat"], 1);
}

#[test]
fn a_signal_ends_the_command_and_its_figures_are_still_told() {
    let place = Place::new();
    let mut child = place
        .footplate(&["measure", "--json", "--", "sleep", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(700));
    let killed =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(document["wall_s"].as_f64().unwrap() < 30.0);
}
