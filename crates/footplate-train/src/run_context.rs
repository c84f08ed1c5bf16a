//! What the training loop is given by the program around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footplate_core::Record;
use footplate_core::ports::Clock;
use footplate_core::sink::RecordSink;

use crate::checkpoint::CheckpointStore;

/// What the training loop is given by the program around it.
#[derive(Clone)]
pub struct RunContext {
    /// Where checkpoints go. `None` for a trial: nothing is written, and nothing is validated.
    pub store: Option<CheckpointStore>,
    /// Where the records of steps, epochs and checkpoints go.
    pub sink: RecordSink,
    /// The clock of records and steps.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Set by whoever wants the run to stop after the present step.
    pub stop: Arc<AtomicBool>,
}

impl RunContext {
    /// Nanoseconds on the run's clock.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn send(&self, record: Record) {
        self.sink.send(record);
    }

    /// Whether the run was asked to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
