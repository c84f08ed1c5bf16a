//! Huffman codes as look-up tables: one look-up gives up to two coefficients with their values.

use super::header::Code;

/// Bits that index a table of AC codes.
pub(super) const AC_BITS: u32 = 11;
/// Bits that index a table of DC codes.
pub(super) const DC_BITS: u32 = 10;
/// A step: the block is complete. It is added to the number of coefficients before.
pub(super) const END: u32 = 128;
/// A step: this look-up does not suffice. It is greater than any sum with [`END`].
const MORE: u32 = 250;
/// A step: a symbol whose value has more bits than the look-up.
const LONG: u32 = 251;
/// The most bits that a look-up uses when skipping, so that four fit into a filled window.
const SKIP_BITS_MAX: u32 = 14;
/// Number of tables that are kept for later images.
const KEPT: usize = 8;

/// The result of looking up [`AC_BITS`] bits. Each field is a byte of its own, which the reader loads at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct Look {
    /// Number of bits that it uses up.
    pub(super) bits: u8,
    /// Distance from the present coefficient to that of the first value.
    pub(super) first_place: u8,
    /// Number of coefficients that it advances, its own included; plus [`END`] if the block is then complete. Its last value
    /// belongs to the coefficient before that.
    pub(super) step: u8,
    /// The step when skipping, where no values are needed.
    pub(super) skip_step: u8,
    /// The value of the first coefficient.
    pub(super) first: i16,
    /// The last value: the second one, or the first again. With [`LONG`], the number of the value's bits.
    pub(super) last: i16,
}

impl Look {
    fn new(bits: u32, first_place: u32, step: u32, [first, last]: [i32; 2]) -> Self {
        let [bits, first_place, step] = [bits, first_place, step].map(|n| n as u8);
        Self { bits, first_place, step, skip_step: step, first: first as i16, last: last as i16 }
    }

    /// For a symbol whose value has more bits than the look-up: its run of zeros, and the number of the value's bits, which
    /// are the last of [`Look::bits`].
    #[inline(always)]
    pub(super) fn long(self) -> Option<(usize, u32)> {
        let is_long = u32::from(self.step) == LONG;
        is_long.then_some((self.first_place.into(), self.last as u32))
    }
}

/// A code that is decoded bit length by bit length, for symbols that are longer than a look-up.
#[derive(Clone, Debug)]
pub(super) struct Canonical {
    counts: [u8; 16],
    symbols: [u8; 256],
    /// For each length from 1 on: the first 16-bit word beyond its codes.
    limits: [u32; 16],
    /// For each length: the number to add to a code to get its symbol's index.
    offsets: [i32; 16],
}

impl Canonical {
    /// `None` if there are more codes of a length than fit.
    fn new(code: Code<'_>) -> Option<Self> {
        let mut canonical =
            Self { counts: *code.counts, symbols: [0; 256], limits: [0; 16], offsets: [0; 16] };
        canonical.symbols.get_mut(..code.symbols.len())?.copy_from_slice(code.symbols);
        let (mut next, mut place) = (0u32, 0i32);
        for length in 1..=16u32 {
            let i = length as usize - 1;
            let count = u32::from(code.counts[i]);
            canonical.offsets[i] = place - next as i32;
            next += count;
            place += count as i32;
            if next > 1 << length {
                return None;
            }
            canonical.limits[i] = next << (16 - length);
            next <<= 1;
        }
        Some(canonical)
    }

    fn is_of(&self, code: &Code<'_>) -> bool {
        self.counts == *code.counts && self.symbols[..code.symbols.len()] == *code.symbols
    }

    /// The symbol that 16 bits begin with, and its length in bits.
    pub(super) fn symbol(&self, bits16: usize) -> Option<(u8, u32)> {
        let i = self.limits.iter().position(|limit| (bits16 as u32) < *limit)?;
        let length = i as u32 + 1;
        let place = (bits16 >> (16 - length)) as i32 + self.offsets[i];
        Some((*self.symbols.get(usize::try_from(place).ok()?)?, length))
    }

    /// For each word of `bits` bits: length and symbol; the length is 0 if the code is longer, or if there is none.
    fn looks(&self, bits: u32, out: &mut [(u8, u8)]) {
        out.fill((0, 0));
        let (mut at, mut place) = (0, 0);
        for length in 1..=bits {
            let span = 1 << (bits - length);
            for _ in 0..self.counts[length as usize - 1] {
                let symbol = self.symbols[place & 255];
                out.iter_mut().skip(at).take(span).for_each(|look| *look = (length as u8, symbol));
                at += span;
                place += 1;
            }
        }
    }
}

/// The value of `size` bits (ITU-T T.81, table F.1: values with a leading 0 are negative).
#[inline(always)]
pub(super) fn extend(bits: u32, size: u32) -> i32 {
    if size == 0 {
        return 0;
    }
    let bits = bits as i32;
    if bits >> (size - 1) == 0 { bits - (1 << size) + 1 } else { bits }
}

/// A code for AC coefficients.
#[derive(Debug)]
pub(super) struct Ac {
    pub(super) looks: Box<[Look; 1 << AC_BITS]>,
    pub(super) canonical: Canonical,
}

/// The meaning of a symbol of an AC code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct AcSymbol {
    pub(super) run: u32,
    pub(super) size: u32,
}

impl AcSymbol {
    #[inline(always)]
    pub(super) fn new(symbol: u8) -> Self {
        Self { run: u32::from(symbol >> 4), size: u32::from(symbol & 15) }
    }

    /// The rest of the block is zero.
    #[inline(always)]
    pub(super) fn is_end(self) -> bool {
        self.size == 0 && self.run != 15
    }
}

impl Ac {
    fn new(canonical: Canonical) -> Self {
        let mut table = Self { looks: Box::new([Look::default(); 1 << AC_BITS]), canonical };
        table.fill();
        table
    }

    fn fill(&mut self) {
        let mut single = [(0, 0); 1 << AC_BITS];
        self.canonical.looks(AC_BITS, &mut single);
        for (i, look) in self.looks.iter_mut().enumerate() {
            *look = Self::look(i, &single);
        }
    }

    fn look(i: usize, single: &[(u8, u8); 1 << AC_BITS]) -> Look {
        /// The bits of the symbol's value, which begin after `used` bits of the word.
        fn value(i: usize, used: u32, size: u32) -> i32 {
            extend((i >> (AC_BITS - used - size)) as u32 & ((1 << size) - 1), size)
        }
        let (length, symbol) = single[i];
        let (length, symbol) = (u32::from(length), AcSymbol::new(symbol));
        if length == 0 {
            return Look::new(0, 0, MORE, [0, 0]);
        }
        if symbol.is_end() {
            return Look::new(length, 0, END, [0, 0]);
        }
        let step = symbol.run + 1;
        let used = length + symbol.size;
        if used > AC_BITS {
            let skip_step = if used > SKIP_BITS_MAX { MORE } else { step };
            let look = Look::new(used, symbol.run, LONG, [0, symbol.size as i32]);
            return Look { skip_step: skip_step as u8, ..look };
        }
        let first = value(i, length, symbol.size);
        let (length, symbol) = single[i << used & ((1 << AC_BITS) - 1)];
        let (length, symbol) = (u32::from(length), AcSymbol::new(symbol));
        if length != 0 && used + length <= AC_BITS && symbol.is_end() {
            return Look::new(used + length, step - 1, step + END, [first, 0]);
        }
        if length != 0 && used + length + symbol.size <= AC_BITS {
            let second = value(i, used + length, symbol.size);
            let bits = used + length + symbol.size;
            return Look::new(bits, step - 1, step + symbol.run + 1, [first, second]);
        }
        Look::new(used, step - 1, step, [first, first])
    }
}

/// The result of looking up [`DC_BITS`] bits: a difference and the number of its bits; 0 bits if it is longer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DcLook {
    pub(super) difference: i16,
    pub(super) bits: u16,
}

/// A code for DC differences.
#[derive(Debug)]
pub(super) struct Dc {
    pub(super) looks: Box<[DcLook; 1 << DC_BITS]>,
    pub(super) canonical: Canonical,
}

impl Dc {
    /// `None` if a symbol is not a number of bits up to 11, which suffice for 8-bit samples.
    fn new(canonical: Canonical) -> Option<Self> {
        if canonical.symbols.iter().any(|size| *size > 11) {
            return None;
        }
        let mut table = Self { looks: Box::new([DcLook::default(); 1 << DC_BITS]), canonical };
        table.fill();
        Some(table)
    }

    fn fill(&mut self) {
        let mut single = [(0, 0); 1 << DC_BITS];
        self.canonical.looks(DC_BITS, &mut single);
        for (i, (look, (length, size))) in self.looks.iter_mut().zip(single).enumerate() {
            let used = u32::from(length) + u32::from(size);
            if length == 0 || used > DC_BITS {
                *look = DcLook::default();
                continue;
            }
            let bits = (i >> (DC_BITS - used)) as u32 & ((1 << size) - 1);
            *look = DcLook { difference: extend(bits, size.into()) as i16, bits: used as u16 };
        }
    }
}

/// Tables of the last codes: many files use the same ones.
#[derive(Debug, Default)]
pub(super) struct Tables {
    ac: Vec<Ac>,
    dc: Vec<Dc>,
    next_ac: usize,
    next_dc: usize,
}

impl Tables {
    /// The index of a code's table.
    fn ac(&mut self, code: Code<'_>) -> Option<usize> {
        if let Some(place) = self.ac.iter().position(|table| table.canonical.is_of(&code)) {
            return Some(place);
        }
        let canonical = Canonical::new(code)?;
        if self.ac.len() < KEPT {
            self.ac.push(Ac::new(canonical));
            return Some(self.ac.len() - 1);
        }
        self.next_ac = (self.next_ac + 1) % KEPT;
        self.ac[self.next_ac].canonical = canonical;
        self.ac[self.next_ac].fill();
        Some(self.next_ac)
    }

    fn dc(&mut self, code: Code<'_>) -> Option<usize> {
        if let Some(place) = self.dc.iter().position(|table| table.canonical.is_of(&code)) {
            return Some(place);
        }
        let canonical = Canonical::new(code)?;
        if canonical.symbols.iter().any(|size| *size > 11) {
            return None;
        }
        if self.dc.len() < KEPT {
            self.dc.push(Dc::new(canonical)?);
            return Some(self.dc.len() - 1);
        }
        self.next_dc = (self.next_dc + 1) % KEPT;
        self.dc[self.next_dc].canonical = canonical;
        self.dc[self.next_dc].fill();
        Some(self.next_dc)
    }

    /// The tables of `count` pairs (at most three) of a DC and an AC code.
    pub(super) fn of(&mut self, codes: &[(Code<'_>, Code<'_>)]) -> Option<[(&Dc, &Ac); 3]> {
        let mut places = [(0, 0); 3];
        for (place, (dc, ac)) in places.iter_mut().zip(codes) {
            // One image needs at most three of each kind: they are all still there at the end.
            *place = (self.dc(*dc)?, self.ac(*ac)?);
        }
        Some(places.map(|(dc, ac)| (&self.dc[dc], &self.ac[ac])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The code of ITU-T T.81, table K.5 (luminance AC), as far as it matters here: its first lengths.
    const COUNTS: [u8; 16] = [0, 2, 1, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const SYMBOLS: [u8; 12] = [0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0xf0, 0x06];

    fn code() -> Code<'static> {
        Code { counts: &COUNTS, symbols: &SYMBOLS }
    }

    #[test]
    fn values_with_a_leading_zero_are_negative() {
        assert_eq!(
            [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (3, 2)].map(|(b, s)| extend(b, s)),
            [-1, 1, -3, -2, 2, 3]
        );
        assert_eq!((extend(0, 0), extend(0, 11), extend(2047, 11)), (0, -2047, 2047));
    }

    #[test]
    fn too_many_codes_of_a_length_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Canonical::new(Code { counts: &counts, symbols: &[1, 2, 3] }).is_none());
        assert!(
            Tables::default().dc(Code { counts: &COUNTS, symbols: &SYMBOLS }).is_none(),
            "a DC size of 0x11"
        );
    }

    #[test]
    fn a_table_is_made_once_and_old_ones_make_room() {
        let mut tables = Tables::default();
        let first = tables.ac(code());
        assert_eq!(tables.ac(code()), first);
        for i in 0..20u8 {
            let mut symbols = SYMBOLS;
            symbols[0] = i << 4 | 1;
            let place = tables.ac(Code { counts: &COUNTS, symbols: &symbols }).unwrap();
            assert!(tables.ac[place].canonical.is_of(&Code { counts: &COUNTS, symbols: &symbols }));
            assert!(tables.ac.len() <= KEPT);
        }
    }

    proptest! {
        /// Each look-up says what the symbols say one by one.
        #[test]
        fn looks_agree_with_symbols(bits in 0usize..1 << 16) {
            let table = Ac::new(Canonical::new(code()).unwrap());
            let look = table.looks[bits >> (16 - AC_BITS)];
            prop_assume!(u32::from(look.step) < MORE);
            let mut expected = [0i16; 64];
            let (mut used, mut at) = (0, 0);
            while used < u32::from(look.bits) {
                let (symbol, length) = table.canonical.symbol(bits << used & 0xffff).unwrap();
                let symbol = AcSymbol::new(symbol);
                used += length;
                if symbol.is_end() {
                    at += END as usize;
                    break;
                }
                at += symbol.run as usize;
                let raw = (bits >> (16 - used - symbol.size)) as u32 & ((1 << symbol.size) - 1);
                expected[at] = extend(raw, symbol.size) as i16;
                used += symbol.size;
                at += 1;
            }
            prop_assert_eq!((used, at), (look.bits.into(), look.step.into()));
            let mut got = [0i16; 64];
            for (place, value) in [(look.first_place, look.first), (look.step.wrapping_sub(1), look.last)] {
                if let Some(to) = got.get_mut(usize::from(place)) {
                    *to = value;
                }
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(look.skip_step, look.step);
        }
    }
}
