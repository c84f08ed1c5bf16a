#![expect(clippy::disallowed_methods, reason = "tests make and damage files")]

use std::io::Cursor;

use super::*;
use proptest::prelude::*;

fn sample(n: u32) -> IndexRecord {
    IndexRecord { block: 3 + 4 * n, size: 100 + n, label: n % 2, name_crc: 7 * n, data_crc: 11 * n, blob: 0 }
}

fn classes() -> Vec<String> {
    ["bird", "Übung"].map(str::to_owned).to_vec()
}

fn builder() -> IndexBuilder {
    let mut builder = IndexBuilder::default();
    builder.add(sample(0), b"blob").unwrap();
    builder.add(sample(1), b"").unwrap();
    builder.add(sample(2), b"another").unwrap();
    builder
}

fn bytes() -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    builder().write(&mut out, 10_240, 0x0123_4567_89ab_cdef, 4, &classes()).unwrap();
    out.into_inner()
}

/// What an index of these bytes holds.
fn read(bytes: &[u8], tar_size: u64) -> Result<(IndexHeader, Vec<IndexRecord>, Vec<String>), IndexError> {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("s.tar");
    std::fs::write(path_beside(&tar), bytes).unwrap();
    let (file, header) = open_beside(&tar, tar_size)?;
    let mut buffer = vec![1; 5];
    let body = IndexBody::read(&file, &header, &mut buffer)?;
    Ok((header, body.records().collect(), body.class_names(&header)?))
}

#[test]
fn what_is_written_is_read() {
    let (header, records, names) = read(&bytes(), 10_240).unwrap();
    assert_eq!((header.samples, header.planned, header.origin), (3, 4, 0x0123_4567_89ab_cdef));
    assert_eq!(names, classes());
    let blobs: Vec<u32> = records.iter().map(|record| record.blob).collect();
    assert_eq!(blobs, [0, 4, 4]);
    assert_eq!(header.blobs_bytes, 4 + 7);
    for (n, record) in records.iter().enumerate() {
        assert_eq!(IndexRecord { blob: 0, ..*record }, sample(n as u32));
    }
}

/// The golden file: a change here is a change of the format and needs a new version.
#[test]
fn golden_file() {
    let golden = include_bytes!("golden.fpi");
    assert_eq!(bytes(), golden);
}

#[test]
fn an_index_of_another_version_or_another_file_says_so() {
    let mut newer = bytes();
    newer[8] = 2;
    assert!(matches!(read(&newer, 10_240), Err(IndexError::Version(2))));
    let stale = read(&bytes(), 10_752);
    assert!(matches!(stale, Err(IndexError::Stale { indexed: 10_240, found: 10_752 })));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open_beside(&folder.path().join("s.tar"), 1), Err(IndexError::Missing)));
}

#[test]
fn records_that_point_outside_are_refused_even_with_good_checksums() {
    for bad in [
        IndexRecord { block: 100, ..sample(0) },
        IndexRecord { size: u32::MAX, ..sample(0) },
        IndexRecord { label: 2, ..sample(0) },
    ] {
        let mut builder = IndexBuilder::default();
        builder.add(bad, b"").unwrap();
        let mut out = Cursor::new(Vec::new());
        builder.write(&mut out, 10_240, 0, 1, &classes()).unwrap();
        assert!(matches!(read(&out.into_inner(), 10_240), Err(IndexError::Damaged(_))), "{bad:?}");
    }
}

proptest! {
    /// Any flipped bit before the blobs, and any other length, is noticed.
    #[test]
    fn damage_is_noticed(at in 0usize..64 + 3 * 24 + 18, bit in 0u8..8, cut in 1usize..100) {
        let mut flipped = bytes();
        flipped[at] ^= 1 << bit;
        prop_assert!(read(&flipped, 10_240).is_err());
        let whole = bytes();
        prop_assert!(read(&whole[..whole.len() - cut], 10_240).is_err());
        prop_assert!(read(&[whole, vec![0; cut]].concat(), 10_240).is_err());
    }
}
