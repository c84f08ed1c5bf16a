//! Why a run, or something about its folder, failed.

use std::io;
use std::path::{Path, PathBuf};

use footplate_core::ports::ControlError;
use footplate_device::DeviceError;
use footplate_tune::goal::GoalError;
use footplate_tune::tuner::TuneError;
use thiserror::Error;

/// What kind of problem it is, as far as a program that called needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A fault in this program.
    Internal,
    /// A request that makes no sense.
    Usage,
    /// Files whose content cannot be used.
    Data,
    /// A device, a permission or storage that is not to be had.
    Machine,
    /// No setting holds the limits.
    Infeasible,
    /// The user asked to stop.
    Interrupted,
}

/// Why a run, or something about its folder, failed. The text says what happened; what helps is the caller's to say.
#[derive(Debug, Error)]
pub enum RunError {
    /// The system refused something about a file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, such as "read".
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The folder for a new run holds one already.
    #[error("{} already holds a run", folder.display())]
    HoldsARun {
        /// The folder that was named.
        folder: PathBuf,
    },
    /// The folder is there and no run is in it.
    #[error("{} is not a run: it holds no {missing}", folder.display())]
    NotARun {
        /// The folder that was named.
        folder: PathBuf,
        /// The file that makes it one.
        missing: &'static str,
    },
    /// The folder is not there.
    #[error("there is no run {}", folder.display())]
    NoRun {
        /// The folder that was named.
        folder: PathBuf,
    },
    /// A file's content is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        problem: String,
    },
    /// A newer program wrote the run log.
    #[error("{}, line {line}: {problem}", path.display())]
    NewerLog {
        /// The run log that was read.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// Which version it is, and which can be read.
        problem: String,
    },
    /// A table of measured modes cannot be used.
    #[error("{}: {problem}", path.display())]
    Table {
        /// The table that was read.
        path: PathBuf,
        /// What is wrong with it, with its line.
        problem: String,
    },
    /// Another process runs the study.
    #[error("another process runs a study in {}", folder.display())]
    StudyHeld {
        /// The folder of the study, which another process holds.
        folder: PathBuf,
    },
    /// A study names data that is not there.
    #[error("there is no data at {}", path.display())]
    NoData {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something cannot be written as TOML or JSON: a fault in this program.
    #[error("{0}")]
    Encoding(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A mode that was asked for cannot be had.
    #[error("{0}")]
    Mode(String),
    /// The job on the machine failed.
    #[error("{0}")]
    Work(String),
    /// There is no simulated board of this name.
    #[error("{0}")]
    NoBoard(DeviceError),
    /// No simulated board has a job for this model.
    #[error("there is no model `{model}` on a simulated board")]
    NoSimulatedJob {
        /// The name that simulated boards do not know.
        model: String,
    },
    /// A goal whose numbers make no sense.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// A tune has no result.
    #[error("{error}")]
    Tune {
        /// Why it ended without a choice.
        error: TuneError,
        /// Where its measurements are kept, if the user named a folder.
        records: Option<PathBuf>,
    },
    /// No setting holds the limits. The run so far is kept.
    #[error("{refusal}")]
    Infeasible {
        /// What comes closest, and a budget that would do.
        refusal: String,
    },
    /// The chosen mode cannot be set for good.
    #[error("the choice cannot be set: {0}")]
    ChoiceNotKept(ControlError),
    /// The mode of before could not be put back: the machine is in another.
    #[error("the mode that was set before is not back: {0}")]
    NotRestored(ControlError),
    /// The recorder's thread panicked.
    #[error("the thread that keeps the run log panicked")]
    RecorderPanicked,
    /// The machine's controls, sensors or journal refused.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A mode could not be set.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl RunError {
    /// The system refused `action` on `path`.
    pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData => ErrorKind::Data,
                _ => ErrorKind::Machine,
            },
            Self::HoldsARun { .. }
            | Self::StudyHeld { .. }
            | Self::Mode(_)
            | Self::NoBoard(_)
            | Self::NoSimulatedJob { .. }
            | Self::Goal(_) => ErrorKind::Usage,
            Self::NotARun { .. }
            | Self::NoRun { .. }
            | Self::Content { .. }
            | Self::NewerLog { .. }
            | Self::Table { .. }
            | Self::NoData { .. } => ErrorKind::Data,
            Self::Device(error) => match error {
                DeviceError::Content { .. }
                | DeviceError::Capture { .. }
                | DeviceError::OtherBoard { .. } => ErrorKind::Data,
                _ if error.is_absent() => ErrorKind::Data,
                _ => ErrorKind::Machine,
            },
            Self::Tune { error, .. } => match error {
                TuneError::Interrupted { .. } => ErrorKind::Interrupted,
                TuneError::Infeasible => ErrorKind::Infeasible,
                _ => ErrorKind::Machine,
            },
            Self::Infeasible { .. } => ErrorKind::Infeasible,
            Self::Thread(_) | Self::Control(_) | Self::ChoiceNotKept(_) | Self::NotRestored(_) => {
                ErrorKind::Machine
            }
            Self::Encoding(_) | Self::Work(_) | Self::RecorderPanicked => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_machines_and_a_missing_file_the_datas() {
        let kind = |error: io::ErrorKind| RunError::file("write", Path::new("x"))(error.into()).kind();
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::Machine);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), ErrorKind::Machine);
        assert_eq!(kind(io::ErrorKind::NotFound), ErrorKind::Data);
    }

    #[test]
    fn a_text_names_the_file_and_what_was_tried() {
        let error =
            RunError::file("open", Path::new("runs/a/run.toml"))(io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.to_string(), "cannot open runs/a/run.toml: permission denied");
    }
}
