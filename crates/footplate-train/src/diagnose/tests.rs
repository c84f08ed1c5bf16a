#![expect(clippy::disallowed_methods, reason = "tests write data and damage")]

use std::fs;

use footplate_data::measure_rates::Cold;
use footplate_data::stall::{Costs, TimeBreakdown};

use super::*;
use crate::prepare::prepare;
use crate::testing::{StillHeap, TestClock, host, seeded, small_request, small_settings};

fn rate(items: u64, wall_s: f64, cpu_s: f64) -> Rate {
    Rate { items, bytes: items * 1000, wall_s, cpu_s }
}

/// Steps of 4 samples in 40 ms, preparation in 2 ms of CPU time, reading in 1 ms; all 4 cores were had.
fn measured() -> Measured {
    Measured {
        step: StepRate { batch_size: 4, steps_s: vec![0.04; 5], cpu_s: 0.4 },
        prep_one: rate(100, 0.2, 0.2),
        storage: Some(Storage {
            warm: rate(100, 0.1, 0.1),
            cold: Cold::Measured { one: rate(100, 0.5, 0.2), many: rate(400, 1.0, 0.8) },
            data_bytes: 1000,
        }),
        trial: Trial {
            steps: 10,
            items: 40,
            wall_s: 0.5,
            split: TimeBreakdown { transfer_s: 0.0005, other_s: 0.0007, ..TimeBreakdown::default() },
            fetch_worker_s: 0.004,
            ..Trial::default()
        },
        cores_got: vec![4.0, 4.0],
        ..Measured::default()
    }
}

fn assert_near(got: Costs, expected: Costs) {
    let numbers = |c: Costs| {
        [c.compute_s, c.compute_cpu_s, c.transfer_s, c.other_s, c.prep_s, c.fetch_cpu_s, c.fetch_wait_s]
    };
    for (got, expected) in numbers(got).into_iter().zip(numbers(expected)) {
        assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    }
    assert_eq!(got.storage_per_s, expected.storage_per_s);
}

/// Each step takes 40 ms for 4 samples: 10 ms each; its 0.2 s of wall time took 0.4 s of CPU time.
const IN_MEMORY: Costs = Costs {
    compute_s: 0.01,
    compute_cpu_s: 0.02,
    transfer_s: 0.0005,
    other_s: 0.0007,
    prep_s: 0.002,
    fetch_cpu_s: 0.001,
    fetch_wait_s: 0.0,
    storage_per_s: None,
};

#[test]
fn an_item_costs_what_was_measured_of_each_stage() {
    assert_near(costs::costs(&measured(), false, 4), IN_MEMORY);
    let many = Measured { prep_many: Some(rate(100, 0.2, 0.3)), ..measured() };
    assert_near(costs::costs(&many, false, 4), Costs { prep_s: 0.003, ..IN_MEMORY });
    let in_process = Measured { storage: None, ..measured() };
    assert_near(costs::costs(&in_process, true, 4), Costs { fetch_cpu_s: 0.0, ..IN_MEMORY });
}

/// A read takes 5 ms, 2 ms of them computing: a worker waits for 3 ms, or for as little as the real run shows.
#[test]
fn storage_is_waited_for_no_longer_than_the_real_run_did() {
    let cold = Costs { fetch_cpu_s: 0.002, storage_per_s: Some(400.0), ..IN_MEMORY };
    assert_near(costs::costs(&measured(), true, 4), Costs { fetch_wait_s: 0.002, ..cold });
    let mut slower = measured();
    slower.trial.fetch_worker_s = 0.1;
    assert_near(costs::costs(&slower, true, 4), Costs { fetch_wait_s: 0.003, ..cold });
    slower.trial.items = 0;
    slower.trial.fetch_worker_s = 0.0;
    assert_near(costs::costs(&slower, true, 4), Costs { fetch_wait_s: 0.003, ..cold });
}

#[test]
fn work_is_dearer_where_other_programs_run_on_the_same_cores() {
    let crowded = Measured { cores_got: vec![1.0, 3.0], ..measured() };
    let twice = Costs { compute_cpu_s: 0.04, prep_s: 0.004, fetch_cpu_s: 0.002, ..IN_MEMORY };
    assert_near(costs::costs(&crowded, false, 4), twice);
    assert_near(costs::costs(&Measured { cores_got: Vec::new(), ..measured() }, false, 4), IN_MEMORY);
}

fn situation(measured_per_s: Option<f64>) -> Situation {
    Situation { costs: IN_MEMORY, workers: 1, cores: 4, measured_per_s }
}

#[test]
fn what_makes_the_figures_doubtful_is_told() {
    let says = |measured: &Measured, words: &str| {
        let warnings = judge::warnings(measured, &situation(measured.trial.items_per_s()));
        assert!(warnings.iter().any(|w| w.contains(words)), "{warnings:?} without {words}");
    };
    says(&Measured { cores_got: vec![2.0], ..measured() }, "this one got 2.0 of 4");
    says(&Measured { trial: Trial::default(), ..measured() }, "no step of the real run ended");
    let mut single = measured();
    single.step.steps_s.truncate(1);
    says(&single, "rest on a single one");
    let mut odd = measured();
    odd.trial.wall_s = 50.0;
    says(&odd, "take predictions with care");
    let mut unread = measured();
    if let Some(storage) = &mut unread.storage {
        storage.cold = Cold::NotMeasured("too few samples".to_owned());
    }
    says(&unread, "reading from storage was not measured: too few samples");
}

#[test]
fn a_change_that_settings_can_express_is_made_and_no_other() {
    let settings = small_settings("lenet5");
    let changed = |change| apply::changed(&settings, change);
    let with = |change: fn(&mut TrainSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        Some(settings)
    };
    assert_eq!(changed(Change::Workers { workers: 3 }), with(|s| (s.workers, s.workers_max) = (3, None)));
    assert_eq!(changed(Change::ImageSize { pixels: 64 }), with(|s| s.image_size = 64));
    assert_eq!(changed(Change::BatchSize { samples: 9 }), with(|s| s.batch_size = 9));
    let cache = Some(footplate_data::CacheSettings::Ram { bytes: 5 });
    assert_eq!(changed(Change::Cache { bytes: 5 }).map(|s| s.cache), Some(cache));
    assert_eq!([Change::PixelsU8, Change::IndexedShards].map(changed), [None, None]);
}

/// A small job on a text, measured on a clock of which each look takes a millisecond.
fn diagnosed(change: impl FnOnce(&mut Subject), stop: bool) -> Result<Option<Diagnosis>, TrainError> {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let plan = prepare(&small_request(folder.path()), &host(), &StillHeap, &mut |_| {}).unwrap();
    let mut subject = Subject::of(plan, false);
    change(&mut subject);
    let watch = Watch { clock: Arc::new(TestClock::ticking(1_000_000)), stop: Arc::new(stop.into()) };
    diagnose(&subject, Duration::from_millis(400), true, &watch, &mut |_| {})
}

#[test]
fn a_small_job_is_diagnosed_within_its_time() {
    let found = diagnosed(|_| (), false).unwrap().unwrap();
    assert_eq!(found.source, Source::Process, "a text is in memory");
    assert!(found.measured.step.wall_s_each() > Some(0.0) && found.measured.trial.steps > 0);
    assert!(found.split.is_some() && found.situation.costs.compute_s > 0.0);
    assert_eq!(found.measured.upload, None, "only images have another form");
}

#[test]
fn whoever_stops_a_diagnosis_gets_none_and_settings_are_checked_first() {
    assert!(diagnosed(|_| (), true).unwrap().is_none());
    let error = diagnosed(|subject| subject.settings.epochs = 0, true).unwrap_err();
    assert_eq!(error.to_string(), "--epochs 0: must be at least 1");
}

#[test]
fn the_subject_is_the_job_that_training_would_run() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let available = footplate_core::Reading::Value(footplate_core::Bytes(1 << 30));
    let host = crate::host::Host { available_memory: available, ..host() };
    let plan = || prepare(&small_request(folder.path()), &host, &StillHeap, &mut |_| {}).unwrap();
    let (settings, total) = (plan().settings, plan().memory.total());
    let subject = Subject::of(plan(), true);
    assert_eq!((&subject.settings, subject.cores, subject.cold), (&settings, 2, true));
    assert_eq!(subject.memory_free, Some((1 << 30) - total.0));
    // 45 windows leave an epoch four steps of 11.
    assert_eq!(subject.batch_max, 11);
}

#[test]
fn a_data_set_of_bad_samples_names_them() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    for class in ["dog", "cat"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for number in 0..3 {
            fs::write(folder.path().join(class).join(format!("{number}.jpg")), "no image").unwrap();
        }
    }
    let request = crate::request::JobRequest { data: Some(folder.path().to_owned()), ..Default::default() };
    let plan = prepare(&request, &host(), &StillHeap, &mut |_| {}).unwrap();
    let watch = Watch { clock: Arc::new(TestClock::ticking(1_000_000)), stop: Arc::default() };
    let error = diagnose(&Subject::of(plan, false), Duration::from_millis(50), false, &watch, &mut |_| {})
        .unwrap_err();
    let TrainError::Data(DataError::TooManyBad { bad, .. }) = error else { panic!("{error}") };
    assert!(!bad.is_empty());
}
