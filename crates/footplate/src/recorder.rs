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

#[cfg(test)]
pub(crate) mod tests {
    use footplate_core::Bytes;
    use footplate_core::record::{MinibatchRecord, RunStart};

    pub(crate) fn start() -> RunStart {
        RunStart {
            started_at: "2026-11-24T10:00:00Z".into(),
            version: "0.1.0".into(),
            model: "lenet5".into(),
            device: "cpu (asked for)".into(),
            data: "64 images".into(),
            host: "linux aarch64, 6 cores".into(),
            parameters: 61_000,
            train_items: 64,
            validation_items: 16,
            batch_size: 32,
            epochs: 2,
            steps_per_epoch: 2,
            steps_total: 4,
            first_step: 0,
            planned_memory_bytes: Bytes(100 << 20),
            settings_toml: String::new(),
        }
    }

    pub(crate) fn minibatch(step: u64, step_ns: u64) -> MinibatchRecord {
        MinibatchRecord {
            t_ns: step_ns * (step + 1),
            epoch: 0,
            step,
            items: 32,
            fetch_ns: step_ns / 100,
            prep_ns: step_ns / 10,
            transfer_ns: 0,
            stall_ns: step_ns / 50,
            compute_ns: step_ns / 50 * 49,
            step_ns,
            learning_rate: 0.1,
            loss: Some(2.0),
            synced: true,
            copied_bytes: None,
            ingest_ns: None,
        }
    }
}
