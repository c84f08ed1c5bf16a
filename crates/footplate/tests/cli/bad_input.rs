//! The mistakes that users make: each gets a clear message and its exit code, and none a panic.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::place::{Place, assert_fails, assert_ok, text};

#[test]
fn paths_that_hold_no_data() {
    let place = Place::new();
    assert_fails(
        &mut place.footplate(&["train", "--data", "nowhere"]),
        3,
        &["cannot read", "nowhere", "No such file"],
    );
    fs::create_dir(place.path("empty")).unwrap();
    assert_fails(&mut place.footplate(&["train", "--data", "empty"]), 3, &["no images in it", "CLASS/*.jpg"]);
    fs::write(place.path("x.bin"), "?").unwrap();
    assert_fails(&mut place.footplate(&["train", "--data", "x.bin"]), 3, &["not a known data format"]);
    fs::write(place.path("x.tar"), "not a tar, but long enough to be looked at as if it were one".repeat(20))
        .unwrap();
    assert_fails(&mut place.footplate(&["train", "--data", "x.tar"]), 3, &["not a tar archive"]);
}

#[test]
fn one_class_is_not_enough() {
    let place = Place::new();
    fs::create_dir(place.path("one")).unwrap();
    fs::rename(place.data().join("train/stop"), place.path("one/stop")).unwrap();
    assert_fails(&mut place.footplate(&["train", "--data", "one"]), 3, &["1 class (stop)", "at least two"]);
}

#[test]
fn settings_that_make_no_sense() {
    let place = Place::new();
    let fails =
        |arguments: &[&str], parts: &[&str]| assert_fails(&mut place.train("run", arguments), 2, parts);
    assert_fails(
        &mut place.footplate(&["train", "resnet-18"]),
        2,
        &["unknown model `resnet-18`", "did you mean `resnet18`"],
    );
    fails(&["--learning-rate", "0"], &["--learning-rate 0: "]);
    fails(&["--label-smoothing", "1"], &["--label-smoothing 1: "]);
    fails(&["--accumulate", "0"], &["--accumulate 0: "]);
    fails(&["--precision", "f16"], &["--precision f16: ", "the cpu device computes in f32"]);
    fails(&["--precision", "f8"], &["not one of f32, f16, bf16"]);
    fails(&["--device", "tpu"], &["not one of auto, cpu, vulkan, cuda"]);
    fails(&["--checkpoint-every", "60"], &["`60` has no unit", "90s or 5min"]);
    fails(&["--validation-fraction", "1.5"], &["--validation-fraction 1.5: "]);
    assert_fails(&mut place.footplate(&["train", "--batch-size", "0"]), 2, &["at least 1 sample"]);
    assert_fails(
        &mut place.footplate(&["train", "--image-size", "4", "--data", "data"]),
        2,
        &["--image-size 4: ", "at least 8 pixels"],
    );
    assert_fails(&mut place.footplate(&["train", "lstm"]), 2, &["needs a text", "--data"]);
    fs::write(place.path("s.toml"), "epoch = 3\n").unwrap();
    assert_fails(
        &mut place.footplate(&["train", "--config", "s.toml"]),
        2,
        &["s.toml", "unknown field `epoch`"],
    );
    assert!(!place.path("run").exists(), "a refused run left a folder");
}

#[test]
fn images_for_a_text_model_and_the_other_way_round() {
    let place = Place::new();
    fs::write(place.path("t.txt"), "to be or not to be ".repeat(100)).unwrap();
    assert_fails(
        &mut place.footplate(&["train", "lenet5", "--data", "t.txt"]),
        3,
        &["trained on images", "a text of"],
    );
    assert_fails(
        &mut place.footplate(&["train", "lstm", "--data", "data"]),
        3,
        &["trained on text", "images for training"],
    );
}

#[test]
fn a_device_that_is_not_built_in() {
    let place = Place::new();
    let mut cuda = place.train("run", &["--device", "cuda"]);
    assert_fails(&mut cuda, 4, &["device `cuda`: not supported", "--device auto"]);
    if cfg!(not(feature = "vulkan")) {
        let mut vulkan = place.train("run", &["--device", "vulkan"]);
        assert_fails(&mut vulkan, 4, &["built without it", "--device auto"]);
    }
    let output = place.train("run", &["--device", "auto", "--max-steps", "1"]).output().unwrap();
    assert_ok(&output);
}

/// With the feature or without: a machine whose Vulkan loader finds no driver.
#[test]
fn a_machine_without_a_driver() {
    let place = Place::new();
    let without_driver = |run, device| {
        let mut command = place.train(run, &["--device", device, "--max-steps", "1"]);
        command.env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere");
        command
    };
    assert_fails(&mut without_driver("run", "vulkan"), 4, &["device `vulkan`", "--device auto"]);
    assert!(!place.path("run").exists(), "a refused run left a folder");
    let output = without_driver("auto", "auto").output().unwrap();
    assert_ok(&output);
}

/// Puts files that are not whole images into the class `stop`: there are 64 samples in all.
fn add_bad(place: &Place) {
    let class = place.data().join("train/stop");
    let good = fs::read(class.join("0000.jpg")).unwrap();
    fs::write(class.join("text.jpg"), "I am a text").unwrap();
    fs::write(class.join("zero.jpg"), "").unwrap();
    fs::write(class.join("cut.jpg"), &good[..good.len() / 2]).unwrap();
    let mut bomb = good;
    let frame = bomb.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    fs::write(class.join("bomb.jpg"), bomb).unwrap();
}

#[test]
fn too_many_damaged_files_stop_the_run_and_are_listed() {
    let place = Place::new();
    add_bad(&place);
    assert_fails(
        &mut place.train("run", &[]),
        3,
        &["more than the allowed share of 0.01", ".jpg: ", "--max-bad-fraction"],
    );
}

#[test]
fn a_few_damaged_files_are_named_counted_and_left_out() {
    let place = Place::new();
    add_bad(&place);
    let output = place.train("run", &["--max-bad-fraction", "0.1", "--json"]).output().unwrap();
    assert_ok(&output);
    let said = text(&output.stderr);
    for part in
        ["text.jpg: not a JPEG or PNG", "zero.jpg: empty file", "cut.jpg: damaged", "bomb.jpg: 20000 x 20000"]
    {
        assert_eq!(said.matches(part).count(), 1, "`{part}` in: {said}");
    }
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["bad_samples"], 4);
}

#[test]
fn a_folder_that_may_not_be_written() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    // A file where a folder should be stands for a missing permission: root may write everywhere.
    assert_fails(&mut place.train("file/run", &[]), 4, &["cannot create the run folder"]);
    assert_fails(
        &mut place.footplate(&["train", "--cache-dir", "file/cache"]),
        4,
        &["cannot create", "--cache-dir"],
    );
    let locked = place.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        assert_fails(&mut place.train("locked/run", &[]), 4, &["permission", "--run-dir"]);
    }
}

#[test]
fn a_batch_that_does_not_fit_names_the_largest_that_does() {
    let place = Place::new();
    let run = |batch: &str| {
        let data = place.data();
        let mut command =
            place.footplate(&["train", "lenet5", "--data", data.to_str().unwrap(), "--max-steps", "1"]);
        command.args([
            "--workers",
            "1",
            "--memory-max",
            "80MiB",
            "--run-dir",
            &format!("run{batch}"),
            "--batch-size",
            batch,
        ]);
        command
    };
    let output = run("4096").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    let largest =
        said.split("largest batch that fits is ").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    assert_ok(&run(largest).output().unwrap());
    assert_ok(&run("auto").output().unwrap());
    let mut tiny = place.train("tiny", &["--memory-max", "1MiB"]);
    assert_fails(&mut tiny, 6, &["not even one sample fits"]);
}

#[test]
fn weights_that_do_not_fit() {
    let place = Place::new();
    fs::write(place.path("w.safetensors"), "text").unwrap();
    assert_fails(&mut place.train("run", &["--weights", "w.safetensors"]), 3, &["not a safetensors file"]);
    assert_fails(
        &mut place.train("run", &["--weights", "none.safetensors"]),
        3,
        &["cannot read none.safetensors"],
    );
    assert_fails(&mut place.footplate(&["export", "data", "--out", "x"]), 3, &["is not a run"]);
}

#[test]
fn a_run_is_not_written_over() {
    let place = Place::new();
    assert_ok(&place.train("run", &["--max-steps", "1"]).output().unwrap());
    assert_fails(&mut place.train("run", &[]), 2, &["already holds a run", "--resume run"]);
}
