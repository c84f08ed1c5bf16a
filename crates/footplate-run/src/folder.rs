//! A run's folder: `run.toml` (what was asked for), `records.jsonl` (the run log), `checkpoints/`.
#![expect(clippy::disallowed_methods, reason = "files of a run are opened here")]

use std::fs;
use std::path::{Path, PathBuf};

use footplate_core::Record;
use footplate_core::record::TuneRecord;
use footplate_files::whole;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::SharedClock;
use crate::error::RunError;
use crate::log_reader::{Advance, LOG_FILE, LogFollower};
use crate::log_writer::LogWriter;
use crate::mode_request::ModeRequest;

const RUN_FILE: &str = "run.toml";
const CHECKPOINTS: &str = "checkpoints";
/// Version of `run.toml`'s format; files of newer ones are refused.
const VERSION: u32 = 1;

/// What `run.toml` holds. `S` are the settings of whatever makes the steps; they are written as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunFile<S> {
    /// Of this file's format.
    pub version: u32,
    /// Version of the program that made the run.
    pub footplate: String,
    /// Where the data is; an absolute path (or pattern), so that a resume works from anywhere.
    pub data: PathBuf,
    /// The data format's name, if the user gave one.
    pub format: Option<String>,
    /// Share of the data for validation where the data set has no split of its own, 0 to 1.
    pub validation_fraction: f64,
    /// What the steps are computed on, such as "cpu".
    pub device: String,
    /// All settings of the training.
    pub settings: S,
    /// The mode that is wanted for the run, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<ModeRequest>,
}

impl<S> RunFile<S> {
    /// A file of the present format, without a wanted mode. `footplate` is the program's version.
    pub fn new(
        footplate: &str,
        data: PathBuf,
        format: Option<String>,
        validation_fraction: f64,
        device: String,
        settings: S,
    ) -> Self {
        let footplate = footplate.to_owned();
        Self { version: VERSION, footplate, data, format, validation_fraction, device, settings, tune: None }
    }
}

/// A run's folder, which may be new or that of an earlier process.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a folder for a new run: `asked`, which must not hold a run, or else one under `runs/` that is named by
    /// `now` (a time, as text) and the model.
    pub fn create(asked: Option<&Path>, model: &str, now: &str) -> Result<Self, RunError> {
        let path = match asked {
            Some(folder) if folder.join(RUN_FILE).exists() => {
                return Err(RunError::HoldsARun { folder: folder.to_owned() });
            }
            Some(folder) => folder.to_owned(),
            None => unused(&Path::new("runs").join(format!("{now}-{model}"))),
        };
        fs::create_dir_all(&path).map_err(RunError::file("create the run folder", &path))?;
        Ok(Self { path })
    }

    /// The folder of a run that is there.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        if !path.join(RUN_FILE).is_file() {
            return Err(RunError::NotARun { folder: path.to_owned(), missing: RUN_FILE });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The folder's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Writes `run.toml`, whole or not at all.
    pub fn write_run_file<S: Serialize>(&self, run: &RunFile<S>) -> Result<(), RunError> {
        let text = toml::to_string(run).map_err(|e| RunError::Encoding(e.to_string()))?;
        let path = self.path.join(RUN_FILE);
        whole::write_bytes(&path, text.as_bytes()).map_err(RunError::file("write", &path))
    }

    /// Reads `run.toml`. A newer version than this program's is refused.
    pub fn read_run_file<S: DeserializeOwned>(&self) -> Result<RunFile<S>, RunError> {
        let path = self.path.join(RUN_FILE);
        let text = fs::read_to_string(&path).map_err(RunError::file("read", &path))?;
        let wrong = |problem: String| RunError::Content { path: path.clone(), problem };
        let run: RunFile<S> = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if run.version > VERSION {
            return Err(wrong(format!("version {}; this program reads up to {VERSION}", run.version)));
        }
        Ok(run)
    }

    /// The last mode that was chosen for the run, if one was.
    pub fn last_choice(&self) -> Result<Option<TuneRecord>, RunError> {
        let mut last = None;
        self.read_log(|record| match record {
            Record::Tune(tune) if tune.choice.is_some() => last = Some(tune),
            _ => {}
        })?;
        Ok(last)
    }

    /// Opens the run log to append to it, after cutting off what a crash left of a last line.
    pub fn append_log(&self, clock: SharedClock) -> Result<LogWriter, RunError> {
        LogWriter::open(&self.path.join(LOG_FILE), clock)
    }

    /// Reads the run's log as far as it goes; no log is an empty one.
    pub fn read_log(&self, mut take: impl FnMut(Record)) -> Result<LogFollower, RunError> {
        let mut log = self.follow_log();
        while log.advance(&mut take)? == Advance::More {}
        Ok(log)
    }

    /// The log from its beginning, to be read on while it is written.
    pub fn follow_log(&self) -> LogFollower {
        LogFollower::new(self.path.join(LOG_FILE))
    }
}

/// `folder`, or the first of `folder-2`, `folder-3`, … that is not there.
fn unused(folder: &Path) -> PathBuf {
    let numbered = |n: u32| PathBuf::from(format!("{}-{n}", folder.display()));
    let mut candidates = std::iter::once(folder.to_owned()).chain((2..).map(numbered));
    candidates.find(|path| !path.exists()).unwrap_or_else(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::{ManualClock, warning};
    use footplate_core::runlog;
    use proptest::prelude::*;

    fn folder(path: &Path) -> RunFolder {
        RunFolder { path: path.to_owned() }
    }

    fn file(settings: toml::Table) -> RunFile<toml::Table> {
        RunFile::new("0.1.0", "/data".into(), None, 0.2, "cpu".into(), settings)
    }

    #[test]
    fn a_run_file_keeps_settings_that_nobody_here_knows() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        let settings: toml::Table =
            "model = \"lenet5\"\nseed = 7\n[schedule]\nkind = \"cosine\"\n".parse().unwrap();
        let mut run = file(settings);
        run.tune = Some(ModeRequest::default());
        folder.write_run_file(&run).unwrap();
        assert_eq!(folder.read_run_file::<toml::Table>().unwrap(), run);
    }

    #[test]
    fn the_bytes_of_a_run_file_stay_what_they_were() {
        let place = tempfile::tempdir().unwrap();
        folder(place.path()).write_run_file(&file("seed = 7\n".parse().unwrap())).unwrap();
        let text = fs::read_to_string(place.path().join(RUN_FILE)).unwrap();
        let expected = "version = 1\nfootplate = \"0.1.0\"\ndata = \"/data\"\nvalidation-fraction = 0.2\n\
                        device = \"cpu\"\n\n[settings]\nseed = 7\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn run_files_that_cannot_be_used_are_refused_with_a_reason() {
        let place = tempfile::tempdir().unwrap();
        let newer = "version = 2\nfootplate = \"9\"\ndata = \"/d\"\nvalidation-fraction = 0.2\ndevice = \"cpu\"\n[settings]\n";
        for (text, reason) in [
            (newer, "version 2; this program reads up to 1"),
            ("version = 1\n", "missing field"),
            ("half a file", "TOML parse error"),
        ] {
            fs::write(place.path().join(RUN_FILE), text).unwrap();
            let error = folder(place.path()).read_run_file::<toml::Table>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_folder_with_a_run_is_not_used_for_another() {
        let place = tempfile::tempdir().unwrap();
        let create = || RunFolder::create(Some(&place.path().join("a/b")), "lenet5", "now");
        let first = create().unwrap();
        // Without a run file it holds no run yet.
        create().unwrap();
        assert!(matches!(RunFolder::open(first.path()), Err(RunError::NotARun { .. })));
        first.write_run_file(&file(toml::Table::new())).unwrap();
        assert_eq!(create().unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(
            RunFolder::open(first.path()).unwrap().checkpoints(),
            place.path().join("a/b/checkpoints")
        );
    }

    #[test]
    fn the_first_unused_number_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let wanted = place.path().join("now-lenet5");
        let mut taken = Vec::new();
        for _ in 0..3 {
            let path = unused(&wanted);
            fs::create_dir(&path).unwrap();
            taken.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(taken, ["now-lenet5", "now-lenet5-2", "now-lenet5-3"]);
    }

    #[test]
    fn the_last_choice_is_found_and_a_refusal_after_it_is_none() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        assert_eq!(folder.last_choice().unwrap(), None);
        let tune =
            |goal: &str, choice| TuneRecord { goal: goal.into(), choice, ..crate::testing::tune_record() };
        let mut log = folder.append_log(ManualClock::shared()).unwrap();
        for record in [tune("first", Some(0)), tune("second", Some(0)), tune("refused", None)] {
            log.write(&Record::Tune(record));
        }
        log.finish().unwrap();
        assert_eq!(folder.last_choice().unwrap().unwrap().goal, "second");
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_the_log_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        let path = place.path().join(LOG_FILE);
        let append = |text: &str| {
            let mut log = folder.append_log(ManualClock::shared()).unwrap();
            log.write(&warning(text));
            log.finish().unwrap();
        };
        append("first");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"v\":2,\"crc32\":\"00");
        fs::write(&path, &bytes).unwrap();
        append("second");
        let read = runlog::decode_all(&fs::read(&path).unwrap());
        assert_eq!(read.records, [warning("first"), warning("second")]);
        assert!(read.damaged.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Wherever a crash cuts the log, the records before the cut and those after the resume are all there.
        #[test]
        fn a_log_cut_anywhere_loses_at_most_the_line_that_is_cut(cut in 0usize..400, texts in proptest::collection::vec("[a-z]{0,12}", 1..5)) {
            let place = tempfile::tempdir().unwrap();
            let folder = folder(place.path());
            let path = place.path().join(LOG_FILE);
            let mut log = folder.append_log(ManualClock::shared()).unwrap();
            texts.iter().for_each(|text| log.write(&warning(text)));
            log.finish().unwrap();
            let bytes = fs::read(&path).unwrap();
            let cut = cut.min(bytes.len());
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            let mut log = folder.append_log(ManualClock::shared()).unwrap();
            log.write(&warning("resumed"));
            log.finish().unwrap();
            let mut expected: Vec<Record> = texts[..whole].iter().map(|text| warning(text)).collect();
            expected.push(warning("resumed"));
            let mut read = Vec::new();
            let follower = folder.read_log(|record| read.push(record)).unwrap();
            prop_assert_eq!((read, follower.damaged()), (expected, 0));
        }
    }
}
