//! Why a tune has no result, why an answer is not taken, and why a record is lost.

use footplate_core::ports::{ControlError, WorkError};
use thiserror::Error;

use crate::profiler::ProfileError;

/// Why there is no result.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TuneError {
    /// The goal needs power and the machine tells none.
    #[error("the goal needs a power sensor for the whole board: {reason}")]
    NoPower {
        /// What the sensors said.
        reason: String,
    },
    /// There is nothing to choose between.
    #[error("no mode can be set: {reason}")]
    NothingToSet {
        /// What the controls said, or how many settings were tried.
        reason: String,
    },
    /// Nothing could be set any more, or the job gave no steps.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The user asked to stop; what was measured was kept.
    #[error("interrupted after {profiles} profiles")]
    Interrupted {
        /// Settings that were measured until then.
        profiles: usize,
    },
    /// A measurement is lost.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// No setting holds the limits: the result of the search says which comes closest.
    #[error("no mode holds the limits")]
    Infeasible,
    /// The choice was measured and cannot be set any more.
    #[error("the chosen mode cannot be set: {0}")]
    ChoiceNotSet(ControlError),
    /// The ports gave an answer that cannot be.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl TuneError {
    /// Whether the job had no steps left before anything was measured.
    pub fn is_end_of_job(&self) -> bool {
        matches!(self, Self::Profile(ProfileError::Work(WorkError::Finished)))
    }
}

/// Why a record is lost, in the words of whoever should have kept it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a record cannot be kept: {reason}")]
pub struct NotKept {
    /// What went wrong, with the file or the peer.
    pub reason: String,
}

/// Why an answer was not taken. The tuner is as it was: the same ask stands, and another answer may follow.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AnswerError {
    /// Nothing is asked: each answer is preceded by a call of `next`.
    #[error("nothing is asked: call next before the answer")]
    NothingAsked,
    /// [`Ask::Done`](super::Ask::Done) was given: the conversation is over.
    #[error("the tuner has ended: it takes no more answers")]
    Ended,
    /// It is an answer to something else.
    #[error("{answer} is no answer to {ask}")]
    Unexpected {
        /// Name of the open ask.
        ask: &'static str,
        /// Name of the answer.
        answer: &'static str,
    },
    /// A step that took no time, or that ends before the one ahead of it.
    #[error("these steps cannot be: {reason}")]
    Steps {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A reading that is no number.
    #[error("{quantity} of the window is {value}, which cannot be")]
    Reading {
        /// Name of the quantity.
        quantity: &'static str,
        /// Its value as text.
        value: String,
    },
}
