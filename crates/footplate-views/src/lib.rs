//! What people look at: each view is a pure function of the run log's records.
//!
//! Records go in; a terminal's screen, Prometheus text or a page come out. Files, the clock and the terminal belong
//! to the app. What a live run shows, its finished log shows too.

pub mod live;
pub mod measured;
pub mod metrics;
pub mod plain;
pub mod report;
mod spread;
pub mod summary;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
