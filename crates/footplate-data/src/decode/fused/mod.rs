//! A decoder of crops: from a baseline JPEG to a finished sample, in one pass and a few rows of memory.
//!
//! The crop is known before decoding. Blocks outside it are skipped in the entropy-coded data, which is read up to the
//! last row that is needed. The others become samples of Y, Cb and Cr, which are resampled, each from its own
//! resolution, and then converted to RGB. The whole image is never in memory.

mod bits;
mod clipping;
mod entropy;
mod header;
mod huffman;
mod idct;
mod pixels;
mod resample;
mod row;
mod simd;
#[cfg(test)]
pub(crate) mod tests;
mod workspace;
mod write;

pub(crate) use header::Header;
pub(crate) use row::Checkpoint;
pub(crate) use simd::Simd;

use huffman::Tables;
pub(crate) use pixels::Picture;
use pixels::Planes;
use row::{McuRow, Scan};
use workspace::{Workspace, axis_of};
use write::Writer;

use super::index::{CheckpointRecorder, Checkpoints};
use crate::augment::CropBox;
use crate::pixel_sink::PixelSink;

/// Which part of an image becomes a sample, and how it is turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CropSpec {
    /// The part of the stored image that the sample shows.
    pub(crate) crop: CropBox,
    /// Height and width of the sample in pixels.
    pub(crate) size: usize,
    /// Whether left and right are swapped.
    pub(crate) mirrored: bool,
    /// Whether top and bottom are swapped.
    pub(crate) upside_down: bool,
}

/// The file is damaged, or of a kind that this decoder does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl From<entropy::Damaged> for Refused {
    fn from(_: entropy::Damaged) -> Self {
        Self
    }
}

/// A decoder with one thread's tables and buffers, which are used again for each image.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    simd: Simd,
    tables: Tables,
    workspace: Workspace,
    planes: Planes,
}

impl Decoder {
    /// With the kernels for the given instruction set.
    #[cfg(test)]
    fn with(simd: Simd) -> Self {
        Self { simd, ..Self::default() }
    }

    /// Decodes the part of a file that `spec` asks for and writes it to `out`, which must have the right length. With
    /// checkpoints, reading starts at the first row that is needed, or as near to it as they reach. Row starts that
    /// they lack go to the recorder.
    pub(crate) fn sample(
        &mut self,
        bytes: &[u8],
        header: &Header<'_>,
        (checkpoints, recorder): (Option<Checkpoints<'_>>, Option<CheckpointRecorder<'_>>),
        spec: &CropSpec,
        out: PixelSink<'_>,
    ) -> Result<(), Refused> {
        let tables = quantisation(header).ok_or(Refused)?;
        let codes = codes(header, &mut self.tables).ok_or(Refused)?;
        self.workspace.set(header, spec);
        let writer = Writer::new(out, spec.size, header.color, self.simd);
        let scan = Scan::new(header, bytes, codes);
        let mut job = CropJob {
            header,
            spec,
            simd: self.simd,
            workspace: &mut self.workspace,
            tables,
            writer,
            next: 0,
        };
        job.run(scan, checkpoints, recorder)
    }

    /// Resamples the part of decoded pixels that `spec` asks for, by the same arithmetic as for a file.
    pub(crate) fn resample(
        &mut self,
        picture: &Picture<'_>,
        spec: &CropSpec,
        out: PixelSink<'_>,
    ) -> Result<(), Refused> {
        self.planes.sample(self.simd, picture, spec, out)
    }

    /// Reads all of a file's entropy-coded data and calls `each` with the start of every row of MCUs.
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
            let strips = &mut self.workspace.strips;
            let row =
                McuRow { scan: &mut scan, number, want: None, to_end: true, tables: &[[0.0; 64]; 3], strips };
            self.simd.decode_row(row)?;
        }
        Ok(())
    }
}

/// Each component's quantisation table, multiplied by the factors of the cosine transform.
fn quantisation(header: &Header<'_>) -> Option<[[f32; 64]; 3]> {
    let mut tables = [[0.0; 64]; 3];
    for (i, table) in tables.iter_mut().enumerate().take(header.count) {
        *table = idct::scaled_table(header.quant_of(i)?);
    }
    Some(tables)
}

/// Each component's Huffman tables, for DC and AC.
fn codes<'t>(header: &Header<'_>, tables: &'t mut Tables) -> Option<[(&'t huffman::Dc, &'t huffman::Ac); 3]> {
    let first = (header.dc_of(0)?, header.ac_of(0)?);
    let mut codes = [first; 3];
    for (i, pair) in codes.iter_mut().enumerate().take(header.count) {
        *pair = (header.dc_of(i)?, header.ac_of(i)?);
    }
    tables.of(&codes)
}

/// One image being decoded.
struct CropJob<'w, 'o> {
    header: &'w Header<'w>,
    spec: &'w CropSpec,
    simd: Simd,
    workspace: &'w mut Workspace,
    tables: [[f32; 64]; 3],
    writer: Writer<'o>,
    /// The next row of the sample.
    next: usize,
}

impl CropJob<'_, '_> {
    fn run(
        &mut self,
        mut scan: Scan<'_>,
        mut checkpoints: Option<Checkpoints<'_>>,
        mut recorder: Option<CheckpointRecorder<'_>>,
    ) -> Result<(), Refused> {
        let rows = self.workspace.mcu_rows(self.header);
        let start = checkpoints.as_mut().and_then(|checkpoints| checkpoints.up_to(rows.start));
        if let Some((row, place)) = &start {
            scan.jump(*row, place);
        }
        for number in start.map_or(0, |(row, _)| row)..rows.end {
            if let Some(recorder) = &mut recorder {
                scan.restart_if_due()?;
                recorder.add(number, || scan.checkpoint());
            }
            let last = number + 1 == rows.end;
            let next = if last { None } else { checkpoints.as_mut().and_then(|c| c.at(number + 1)) };
            let wanted = number >= rows.start;
            let workspace = &mut *self.workspace;
            let row = McuRow {
                scan: &mut scan,
                number,
                want: wanted.then_some(&workspace.want),
                to_end: next.is_none() && !last,
                tables: &self.tables,
                strips: &mut workspace.strips,
            };
            self.simd.decode_row(row)?;
            if let Some(place) = &next {
                scan.jump(number + 1, place);
            }
            if wanted {
                self.resample(number, last);
                self.write(number)?;
            }
        }
        if self.next == self.spec.size { Ok(()) } else { Err(Refused) }
    }

    /// Resamples the strips of a row of MCUs across, into the rings. `last`: it is the last row of the crop.
    fn resample(&mut self, number: usize, last: bool) {
        let Self { header, workspace, simd, .. } = self;
        for (i, component) in header.components.iter().enumerate().take(header.count) {
            let axis = &workspace.across[axis_of(i)];
            for (y, strip) in (number * component.v..).zip(workspace.strips[i].rows()) {
                if workspace.want.down[i].contains(&y) {
                    simd.across(strip, axis, axis.all_groups(), workspace.rings[i].eight_rows(y * 8));
                }
            }
        }
        if let Some(geometry) = workspace.geometry {
            workspace.resample_overflow(*simd, &geometry, number, last);
        }
    }

    /// Writes the rows of the sample whose components are complete once row of MCUs `number` was resampled.
    fn write(&mut self, number: usize) -> Result<(), Refused> {
        let Self { header, spec, workspace, simd, .. } = self;
        while self.next < spec.size {
            for (i, component) in header.components.iter().enumerate().take(header.count) {
                let axis = &workspace.down[axis_of(i)];
                let there = (number + 1) * component.v * 8;
                // The overflow of the strip that is held back is not known yet.
                let known = if i == 0 && workspace.held.is_some() { there - 8 } else { there };
                if axis.ends[self.next] as usize > known {
                    return Ok(());
                }
                if there - axis.starts[self.next] as usize > workspace.rings[i].capacity() {
                    return Err(Refused);
                }
                simd.down(&workspace.rings[i], axis, self.next, &mut workspace.rows[i]);
            }
            let overflows = workspace.overflow_row(*simd, self.next);
            let y = if spec.upside_down { spec.size - 1 - self.next } else { self.next };
            self.writer.row(y, &mut workspace.rows, overflows.then_some(&workspace.overflow_rows));
            self.next += 1;
        }
        Ok(())
    }
}
