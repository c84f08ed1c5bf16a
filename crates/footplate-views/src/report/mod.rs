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
mod html;
mod machine;
mod page;
mod plot;
mod settings;
mod thin;
mod totals;
mod tuned;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::compare::compare;
pub use self::gather::{Gather, RunView};
pub use self::page::page;
