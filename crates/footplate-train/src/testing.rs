//! Helpers of this crate's tests.

use crate::model::{LstmSize, OptimizerKind};
use crate::settings::{
    AugmentSettings, OptimizerSettings, Precision, ScheduleKind, ScheduleSettings, TrainSettings,
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
