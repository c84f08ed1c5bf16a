//! Out-of-gamut values: pixels whose Y, Cb and Cr give a red, green or blue outside 0..255.
//!
//! An ordinary decoder clips each pixel's red, green and blue to 0..255 before anything is resampled. Here Y, Cb and Cr
//! are resampled, and the conversion to RGB comes last. So what clipping would have cut off a pixel (its *overflow*) is
//! resampled too, and subtracted from the sample's colours: the same result, at a cost only where there are such pixels.

use std::ops::Range;

use super::idct::{Extremes, greater, less};
use super::resample::Upsampling;
use super::row::Strips;
use super::simd::Simd;
use super::write::rgb_of;

/// Clipping is skipped for an overflow of less than this, in levels.
const IGNORED_OVERFLOW: f32 = 6.0;
/// The range of a colour, whose values are 0 at mid-gray.
const LIMITS: [f32; 2] = [-128.0, 127.0];

/// Chroma siting: which chroma samples belong to a pixel of luma; and where the strips begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChromaGeometry {
    /// From chroma's resolution to luma's, across and down.
    pub(super) upsampling: [Upsampling; 2],
    /// Chroma samples of the image, across and down.
    pub(super) samples: [usize; 2],
    /// The first column of blocks in luma's and in chroma's strips.
    pub(super) first_blocks: [usize; 2],
    /// Luma blocks in an MCU, across and down.
    pub(super) sampling: (usize, usize),
}

/// A block of luma (by columns of eight pixels) with the chroma that belongs to it.
pub(super) struct BlockContext<'a> {
    luma: &'a [[f32; 8]; 8],
    chroma: [&'a [[f32; 8]]; 2],
    /// Chroma's last row above the strip and its first one below; empty if there is none, or it was not decoded.
    outside: [&'a [Vec<f32>; 2]; 2],
    /// For each of the block's columns, two columns of chroma and their weights.
    columns: [[(usize, f32); 2]; 8],
    /// For each of its rows, two rows of chroma and their weights; row 0 is the one above the strip.
    rows: [[(usize, f32); 2]; 8],
    /// `Some(upper_half)` if `rows` are those of [`between`].
    regular: Option<bool>,
}

/// A strip of luma with the chroma around it.
pub(super) struct StripContext<'a> {
    /// The strips of its row of MCUs.
    pub(super) strips: &'a [Strips; 3],
    /// The number of that row of MCUs, and of the strip in it.
    pub(super) position: (usize, usize),
    /// Chroma's last row above the row of MCUs and its first one below; empty if there is none, or it was not decoded.
    pub(super) outside: [&'a [Vec<f32>; 2]; 2],
}

/// What clipping would cut off a strip's pixels.
#[derive(Debug, Default)]
pub(super) struct ClipOverflow {
    /// Of red, green and blue: columns of eight pixels, as in a strip of luma.
    pub(super) colors: [Vec<[f32; 8]>; 3],
    /// For each block of the strip that was examined last, whether it may have an overflow.
    marks: Vec<bool>,
}

impl ClipOverflow {
    /// Finds the overflow in a strip, puts it into `colors`, and returns the range of columns that have some. `None` if
    /// all of it is below [`IGNORED_OVERFLOW`]; `colors` is then not written.
    pub(super) fn find(
        &mut self,
        context: &StripContext<'_>,
        geometry: &ChromaGeometry,
        simd: Simd,
    ) -> Option<Range<usize>> {
        let StripContext { strips: [luma, cb, cr], position: (row, y), outside } = *context;
        let v = geometry.sampling.1;
        if !self.may_be_in(context.strips, y, geometry, simd) {
            return None;
        }
        let strip = &luma.columns[y * luma.stride..(y + 1) * luma.stride];
        let first_row = (row * v + y) * 8;
        let rows = std::array::from_fn(|i| {
            let shares = geometry.upsampling[1].shares(first_row + i, geometry.samples[1]);
            shares.map(|(sample, share)| ((sample + 1).saturating_sub(row * 8).min(9), share as f32))
        });
        let regular = [true, false].into_iter().find(|upper_half| rows == rows_between(*upper_half));
        let mut found: Option<Range<usize>> = None;
        for (i, _) in self.marks.iter().enumerate().filter(|(_, marked)| **marked) {
            let first = (geometry.first_blocks[0] + i) * 8;
            let chroma_first = geometry.first_blocks[1] * 8;
            let columns = std::array::from_fn(|x| geometry.shares(first + x, chroma_first, cb.blocks * 8));
            let Some(samples) = strip.get(i * 8..).and_then(<[_]>::first_chunk) else { continue };
            let chroma: [&[[f32; 8]]; 2] = [&cb.columns, &cr.columns];
            let block = BlockContext { luma: samples, chroma, outside, columns, rows, regular };
            let mut out = [[[0.0; 8]; 8]; 3];
            if simd.overflow_of_block(&block, &mut out) <= IGNORED_OVERFLOW {
                continue;
            }
            if found.is_none() {
                for color in &mut self.colors {
                    color.clear();
                    color.resize(luma.stride, [0.0; 8]);
                }
            }
            for (color, out) in self.colors.iter_mut().zip(out) {
                color[i * 8..i * 8 + 8].copy_from_slice(&out);
            }
            found = Some(found.map_or(i * 8, |found| found.start)..i * 8 + 8);
        }
        found
    }

    /// Whether a strip may have an overflow, judged by the extremes in its rows.
    pub(super) fn may_be_in(
        &mut self,
        strips: &[Strips; 3],
        y: usize,
        geometry: &ChromaGeometry,
        simd: Simd,
    ) -> bool {
        self.marks.clear();
        simd.mark_overflow(strips, y, geometry, &mut self.marks)
    }
}

/// Marks the blocks of a strip of luma in which a pixel may overflow, and tells whether there are any. Each row of pixels
/// is judged by its extremes.
#[inline(always)]
pub(super) fn mark(strips: &[Strips; 3], y: usize, geometry: &ChromaGeometry, marks: &mut Vec<bool>) -> bool {
    let [luma, cb, cr] = strips;
    let mut any = false;
    let (mut chroma_block, mut brightest, mut darkest) = (usize::MAX, [0.0; 8], [0.0; 8]);
    for (i, luma) in luma.extremes[y * luma.blocks..(y + 1) * luma.blocks].iter().enumerate() {
        let at = geometry.chroma_block(i, cb.blocks);
        if at != chroma_block {
            chroma_block = at;
            (brightest, darkest) = chroma_range(&cb.extremes[at], &cr.extremes[at]);
            (brightest, darkest) =
                (geometry.luma_rows(&brightest, y, greater), geometry.luma_rows(&darkest, y, less));
        }
        let mut marked = false;
        for y in 0..8 {
            marked |= luma.greatest[y] + brightest[y] > LIMITS[1] + IGNORED_OVERFLOW;
            marked |= luma.least[y] + darkest[y] < LIMITS[0] - IGNORED_OVERFLOW;
        }
        marks.push(marked);
        any |= marked;
    }
    any
}

/// The most and the least that chroma adds to luma, in any colour, for each row of a block of chroma.
#[inline(always)]
fn chroma_range(cb: &Extremes, cr: &Extremes) -> ([f32; 8], [f32; 8]) {
    let (mut brightest, mut darkest) = ([0.0; 8], [0.0; 8]);
    for y in 0..8 {
        let ([b0, b1], [r0, r1]) = ([cb.least[y], cb.greatest[y]], [cr.least[y], cr.greatest[y]]);
        brightest[y] = greater(greater(1.402 * r1, 1.772 * b1), -0.345 * b0 - 0.715 * r0);
        darkest[y] = less(less(1.402 * r0, 1.772 * b0), -0.345 * b1 - 0.715 * r1);
    }
    (brightest, darkest)
}

impl ChromaGeometry {
    /// The two chroma samples of a column of pixels and their weights, counted from sample `first`. Samples beyond the
    /// `there` that were decoded are replaced by the last one.
    fn shares(&self, pixel: usize, first: usize, there: usize) -> [(usize, f32); 2] {
        let shares = self.upsampling[0].shares(pixel, self.samples[0]);
        shares.map(|(sample, share)| (sample.saturating_sub(first).min(there - 1), share as f32))
    }

    /// The block of chroma that covers block `i` of a strip of luma, of the `blocks` that were decoded.
    fn chroma_block(&self, i: usize, blocks: usize) -> usize {
        let at = ((self.first_blocks[0] + i) / self.sampling.0).saturating_sub(self.first_blocks[1]);
        at.min(blocks.saturating_sub(1))
    }

    /// Takes one value for each row of a block of chroma; returns one for each row of the luma block at row `y` of the MCU.
    #[inline(always)]
    fn luma_rows(&self, values: &[f32; 8], y: usize, worse: fn(f32, f32) -> f32) -> [f32; 8] {
        match self.sampling.1 {
            1 => *values,
            2 => doubled(values, y == 0),
            _ => [values[1..].iter().copied().fold(values[0], worse); 8],
        }
    }

    /// Whether the last pixels of a row of MCUs depend on the chroma of the next.
    pub(super) fn reaches_below(&self) -> bool {
        self.upsampling[1] == Upsampling::Smooth
    }
}

/// The weighted sum of two columns of chroma.
#[inline(always)]
fn mixed(columns: &[[f32; 8]], [(near, near_share), (next, next_share)]: [(usize, f32); 2]) -> [f32; 8] {
    let mut mixed = [0.0; 8];
    for ((mixed, near), next) in mixed.iter_mut().zip(&columns[near]).zip(&columns[next]) {
        *mixed = near * near_share + next * next_share;
    }
    mixed
}

/// The upper or the lower half of the values, each twice.
#[inline(always)]
fn doubled(values: &[f32; 8], upper_half: bool) -> [f32; 8] {
    let [a, b, c, d, e, f, g, h] = *values;
    if upper_half { [a, a, b, b, c, c, d, d] } else { [e, e, f, f, g, g, h, h] }
}

/// Eight rows of luma between those of chroma of half the resolution: 3/4 of the nearer and 1/4 of the next.
#[inline(always)]
fn between(chroma: &[f32; 16], upper_half: bool) -> [f32; 8] {
    let [a, b, c, d, e, f, g, h, i, j, ..] = *chroma;
    let [a, b, c, d, e, f] = if upper_half { [a, b, c, d, e, f] } else { [e, f, g, h, i, j] };
    let (near, next) = ([b, b, c, c, d, d, e, e], [a, c, b, d, c, e, d, f]);
    let mut rows = [0.0; 8];
    for y in 0..8 {
        rows[y] = near[y] * 0.75 + next[y] * 0.25;
    }
    rows
}

/// The rows and weights that [`between`] uses.
fn rows_between(upper_half: bool) -> [[(usize, f32); 2]; 8] {
    std::array::from_fn(|y| {
        let near = if upper_half { 1 } else { 5 } + y / 2;
        [(near, 0.75), (if y % 2 == 0 { near - 1 } else { near + 1 }, 0.25)]
    })
}

/// Writes the overflow of a block's pixels to `out` and returns the largest.
#[inline(always)]
pub(super) fn block(context: &BlockContext<'_>, out: &mut [[[f32; 8]; 8]; 3]) -> f32 {
    let mut most = [0.0; 8];
    for (x, shares) in context.columns.into_iter().enumerate() {
        let [(near, near_share), (next, next_share)] = shares;
        let mut chroma = [[0.0; 8]; 2];
        for (c, (chroma, columns)) in chroma.iter_mut().zip(context.chroma).enumerate() {
            let inside = mixed(columns, shares);
            let edge = |side: usize, inside: f32| {
                let row = &context.outside[side][c];
                match (row.get(near), row.get(next)) {
                    (Some(near), Some(next)) => near * near_share + next * next_share,
                    _ => inside,
                }
            };
            let mut mixed = [0.0; 16];
            mixed[1..9].copy_from_slice(&inside);
            (mixed[0], mixed[9]) = (edge(0, inside[0]), edge(1, inside[7]));
            *chroma = match context.regular {
                Some(upper_half) => between(&mixed, upper_half),
                None => context.rows.map(|[(near, near_share), (next, next_share)]| {
                    mixed[near & 15] * near_share + mixed[next & 15] * next_share
                }),
            };
        }
        for y in 0..8 {
            let rgb = rgb_of(context.luma[x][y], chroma[0][y], chroma[1][y]);
            for (color, value) in out.iter_mut().zip(rgb) {
                let overflow = value - less(greater(value, LIMITS[0]), LIMITS[1]);
                color[x][y] = overflow;
                most[y] = greater(most[y], greater(overflow, -overflow));
            }
        }
    }
    most.into_iter().fold(0.0, greater)
}
