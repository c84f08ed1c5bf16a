//! One file for each command.

pub(crate) mod completions;
pub(crate) mod export;
pub(crate) mod pack;
pub(crate) mod stalls;
pub(crate) mod train;
