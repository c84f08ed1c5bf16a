//! Which crate may use which, and that each crate's walls are there.
//!
//! What a crate must not call stands in its `clippy.toml`, where it is checked by name resolution; modules that may
//! say so with a reason. Here it is checked that no crate's list has become shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::source::{root, text_of};

/// Which of our crates each crate may use. What is not named here must not exist.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("footplate-core", &[]),
    ("footplate-files", &[]),
    ("footplate-data", &["core", "files"]),
    ("footplate-device", &["core", "files"]),
    ("footplate-tune", &["core"]),
    ("footplate-views", &["core"]),
    ("footplate-train", &["core", "data", "files"]),
    ("footplate-run", &["core", "device", "files", "tune"]),
    ("footplate", &["core", "data", "device", "files", "run", "train", "tune", "views"]),
    ("footplate-examples", &["core", "data", "device", "tune"]),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_crate_graph_points_downwards() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let mut allowed: BTreeMap<&str, BTreeSet<String>> = MAY_USE
        .iter()
        .map(|(name, uses)| (*name, uses.iter().map(|used| format!("footplate-{used}")).collect()))
        .collect();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(may_use) = allowed.remove(name) else { panic!("{name} is missing in this test") };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let is_ours = used.starts_with("footplate") && dependency["kind"].as_str() != Some("dev");
            assert!(!is_ours || may_use.contains(used), "{name} must not use {used}");
        }
    }
    assert!(allowed.is_empty(), "crates that are gone: {allowed:?}");
}

#[test]
fn only_train_and_the_app_bring_burn() {
    for (name, _) in MAY_USE.iter().filter(|(name, _)| !["footplate-train", "footplate"].contains(name)) {
        let tree = cargo(&["tree", "--offline", "--package", name, "--edges", "normal", "--prefix", "none"]);
        let burn: Vec<&str> = tree.lines().filter(|line| line.starts_with("burn")).collect();
        assert!(tree.contains(name) && burn.is_empty(), "{name} brings {burn:?}");
    }
}

const FILES: [&str; 6] = [
    "std::fs::File",
    "std::fs::OpenOptions",
    "std::fs::read",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::path::Path::exists",
];
const ENVIRONMENT: [&str; 3] = ["std::env::var", "std::env::var_os", "std::env::args"];
const CLOCK: [&str; 2] = ["std::time::Instant::now", "std::time::SystemTime::now"];
const THREADS: [&str; 3] = ["std::thread::spawn", "std::thread::sleep", "std::thread::scope"];
const PRINT: [&str; 2] = ["std::io::stdout", "std::io::stderr"];
const PROCESS: [&str; 2] = ["std::process::exit", "std::process::Command"];
const NETWORK: [&str; 2] = ["std::net::TcpListener", "std::net::TcpStream"];

#[test]
fn each_crate_has_its_walls() {
    let all: [&[&str]; 7] = [&FILES, &ENVIRONMENT, &CLOCK, &THREADS, &PRINT, &PROCESS, &NETWORK];
    let but_threads: [&[&str]; 6] = [&FILES, &ENVIRONMENT, &CLOCK, &PRINT, &PROCESS, &NETWORK];
    let files: [&[&str]; 5] = [&ENVIRONMENT, &CLOCK, &PRINT, &PROCESS, &NETWORK];
    let app: [&[&str]; 2] = [&FILES, &PRINT];
    let walls: [(&str, &[&[&str]]); 9] = [
        ("footplate-core", &all),
        ("footplate-tune", &all),
        ("footplate-views", &all),
        ("footplate-files", &files),
        ("footplate-data", &but_threads),
        ("footplate-device", &but_threads),
        ("footplate-train", &but_threads),
        ("footplate-run", &but_threads),
        ("footplate", &app),
    ];
    for (name, groups) in walls {
        let path = format!("crates/{name}/clippy.toml");
        let lints: toml::Table = text_of(&path).parse().unwrap();
        assert_eq!(lints["too-many-lines-threshold"].as_integer(), Some(70), "{path}");
        let listed: BTreeSet<String> = ["disallowed-methods", "disallowed-types"]
            .iter()
            .flat_map(|key| lints[*key].as_array().unwrap())
            .map(|entry| entry["path"].as_str().unwrap().to_owned())
            .collect();
        for path_of in groups.iter().flat_map(|group| group.iter()) {
            assert!(listed.contains(*path_of), "{path} no longer forbids {path_of}");
        }
    }
    let manifest: toml::Table = text_of("Cargo.toml").parse().unwrap();
    let lints = manifest["workspace"]["lints"].clone();
    for lint in ["too_many_lines", "print_stdout", "print_stderr", "unwrap_used", "allow_attributes"] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("warn"), "{lint}");
    }
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("deny"));
    for (name, _) in MAY_USE {
        let folder = if name == "footplate-examples" { "examples" } else { &format!("crates/{name}") };
        let manifest: toml::Table = text_of(&format!("{folder}/Cargo.toml")).parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name} takes no part in the lints");
    }
}
