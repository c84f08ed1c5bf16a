//! Where a sample's pixels go, and in which layout.
//!
//! Every layout holds the same pixels: normalised numbers are made from the rounded bytes, so that bytes which a
//! device normalises with [`Normalize::scale_shift`] give the same f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::augment::Normalize;
use crate::decode::DecodeError;

/// Where a sample's pixels go: its place in a minibatch.
#[derive(Debug)]
pub enum Output<'a> {
    /// `height * width * 3` bytes.
    U8Nhwc(&'a mut [u8]),
    /// Three planes of `height * width` normalised numbers.
    F32Nchw {
        /// The planes.
        out: &'a mut [f32],
        /// How pixels become numbers.
        normalize: &'a Normalize,
    },
    /// The same, each number rounded to half precision.
    F16Nchw {
        /// The planes.
        out: &'a mut [f16],
        /// How pixels become numbers.
        normalize: &'a Normalize,
    },
}

impl Output<'_> {
    /// Whether it holds an image of `size * size` pixels.
    pub(super) fn check(&self, size: usize) -> Result<(), DecodeError> {
        let length = match self {
            Self::U8Nhwc(out) => out.len(),
            Self::F32Nchw { out, .. } => out.len(),
            Self::F16Nchw { out, .. } => out.len(),
        };
        if length == size * size * 3 {
            return Ok(());
        }
        let reason = format!("{length} values of output for {size} x {size} pixels");
        Err(DecodeError::Damaged { reason })
    }

    /// The same place once more.
    pub(super) fn again(&mut self) -> Output<'_> {
        match self {
            Self::U8Nhwc(out) => Output::U8Nhwc(out),
            Self::F32Nchw { out, normalize } => Output::F32Nchw { out, normalize },
            Self::F16Nchw { out, normalize } => Output::F16Nchw { out, normalize },
        }
    }

    /// Writes an image of `size * size` RGB pixels.
    pub(super) fn put(self, pixels: &[u8], size: usize) {
        match self {
            Self::U8Nhwc(out) => out.copy_from_slice(pixels),
            Self::F32Nchw { out, normalize } => normalize.nhwc_u8_to_nchw_f32(pixels, size, out),
            Self::F16Nchw { out, normalize } => halves(pixels, size, normalize, out),
        }
    }
}

/// Pixels that are converted at a time: a buffer on the stack.
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
        Output::U8Nhwc(&mut bytes).put(&pixels, size);
        Output::F32Nchw { out: &mut floats, normalize }.put(&pixels, size);
        Output::F16Nchw { out: &mut halves, normalize }.put(&pixels, size);
        assert_eq!(bytes, pixels);
        for (i, (float, half)) in floats.iter().zip(&halves).enumerate() {
            let (channel, place) = (i / (size * size), i % (size * size));
            let (scale, shift) = normalize.scale_shift(channel);
            assert_eq!(*float, f32::from(bytes[place * 3 + channel]) * scale - shift);
            assert_eq!(*half, f16::from_f32(*float));
        }
    }

    #[test]
    fn an_output_of_another_size_is_refused() {
        assert!(Output::U8Nhwc(&mut [0; 12]).check(2).is_ok());
        assert!(Output::U8Nhwc(&mut [0; 12]).check(3).is_err());
    }
}
