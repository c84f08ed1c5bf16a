//! One thread's buffers for decoding crops, and what follows from an image's header and the crop that is wanted.

use std::ops::Range;

use super::CropSpec;
use super::clipping::{ChromaGeometry, ClipOverflow, StripContext};
use super::header::{Color, Header};
use super::resample::{Axis, LANES, Ring, Span, Upsampling};
use super::row::{Strips, WantedBlocks};
use super::simd::Simd;
use crate::augment::CropBox;

/// Buffers that are used again for each image. A *strip* is a row of blocks of one component, eight samples high.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) want: WantedBlocks,
    /// Weights across, for luma and for chroma.
    pub(super) across: [Axis; 2],
    /// Weights down, for luma and for chroma.
    pub(super) down: [Axis; 2],
    /// The row of MCUs that was read last, by component.
    pub(super) strips: [Strips; 3],
    /// The last rows of each component, resampled across.
    pub(super) rings: [Ring; 3],
    /// One row of the sample, by component.
    pub(super) rows: [Vec<f32>; 3],
    /// How chroma is sited; `None` for gray and RGB files, where no value can be out of gamut.
    pub(super) geometry: Option<ChromaGeometry>,
    overflow: ClipOverflow,
    overflow_rings: [Ring; 3],
    /// The overflow of one row of the sample, by colour.
    pub(super) overflow_rows: [Vec<f32>; 3],
    /// For each strip in luma's ring, whether it has an overflow.
    overflows: Vec<bool>,
    /// Chroma's last row in the row of MCUs before; empty if there is none.
    above: [Vec<f32>; 2],
    /// Chroma's first row in this row of MCUs.
    below: [Vec<f32>; 2],
    /// Number of the previous row of MCUs, if its last strip of luma waits for the chroma below it.
    pub(super) held: Option<usize>,
    held_strips: [Strips; 3],
}

/// One row of each chroma's first strip.
fn copy_row(strips: &[Strips; 3], row: usize, to: &mut [Vec<f32>; 2]) {
    for (to, strips) in to.iter_mut().zip(&strips[1..]) {
        to.clear();
        to.extend(strips.columns[..strips.blocks * 8].iter().map(|column| column[row]));
    }
}

/// The place in [`Workspace::across`] and [`Workspace::down`] of a component's weights.
pub(super) fn axis_of(component: usize) -> usize {
    usize::from(component > 0)
}

impl Workspace {
    /// Makes the buffers fit an image and a crop.
    pub(super) fn set(&mut self, header: &Header<'_>, spec: &CropSpec) {
        let luma = &header.components[0];
        let CropBox { left, top, width, height } = spec.crop;
        let size = spec.size;
        let span = |from, length, pixels, reversed| Span { from, length, pixels, size, reversed };
        let across = span(left, width, header.width, spec.mirrored);
        // Rows are read from top to bottom; the writer turns the sample upside down.
        let down = span(top, height, header.height, false);
        let samples = (header.width.div_ceil(luma.h), header.height.div_ceil(luma.v));
        let (smooth_x, smooth_y) = upsampling(luma.h, luma.v, samples.0);
        self.across[0].set(&across, Upsampling::None, header.width);
        self.down[0].set(&down, Upsampling::None, header.height);
        if header.count == 3 {
            self.across[1].set(&across, smooth_x, samples.0);
            self.down[1].set(&down, smooth_y, samples.1);
        }
        let (mut first_mcu, mut end_mcu) = (usize::MAX, 0);
        for (i, component) in header.components.iter().enumerate().take(header.count) {
            let (across, down) = (&self.across[axis_of(i)], &self.down[axis_of(i)]);
            let columns = across.first / 8..across.end.div_ceil(8);
            let rows = down.first / 8..down.end.div_ceil(8);
            first_mcu = first_mcu.min(columns.start / component.h);
            end_mcu = end_mcu.max(columns.end.div_ceil(component.h));
            self.strips[i].set(component.v, columns.len(), across.taps);
            self.held_strips[i].set(component.v, columns.len(), across.taps);
            self.rings[i].set(size.next_multiple_of(LANES), down.taps + 16 * component.v + 16);
            self.rows[i].resize(size.next_multiple_of(LANES), 0.0);
            (self.want.across[i], self.want.down[i]) = (columns, rows);
        }
        self.want.mcus = first_mcu..end_mcu;
        self.geometry = (header.color == Color::Ycc).then(|| ChromaGeometry {
            upsampling: [smooth_x, smooth_y],
            samples: samples.into(),
            first_blocks: [self.want.across[0].start, self.want.across[1].start],
            sampling: (luma.h, luma.v),
        });
        if self.geometry.is_some() {
            for (ring, row) in self.overflow_rings.iter_mut().zip(&mut self.overflow_rows) {
                ring.set(size.next_multiple_of(LANES), self.rings[0].capacity());
                row.resize(size.next_multiple_of(LANES), 0.0);
            }
            self.overflows.clear();
            // What the rings hold of another image is cleared when it is overwritten.
            self.overflows.resize(self.rings[0].capacity() / 8, true);
            self.above.iter_mut().for_each(Vec::clear);
            self.held = None;
        }
        for axis in &mut self.across {
            let strip = (axis.first / 8 * 8) as u32;
            axis.starts.iter_mut().for_each(|start| *start = start.saturating_sub(strip));
        }
    }

    /// Rows of MCUs that hold something of the crop.
    pub(super) fn mcu_rows(&self, header: &Header<'_>) -> Range<usize> {
        let (mut first, mut end) = (usize::MAX, 0);
        for (component, rows) in header.components.iter().zip(&self.want.down).take(header.count) {
            first = first.min(rows.start / component.v);
            end = end.max(rows.end.div_ceil(component.v));
        }
        first..end
    }

    /// Finds the overflow in the strips of a row of MCUs and resamples it across. Where the last strip needs the chroma
    /// of the next row of MCUs, it is held back until that was read.
    pub(super) fn resample_overflow(
        &mut self,
        simd: Simd,
        geometry: &ChromaGeometry,
        number: usize,
        last: bool,
    ) {
        let v = geometry.sampling.1;
        let none = [const { Vec::new() }; 2];
        if let Some(before) = self.held.take() {
            copy_row(&self.strips, 0, &mut self.below);
            let position = (before, v - 1);
            let context = StripContext { strips: &self.held_strips, position, outside: [&none, &self.below] };
            let found = self.overflow.find(&context, geometry, simd);
            self.put_overflow(simd, before * v + v - 1, found.as_ref());
        }
        for y in 0..v {
            let block_row = number * v + y;
            if !self.want.down[0].contains(&block_row) {
                continue;
            }
            if y + 1 == v
                && !last
                && geometry.reaches_below()
                && self.overflow.may_be_in(&self.strips, y, geometry, simd)
            {
                self.held = Some(number);
                continue;
            }
            let above = if y == 0 { &self.above } else { &none };
            let context =
                StripContext { strips: &self.strips, position: (number, y), outside: [above, &none] };
            let found = self.overflow.find(&context, geometry, simd);
            self.put_overflow(simd, block_row, found.as_ref());
        }
        if geometry.reaches_below() {
            copy_row(&self.strips, 7, &mut self.above);
        }
        if self.held.is_some() {
            std::mem::swap(&mut self.strips, &mut self.held_strips);
        }
    }

    /// Resamples the overflow that was found in a strip of luma across.
    fn put_overflow(&mut self, simd: Simd, block_row: usize, found: Option<&Range<usize>>) {
        let slots = self.overflows.len();
        let Some(overflows) = self.overflows.get_mut(block_row & (slots - 1)) else { return };
        let axis = &self.across[0];
        for (ring, color) in self.overflow_rings.iter_mut().zip(&self.overflow.colors) {
            let rows = ring.eight_rows(block_row * 8);
            if *overflows || found.is_some() {
                rows.fill(0.0);
            }
            if let Some(columns) = found {
                simd.across(color, axis, axis.groups(columns), rows);
            }
        }
        *overflows = found.is_some();
    }

    /// Resamples the overflow down for one row of the sample; `false`: there is none.
    pub(super) fn overflow_row(&mut self, simd: Simd, y: usize) -> bool {
        let axis = &self.down[0];
        let strips = axis.starts[y] as usize / 8..(axis.ends[y] as usize).div_ceil(8);
        let slots = self.overflows.len();
        if self.geometry.is_none() || !{ strips }.any(|strip| self.overflows[strip & (slots - 1)]) {
            return false;
        }
        for (ring, row) in self.overflow_rings.iter().zip(&mut self.overflow_rows) {
            simd.down(ring, axis, y, row);
        }
        true
    }
}

/// How libjpeg-turbo upsamples chroma to luma's resolution, across and down.
fn upsampling(h: usize, v: usize, samples_across: usize) -> (Upsampling, Upsampling) {
    let smooth = |n| if n == 2 { Upsampling::Smooth } else { Upsampling::None };
    let repeated = |n| if n == 1 { Upsampling::None } else { Upsampling::Repeat(n) };
    match (h, v) {
        (2, _) if samples_across <= 2 => (repeated(h), repeated(v)),
        (1 | 2, _) => (smooth(h), smooth(v)),
        _ => (repeated(h), repeated(v)),
    }
}
