//! The place of a sample's pixels in a minibatch, and their layout.
//!
//! Every layout holds the same pixels: normalised numbers are computed from the rounded bytes, so that bytes which a device
//! normalises with [`Normalize::scale_shift`] give the same f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::augment::Normalize;

/// Memory for the pixels of one sample: its place in a minibatch.
#[derive(Debug)]
pub enum PixelSink<'a> {
    /// `height * width * 3` bytes, row by row, with a pixel's red, green and blue together.
    U8Nhwc(&'a mut [u8]),
    /// Three planes (red, green, blue) of `height * width` normalised numbers.
    F32Nchw {
        /// `3 * height * width` values, plane by plane.
        out: &'a mut [f32],
        /// The scaling of pixels, by channel.
        normalize: &'a Normalize,
    },
    /// As [`PixelSink::F32Nchw`], each number rounded to half precision.
    F16Nchw {
        /// `3 * height * width` values, plane by plane.
        out: &'a mut [f16],
        /// The scaling of pixels, by channel.
        normalize: &'a Normalize,
    },
}

impl PixelSink<'_> {
    /// Number of values that it takes: three for each pixel.
    pub(crate) fn values(&self) -> usize {
        match self {
            Self::U8Nhwc(out) => out.len(),
            Self::F32Nchw { out, .. } => out.len(),
            Self::F16Nchw { out, .. } => out.len(),
        }
    }

    /// A sink to the same memory, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> PixelSink<'_> {
        match self {
            Self::U8Nhwc(out) => PixelSink::U8Nhwc(out),
            Self::F32Nchw { out, normalize } => PixelSink::F32Nchw { out, normalize },
            Self::F16Nchw { out, normalize } => PixelSink::F16Nchw { out, normalize },
        }
    }

    /// Writes an image of `size * size` RGB pixels.
    pub(crate) fn put(self, pixels: &[u8], size: usize) {
        match self {
            Self::U8Nhwc(out) => out.copy_from_slice(pixels),
            Self::F32Nchw { out, normalize } => normalize.nhwc_u8_to_nchw_f32(pixels, size, out),
            Self::F16Nchw { out, normalize } => halves(pixels, size, normalize, out),
        }
    }
}

/// Pixels that are converted at once, in a buffer on the stack.
const CHUNK: usize = 256;

fn halves(pixels: &[u8], size: usize, normalize: &Normalize, out: &mut [f16]) {
    let mut numbers = [0.0; CHUNK];
    for (channel, plane) in out.chunks_exact_mut((size * size).max(1)).enumerate().take(3) {
        let (scale, shift) = normalize.scale_shift(channel);
        for (to, from) in plane.chunks_mut(CHUNK).zip(pixels.chunks(CHUNK * 3)) {
            for (number, pixel) in numbers.iter_mut().zip(from.as_chunks::<3>().0) {
                *number = f32::from(pixel[channel]) * scale - shift;
            }
            to.convert_from_f32_slice(&numbers[..to.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layouts_hold_the_same_pixels() {
        let size = 20;
        let pixels: Vec<u8> = (0..size * size * 3).map(|i| (i * 7) as u8).collect();
        let normalize = &Normalize::IMAGENET;
        let mut bytes = vec![0; pixels.len()];
        let mut floats = vec![0.0; pixels.len()];
        let mut halves = vec![f16::ZERO; pixels.len()];
        PixelSink::U8Nhwc(&mut bytes).put(&pixels, size);
        PixelSink::F32Nchw { out: &mut floats, normalize }.put(&pixels, size);
        PixelSink::F16Nchw { out: &mut halves, normalize }.put(&pixels, size);
        assert_eq!(bytes, pixels);
        for (i, (float, half)) in floats.iter().zip(&halves).enumerate() {
            let (channel, place) = (i / (size * size), i % (size * size));
            let (scale, shift) = normalize.scale_shift(channel);
            assert_eq!(*float, f32::from(bytes[place * 3 + channel]) * scale - shift);
            assert_eq!(*half, f16::from_f32(*float));
        }
    }

    #[test]
    fn a_sink_counts_its_values_and_can_be_borrowed_again() {
        let mut bytes = [0; 12];
        let mut sink = PixelSink::U8Nhwc(&mut bytes);
        assert_eq!(sink.values(), 12);
        sink.reborrow().put(&[5; 12], 2);
        sink.put(&[6; 12], 2);
        assert_eq!(bytes, [6; 12]);
        let normalize = &Normalize::IMAGENET;
        assert_eq!(PixelSink::F32Nchw { out: &mut [0.0; 27], normalize }.values(), 27);
        assert_eq!(PixelSink::F16Nchw { out: &mut [f16::ZERO; 3], normalize }.values(), 3);
    }
}
