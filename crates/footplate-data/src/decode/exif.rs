//! The EXIF orientation.

use exif::{In, Reader, Tag};

/// The orientation in raw EXIF data, 1 to 8; 1 (upright) where there is none that makes sense.
pub(super) fn orientation(raw: &[u8]) -> u8 {
    let Ok(data) = Reader::new().read_raw(raw.to_vec()) else { return 1 };
    let value = data.get_field(Tag::Orientation, In::PRIMARY).and_then(|field| field.value.get_uint(0));
    value.and_then(|v| u8::try_from(v).ok()).filter(|v| (1..=8).contains(v)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Big-endian TIFF with one entry: tag 0x0112, type SHORT, count 1, the value.
    pub(crate) fn raw(orientation: u8) -> Vec<u8> {
        let mut bytes = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        bytes.extend([orientation, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn orientation_is_read_and_nonsense_is_upright() {
        assert_eq!([1, 3, 6, 8].map(|o| orientation(&raw(o))), [1, 3, 6, 8]);
        assert_eq!([0, 9, 255].map(|o| orientation(&raw(o))), [1, 1, 1]);
        assert_eq!(orientation(b"nonsense"), 1);
        assert_eq!(orientation(&raw(6)[..12]), 1);
    }
}
