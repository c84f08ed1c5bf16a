//! What can go wrong with a machine's control files, always with the path.

use std::io;

use footplate_core::Reading;
use footplate_core::ports::ControlError;

/// A node of the machine that could not be read or written, or that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The system refused to read, write or list a node.
    #[error("cannot {action} {path}: {}", told(.source))]
    Node {
        /// `read`, `write VALUE to`, `list`.
        action: String,
        /// The node, as seen from the root.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node holds something unexpected.
    #[error("{path} holds {found:?} instead of {expected}")]
    Content {
        /// The node, as seen from the root.
        path: String,
        /// The beginning of what it holds.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A captured tree's text is not one.
    #[error("{file}, line {line}: {problem}")]
    Capture {
        /// The file or archive of the capture.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Another living process has the controls.
    #[error("the controls are held by process {owner} ({path})")]
    Held {
        /// The lock's file, in the folder of the journal.
        path: String,
        /// The process that holds it.
        owner: String,
    },
    /// A dead process's journal is still there: whoever sets more would lose what was set before it.
    #[error("a dead process's settings were not put back: setting more would lose what was before it")]
    Stale {
        /// The process that made the change.
        owner_pid: u32,
        /// The board that it made it on.
        board: String,
    },
    /// The journal was written on another board: its values mean nothing here.
    #[error("the journal is of a {journal}, this machine is a {machine}")]
    OtherBoard {
        /// The board of the journal.
        journal: String,
        /// The board that this machine is.
        machine: String,
    },
    /// A control could not be written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Anything else, told in full.
    #[error("{0}")]
    Other(String),
}

/// An error of the system without Rust's "(os error N)".
pub(crate) fn told(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

impl DeviceError {
    /// What the system said, if it was the system.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Node { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether there is no such node.
    pub fn is_absent(&self) -> bool {
        self.io().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        })
    }

    /// Whether it is for want of permission.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Control(error) => error.permission,
            _ => self.io().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied),
        }
    }

    /// The reading that a failed read stands for.
    pub fn into_reading<T>(self) -> Reading<T> {
        if self.is_absent() { Reading::Absent } else { Reading::unreadable(self) }
    }
}

/// A result as a reading: no such node is absent, any other failure unreadable.
pub(crate) fn reading<T>(result: Result<T, DeviceError>) -> Reading<T> {
    match result {
        Ok(value) => Reading::Value(value),
        Err(error) => error.into_reading(),
    }
}
