//! The machine: which board it is, which knobs and rails it has, and how they are set and put back.
//!
//! This is the only crate that opens control files of the machine. Every path goes through a [`Root`]: the
//! running system, a captured tree, or a simulated board.

pub mod board;
pub mod capture;
pub mod control;
pub mod discover;
pub mod doctor;
pub mod error;
pub mod guard;
pub mod knob;
pub mod memory_tree;
pub mod meter;
mod nvml_tree;
pub mod nvpmodel;
pub mod parse;
pub mod preset;
pub mod rail;
pub mod report;
pub mod root;
pub mod settable;
pub mod sim;
pub mod state_now;
pub mod throttle;

pub use board::BoardFacts;
pub use discover::Device;
pub use error::DeviceError;
pub use root::{Probe, Root, Source, Tree};
