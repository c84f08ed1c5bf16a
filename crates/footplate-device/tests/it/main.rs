//! Behaviour of the machine's parts by themselves: facts, files, plans, controls, journal, presets, captures.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]

mod boards;
mod captures;
mod common;
mod controls;
mod discovery;
mod journal;
mod metering;
mod plans;
mod presets;
mod roots;
mod wanted;
