//! A value that a machine may or may not give: absent, unreadable and zero are three different things.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of trying to read a quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// It was measured.
    Value(T),
    /// This machine has no such source. Shown as "-".
    Absent,
    /// The source is there and could not be read. Shown as "x".
    Unreadable {
        /// Why, in the words of the system.
        reason: String,
    },
}

impl<T> Reading<T> {
    /// The measured value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable { .. } => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Absent => f.pad("-"),
            Self::Unreadable { .. } => f.pad("x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Joules;

    #[test]
    fn absent_unreadable_and_zero_look_different() {
        let unreadable = Reading::<Joules>::Unreadable { reason: "permission denied".into() };
        let shown = [Reading::Value(Joules(0.0)), Reading::Absent, unreadable].map(|r| r.to_string());
        assert_eq!(shown, ["0.0 J", "-", "x"]);
    }
}
