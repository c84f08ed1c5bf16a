//! The live view: records to a state of bounded size, the state to a terminal's screen.

mod ansi;
mod charts;
mod lines;
mod look;
mod notices;
mod recent;
mod replay;
mod screen;
mod series;
mod shared;
mod state;

pub use ansi::Ansi;
pub use look::Look;
pub use notices::{Notice, Notices};
pub use recent::Work;
pub use replay::Replay;
pub use screen::{Moment, draw};
pub use series::{Bucket, Series};
pub use shared::SharedState;
pub use state::{Curves, EnergySoFar, FORWARD_SHARE, LiveState, Phase};
