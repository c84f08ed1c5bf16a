//! A job whose steps take time of a manual clock and compute nothing, and who hears of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use footplate_core::Record;
use footplate_core::ports::{Clock, WorkError, WorkStep, Workload};
use footplate_core::record::MinibatchRecord;
use footplate_core::steps::{Ending, JobFacts, StepContext, StepError, StepJob, Steps, StepsEnd};
use footplate_core::units::Bytes;
use footplate_run::Listener;

/// Time of one step.
const STEP_NS: u64 = 100_000_000;

/// Time that passes only when it is waited for.
#[derive(Default)]
pub(super) struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.0.fetch_add(duration_ns, Ordering::Relaxed);
    }
}

/// Keeps what it hears.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) records: Mutex<Vec<Record>>,
    pub(super) notes: Mutex<Vec<String>>,
    pub(super) warnings: Mutex<Vec<String>>,
}

impl Listener for Heard {
    fn record(&self, record: &Record) {
        self.records.lock().unwrap().push(record.clone());
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap().push(text.to_owned());
    }
}

/// What goes wrong with a job, or who ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Steps of the whole job.
    pub(super) steps: u64,
    /// This step fails, counted from 0.
    pub(super) fails_at: Option<u64>,
    /// The user asks to stop while this step is made.
    pub(super) stopped_at: Option<u64>,
    /// It cannot begin.
    pub(super) no_start: bool,
}

pub(super) struct FakeJob {
    pub(super) fate: Fate,
    pub(super) warnings: Vec<String>,
}

pub(super) fn facts(fate: Fate) -> JobFacts {
    JobFacts {
        model: "resnet18".into(),
        device: "nothing".into(),
        data: "no data".into(),
        parameters: 0,
        train_items: 160,
        validation_items: 0,
        batch_size: 16,
        step_items: 16,
        epochs: 1,
        steps_per_epoch: 10,
        steps_total: fate.steps,
        steps_done: 0,
        seed: 0,
        planned_memory: Bytes(0),
        settings_toml: String::new(),
    }
}

impl StepJob for FakeJob {
    fn facts(&self) -> JobFacts {
        facts(self.fate)
    }

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn start(self: Box<Self>, context: StepContext) -> Result<Box<dyn Steps>, StepError> {
        if self.fate.no_start {
            return Err("the device is not there".into());
        }
        Ok(Box::new(FakeSteps { fate: self.fate, context, made: 0, failed: false }))
    }
}

struct FakeSteps {
    fate: Fate,
    context: StepContext,
    made: u64,
    failed: bool,
}

impl FakeSteps {
    fn step(&mut self) -> Result<WorkStep, WorkError> {
        if self.fate.fails_at == Some(self.made) {
            self.failed = true;
            return Err(WorkError::Failed("the device is gone".into()));
        }
        self.context.clock.wait_ns(STEP_NS);
        let end_ns = self.context.clock.now_ns();
        self.context.sink.send(Record::Minibatch(MinibatchRecord {
            t_ns: end_ns,
            epoch: 0,
            step: self.made,
            items: 16,
            fetch_ns: 0,
            prep_ns: 0,
            transfer_ns: 0,
            stall_ns: 0,
            compute_ns: STEP_NS,
            step_ns: STEP_NS,
            learning_rate: 0.1,
            loss: None,
            synced: true,
            copied_bytes: None,
            ingest_ns: None,
        }));
        if self.fate.stopped_at == Some(self.made) {
            self.context.stop.store(true, Ordering::Relaxed);
        }
        self.made += 1;
        Ok(WorkStep { end_ns, step_ns: STEP_NS, stall_ns: 0, items: 16 })
    }
}

impl Workload for FakeSteps {
    fn name(&self) -> &str {
        "counting"
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        let begun = self.context.clock.now_ns();
        let mut steps = Vec::new();
        loop {
            let enough =
                steps.len() >= steps_min as usize && self.context.clock.now_ns() - begun >= time_min_ns;
            if enough || steps.len() == steps_max as usize {
                return Ok(steps);
            }
            if self.context.stop.load(Ordering::Relaxed) {
                return Err(WorkError::Interrupted);
            }
            if self.made == self.fate.steps {
                return if steps.is_empty() { Err(WorkError::Finished) } else { Ok(steps) };
            }
            steps.push(self.step()?);
        }
    }

    fn steps_left(&self) -> Option<u64> {
        Some(self.fate.steps - self.made)
    }

    fn steps_per_epoch(&self) -> u64 {
        10
    }

    fn worker_choices(&self) -> &[usize] {
        &[]
    }

    fn set_workers(&mut self, _workers: usize) {}
}

impl Steps for FakeSteps {
    fn finish(self: Box<Self>) -> Result<StepsEnd, StepError> {
        if self.failed {
            return Err("the device is gone".into());
        }
        let ending = if self.made == self.fate.steps { Ending::Completed } else { Ending::Interrupted };
        Ok(StepsEnd { ending, steps: self.made, bad_samples: 0 })
    }
}
