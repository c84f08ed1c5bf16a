//! Takes records from whoever makes them to the run log, the summary and the listener.
#![expect(clippy::disallowed_types, reason = "a thread of its own keeps the log")]

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use footplate_core::Record;
use footplate_core::summary::SummaryBuilder;

use crate::error::RunError;
use crate::listener::Listener;
use crate::log_writer::LogWriter;

/// Takes records to the run log, the summary and the listener.
pub struct Recorder {
    log: LogWriter,
    listener: Arc<dyn Listener>,
    summary: SummaryBuilder,
}

impl Recorder {
    /// Records into `log`; `listener` hears of each record after it was written.
    pub fn new(log: LogWriter, listener: Arc<dyn Listener>) -> Self {
        Self { log, listener, summary: SummaryBuilder::default() }
    }

    /// Appends a record to the log and gives it to the summary and the listener.
    pub fn record(&mut self, record: &Record) {
        self.log.write(record);
        self.summary.push(record);
        self.listener.record(record);
    }

    /// Takes records from a queue, on a thread of its own, until all its senders are gone.
    pub fn listen(mut self, records: Receiver<Record>) -> Result<JoinHandle<Self>, RunError> {
        let listen = move || {
            for record in records {
                self.record(&record);
            }
            self
        };
        thread::Builder::new().name("recorder".into()).spawn(listen).map_err(RunError::Thread)
    }

    /// The summary so far.
    pub fn figures(&self) -> &SummaryBuilder {
        &self.summary
    }

    /// Closes the log and gives the summary, and the error if the log is not complete.
    pub fn finish(self) -> (SummaryBuilder, Result<(), RunError>) {
        (self.summary, self.log.finish())
    }
}
