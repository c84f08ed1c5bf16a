//! The live view: records to a state of bounded size, the state to a terminal's screen.

pub mod series;
