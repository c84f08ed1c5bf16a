//! A sample that could not be used.

/// A sample that was left out of a minibatch or a shard because it is damaged or unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSample {
    /// Its number in the data set, from 0.
    pub index: u64,
    /// The path of its file, or its name in an archive.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}
