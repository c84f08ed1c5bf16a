#![expect(clippy::disallowed_methods, reason = "tests write data and damage")]

use std::fs;

use footplate_core::Share;
use footplate_core::steps::{StepContext, StepJob};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::run_context::RunContext;
use crate::testing::{StillHeap, context, host, seeded, small_request};

/// Prepares a job; what was told is thrown away.
fn prepared(request: &JobRequest, host: &Host) -> Result<JobPlan, TrainError> {
    let _turn = seeded(0);
    prepare(request, host, &StillHeap, &mut |_| {})
}

/// What is said of a small job that differs by one value.
fn said(change: impl FnOnce(&mut JobRequest)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut request = small_request(folder.path());
    change(&mut request);
    match prepared(&request, &host()) {
        Ok(_) => "good".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn everything_is_decided_in_order_and_the_network_is_built_last() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let plan =
        prepare(&small_request(folder.path()), &host(), &StillHeap, &mut |what| told.push(what)).unwrap();
    assert_eq!(told, [Preparing::Data, Preparing::Memory]);
    assert_eq!((plan.device.name, plan.settings.batch_size, plan.cores), ("cpu", 4, 2));
    assert_eq!((plan.available.is_absent(), plan.notes.len()), (true, 0));
    assert!(plan.open.data.is_absolute() && plan.open.validation_fraction == 0.2);
    let run = plan.build(&mut |what| told.push(what)).unwrap();
    assert_eq!(told[2..], [Preparing::Model]);
    assert_eq!((run.job().steps_total(), run.job().progress().steps), (24, 0));
    assert_eq!(Preparing::Memory.to_string(), "planning the memory: two small steps are measured");
}

#[test]
fn what_cannot_be_had_is_refused_by_its_name() {
    type Change = fn(&mut JobRequest);
    let cases: [(Change, &str); 8] = [
        (|_| (), "good"),
        (|r| r.model = Some("vit".to_owned()), "unknown model `vit`"),
        (|r| r.data = None, "lstm needs a text to train on"),
        (|r| r.format = Some("zip".to_owned()), "--format zip: `zip` is not one of image-folder"),
        (|r| r.validation_fraction = Some(Share(1.0)), "--validation-fraction 1: must be 0 or more and less"),
        (|r| r.device = Some(DeviceChoice::Cuda), "device `cuda`: not supported"),
        (|r| r.model = Some("lenet5".to_owned()), "model `lenet5` is trained on images, and the data is"),
        (|r| r.epochs = Some(0), "--epochs 0: must be at least 1"),
    ];
    for (change, words) in cases {
        let said = said(change);
        assert!(said.starts_with(words), "{said}, not {words}");
    }
}

#[test]
fn a_name_that_is_mistyped_is_told_before_the_data_is_looked_for() {
    let request = JobRequest {
        model: Some("vit".to_owned()),
        data: Some("/nowhere".into()),
        device: Some(DeviceChoice::Cuda),
        ..JobRequest::default()
    };
    assert!(matches!(prepared(&request, &host()), Err(TrainError::UnknownModel { .. })));
}

#[test]
fn the_embedded_data_set_needs_a_folder_and_is_told_while_it_is_made() {
    let error = prepared(&JobRequest::default(), &host()).err().unwrap();
    assert!(matches!(error, TrainError::NoCacheFolder), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let request = JobRequest { cache_dir: Some(file), ..JobRequest::default() };
    assert!(matches!(prepared(&request, &host()), Err(TrainError::EmbeddedData(_))));
}

#[test]
fn memory_that_is_known_is_a_limit_and_memory_max_a_lower_one() {
    let folder = tempfile::tempdir().unwrap();
    let request = small_request(folder.path());
    let with = |available, memory_max| {
        let host = Host { available_memory: available, ..host() };
        prepared(&JobRequest { memory_max, ..request.clone() }, &host).map(|plan| plan.available)
    };
    let (much, little) = (Bytes(1 << 40), Bytes(1000));
    assert_eq!(with(Reading::Value(much), None).unwrap(), Reading::Value(much));
    assert!(matches!(with(Reading::Value(little), None), Err(TrainError::Memory { .. })));
    assert!(matches!(with(Reading::Value(much), Some(little)), Err(TrainError::Memory { .. })));
    assert!(matches!(with(Reading::Absent, Some(little)), Err(TrainError::Memory { .. })));
    assert_eq!(with(Reading::Absent, Some(much)).unwrap(), Reading::Value(much));
}

#[test]
fn memory_that_cannot_be_read_refuses_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let denied = || Reading::unreadable("permission denied");
    let host = Host { available_memory: denied(), resident_memory: denied(), ..host() };
    let plan = prepared(&small_request(folder.path()), &host).unwrap();
    assert_eq!(
        plan.notes,
        [
            "the memory plan is not checked: free memory cannot be read (permission denied)",
            "the memory plan leaves out the program's code: its resident memory cannot be read (permission denied)"
        ]
    );
    // The heap is counted all the same.
    assert!(plan.memory.program >= 1 << 20, "{:?}", plan.memory);
}

#[test]
fn the_process_is_counted_with_its_code_where_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let program = |resident| {
        let host = Host { resident_memory: Reading::Value(Bytes(resident)), ..host() };
        prepared(&small_request(folder.path()), &host).unwrap().memory.program
    };
    assert_eq!(program(5 << 20) - program(0), 4 << 20, "1 MiB of heap is live");
}

#[test]
fn a_batch_size_of_auto_is_decided_with_its_rate_and_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let request = JobRequest {
        batch_size: Some(BatchSize::Auto),
        optimizer: Some(crate::settings::OptimizerKind::Sgd),
        ..small_request(folder.path())
    };
    let settings = prepared(&request, &host()).unwrap().settings;
    // 45 windows: four in each of at least ten steps.
    assert_eq!(settings.batch_size, 4);
    assert_eq!(settings.schedule.learning_rate, 3e-3 * 4.0 / 32.0);
    let fixed = JobRequest { batch_size: Some(BatchSize::Fixed(4)), ..request };
    assert_eq!(prepared(&fixed, &host()).unwrap().settings, settings);
}

#[test]
fn a_cache_of_auto_is_decided_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let request = JobRequest { cache: Some(CacheChoice::Auto), ..small_request(folder.path()) };
    let plan = prepared(&request, &host()).unwrap();
    assert_eq!(plan.settings.cache, None);
    assert_eq!(plan.notes, ["cache (sizes are estimates): none: the data is in memory already"]);
}

/// The request for what a run with `settings` left in `folder`.
fn left(plan: &JobPlan, folder: &Path) -> ResumeRequest {
    ResumeRequest {
        data: plan.open.data.clone(),
        format: plan.open.request.format.clone(),
        validation_fraction: plan.open.validation_fraction,
        device: DeviceChoice::Cpu,
        settings: plan.settings.clone(),
        checkpoints: folder.to_owned(),
    }
}

fn resumed(request: &ResumeRequest, host: &Host) -> Result<PreparedRun, TrainError> {
    resume(request.clone(), host, &StillHeap, &mut |_| {})
}

/// Makes so many steps (all that are left if there are fewer), and ends with a checkpoint.
fn train(run: PreparedRun, folder: &Path, steps: u32) -> Checkpoint {
    let store = CheckpointStore::create(folder).unwrap();
    let RunContext { sink, clock, stop, .. } = context(None).0;
    let context = StepContext { checkpoints: Some(folder.to_owned()), sink, clock, stop };
    let mut steps_of = Box::new(run).start(context).unwrap();
    steps_of.train(steps, 0).unwrap();
    steps_of.finish().unwrap();
    store.newest().unwrap().0.unwrap()
}

fn arrays(checkpoint: &Checkpoint) -> Vec<(String, Vec<u32>)> {
    let all = checkpoint.model.iter().chain(&checkpoint.optimizer);
    all.map(|(name, data)| (name.clone(), data.iter::<f32>().map(f32::to_bits).collect())).collect()
}

/// Cut after any number of steps, a run comes to the same weights and optimizer state, to the bit.
#[test]
fn a_run_that_is_resumed_comes_to_the_same_weights() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let request = small_request(folder.path());
    let plan = || prepare(&request, &host(), &StillHeap, &mut |_| {}).unwrap();
    let whole = train(plan().build(&mut |_| {}).unwrap(), &folder.path().join("whole"), 24);
    assert_eq!(whole.progress.steps, 24);
    for cut in [1, 11, 12, 13, 23] {
        let checkpoints = folder.path().join(format!("cut-{cut}"));
        let plan = plan();
        let left = left(&plan, &checkpoints);
        let first = train(plan.build(&mut |_| {}).unwrap(), &checkpoints, cut);
        assert_eq!(first.progress.steps, u64::from(cut));
        let run = resumed(&left, &host()).unwrap();
        assert_eq!(run.facts().steps_done, u64::from(cut));
        let rest = train(run, &checkpoints, 24);
        assert_eq!(rest.progress.steps, 24, "cut after {cut}");
        assert!(arrays(&rest) == arrays(&whole), "cut after {cut}: other weights");
    }
}

#[test]
fn a_run_without_a_checkpoint_begins_anew_and_one_with_damaged_ones_only_does_not() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let plan = prepare(&small_request(folder.path()), &host(), &StillHeap, &mut |_| {}).unwrap();
    let request = left(&plan, &folder.path().join("checkpoints"));
    assert_eq!(resumed(&request, &host()).unwrap().job().progress().steps, 0, "killed before its first");
    fs::create_dir(&request.checkpoints).unwrap();
    assert_eq!(resumed(&request, &host()).unwrap().job().progress().steps, 0);
    fs::write(request.checkpoints.join("step-000000000009.ckpt"), "damaged").unwrap();
    let Err(TrainError::NoCheckpoint { rejected, .. }) = resumed(&request, &host()) else { panic!() };
    assert!(rejected[0].contains("step-000000000009.ckpt cannot be used"), "{rejected:?}");
}

#[test]
fn a_damaged_newest_checkpoint_is_told_and_the_one_before_is_taken() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let plan = prepare(&small_request(folder.path()), &host(), &StillHeap, &mut |_| {}).unwrap();
    let request = left(&plan, &folder.path().join("checkpoints"));
    train(plan.build(&mut |_| {}).unwrap(), &request.checkpoints, 3);
    fs::write(request.checkpoints.join("step-000000000009.ckpt"), "damaged").unwrap();
    let mut run = resumed(&request, &host()).unwrap();
    assert_eq!(run.job().progress().steps, 3);
    let warnings = run.take_warnings();
    assert!(warnings[0].ends_with("taking the one before") && warnings.len() == 1, "{warnings:?}");
    assert!(run.take_warnings().is_empty());
}

#[test]
fn data_that_has_changed_is_refused() {
    let _turn = seeded(0);
    let folder = tempfile::tempdir().unwrap();
    let plan = prepare(&small_request(folder.path()), &host(), &StillHeap, &mut |_| {}).unwrap();
    let request = left(&plan, &folder.path().join("checkpoints"));
    train(plan.build(&mut |_| {}).unwrap(), &request.checkpoints, 3);
    fs::write(&request.data, "another text with other letters, long enough to train on it. ".repeat(9))
        .unwrap();
    assert!(matches!(resumed(&request, &host()), Err(TrainError::DataChanged { .. })));
}
