//! The loop on small real runs.

use std::sync::atomic::Ordering;

use footplate_core::Record;
use footplate_core::ports::{WorkError, Workload};
use footplate_core::steps::Steps;

use super::*;
use crate::checkpoint::CheckpointStore;
use crate::device::ChosenDevice;
use crate::settings::TrainSettings;
use crate::testing::{context, rhyme, seeded, small_settings};
use crate::training_steps::TrainingSteps;

/// The final weights by path, and the records.
fn trained(settings: TrainSettings) -> (Vec<(String, Vec<f32>)>, Vec<Record>) {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (job, _) = Job::new(settings, rhyme(folder.path(), 12), ChosenDevice::cpu("test")).unwrap();
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    let (context, records) = context(Some(store.clone()));
    run(job, context).unwrap();
    let (checkpoint, _) = store.newest().unwrap();
    let arrays = checkpoint.unwrap().model.into_iter();
    (arrays.map(|(path, data)| (path, data.try_to_vec().unwrap())).collect(), records.iter().collect())
}

fn largest_difference(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)]) -> f32 {
    let pairs = a.iter().zip(b).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn accumulated_gradients_are_those_of_the_larger_batch() {
    let settings =
        |batch_size, accumulate| TrainSettings { batch_size, accumulate, ..small_settings("lstm") };
    let (large, _) = trained(settings(8, 1));
    let (accumulated, _) = trained(settings(2, 4));
    let (small, _) = trained(settings(2, 1));
    assert!(largest_difference(&large, &accumulated) < 1e-5, "{}", largest_difference(&large, &accumulated));
    assert!(largest_difference(&large, &small) > 1e-3, "the batch size makes no difference");
}

#[test]
fn activations_that_are_computed_again_are_the_same() {
    let settings = |checkpoint_activations| {
        let settings = TrainSettings { checkpoint_activations, ..small_settings("lstm") };
        trained(TrainSettings { max_steps: Some(6), ..settings }).0
    };
    assert_eq!(largest_difference(&settings(false), &settings(true)), 0.0);
}

#[test]
fn clipping_bounds_the_step() {
    let after_a_step = |clip_norm, learning_rate| {
        let mut settings = TrainSettings { clip_norm, max_steps: Some(1), ..small_settings("lstm") };
        settings.optimizer.weight_decay = 0.0;
        settings.schedule.learning_rate = learning_rate;
        trained(settings).0
    };
    let start = after_a_step(None, 1e-30);
    let moved = |clip_norm| largest_difference(&after_a_step(clip_norm, 0.05), &start);
    assert!(moved(Some(1e-4)) <= 0.05 * 1e-4);
    assert!(moved(None) > 1e-3);
}

#[test]
fn records_tell_each_step_epoch_and_validation() {
    let (_, records) = trained(small_settings("lstm"));
    let steps = records.iter().filter(|r| matches!(r, Record::Minibatch(_))).count();
    let epochs = records.iter().filter(|r| matches!(r, Record::Epoch(_))).count();
    let validations = records.iter().filter(|r| matches!(r, Record::Validation(_))).count();
    // 374 characters for training give 46 windows, one of which is left out; batches of 4.
    assert_eq!((steps, epochs, validations), (24, 2, 2));
    for record in &records {
        if let Record::Minibatch(m) = record {
            assert!(m.stall_ns + m.compute_ns <= m.step_ns, "{m:?}");
            assert!(m.loss.is_some_and(f32::is_finite));
        }
    }
}

/// A tuner's steps are the run's own: the same weights, the same log, however they are asked for.
#[test]
fn a_run_that_is_lent_to_a_tuner_comes_to_the_same_weights() {
    let (alone, records) = trained(small_settings("lstm"));
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (job, _) =
        Job::new(small_settings("lstm"), rhyme(folder.path(), 12), ChosenDevice::cpu("test")).unwrap();
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    let (context, lent_records) = context(Some(store.clone()));
    let mut workload = TrainingSteps::new(Session::start(job, context).unwrap(), vec![1, 2]);
    assert_eq!((workload.steps_left(), workload.steps_per_epoch()), (Some(24), 12));
    let mut seen = 0;
    for workers in [1, 2, 1] {
        workload.set_workers(workers);
        let steps = workload.run(3, 0, 5).unwrap();
        assert_eq!(steps.len(), 3, "as many as asked for when no time is");
        assert!(steps.iter().all(|s| s.stall_ns <= s.step_ns && s.items == 4), "{steps:?}");
        seen += steps.len();
    }
    // A time that is not reached ends at the most steps.
    seen += workload.run(1, u64::MAX, 4).unwrap().len();
    assert_eq!(seen, 13);
    workload.train_to_end();
    assert_eq!(Box::new(workload).finish().unwrap().steps, 24);
    let (checkpoint, _) = store.newest().unwrap();
    let arrays = checkpoint.unwrap().model.into_iter();
    let lent: Vec<_> = arrays.map(|(path, data)| (path, data.try_to_vec().unwrap())).collect();
    assert_eq!(largest_difference(&alone, &lent), 0.0);
    let losses = |records: Vec<Record>| -> Vec<Option<f32>> {
        let loss = |r: Record| if let Record::Minibatch(m) = r { Some(m.loss) } else { None };
        records.into_iter().filter_map(loss).collect()
    };
    assert_eq!(losses(records), losses(lent_records.try_iter().collect()));
}

#[test]
fn a_lent_run_ends_and_can_be_interrupted() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let (job, _) =
            Job::new(small_settings("lstm"), rhyme(folder.path(), 12), ChosenDevice::cpu("test")).unwrap();
        let (context, _records) = context(None);
        (context.stop.clone(), TrainingSteps::new(Session::start(job, context).unwrap(), Vec::new()))
    };
    let (_, mut workload) = start();
    assert_eq!(workload.run(100, 0, 100).unwrap().len(), 24);
    assert_eq!(workload.run(1, 0, 1), Err(WorkError::Finished));
    let (stop, mut workload) = start();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(workload.run(1, 0, 1), Err(WorkError::Interrupted));
    assert_eq!(Box::new(workload).finish().unwrap().ending, Ending::Interrupted);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let mut settings = small_settings("lstm");
    settings.schedule.learning_rate = 1e30;
    let (job, _) = Job::new(settings, rhyme(folder.path(), 12), ChosenDevice::cpu("test")).unwrap();
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    let result = run(job, context(Some(store)).0);
    assert!(matches!(result, Err(TrainError::Diverged { .. })), "{result:?}");
}
