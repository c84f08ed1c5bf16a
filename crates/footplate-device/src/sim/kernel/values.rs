//! Numbers as the kernel reads and rounds them, and entries of tables.

use std::io;

use super::{Limits, errno, fault};

/// A stock mode's limits on a table.
pub(super) fn limits(table: &[u64], mode: Option<(u64, Option<u64>)>) -> Limits {
    let (min, max) = mode.unwrap_or((0, None));
    let max = max.map_or(last(table), |max| at_most(table, max));
    Limits { min: at_least(table, min).min(max), max }
}

pub(super) fn first(table: &[u64]) -> u64 {
    table.first().copied().unwrap_or(0)
}

pub(super) fn last(table: &[u64]) -> u64 {
    table.last().copied().unwrap_or(0)
}

/// The largest entry that is not above `value`, or the first.
pub(super) fn at_most(table: &[u64], value: u64) -> u64 {
    table.iter().rev().find(|entry| **entry <= value).copied().unwrap_or(first(table))
}

/// The smallest entry that is not below `value`, or the last.
pub(super) fn at_least(table: &[u64], value: u64) -> u64 {
    table.iter().find(|entry| **entry >= value).copied().unwrap_or(last(table))
}

/// The entry that many steps below the highest.
pub(super) fn throttled(table: &[u64], steps: usize) -> u64 {
    table.iter().rev().nth(steps.min(table.len().saturating_sub(1))).copied().unwrap_or(0)
}

pub(super) fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| fault(errno::EINVAL))
}

/// A switch as the kernel reads it (`strtobool`).
pub(super) fn truth(text: &str) -> io::Result<bool> {
    match text.as_bytes() {
        [b'1' | b'y' | b'Y', ..] | [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'0' | b'n' | b'N', ..] | [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(fault(errno::EINVAL)),
    }
}
