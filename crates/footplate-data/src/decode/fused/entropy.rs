//! Decodes or skips Huffman-coded blocks.

use super::bits::Bits;
use super::huffman::{AC_BITS, Ac, AcSymbol, DC_BITS, Dc, END, extend};

/// The data does not keep what the header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Coefficients of a block, row by row, and room for those that a look places beyond the block's end: any byte is
/// a place in it.
pub(super) type Block = [i16; 256];

/// Looks that fit into a filled window, also after a DC difference of at most [`DC_BITS`] bits.
const LOOKS: u32 = (56 - DC_BITS) / AC_BITS;

/// The place in a block of each coefficient in zigzag order; past the 64th, a place outside the block. A
/// number below 64 and a byte have a sum in it.
static ZIGZAG: [u8; 320] = zigzag();

/// For each place in zigzag order the one before it, as in [`ZIGZAG`].
static BEFORE: [u8; 320] = before();

const fn before() -> [u8; 320] {
    let mut table = [64; 320];
    let mut i = 1;
    while i < table.len() {
        table[i] = ZIGZAG[i - 1];
        i += 1;
    }
    table
}

const fn zigzag() -> [u8; 320] {
    let mut table = [64; 320];
    let (mut x, mut y, mut i) = (0i32, 0i32, 0);
    while i < 64 {
        table[i] = (y * 8 + x) as u8;
        // Even diagonals run up and to the right, odd ones down and to the left.
        if (x + y) % 2 == 0 {
            if x == 7 {
                y += 1;
            } else if y == 0 {
                x += 1;
            } else {
                (x, y) = (x + 1, y - 1);
            }
        } else if y == 7 {
            x += 1;
        } else if x == 0 {
            y += 1;
        } else {
            (x, y) = (x - 1, y + 1);
        }
        i += 1;
    }
    table
}

/// The place in a block (`8 * row + column`) of the coefficient number `i` in zigzag order.
pub(super) fn natural(i: usize) -> usize {
    usize::from(ZIGZAG[i])
}

/// A DC difference. The window is filled first; `true` if at most [`DC_BITS`] bits were used of it.
#[inline(always)]
fn dc_difference(bits: &mut Bits<'_>, dc: &Dc) -> Result<(i32, bool), Damaged> {
    bits.refill();
    let look = dc.looks[bits.peek(DC_BITS)];
    if look.bits != 0 {
        bits.consume(look.bits.into());
        return Ok((look.difference.into(), true));
    }
    let (size, length) = dc.canonical.symbol(bits.peek(16)).ok_or(Damaged)?;
    bits.consume(length);
    let size = u32::from(size);
    if size == 0 {
        return Ok((0, false));
    }
    let raw = bits.peek(size) as u32;
    bits.consume(size);
    Ok((extend(raw, size), false))
}

/// Decodes a block into `block`, which must be zero. Gives the number of coefficients in zigzag order up to the
/// last that may not be zero.
#[inline(always)]
pub(super) fn decode(
    bits: &mut Bits<'_>,
    tables: (&Dc, &Ac),
    prediction: &mut i32,
    block: &mut Block,
) -> Result<usize, Damaged> {
    let (difference, short) = dc_difference(bits, tables.0)?;
    *prediction = prediction.wrapping_add(difference);
    block[0] = *prediction as i16;
    if !short {
        bits.refill();
    }
    let mut k = 1usize;
    loop {
        for _ in 0..LOOKS {
            let look = tables.1.looks[bits.peek(AC_BITS)];
            // Less than 64 as it is; this spares a check of the table's bounds.
            k &= 63;
            let next = k + usize::from(look.step);
            block[usize::from(ZIGZAG[k + usize::from(look.first_place)])] = look.first;
            block[usize::from(BEFORE[next])] = look.last;
            if next < 64 {
                k = next;
                bits.consume(look.bits.into());
                continue;
            }
            if let Some(end) = end_of_block(next) {
                bits.consume(look.bits.into());
                return Ok(end);
            }
            if let Some((run, size)) = look.long()
                && k + run < 63
            {
                bits.refill();
                let raw = bits.peek(look.bits.into()) as u32 & ((1 << size) - 1);
                block[usize::from(ZIGZAG[k + run])] = extend(raw, size) as i16;
                bits.consume(look.bits.into());
                k += run + 1;
                break;
            }
            let (next, raw);
            (*bits, next, raw) = one_symbol(*bits, tables.1, k)?;
            if let Some((place, value)) = raw {
                block[usize::from(ZIGZAG[place & 63])] = value;
            }
            if next >= 64 {
                return Ok(if next == 64 { 64 } else { next - END as usize });
            }
            k = next;
        }
        bits.refill();
    }
}

/// Skips a block.
#[inline(always)]
pub(super) fn skip(bits: &mut Bits<'_>, tables: (&Dc, &Ac), prediction: &mut i32) -> Result<(), Damaged> {
    let (difference, short) = dc_difference(bits, tables.0)?;
    *prediction = prediction.wrapping_add(difference);
    if !short {
        bits.refill();
    }
    let mut k = 1usize;
    // Looks of at most SKIP_BITS_MAX bits: three fit after a DC difference, four into a filled window.
    if skip_looks::<3>(bits, tables.1, &mut k)? {
        return Ok(());
    }
    loop {
        bits.refill();
        if skip_looks::<4>(bits, tables.1, &mut k)? {
            return Ok(());
        }
    }
}

/// Skips coefficients from number `k` on by `N` table look-ups; `true` if the block is complete.
#[inline(always)]
fn skip_looks<const N: usize>(bits: &mut Bits<'_>, ac: &Ac, k: &mut usize) -> Result<bool, Damaged> {
    for _ in 0..N {
        let look = ac.looks[bits.peek(AC_BITS)];
        let next = *k + usize::from(look.skip_step);
        if next < 64 {
            *k = next;
            bits.consume(look.bits.into());
            continue;
        }
        if end_of_block(next).is_some() {
            bits.consume(look.bits.into());
            return Ok(true);
        }
        let next;
        (*bits, next, _) = one_symbol(*bits, ac, *k)?;
        if next >= 64 {
            return Ok(true);
        }
        // The window is full: the looks that are left fit all the more.
        *k = next;
    }
    Ok(false)
}

/// Whether a block is complete at this place, and how many coefficients it then has at most.
#[inline(always)]
fn end_of_block(next: usize) -> Option<usize> {
    // A look's first symbol may have been the block's last, and its second one the next block's: then the sum is
    // 65 to 127 or END + 64, and one symbol must be taken alone.
    if next == 64 {
        return Some(64);
    }
    let end = next.wrapping_sub(END as usize);
    (end < 64).then_some(end)
}

/// A coefficient's place and value, if a symbol has one.
type Value = Option<(usize, i16)>;

/// Decodes the symbol at coefficient `k` alone: the place after it (64 or, with [`END`] added, where the block
/// ended), and its value with its place. Leaves a filled window.
#[cold]
#[inline(never)]
fn one_symbol<'a>(mut bits: Bits<'a>, ac: &Ac, k: usize) -> Result<(Bits<'a>, usize, Value), Damaged> {
    bits.refill();
    let (symbol, length) = ac.canonical.symbol(bits.peek(16)).ok_or(Damaged)?;
    let symbol = AcSymbol::new(symbol);
    bits.consume(length);
    if symbol.is_end() {
        bits.refill();
        return Ok((bits, k + END as usize, None));
    }
    let place = k + symbol.run as usize;
    if place > 63 {
        return Err(Damaged);
    }
    let mut value = None;
    if symbol.size > 0 {
        let raw = bits.peek(symbol.size) as u32;
        bits.consume(symbol.size);
        value = Some((place, extend(raw, symbol.size) as i16));
    }
    bits.refill();
    Ok((bits, place + 1, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zigzag_is_that_of_the_standard() {
        assert_eq!(ZIGZAG[..10], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]);
        assert_eq!(ZIGZAG[56..66], [53, 60, 61, 54, 47, 55, 62, 63, 64, 64]);
    }
}
