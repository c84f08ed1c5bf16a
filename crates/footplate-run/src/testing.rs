//! Clocks, records and listeners for tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use footplate_core::ports::Clock;
use footplate_core::record::{MinibatchRecord, TuneRecord, WarningRecord};
use footplate_core::{PowerMode, Reading, Record};
use footplate_tune::Setting;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::records::KeptProfile;
use footplate_tune::tuner::Purpose;

use crate::listener::Listener;

/// Time that passes only when it is waited for.
#[derive(Default)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.0.fetch_add(duration_ns, Ordering::Relaxed);
    }
}

/// Keeps what it hears, in words.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn push(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Listener for Heard {
    fn record(&self, _record: &Record) {}

    fn profiled(&self, number: usize, _record: &ProfileRecord, _purpose: Purpose) {
        self.push(format!("profiled {number}"));
    }

    fn note(&self, text: &str) {
        self.push(format!("note {text}"));
    }

    fn warn(&self, text: &str) {
        self.push(format!("warn {text}"));
    }
}

pub(crate) fn warning(message: &str) -> Record {
    Record::Warning(WarningRecord { message: message.into() })
}

pub(crate) fn minibatch(step: u64) -> Record {
    Record::Minibatch(MinibatchRecord {
        t_ns: step,
        epoch: 0,
        step,
        items: 32,
        fetch_ns: 0,
        prep_ns: 0,
        transfer_ns: 0,
        stall_ns: 0,
        compute_ns: 1,
        step_ns: 1,
        learning_rate: 0.1,
        loss: None,
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    })
}

pub(crate) fn tune_record() -> TuneRecord {
    TuneRecord {
        t_ns: 0,
        goal: "least time".into(),
        power_max_w: None,
        step_max_s: None,
        energy_max_j: None,
        profiles: 0,
        points: Vec::new(),
        space: 0,
        choice: None,
        verified: false,
        probability: None,
        message: None,
        simulated: true,
    }
}

/// A measurement of the mode that leaves everything as it is.
pub(crate) fn profile(step_s: f64) -> ProfileRecord {
    ProfileRecord {
        setting: Setting::of(PowerMode::default()),
        got: PowerMode::default(),
        steps: 30,
        step_s,
        step_error_s: 0.001,
        stall_share: Some(0.0),
        items: 16.0,
        power: Reading::Absent,
        temperature_c: Reading::Absent,
        throttled: Vec::new(),
        warnings: Vec::new(),
        simulated: true,
        t_ns: 0,
        duration_ns: 0,
    }
}

pub(crate) fn kept_profile(machine: &str, workload: &str, step_s: f64) -> KeptProfile {
    KeptProfile {
        machine: machine.into(),
        workload: workload.into(),
        goal: "least time".into(),
        verifies: false,
        profile: profile(step_s),
    }
}
