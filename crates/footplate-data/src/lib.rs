//! From files to minibatches in host memory: sources, decoding, augmentation, and a pipeline that is parallel, ordered and
//! bounded.
//!
//! [`open`] finds a data set on disk, and [`Dataset::from_images`] makes one of images that a program has in memory.
//! [`Pipeline`] makes minibatches ([`HostBatch`]) of it. The order of samples and their pixels are a pure function of (seed,
//! epoch, number of the sample), whatever the number of workers. [`pack`] writes a data set as shards that are read faster;
//! [`measure_rates`] and [`stall`] find out what limits a job.

pub mod augment;
mod auto;
mod batch;
mod cache;
pub mod cpu_time;
mod dataset;
pub mod decode;
mod error;
mod external_buffer;
mod format;
pub mod generated;
mod loader;
pub mod measure_rates;
mod order;
pub mod pack;
mod pack_marker;
mod pipeline;
mod pixel_sink;
mod pool;
pub mod rng;
mod sample;
mod shard_index;
mod shared_buffer;
mod source;
mod split;
pub mod stall;
mod text;
pub mod transform;

pub use augment::Normalize;
pub use auto::PipelineSize;
pub use batch::{HostBatch, Inputs, PixelLayout, StageTimes};
pub use cache::{CacheSettings, CacheStats};
pub use dataset::{Dataset, ImageDataset, OpenOptions, open};
pub use error::DataError;
pub use external_buffer::{BufferProvider, ExternalBuffer};
pub use format::{Format, UnknownFormatName};
pub use loader::LoaderSettings;
pub use pipeline::{Pipeline, Position};
pub use pool::Pooled;
pub use sample::BadSample;
pub use source::memory::{ImageData, MemoryImage};
pub use source::page_cache;
pub use split::Split;
pub use text::TextDataset;
