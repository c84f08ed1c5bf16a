//! Colours that a screen does not have.
//!
//! A decoder limits each pixel's red, green and blue to 0..255 before anything is resampled. Here Y, Cb and Cr are
//! resampled, and colours come last. Where pixels lie beyond the limits, their excess is resampled too, and taken
//! from the colours: the same result, at a cost only where there are such pixels.

use std::ops::Range;

use super::idct::{Extremes, greater, less};
use super::resample::Upsampling;
use super::row::Strips;
use super::simd::Level;
use super::write::rgb_of;

/// An excess of less than this, in levels, is let be.
const LET_BE: f32 = 6.0;
/// The limits of a colour, which is 0 at mid-gray.
const LIMITS: [f32; 2] = [-128.0, 127.0];

/// How chroma lies over luma, and where the strips begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lie {
    /// Across and down.
    pub(super) upsampling: [Upsampling; 2],
    /// Chroma samples of the image, across and down.
    pub(super) samples: [usize; 2],
    /// The first column of blocks in luma's and in chroma's strips.
    pub(super) first_blocks: [usize; 2],
    /// Luma blocks in an MCU, across and down.
    pub(super) sampling: (usize, usize),
}

/// A block of luma with the chroma that belongs to it.
pub(super) struct Place<'a> {
    luma: &'a [[f32; 8]; 8],
    chroma: [&'a [[f32; 8]]; 2],
    /// Chroma's last row above the strip and its first one below; empty: there is none, or it is not known.
    outside: [&'a [Vec<f32>; 2]; 2],
    /// For each of the block's columns, two chroma columns and their shares.
    columns: [[(usize, f32); 2]; 8],
    /// The same for its rows; 0 is the row above the strip.
    rows: [[(usize, f32); 2]; 8],
    /// Its rows are those of [`between`], for the upper or the lower half of the chroma.
    regular: Option<bool>,
}

/// A strip of luma in which excess is looked for, with the chroma around it.
pub(super) struct Around<'a> {
    /// The strips of its row of MCUs.
    pub(super) strips: &'a [Strips; 3],
    /// The number of that row, and of the strip in it.
    pub(super) place: (usize, usize),
    /// Chroma's last row above the row of MCUs and its first one below; empty: there is none, or it is not known.
    pub(super) outside: [&'a [Vec<f32>; 2]; 2],
}

/// The excess of a strip's pixels.
#[derive(Debug, Default)]
pub(super) struct Excess {
    /// Of red, green and blue: columns of eight pixels, as in a strip of luma.
    pub(super) colors: [Vec<[f32; 8]>; 3],
    /// Of each block of the strip last looked at, whether it may have some.
    marks: Vec<bool>,
}

impl Excess {
    /// Finds the excess in a strip: the columns of the strip in which there is some. `None`: there is none worth the
    /// trouble, and `colors` says nothing.
    pub(super) fn find(&mut self, around: &Around<'_>, lie: &Lie, level: Level) -> Option<Range<usize>> {
        let Around { strips: [luma, cb, cr], place: (row, y), outside } = *around;
        let v = lie.sampling.1;
        if !self.may_be_in(around.strips, y, lie, level) {
            return None;
        }
        let strip = &luma.columns[y * luma.stride..(y + 1) * luma.stride];
        let first_row = (row * v + y) * 8;
        let rows = std::array::from_fn(|i| {
            let shares = lie.upsampling[1].shares(first_row + i, lie.samples[1]);
            shares.map(|(sample, share)| ((sample + 1).saturating_sub(row * 8).min(9), share as f32))
        });
        let regular = [true, false].into_iter().find(|upper_half| rows == rows_between(*upper_half));
        let mut found: Option<Range<usize>> = None;
        for (i, _) in self.marks.iter().enumerate().filter(|(_, marked)| **marked) {
            let first = (lie.first_blocks[0] + i) * 8;
            let chroma_first = lie.first_blocks[1] * 8;
            let columns = std::array::from_fn(|x| lie.shares(first + x, chroma_first, cb.blocks * 8));
            let Some(samples) = strip.get(i * 8..).and_then(<[_]>::first_chunk) else { continue };
            let chroma: [&[[f32; 8]]; 2] = [&cb.columns, &cr.columns];
            let place = Place { luma: samples, chroma, outside, columns, rows, regular };
            let mut out = [[[0.0; 8]; 8]; 3];
            if level.excess_of_block(&place, &mut out) <= LET_BE {
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

    /// Whether a strip may have an excess, by the extremes in its rows.
    pub(super) fn may_be_in(&mut self, strips: &[Strips; 3], y: usize, lie: &Lie, level: Level) -> bool {
        self.marks.clear();
        level.mark_excess(strips, y, lie, &mut self.marks)
    }
}

/// Marks the blocks of a strip of luma in which a pixel may be in excess; `true`: there are some. Each row of pixels is
/// judged by its extremes.
#[inline(always)]
pub(super) fn mark(strips: &[Strips; 3], y: usize, lie: &Lie, marks: &mut Vec<bool>) -> bool {
    let [luma, cb, cr] = strips;
    let mut any = false;
    let (mut chroma_block, mut brightest, mut darkest) = (usize::MAX, [0.0; 8], [0.0; 8]);
    for (i, luma) in luma.extremes[y * luma.blocks..(y + 1) * luma.blocks].iter().enumerate() {
        let at = lie.chroma_block(i, cb.blocks);
        if at != chroma_block {
            chroma_block = at;
            (brightest, darkest) = reach(&cb.extremes[at], &cr.extremes[at]);
            (brightest, darkest) = (lie.luma_rows(&brightest, y, greater), lie.luma_rows(&darkest, y, less));
        }
        let mut marked = false;
        for y in 0..8 {
            marked |= luma.greatest[y] + brightest[y] > LIMITS[1] + LET_BE;
            marked |= luma.least[y] + darkest[y] < LIMITS[0] - LET_BE;
        }
        marks.push(marked);
        any |= marked;
    }
    any
}

/// What chroma adds to luma at most and at least, in any colour, in each row of a block of chroma.
#[inline(always)]
fn reach(cb: &Extremes, cr: &Extremes) -> ([f32; 8], [f32; 8]) {
    let (mut brightest, mut darkest) = ([0.0; 8], [0.0; 8]);
    for y in 0..8 {
        let ([b0, b1], [r0, r1]) = ([cb.least[y], cb.greatest[y]], [cr.least[y], cr.greatest[y]]);
        brightest[y] = greater(greater(1.402 * r1, 1.772 * b1), -0.345 * b0 - 0.715 * r0);
        darkest[y] = less(less(1.402 * r0, 1.772 * b0), -0.345 * b1 - 0.715 * r1);
    }
    (brightest, darkest)
}

impl Lie {
    /// A column's chroma samples and shares, counted from `first`. The samples beyond those that are there are taken to
    /// be as the last.
    fn shares(&self, pixel: usize, first: usize, there: usize) -> [(usize, f32); 2] {
        let shares = self.upsampling[0].shares(pixel, self.samples[0]);
        shares.map(|(sample, share)| (sample.saturating_sub(first).min(there - 1), share as f32))
    }

    /// The block of chroma that block `i` of a strip of luma lies in, of `blocks` that are there.
    fn chroma_block(&self, i: usize, blocks: usize) -> usize {
        let at = ((self.first_blocks[0] + i) / self.sampling.0).saturating_sub(self.first_blocks[1]);
        at.min(blocks.saturating_sub(1))
    }

    /// A value of each row of a block of chroma, for the rows of the block of luma at height `y` in the MCU.
    #[inline(always)]
    fn luma_rows(&self, values: &[f32; 8], y: usize, worse: fn(f32, f32) -> f32) -> [f32; 8] {
        match self.sampling.1 {
            1 => *values,
            2 => doubled(values, y == 0),
            _ => [values[1..].iter().copied().fold(values[0], worse); 8],
        }
    }

    /// Whether the last pixels of a row of MCUs have a share of the chroma of the next.
    pub(super) fn reaches_below(&self) -> bool {
        self.upsampling[1] == Upsampling::Smooth
    }
}

/// A column of chroma between two of its columns.
#[inline(always)]
fn mixed(columns: &[[f32; 8]], [(near, near_share), (next, next_share)]: [(usize, f32); 2]) -> [f32; 8] {
    let mut mixed = [0.0; 8];
    for ((mixed, near), next) in mixed.iter_mut().zip(&columns[near]).zip(&columns[next]) {
        *mixed = near * near_share + next * next_share;
    }
    mixed
}

/// One half of the values, each twice.
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

/// What [`between`] takes for each row.
fn rows_between(upper_half: bool) -> [[(usize, f32); 2]; 8] {
    std::array::from_fn(|y| {
        let near = if upper_half { 1 } else { 5 } + y / 2;
        [(near, 0.75), (if y % 2 == 0 { near - 1 } else { near + 1 }, 0.25)]
    })
}

/// The excess of a block's pixels; gives the greatest.
#[inline(always)]
pub(super) fn block(place: &Place<'_>, out: &mut [[[f32; 8]; 8]; 3]) -> f32 {
    let mut most = [0.0; 8];
    for (x, shares) in place.columns.into_iter().enumerate() {
        let [(near, near_share), (next, next_share)] = shares;
        let mut chroma = [[0.0; 8]; 2];
        for (c, (chroma, columns)) in chroma.iter_mut().zip(place.chroma).enumerate() {
            let inside = mixed(columns, shares);
            let edge = |side: usize, inside: f32| {
                let row = &place.outside[side][c];
                match (row.get(near), row.get(next)) {
                    (Some(near), Some(next)) => near * near_share + next * next_share,
                    _ => inside,
                }
            };
            let mut mixed = [0.0; 16];
            mixed[1..9].copy_from_slice(&inside);
            (mixed[0], mixed[9]) = (edge(0, inside[0]), edge(1, inside[7]));
            *chroma = match place.regular {
                Some(upper_half) => between(&mixed, upper_half),
                None => place.rows.map(|[(near, near_share), (next, next_share)]| {
                    mixed[near & 15] * near_share + mixed[next & 15] * next_share
                }),
            };
        }
        for y in 0..8 {
            let rgb = rgb_of(place.luma[x][y], chroma[0][y], chroma[1][y]);
            for (color, value) in out.iter_mut().zip(rgb) {
                let excess = value - less(greater(value, LIMITS[0]), LIMITS[1]);
                color[x][y] = excess;
                most[y] = greater(most[y], greater(excess, -excess));
            }
        }
    }
    most.into_iter().fold(0.0, greater)
}
