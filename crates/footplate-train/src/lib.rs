//! Training on Burn: the only crate that names it.
//!
//! [`prepare()`] turns a [`JobRequest`] into a [`JobPlan`], in which everything is decided; [`JobPlan::build`] into a
//! [`PreparedRun`], which makes steps for whoever keeps the run. What happens is told through records, never printed;
//! where things are stored is decided by the caller, and what the machine has is an argument ([`Host`]).

mod auto_cache;
mod check;
pub mod checkpoint;
mod defaults;
pub mod device;
pub mod diagnose;
pub mod engine;
pub mod error;
mod evaluate;
mod feed;
#[cfg(feature = "vulkan")]
pub mod feed_cost;
pub mod feed_path;
#[cfg(feature = "vulkan")]
mod gpu;
mod host;
mod job;
#[cfg(feature = "autotune")]
pub mod kernels;
mod loader;
mod loss;
pub mod measure_step;
pub mod memory;
mod memory_planner;
pub mod model;
pub mod network;
mod optimizer;
mod params;
pub mod prepare;
mod prepared_run;
pub mod request;
mod run_context;
mod schedule;
pub mod settings;
mod step;
#[cfg(test)]
mod testing;
mod training_steps;
pub mod weights;

pub use error::TrainError;
pub use host::Host;
pub use job::Job;
pub use memory_planner::MemoryPlanner;
pub use prepare::{JobPlan, OpenJob, Preparing, ResumeRequest, prepare, resume};
pub use prepared_run::PreparedRun;
pub use request::JobRequest;
pub use run_context::RunContext;
