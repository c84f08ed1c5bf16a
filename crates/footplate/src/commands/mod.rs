//! One file for each command.

pub(crate) mod characterize;
pub(crate) mod completions;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod kernels;
pub(crate) mod measure;
pub(crate) mod mode;
pub(crate) mod pack;
pub(crate) mod report;
pub(crate) mod stalls;
pub(crate) mod train;
pub(crate) mod tune;
pub(crate) mod watch;
