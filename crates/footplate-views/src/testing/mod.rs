//! Logs for tests.

pub(crate) mod arbitrary;

use footplate_core::record::{
    MachineRecord, MinibatchRecord, PowerRecord, RunEnd, RunStart, RunStatus, ValidationRecord,
};
use footplate_core::{Bytes, Celsius, Reading, Record, Watts};

use crate::report::{Gather, RunView};

/// A name that would do harm wherever it is not escaped: in HTML, in a label of a metric, on a terminal.
pub(crate) const HOSTILE: &str = "</script><img src=x onerror=\"alert('1')\">&\u{1b}[2J\\\n\u{7}";

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

pub(crate) fn validation(epoch: u32, top1: f64) -> Record {
    Record::Validation(ValidationRecord {
        t_ns: 60_000_000_000,
        epoch,
        items: 16,
        loss: 0.5,
        top1,
        top5: None,
        best: true,
        duration_ns: 500_000_000,
    })
}

/// A second of power without rails.
pub(crate) fn power(t_s: u64, total_w: Reading<Watts>) -> PowerRecord {
    PowerRecord {
        t_ns: t_s.saturating_mul(1_000_000_000),
        span_ns: 1_000_000_000,
        total_w,
        rails: Vec::new(),
        temperature_c: Reading::Value(Celsius(50.0)),
        throttled: Vec::new(),
        simulated: true,
    }
}

/// A machine that tells of its memory and nothing else.
pub(crate) fn machine(memory_bytes: Reading<Bytes>) -> Record {
    Record::Machine(MachineRecord {
        t_ns: 2_000_000_000,
        cpu_cores: Reading::Absent,
        clocks: Vec::new(),
        trip_c: Reading::Absent,
        trip_distance_c: Reading::Absent,
        memory_bytes,
        simulated: false,
    })
}

/// Elements are closed in order, and nothing of a log has become one.
pub(crate) fn assert_well_formed(html: &str) {
    const EMPTY: [&str; 5] = ["meta", "br", "!doctype", "path", "rect"];
    let body = html.split_once("<body>").unwrap().1.split_once("<script>").unwrap();
    let allowed_script = body.1;
    assert_eq!(allowed_script.matches("<script").count(), 0);
    let mut open: Vec<String> = Vec::new();
    for tag in body.0.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').unwrap_or_else(|| panic!("an open bracket: {tag}"));
        let name = inside.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(!["img", "script", "iframe", "style", "link"].contains(&name), "{inside}");
        if let Some(closed) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "at {tag}");
        } else if !EMPTY.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
