//! Helpers of this crate's tests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use footplate_core::Record;
use footplate_core::ports::Clock;
use footplate_core::sink::RecordSink;
use footplate_data::{Dataset, OpenOptions};

use crate::checkpoint::CheckpointStore;
use crate::run_context::RunContext;
use crate::settings::{
    AugmentSettings, LstmSize, OptimizerKind, OptimizerSettings, Precision, ScheduleKind, ScheduleSettings,
    TrainSettings,
};

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
    std::fs::write(&path, "she sells sea shells by the sea shore. ".repeat(repeats)).unwrap();
    let options = OpenOptions { format: None, seed: 7, validation_fraction: 0.2, sequence_length: 8 };
    Arc::new(footplate_data::open(&path, &options).unwrap())
}
