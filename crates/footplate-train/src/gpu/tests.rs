//! The GPU's path on whatever Vulkan device there is: Mesa's lavapipe, which computes on the processor, will do.
//!
//! Without one these tests pass and say so; with `FOOTPLATE_REQUIRE_VULKAN` set, as in CI, they fail.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the GPU's tests write images and start a child"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, FloatDType, Tensor, TensorData, f16};
use footplate_core::Record;
use footplate_core::record::MinibatchRecord;
use footplate_data::rng::SampleRng;
use footplate_data::{
    BufferProvider, Dataset, Inputs, Normalize, OpenOptions, Pipeline, Position, Split, open,
};

mod gradients;
mod networks;

use super::ingest::{Ingested, Numbers};
use super::mapped::{LentBuffer, MappedLender, MappedPool};
use super::*;
use crate::checkpoint::CheckpointStore;
use crate::device::{ChosenDevice, DeviceChoice, choose};
use crate::engine;
use crate::error::TrainError;
use crate::feed::Feed;
use crate::feed_path::FeedChoice;
use crate::job::Job;
use crate::network::{NamedTensor, NetInput};
use crate::settings::{Precision, TrainSettings};
use crate::testing::{context, seeded, small_settings};

/// The Vulkan device with a feed; `None` where there is none and none is required.
fn vulkan(feed: FeedChoice) -> Option<ChosenDevice> {
    match choose(DeviceChoice::Vulkan, feed) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("FOOTPLATE_REQUIRE_VULKAN").is_some() => panic!("{error}"),
        Err(_) => None,
    }
}

fn values(images: Tensor<4>) -> Vec<u32> {
    images.into_data().iter::<f32>().map(f32::to_bits).collect()
}

fn pixels(length: usize, seed: u64) -> Vec<u8> {
    let key = footplate_data::rng::SampleKey { seed, epoch: 0, index: 0 };
    let mut rng = SampleRng::new(key, 1);
    (0..length).map(|_| rng.below(256) as u8).collect()
}

fn lent(pool: &Arc<MappedPool>, bytes: &[u8]) -> Box<LentBuffer> {
    let mut lent = MappedLender(pool.clone()).provide(bytes.len()).unwrap();
    lent.elements_mut()[..bytes.len()].copy_from_slice(bytes);
    lent.into_any().downcast().unwrap()
}

#[test]
fn every_way_gives_the_very_numbers_of_the_processor() {
    let Some(device) = vulkan(FeedChoice::Auto) else { return };
    let gpu = device.gpu.clone().unwrap();
    let normalize = Normalize::IMAGENET;
    let pool = MappedPool::new(gpu.clone(), 4);
    let [mapped, staged] =
        [false, true].map(|staged| Ingest::new(gpu.clone(), &normalize, staged, Numbers::F32));
    let takes_halves = gpu.burn.supports_dtype(FloatDType::F16);
    let halves = takes_halves.then(|| Ingest::new(gpu.clone(), &normalize, false, Numbers::F16));
    // Sides and counts that are no multiples of four, and a smaller batch after a larger one.
    for (seed, shape) in [[2, 64, 64, 3], [3, 5, 7, 3], [1, 1, 1, 3], [5, 33, 31, 3]].into_iter().enumerate()
    {
        let [items, height, width, _] = shape;
        let bytes = pixels(shape.iter().product(), seed as u64);
        let mut expected = vec![0.0f32; bytes.len()];
        let image = height * width * 3;
        for (from, to) in bytes.chunks_exact(image).zip(expected.chunks_exact_mut(image)) {
            for (channel, plane) in to.chunks_exact_mut(height * width).enumerate() {
                let (scale, shift) = normalize.scale_shift(channel);
                for (number, pixel) in plane.iter_mut().zip(from.chunks_exact(3)) {
                    *number = f32::from(pixel[channel]) * scale - shift;
                }
            }
        }
        if let Some(halves) = &halves {
            let way = halves.lent(*lent(&pool, &bytes), shape, &gpu.burn).unwrap();
            assert_eq!(way.images.dtype(), DType::F16);
            let near: Vec<u32> =
                expected.iter().map(|&number| f16::from_f32(number).to_f32().to_bits()).collect();
            assert_eq!(values(way.images), near, "{shape:?}");
        }
        let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
        let length = bytes.len() as u64;
        let ways: [(Ingested, u64); 3] = [
            (mapped.lent(*lent(&pool, &bytes), shape, &gpu.burn).unwrap(), 0),
            (staged.lent(*lent(&pool, &bytes), shape, &gpu.burn).unwrap(), length),
            (mapped.foreign(&bytes, shape, &gpu.burn).unwrap(), 2 * length),
        ];
        for (way, copied) in ways {
            assert_eq!(way.copied, copied);
            assert_eq!(way.images.dims(), [items, 3, height, width]);
            assert_eq!(values(way.images), expected, "{shape:?}");
            // The tensor was read, so the kernel has run.
            assert!(way.time.is_none_or(|time| time.ns().is_some()));
        }
    }
}

#[test]
fn buffers_come_back_on_every_way_and_no_more_are_made_than_allowed() {
    let Some(device) = vulkan(FeedChoice::Auto) else { return };
    let gpu = device.gpu.clone().unwrap();
    let pool = MappedPool::new(gpu.clone(), 2);
    let provider = MappedLender(pool.clone());
    let (first, second) = (provider.provide(12).unwrap(), provider.provide(12).unwrap());
    assert!(provider.provide(12).is_none());
    assert_eq!(pool.counts(), (0, 2));
    // Dropped by the pipeline, or in an error's way.
    drop(first);
    drop(second.into_any());
    assert_eq!(pool.counts(), (2, 2));
    let ingest = Ingest::new(gpu.clone(), &Normalize::IMAGENET, false, Numbers::F32);
    let four_channels = lent(&pool, &[1; 12]);
    assert!(ingest.lent(*four_channels, [1, 1, 3, 4], &gpu.burn).is_err());
    assert_eq!(pool.counts(), (2, 2));
    // Read by the GPU: the buffer is not free before that, and it is soon after.
    for _ in 0..20 {
        let bytes = lent(&pool, &[7; 12]);
        let ingested = ingest.lent(*bytes, [1, 2, 2, 3], &gpu.burn).unwrap();
        drop(ingested.images);
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        assert_eq!(pool.counts(), (2, 2));
    }
}

#[test]
fn the_pipeline_writes_into_the_pools_memory_and_an_epoch_is_the_same_on_both_ways() {
    let Some(mapped) = vulkan(FeedChoice::Mapped) else { return };
    let Some(staged) = vulkan(FeedChoice::Staged) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dataset = images(folder.path());
    let epoch = |device: &ChosenDevice| {
        let settings = TrainSettings { workers: 2, batch_size: 8, ..small_settings("lenet5") };
        let (job, _) = Job::new(settings, dataset.clone(), device.clone()).unwrap();
        let loader = job.loader_settings(Split::Train);
        let feed = Feed::new(device, device.device.clone(), loader.normalize, Precision::F32);
        let from = Position { epoch: 0, batch: 0 };
        let pipeline = Pipeline::start(dataset.clone(), Split::Train, feed.loader(loader), from, 1).unwrap();
        let (mut seen, mut copied) = (Vec::new(), 0);
        for batch in pipeline {
            let batch = batch.unwrap();
            if device.name == "vulkan" {
                assert!(matches!(batch.inputs, Inputs::U8Nhwc { .. }));
            }
            let batch = feed.upload(batch).unwrap();
            copied += batch.copied_bytes;
            let NetInput::Images(images) = batch.input else { panic!("images") };
            seen.push(values(images));
        }
        (seen, copied)
    };
    let ((by_map, none), (by_copy, some)) = (epoch(&mapped), epoch(&staged));
    assert!(!by_map.is_empty() && by_map == by_copy);
    let bytes: usize = by_map.iter().map(Vec::len).sum();
    assert_eq!((none, some), (0, bytes as u64));
    let (by_cpu, none) = epoch(&ChosenDevice::cpu("test"));
    assert!(by_cpu == by_map);
    assert_eq!(none, 0);
}

/// CIFAR's form, ten classes that differ in colour and stripes.
fn images(folder: &Path) -> Arc<Dataset> {
    let record = |n: usize| {
        let class = n % 10;
        let noise = pixels(3 * 1024, n as u64);
        let pixel = move |i: usize| {
            let (plane, x) = (i / 1024, i % 32);
            let base = 20 * class + 40 * usize::from((x / (class / 3 + 1)).is_multiple_of(2)) + 15 * plane;
            (base as u8).saturating_add(noise[i] / 8)
        };
        std::iter::once(class as u8).chain((0..3 * 1024).map(pixel)).collect::<Vec<u8>>()
    };
    let write = |name: &str, range: std::ops::Range<usize>| {
        let bytes: Vec<u8> = range.flat_map(record).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    write("data_batch_1.bin", 0..84);
    write("test_batch.bin", 84..94);
    let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
    Arc::new(open(folder, &options).unwrap())
}

fn text(folder: &Path) -> Arc<Dataset> {
    let path = folder.join("text.txt");
    fs::write(&path, "she sells sea shells by the sea shore. ".repeat(30)).unwrap();
    let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
    Arc::new(open(&path, &options).unwrap())
}

/// Runs a job to its end: the steps' records.
fn trained(
    settings: TrainSettings,
    dataset: Arc<Dataset>,
    device: ChosenDevice,
) -> (Result<engine::Outcome, TrainError>, Vec<MinibatchRecord>) {
    trained_from(settings, dataset, device, 0.0)
}

/// The same from parameters that are off by the share `off`, one up and the next down.
fn trained_from(
    settings: TrainSettings,
    dataset: Arc<Dataset>,
    device: ChosenDevice,
    off: f32,
) -> (Result<engine::Outcome, TrainError>, Vec<MinibatchRecord>) {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let (mut job, _) = Job::new(settings, dataset, device).unwrap();
    if off > 0.0 {
        let moved = |tensor: NamedTensor| {
            let signs = [1.0 + off, 1.0 - off].into_iter().cycle();
            let values = tensor.data.iter::<f32>().zip(signs).map(|(value, factor)| value * factor);
            (tensor.path, TensorData::new(values.collect::<Vec<f32>>(), tensor.data.shape().to_vec()))
        };
        let tensors = job.net.tensors().into_iter().map(moved).collect();
        job.net.load(&tensors).unwrap();
    }
    let store = CheckpointStore::create(&folder.path().join("c")).unwrap();
    let (context, records) = context(Some(store));
    let result = engine::run(job, context);
    let step = |record: Record| if let Record::Minibatch(step) = record { Some(step) } else { None };
    (result, records.iter().filter_map(step).collect())
}

const STEPS: u64 = 20;

/// The largest difference of two runs' losses, as a share of the first's.
fn apart(one: &[MinibatchRecord], other: &[MinibatchRecord]) -> f32 {
    assert_eq!((one.len(), other.len()), (STEPS as usize, STEPS as usize));
    let both = one.iter().zip(other).filter_map(|(one, other)| one.loss.zip(other.loss));
    both.map(|(one, other)| (one - other).abs() / one).fold(0.0, f32::max)
}

/// Trains on both devices from the same start: losses may differ by a thousandth, or by three times what the cpu's
/// own differ if it begins from parameters that are off by less than the last bit but one. (Deep networks with batch
/// normalisation of few values are that sensitive.)
fn agrees_with_the_cpu(settings: TrainSettings, dataset: &Arc<Dataset>) {
    let Some(device) = vulkan(FeedChoice::Auto) else { return };
    let settings = TrainSettings { max_steps: Some(STEPS), epochs: 100, ..settings };
    let cpu = || ChosenDevice::cpu("test");
    let (ended, on_cpu) = trained(settings.clone(), dataset.clone(), cpu());
    ended.unwrap();
    let (ended, on_gpu) = trained(settings.clone(), dataset.clone(), device);
    ended.unwrap();
    let difference = apart(&on_cpu, &on_gpu);
    if difference > 1e-3 {
        let (ended, moved) = trained_from(settings.clone(), dataset.clone(), cpu(), 1e-7);
        ended.unwrap();
        let own = apart(&on_cpu, &moved);
        assert!(difference < 3.0 * own, "{}: {difference}, and the cpu's own {own}", settings.model);
    }
    let last = on_gpu.last().unwrap();
    assert!(last.loss.is_some() && last.synced);
    if settings.model != "lstm" {
        assert!(on_gpu.iter().all(|step| step.copied_bytes == Some(0)), "{:?}", on_gpu[0]);
        assert!(on_gpu.iter().any(|step| step.ingest_ns.is_some()));
    }
}

#[test]
fn lenet_learns_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    agrees_with_the_cpu(TrainSettings { batch_size: 16, ..small_settings("lenet5") }, &images(folder.path()));
}

/// A batch that divides the 84 images, and a small learning rate.
fn small_steps(model: &str, learning_rate: f64) -> TrainSettings {
    let mut settings = TrainSettings { batch_size: 28, ..small_settings(model) };
    settings.schedule.learning_rate = learning_rate;
    settings
}

#[test]
fn resnet_learns_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    agrees_with_the_cpu(small_steps("resnet18", 1e-5), &images(folder.path()));
}

#[test]
fn mobilenet_learns_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    agrees_with_the_cpu(small_steps("mobilenet_v3_small", 1e-3), &images(folder.path()));
}

#[test]
fn the_lstm_learns_as_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    agrees_with_the_cpu(small_settings("lstm"), &text(folder.path()));
}

#[test]
fn a_batch_that_no_kernel_can_address_is_refused_with_the_largest_that_fits() {
    let Some(device) = vulkan(FeedChoice::Auto) else { return };
    let gpu = device.gpu.clone().unwrap();
    let side = 224;
    let largest = (gpu.largest_tensor().0 / (12 * side * side)) as usize;
    let items = largest + 1;
    let side = side as usize;
    let length = items * side * side * 3;
    if length > 1 << 30 {
        // A device with such limits has no batch that is too large for this test's memory.
        return;
    }
    let feed = Feed::new(&device, device.device.clone(), Normalize::IMAGENET, Precision::F32);
    let batch = footplate_data::HostBatch {
        seq: 0,
        epoch: 0,
        batch: 0,
        items,
        inputs: Inputs::U8Nhwc { data: vec![0; length].into(), shape: [items, side, side, 3] },
        labels: vec![0; items],
        indices: vec![0; items],
        bad: Vec::new(),
        times: footplate_data::StageTimes::default(),
    };
    let error = feed.upload(batch).err().unwrap();
    let TrainError::DeviceMemory { batch_size, largest_batch, .. } = error else { panic!("{error}") };
    assert_eq!((batch_size, largest_batch), (items, Some(largest)));
}

/// Names the folder in which the child process of a test keeps its checkpoints.
const CHILD: &str = "FOOTPLATE_TEST_CHILD";

/// Runs one of this file's ignored tests in a process of its own; `None` if it is not done in time.
fn child(test: &str, folder: &Path) -> std::process::Child {
    let name = format!("gpu::tests::{test}");
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether a child ended well; one that hangs is ended.
fn ended_well(mut child: std::process::Child) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while std::time::Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

#[test]
fn a_lost_device_ends_the_run_and_the_last_checkpoint_stays() {
    if vulkan(FeedChoice::Auto).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(ended_well(child("loses_its_device", folder.path())));
    let store = CheckpointStore::open(&folder.path().join("c"));
    let (checkpoint, rejected) = store.newest().unwrap();
    assert!(checkpoint.unwrap().progress.steps > 0 && rejected.is_empty());
}

#[test]
#[ignore = "run by a_lost_device_ends_the_run in a process of its own"]
fn loses_its_device() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    let device = vulkan(FeedChoice::Auto).unwrap();
    let gpu = device.gpu.clone().unwrap();
    let mut settings = TrainSettings { epochs: 1000, ..small_settings("lenet5") };
    settings.checkpoint_every_s = 0.0;
    let (job, _) = Job::new(settings, images(folder), device).unwrap();
    let store = CheckpointStore::create(&folder.join("c")).unwrap();
    let (context, records) = context(Some(store));
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            // After some steps, when a checkpoint is on the disk.
            let written = records.iter().filter(|record| matches!(record, Record::Checkpoint(_))).nth(2);
            assert!(written.is_some());
            gpu.device.destroy();
            records.iter().for_each(drop);
        });
        engine::run(job, context)
    });
    assert!(matches!(result, Err(TrainError::DeviceFailed { .. })), "{result:?}");
}

#[test]
fn two_runs_share_a_device() {
    if vulkan(FeedChoice::Auto).is_none() {
        return;
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let children = folders.each_ref().map(|folder| child("trains_a_little", folder.path()));
    assert_eq!(children.map(ended_well), [true, true]);
}

#[test]
#[ignore = "run by two_runs_share_a_device in a process of its own"]
fn trains_a_little() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let settings = TrainSettings { max_steps: Some(10), ..small_settings("lenet5") };
    let device = vulkan(FeedChoice::Auto).unwrap();
    let (ended, steps) = trained(settings, images(Path::new(&folder)), device);
    ended.unwrap();
    assert_eq!(steps.len(), 10);
}
