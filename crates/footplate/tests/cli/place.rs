//! Runs the program as a user would, on data that the tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use footplate_data::generated::{self, GeneratedSettings};

/// A folder with a small image data set in it.
pub(crate) struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = GeneratedSettings { seed: 9, train_per_class: 6, val_per_class: 2, size: 16 };
        let made = generated::generate(root.path(), &settings, &mut |_, _| {}).unwrap();
        fs::rename(made, root.path().join("data")).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// `footplate` with these arguments, in this folder, with nothing of the user's own in sight.
    pub(crate) fn footplate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footplate"));
        command.args(arguments).current_dir(self.root.path());
        command.env("HOME", self.root.path()).env_remove("XDG_CACHE_HOME");
        // One thread for the engine: the tests run beside each other, and equality needs the same number.
        command.env("RAYON_NUM_THREADS", "1");
        command
    }

    /// A small run on the small data set, in folder `run`.
    pub(crate) fn train(&self, run: &str, more: &[&str]) -> Command {
        let data = self.data();
        let mut arguments = vec!["train", "lenet5", "--run-dir", run];
        let data = data.to_str().unwrap();
        for [flag, value] in [
            ["--data", data],
            ["--image-size", "16"],
            ["--batch-size", "8"],
            ["--workers", "1"],
            ["--epochs", "3"],
        ] {
            if !more.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        arguments.extend(more);
        self.footplate(&arguments)
    }

    /// A run's newest weights as a safetensors file's bytes.
    pub(crate) fn weights(&self, run: &str) -> Vec<u8> {
        let out = format!("{run}.safetensors");
        let output = self.footplate(&["export", run, "--newest", "--out", &out]).output().unwrap();
        assert_ok(&output);
        fs::read(self.path(&out)).unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn assert_ok(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// The program must end with this code, say each of `parts` on stderr, and not panic.
pub(crate) fn assert_fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

/// Files of a run's `checkpoints` folder, in order.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.file_name().unwrap().to_string_lossy().starts_with("step-"));
    files.sort();
    files
}
