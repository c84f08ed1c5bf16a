//! The queue between a loop that makes records and whoever keeps them: the loop never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::record::Record;

/// Records that may wait for the log's writer: some minutes of the fastest training.
const QUEUE_RECORDS: usize = 8192;

/// Where a loop puts its records.
///
/// ```
/// use footplate_core::record::{Record, WarningRecord};
/// use footplate_core::sink::RecordSink;
///
/// let (sink, records) = RecordSink::bounded();
/// sink.send(Record::Warning(WarningRecord { message: "the fan stands still".to_owned() }));
/// assert_eq!(sink.dropped(), 0);
/// drop(sink);
/// // The queue ends when its last sender is gone.
/// assert_eq!(records.iter().count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct RecordSink {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl RecordSink {
    /// A queue that holds 8,192 records, and its other end. The queue ends when all its senders are gone.
    pub fn bounded() -> (Self, Receiver<Record>) {
        let (queue, receiver) = sync_channel(QUEUE_RECORDS);
        (Self { queue, dropped: Arc::default() }, receiver)
    }

    /// Puts a record into the queue, or counts it as dropped if the queue is full or nobody listens any more.
    pub fn send(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were dropped, by this sender and all its clones.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::WarningRecord;

    fn warning(number: usize) -> Record {
        Record::Warning(WarningRecord { message: number.to_string() })
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (sink, receiver) = RecordSink::bounded();
        for i in 0..QUEUE_RECORDS + 3 {
            sink.send(warning(i));
        }
        assert_eq!((sink.dropped(), receiver.try_iter().count()), (3, QUEUE_RECORDS));
    }

    #[test]
    fn clones_count_together_and_a_listener_that_is_gone_is_no_error() {
        let (sink, receiver) = RecordSink::bounded();
        let second = sink.clone();
        drop(receiver);
        sink.send(warning(1));
        second.send(warning(2));
        assert_eq!((sink.dropped(), second.dropped()), (2, 2));
    }
}
