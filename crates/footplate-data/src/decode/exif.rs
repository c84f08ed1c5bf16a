//! Reads the EXIF orientation. It is not read by a library, since a sample must not allocate.

/// The orientation in raw EXIF data (a TIFF header and its directory), 1 to 8; 1 (upright) if there is no valid one.
pub(super) fn orientation(raw: &[u8]) -> u8 {
    read(raw).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

const ORIENTATION: u32 = 0x0112;
/// TIFF's types of whole numbers, and their sizes in bytes.
const BYTE: u32 = 1;
const SHORT: u32 = 3;
const LONG: u32 = 4;

fn read(raw: &[u8]) -> Option<u8> {
    let big = match raw.get(..4)? {
        [b'M', b'M', 0, 42] => true,
        [b'I', b'I', 42, 0] => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| {
        let bytes = raw.get(at..at.checked_add(size)?)?;
        let digit = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        Some(if big { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) })
    };
    let directory = number(4, 4)? as usize;
    let entries = number(directory, 2)? as usize;
    (0..entries).find_map(|i| {
        let entry = directory + 2 + 12 * i;
        if number(entry, 2)? != ORIENTATION || number(entry + 4, 4)? == 0 {
            return None;
        }
        let size = match number(entry + 2, 2)? {
            BYTE => 1,
            SHORT => 2,
            LONG => 4,
            _ => return None,
        };
        u8::try_from(number(entry + 8, size)?).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TIFF with one entry: tag 0x0112, type SHORT, count 1, the value; big-endian, then little-endian.
    fn raw(orientation: u8) -> [Vec<u8>; 2] {
        let mut big = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        big.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let mut little = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        little.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        [big, little]
    }

    #[test]
    fn orientation_is_read_and_nonsense_is_upright() {
        for order in [0, 1] {
            assert_eq!([1, 3, 6, 8].map(|o| orientation(&raw(o)[order])), [1, 3, 6, 8]);
            assert_eq!([0, 9, 255].map(|o| orientation(&raw(o)[order])), [1, 1, 1]);
            for cut in 0..20 {
                assert_eq!(orientation(&raw(6)[order][..cut]), if cut < 20 { 1 } else { 6 });
            }
        }
        assert_eq!(orientation(b"nonsense"), 1);
    }

    proptest! {
        /// Whatever the bytes say, the orientation is one of the eight.
        #[test]
        fn any_bytes_give_an_orientation(big: bool, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let head: &[u8] = if big { b"MM\0\x2a" } else { b"II\x2a\0" };
            prop_assert!((1..=8).contains(&orientation(&[head, &bytes].concat())));
            prop_assert!((1..=8).contains(&orientation(&bytes)));
        }
    }

    #[test]
    fn values_of_other_types_and_behind_other_entries_are_read() {
        // Two entries: the maker (tag 0x010f, text), then the orientation as LONG.
        let mut long =
            b"II\x2a\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x01\0\0\0x\0\0\0\x12\x01\x04\0\x01\0\0\0".to_vec();
        long.extend([8, 0, 0, 0]);
        assert_eq!(orientation(&long), 8);
        // As BYTE, and as a type that is no whole number (RATIONAL).
        for (kind, expected) in [(1, 8), (5, 1)] {
            long[24] = kind;
            assert_eq!(orientation(&long), expected);
        }
    }
}
