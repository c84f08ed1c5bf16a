//! One file for each command.

pub(crate) mod completions;
pub(crate) mod device;
pub(crate) mod export;
pub(crate) mod measure;
pub(crate) mod mode;
pub(crate) mod train;
