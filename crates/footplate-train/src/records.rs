//! The loop's side of the run log: a clock, and a queue that never makes the loop wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use footplate_core::Record;
use footplate_core::ports::Clock;

/// Records that may wait for the log's writer: some minutes of the fastest training.
const QUEUE_RECORDS: usize = 8192;

/// Monotonic time since the process began to train. All records of a process carry this clock.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    origin: Instant,
}

impl RunClock {
    /// A clock that shows 0 now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        Self::now_ns(self)
    }

    fn wait_ns(&self, duration_ns: u64) {
        thread::sleep(Duration::from_nanos(duration_ns));
    }
}

/// Where the loop puts its records.
#[derive(Clone, Debug)]
pub struct RecordSink {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl RecordSink {
    /// A bounded queue and its other end. The queue ends when all its senders are gone.
    pub fn bounded() -> (Self, Receiver<Record>) {
        let (queue, receiver) = sync_channel(QUEUE_RECORDS);
        (Self { queue, dropped: Arc::default() }, receiver)
    }

    /// Puts a record into the queue, or counts it as dropped if the queue is full.
    pub fn send(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that did not fit.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::record::WarningRecord;

    #[test]
    fn a_full_queue_drops_and_counts_and_never_blocks() {
        let (sink, receiver) = RecordSink::bounded();
        for i in 0..QUEUE_RECORDS + 3 {
            sink.send(Record::Warning(WarningRecord { message: i.to_string() }));
        }
        assert_eq!((sink.dropped(), receiver.try_iter().count()), (3, QUEUE_RECORDS));
    }
}
