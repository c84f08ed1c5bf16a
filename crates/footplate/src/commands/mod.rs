//! One file for each command.

pub(crate) mod completions;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod train;
pub(crate) mod tune;
