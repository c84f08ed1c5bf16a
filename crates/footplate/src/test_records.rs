//! Records that tests show.

use footplate_core::Bytes;
use footplate_core::record::{MinibatchRecord, RunStart};

pub(crate) fn start() -> RunStart {
    RunStart {
        started_at: "2026-11-24T10:00:00Z".into(),
        version: "0.1.0".into(),
        model: "lenet5".into(),
        device: "cpu (asked for)".into(),
        data: "64 images".into(),
        host: "linux aarch64, 6 cores".into(),
        parameters: 61_000,
        train_items: 64,
        validation_items: 16,
        batch_size: 32,
        epochs: 2,
        steps_per_epoch: 2,
        steps_total: 4,
        first_step: 0,
        planned_memory_bytes: Bytes(100 << 20),
        settings_toml: String::new(),
    }
}

pub(crate) fn minibatch(step: u64, step_ns: u64) -> MinibatchRecord {
    MinibatchRecord {
        t_ns: step_ns * (step + 1),
        epoch: 0,
        step,
        items: 32,
        fetch_ns: step_ns / 100,
        prep_ns: step_ns / 10,
        transfer_ns: 0,
        stall_ns: step_ns / 50,
        compute_ns: step_ns / 50 * 49,
        step_ns,
        learning_rate: 0.1,
        loss: Some(2.0),
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    }
}
