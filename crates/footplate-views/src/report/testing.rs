//! Logs for tests.

use footplate_core::record::{MinibatchRecord, RunEnd, RunStart, RunStatus};
use footplate_core::{Bytes, Reading, Record};

use super::{Gather, RunView};

/// A log that is made record by record.
#[derive(Clone, Debug)]
pub(crate) struct RunLog {
    pub(crate) records: Vec<Record>,
}

impl RunLog {
    pub(crate) fn new(host: &str) -> Self {
        Self { records: vec![Record::RunStart(RunStart { host: host.to_owned(), ..start() })] }
    }

    pub(crate) fn settings(mut self, toml: &str) -> Self {
        if let Some(Record::RunStart(start)) = self.records.first_mut() {
            start.settings_toml = toml.to_owned();
        }
        self
    }

    pub(crate) fn steps(mut self, count: u64, make: impl Fn(u64) -> MinibatchRecord) -> Self {
        self.records.extend((0..count).map(|step| Record::Minibatch(make(step))));
        self
    }

    pub(crate) fn push(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    pub(crate) fn view(&self) -> RunView {
        let mut gather = Gather::new("runs/test");
        self.records.iter().for_each(|record| gather.push(record));
        gather.finish().unwrap()
    }
}

pub(crate) fn start() -> RunStart {
    RunStart {
        started_at: "2026-11-24T10:00:00Z".into(),
        version: "0.1.0".into(),
        model: "lenet5".into(),
        device: "cpu (asked for)".into(),
        data: "64 images in 8 classes".into(),
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
        t_ns: step_ns.saturating_mul(step + 1),
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

pub(crate) fn end(t_ns: u64, steps: u64) -> Record {
    Record::RunEnd(RunEnd {
        t_ns,
        status: RunStatus::Completed,
        steps,
        bad_samples: 0,
        dropped_records: 0,
        peak_memory_bytes: Reading::Value(Bytes(90 << 20)),
        energy_j: Reading::Absent,
    })
}
