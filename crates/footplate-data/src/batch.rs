//! Minibatches in host memory.

use half::f16;

use crate::pool::Pooled;
use crate::sample::BadSample;

/// How the pixels of a minibatch are laid out in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// Normalised f32, `[n, 3, h, w]`.
    F32Nchw,
    /// Normalised f16, `[n, 3, h, w]`.
    F16Nchw,
    /// Bytes from 0 to 255, `[n, h, w, 3]`, to be normalised on the device.
    U8Nhwc,
}

/// One minibatch in host memory.
#[derive(Debug)]
pub struct HostBatch {
    /// Its number in the pipeline's sequence, from 0.
    pub seq: u64,
    /// The epoch that it belongs to, from 0.
    pub epoch: u32,
    /// Its number in the epoch, from 0.
    pub batch: u64,
    /// Samples in it: the batch size, less in the last minibatch of an epoch, and less those in `bad`. It is 0 if all
    /// were bad.
    pub items: usize,
    /// The samples, one after the other.
    pub inputs: Inputs,
    /// The class of each item; empty for text.
    pub labels: Vec<i32>,
    /// Each item's number in the data set, from 0.
    pub indices: Vec<u64>,
    /// Samples that were left out, in the order of their places.
    pub bad: Vec<BadSample>,
    /// Worker time that it took.
    pub times: StageTimes,
}

/// The samples of a minibatch. The length of `data` is the product of `shape`.
#[derive(Debug)]
pub enum Inputs {
    /// Normalised images, `[n, 3, h, w]`.
    F32Nchw {
        /// The values in row-major order.
        data: Pooled<f32>,
        /// `[n, 3, h, w]`: samples, channels, height, width.
        shape: [usize; 4],
    },
    /// Normalised images in half precision, `[n, 3, h, w]`.
    F16Nchw {
        /// The values in row-major order.
        data: Pooled<f16>,
        /// `[n, 3, h, w]`: samples, channels, height, width.
        shape: [usize; 4],
    },
    /// Pixels, `[n, h, w, 3]`.
    U8Nhwc {
        /// The values in row-major order.
        data: Pooled<u8>,
        /// `[n, h, w, 3]`: samples, height, width, channels.
        shape: [usize; 4],
    },
    /// Characters as places in the vocabulary, `[n, sequence length + 1]`.
    Tokens {
        /// The values in row-major order.
        data: Pooled<i32>,
        /// `[n, sequence length + 1]`: windows, tokens.
        shape: [usize; 2],
    },
}

/// The time that threads spent on a minibatch, summed over the threads, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Reading bytes, in nanoseconds.
    pub fetch_ns: u64,
    /// Decoding, augmenting and collating, in nanoseconds.
    pub prep_ns: u64,
}
