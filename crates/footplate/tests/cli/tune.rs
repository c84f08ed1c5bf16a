//! Modes that are chosen: by themselves, and on the first steps of a run.

use std::fs;

use crate::place::{Place, assert_fails, assert_ok, text};
use footplate_core::record::{ModePurpose, TuneRecord};
use footplate_core::{Record, runlog};
use serde_json::Value;

fn log(place: &Place, run: &str) -> Vec<Record> {
    let log = runlog::decode_all(&fs::read(place.path(run).join("records.jsonl")).unwrap());
    assert!(log.damaged.is_empty());
    log.records
}

fn tunes(records: &[Record]) -> Vec<TuneRecord> {
    records.iter().filter_map(|r| if let Record::Tune(t) = r { Some(t.clone()) } else { None }).collect()
}

fn modes(records: &[Record], purpose: ModePurpose) -> usize {
    records.iter().filter(|r| matches!(r, Record::Mode(m) if m.purpose == purpose)).count()
}

/// The steps that a tune measures are the run's own: the weights are those of a run without it.
#[test]
fn a_run_with_a_limit_tunes_on_its_first_steps_and_comes_to_the_same_weights() {
    let place = Place::new();
    let epochs = ["--epochs", "30"];
    assert_ok(&place.train("plain", &epochs).output().unwrap());
    let tuned = ["--sim", "tx2", "--power-max", "6W", "--json"];
    let output = place.train("tuned", &[&epochs[..], &tuned[..]].concat()).output().unwrap();
    assert_ok(&output);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["steps"], &summary["status"]), (&Value::from(180), &Value::from("completed")));
    assert!(text(&output.stderr).contains("simulated board"), "{}", text(&output.stderr));
    assert!(place.weights("tuned") == place.weights("plain"), "tuning changed what is learned");

    let records = log(&place, "tuned");
    let tunes = tunes(&records);
    let tune = tunes.first().expect("no tune in the log");
    let chosen = &tune.points[tune.choice.unwrap()];
    assert!(tune.simulated && tune.verified && chosen.measured, "{tune:?}");
    assert!(chosen.power_w.unwrap().value <= 6.0, "{chosen:?}");
    assert!(tune.points.iter().any(|p| p.largest) && tune.points.iter().any(|p| p.on_front));
    assert!((1..=12).contains(&tune.profiles), "{}", tune.profiles);
    let profiles = records.iter().filter(|r| matches!(r, Record::Profile(p) if p.simulated)).count();
    assert!(profiles > tune.profiles as usize, "the choice was not verified");
    assert!(modes(&records, ModePurpose::Profile) >= profiles);
    assert_eq!(modes(&records, ModePurpose::Train), 1);
    assert_eq!(modes(&records, ModePurpose::Restore), 1);
    let warned = |r: &Record| matches!(r, Record::Warning(w) if w.message.contains("simulated"));
    assert!(records.iter().any(warned), "the log does not say that its modes are simulated");
}

#[test]
fn a_budget_that_no_mode_holds_ends_the_run_with_one_that_would_do() {
    let place = Place::new();
    let mut command = place.train("run", &["--epochs", "30", "--sim", "tx2", "--power-max", "1W"]);
    assert_fails(&mut command, 5, &["no mode holds the limits", "the closest is", "would do"]);
    let records = log(&place, "run");
    assert_eq!(tunes(&records)[0].choice, None);
    assert_eq!(modes(&records, ModePurpose::Train), 0);
    assert_eq!(modes(&records, ModePurpose::Restore), 1);
    // What was trained is kept.
    assert!(!crate::place::checkpoints(&place.path("run")).is_empty());
}

/// A run that ends before the search does takes the best that was measured; one that is resumed does not tune again.
#[test]
fn a_resumed_run_takes_the_mode_that_was_chosen() {
    let place = Place::new();
    let mut command = place.train("run", &["--epochs", "200", "--sim", "tx2", "--power-max", "6W"]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let is_training = || {
        let Ok(bytes) = fs::read(place.path("run/records.jsonl")) else { return false };
        modes(&runlog::decode_all(&bytes).records, ModePurpose::Train) == 1
    };
    while !is_training() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let first = log(&place, "run");
    assert_eq!((tunes(&first).len(), modes(&first, ModePurpose::Restore)), (1, 1));
    let profiles = |records: &[Record]| records.iter().filter(|r| matches!(r, Record::Profile(_))).count();

    let output = place.footplate(&["train", "--resume", "run"]).output().unwrap();
    assert_ok(&output);
    let records = log(&place, "run");
    assert_eq!((tunes(&records).len(), profiles(&records)), (1, profiles(&first)), "it was tuned again");
    assert_eq!(modes(&records, ModePurpose::Train), 2);
    let chosen = |r: &&Record| matches!(r, Record::Mode(m) if m.purpose == ModePurpose::Train);
    let set: Vec<_> = records
        .iter()
        .filter(chosen)
        .map(|r| if let Record::Mode(m) = r { m.got } else { unreachable!() })
        .collect();
    assert_eq!(set[0], set[1]);
}

#[test]
fn wishes_that_cannot_be_are_told_before_anything_is_made() {
    let place = Place::new();
    let mut command = place.train("a", &["--sim", "tx2"]);
    assert_fails(&mut command, 2, &["which mode is wanted", "--power-max"]);
    let mut command = place.train("b", &["--sim", "tx9", "--power-max", "6W"]);
    assert_fails(&mut command, 2, &["tx9", "agx-orin"]);
    let mut command = place.train("c", &["--sim", "tx2", "--power-max", "6V"]);
    assert_fails(&mut command, 2, &["20W"]);
    let mut command = place.train("d", &["--sim", "tx2", "--power-max", "6W", "--confidence", "0.2"]);
    assert_fails(&mut command, 2, &["confidence"]);
    for run in ["a", "b", "c"] {
        assert!(!place.path(run).exists(), "{run}");
    }
}

#[test]
fn a_simulated_tune_gives_a_verified_choice_as_json() {
    let place = Place::new();
    let records = place.path("kept");
    let arguments = [
        "tune",
        "resnet18",
        "--sim",
        "xavier-nx",
        "--power-max",
        "8W",
        "--json",
        "--records",
        records.to_str().unwrap(),
    ];
    let output = place.footplate(&arguments).output().unwrap();
    assert_ok(&output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["simulated"], true);
    assert_eq!(report["outcome"]["verified"], true);
    let watts = report["outcome"]["choice"]["power_w"]["value"].as_f64().unwrap();
    assert!(watts <= 8.0, "{watts}");
    // The same command goes on from its records: nothing is searched again.
    let again = place.footplate(&arguments).output().unwrap();
    assert_ok(&again);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    let searched = |report: &Value| {
        let records = report["records"].as_array().unwrap();
        records.iter().filter(|r| r["purpose"] == "search").count()
    };
    assert!(searched(&report) > 0);
    assert_eq!(searched(&again), 0, "{again}");
    // More looks may have found a better one: it holds the limit too.
    assert_eq!(again["outcome"]["verified"], true);
    assert!(again["outcome"]["choice"]["power_w"]["value"].as_f64().unwrap() <= 8.0);
    let seconds = |report: &Value| report["outcome"]["choice"]["time_s"]["value"].as_f64().unwrap();
    assert!(seconds(&again) <= 1.02 * seconds(&report), "{} after {}", seconds(&again), seconds(&report));
}

fn warned(records: &[Record], words: &str) -> bool {
    records.iter().any(|r| matches!(r, Record::Warning(w) if w.message.contains(words)))
}

/// The modes that were trained in, in order.
fn trained_in(records: &[Record]) -> Vec<footplate_core::PowerMode> {
    let mode = |r: &Record| match r {
        Record::Mode(m) if m.purpose == ModePurpose::Train => Some(m.got),
        _ => None,
    };
    records.iter().filter_map(mode).collect()
}

/// A board that comes to draw a third more: it is noticed, told, planned for anew, and the limit holds again.
#[test]
fn a_run_whose_power_rises_is_planned_anew() {
    let place = Place::new();
    let arguments =
        ["--epochs", "500", "--sim", "tx2", "--power-max", "6W", "--sim-change", "power=1.3@1s", "--json"];
    let output = place.train("run", &arguments).output().unwrap();
    assert_ok(&output);
    let records = log(&place, "run");
    assert!(warned(&records, "planning anew"), "nothing was noticed");
    let tunes = tunes(&records);
    assert!(tunes.len() >= 2, "{} plans", tunes.len());
    let second = &tunes[1];
    assert!(second.message.as_ref().is_some_and(|m| m.contains("a new plan")), "{:?}", second.message);
    let chosen = &second.points[second.choice.expect("nothing was chosen anew")];
    assert!(chosen.power_w.unwrap().value <= 6.0, "{chosen:?}");
    let modes_set = trained_in(&records);
    assert!(modes_set.len() >= 2 && modes_set[0] != modes_set[1], "{modes_set:?}");
    assert_eq!(modes(&records, ModePurpose::Restore), 1);
    // The steps of a new plan are the run's own too.
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["steps"], &summary["status"]), (&Value::from(3000), &Value::from("completed")));
}

/// A supply that gives in: the board throttles, which is told, and a mode that draws less is taken.
#[test]
fn a_run_that_throttles_is_planned_anew_below_that_power() {
    let place = Place::new();
    let arguments =
        ["--epochs", "500", "--sim", "tx2", "--power-max", "6W", "--sim-change", "supply=4.5W@1s"];
    assert_ok(&place.train("run", &arguments).output().unwrap());
    let records = log(&place, "run");
    assert!(warned(&records, "the machine throttles: planning anew"), "nothing was noticed");
    let tunes = tunes(&records);
    assert!(tunes.len() >= 2, "{} plans", tunes.len());
    let last = tunes.last().unwrap();
    let chosen = &last.points[last.choice.expect("nothing was chosen anew")];
    assert!(chosen.power_w.unwrap().value <= 4.6, "{chosen:?}");
    let modes_set = trained_in(&records);
    assert!(modes_set.len() >= 2 && modes_set[0] != *modes_set.last().unwrap(), "{modes_set:?}");
}

#[test]
fn a_change_needs_a_simulated_board_and_the_right_words() {
    let place = Place::new();
    let mut command = place.train("a", &["--power-max", "6W", "--sim-change", "power=1.3@1s"]);
    assert_fails(&mut command, 2, &["--sim"]);
    let mut command =
        place.train("b", &["--sim", "tx2", "--power-max", "6W", "--sim-change", "power=much@0s"]);
    assert_fails(&mut command, 2, &["power=1.3@20s"]);
}

/// A goal in a settings file counts as one on the command line does, and flags override it.
#[test]
fn a_goal_may_stand_in_the_settings_file() {
    let place = Place::new();
    let file = place.path("settings.toml");
    fs::write(&file, "power-max = \"6W\"\nprofiles = 6\n").unwrap();
    let config = ["--config", file.to_str().unwrap(), "--epochs", "30", "--sim", "tx2"];
    assert_ok(&place.train("run", &config).output().unwrap());
    let from_file = tunes(&log(&place, "run"));
    assert_eq!((from_file[0].power_max_w, from_file[0].profiles <= 6), (Some(6.0), true));
    let flag = ["--power-max", "5W"];
    assert_ok(&place.train("other", &[&config[..], &flag[..]].concat()).output().unwrap());
    assert_eq!(tunes(&log(&place, "other"))[0].power_max_w, Some(5.0));
}

/// Profiles of one job are tried as priors of the next on the same board.
#[test]
fn profiles_of_another_job_help() {
    let place = Place::new();
    let records = place.path("kept");
    let tune = |model: &str| {
        let folder = records.to_str().unwrap();
        let arguments =
            ["tune", model, "--sim", "xavier-nx", "--power-max", "8W", "--json", "--records", folder];
        let few = ["--profiles", "6"];
        let output = place.footplate(&[&arguments[..], &few[..]].concat()).output().unwrap();
        assert_ok(&output);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(tune("resnet50")["helped_by"]["power"], Value::Null);
    let second = tune("resnet18");
    let helped = &second["helped_by"];
    let names: Vec<&str> = ["time", "power"].iter().filter_map(|q| helped[q].as_str()).collect();
    assert!(!names.is_empty() && names.iter().all(|n| n.contains("resnet50")), "{helped}");
    assert_eq!(second["outcome"]["verified"], true);
}

#[test]
fn an_evaluation_tells_what_another_table_helps() {
    let place = Place::new();
    let table = |name: &str, work: f64| {
        let mut text = "workload,cpu_cores,cpu_hz,gpu_hz,emc_hz,time_s,power_w,energy_j\n".to_owned();
        for cpu in 2..=8_u64 {
            for gpu in 2..=8_u64 {
                let time = 0.05 / cpu as f64 + work / gpu as f64;
                let power = 2.0 + 0.01 * (cpu as f64).powi(2) + 0.1 * (gpu as f64).powf(2.2);
                text += &format!("job,,{cpu}00000000,{gpu}00000000,,{time},{power},\n");
            }
        }
        fs::write(place.path(name), text).unwrap();
    };
    table("own.csv", 0.3);
    table("other.csv", 0.25);
    let own = place.path("own.csv");
    let other = place.path("other.csv");
    let (own, other) = (own.to_str().unwrap(), other.to_str().unwrap());
    let arguments = ["evaluate", own, "--transfer", other, "--profiles", "6", "--seeds", "3", "--json"];
    let output = place.footplate(&arguments).output().unwrap();
    assert_ok(&output);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = document["rows"].as_array().unwrap();
    let (known, fresh): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|r| r["known"].is_string());
    assert_eq!((known.len(), fresh.len()), (6, 6));
    let mut command = place.footplate(&["evaluate", own, "--transfer", other, "--transfer-workload", "none"]);
    assert_fails(&mut command, 2, &["none", "job"]);
}
