//! Help texts are what users learn the program from: a change of one is seen in review.
//! After a wanted change run the tests once with `FOOTPLATE_UPDATE_HELP=1`.

use std::fs;
use std::path::Path;

use crate::place::{Place, assert_ok, text};

#[test]
fn help_texts_are_those_of_the_manual() {
    let place = Place::new();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/help");
    for (file, arguments) in [
        ("footplate.txt", vec!["--help"]),
        ("train.txt", vec!["train", "--help"]),
        ("watch.txt", vec!["watch", "--help"]),
        ("doctor.txt", vec!["doctor", "--help"]),
        ("pack.txt", vec!["pack", "--help"]),
        ("stalls.txt", vec!["stalls", "--help"]),
        ("measure.txt", vec!["measure", "--help"]),
        ("device.txt", vec!["device", "--help"]),
        ("mode.txt", vec!["mode", "--help"]),
        ("mode-set.txt", vec!["mode", "set", "--help"]),
        ("tune.txt", vec!["tune", "--help"]),
        ("evaluate.txt", vec!["evaluate", "--help"]),
        ("characterize.txt", vec!["characterize", "--help"]),
        ("report.txt", vec!["report", "--help"]),
        ("export.txt", vec!["export", "--help"]),
        ("kernels.txt", vec!["kernels", "--help"]),
        ("completions.txt", vec!["completions", "--help"]),
    ] {
        let output = place.footplate(&arguments).env("COLUMNS", "110").output().unwrap();
        assert_ok(&output);
        let shown = text(&output.stdout);
        let path = docs.join(file);
        if std::env::var_os("FOOTPLATE_UPDATE_HELP").is_some() {
            fs::create_dir_all(&docs).unwrap();
            fs::write(&path, &shown).unwrap();
        }
        assert_eq!(shown, fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    }
}
