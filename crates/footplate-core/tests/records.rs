//! Every kind of record as a line of the run log: a changed line is a changed format, and needs a new version.

use footplate_core::record::{
    BadSampleRecord, CheckpointRecord, ClockState, EpochRecord, Estimated, KernelsRecord, LoaderRecord,
    MachineRecord, MinibatchRecord, ModePurpose, ModeRecord, PowerRecord, ProfilePurpose, ProfiledRecord,
    Record, RunEnd, RunStart, RunStatus, TunePoint, TuneRecord, ValidationRecord, WarningRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Joules, PowerMode, Reading, Watts, runlog};

fn mode() -> PowerMode {
    PowerMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(114_750_000)), ..PowerMode::default() }
}

fn start() -> Record {
    Record::RunStart(RunStart {
        started_at: "2026-11-24T10:00:00Z".into(),
        version: "0.1.0".into(),
        model: "lenet5".into(),
        device: "cpu (default)".into(),
        data: "signals".into(),
        host: "linux".into(),
        parameters: 10,
        train_items: 64,
        validation_items: 8,
        batch_size: 32,
        epochs: 1,
        steps_per_epoch: 2,
        steps_total: 2,
        first_step: 0,
        planned_memory_bytes: Bytes(100),
        settings_toml: "model = \"lenet5\"\n".into(),
    })
}

fn training() -> Vec<Record> {
    vec![
        start(),
        Record::Loader(LoaderRecord { t_ns: 1, workers: 2, depth: 3 }),
        Record::Kernels(KernelsRecord { t_ns: 2, tuned: 12 }),
        Record::Minibatch(MinibatchRecord {
            t_ns: 3,
            epoch: 0,
            step: 1,
            items: 32,
            fetch_ns: 4,
            prep_ns: 5,
            transfer_ns: 1,
            stall_ns: 2,
            compute_ns: 7,
            step_ns: 9,
            learning_rate: 0.5,
            loss: Some(0.25),
            synced: false,
            copied_bytes: Some(0),
            ingest_ns: None,
        }),
        Record::BadSample(BadSampleRecord { name: "dog/1.jpg".into(), reason: "truncated".into() }),
        Record::Epoch(EpochRecord { t_ns: 10, epoch: 0, items: 64, train_loss: None, duration_ns: 9 }),
        Record::Validation(ValidationRecord {
            t_ns: 11,
            epoch: 0,
            items: 8,
            loss: 0.5,
            top1: 0.75,
            top5: None,
            best: true,
            duration_ns: 1,
        }),
        Record::Checkpoint(CheckpointRecord {
            t_ns: 12,
            step: 2,
            file: "step-000000000002.ckpt".into(),
            size_bytes: Bytes(1024),
            snapshot_ns: 1,
            write_ns: 2,
        }),
        Record::Warning(WarningRecord { message: "clock not set".into() }),
        Record::RunEnd(RunEnd {
            t_ns: 13,
            status: RunStatus::Completed,
            steps: 2,
            bad_samples: 1,
            dropped_records: 0,
            peak_memory_bytes: Reading::Value(Bytes(4096)),
            energy_j: Reading::<Joules>::Absent,
        }),
    ]
}

fn machine() -> Vec<Record> {
    vec![
        Record::Power(PowerRecord {
            t_ns: 1,
            span_ns: 2,
            total_w: Reading::Value(Watts(7.25)),
            rails: vec![("VDD_SOC".into(), Reading::Absent)],
            temperature_c: Reading::unreadable("no zone"),
            throttled: vec!["cpu-balanced is active".into()],
            simulated: true,
        }),
        Record::Machine(MachineRecord {
            t_ns: 3,
            cpu_cores: Reading::Value(4),
            clocks: vec![ClockState {
                label: "GPU".into(),
                asked_hz: Reading::Value(Hertz(114_750_000)),
                got_hz: Reading::Absent,
            }],
            trip_c: Reading::Value(Celsius(95.5)),
            trip_distance_c: Reading::Value(Celsius(0.0)),
            memory_bytes: Reading::Value(Bytes(0)),
            simulated: false,
        }),
        Record::Mode(ModeRecord {
            t_ns: 4,
            purpose: ModePurpose::Train,
            asked: mode(),
            got: PowerMode::default(),
            warnings: vec!["clipped".into()],
        }),
        Record::Profile(ProfiledRecord {
            t_ns: 5,
            purpose: ProfilePurpose::Verify,
            mode: mode(),
            got: mode(),
            workers: Some(2),
            steps: 12,
            step_s: 0.25,
            step_error_s: 0.125,
            stall_share: Some(0.5),
            power_w: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        }),
        Record::Tune(TuneRecord {
            t_ns: 6,
            goal: "least time".into(),
            power_max_w: Some(20.0),
            step_max_s: None,
            energy_max_j: None,
            profiles: 12,
            points: vec![TunePoint {
                mode: mode(),
                workers: None,
                presets: vec!["MAXN".into()],
                measured: true,
                on_front: true,
                largest: false,
                step_s: Some(Estimated { value: 0.25, low90: 0.125, high90: 0.5 }),
                power_w: None,
                energy_j: None,
            }],
            space: 29,
            choice: Some(0),
            verified: true,
            probability: Some(0.75),
            message: None,
            simulated: true,
        }),
    ]
}

#[test]
fn every_kind_of_record_is_written_as_its_golden_line_and_read_back() {
    let records: Vec<Record> = training().into_iter().chain(machine()).collect();
    let lines: Vec<String> = records.iter().map(|record| runlog::encode(record).unwrap()).collect();
    assert_eq!(lines.concat(), include_str!("golden_records.txt"));
    let read = runlog::decode_all(lines.concat().as_bytes());
    assert_eq!((read.records, read.damaged), (records, Vec::new()));
}

#[test]
fn a_field_that_is_missing_is_an_unknown_record_and_not_a_zero() {
    for record in training().into_iter().chain(machine()) {
        let line = runlog::encode(&record).unwrap();
        let body = line.split_once("\"record\":").unwrap().1.trim_end().strip_suffix('}').unwrap();
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        for field in fields.into_iter().filter(|field| !may_be_missing(&value, field)) {
            let mut cut = value.clone();
            cut.as_object_mut().unwrap().remove(field);
            let body = cut.to_string();
            let crc = crc32fast::hash(body.as_bytes());
            let line = format!("{{\"v\":5,\"crc32\":\"{crc:08x}\",\"record\":{body}}}\n");
            assert!(matches!(runlog::decode(&line), Err(runlog::LineError::Record(_))), "{field} of {body}");
        }
    }
}

/// Values that may be unknown are `null` or not there.
fn may_be_missing(value: &serde_json::Value, field: &str) -> bool {
    const OPTIONAL: [&str; 13] = [
        "loss",
        "copied_bytes",
        "ingest_ns",
        "train_loss",
        "top5",
        "workers",
        "power_max_w",
        "step_max_s",
        "energy_max_j",
        "choice",
        "probability",
        "message",
        "stall_share",
    ];
    let is_validation = value["kind"] == "validation";
    OPTIONAL.contains(&field) && !(is_validation && field == "loss") && value["kind"] != "warning"
}
