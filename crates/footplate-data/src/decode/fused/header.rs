//! Reads the segments before a JPEG's image data, of files that the crop decoder supports.

use crate::decode::{ImageInfo, exif};

/// The header of a supported file: baseline, Huffman-coded, 8 bits, one scan.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    /// Width in pixels.
    pub(super) width: usize,
    /// Height in pixels.
    pub(super) height: usize,
    /// EXIF orientation, 1 to 8.
    orientation: u8,
    /// The components, of which the first `count` exist.
    pub(super) components: [Component; 3],
    pub(super) count: usize,
    pub(super) color: Color,
    /// Quantisation tables in zigzag order.
    quant: [Option<[u16; 64]>; 4],
    dc: [Option<Code<'a>>; 4],
    ac: [Option<Code<'a>>; 4],
    /// MCUs between restart markers; 0 if there are none.
    pub(super) restart: usize,
    /// Offset of the entropy-coded data in the file.
    pub(super) scan: usize,
}

/// How the components are converted to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Gray,
    Ycc,
    Rgb,
}

/// One component of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Component {
    id: u8,
    /// Blocks of it in an MCU, across.
    pub(super) h: usize,
    /// Blocks of it in an MCU, down.
    pub(super) v: usize,
    quant: usize,
    dc: usize,
    ac: usize,
}

/// A Huffman code as a file stores it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'a> {
    /// Codes of each length from 1 to 16 bits.
    pub(super) counts: &'a [u8; 16],
    /// Symbols in order of their codes.
    pub(super) symbols: &'a [u8],
}

/// What was met while the segments are read.
#[derive(Default)]
struct Marks {
    frame: bool,
    jfif: bool,
    adobe_transform: Option<u8>,
    exif: bool,
}

impl<'a> Header<'a> {
    /// Reads the segments up to the image data. `None` if the file is unsupported or damaged; the library decoder tells
    /// which.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut header = Self {
            width: 0,
            height: 0,
            orientation: 1,
            components: [Component::default(); 3],
            count: 0,
            color: Color::Gray,
            quant: [None; 4],
            dc: [None; 4],
            ac: [None; 4],
            restart: 0,
            scan: 0,
        };
        let mut marks = Marks::default();
        if bytes.get(..2)? != [0xff, 0xd8] {
            return None;
        }
        let mut at = 2;
        loop {
            if *bytes.get(at)? != 0xff {
                return None;
            }
            let marker = *bytes.get(at + 1)?;
            if marker == 0xff {
                at += 1;
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
            let segment = bytes.get(at + 4..at + 2 + length)?;
            at += 2 + length;
            match marker {
                0xc0 | 0xc1 if !marks.frame => {
                    header.frame(segment)?;
                    marks.frame = true;
                }
                0xc4 => header.codes(segment)?,
                0xdb => header.quantisation(segment)?,
                0xdd => header.restart = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
                0xda if marks.frame => {
                    header.scan(segment)?;
                    header.scan = at;
                    header.color = header.colors(&marks)?;
                    return Some(header);
                }
                0xe0 => marks.jfif |= segment.len() >= 12 && segment.starts_with(b"JFIF\0"),
                0xe1 if !marks.exif && segment.starts_with(b"Exif\0\0") => {
                    marks.exif = true;
                    header.orientation = exif::orientation(&segment[6..]);
                }
                0xee if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                    marks.adobe_transform = Some(segment[11]);
                }
                0xe1..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, ref components @ ..] = *segment else { return None };
        self.height = usize::from(u16::from_be_bytes([h1, h0]));
        self.width = usize::from(u16::from_be_bytes([w1, w0]));
        self.count = usize::from(count);
        let known = (self.count == 1 || self.count == 3) && components.len() == self.count * 3;
        if self.width == 0 || self.height == 0 || !known {
            return None;
        }
        for (component, given) in self.components.iter_mut().zip(components.as_chunks::<3>().0) {
            let [id, sampling, quant] = *given;
            let (h, v) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            *component = Component { id, h, v, quant: usize::from(quant), dc: 0, ac: 0 };
        }
        if self.count == 1 {
            // A scan of one component has one block in an MCU, whatever its sampling.
            (self.components[0].h, self.components[0].v) = (1, 1);
            return Some(());
        }
        let [luma, cb, cr] = &self.components;
        let samplings = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)];
        let chroma_once = [cb, cr].iter().all(|c| (c.h, c.v) == (1, 1));
        (chroma_once && samplings.contains(&(luma.h, luma.v))).then_some(())
    }

    fn codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((class, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|n| usize::from(*n)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let tables = match class >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(class & 15))? = Some(Code { counts, symbols });
            segment = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = segment.split_first() {
            let mut table = [0; 64];
            let wide = match kind >> 4 {
                0 => 1,
                1 => 2,
                _ => return None,
            };
            let (values, rest) = rest.split_at_checked(64 * wide)?;
            for (to, from) in table.iter_mut().zip(values.chunks_exact(wide)) {
                *to = from.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            *self.quant.get_mut(usize::from(kind & 15))? = Some(table);
            segment = rest;
        }
        Some(())
    }

    /// Reads the header of the scan, which must hold all components with all coefficients.
    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        let (count, rest) = segment.split_first()?;
        let (components, spectrum) = rest.split_at_checked(self.count * 2)?;
        if usize::from(*count) != self.count || spectrum != [0, 63, 0] {
            return None;
        }
        for (component, given) in self.components.iter_mut().zip(components.as_chunks::<2>().0) {
            if given[0] != component.id {
                return None;
            }
            (component.dc, component.ac) = (usize::from(given[1] >> 4), usize::from(given[1] & 15));
        }
        Some(())
    }

    /// The colour conversion, by the rules of libjpeg.
    fn colors(&self, marks: &Marks) -> Option<Color> {
        if self.count == 1 {
            return Some(Color::Gray);
        }
        let ids = [self.components[0].id, self.components[1].id, self.components[2].id];
        let rgb = match (marks.jfif, marks.adobe_transform) {
            (true, _) => false,
            (false, Some(transform)) => transform == 0,
            (false, None) => ids == *b"RGB",
        };
        if !rgb {
            return Some(Color::Ycc);
        }
        let plain = (self.components[0].h, self.components[0].v) == (1, 1);
        plain.then_some(Color::Rgb)
    }

    pub(super) fn quant_of(&self, component: usize) -> Option<&[u16; 64]> {
        self.quant.get(self.components[component].quant)?.as_ref()
    }

    pub(super) fn dc_of(&self, component: usize) -> Option<Code<'a>> {
        *self.dc.get(self.components[component].dc)?
    }

    pub(super) fn ac_of(&self, component: usize) -> Option<Code<'a>> {
        *self.ac.get(self.components[component].ac)?
    }

    /// Offset of the entropy-coded data in the file.
    pub(crate) fn scan_start(&self) -> usize {
        self.scan
    }

    /// Number of components, 1 or 3.
    pub(crate) fn components(&self) -> usize {
        self.count
    }

    /// Size and orientation of the image.
    pub(crate) fn info(&self) -> ImageInfo {
        ImageInfo { width: self.width as u32, height: self.height as u32, orientation: self.orientation }
    }

    /// Number of MCUs across and down.
    pub(crate) fn mcus(&self) -> (usize, usize) {
        let luma = &self.components[0];
        (self.width.div_ceil(8 * luma.h), self.height.div_ceil(8 * luma.v))
    }
}
