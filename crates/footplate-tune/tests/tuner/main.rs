//! The tuner on jobs whose times and powers are formulas.

mod asked;
mod common;
mod faults;
mod formula;
mod own_loop;
mod replan;
mod search;
mod settings;
mod stalls;
mod transfer;
mod tune;
