//! What a user may set about a training run, by flags or in a TOML file: the same names in both.
#![expect(clippy::disallowed_methods, reason = "settings files and studies are read here")]

use std::path::Path;
use std::{fs, io};

use footplate_run::mode_request::GoalRequest;
pub(crate) use footplate_train::JobRequest as TrainOptions;
pub(crate) use footplate_train::request::BatchSize;

use crate::failure::{Failure, Kind};
use crate::goal::GoalArguments;

/// A settings file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SettingsFile {
    pub(crate) options: TrainOptions,
    /// Which mode is wanted.
    pub(crate) goal: GoalRequest,
}

impl SettingsFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read(path).map_err(|e| {
            Failure::new(Kind::Usage, format!("cannot read the settings file {}: {e}", path.display()))
        })?;
        Self::parse(&text).map_err(|e| Failure::new(Kind::Usage, format!("{}: {e}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut table: toml::Table = toml::from_str(text)?;
        let goal = GoalArguments::taken_from(&mut table).map_err(serde::de::Error::custom)?;
        // Parsed from the text once more where it holds nothing else, for errors that show the line.
        let whole = goal == GoalRequest::default();
        let options = if whole { toml::from_str(text)? } else { table.try_into()? };
        Ok(Self { options, goal })
    }
}

/// The text of a settings file or a study.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn examples(folder: &str) -> Vec<(PathBuf, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings").join(folder);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn every_valid_example_is_read() {
        for (path, text) in examples("valid") {
            SettingsFile::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }

    /// The first line of an invalid example names a part of its error: `# error: unknown field`.
    #[test]
    fn every_invalid_example_is_refused_for_its_reason() {
        for (path, text) in examples("invalid") {
            let expected = text.lines().next().and_then(|l| l.strip_prefix("# error: ")).unwrap();
            let error = SettingsFile::parse(&text).expect_err(&path.display().to_string()).to_string();
            assert!(error.contains(expected), "{}: {error}", path.display());
        }
    }
}
