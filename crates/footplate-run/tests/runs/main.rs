//! Whole runs of a job that computes nothing, with and without a mode that is chosen for them.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

mod fake;
mod tuned;

use std::path::Path;
use std::sync::Arc;

use footplate_core::record::{Record, RunStatus};
use footplate_core::steps::Ending;
use footplate_device::Device;
use footplate_run::run::FinishedRun;
use footplate_run::run_machine::{RunMachine, simulated_board};
use footplate_run::tuned_run::Tuning;
use footplate_run::{ErrorKind, RunError, RunFile, RunFolder, RunRequest};

use self::fake::{FakeJob, Fate, Heard, ManualClock};

/// A run in a folder of its own, on a simulated board.
struct Place {
    folder: RunFolder,
    heard: Arc<Heard>,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(Some(&place.path().join("run")), "resnet18", "now").unwrap();
        let settings = toml::Table::new();
        let file = RunFile::new("0.1.0", "/data".into(), None, 0.2, "cpu".into(), settings);
        folder.write_run_file(&file).unwrap();
        Self { folder, heard: Arc::default(), _folder: place }
    }

    fn run(&self, fate: Fate, mode: Option<(Tuning, RunMachine)>) -> Result<FinishedRun, RunError> {
        let board = simulated_board("nano", 0).unwrap();
        let request = RunRequest {
            folder: self.folder.clone(),
            started_at: "2026-11-29T10:00:00Z".into(),
            version: "0.1.0".into(),
            device: Device::discover(board.root()),
            mode,
            clock: Arc::new(ManualClock::default()),
            stop: Arc::default(),
            listener: self.heard.clone(),
        };
        request.run(Box::new(FakeJob { fate, warnings: vec!["two images are damaged".into()] }))
    }

    fn log(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let follower = self.folder.read_log(|record| records.push(record)).unwrap();
        assert_eq!(follower.damaged(), 0);
        records
    }
}

fn warnings(log: &[Record]) -> Vec<&str> {
    let text = |record: &'_ Record| match record {
        Record::Warning(warning) => Some(warning.message.clone()),
        _ => None,
    };
    log.iter().filter_map(|record| text(record).map(|text| &*text.leak())).collect()
}

#[test]
fn a_run_is_recorded_from_its_beginning_to_its_end_and_heard_as_it_is_written() {
    let place = Place::new();
    let finished = place.run(Fate { steps: 12, ..Fate::default() }, None).unwrap();
    finished.log.unwrap();
    let log = place.log();
    let Some(Record::RunStart(start)) = log.first() else { panic!("{:?}", log.first()) };
    assert_eq!((start.model.as_str(), start.version.as_str(), start.steps_total), ("resnet18", "0.1.0", 12));
    let Some(Record::RunEnd(end)) = log.last() else { panic!("{:?}", log.last()) };
    assert_eq!((end.status, end.steps, end.dropped_records), (RunStatus::Completed, 12, 0));
    assert!(end.energy_j.is_absent(), "a simulated board's power is not the run's: {:?}", end.energy_j);
    assert_eq!(warnings(&log), ["two images are damaged"]);
    let steps: Vec<u64> = log
        .iter()
        .filter_map(|record| match record {
            Record::Minibatch(minibatch) => Some(minibatch.step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, (0..12).collect::<Vec<u64>>());
    assert!(log.iter().any(|record| matches!(record, Record::Machine(machine) if machine.simulated)));
    assert_eq!(*place.heard.records.lock().unwrap(), log);
    assert_eq!(finished.figures.steps_done(), 12);
}

#[test]
fn however_the_steps_end_the_log_says_so() {
    let fate = Fate { steps: 12, ..Fate::default() };
    for (fate, status, steps) in [
        (fate, RunStatus::Completed, 12),
        (Fate { stopped_at: Some(4), ..fate }, RunStatus::Interrupted, 5),
        (Fate { fails_at: Some(7), ..fate }, RunStatus::Failed, 7),
        (Fate { fails_at: Some(0), ..fate }, RunStatus::Failed, 0),
        (Fate { no_start: true, ..fate }, RunStatus::Failed, 0),
    ] {
        let place = Place::new();
        let finished = place.run(fate, None).unwrap();
        let log = place.log();
        let Some(Record::RunEnd(end)) = log.last() else { panic!("{fate:?}: {:?}", log.last()) };
        assert_eq!((end.status, end.steps), (status, steps), "{fate:?}");
        assert_eq!(finished.ended.is_err(), status == RunStatus::Failed);
        assert!(finished.mode_error.is_none() && finished.report.is_none());
    }
}

#[test]
fn why_the_steps_failed_reaches_the_caller_in_their_own_words() {
    let finished = Place::new().run(Fate { steps: 3, no_start: true, ..Fate::default() }, None).unwrap();
    assert_eq!(finished.ended.unwrap_err().to_string(), "the device is not there");
}

#[test]
fn a_second_process_goes_on_in_the_same_log() {
    let place = Place::new();
    let fate = Fate { steps: 6, ..Fate::default() };
    let first = place.run(Fate { stopped_at: Some(2), ..fate }, None).unwrap();
    assert_eq!(first.ended.unwrap().ending, Ending::Interrupted);
    place.run(fate, None).unwrap().log.unwrap();
    let log = place.log();
    let count = |is: fn(&Record) -> bool| log.iter().filter(|record| is(record)).count();
    assert_eq!(count(|record| matches!(record, Record::RunStart(_))), 2);
    assert_eq!(count(|record| matches!(record, Record::RunEnd(_))), 2);
    assert_eq!(count(|record| matches!(record, Record::Minibatch(_))), 3 + 6);
}

#[test]
fn a_log_that_cannot_be_opened_keeps_the_run_from_beginning() {
    let place = Place::new();
    std::fs::create_dir(place.folder.path().join("records.jsonl")).unwrap();
    let error = place.run(Fate { steps: 3, ..Fate::default() }, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Machine);
    assert!(error.to_string().contains("records.jsonl"), "{error}");
    assert!(place.heard.records.lock().unwrap().is_empty());
}

/// Whether the folder holds kept profiles.
fn has_profiles(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("profiles.jsonl")).is_ok_and(|text| !text.is_empty())
}
