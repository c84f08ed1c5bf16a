//! Reads the bits of entropy-coded data: stuffed bytes are removed, and nothing is read past a marker or the end.

/// A reader of bits, from the highest of each byte on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Offset of the next byte that is not in the window.
    at: usize,
    /// The next bits, from the highest on. After `count` bits it holds part of the byte at `at`, or zeros.
    window: u64,
    /// Number of bits in the window that may be used.
    count: u32,
    /// Number of zeros at their end that replace what is beyond a marker or the end.
    padded: u32,
}

impl<'a> Bits<'a> {
    /// A reader from byte `at` of `data` on, without its first `skip` bits (at most 7).
    pub(super) fn new(data: &'a [u8], at: usize, skip: u32) -> Self {
        let mut bits = Self { data, at, window: 0, count: 0, padded: 0 };
        bits.refill();
        bits.consume(skip);
        bits
    }

    /// Fills the window with at least 56 bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(Some(chunk)) = self.data.get(self.at..).map(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*chunk);
            if !has_ff(word) {
                self.window |= word >> self.count;
                self.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return;
            }
        }
        // By value, so that the reader can stay in registers.
        *self = self.refilled_slowly();
    }

    #[cold]
    #[inline(never)]
    fn refilled_slowly(mut self) -> Self {
        while self.count < 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.padded = self.padded.saturating_add(8);
                    0
                }
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        self
    }

    /// The next `n` bits, 1 to 32, which must be in the window.
    #[inline(always)]
    pub(super) fn peek(&self, n: u32) -> usize {
        (self.window >> (64 - n)) as usize
    }

    /// Removes `n` bits, less than 64, which must be in the window.
    #[inline(always)]
    pub(super) fn consume(&mut self, n: u32) {
        self.window <<= n;
        self.count = self.count.wrapping_sub(n);
    }

    /// Whether bits beyond a marker or the end were used.
    pub(super) fn overrun(&self) -> bool {
        self.padded > self.count
    }

    /// Skips the restart marker of the given number, 0 to 7. `None` if another one, or none, comes next.
    pub(super) fn restart(&mut self, number: u8) -> Option<()> {
        if self.overrun() || self.count - self.padded >= 8 {
            return None;
        }
        while self.data.get(self.at..self.at + 2)? == [0xff, 0xff] {
            self.at += 1;
        }
        if self.data[self.at..self.at + 2] != [0xff, 0xd0 | number] {
            return None;
        }
        *self = Self::new(self.data, self.at + 2, 0);
        Some(())
    }

    /// Position of the next bit: the offset of its byte, and the bits of that byte before it. `None` after an overrun.
    pub(super) fn place(&self) -> Option<(usize, u32)> {
        let left = self.count.checked_sub(self.padded)?;
        let bytes = left.div_ceil(8);
        let mut at = self.at;
        for _ in 0..bytes {
            let stuffed = at >= 2 && self.data.get(at - 2..at)? == [0xff, 0];
            at = at.checked_sub(if stuffed { 2 } else { 1 })?;
        }
        Some((at, bytes * 8 - left))
    }
}

/// Whether one of the eight bytes is 0xff.
#[inline(always)]
fn has_ff(word: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    (!word).wrapping_sub(LOW) & word & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_of_ones_are_seen() {
        assert!(!has_ff(0) && !has_ff(0xfefe_7f80_0100_fefe));
        for i in 0..8 {
            assert!(has_ff(0xff << (8 * i)) && has_ff(0x0102_fe7f_80f7_effe | 0xff << (8 * i)));
        }
    }

    #[test]
    fn a_restart_must_be_the_one_expected() {
        let data = [0b1010_1111, 0xff, 0xd3, 0x55, 0, 0];
        let mut bits = Bits::new(&data, 0, 3);
        assert!({ bits }.restart(2).is_none());
        assert!(bits.restart(3).is_some());
        assert_eq!(bits.peek(8), 0x55);
        let mut early = Bits::new(&data[..], 0, 0);
        assert!(early.restart(3).is_none(), "a whole byte was not read yet");
    }

    proptest! {
        /// Against the plain reading: bit by bit from the bytes without stuffing.
        #[test]
        fn all_bits_come_in_order(
            bytes in prop::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..60),
            steps in prop::collection::vec(1u32..17, 1..60),
        ) {
            let mut stuffed = Vec::new();
            for byte in &bytes {
                stuffed.push(*byte);
                if *byte == 0xff {
                    stuffed.push(0);
                }
            }
            stuffed.extend([0xff, 0xd9, 0x12]);
            let bit = |i: usize| bytes.get(i / 8).map_or(0, |b| usize::from(b >> (7 - i % 8) & 1));
            let mut bits = Bits::new(&stuffed, 0, 0);
            let mut done = 0;
            for step in steps {
                bits.refill();
                let expected = (0..step as usize).fold(0, |sum, i| sum << 1 | bit(done + i));
                prop_assert_eq!(bits.peek(step), expected);
                bits.consume(step);
                done += step as usize;
                prop_assert_eq!(bits.overrun(), done > bytes.len() * 8);
                if let Some((at, skip)) = bits.place() {
                    let mut again = Bits::new(&stuffed, at, skip);
                    let mut old = bits;
                    old.refill();
                    again.refill();
                    prop_assert_eq!(again.peek(32), old.peek(32));
                }
            }
        }
    }
}
