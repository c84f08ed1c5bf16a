//! The live view: records to a state of bounded size, the state to a terminal's screen.

mod charts;
mod lines;
pub mod look;
pub mod recent;
pub mod screen;
pub mod series;
pub mod state;
pub mod text;

pub use look::Look;
pub use screen::{Moment, draw};
pub use state::{LiveState, Phase};
