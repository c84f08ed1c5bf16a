//! A run from request to end, whatever makes its steps: its folder and log, the machine's log beside it, the mode that is
//! chosen for it, and studies of many runs.
//!
//! This crate prints nothing, reads no environment variable and no clock that it was not given. Who wants to hear of a
//! run implements [`Listener`].

pub mod error;
pub mod fault_script;
pub mod folder;
pub mod listener;
pub mod log_reader;
pub mod log_writer;
pub mod machine_log;
pub mod mode_request;
pub mod profile_recorder;
pub mod profile_store;
pub mod recorder;
pub mod run;
pub mod run_machine;
pub mod study;
#[cfg(test)]
mod testing;
pub mod tune_record;
pub mod tuned_run;
pub mod words;

use std::sync::Arc;

use footplate_core::ports::Clock;

pub use error::{ErrorKind, RunError};
pub use folder::{RunFile, RunFolder};
pub use listener::Listener;
pub use mode_request::ModeRequest;
pub use run::{Run, RunRequest};

/// A monotonic clock that several threads read.
pub type SharedClock = Arc<dyn Clock + Send + Sync>;
