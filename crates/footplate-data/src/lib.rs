//! Bytes to host minibatches: sources, decode, augmentation, and a pipeline that is parallel, ordered and
//! bounded.
//!
//! Order and pixels are a pure function of (seed, epoch, index), whatever the number of workers. The stages
//! `source → decode → augment → collate` stand behind [`Pipeline`]; callers see [`HostBatch`]es only.

pub mod atomic_file;
pub mod augment;
mod auto;
mod batch;
mod cache;
pub mod cpu_time;
mod dataset;
pub mod decode;
mod error;
pub mod generated;
mod order;
pub mod pack;
mod parts;
mod pipeline;
mod pool;
pub mod probe;
pub mod rng;
mod source;
mod split;
pub mod stall;
mod text;
pub mod transform;

pub use augment::Normalize;
pub use auto::Setting;
pub use batch::{BadSample, HostBatch, Inputs, LoaderSettings, PixelLayout, StageTimes};
pub use cache::{CacheSettings, CacheStats};
pub use dataset::{Dataset, Format, ImageDataset, OpenOptions, Split, open};
pub use error::DataError;
pub use pipeline::{Pipeline, Position};
pub use pool::{Lender, Lent, Pooled};
pub use source::page_cache;
pub use text::TextDataset;
