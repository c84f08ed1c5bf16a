//! From rows of components to a sample's place in a minibatch.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::header::Color;
use super::idct::WHOLE;
use super::simd::Level;
use crate::augment::Normalize;
use crate::transform::Output;

/// Red, green and blue from Y, Cb and Cr (JFIF's conversion). All are 0 at mid-gray.
#[inline(always)]
pub(super) fn rgb_of(luma: f32, blue: f32, red: f32) -> [f32; 3] {
    [luma + 1.402 * red, luma - 0.344_136_3 * blue - 0.714_136_3 * red, luma + 1.772 * blue]
}

/// Rows of red, green and blue from rows of Y, Cb and Cr, in place.
#[inline(always)]
pub(super) fn ycc_to_rgb(rows: &mut [Vec<f32>; 3]) {
    let [y, cb, cr] = rows;
    for ((y, cb), cr) in y.iter_mut().zip(cb.iter_mut()).zip(cr.iter_mut()) {
        [*y, *cb, *cr] = rgb_of(*y, *cb, *cr);
    }
}

/// Values that are 0 at mid-gray become whole levels from 0 to 255, in place.
#[inline(always)]
pub(super) fn to_levels(row: &mut [f32]) {
    for value in row {
        let level = *value + 128.0;
        let level = if level > 0.0 { level } else { 0.0 };
        let level = if level < 255.0 { level } else { 255.0 };
        *value = (level + WHOLE) - WHOLE;
    }
}

/// Takes `less` from a row, in place.
#[inline(always)]
pub(super) fn less(row: &mut [f32], less: &[f32]) {
    for (value, less) in row.iter_mut().zip(less) {
        *value -= less;
    }
}

/// `from * scale - shift`.
#[inline(always)]
pub(super) fn scaled(from: &[f32], scale: f32, shift: f32, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from * scale - shift;
    }
}

/// Rows of levels as pixels.
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

/// A sample that is written row by row.
pub(super) struct Writer<'o> {
    out: Output<'o>,
    size: usize,
    color: Color,
    level: Level,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: Output<'o>, size: usize, color: Color, level: Level) -> Self {
        Self { out, size, color, level }
    }

    /// Writes row `y` from rows of components, whose values change. Each is at least `size` long. `excess` is what
    /// their colours have too much of.
    pub(super) fn row(&mut self, y: usize, rows: &mut [Vec<f32>; 3], excess: Option<&[Vec<f32>; 3]>) {
        if self.color == Color::Ycc {
            self.level.ycc_to_rgb(rows);
        }
        for (row, excess) in rows.iter_mut().zip(excess.into_iter().flatten()) {
            self.level.less(row, excess);
        }
        let channels = if self.color == Color::Gray { [0, 0, 0] } else { [0, 1, 2] };
        for row in &mut rows[..channels[2] + 1] {
            self.level.to_levels(row);
        }
        let (size, level) = (self.size, self.level);
        let area = size * size;
        match &mut self.out {
            Output::U8Nhwc(out) => {
                let to = &mut out[y * size * 3..(y + 1) * size * 3];
                level.interleaved(channels.map(|c| &rows[c][..size]), to);
            }
            Output::F32Nchw { out, normalize } => {
                for (channel, from) in channels.into_iter().enumerate() {
                    let (scale, shift) = normalize.scale_shift(channel);
                    let first = channel * area + y * size;
                    level.scaled(&rows[from], scale, shift, &mut out[first..first + size]);
                }
            }
            Output::F16Nchw { out, normalize } => {
                for (channel, from) in channels.into_iter().enumerate() {
                    let first = channel * area + y * size;
                    halves(&rows[from], (channel, normalize), level, &mut out[first..first + size]);
                }
            }
        }
    }
}

/// Numbers that are converted at a time: a buffer on the stack.
const CHUNK: usize = 256;

fn halves(row: &[f32], (channel, normalize): (usize, &Normalize), level: Level, out: &mut [f16]) {
    let (scale, shift) = normalize.scale_shift(channel);
    let mut numbers = [0.0; CHUNK];
    for (to, from) in out.chunks_mut(CHUNK).zip(row.chunks(CHUNK)) {
        level.scaled(from, scale, shift, &mut numbers);
        to.convert_from_f32_slice(&numbers[..to.len()]);
    }
}
