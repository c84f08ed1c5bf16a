//! Appends records to a run log.

use std::io;
use std::path::{Path, PathBuf};

use footplate_core::{Record, runlog};
use footplate_files::append::{self, AppendLog};

use crate::SharedClock;
use crate::error::RunError;

/// Minibatches wait in memory for at most this long before they are handed to the system.
const FLUSH_EVERY_NS: u64 = 1_000_000_000;
/// More than this is never held in memory.
const BUFFER_BYTES: usize = 64 << 10;

/// Appends records to a run log. A disk that refuses does not end the training: the first error is kept for
/// [`LogWriter::finish`].
pub struct LogWriter {
    path: PathBuf,
    log: AppendLog,
    buffer: Vec<u8>,
    clock: SharedClock,
    flushed_ns: u64,
    failed: Option<io::Error>,
}

impl LogWriter {
    /// Opens a log to append to it, after cutting off what a crash left of a last line.
    pub fn open(path: &Path, clock: SharedClock) -> Result<Self, RunError> {
        let log = AppendLog::open(path, append::whole_lines).map_err(RunError::file("open", path))?;
        let flushed_ns = clock.now_ns();
        Ok(Self { path: path.to_owned(), log, buffer: Vec::new(), clock, flushed_ns, failed: None })
    }

    /// Appends one record. Minibatches may wait a second in memory; everything else goes out at once.
    pub fn write(&mut self, record: &Record) {
        match runlog::encode(record) {
            Ok(line) => self.buffer.extend_from_slice(line.as_bytes()),
            Err(error) => self.failed = Some(io::Error::other(error)),
        }
        let urgent = !matches!(record, Record::Minibatch(_));
        let waited_ns = self.clock.now_ns().saturating_sub(self.flushed_ns);
        if urgent || self.buffer.len() > BUFFER_BYTES || waited_ns >= FLUSH_EVERY_NS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flushed_ns = self.clock.now_ns();
        if let Err(error) = self.log.append(&self.buffer) {
            self.failed.get_or_insert(error);
        }
        self.buffer.clear();
    }

    /// Writes what is left, and gives the first error of all.
    pub fn finish(mut self) -> Result<(), RunError> {
        self.flush();
        if let Err(error) = self.log.sync() {
            self.failed.get_or_insert(error);
        }
        self.failed.map_or(Ok(()), |error| Err(RunError::file("write", &self.path)(error)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]
    use super::*;
    use crate::testing::{ManualClock, minibatch, warning};
    use footplate_core::ports::Clock;

    /// Records that are in the file while the writer is open.
    fn there(path: &Path) -> usize {
        runlog::decode_all(&std::fs::read(path).unwrap()).records.len()
    }

    #[test]
    fn minibatches_wait_a_second_and_everything_else_goes_out_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let clock = ManualClock::shared();
        let mut log = LogWriter::open(&path, clock.clone()).unwrap();
        log.write(&minibatch(0));
        log.write(&minibatch(1));
        assert_eq!(there(&path), 0);
        clock.wait_ns(FLUSH_EVERY_NS);
        log.write(&minibatch(2));
        assert_eq!(there(&path), 3);
        log.write(&minibatch(3));
        assert_eq!(there(&path), 3);
        log.write(&warning("now"));
        assert_eq!(there(&path), 5);
        log.write(&minibatch(4));
        log.finish().unwrap();
        assert_eq!(there(&path), 6);
    }

    #[test]
    fn no_more_than_the_buffer_is_held_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogWriter::open(&path, ManualClock::shared()).unwrap();
        let line = runlog::encode(&minibatch(0)).unwrap().len();
        (0..).take(BUFFER_BYTES / line + 2).for_each(|step| log.write(&minibatch(step)));
        assert!(there(&path) > 0);
        assert!(log.buffer.len() <= BUFFER_BYTES);
    }

    #[test]
    fn a_log_that_cannot_be_opened_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = LogWriter::open(&folder.path().join("no/such/log"), ManualClock::shared()).err().unwrap();
        assert!(error.to_string().starts_with("cannot open "), "{error}");
    }
}
