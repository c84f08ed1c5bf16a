//! Runs of the program as users run it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod bad_input;
mod characterize;
mod help;
mod kernels;
mod live;
mod measure;
mod mode;
mod pack;
mod place;
mod report;
mod resume;
mod stalls;
mod train;
mod tune;
