//! The listener: takes records from the training loop to the run log, the figures and the view.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use footplate_core::Record;
use footplate_core::summary::SummaryBuilder;

use crate::failure::{Failure, Kind};
use crate::live::Board;
use crate::run_store::LogWriter;
use crate::view::View;

/// What the listener has when the run is over, before the run's end itself is recorded.
pub(crate) struct Recorder {
    log: LogWriter,
    view: View,
    board: Arc<Board>,
    summary: SummaryBuilder,
}

impl Recorder {
    pub(crate) fn new(log: LogWriter, view: View, board: Arc<Board>) -> Self {
        Self { log, view, board, summary: SummaryBuilder::default() }
    }

    /// Records one thing.
    pub(crate) fn record(&mut self, record: &Record) {
        self.log.write(record);
        self.summary.push(record);
        self.board.push(record);
        let view = &mut self.view;
        self.board.look(|state, _, _| view.show(record, state));
    }

    /// Listens on a thread of its own until all senders are gone.
    pub(crate) fn listen(mut self, records: Receiver<Record>) -> Result<JoinHandle<Self>, Failure> {
        let listen = move || {
            for record in records {
                self.record(&record);
            }
            self
        };
        thread::Builder::new()
            .name("recorder".into())
            .spawn(listen)
            .map_err(|e| Failure::new(Kind::Machine, format!("cannot start a thread: {e}")))
    }

    /// The figures so far.
    pub(crate) fn figures(&self) -> &SummaryBuilder {
        &self.summary
    }

    /// Closes the log and gives the figures, and the error if the log is not complete.
    pub(crate) fn finish(self) -> (SummaryBuilder, Result<(), Failure>) {
        (self.summary, self.log.finish())
    }
}
