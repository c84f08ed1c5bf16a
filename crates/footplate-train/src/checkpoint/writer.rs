//! Writes checkpoints on a thread of its own while training goes on.
#![expect(clippy::disallowed_types, reason = "writes on a thread of its own")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use footplate_core::Bytes;
use footplate_core::ports::Clock;
use footplate_core::record::{CheckpointRecord, Record, WarningRecord};
use footplate_core::sink::RecordSink;

use super::{Checkpoint, CheckpointError, CheckpointStore};

/// A checkpoint on its way to the disk.
struct Job {
    checkpoint: Checkpoint,
    snapshot_ns: u64,
    /// Also keep it as the best model.
    best: bool,
}

/// What the thread says when it ends: how the last write went.
type LastWrite = Result<(), CheckpointError>;

/// The writing thread. One checkpoint is in memory at a time.
pub(crate) struct CheckpointWriter {
    jobs: Option<SyncSender<Job>>,
    busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<LastWrite>>,
}

impl CheckpointWriter {
    pub(crate) fn start(
        store: CheckpointStore,
        sink: RecordSink,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> std::io::Result<Self> {
        // A rendezvous: a job is accepted only when the thread is idle, so that memory holds one copy.
        let (jobs, receiver) = sync_channel(0);
        let busy = Arc::new(AtomicBool::new(false));
        let thread_busy = busy.clone();
        let thread = thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || write_all(&store, &receiver, &sink, clock.as_ref(), &thread_busy))?;
        Ok(Self { jobs: Some(jobs), busy, thread: Some(thread) })
    }

    /// Whether the thread has nothing to do: a checkpoint would be written at once.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    /// Hands over a checkpoint, waiting for the thread if it is busy.
    pub(crate) fn write(&self, checkpoint: Checkpoint, snapshot_ns: u64, best: bool) {
        if let Some(jobs) = &self.jobs {
            self.busy.store(true, Ordering::Release);
            // A thread that is gone is reported by `finish`.
            let _ = jobs.send(Job { checkpoint, snapshot_ns, best });
        }
    }

    /// Waits until all is on the disk, and tells how the last write went.
    pub(crate) fn finish(mut self) -> LastWrite {
        self.jobs = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(last)) => last,
            Some(Err(_)) => Err(CheckpointError::Malformed("the checkpoint thread panicked".into())),
            None => Ok(()),
        }
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(
    store: &CheckpointStore,
    jobs: &Receiver<Job>,
    sink: &RecordSink,
    clock: &dyn Clock,
    busy: &AtomicBool,
) -> LastWrite {
    let mut last = Ok(());
    while let Ok(job) = jobs.recv() {
        let step = job.checkpoint.progress.steps;
        last = write_one(store, job, sink, clock);
        if let Err(error) = &last {
            // Training goes on: the disk may have space again before the next checkpoint.
            let message = format!("no checkpoint at step {step}: {error}");
            sink.send(Record::Warning(WarningRecord { message }));
        }
        busy.store(false, Ordering::Release);
    }
    last
}

fn write_one(store: &CheckpointStore, job: Job, sink: &RecordSink, clock: &dyn Clock) -> LastWrite {
    let begun = clock.now_ns();
    let Job { mut checkpoint, snapshot_ns, best } = job;
    let (file, size) = store.write(&checkpoint)?;
    if best {
        checkpoint.optimizer.clear();
        store.write_best(&checkpoint)?;
    }
    let t_ns = clock.now_ns();
    sink.send(Record::Checkpoint(CheckpointRecord {
        t_ns,
        step: checkpoint.progress.steps,
        file,
        size_bytes: Bytes(size),
        snapshot_ns,
        write_ns: t_ns - begun,
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests take folders away")]

    use std::fs;
    use std::path::Path;

    use super::super::format::tests::small;
    use super::*;
    use crate::testing::TestClock;

    fn writer(folder: &Path) -> (CheckpointWriter, Receiver<Record>) {
        let (sink, records) = RecordSink::bounded();
        let clock = Arc::new(TestClock::ticking(1000));
        let store = CheckpointStore::create(folder).unwrap();
        (CheckpointWriter::start(store, sink, clock).unwrap(), records)
    }

    #[test]
    fn each_checkpoint_is_told_and_the_best_has_no_optimizer() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, records) = writer(folder.path());
        writer.write(small(), 42, false);
        writer.write(small(), 43, true);
        writer.finish().unwrap();
        let told: Vec<Record> = records.iter().collect();
        let [Record::Checkpoint(first), Record::Checkpoint(second)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((first.step, first.snapshot_ns, second.snapshot_ns), (7, 42, 43));
        let file = folder.path().join(&first.file);
        assert_eq!(first.size_bytes, Bytes(fs::metadata(file).unwrap().len()));
        assert!(first.write_ns > 0 && second.t_ns > first.t_ns);
        let best = CheckpointStore::open(folder.path()).best().unwrap().unwrap();
        assert!(best.optimizer.is_empty() && !best.model.is_empty());
    }

    /// The folder is gone for one checkpoint and there for the next: the run goes on, and only the last write counts.
    #[test]
    fn a_write_that_fails_is_told_and_the_next_may_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = folder.path().join("checkpoints");
        let (writer, records) = writer(&checkpoints);
        fs::remove_dir(&checkpoints).unwrap();
        writer.write(small(), 0, false);
        let told = records.recv().unwrap();
        let Record::Warning(warning) = &told else { panic!("{told:?}") };
        assert!(warning.message.starts_with("no checkpoint at step 7: cannot write "), "{}", warning.message);
        fs::create_dir(&checkpoints).unwrap();
        writer.write(small(), 0, false);
        writer.finish().unwrap();
        assert!(matches!(records.recv().unwrap(), Record::Checkpoint(_)));
    }

    #[test]
    fn a_last_write_that_fails_is_the_error_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = folder.path().join("checkpoints");
        let (writer, _records) = writer(&checkpoints);
        fs::remove_dir(&checkpoints).unwrap();
        writer.write(small(), 0, false);
        assert!(matches!(writer.finish(), Err(CheckpointError::Io { action: "write", .. })));
    }
}
