//! Helpers of this crate's tests.
#![expect(clippy::disallowed_methods, reason = "tests write the texts that they train on")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use footplate_core::ports::Clock;
use footplate_core::sink::RecordSink;
use footplate_core::{Reading, Record, Share};
use footplate_data::{Dataset, OpenOptions};

use crate::checkpoint::CheckpointStore;
use crate::host::Host;
use crate::memory::HeapMeter;
use crate::request::{BatchSize, JobRequest};
use crate::run_context::RunContext;
use crate::settings::{
    AugmentSettings, LstmSize, OptimizerKind, OptimizerSettings, Precision, ScheduleKind, ScheduleSettings,
    TrainSettings,
};

/// 39 characters.
const RHYME: &str = "she sells sea shells by the sea shore. ";

pub(crate) fn small_settings(model: &str) -> TrainSettings {
    TrainSettings {
        model: model.to_owned(),
        image_size: 32,
        lstm: LstmSize { embed: 8, hidden: 16, layers: 1 },
        sequence_length: 8,
        batch_size: 4,
        accumulate: 1,
        epochs: 2,
        max_steps: None,
        seed: 7,
        precision: Precision::F32,
        checkpoint_activations: false,
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Sgd,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 1e-4,
        },
        schedule: ScheduleSettings {
            learning_rate: 0.05,
            kind: ScheduleKind::Constant,
            warmup_steps: 0,
            step_epochs: 1,
            step_gamma: 0.1,
        },
        label_smoothing: 0.0,
        clip_norm: None,
        early_stop: None,
        augment: AugmentSettings {
            crop_min_area: 0.6,
            flip: true,
            color_jitter: 0.0,
            exif_orientation: true,
        },
        weights: None,
        workers: 1,
        workers_max: None,
        prefetch_batches: 2,
        prefetch_bytes: 64 << 20,
        cache: None,
        checkpoint_every_s: 60.0,
        max_bad_fraction: 0.01,
    }
}

/// Seeds Burn's generator, which all threads share, and keeps other tests from it until the value is dropped.
pub(crate) fn seeded(seed: u64) -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    burn::tensor::Device::flex().seed(seed);
    guard
}

/// A clock on which nothing but looking at it takes time: so many nanoseconds for each look.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    now_ns: AtomicU64,
    look_ns: u64,
}

impl TestClock {
    pub(crate) fn ticking(look_ns: u64) -> Self {
        Self { now_ns: AtomicU64::new(0), look_ns }
    }
}

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.look_ns, Ordering::Relaxed)
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.now_ns.fetch_add(duration_ns, Ordering::Relaxed);
    }
}

/// A run's surroundings, and the other end of its records.
pub(crate) fn context(store: Option<CheckpointStore>) -> (RunContext, Receiver<Record>) {
    let (sink, records) = RecordSink::bounded();
    let clock = Arc::new(TestClock::ticking(1000));
    (RunContext { store, sink, clock, stop: Arc::default() }, records)
}

/// The text that small language models are trained on in tests, as a data set.
pub(crate) fn rhyme(folder: &Path, repeats: usize) -> Arc<Dataset> {
    let path = folder.join("text.txt");
    std::fs::write(&path, RHYME.repeat(repeats)).unwrap();
    let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
    Arc::new(footplate_data::open(&path, &options).unwrap())
}

/// A machine of two cores of which nothing else is known.
pub(crate) fn host() -> Host {
    Host { cores: 2, available_memory: Reading::Absent, resident_memory: Reading::Absent, cache_folder: None }
}

/// A heap of 1 MiB that does not change.
pub(crate) struct StillHeap;

impl HeapMeter for StillHeap {
    fn live_bytes(&self) -> u64 {
        1 << 20
    }

    fn peak_bytes(&self) -> u64 {
        1 << 20
    }

    fn reset_peak(&self) {}
}

/// A small language model on a rhyme: 12 steps in each of two epochs.
pub(crate) fn small_request(folder: &Path) -> JobRequest {
    let data = folder.join("text.txt");
    std::fs::write(&data, RHYME.repeat(12)).unwrap();
    JobRequest {
        model: Some("lstm".to_owned()),
        data: Some(data),
        sequence_length: Some(8),
        validation_fraction: Some(Share(0.2)),
        batch_size: Some(BatchSize::Fixed(4)),
        lstm_embed: Some(8),
        lstm_hidden: Some(16),
        epochs: Some(2),
        seed: Some(7),
        workers: Some(1),
        ..JobRequest::default()
    }
}
