//! The tuner on jobs whose times and powers are formulas.

mod common;
mod stalls;
mod transfer;
mod tune;
