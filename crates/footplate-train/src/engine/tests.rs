//! The loop on small real runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use footplate_core::Record;
use footplate_data::{OpenOptions, open};

use super::*;
use crate::checkpoint::CheckpointStore;
use crate::device::ChosenDevice;
use crate::settings::TrainSettings;
use crate::testing::{seeded, small_settings};

fn dataset(folder: &Path) -> Arc<Dataset> {
    let path = folder.join("text.txt");
    fs::write(&path, "she sells sea shells by the sea shore. ".repeat(12)).unwrap();
    let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
    Arc::new(open(&path, &options).unwrap())
}

/// The final weights by path, and the records.
fn trained(settings: TrainSettings) -> (Vec<(String, Vec<f32>)>, Vec<Record>) {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (job, _) = Job::new(settings, dataset(folder.path()), ChosenDevice::cpu("test")).unwrap();
    let (sink, records) = RecordSink::bounded();
    let stop = AtomicBool::new(false);
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    run(job, Surroundings { store: Some(store.clone()), sink, clock: RunClock::start(), stop: &stop })
        .unwrap();
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

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let mut settings = small_settings("lstm");
    settings.schedule.learning_rate = 1e30;
    let (job, _) = Job::new(settings, dataset(folder.path()), ChosenDevice::cpu("test")).unwrap();
    let (sink, _records) = RecordSink::bounded();
    let stop = AtomicBool::new(false);
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    let result = run(job, Surroundings { store: Some(store), sink, clock: RunClock::start(), stop: &stop });
    assert!(matches!(result, Err(TrainError::Diverged { .. })), "{result:?}");
}
