//! The vocabulary of footplate: units, readings and the run log's records with their versioned format.
//!
//! This crate opens no file, starts no thread and reads no clock: everything in it is a value or a pure
//! function of values. The one exception to "pure" is [`sink`], a bounded queue between a loop and whoever keeps
//! what it says.

pub mod energy;
pub mod framed;
pub mod ports;
pub mod power_mode;
pub mod profile_table;
pub mod quantity;
pub mod random;
pub mod reading;
pub mod record;
pub mod runlog;
pub mod sink;
pub mod stats;
pub mod steps;
pub mod summary;
pub mod units;

pub use power_mode::{ModeSpace, PowerMode};
pub use reading::Reading;
pub use record::Record;
pub use units::{Bytes, Celsius, Hertz, Joules, Seconds, Share, Watts};
