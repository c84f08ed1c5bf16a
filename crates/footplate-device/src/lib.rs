//! The machine: which board it is, which knobs and rails it has, and how they are set and put back.
//!
//! This is the only crate that opens control files of the machine. Every path goes through a [`Root`]: the
//! running system, a captured tree, or a simulated board.
//!
//! Begin with [`Machine`], which has everything that a tuner needs in one. Below it, [`Device`] says what there is,
//! [`Control`] sets modes and puts them back, [`Meter`] measures power, and [`Guard`] keeps the journal of what was set
//! before. [`SimBoard`] is a whole board without the hardware.
//!
//! | to know | look at |
//! |---|---|
//! | which board this is, and what it has | [`discover`], [`board`] for its facts, [`report`] and [`state_now`] for its present state |
//! | which writes a mode takes | [`knob`], [`wanted`] for clocks that are about right, [`preset`] and [`nvpmodel`] for the vendor's modes |
//! | how modes are set and put back | [`control`], [`guard`] |
//! | what it draws, and whether it throttles | [`meter`], [`rail`] |
//! | what would stop or slow a run | [`doctor`] |
//! | how a machine is recorded and simulated | [`capture`], [`memory_tree`], [`sim`] |

pub mod board;
pub mod capture;
mod clock;
pub mod control;
pub mod discover;
pub mod doctor;
mod error;
pub mod guard;
pub mod host;
pub mod knob;
pub mod machine;
pub mod memory_tree;
pub mod meter;
mod nvml;
mod nvml_tree;
pub mod nvpmodel;
pub mod parse;
mod perform;
pub mod preset;
pub mod rail;
pub mod report;
mod root;
mod settable;
pub mod sim;
pub mod state_now;
mod throttle;
mod tree;
pub mod wanted;

pub use board::BoardFacts;
pub use clock::RealClock;
pub use control::Control;
pub use discover::Device;
pub use error::DeviceError;
pub use guard::Guard;
pub use machine::Machine;
pub use meter::Meter;
pub use preset::Presets;
pub use root::{Root, Source};
pub use sim::SimBoard;
pub use tree::{Probe, Tree};
