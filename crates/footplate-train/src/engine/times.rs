//! Where the time of a step goes.

use crate::feed::IngestTime;

/// Times of a step's parts, in nanoseconds.
#[derive(Default)]
pub(super) struct StepTimes {
    /// Of the workers, to read the step's samples.
    pub(super) fetch: u64,
    /// Of the workers, to decode, augment and collate them.
    pub(super) prep: u64,
    /// Of the loop, for the next minibatch.
    pub(super) wait: u64,
    pub(super) transfer: u64,
    pub(super) compute: u64,
    pub(super) copied_bytes: u64,
    /// The first kernel's time of each minibatch, on a GPU.
    pub(super) ingests: Vec<IngestTime>,
}

impl StepTimes {
    /// What the kernels took that made the model's inputs; `None` unless all are known.
    pub(super) fn ingest_ns(&self) -> Option<u64> {
        if self.ingests.is_empty() {
            return None;
        }
        self.ingests.iter().map(IngestTime::ns).sum()
    }
}
