//! The tuner on jobs whose times and powers are formulas.

mod asked;
mod common;
mod formula;
mod replan;
mod search;
mod stalls;
mod transfer;
mod tune;
