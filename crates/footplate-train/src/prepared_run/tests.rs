#![expect(clippy::disallowed_methods, reason = "tests write data and damage")]

use std::sync::atomic::Ordering;

use footplate_core::Record;
use footplate_core::ports::WorkError;
use footplate_core::steps::Ending;

use super::*;
use crate::prepare::prepare;
use crate::request::JobRequest;
use crate::settings::OptimizerKind;
use crate::testing::{StillHeap, context, host, seeded, small_request};

/// A small run, changed before it is prepared. Its data is in memory once it is open.
fn run(change: impl FnOnce(&mut JobRequest)) -> PreparedRun {
    let folder = tempfile::tempdir().unwrap();
    let mut request = small_request(folder.path());
    change(&mut request);
    prepare(&request, &host(), &StillHeap, &mut |_| {}).unwrap().build(&mut |_| {}).unwrap()
}

/// A run's surroundings in a folder, or without one.
fn around(folder: Option<&std::path::Path>) -> (StepContext, std::sync::mpsc::Receiver<Record>) {
    let (RunContext { sink, clock, stop, .. }, records) = context(None);
    (StepContext { checkpoints: folder.map(std::path::Path::to_owned), sink, clock, stop }, records)
}

#[test]
fn the_facts_are_those_of_the_job() {
    let _turn = seeded(0);
    let run = run(|request| request.accumulate = Some(2));
    let facts = run.facts();
    assert_eq!(
        (facts.model.as_str(), facts.device.as_str()),
        ("lstm", "cpu (default; --device auto looks for a GPU)")
    );
    assert_eq!((facts.batch_size, facts.step_items, facts.epochs, facts.seed), (4, 8, 2, 7));
    // 45 windows are 12 minibatches of 4, and 6 steps of two.
    assert_eq!((facts.train_items, facts.steps_per_epoch, facts.steps_total), (45, 6, 12));
    assert_eq!((facts.steps_done, facts.planned_memory), (0, run.memory().total()));
    assert_eq!(facts.parameters, run.job().parameter_count() as u64);
    let settings: crate::settings::TrainSettings = toml::from_str(&facts.settings_toml).unwrap();
    assert_eq!(&settings, run.job().settings());
}

#[test]
fn it_is_driven_to_its_end_through_the_port() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (context, records) = around(Some(folder.path()));
    let mut steps = Box::new(run(|_| ())).start(context).unwrap();
    assert_eq!((steps.steps_left(), steps.steps_per_epoch()), (Some(24), 12));
    assert_eq!(steps.name(), "lstm, batch 4, 224 pixels, a text of 468 characters, 12 different ones, cpu");
    assert_eq!(steps.train(5, 0).unwrap().len(), 5);
    steps.train_to_end();
    assert_eq!(steps.train(1, 0), Err(WorkError::Finished));
    let end = steps.finish().unwrap();
    assert_eq!((end.ending, end.steps, end.bad_samples), (Ending::Completed, 24, 0));
    let made = records.try_iter().filter(|record| matches!(record, Record::Minibatch(_))).count();
    assert_eq!(made, 24);
}

#[test]
fn a_trial_writes_nothing_and_validates_nothing() {
    let _turn = seeded(0);
    let (context, records) = around(None);
    let mut steps = Box::new(run(|_| ())).start(context).unwrap();
    steps.train_to_end();
    steps.finish().unwrap();
    let told: Vec<Record> = records.try_iter().collect();
    assert!(!told.iter().any(|record| matches!(record, Record::Checkpoint(_) | Record::Validation(_))));
    assert_eq!(told.iter().filter(|record| matches!(record, Record::Epoch(_))).count(), 2);
}

#[test]
fn workers_can_be_chosen_up_to_the_cores_unless_the_loop_prepares_by_itself() {
    let _turn = seeded(0);
    let choices = |workers| {
        let (context, _records) = around(None);
        Box::new(run(|request| request.workers = workers)).start(context).unwrap().worker_choices().to_vec()
    };
    assert_eq!(choices(None), [1, 2]);
    assert_eq!(choices(Some(1)), [1, 2]);
    assert_eq!(choices(Some(0)), [0usize; 0]);
}

/// Whoever asked for steps sees the words; the end gives the error itself, however often was asked in between.
#[test]
fn an_error_in_a_step_comes_out_whole_at_the_end() {
    let _turn = seeded(0);
    let (context, _records) = around(None);
    let mut steps = Box::new(run(|request| {
        request.optimizer = Some(OptimizerKind::Sgd);
        (request.learning_rate, request.clip_norm) = (Some(1e30), Some(f64::MAX));
    }))
    .start(context)
    .unwrap();
    steps.train_to_end();
    let Err(WorkError::Failed(words)) = steps.run(1, 0, 1) else { panic!("it went on") };
    assert!(words.starts_with("the loss became "), "{words}");
    let error = steps.finish().unwrap_err().downcast::<TrainError>().unwrap();
    assert!(matches!(*error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn a_run_that_was_asked_to_stop_can_be_resumed() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (context, _records) = around(Some(folder.path()));
    let stop = context.stop.clone();
    let mut steps = Box::new(run(|_| ())).start(context).unwrap();
    steps.train(3, 0).unwrap();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(steps.train(1, 0), Err(WorkError::Interrupted));
    assert_eq!(steps.finish().unwrap().ending, Ending::Interrupted);
    let (checkpoint, _) = CheckpointStore::open(folder.path()).newest().unwrap();
    let progress = checkpoint.unwrap().progress;
    assert_eq!((progress.steps, progress.finished), (3, false));
}

#[test]
fn a_folder_for_checkpoints_that_cannot_be_made_stops_the_start() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (context, _records) = around(Some(&file.join("checkpoints")));
    let error = Box::new(run(|_| ())).start(context).err().unwrap().downcast::<TrainError>().unwrap();
    assert!(matches!(*error, TrainError::Checkpoint(_)), "{error}");
}
