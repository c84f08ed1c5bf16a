//! Converts rows of components to RGB, and writes them to a sample's place in a minibatch.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::header::Color;
use super::idct::WHOLE;
use super::simd::Simd;
use crate::augment::Normalize;
use crate::pixel_sink::PixelSink;

/// Red, green and blue from Y, Cb and Cr, by JFIF's conversion. All values are 0 at mid-gray.
#[inline(always)]
pub(super) fn rgb_of(luma: f32, blue: f32, red: f32) -> [f32; 3] {
    [luma + 1.402 * red, luma - 0.344_136_3 * blue - 0.714_136_3 * red, luma + 1.772 * blue]
}

/// Converts rows of components, whose values are 0 at mid-gray, to rows of whole levels from 0 to 255, in place: red, green
/// and blue, or gray in the first row. `overflow` is subtracted from the colours (see [`super::clipping`]).
#[inline(always)]
pub(super) fn levels(rows: &mut [Vec<f32>; 3], color: Color, overflow: Option<&[Vec<f32>; 3]>) {
    let [red, green, blue] = rows;
    if color == Color::Gray {
        red.iter_mut().for_each(|value| *value = level(*value));
        return;
    }
    let columns = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
    match (color == Color::Ycc, overflow) {
        (true, Some([too_red, too_green, too_blue])) => {
            for ((((r, g), b), too_red), (too_green, too_blue)) in
                columns.zip(too_red).zip(too_green.iter().zip(too_blue))
            {
                let rgb = rgb_of(*r, *g, *b);
                (*r, *g, *b) = (level(rgb[0] - too_red), level(rgb[1] - too_green), level(rgb[2] - too_blue));
            }
        }
        (true, None) => {
            for ((r, g), b) in columns {
                [*r, *g, *b] = rgb_of(*r, *g, *b).map(level);
            }
        }
        (false, _) => {
            for ((r, g), b) in columns {
                [*r, *g, *b] = [*r, *g, *b].map(level);
            }
        }
    }
}

/// Converts a value that is 0 at mid-gray to a whole level from 0 to 255.
#[inline(always)]
fn level(value: f32) -> f32 {
    let level = value + 128.0;
    let level = if level > 0.0 { level } else { 0.0 };
    let level = if level < 255.0 { level } else { 255.0 };
    (level + WHOLE) - WHOLE
}

/// Computes `from * scale - shift` for each value.
#[inline(always)]
pub(super) fn scaled(from: &[f32], scale: f32, shift: f32, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from * scale - shift;
    }
}

/// Interleaves rows of levels to pixels of three bytes.
#[inline(always)]
pub(super) fn interleaved(rows: [&[f32]; 3], to: &mut [u8]) {
    /// The lowest bits of its sum with a level are the level.
    const LOW_BITS: f32 = 8_388_608.0;
    let [red, green, blue] = rows;
    let levels = red.iter().zip(green).zip(blue);
    for (pixel, ((red, green), blue)) in to.as_chunks_mut::<3>().0.iter_mut().zip(levels) {
        *pixel = [red, green, blue].map(|level| (level + LOW_BITS).to_bits() as u8);
    }
}

/// Writes a sample row by row.
pub(super) struct Writer<'o> {
    out: PixelSink<'o>,
    size: usize,
    color: Color,
    simd: Simd,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: PixelSink<'o>, size: usize, color: Color, simd: Simd) -> Self {
        Self { out, size, color, simd }
    }

    /// Writes row `y` from rows of components, each at least `size` long, which are changed. `overflow` is subtracted from
    /// the colours.
    pub(super) fn row(&mut self, y: usize, rows: &mut [Vec<f32>; 3], overflow: Option<&[Vec<f32>; 3]>) {
        self.simd.levels(rows, self.color, overflow);
        let channels = if self.color == Color::Gray { [0, 0, 0] } else { [0, 1, 2] };
        let (size, simd) = (self.size, self.simd);
        let area = size * size;
        match &mut self.out {
            PixelSink::U8Nhwc(out) => {
                let to = &mut out[y * size * 3..(y + 1) * size * 3];
                simd.interleaved(channels.map(|c| &rows[c][..size]), to);
            }
            PixelSink::F32Nchw { out, normalize } => {
                for (channel, from) in channels.into_iter().enumerate() {
                    let (scale, shift) = normalize.scale_shift(channel);
                    let first = channel * area + y * size;
                    simd.scaled(&rows[from], scale, shift, &mut out[first..first + size]);
                }
            }
            PixelSink::F16Nchw { out, normalize } => {
                for (channel, from) in channels.into_iter().enumerate() {
                    let first = channel * area + y * size;
                    halves(&rows[from], (channel, normalize), simd, &mut out[first..first + size]);
                }
            }
        }
    }
}

/// Numbers that are converted at once, in a buffer on the stack.
const CHUNK: usize = 256;

fn halves(row: &[f32], (channel, normalize): (usize, &Normalize), simd: Simd, out: &mut [f16]) {
    let (scale, shift) = normalize.scale_shift(channel);
    let mut numbers = [0.0; CHUNK];
    for (to, from) in out.chunks_mut(CHUNK).zip(row.chunks(CHUNK)) {
        simd.scaled(from, scale, shift, &mut numbers);
        to.convert_from_f32_slice(&numbers[..to.len()]);
    }
}
