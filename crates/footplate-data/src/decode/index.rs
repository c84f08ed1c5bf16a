//! The index of a JPEG file: checkpoints in its entropy-coded data, from which the decoding of a crop can start. The file
//! itself is not changed. `docs/jpeg-index.md` describes the format.

use super::fused::{Checkpoint, Decoder, Header};

/// First bytes of an index: its kind and version.
const MAGIC: [u8; 4] = *b"FPJ\x01";
/// Bytes before the checkpoints: magic, length of the file, checksum of its header.
const HEAD: usize = 12;
/// Bytes after the checkpoints: the checksum of all before.
const TAIL: usize = 4;

/// Makes the index of a file by reading all of its entropy-coded data. `None` if the file is damaged, or if the crop decoder
/// does not support it; such files are decoded completely, by a library.
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

/// Appends a checkpoint, as the difference from the `last` one.
fn put_checkpoint(checkpoint: Checkpoint, last: Checkpoint, components: usize, out: &mut Vec<u8>) {
    // The first bit's distance from the last checkpoint's byte.
    let distance = checkpoint.at.saturating_sub(last.at) as u64 * 8 + u64::from(checkpoint.skip);
    put_number(distance, out);
    for (now, before) in checkpoint.predictions.iter().zip(last.predictions).take(components) {
        put_number(folded(now.wrapping_sub(before)), out);
    }
}

/// Zigzag code: maps small numbers of either sign to small numbers.
fn folded(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

fn unfolded(value: u64) -> Option<i32> {
    let value = u32::try_from(value).ok()?;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Appends a number of variable length: seven bits in each byte, the lowest first; the highest bit is set if more bytes
/// follow.
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

/// Reads the checkpoints of an index, from the first on.
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
    /// Checkpoints of an index; `None` if it is of another version, damaged, or of another file.
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

    /// Checkpoints that [`CheckpointRecorder`] found in the same file; the last rows may be missing.
    pub(crate) fn of_rows(rows: &'a [u8], file: &[u8], header: &Header<'_>) -> Self {
        let last = Checkpoint { at: header.scan_start(), ..Checkpoint::default() };
        Self { rest: rows, components: header.components(), file_length: file.len(), next: 0, last }
    }

    /// The last known checkpoint at or before a row of MCUs, and its row. Rows must be asked for in ascending order.
    pub(crate) fn up_to(&mut self, row: usize) -> Option<(usize, Checkpoint)> {
        while self.next <= row {
            let (next, rest, last) = (self.next, self.rest, self.last);
            if self.at(next).is_none() {
                // What was read before is still valid.
                (self.next, self.rest, self.last) = (next, rest, last);
                break;
            }
        }
        let row = self.next.checked_sub(1)?;
        Some((row, self.last))
    }

    /// The checkpoint of a row of MCUs. Rows must be asked for in ascending order.
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

/// Records the checkpoints that are found while a crop is decoded.
#[derive(Debug)]
pub(crate) struct CheckpointRecorder<'t> {
    out: &'t mut Vec<u8>,
    components: usize,
    /// The number of the next row of MCUs, and the last checkpoint before it.
    next: usize,
    last: Checkpoint,
}

impl<'t> CheckpointRecorder<'t> {
    /// Records checkpoints after the known `rows`, into `out`.
    pub(crate) fn after(rows: &[u8], file: &[u8], header: &Header<'_>, out: &'t mut Vec<u8>) -> Self {
        out.clear();
        let mut known = Checkpoints::of_rows(rows, file, header);
        let last = known.up_to(header.mcus().1);
        let (next, last) = last.map_or((0, known.last), |(row, last)| (row + 1, last));
        Self { out, components: known.components, next, last }
    }

    /// Offers the checkpoint of a row. It is recorded only if it is the next one.
    pub(crate) fn add(&mut self, row: usize, place: impl FnOnce() -> Option<Checkpoint>) {
        if row == self.next
            && let Some(checkpoint) = place()
        {
            put_checkpoint(checkpoint, self.last, self.components, self.out);
            (self.next, self.last) = (row + 1, checkpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::tests::jpeg;

    fn header(file: &[u8]) -> Header<'_> {
        Header::parse(file).unwrap()
    }

    #[test]
    fn numbers_of_any_length_are_read_again() {
        for (value, bytes) in [(0, vec![0]), (127, vec![0x7f]), (128, vec![0x80, 1]), (300, vec![0xac, 2])] {
            let mut out = Vec::new();
            put_number(value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(take_number(&mut out.as_slice()), Some(value));
        }
        assert_eq!(take_number(&mut [0x80, 0x80].as_slice()), None, "the number goes on after the end");
        assert_eq!(take_number(&mut [0x80; 20].as_slice()), None, "no number is that long");
    }

    #[test]
    fn small_numbers_of_either_sign_are_folded_to_small_ones() {
        assert_eq!([0, -1, 1, -2, 2].map(folded), [0, 1, 2, 3, 4]);
        assert_eq!(unfolded(1 << 32), None);
    }

    #[test]
    fn a_row_that_is_not_known_gives_the_last_one_before_it() {
        let file = jpeg(16, 64);
        let index = build(&file).unwrap();
        let head = header(&file);
        let exact = |row| Checkpoints::new(&index, &file, &head).unwrap().at(row);
        assert_eq!(head.mcus().1, 8);
        assert_eq!(exact(0).map(|first| (first.at, first.skip)), Some((head.scan_start(), 0)));
        assert_eq!(exact(8), None, "there is no such row");
        // Only the first three rows are known.
        let mut known = Vec::new();
        let mut recorder = CheckpointRecorder::after(&[], &file, &head, &mut known);
        for row in 0..3 {
            recorder.add(row, || exact(row));
        }
        recorder.add(5, || exact(5));
        assert!(index[HEAD..].starts_with(&known));
        for (row, expected) in [(0, 0), (2, 2), (3, 2), (7, 2)] {
            let found = Checkpoints::of_rows(&known, &file, &head).up_to(row);
            assert_eq!(
                found.map(|(row, checkpoint)| (row, Some(checkpoint))),
                Some((expected, exact(expected)))
            );
        }
        assert_eq!(Checkpoints::of_rows(&[], &file, &head).up_to(3), None);
    }

    #[test]
    fn an_index_of_a_changed_file_is_not_taken() {
        let file = jpeg(24, 24);
        let index = build(&file).unwrap();
        let taken = |index: &[u8], file: &[u8]| Checkpoints::new(index, file, &header(file)).is_some();
        assert!(taken(&index, &file));
        assert!(!taken(&index, &[file.as_slice(), &[0]].concat()), "another length");
        assert!(!taken(&index, &jpeg(24, 32)), "another file");
        let mut other_version = index.clone();
        other_version[3] = 2;
        let body = other_version.len() - TAIL;
        let checksum = crc32fast::hash(&other_version[..body]);
        other_version[body..].copy_from_slice(&checksum.to_le_bytes());
        assert!(!taken(&other_version, &file), "another version");
        for short in 0..HEAD + TAIL {
            assert!(!taken(&index[..short], &file));
        }
    }

    proptest! {
        #[test]
        fn folding_is_undone(value: i32, number in 0u64..1 << 63) {
            prop_assert_eq!(unfolded(folded(value)), Some(value));
            let mut out = Vec::new();
            put_number(number, &mut out);
            let mut rest = out.as_slice();
            prop_assert_eq!((take_number(&mut rest), rest.len()), (Some(number), 0));
        }

        /// Checkpoints with any values come back as they were, from bytes that anybody may have written.
        #[test]
        fn any_rows_are_read_without_a_panic(rows in prop::collection::vec(any::<u8>(), 0..80), row in 0usize..40) {
            let file = jpeg(8, 8);
            let head = header(&file);
            if let Some((found, checkpoint)) = Checkpoints::of_rows(&rows, &file, &head).up_to(row) {
                prop_assert!(found <= row && checkpoint.skip < 8);
            }
        }
    }
}
