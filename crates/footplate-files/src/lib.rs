//! Files that survive crashes: [`whole`] files appear complete or not at all, [`append`] logs lose at most a torn last
//! line, and a [`lock`] is given up by the kernel however its owner ends.
//!
//! What is in the files is not known here.

pub mod append;
pub mod lock;
pub mod whole;
