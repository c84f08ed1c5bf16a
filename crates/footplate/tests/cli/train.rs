//! What a run prints and leaves behind.

use std::fs;

use crate::place::{Place, assert_ok, text};
use footplate_core::record::RunStatus;
use footplate_core::{Record, runlog};
use serde_json::Value;

#[test]
fn json_is_one_document_with_the_promised_keys_and_nothing_else_on_stdout() {
    let place = Place::new();
    let output = place.train("run", &["--json"]).output().unwrap();
    assert_ok(&output);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = [
        "model",
        "device",
        "epochs",
        "steps",
        "batch_size",
        "images_per_s",
        "step_ms_median",
        "step_ms_p95",
        "stall_fraction",
        "fetch_ms",
        "prep_ms",
        "transfer_ms",
        "compute_ms",
        "train_loss",
        "val_accuracy",
        "peak_memory_bytes",
        "planned_memory_bytes",
        "energy_j",
        "run_dir",
    ];
    for key in keys {
        assert!(summary.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(summary["energy_j"], Value::Null, "no sensor was read");
    assert_eq!((&summary["steps"], &summary["status"]), (&Value::from(18), &Value::from("completed")));
    let part = |key: &str| summary[key].as_f64().unwrap();
    let parts: f64 = ["fetch_ms", "prep_ms", "transfer_ms", "compute_ms", "other_ms"].map(part).iter().sum();
    assert!(
        (parts - part("step_ms_mean")).abs() < 0.01 * part("step_ms_mean"),
        "the parts of a step do not add up"
    );
}

#[test]
fn quiet_prints_the_result_alone() {
    let place = Place::new();
    let output = place.train("run", &["--quiet"]).output().unwrap();
    assert_ok(&output);
    assert_eq!(text(&output.stderr), "");
    assert!(text(&output.stdout).contains("energy      -"), "{}", text(&output.stdout));
}

#[test]
fn the_run_log_holds_every_step_and_the_run_its_settings() {
    let place = Place::new();
    assert_ok(&place.train("run", &[]).output().unwrap());
    let log = runlog::decode_all(&fs::read(place.path("run/records.jsonl")).unwrap());
    assert!(log.damaged.is_empty());
    assert!(matches!(log.records.first(), Some(Record::RunStart(start)) if start.steps_total == 18));
    let steps: Vec<u64> = log
        .records
        .iter()
        .filter_map(|r| if let Record::Minibatch(m) = r { Some(m.step) } else { None })
        .collect();
    assert_eq!(steps, (0..18).collect::<Vec<_>>());
    assert!(matches!(log.records.last(), Some(Record::RunEnd(end)) if end.status == RunStatus::Completed));
    let validations = log.records.iter().filter(|r| matches!(r, Record::Validation(_))).count();
    assert_eq!(validations, 3);
    let run = fs::read_to_string(place.path("run/run.toml")).unwrap();
    assert!(run.contains("model = \"lenet5\"") && run.contains("batch-size = 8"), "{run}");
}

#[test]
fn the_loss_falls_on_the_embedded_signals() {
    let place = Place::new();
    let output =
        place.train("run", &["--epochs", "30", "--json", "--crop-min-area", "0.8"]).output().unwrap();
    assert_ok(&output);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Eight classes: a guess has a loss of ln 8 = 2.08.
    assert!(summary["train_loss"].as_f64().unwrap() < 1.0, "{summary}");
}

#[test]
fn a_text_model_learns_a_text() {
    let place = Place::new();
    fs::write(place.path("t.txt"), "the quick brown fox jumps over the lazy dog. ".repeat(60)).unwrap();
    let fixed = ["train", "lstm", "--data", "t.txt", "--sequence-length", "16", "--lstm-hidden", "32"];
    let mut command = place.footplate(&fixed);
    command.args([
        "--lstm-embed",
        "8",
        "--batch-size",
        "8",
        "--max-steps",
        "150",
        "--lr",
        "0.01",
        "--epochs",
        "20",
        "--json",
    ]);
    let output = command.output().unwrap();
    assert_ok(&output);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["steps"], 150);
    assert!(summary["val_accuracy"].as_f64().unwrap() > 0.5, "{summary}");
}

#[test]
fn exported_weights_begin_another_run() {
    let place = Place::new();
    assert_ok(&place.train("run", &["--epochs", "1"]).output().unwrap());
    let output = place.footplate(&["export", "run", "--out", "w.safetensors"]).output().unwrap();
    assert_ok(&output);
    assert!(text(&output.stdout).contains("lenet5 with 8 classes"), "{}", text(&output.stdout));
    assert_ok(&place.train("next", &["--weights", "w.safetensors", "--max-steps", "1"]).output().unwrap());
    let classes = fs::read_dir(place.data().join("train")).unwrap().count();
    assert_eq!(classes, 8);
    for split in ["train", "val"] {
        fs::remove_dir_all(place.data().join(split).join("dark")).unwrap();
    }
    let output = place.train("seven", &["--weights", "w.safetensors", "--max-steps", "1"]).output().unwrap();
    assert_ok(&output);
    assert!(
        text(&output.stderr).contains("classifier head replaced: the file has 8 classes, your data 7"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn early_stopping_ends_a_run_that_no_longer_improves() {
    let place = Place::new();
    // A learning rate that changes next to nothing: accuracy and loss stay where they are or get worse by a hair.
    let more = ["--early-stop", "2", "--epochs", "200", "--lr", "1e-12", "--weight-decay", "0", "--json"];
    let output = place.train("run", &more).output().unwrap();
    assert_ok(&output);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "early_stopped");
    assert!(summary["steps"].as_u64().unwrap() < 1200);
}

#[test]
fn a_dry_run_prints_settings_and_leaves_nothing() {
    let place = Place::new();
    let output = place.train("run", &["--dry-run"]).output().unwrap();
    assert_ok(&output);
    assert!(text(&output.stderr).contains("memory plan (estimate for batch size 8)"));
    let settings: toml::Table = text(&output.stdout).parse().unwrap();
    assert_eq!(settings["settings"]["epochs"].as_integer(), Some(3));
    assert!(!place.path("run").exists());
}

#[test]
fn completions_and_help_are_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = place.footplate(&["completions", shell]).output().unwrap();
        assert_ok(&output);
        assert!(text(&output.stdout).contains("footplate"));
    }
    let help = place.footplate(&["train", "--help"]).output().unwrap();
    assert_ok(&help);
    assert!(text(&help.stdout).contains("Examples:"));
}
