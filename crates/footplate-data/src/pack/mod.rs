//! Makes indexed shards from any data set of images.

pub(crate) mod index;
