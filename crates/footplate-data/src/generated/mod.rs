//! The embedded data set.
