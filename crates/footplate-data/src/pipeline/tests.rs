use std::fs;
use std::path::Path;

use super::*;
use crate::augment::Normalize;
use crate::batch::{Inputs, PixelLayout};
use crate::dataset::{OpenOptions, open};
use crate::decode::tests::jpeg;
use crate::sample::BadSample;
use crate::transform::Transform;

/// Two classes of seven and six images, of which `damaged` are not.
fn folder(damaged: &[usize]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for i in 0..13u16 {
        let class = root.path().join("train").join(if i < 7 { "a" } else { "b" });
        fs::create_dir_all(&class).unwrap();
        let bytes = if damaged.contains(&usize::from(i)) { b"text".to_vec() } else { jpeg(20 + i, 30) };
        fs::write(class.join(format!("{i:02}.jpg")), bytes).unwrap();
    }
    root
}

fn dataset(root: &Path) -> Arc<Dataset> {
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 4 };
    Arc::new(open(root, &options).unwrap())
}

fn settings(workers: usize, layout: PixelLayout) -> LoaderSettings {
    LoaderSettings { workers, layout, seed: 5, ..LoaderSettings::new(4, Transform::train(16)) }
}

fn start(root: &Path, workers: usize, from: Position) -> Pipeline {
    Pipeline::start(dataset(root), Split::Train, settings(workers, PixelLayout::U8Nhwc), from, 3).unwrap()
}

const START: Position = Position { epoch: 0, batch: 0 };

/// Everything about a minibatch but its times and its number in this pipeline.
type Contents = (u32, u64, Vec<u64>, Vec<i32>, Vec<u8>, Vec<BadSample>);

fn contents(batch: HostBatch) -> Contents {
    let Inputs::U8Nhwc { data, shape } = batch.inputs else { panic!("not bytes") };
    assert_eq!(data.len(), shape.iter().product::<usize>());
    (batch.epoch, batch.batch, batch.indices, batch.labels, data.to_vec(), batch.bad)
}

fn all(pipeline: Pipeline) -> Vec<Contents> {
    pipeline.map(|batch| contents(batch.unwrap())).collect()
}

#[test]
fn order_and_pixels_are_the_same_at_any_number_of_workers() {
    let root = folder(&[]);
    let alone = all(start(root.path(), 0, START));
    assert_eq!(alone.len(), 12);
    for workers in [1, 2, 7] {
        assert_eq!(all(start(root.path(), workers, START)), alone, "{workers} workers");
    }
}

#[test]
fn every_sample_comes_once_in_each_epoch() {
    let root = folder(&[]);
    for epoch in all(start(root.path(), 2, START)).chunks(4) {
        let mut seen: Vec<u64> = epoch.iter().flat_map(|batch| batch.2.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..13).collect::<Vec<_>>());
    }
}

#[test]
fn a_start_at_any_place_gives_the_rest_of_the_sequence() {
    let root = folder(&[]);
    let whole = all(start(root.path(), 0, START));
    for place in 0..12usize {
        let from = Position { epoch: place as u32 / 4, batch: place as u64 % 4 };
        assert_eq!(all(start(root.path(), 2, from)), whole[place..], "from {from:?}");
    }
}

#[test]
fn damaged_samples_are_left_out_and_named() {
    let root = folder(&[2, 9]);
    for workers in [0, 2] {
        let first_epoch: Vec<Contents> =
            all(start(root.path(), workers, START)).into_iter().take(4).collect();
        let mut bad: Vec<u64> =
            first_epoch.iter().flat_map(|batch| batch.5.iter().map(|b| b.index)).collect();
        bad.sort_unstable();
        assert_eq!(bad, [2, 9]);
        assert_eq!(first_epoch.iter().map(|batch| batch.3.len()).sum::<usize>(), 11);
    }
}

#[test]
fn a_file_that_vanishes_is_a_bad_sample() {
    let root = folder(&[]);
    let data = dataset(root.path());
    fs::remove_file(root.path().join("train/a/03.jpg")).unwrap();
    let pipeline = Pipeline::start(data, Split::Train, settings(2, PixelLayout::U8Nhwc), START, 1).unwrap();
    let bad: Vec<BadSample> = pipeline.flat_map(|batch| batch.unwrap().bad).collect();
    assert_eq!(bad.len(), 1);
    assert!(bad[0].name.ends_with("03.jpg") && bad[0].reason.contains("cannot be read"), "{bad:?}");
}

#[test]
fn a_slow_consumer_finds_no_more_than_the_bound_made_ahead() {
    let root = folder(&[]);
    let mut pipeline = start(root.path(), 7, START);
    for taken in 1..=12u64 {
        pipeline.next().unwrap().unwrap();
        // The workers get as far as they may, and no further.
        loop {
            let queue = pipeline.shared.lock();
            assert!(queue.next <= taken + 3, "{} made or being made after {taken} were taken", queue.next);
            if queue.next == (taken + 3).min(12) {
                break;
            }
            drop(queue);
            thread::yield_now();
        }
    }
    assert!(pipeline.next().is_none());
}

/// What is made, being made or waiting, seen at each sample that is given out.
#[test]
fn a_slow_producer_stays_within_the_bound_too() {
    let root = folder(&[]);
    let pipeline = start(root.path(), 4, START);
    let shared = pipeline.shared.clone();
    let (looked, has_looked) = std::sync::mpsc::channel();
    let watcher = thread::spawn(move || {
        let mut most = 0;
        loop {
            let queue = shared.lock();
            most = most.max(queue.next - queue.delivered);
            if queue.closed {
                return most;
            }
            let begun = queue.next > 0;
            drop(queue);
            if begun {
                let _ = looked.send(());
            }
            thread::yield_now();
        }
    });
    has_looked.recv().unwrap();
    assert_eq!(all(pipeline).len(), 12);
    let most = watcher.join().unwrap();
    assert!((1..=3).contains(&most), "{most} at once");
}

#[test]
fn workers_that_come_and_go_change_nothing() {
    let root = folder(&[4]);
    let alone = all(start(root.path(), 0, START));
    let mut pipeline = start(root.path(), 2, START);
    let mut seen = Vec::new();
    for workers in [2, 1, 5, 3, 1, 7, 2, 2, 1, 4, 1, 6] {
        pipeline.set_workers(workers).unwrap();
        assert_eq!(pipeline.size().workers, workers);
        seen.push(contents(pipeline.next().unwrap().unwrap()));
    }
    assert_eq!(seen, alone);
    assert!(pipeline.next().is_none());
}

#[test]
fn an_automatic_pipeline_gives_the_same_minibatches() {
    let root = folder(&[]);
    let alone = all(start(root.path(), 0, START));
    let automatic = LoaderSettings { workers_max: Some(4), ..settings(1, PixelLayout::U8Nhwc) };
    let pipeline = Pipeline::start(dataset(root.path()), Split::Train, automatic, START, 3).unwrap();
    assert_eq!(all(pipeline), alone);
}

#[test]
fn the_position_of_a_sample_and_its_place_belong_together() {
    let root = folder(&[]);
    for batch in 0..4 {
        let from = Position { epoch: 1, batch };
        let maker =
            BatchMaker::new(dataset(root.path()), Split::Train, settings(1, PixelLayout::U8Nhwc), from);
        let mut position = 0;
        for seq in 0..9 {
            assert_eq!(maker.position(seq), position, "batch {batch}, seq {seq}");
            let number = batch + seq;
            assert_eq!(maker.place(position), (1 + (number / 4) as u32, number % 4 * 4));
            position += maker.begin(seq).samples() as u64;
        }
    }
}

#[test]
fn a_bound_in_bytes_is_kept_too() {
    let root = folder(&[]);
    let data = dataset(root.path());
    let mut narrow = settings(2, PixelLayout::U8Nhwc);
    narrow.prefetch_bytes = narrow.batch_bytes(&data) * 2 + 1;
    assert_eq!(narrow.batches_ahead(&data), 2);
    narrow.prefetch_bytes = 1;
    assert_eq!(narrow.batches_ahead(&data), 1);
}

#[test]
fn a_pipeline_that_is_dropped_early_ends_its_threads() {
    let root = folder(&[]);
    let mut pipeline = start(root.path(), 3, START);
    pipeline.next().unwrap().unwrap();
    let shared = Arc::downgrade(&pipeline.shared);
    drop(pipeline);
    assert!(shared.upgrade().is_none(), "a thread still holds the pipeline");
}

#[test]
fn a_worker_that_dies_is_an_error_and_not_a_hang() {
    let root = folder(&[]);
    let mut pipeline = start(root.path(), 2, START);
    pipeline.shared.close(true);
    let mut results = std::iter::from_fn(|| pipeline.next());
    assert!(results.any(|result| matches!(result, Err(DataError::WorkerDied))));
}

#[test]
fn a_panic_in_a_worker_gives_notice() {
    let root = folder(&[]);
    let pipeline = start(root.path(), 0, START);
    let shared = pipeline.shared.clone();
    let panicked = thread::spawn(move || {
        let _notice = DeathNotice(&shared);
        panic!("for the test");
    });
    assert!(panicked.join().is_err());
    assert!(pipeline.shared.lock().died);
}

#[test]
fn both_layouts_hold_the_same_pixels() {
    let root = folder(&[]);
    let batch = |layout| {
        let mut pipeline =
            Pipeline::start(dataset(root.path()), Split::Train, settings(1, layout), START, 1).unwrap();
        pipeline.next().unwrap().unwrap()
    };
    let bytes = contents(batch(PixelLayout::U8Nhwc)).4;
    let Inputs::F32Nchw { data, shape } = batch(PixelLayout::F32Nchw).inputs else { panic!("not floats") };
    assert_eq!(shape, [4, 3, 16, 16]);
    let mut expected = vec![0.0; 3 * 256];
    Normalize::IMAGENET.nhwc_u8_to_nchw_f32(&bytes[..768], 16, &mut expected);
    assert_eq!(data[..768], expected);
}
