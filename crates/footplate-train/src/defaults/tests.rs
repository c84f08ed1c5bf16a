use std::path::PathBuf;

use footplate_core::{Bytes, Seconds};
use proptest::prelude::*;

use super::*;
use crate::model::find;

/// Items of the training split in most of these tests.
const ITEMS: usize = 10_000;

fn of(model: &str, request: &JobRequest) -> TrainSettings {
    settings(request, find(model).unwrap(), Some(300), ITEMS, 4)
}

fn usual(model: &str) -> TrainSettings {
    of(model, &JobRequest::default())
}

/// The table of a model's defaults on 10,000 photographs of 300 pixels, in the order of the columns: pixels, batch,
/// epochs, rule, rate, decay, clipping, steps of warm-up, epochs between drops.
#[test]
fn every_model_has_the_defaults_of_the_table() {
    use OptimizerKind::{AdamW, Sgd};
    type Row = (&'static str, u32, usize, u32, OptimizerKind, f64, f64, Option<f64>, u64, u32);
    let rows: [Row; 6] = [
        ("lenet5", 32, 64, 8, Sgd, 0.05, 1e-4, None, 62, 3),
        ("resnet18", 224, 32, 20, Sgd, 0.02, 1e-4, None, 313, 7),
        ("resnet50", 224, 32, 20, Sgd, 0.02, 1e-4, None, 313, 7),
        ("mobilenet_v3_small", 224, 32, 20, AdamW, 2e-3, 1e-2, None, 313, 7),
        ("mobilenet_v3_large", 224, 32, 20, AdamW, 2e-3, 1e-2, None, 313, 7),
        ("lstm", 224, 32, 3, AdamW, 3e-3, 0.0, Some(1.0), 46, 1),
    ];
    assert_eq!(
        rows.map(|row| row.0).to_vec(),
        crate::model::models().iter().map(|m| m.name).collect::<Vec<_>>()
    );
    for (model, pixels, batch, epochs, rule, rate, decay, clip, warmup, drops) in rows {
        let s = usual(model);
        assert_eq!((s.image_size, s.batch_size, s.epochs), (pixels, batch, epochs), "{model}");
        assert_eq!((s.optimizer.kind, s.optimizer.momentum), (rule, 0.9), "{model}");
        assert_eq!(
            (s.schedule.learning_rate, s.optimizer.weight_decay, s.clip_norm),
            (rate, decay, clip),
            "{model}"
        );
        assert_eq!((s.schedule.warmup_steps, s.schedule.step_epochs), (warmup, drops), "{model}");
    }
}

#[test]
fn what_no_model_decides_is_the_same_for_all() {
    let s = usual("resnet18");
    assert_eq!((s.accumulate, s.max_steps, s.seed, s.early_stop), (1, None, 0, None));
    assert_eq!((s.label_smoothing, s.checkpoint_activations, s.optimizer.nesterov), (0.0, false, false));
    assert_eq!((s.schedule.kind, s.schedule.step_gamma), (ScheduleKind::Cosine, 0.1));
    assert_eq!((s.prefetch_batches, s.prefetch_bytes), (4, 512 << 20));
    assert_eq!((s.checkpoint_every_s, s.max_bad_fraction), (60.0, 0.01));
    assert_eq!((s.weights, s.cache), (None, None));
    assert_eq!((s.augment.flip, s.augment.color_jitter, s.augment.exif_orientation), (true, 0.0, true));
    assert_eq!((s.sequence_length, s.lstm), (64, LstmSize { embed: 64, hidden: 256, layers: 1 }));
}

/// Each field of a request reaches its setting: what is asked for here is nobody's default.
#[test]
fn what_is_asked_for_is_what_is_set() {
    let request = JobRequest {
        max_bad_fraction: Some(Share(0.5)),
        image_size: Some(96),
        crop_min_area: Some(Share(0.3)),
        flip: Some(false),
        color_jitter: Some(0.25),
        exif_orientation: Some(false),
        sequence_length: Some(7),
        workers: Some(3),
        prefetch_batches: Some(9),
        prefetch_bytes: Some(Bytes(77)),
        cache: Some(CacheChoice::Fixed(CacheSettings::Ram { bytes: 5 })),
        epochs: Some(2),
        max_steps: Some(11),
        batch_size: Some(BatchSize::Fixed(10)),
        accumulate: Some(4),
        seed: Some(13),
        precision: Some(crate::settings::Precision::Bf16),
        checkpoint_activations: Some(true),
        weights: Some(PathBuf::from("w.safetensors")),
        optimizer: Some(OptimizerKind::AdamW),
        learning_rate: Some(0.125),
        momentum: Some(Share(0.75)),
        nesterov: Some(true),
        weight_decay: Some(0.5),
        schedule: Some(ScheduleKind::Step),
        warmup_steps: Some(6),
        step_epochs: Some(5),
        step_gamma: Some(0.2),
        label_smoothing: Some(Share(0.05)),
        clip_norm: Some(2.0),
        early_stop: Some(8),
        lstm_embed: Some(21),
        lstm_hidden: Some(22),
        lstm_layers: Some(23),
        checkpoint_every: Some(Seconds(1.5)),
        ..JobRequest::default()
    };
    let expected = "accumulate = 4\nbatch-size = 10\ncheckpoint-activations = true\ncheckpoint-every-s = 1.5\n\
                    clip-norm = 2.0\nearly-stop = 8\nepochs = 2\nimage-size = 96\nlabel-smoothing = 0.05\n\
                    max-bad-fraction = 0.5\nmax-steps = 11\nmodel = \"resnet18\"\nprecision = \"bf16\"\n\
                    prefetch-batches = 9\nprefetch-bytes = 77\nseed = 13\nsequence-length = 7\n\
                    weights = \"w.safetensors\"\nworkers = 3\n";
    let s = of("resnet18", &request);
    let table: toml::Table = s.to_toml().unwrap().parse().unwrap();
    let plain: toml::Table =
        table.iter().filter(|(_, v)| !v.is_table()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut lines: Vec<&str> = expected.lines().collect();
    lines.sort_unstable();
    let text = toml::to_string(&plain).unwrap();
    let mut found: Vec<&str> = text.lines().collect();
    found.sort_unstable();
    assert_eq!(found, lines);
    assert_eq!(s.lstm, LstmSize { embed: 21, hidden: 22, layers: 23 });
    assert_eq!(s.cache, Some(CacheSettings::Ram { bytes: 5 }));
    let rule =
        OptimizerSettings { kind: OptimizerKind::AdamW, momentum: 0.75, nesterov: true, weight_decay: 0.5 };
    assert_eq!(s.optimizer, rule);
    let schedule = ScheduleSettings {
        learning_rate: 0.125,
        kind: ScheduleKind::Step,
        warmup_steps: 6,
        step_epochs: 5,
        step_gamma: 0.2,
    };
    assert_eq!(s.schedule, schedule);
    let augment =
        AugmentSettings { crop_min_area: 0.3, flip: false, color_jitter: 0.25, exif_orientation: false };
    assert_eq!(s.augment, augment);
}

#[test]
fn images_are_not_blown_up_and_small_ones_are_hardly_cropped() {
    let resnet = find("resnet18").unwrap();
    let cases = [
        (None, 224, 0.08),
        (Some(500), 224, 0.08),
        (Some(200), 224, 0.08),
        (Some(96), 96, 0.08),
        (Some(95), 96, 0.6),
        (Some(33), 64, 0.6),
        (Some(28), 32, 0.6),
        (Some(1), 32, 0.6),
    ];
    for (side, pixels, crop) in cases {
        let s = settings(&JobRequest::default(), resnet, side, ITEMS, 4);
        assert_eq!((s.image_size, s.augment.crop_min_area), (pixels, crop), "{side:?}");
    }
}

#[test]
fn workers_leave_a_core_to_the_step_and_may_take_it_unless_they_are_given() {
    let resnet = find("resnet18").unwrap();
    let workers = |given, cores| {
        let s = settings(&JobRequest { workers: given, ..JobRequest::default() }, resnet, None, ITEMS, cores);
        (s.workers, s.workers_max)
    };
    assert_eq!(
        [0, 1, 2, 12].map(|cores| workers(None, cores)),
        [(1, Some(1)), (1, Some(1)), (1, Some(2)), (11, Some(12))]
    );
    assert_eq!([workers(Some(0), 4), workers(Some(9), 4)], [(0, None), (9, None)]);
}

#[test]
fn a_text_has_its_own_share_for_validation() {
    let none = JobRequest::default();
    let some = JobRequest { validation_fraction: Some(Share(0.35)), ..JobRequest::default() };
    assert_eq!(validation_fraction(&none, Task::Images), 0.2);
    assert_eq!(validation_fraction(&none, Task::CharacterLm), 0.1);
    assert_eq!(validation_fraction(&some, Task::Images), 0.35);
}

#[test]
fn an_epoch_of_few_samples_is_one_batch() {
    let lenet = find("lenet5").unwrap();
    let batch = |items| settings(&JobRequest::default(), lenet, None, items, 4).batch_size;
    assert_eq!([0, 1, 63, 64, 65].map(batch), [1, 1, 63, 64, 64]);
}

#[test]
fn a_disk_cache_is_found_again_from_any_folder() {
    let disk = CacheSettings::Disk { folder: "cache".into(), bytes: 7 };
    let Some(CacheSettings::Disk { folder, bytes: 7 }) = cache(CacheChoice::Fixed(disk)) else { panic!() };
    assert!(folder.is_absolute() && folder.ends_with("cache"), "{}", folder.display());
    assert_eq!(cache(CacheChoice::Auto), None);
}

proptest! {
    /// The linear rule: SGD's rate goes with the samples of a step, however they are divided; AdamW's stays.
    #[test]
    fn the_rate_of_sgd_follows_the_samples_of_a_step(batch in 1usize..500, accumulate in 1usize..8) {
        let request = JobRequest {
            batch_size: Some(BatchSize::Fixed(batch)),
            accumulate: Some(accumulate),
            ..JobRequest::default()
        };
        let rate = |model| of(model, &request).schedule.learning_rate;
        prop_assert!((rate("resnet18") - 0.02 * (batch * accumulate) as f64 / 32.0).abs() < 1e-12);
        prop_assert_eq!(rate("mobilenet_v3_small"), 2e-3);
        let given = JobRequest { learning_rate: Some(0.3), ..request.clone() };
        prop_assert_eq!(of("resnet18", &given).schedule.learning_rate, 0.3);
    }

    /// Warm-up takes a twentieth of the steps that will be made.
    #[test]
    fn warm_up_is_shorter_than_the_run(batch in 1usize..500, epochs in 1u32..30, max_steps in 1u64..5000) {
        let request = JobRequest {
            batch_size: Some(BatchSize::Fixed(batch)),
            epochs: Some(epochs),
            max_steps: Some(max_steps),
            ..JobRequest::default()
        };
        let steps = max_steps.min(ITEMS.div_ceil(batch) as u64 * u64::from(epochs));
        let warmup = of("resnet18", &request).schedule.warmup_steps;
        prop_assert!(warmup * 20 <= steps && (warmup + 1) * 20 > steps, "{warmup} of {steps}");
    }
}
