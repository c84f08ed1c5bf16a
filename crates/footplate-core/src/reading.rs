//! A value that a machine may or may not give: absent, unreadable and zero are three different things.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of trying to read a quantity.
///
/// ```
/// use footplate_core::{Reading, Watts};
///
/// let rails = [Reading::Value(Watts(0.0)), Reading::Absent, Reading::unreadable("permission denied")];
/// // Zero is a value; what is absent is "-", and what cannot be read is "x".
/// assert_eq!(rails.each_ref().map(|rail| rail.to_string()), ["0.00 W", "-", "x"]);
/// // A computation keeps the difference.
/// let [idle, absent, refused] = rails.map(|rail| rail.map(|watts| Watts(watts.0 * 2.0)));
/// assert_eq!(idle.into_value(), Some(Watts(0.0)));
/// assert!(absent.is_absent());
/// assert_eq!(refused.reason(), Some("permission denied"));
/// ```
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
    /// A source that is there and could not be read, with the reason in the words of the system.
    pub fn unreadable(reason: impl fmt::Display) -> Self {
        Self::Unreadable { reason: reason.to_string() }
    }

    /// The measured value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable { .. } => None,
        }
    }

    /// The measured value itself, if there is one.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable { .. } => None,
        }
    }

    /// The same reading of a borrowed value.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Self::Value(value) => Reading::Value(value),
            Self::Absent => Reading::Absent,
            Self::Unreadable { reason } => Reading::Unreadable { reason: reason.clone() },
        }
    }

    /// Computes with a measured value; absent and unreadable stay what they are.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        self.and_then(|value| Reading::Value(f(value)))
    }

    /// The same for a computation that may itself find nothing.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> Reading<U>) -> Reading<U> {
        match self {
            Self::Value(value) => f(value),
            Self::Absent => Reading::Absent,
            Self::Unreadable { reason } => Reading::Unreadable { reason },
        }
    }

    /// Whether this machine has no such source.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Why the source could not be read, if it is there and could not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Unreadable { reason } => Some(reason),
            Self::Value(_) | Self::Absent => None,
        }
    }
}

/// `None` is a source that is not there.
impl<T> From<Option<T>> for Reading<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }
}

/// An error is a source that is there and could not be read.
impl<T, E: fmt::Display> From<Result<T, E>> for Reading<T> {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(Self::unreadable, Self::Value)
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

    #[test]
    fn nothing_becomes_a_value_on_the_way_through_a_computation() {
        let double = |reading: Reading<i32>| reading.map(|n| 2 * n);
        assert_eq!(double(Reading::Value(0)), Reading::Value(0));
        assert_eq!(double(Reading::Absent), Reading::Absent);
        assert_eq!(double(Reading::unreadable("EIO")).reason(), Some("EIO"));
        let positive =
            |n: i32| if n > 0 { Reading::Value(n) } else { Reading::unreadable("too few samples") };
        assert_eq!(Reading::Value(3).and_then(positive).into_value(), Some(3));
        assert_eq!(Reading::Value(0).and_then(positive).reason(), Some("too few samples"));
        assert_eq!(Reading::Absent.and_then(positive).reason(), None);
    }

    #[test]
    fn options_and_results_become_readings() {
        assert!(Reading::from(None::<u8>).is_absent());
        assert_eq!(Reading::from(Some(0)), Reading::Value(0));
        assert_eq!(Reading::from("7".parse::<u8>()).value(), Some(&7));
        let refused = Err::<u8, _>(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(Reading::from(refused).reason(), Some("permission denied"));
    }
}
