//! The house rules that a test can check.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

/// Packages that the lock file may hold; raised by hand, with a reason in the commit.
const LOCKED_PACKAGES_MAX: usize = 745;
const FILE_LINES_MAX: usize = 600;
const LINE_CHARS_MAX: usize = 160;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All Rust files below `folder`, with their path from the repository's root and their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The part of a file before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(text)
        .split("#[cfg(test)]\npub")
        .next()
        .unwrap_or(text)
}

/// Files of the product that hold `word` and are not among `allowed` (beginnings of paths).
fn offenders(word: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources("crates") {
        let is_test = name.contains("/tests") || name.ends_with("testing.rs") || name.contains("/examples/");
        if !is_test && !allowed.iter().any(|a| name.starts_with(a)) && product(&text).contains(word) {
            found.push(name);
        }
    }
    found
}

const NONE: [String; 0] = [];

#[test]
fn only_train_names_burn() {
    assert_eq!(offenders("burn::", &["crates/footplate-train/"]), NONE);
    for other in ["core", "data", "device", "tune", "views"] {
        let manifest =
            fs::read_to_string(root().join(format!("crates/footplate-{other}/Cargo.toml"))).unwrap();
        assert!(!manifest.contains("burn"), "footplate-{other}");
    }
}

#[test]
fn only_the_app_prints_and_only_in_one_place() {
    for word in ["println!", "print!(", "io::stdout", "io::stderr"] {
        assert_eq!(offenders(word, &["crates/footplate/src/output.rs"]), NONE, "{word}");
    }
}

#[test]
fn core_does_no_io_and_reads_no_clock() {
    for word in ["std::fs", "std::io", "std::env", "std::thread", "std::time", "Instant", "SystemTime"] {
        let found: Vec<String> = offenders(
            word,
            &[
                "crates/footplate/",
                "crates/footplate-data/",
                "crates/footplate-device/",
                "crates/footplate-train/",
            ],
        );
        assert_eq!(found, NONE, "{word}");
    }
}

#[test]
fn files_are_opened_where_they_belong() {
    let allowed = [
        "crates/footplate-data/src/atomic_file.rs",
        "crates/footplate-data/src/cache/",
        "crates/footplate-data/src/pack/",
        "crates/footplate-data/src/source/",
        "crates/footplate-data/src/text.rs",
        "crates/footplate-data/src/generated/mod.rs",
        "crates/footplate-device/src/capture.rs",
        "crates/footplate-device/src/discover/identity.rs",
        "crates/footplate-device/src/guard.rs",
        "crates/footplate-device/src/memory_tree.rs",
        "crates/footplate-device/src/root.rs",
        "crates/footplate-train/src/checkpoint/store.rs",
        "crates/footplate-train/src/weights.rs",
        "crates/footplate/src/commands/characterize/store.rs",
        "crates/footplate/src/host.rs",
        "crates/footplate/src/log_file.rs",
        "crates/footplate/src/options.rs",
        "crates/footplate/src/profile_file.rs",
        "crates/footplate/src/run_store.rs",
    ];
    assert_eq!(offenders("std::fs", &allowed), NONE);
    for word in ["\"/proc", "\"/sys"] {
        let allowed = ["crates/footplate/src/host.rs", "crates/footplate-device/src/"];
        assert_eq!(offenders(word, &allowed), NONE, "{word}");
    }
}

#[test]
fn only_the_app_reads_the_environment_and_the_time_of_day() {
    for word in ["env::var", "SystemTime", "jiff::"] {
        assert_eq!(offenders(word, &["crates/footplate/src/"]), NONE, "{word}");
    }
}

#[test]
fn unsafe_code_is_in_named_modules_only() {
    let allowed = [
        "crates/footplate/src/heap.rs",
        "crates/footplate-data/src/parts.rs",
        "crates/footplate-data/src/decode/fused/simd.rs",
        "crates/footplate-train/src/gpu/mapped.rs",
    ];
    assert_eq!(offenders("unsafe ", &allowed), NONE);
}

/// Which of our crates each crate may use.
#[test]
fn the_crate_graph_points_downwards() {
    let allowed: [(&str, &[&str]); 7] = [
        ("footplate-core", &[]),
        ("footplate-data", &["footplate-core"]),
        ("footplate-device", &["footplate-core"]),
        ("footplate-tune", &["footplate-core"]),
        ("footplate-views", &["footplate-core"]),
        ("footplate-train", &["footplate-core", "footplate-data"]),
        (
            "footplate",
            &[
                "footplate-core",
                "footplate-data",
                "footplate-device",
                "footplate-train",
                "footplate-tune",
                "footplate-views",
            ],
        ),
    ];
    let folders = fs::read_dir(root().join("crates")).unwrap().count();
    assert_eq!(folders, allowed.len(), "a crate is missing in this test");
    for (name, may_use) in allowed {
        let text = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            let ours = dependency.starts_with("footplate");
            assert!(!ours || may_use.contains(&dependency.as_str()), "{name} uses {dependency}");
        }
    }
}

#[test]
fn files_and_lines_are_short_enough_to_read() {
    for (name, text) in sources("crates") {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
        for (number, line) in text.lines().enumerate() {
            assert!(line.chars().count() <= LINE_CHARS_MAX, "{name}:{} is too long", number + 1);
            assert!(!line.contains('\t'), "{name}:{} has a tab", number + 1);
        }
        assert!(text.starts_with("//!") || name.contains("/tests"), "{name} does not say what it is for");
    }
}

#[test]
fn functions_fit_a_screen_by_a_lint() {
    let clippy = fs::read_to_string(root().join("clippy.toml")).unwrap();
    assert!(clippy.contains("too-many-lines-threshold = 70"));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("too_many_lines = \"warn\""));
}

#[test]
fn the_number_of_packages_does_not_grow_unseen() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages = lock.matches("[[package]]").count();
    assert!(packages <= LOCKED_PACKAGES_MAX, "{packages} packages are locked");
}

/// What the README promises about exit codes is what the program's table says.
#[test]
fn exit_codes_are_documented() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for code in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 7 |"] {
        assert!(readme.contains(code), "the README lacks {code}");
    }
}

/// Every setting of a file has its flag in the example of all settings.
#[test]
fn the_example_of_all_settings_is_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example: toml::Table =
        fs::read_to_string(folder.join("tests/settings/valid/all.toml")).unwrap().parse().unwrap();
    let options = fs::read_to_string(folder.join("src/options.rs")).unwrap();
    let fields = product(&options).lines().filter_map(|line| line.trim().strip_prefix("pub(crate) "));
    let fields =
        fields.filter_map(|line| line.split_once(": Option<")).map(|(name, _)| name.replace('_', "-"));
    for field in fields {
        assert!(example.contains_key(&field), "{field} is not in all.toml");
    }
}
