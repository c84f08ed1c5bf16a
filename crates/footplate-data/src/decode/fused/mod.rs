//! A decoder of crops: from a baseline JPEG to a finished sample, in one pass and a few rows of memory.
//!
//! The crop is known before decoding. Blocks outside it are stepped over in the entropy-coded data, which is read
//! up to the last row that is needed. The others become samples of Y, Cb and Cr, which are resampled, each from its
//! own resolution, and then become colours. No image is ever whole in memory.

mod bits;
mod entropy;
mod gamut;
mod header;
mod huffman;
mod idct;
mod pixels;
mod resample;
mod row;
mod simd;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub(crate) use header::Header;
pub(crate) use row::Checkpoint;
pub(crate) use simd::Level;

use std::ops::Range;

use gamut::{Around, Excess, Lie};
use header::Color;
use huffman::Tables;
pub(crate) use pixels::Picture;
use pixels::Planes;
use resample::{Axis, LANES, Ring, Span, Upsampling};
use row::{Row, Scan, Strips, Want};
use write::Writer;

use super::index::{Checkpoints, Trail};
use crate::augment::CropBox;
use crate::transform::Output;

/// What becomes of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The part that is shown, in the stored image.
    pub(crate) crop: CropBox,
    /// Height and width of the sample.
    pub(crate) size: usize,
    /// Whether left and right change places.
    pub(crate) mirrored: bool,
    /// Whether top and bottom change places.
    pub(crate) upside_down: bool,
}

/// The data is not what the header promises, or is of a kind that is not spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl From<entropy::Damaged> for Refused {
    fn from(_: entropy::Damaged) -> Self {
        Self
    }
}

/// The decoder: one thread's tables and buffers, used again for each image.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    level: Level,
    tables: Tables,
    parts: Parts,
    planes: Planes,
}

/// What follows from an image's header and its target.
#[derive(Debug, Default)]
struct Parts {
    want: Want,
    /// Of luma and of chroma.
    across: [Axis; 2],
    down: [Axis; 2],
    strips: [Strips; 3],
    rings: [Ring; 3],
    rows: [Vec<f32>; 3],
    /// For colours beyond 8 bits; `None` where there can be none.
    lie: Option<Lie>,
    excess: Excess,
    excess_rings: [Ring; 3],
    excess_rows: [Vec<f32>; 3],
    /// For each strip in luma's ring, whether it has an excess.
    exceeds: Vec<bool>,
    /// Chroma's last row in the row of MCUs before and its first in this one; empty: there is none.
    above: [Vec<f32>; 2],
    below: [Vec<f32>; 2],
    /// The strips of the row of MCUs before, whose last strip of luma waits for the chroma below it.
    held: Option<usize>,
    held_strips: [Strips; 3],
}

/// One row of each chroma's first strip.
fn copy_row(strips: &[Strips; 3], row: usize, to: &mut [Vec<f32>; 2]) {
    for (to, strips) in to.iter_mut().zip(&strips[1..]) {
        to.clear();
        to.extend(strips.columns[..strips.blocks * 8].iter().map(|column| column[row]));
    }
}

/// Which axes a component uses.
fn axis_of(component: usize) -> usize {
    usize::from(component > 0)
}

impl Decoder {
    /// With the kernels of a level.
    #[cfg(test)]
    fn with(level: Level) -> Self {
        Self { level, ..Self::default() }
    }

    /// Decodes the part of a file that `target` shows and writes it to `out`, which must have the right length. With
    /// checkpoints the reading starts at the first row that is needed, or as near to it as they reach. Places that
    /// they lack are put on the trail.
    pub(crate) fn sample(
        &mut self,
        bytes: &[u8],
        header: &Header<'_>,
        (checkpoints, trail): (Option<Checkpoints<'_>>, Option<Trail<'_>>),
        target: &Target,
        out: Output<'_>,
    ) -> Result<(), Refused> {
        let tables = quantisation(header).ok_or(Refused)?;
        let codes = codes(header, &mut self.tables).ok_or(Refused)?;
        self.parts.set(header, target);
        let writer = Writer::new(out, target.size, header.color, self.level);
        let scan = Scan::new(header, bytes, codes);
        let mut work =
            Work { header, target, level: self.level, parts: &mut self.parts, tables, writer, next: 0 };
        work.run(scan, checkpoints, trail)
    }

    /// Resamples the part of decoded pixels that `target` shows, as of a file's components.
    pub(crate) fn resample(
        &mut self,
        picture: &Picture<'_>,
        target: &Target,
        out: Output<'_>,
    ) -> Result<(), Refused> {
        self.planes.sample(self.level, picture, target, out)
    }

    /// Reads all of a file's entropy-coded data and hands over the place where each row of MCUs begins.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        header: &Header<'_>,
        mut each: impl FnMut(Checkpoint),
    ) -> Result<(), Refused> {
        let codes = codes(header, &mut self.tables).ok_or(Refused)?;
        quantisation(header).ok_or(Refused)?;
        let mut scan = Scan::new(header, bytes, codes);
        for number in 0..header.mcus().1 {
            scan.restart_if_due()?;
            each(scan.checkpoint().ok_or(Refused)?);
            let strips = &mut self.parts.strips;
            let row =
                Row { scan: &mut scan, number, want: None, to_end: true, tables: &[[0.0; 64]; 3], strips };
            self.level.decode_row(row)?;
        }
        Ok(())
    }
}

/// Each component's quantisation table with the transform's factors.
fn quantisation(header: &Header<'_>) -> Option<[[f32; 64]; 3]> {
    let mut tables = [[0.0; 64]; 3];
    for (i, table) in tables.iter_mut().enumerate().take(header.count) {
        *table = idct::scaled_table(header.quant_of(i)?);
    }
    Some(tables)
}

/// Each component's tables of codes.
fn codes<'t>(header: &Header<'_>, tables: &'t mut Tables) -> Option<[(&'t huffman::Dc, &'t huffman::Ac); 3]> {
    let first = (header.dc_of(0)?, header.ac_of(0)?);
    let mut codes = [first; 3];
    for (i, pair) in codes.iter_mut().enumerate().take(header.count) {
        *pair = (header.dc_of(i)?, header.ac_of(i)?);
    }
    tables.of(&codes)
}

impl Parts {
    fn set(&mut self, header: &Header<'_>, target: &Target) {
        let luma = &header.components[0];
        let CropBox { left, top, width, height } = target.crop;
        let size = target.size;
        let span = |from, length, pixels, reversed| Span { from, length, pixels, size, reversed };
        let across = span(left, width, header.width, target.mirrored);
        // Rows come from above; the writer turns them round.
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
        self.lie = (header.color == Color::Ycc).then(|| Lie {
            upsampling: [smooth_x, smooth_y],
            samples: samples.into(),
            first_blocks: [self.want.across[0].start, self.want.across[1].start],
            sampling: (luma.h, luma.v),
        });
        if self.lie.is_some() {
            for (ring, row) in self.excess_rings.iter_mut().zip(&mut self.excess_rows) {
                ring.set(size.next_multiple_of(LANES), self.rings[0].capacity());
                row.resize(size.next_multiple_of(LANES), 0.0);
            }
            self.exceeds.clear();
            // What the rings hold from another image is cleared when its place is taken.
            self.exceeds.resize(self.rings[0].capacity() / 8, true);
            self.above.iter_mut().for_each(Vec::clear);
            self.held = None;
        }
        for axis in &mut self.across {
            let strip = (axis.first / 8 * 8) as u32;
            axis.starts.iter_mut().for_each(|start| *start = start.saturating_sub(strip));
        }
    }

    /// Rows of MCUs that are needed.
    fn mcu_rows(&self, header: &Header<'_>) -> Range<usize> {
        let (mut first, mut end) = (usize::MAX, 0);
        for (component, rows) in header.components.iter().zip(&self.want.down).take(header.count) {
            first = first.min(rows.start / component.v);
            end = end.max(rows.end.div_ceil(component.v));
        }
        first..end
    }
}

/// How libjpeg-turbo brings chroma to luma's resolution, across and down.
fn upsampling(h: usize, v: usize, samples_across: usize) -> (Upsampling, Upsampling) {
    let smooth = |n| if n == 2 { Upsampling::Smooth } else { Upsampling::None };
    let repeated = |n| if n == 1 { Upsampling::None } else { Upsampling::Repeat(n) };
    match (h, v) {
        (2, _) if samples_across <= 2 => (repeated(h), repeated(v)),
        (1 | 2, _) => (smooth(h), smooth(v)),
        _ => (repeated(h), repeated(v)),
    }
}

/// One image being decoded.
struct Work<'w, 'o> {
    header: &'w Header<'w>,
    target: &'w Target,
    level: Level,
    parts: &'w mut Parts,
    tables: [[f32; 64]; 3],
    writer: Writer<'o>,
    /// The next row of the sample.
    next: usize,
}

impl Work<'_, '_> {
    fn run(
        &mut self,
        mut scan: Scan<'_>,
        mut checkpoints: Option<Checkpoints<'_>>,
        mut trail: Option<Trail<'_>>,
    ) -> Result<(), Refused> {
        let rows = self.parts.mcu_rows(self.header);
        let start = checkpoints.as_mut().and_then(|checkpoints| checkpoints.up_to(rows.start));
        if let Some((row, place)) = &start {
            scan.jump(*row, place);
        }
        for number in start.map_or(0, |(row, _)| row)..rows.end {
            if let Some(trail) = &mut trail {
                scan.restart_if_due()?;
                trail.add(number, || scan.checkpoint());
            }
            let last = number + 1 == rows.end;
            let next = if last { None } else { checkpoints.as_mut().and_then(|c| c.at(number + 1)) };
            let wanted = number >= rows.start;
            let parts = &mut *self.parts;
            let row = Row {
                scan: &mut scan,
                number,
                want: wanted.then_some(&parts.want),
                to_end: next.is_none() && !last,
                tables: &self.tables,
                strips: &mut parts.strips,
            };
            self.level.decode_row(row)?;
            if let Some(place) = &next {
                scan.jump(number + 1, place);
            }
            if wanted {
                self.resample(number, last);
                self.write(number)?;
            }
        }
        if self.next == self.target.size { Ok(()) } else { Err(Refused) }
    }

    /// Resamples the strips of a row of MCUs across, into the rings. `last`: no other row comes after it.
    fn resample(&mut self, number: usize, last: bool) {
        let Self { header, parts, level, .. } = self;
        for (i, component) in header.components.iter().enumerate().take(header.count) {
            let axis = &parts.across[axis_of(i)];
            for (y, strip) in (number * component.v..).zip(parts.strips[i].rows()) {
                if parts.want.down[i].contains(&y) {
                    level.across(strip, axis, axis.all_groups(), parts.rings[i].eight_rows(y * 8));
                }
            }
        }
        if let Some(lie) = parts.lie {
            parts.resample_excess(*level, &lie, number, last);
        }
    }

    /// Writes the sample's rows for which all rows of samples are there, up to those of a row of MCUs.
    fn write(&mut self, number: usize) -> Result<(), Refused> {
        let Self { header, target, parts, level, .. } = self;
        while self.next < target.size {
            for (i, component) in header.components.iter().enumerate().take(header.count) {
                let axis = &parts.down[axis_of(i)];
                let there = (number + 1) * component.v * 8;
                // The excess of a strip that is held is not known yet.
                let known = if i == 0 && parts.held.is_some() { there - 8 } else { there };
                if axis.ends[self.next] as usize > known {
                    return Ok(());
                }
                if there - axis.starts[self.next] as usize > parts.rings[i].capacity() {
                    return Err(Refused);
                }
                level.down(&parts.rings[i], axis, self.next, &mut parts.rows[i]);
            }
            let exceeds = parts.excess_row(*level, self.next);
            let y = if target.upside_down { target.size - 1 - self.next } else { self.next };
            self.writer.row(y, &mut parts.rows, exceeds.then_some(&parts.excess_rows));
            self.next += 1;
        }
        Ok(())
    }
}

impl Parts {
    /// Finds the excess in the strips of a row of MCUs and resamples it across. Where the last strip needs the chroma
    /// of the next row it is held back until that is there.
    fn resample_excess(&mut self, level: Level, lie: &Lie, number: usize, last: bool) {
        let v = lie.sampling.1;
        let none = [const { Vec::new() }; 2];
        if let Some(before) = self.held.take() {
            copy_row(&self.strips, 0, &mut self.below);
            let place = (before, v - 1);
            let around = Around { strips: &self.held_strips, place, outside: [&none, &self.below] };
            let found = self.excess.find(&around, lie, level);
            self.put_excess(level, before * v + v - 1, found.as_ref());
        }
        for y in 0..v {
            let block_row = number * v + y;
            if !self.want.down[0].contains(&block_row) {
                continue;
            }
            if y + 1 == v
                && !last
                && lie.reaches_below()
                && self.excess.may_be_in(&self.strips, y, lie, level)
            {
                self.held = Some(number);
                continue;
            }
            let above = if y == 0 { &self.above } else { &none };
            let around = Around { strips: &self.strips, place: (number, y), outside: [above, &none] };
            let found = self.excess.find(&around, lie, level);
            self.put_excess(level, block_row, found.as_ref());
        }
        if lie.reaches_below() {
            copy_row(&self.strips, 7, &mut self.above);
        }
        if self.held.is_some() {
            std::mem::swap(&mut self.strips, &mut self.held_strips);
        }
    }

    /// Resamples the excess that was found in a strip of luma across.
    fn put_excess(&mut self, level: Level, block_row: usize, found: Option<&Range<usize>>) {
        let slots = self.exceeds.len();
        let Some(exceeds) = self.exceeds.get_mut(block_row & (slots - 1)) else { return };
        let axis = &self.across[0];
        for (ring, color) in self.excess_rings.iter_mut().zip(&self.excess.colors) {
            let rows = ring.eight_rows(block_row * 8);
            if *exceeds || found.is_some() {
                rows.fill(0.0);
            }
            if let Some(columns) = found {
                level.across(color, axis, axis.groups(columns), rows);
            }
        }
        *exceeds = found.is_some();
    }

    /// Resamples the excess down for one row of the sample; `false`: there is none.
    fn excess_row(&mut self, level: Level, y: usize) -> bool {
        let axis = &self.down[0];
        let strips = axis.starts[y] as usize / 8..(axis.ends[y] as usize).div_ceil(8);
        let slots = self.exceeds.len();
        if self.lie.is_none() || !{ strips }.any(|strip| self.exceeds[strip & (slots - 1)]) {
            return false;
        }
        for (ring, row) in self.excess_rings.iter().zip(&mut self.excess_rows) {
            level.down(ring, axis, y, row);
        }
        true
    }
}
