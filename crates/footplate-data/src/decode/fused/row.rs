//! Decodes one row of MCUs: the blocks that a crop needs become samples, the others are skipped.

use std::ops::Range;

use super::bits::Bits;
use super::entropy::{self, Block, Damaged};
use super::header::Header;
use super::huffman::{Ac, Dc};
use super::idct::{self, Extremes};

/// A position in the entropy-coded data, at the beginning of an MCU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The byte that holds the next bit.
    pub(crate) at: usize,
    /// Bits of that byte that were used, 0 to 7.
    pub(crate) skip: u32,
    /// The last DC value of each component.
    pub(crate) predictions: [i32; 3],
}

/// A block's component, and its position in an MCU.
#[derive(Clone, Copy, Debug, Default)]
struct BlockAt {
    component: usize,
    x: usize,
    y: usize,
}

/// The state of reading a scan.
pub(super) struct Scan<'a> {
    data: &'a [u8],
    bits: Bits<'a>,
    predictions: [i32; 3],
    tables: [(&'a Dc, &'a Ac); 3],
    /// The blocks of an MCU in order, of which the first `blocks` exist.
    layout: [BlockAt; 10],
    blocks: usize,
    /// Blocks of each component in an MCU, across and down.
    samplings: [(usize, usize); 3],
    mcus_across: usize,
    /// MCUs between restart markers; 0 if there are none.
    restart: usize,
    /// MCUs until the next restart marker.
    left: usize,
    /// Number of the next restart marker, 0 to 7.
    number: u8,
}

impl<'a> Scan<'a> {
    pub(super) fn new(header: &Header<'a>, data: &'a [u8], tables: [(&'a Dc, &'a Ac); 3]) -> Self {
        let mut scan = Self {
            data,
            bits: Bits::new(data, header.scan, 0),
            predictions: [0; 3],
            tables,
            layout: [BlockAt::default(); 10],
            blocks: 0,
            samplings: header.components.map(|c| (c.h, c.v)),
            mcus_across: header.mcus().0,
            restart: header.restart,
            left: header.restart,
            number: 0,
        };
        for (component, sampling) in header.components.iter().enumerate().take(header.count) {
            for y in 0..sampling.v {
                for x in 0..sampling.h {
                    scan.layout[scan.blocks] = BlockAt { component, x, y };
                    scan.blocks += 1;
                }
            }
        }
        scan
    }

    /// Continues at the beginning of a row of MCUs.
    pub(super) fn jump(&mut self, row: usize, to: &Checkpoint) {
        self.bits = Bits::new(self.data, to.at, to.skip);
        self.predictions = to.predictions;
        if self.restart > 0 {
            let before = row * self.mcus_across;
            self.left = self.restart - before % self.restart;
            self.number = ((before / self.restart) & 7) as u8;
        }
    }

    /// Reads the restart marker, if one is due.
    #[inline(always)]
    pub(super) fn restart_if_due(&mut self) -> Result<(), Damaged> {
        if self.restart == 0 || self.left > 0 {
            return Ok(());
        }
        self.bits.restart(self.number).ok_or(Damaged)?;
        self.number = (self.number + 1) & 7;
        self.predictions = [0; 3];
        self.left = self.restart;
        Ok(())
    }

    /// The present position. `None` if the data has ended before it.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let (at, skip) = self.bits.place()?;
        Some(Checkpoint { at, skip, predictions: self.predictions })
    }
}

/// The samples of one component in a row of MCUs: a strip for each row of blocks, stored column by column.
#[derive(Debug, Default)]
pub(super) struct Strips {
    /// Columns of eight samples, `stride` in each strip.
    pub(super) columns: Vec<[f32; 8]>,
    pub(super) stride: usize,
    /// The extremes of each block, `blocks` in each strip.
    pub(super) extremes: Vec<Extremes>,
    pub(super) blocks: usize,
}

impl Strips {
    /// Makes room for strips of so many blocks, with so many columns after them.
    pub(super) fn set(&mut self, strips: usize, blocks: usize, more_columns: usize) {
        (self.blocks, self.stride) = (blocks, blocks * 8 + more_columns);
        self.columns.resize(strips * self.stride, [0.0; 8]);
        self.extremes.resize(strips * blocks, Extremes::default());
    }

    /// The strips, from top to bottom.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[[f32; 8]]> {
        self.columns.chunks_exact(self.stride.max(1))
    }
}

/// The blocks that a crop needs.
#[derive(Debug, Default)]
pub(super) struct WantedBlocks {
    /// Columns of MCUs that hold such blocks.
    pub(super) mcus: Range<usize>,
    /// Columns of blocks, by component.
    pub(super) across: [Range<usize>; 3],
    /// Rows of blocks, by component.
    pub(super) down: [Range<usize>; 3],
}

/// A row of MCUs that is to be decoded.
pub(super) struct McuRow<'r, 'a> {
    pub(super) scan: &'r mut Scan<'a>,
    /// Number of the row, from the top.
    pub(super) number: usize,
    /// The blocks that are needed of it; `None` if it is skipped.
    pub(super) want: Option<&'r WantedBlocks>,
    /// Whether the MCUs after the last wanted one must be read too.
    pub(super) to_end: bool,
    pub(super) tables: &'r [[f32; 64]; 3],
    pub(super) strips: &'r mut [Strips; 3],
}

/// Decodes a row of MCUs.
#[inline(always)]
pub(super) fn decode(row: McuRow<'_, '_>) -> Result<(), Damaged> {
    let McuRow { scan, number, want, to_end, tables, strips } = row;
    let mcus = want.map_or(0..0, |want| want.mcus.clone());
    let end = if to_end { scan.mcus_across } else { mcus.end };
    let mut block: Block = [0; 256];
    for mcu in 0..end {
        scan.restart_if_due()?;
        scan.left = scan.left.wrapping_sub(1);
        let mut bits = scan.bits;
        let wanted = want.filter(|_| mcus.contains(&mcu));
        for at in &scan.layout[..scan.blocks] {
            let component = at.component;
            let (h, v) = scan.samplings[component];
            let (codes, prediction) = (scan.tables[component], &mut scan.predictions[component]);
            let (x, y) = (mcu * h + at.x, number * v + at.y);
            let place = wanted.and_then(|want| {
                let here = want.across[component].contains(&x) && want.down[component].contains(&y);
                here.then(|| x - want.across[component].start)
            });
            let Some(place) = place else {
                entropy::skip(&mut bits, codes, prediction)?;
                continue;
            };
            let count = entropy::decode(&mut bits, codes, prediction, &mut block)?;
            let strips = &mut strips[component];
            let first = at.y * strips.stride + place * 8;
            let out = strips.columns.get_mut(first..).and_then(<[_]>::first_chunk_mut).ok_or(Damaged)?;
            let extremes = idct::samples(&block, &tables[component], count, out);
            if let Some(to) = strips.extremes.get_mut(at.y * strips.blocks + place) {
                *to = extremes;
            }
            block[..64].fill(0);
        }
        scan.bits = bits;
    }
    if scan.bits.overrun() { Err(Damaged) } else { Ok(()) }
}
