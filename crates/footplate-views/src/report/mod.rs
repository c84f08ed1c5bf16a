//! The report: a run's log as one HTML page, and several logs side by side.
//!
//! A page needs nothing from elsewhere: styles, script and charts are in it. Without the script everything can be read;
//! the script adds a cursor that shows values. `docs/report.md` says what stands where, and from what it is computed.

mod advice;
mod charts;
mod compare;
mod curves;
mod figures;
mod gather;
mod groups;
mod hardware;
mod html;
mod json;
mod log_data;
mod page;
mod plot;
mod settings;
mod thin;
mod totals;
mod tuned;

#[cfg(test)]
mod tests;

pub use self::compare::{DATA_FOLDER, compare, tell_storage_apart, title};
pub use self::gather::{Gather, NoRun};
pub use self::json::json;
pub use self::log_data::RunView;
pub use self::page::page;
