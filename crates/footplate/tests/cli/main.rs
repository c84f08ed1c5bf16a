//! Runs of the program as users run it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests lay out files and look at what the program wrote"
)]

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
