//! Training on Burn: the only crate that names it.
//!
//! A [`Job`] is a run that is ready to start; [`engine::run`] is the loop. What happens is told through
//! [`records::RecordSink`], never printed; where things are stored is decided by the caller.

pub mod checkpoint;
pub mod device;
pub mod diagnose;
pub mod engine;
pub mod error;
mod evaluate;
pub mod feed;
#[cfg(feature = "vulkan")]
pub mod feed_cost;
#[cfg(feature = "vulkan")]
mod gpu;
pub mod job;
#[cfg(feature = "autotune")]
pub mod kernels;
mod loss;
pub mod memory;
pub mod model;
mod optimizer;
pub mod params;
pub mod probe;
pub mod records;
mod schedule;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod weights;
pub mod workload;

pub use error::TrainError;
pub use job::{Job, MemoryPlanner};
