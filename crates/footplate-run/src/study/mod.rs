//! Studies: grids of settings, one run each, which are compared. `docs/characterize.md` describes their file.

pub mod cells;
pub mod file;
pub mod folder;
pub mod simulated;
