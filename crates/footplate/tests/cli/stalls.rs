//! `footplate stalls` on small data: what it must say, and that it leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::{Place, assert_fails, assert_ok, text};

/// The document of a short diagnosis.
fn diagnosed(command: &mut Command) -> Value {
    let begun = Instant::now();
    let output = command.args(["--json", "--quiet"]).output().unwrap();
    assert_ok(&output);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stalls(place: &Place, more: &[&str]) -> Command {
    let mut arguments = vec!["stalls", "lenet5", "--data", "data", "--image-size", "16", "--batch-size", "8"];
    arguments.extend(more);
    place.footplate(&arguments)
}

fn is_rate(value: &Value) -> bool {
    value.as_f64().is_some_and(|rate| rate > 0.0 && rate.is_finite())
}

#[test]
fn images_are_diagnosed_and_nothing_is_left_behind() {
    let place = Place::new();
    let before = fs::read_dir(place.path(".")).unwrap().count();
    let found = diagnosed(&mut stalls(&place, &["--workers", "1", "--time", "2s"]));
    for rate in [
        "compute_images_per_s",
        "prep_images_per_s",
        "prep_images_per_cpu_s",
        "prep_u8_images_per_cpu_s",
        "fetch_images_per_s_warm",
        "images_per_s",
        "modelled_images_per_s",
    ] {
        assert!(is_rate(&found[rate]), "{rate}: {found}");
    }
    // Cold reads are measured, or it is said why they were not (a temporary folder in memory).
    assert!(is_rate(&found["fetch_images_per_s_cold"]) != found["fetch_not_measured"].is_string(), "{found}");
    let stall = found["stall_fraction"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&stall), "{stall}");
    assert!(["compute", "prep", "fetch", "transfer"].contains(&found["bottleneck"].as_str().unwrap()));
    for item in found["recommendations"].as_array().unwrap() {
        assert!(item["gain"].as_f64() >= Some(0.03) && is_rate(&item["predicted_images_per_s"]), "{item}");
    }
    assert_eq!(found["applied"], Value::Null);
    assert_eq!(fs::read_dir(place.path(".")).unwrap().count(), before);
}

#[test]
fn a_change_is_applied_and_compared_with_its_prediction() {
    let place = Place::new();
    let found = diagnosed(&mut stalls(&place, &["--workers", "0", "--time", "2s", "--apply", "--cold"]));
    let advice = found["recommendations"].as_array().unwrap();
    let can = ["workers", "image_size", "batch_size"];
    let first = advice.iter().find(|item| can.contains(&item["change"].as_str().unwrap()));
    match first {
        None => assert_eq!(found["applied"], Value::Null),
        Some(first) => {
            assert_eq!(found["applied"]["change"], first["change"], "{found}");
            assert!(is_rate(&found["applied"]["got_per_s"]));
            assert_eq!(found["applied"]["predicted_per_s"], first["predicted_images_per_s"]);
        }
    }
}

#[test]
fn a_text_is_diagnosed_though_there_is_nothing_to_fetch() {
    let place = Place::new();
    fs::write(place.path("text.txt"), "she sells sea shells by the sea shore. ".repeat(400)).unwrap();
    let arguments = ["stalls", "lstm", "--data", "text.txt", "--lstm-hidden", "16", "--time", "1s"];
    let found = diagnosed(&mut place.footplate(&arguments));
    assert!(is_rate(&found["compute_images_per_s"]) && is_rate(&found["prep_images_per_s"]), "{found}");
    assert_eq!(found["source"]["kind"], "process");
    assert_eq!((&found["fetch_images_per_s_warm"], &found["image_size"]), (&Value::Null, &Value::Null));
}

#[test]
fn the_report_begins_with_the_answer() {
    let place = Place::new();
    let output = stalls(&place, &["--time", "1s"]).output().unwrap();
    assert_ok(&output);
    let said = text(&output.stdout);
    assert!(said.starts_with("limited by  "), "{said}");
    for part in ["of the time for data", "change", "items/s     each stage by itself", "real run"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(text(&output.stderr).contains("measuring: the real run"));
}

#[test]
fn mistakes_have_their_exit_codes() {
    let place = Place::new();
    assert_fails(&mut stalls(&place, &["--time", "0.5s"]), 2, &["too short to measure"]);
    assert_fails(&mut stalls(&place, &["--memory-max", "1MiB"]), 6, &["batch size 8 needs"]);
    assert_fails(&mut place.footplate(&["stalls", "--data", "nowhere"]), 3, &["cannot read", "nowhere"]);
    assert_fails(&mut place.footplate(&["stalls", "lstm", "--data", "data"]), 3, &["is trained on text"]);
    for class in fs::read_dir(place.data().join("train")).unwrap() {
        for file in fs::read_dir(class.unwrap().path()).unwrap() {
            fs::write(file.unwrap().path(), "no picture").unwrap();
        }
    }
    assert_fails(&mut stalls(&place, &["--time", "1s"]), 3, &["damaged or unreadable"]);
}

#[test]
fn an_interrupt_ends_it_soon() {
    let place = Place::new();
    let mut command = stalls(&place, &["--time", "10m"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(7));
    // It was asked for ten minutes; a busy machine may take long over the step that it is in.
    assert!(begun.elapsed() < Duration::from_secs(300));
}
