//! The index of a JPEG file: entropy checkpoints, so that a crop starts decoding at its first row.
//!
//! The file itself stays as it is. `docs/jpeg-index.md` describes the format.

use super::fused::{Checkpoint, Decoder, Header};

/// First bytes of an index: its kind and version.
const MAGIC: [u8; 4] = *b"FPJ\x01";
/// Bytes before the checkpoints: the magic, the file's length, the checksum of its header.
const HEAD: usize = 12;
/// Bytes after them: the checksum of what precedes.
const TAIL: usize = 4;

/// The index of a file, or `None` for a file that the crop decoder does not speak or that is damaged: all of
/// its entropy-coded data is read. Such a file is decoded whole, by the library.
pub fn build(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::parse(bytes)?;
    let length = u32::try_from(bytes.len()).ok()?;
    if !super::jpeg::ends_after(bytes, header.scan_start()) {
        return None;
    }
    let mut index = MAGIC.to_vec();
    index.extend(length.to_le_bytes());
    index.extend(crc32fast::hash(&bytes[..header.scan_start()]).to_le_bytes());
    let mut last = Checkpoint { at: header.scan_start(), ..Checkpoint::default() };
    let put = |checkpoint: Checkpoint| {
        put_checkpoint(checkpoint, last, header.components(), &mut index);
        last = checkpoint;
    };
    Decoder::default().scan(bytes, &header, put).ok()?;
    index.extend(crc32fast::hash(&index).to_le_bytes());
    Some(index)
}

/// Adds a checkpoint after the `last` one.
fn put_checkpoint(checkpoint: Checkpoint, last: Checkpoint, components: usize, out: &mut Vec<u8>) {
    // The first bit's distance from the last checkpoint's byte.
    let distance = checkpoint.at.saturating_sub(last.at) as u64 * 8 + u64::from(checkpoint.skip);
    put_number(distance, out);
    for (now, before) in checkpoint.predictions.iter().zip(last.predictions).take(components) {
        put_number(folded(now.wrapping_sub(before)), out);
    }
}

/// Small numbers of either sign as small numbers.
fn folded(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

fn unfolded(value: u64) -> Option<i32> {
    let value = u32::try_from(value).ok()?;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Seven bits in each byte, the lowest first; the highest bit says that more follow.
fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The checkpoints of an index, read from the first on.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints<'a> {
    rest: &'a [u8],
    components: usize,
    file_length: usize,
    /// The number of the next row of MCUs.
    next: usize,
    last: Checkpoint,
}

impl<'a> Checkpoints<'a> {
    /// `None` if the index is of another version, damaged, or not of this file.
    pub(crate) fn new(index: &'a [u8], file: &[u8], header: &Header<'_>) -> Option<Self> {
        let (body, checksum) = index.split_at_checked(index.len().checked_sub(TAIL)?)?;
        let head = body.get(..HEAD)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let fits = head.starts_with(&MAGIC)
            && number(4)? as usize == file.len()
            && number(8)? == crc32fast::hash(file.get(..header.scan_start())?)
            && checksum == crc32fast::hash(body).to_le_bytes();
        fits.then(|| Self::of_rows(&body[HEAD..], file, header))
    }

    /// Of what [`CheckpointRecorder`] found in the same file before; the rows at the end may be missing.
    pub(crate) fn of_rows(rows: &'a [u8], file: &[u8], header: &Header<'_>) -> Self {
        let last = Checkpoint { at: header.scan_start(), ..Checkpoint::default() };
        Self { rest: rows, components: header.components(), file_length: file.len(), next: 0, last }
    }

    /// The last known place up to the beginning of a row of MCUs, and the row that begins there. `None`: there is
    /// none. Rows must be asked for in ascending order.
    pub(crate) fn up_to(&mut self, row: usize) -> Option<(usize, Checkpoint)> {
        while self.next <= row {
            let (next, rest, last) = (self.next, self.rest, self.last);
            if self.at(next).is_none() {
                // What is there is still good.
                (self.next, self.rest, self.last) = (next, rest, last);
                break;
            }
        }
        let row = self.next.checked_sub(1)?;
        Some((row, self.last))
    }

    /// The place where a row of MCUs begins. Rows must be asked for in ascending order.
    pub(crate) fn at(&mut self, row: usize) -> Option<Checkpoint> {
        while self.next <= row {
            let distance = take_number(&mut self.rest)?;
            self.last.at = self.last.at.checked_add(usize::try_from(distance / 8).ok()?)?;
            self.last.skip = (distance % 8) as u32;
            for prediction in self.last.predictions.iter_mut().take(self.components) {
                *prediction = prediction.wrapping_add(unfolded(take_number(&mut self.rest)?)?);
            }
            self.next += 1;
        }
        (self.next == row + 1 && self.last.at <= self.file_length).then_some(self.last)
    }
}

/// Checkpoints that are found while a crop is read, for the next time.
#[derive(Debug)]
pub(crate) struct CheckpointRecorder<'t> {
    out: &'t mut Vec<u8>,
    components: usize,
    /// The number of the next row of MCUs, and the last checkpoint before it.
    next: usize,
    last: Checkpoint,
}

impl<'t> CheckpointRecorder<'t> {
    /// Goes on after the `rows` that are known: what comes is put into `out`.
    pub(crate) fn after(rows: &[u8], file: &[u8], header: &Header<'_>, out: &'t mut Vec<u8>) -> Self {
        out.clear();
        let mut known = Checkpoints::of_rows(rows, file, header);
        let last = known.up_to(header.mcus().1);
        let (next, last) = last.map_or((0, known.last), |(row, last)| (row + 1, last));
        Self { out, components: known.components, next, last }
    }

    /// The place where a row begins. Only the next one is of use.
    pub(crate) fn add(&mut self, row: usize, place: impl FnOnce() -> Option<Checkpoint>) {
        if row == self.next
            && let Some(checkpoint) = place()
        {
            put_checkpoint(checkpoint, self.last, self.components, self.out);
            (self.next, self.last) = (row + 1, checkpoint);
        }
    }
}
