//! `footplate pack`, and training on what it made.

use std::fs;

use crate::place::{Place, assert_fails, assert_ok, text};

fn json(output: &std::process::Output) -> serde_json::Value {
    assert_ok(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn shards_are_made_checked_and_trained_on() {
    let place = Place::new();
    let pack = |more: &[&str]| {
        let arguments = [&["pack", "data", "shards", "--shard-size", "8KiB"], more].concat();
        json(&place.footplate(&arguments).output().unwrap())
    };
    let made = pack(&["--json"]);
    let (packed, none) = (&made["packed"], serde_json::Value::Null);
    assert_eq!(
        (&packed["samples"], &packed["kept_shards"], &made["verified"]),
        (&64.into(), &0.into(), &none)
    );
    assert!(packed["shards"].as_u64().unwrap() > 4, "{packed}");
    let again = pack(&["--json", "--verify", "--threads", "1"]);
    assert_eq!(again["packed"]["kept_shards"], packed["shards"]);
    assert_eq!(again["verified"]["problems"], serde_json::json!([]));
    assert_eq!(again["verified"]["samples"], 64);
    // The same classes by name, and the same number of samples in each split.
    let description = |data: &str, run: &str| {
        let fixed = ["--image-size", "16", "--batch-size", "8", "--workers", "1", "--max-steps", "1"];
        let arguments = [&["train", "lenet5", "--data", data, "--run-dir", run], &fixed[..]].concat();
        assert_ok(&place.footplate(&arguments).output().unwrap());
        let log = fs::read_dir(place.path(run)).unwrap().map(|e| e.unwrap().path());
        let log = log.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("records"));
        let log = fs::read_to_string(log.last().unwrap()).unwrap();
        let start = log.lines().find(|line| line.contains("images for training")).unwrap().to_owned();
        let at = start.find(" images for training").unwrap();
        start[at - 2..at + 60].split(" (").next().unwrap().to_owned()
    };
    assert_eq!(description("data", "folder"), description("shards", "packed"));
    let names = fs::read_to_string(place.path("shards/classes.txt")).unwrap();
    let mut folders: Vec<String> = fs::read_dir(place.data().join("train"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(names.lines().collect::<Vec<_>>(), folders);
}

#[test]
fn shards_that_have_changed_are_found() {
    let place = Place::new();
    assert_ok(&place.footplate(&["pack", "data", "shards", "-q"]).output().unwrap());
    let shard = place.path("shards/train-00000.tar");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[3 * 512 + 100] ^= 1;
    fs::write(&shard, bytes).unwrap();
    assert_fails(
        &mut place.footplate(&["pack", "--verify", "shards"]),
        3,
        &["not as they were packed", "its bytes have changed", "hint"],
    );
}

#[test]
fn mistakes_have_their_codes() {
    let place = Place::new();
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| {
        assert_fails(&mut place.footplate(&[&["pack"], arguments].concat()), code, parts);
    };
    fails(&["data"], 2, &["no folder for the shards"]);
    fails(&["nowhere", "shards"], 3, &["cannot read nowhere"]);
    fails(&["data", "data/shards"], 2, &["inside the data"]);
    fails(&["data", "shards", "--quality", "0"], 2, &["quality: 1 to 100"]);
    fails(&["data", "shards", "--shard-size", "0B"], 2, &["1 byte to 1 TiB"]);
    fails(&["data", "shards", "--max-bad-fraction", "2"], 2, &["--max-bad-fraction 2: must be 0 to 1"]);
    fails(&["data", "shards", "--format", "zip"], 2, &["--format", "not one of"]);
    fs::write(place.path("t.txt"), "to be or not to be ".repeat(100)).unwrap();
    fails(&["t.txt", "shards"], 3, &["a text cannot be packed"]);
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/thesis.tex"), "").unwrap();
    fails(&["data", "mine"], 2, &["is not empty", "thesis.tex", "empty folder"]);
    fs::write(place.path("file"), "").unwrap();
    fails(&["data", "file/shards"], 4, &["cannot create file/shards"]);
    assert!(!place.path("shards").exists(), "a refused packing left a folder");
    fs::write(place.data().join("train/stop/bad.jpg"), "no image").unwrap();
    fails(&["data", "shards"], 3, &["more than the allowed share of 0.01", "bad.jpg"]);
    let lenient = ["pack", "data", "shards", "--max-bad-fraction", "0.5", "--json"];
    let made = place.footplate(&lenient).output().unwrap();
    assert!(text(&made.stderr).contains("left out"), "{}", text(&made.stderr));
    assert_eq!(
        json(&made)["packed"]["left_out"][0]["reason"].as_str().unwrap().split(':').next(),
        Some("not a JPEG or PNG image")
    );
    assert_ok(&place.footplate(&["pack", "data", "shards", "--max-bad-fraction", "0.5"]).output().unwrap());
    fails(
        &["data", "shards", "--seed", "7"],
        2,
        &["shards of other data, or shards that were made with other options", "pack.toml"],
    );
}
