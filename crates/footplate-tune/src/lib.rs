//! Profiles a few settings of a machine, predicts all of them, chooses one under a budget, and verifies it.
//!
//! This crate does no I/O, starts no thread, and reads no clock or random source that it was not given: it
//! works through the ports of `footplate_core::ports`.

pub mod choose;
pub mod drift;
pub mod drive;
pub mod evaluate;
pub mod goal;
mod normal;
pub mod pareto;
pub mod plan;
pub mod predict;
pub mod profiler;
pub mod records;
pub mod rng;
pub mod setting;
pub mod tuner;
pub mod window;

pub use setting::{Knob, Knobs, Setting};
