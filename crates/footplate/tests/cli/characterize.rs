//! Studies: a grid of runs.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::place::{Place, assert_fails, assert_ok, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const STUDY: &str = "\
title = \"Two <workers>\"
models = [\"lenet5\"]
workers = [0, 1]
batch-sizes = [8]
page-cache = [\"cold\"]
[[data]]
name = \"signals\"
path = \"data\"
[train]
max-steps = 2
image-size = 16
";

fn cells(place: &Place, arguments: &[&str]) -> (Option<i32>, Vec<Value>, Value) {
    let output = place.footplate(arguments).output().unwrap();
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code(), document["cells"].as_array().unwrap().clone(), document["report"].clone())
}

#[test]
fn a_study_is_run_once_and_ends_in_a_page() {
    let place = Place::new();
    fs::write(place.path("study.toml"), STUDY).unwrap();
    let output = place.footplate(&["characterize", "study.toml", "--dry-run"]).output().unwrap();
    assert_ok(&output);
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(!place.path("studies").exists(), "a dry run leaves nothing");

    let (code, made, report) = cells(&place, &["characterize", "study.toml", "--json"]);
    assert_eq!((code, report), (Some(0), "studies/study/report.html".into()));
    assert!(made.iter().all(|cell| cell["state"] == "done" && cell["simulated"] == false), "{made:?}");
    let html = fs::read_to_string(place.path("studies/study/report.html")).unwrap();
    for shown in ["Two &lt;workers&gt;", "2 runs, 2 settings", "1 worker", "page cache cold"] {
        assert!(html.contains(shown), "`{shown}` is not on the page");
    }

    let (code, again, _) = cells(&place, &["characterize", "study.toml", "--json"]);
    assert_eq!(
        (code, again),
        (Some(0), made),
        "what is done is not done again: the seconds are those of before"
    );
    // Another setting is another run; the old ones stay.
    fs::write(place.path("study.toml"), STUDY.replace("[0, 1]", "[0, 1, 2]")).unwrap();
    let output = place.footplate(&["characterize", "study.toml", "--dry-run"]).output().unwrap();
    assert_eq!(text(&output.stdout).matches("(done)").count(), 2, "{}", text(&output.stdout));
    let output = place.footplate(&["report", "studies/study"]).output().unwrap();
    assert_eq!(text(&output.stdout), "studies/study/report.html\n");
}

#[test]
fn a_run_that_fails_is_recorded_and_the_study_goes_on() {
    let place = Place::new();
    let study = STUDY.replace("[\"lenet5\"]", "[\"lenet5\", \"lstm\"]").replace("workers = [0, 1]\n", "");
    fs::write(place.path("study.toml"), study).unwrap();
    let (code, made, _) = cells(&place, &["characterize", "study.toml", "--json", "--out", "out"]);
    assert_eq!(code, Some(1));
    let states: Vec<&str> = made.iter().map(|cell| cell["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "failed"]);
    let error = made[1]["error"].as_str().unwrap();
    assert!(error.starts_with("exit code 3: model `lstm`"), "{error}");
    assert!(fs::read_to_string(place.path("out/report.html")).unwrap().contains("Failed: lstm"));
}

#[test]
fn an_interrupted_study_goes_on() {
    let place = Place::new();
    let study = STUDY
        .replace("workers = [0, 1]\n", "repeats = 2\n")
        .replace("max-steps = 2", "max-steps = 100000\nepochs = 100000");
    fs::write(place.path("study.toml"), study).unwrap();
    let mut child = place.footplate(&["characterize", "study.toml"]).spawn().unwrap();
    let begun = Instant::now();
    let log = || {
        let cells = fs::read_dir(place.path("studies/study/cells")).ok()?;
        cells
            .filter_map(|cell| fs::metadata(cell.ok()?.path().join("run/records.jsonl")).ok())
            .map(|m| m.len())
            .max()
    };
    while log().unwrap_or(0) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the first run does not begin");
        thread::sleep(Duration::from_millis(50));
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    fs::write(place.path("study.toml"), STUDY.replace("workers = [0, 1]\n", "repeats = 2\n")).unwrap();
    let (code, made, _) = cells(&place, &["characterize", "study.toml", "--json"]);
    assert_eq!((code, made.len()), (Some(0), 2));
}

#[test]
fn a_simulated_board_makes_a_study_of_its_presets_and_says_so() {
    let place = Place::new();
    let study =
        "models = [\"resnet18\"]\nworkers = [0, 1, 4]\nmodes = \"presets\"\n[train]\nmax-steps = 20\n";
    fs::write(place.path("study.toml"), study).unwrap();
    let (code, made, report) = cells(&place, &["characterize", "study.toml", "--sim", "orin-nano", "--json"]);
    assert_eq!(code, Some(0), "{made:?}");
    assert!(made.len() >= 6 && made.len().is_multiple_of(3), "{}", made.len());
    assert!(made.iter().all(|cell| cell["simulated"] == true));
    let html = fs::read_to_string(place.path(report.as_str().unwrap())).unwrap();
    for shown in ["simulated", "nothing was trained", "energy per image (J)", "workers 4"] {
        assert!(html.contains(shown), "`{shown}` is not on the page");
    }
}

#[test]
fn a_study_that_makes_no_sense_is_refused_with_its_line() {
    let place = Place::new();
    let cases = [
        (STUDY.replace("lenet5", "vgg"), 2, "study.toml: line 2: there is no model `vgg`"),
        (STUDY.replace("models =", "model ="), 2, "unknown field `model`"),
        (STUDY.replace("path = \"data\"", "path = \"nowhere\""), 3, "there is no data at"),
        (STUDY.replace("batch-sizes", "modes = \"presets\"\nbatch-sizes"), 4, "has no presets"),
    ];
    for (study, code, expected) in cases {
        fs::write(place.path("study.toml"), study).unwrap();
        assert_fails(&mut place.footplate(&["characterize", "study.toml"]), code, &[expected]);
    }
    assert_fails(
        &mut place.footplate(&["characterize", "none.toml"]),
        2,
        &["cannot read the study none.toml"],
    );
    fs::write(place.path("study.toml"), STUDY).unwrap();
    let mut command = place.footplate(&["characterize", "study.toml", "--sim", "toaster"]);
    assert_fails(&mut command, 2, &["toaster"]);
}

#[test]
fn the_example_studies_are_read() {
    let place = Place::new();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let big = examples.join("sigmetrics23.toml");
    let arguments = ["characterize", big.to_str().unwrap(), "--sim", "agx-orin", "--dry-run"];
    let output = place.footplate(&arguments).output().unwrap();
    assert_ok(&output);
    let small = examples.join("small.toml");
    let output = place.footplate(&["characterize", small.to_str().unwrap(), "--dry-run"]).output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 12, "{}", text(&output.stderr));
}
