//! Pages of runs.

use std::fs;

use crate::place::{Place, assert_fails, assert_ok, text};
use serde_json::Value;

#[test]
fn a_runs_page_is_written_beside_it_and_named() {
    let place = Place::new();
    assert_ok(&place.train("run", &["--quiet"]).output().unwrap());
    let output = place.footplate(&["report", "run"]).output().unwrap();
    assert_ok(&output);
    assert_eq!(text(&output.stdout), "run/report.html\n");
    let html = fs::read_to_string(place.path("run/report.html")).unwrap();
    for shown in
        ["lenet5", "Validation accuracy", "18 of 18 steps", "All settings (TOML)", "Energy of the run: - ."]
    {
        assert!(html.contains(shown), "`{shown}` is not on the page");
    }
    assert!(html.len() < 200_000, "{} bytes", html.len());
}

#[test]
fn runs_side_by_side_tell_what_differs() {
    let place = Place::new();
    assert_ok(&place.train("one", &["--quiet", "--epochs", "1"]).output().unwrap());
    assert_ok(&place.train("two", &["--quiet", "--epochs", "1", "--workers", "0"]).output().unwrap());
    let output = place.footplate(&["report", "one", "two", "-o", "both.html", "--json"]).output().unwrap();
    assert_ok(&output);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["report"], &document["runs"][1]["workers"]), (&"both.html".into(), &"0".into()));
    assert_eq!(document["runs"][0]["energy_j"], Value::Null);
    let html = fs::read_to_string(place.path("both.html")).unwrap();
    assert!(html.contains("2 runs, 2 settings") && html.contains("0 workers"), "{html}");
}

#[test]
fn what_is_no_run_is_told() {
    let place = Place::new();
    assert_fails(&mut place.footplate(&["report", "nowhere"]), 3, &["there is no run nowhere", "runs/"]);
    assert_fails(
        &mut place.footplate(&["report", "data"]),
        3,
        &["data is not a run: it holds no records.jsonl"],
    );
    assert_fails(&mut place.footplate(&["report"]), 2, &["RUN"]);
    fs::create_dir(place.path("empty")).unwrap();
    fs::write(place.path("empty/records.jsonl"), "").unwrap();
    assert_fails(&mut place.footplate(&["report", "empty"]), 3, &["holds no whole record", "try again"]);
    fs::write(place.path("empty/records.jsonl"), "{\"v\":99,\"crc32\":\"0\",\"record\":{}}\n").unwrap();
    assert_fails(&mut place.footplate(&["report", "empty"]), 3, &["run log version 99", "newer footplate"]);
}

#[test]
fn a_log_that_is_cut_off_anywhere_opens() {
    let place = Place::new();
    assert_ok(&place.train("run", &["--quiet", "--epochs", "1"]).output().unwrap());
    let log = fs::read(place.path("run/records.jsonl")).unwrap();
    let first = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::create_dir(place.path("cut")).unwrap();
    for cut in [first, first + 1, (first + log.len()) / 2, log.len() - 1, log.len()] {
        fs::write(place.path("cut/records.jsonl"), &log[..cut]).unwrap();
        assert_ok(&place.footplate(&["report", "cut"]).output().unwrap());
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    let place = Place::new();
    assert_ok(&place.train("run", &["--quiet", "--epochs", "1"]).output().unwrap());
    let mut command = place.footplate(&["report", "run", "-o", "not/there/page.html"]);
    assert_fails(&mut command, 3, &["cannot write not/there/page.html", "-o"]);
}
