//! The bytes of a checkpoint.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `FOOTPLCK` |
//! | 4 | version, little-endian |
//! | 8 | length of the header, little-endian |
//! | … | header: JSON with the progress, the settings and a table of the arrays |
//! | … | the arrays, little-endian f32, in the table's order, without gaps |
//! | 4 | CRC-32 (IEEE 802.3) of all bytes before, little-endian |

use std::io::{self, Write};

use burn::tensor::{DType, TensorData};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, CheckpointError, Progress};
use crate::settings::TrainSettings;

/// The version that this program writes.
pub const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"FOOTPLCK";
/// Magic, version and length of the header.
const PREFIX_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    progress: Progress,
    settings: TrainSettings,
    /// In hexadecimal: JSON's numbers do not hold 64 bits everywhere.
    data_fingerprint: String,
    labels: Vec<String>,
    arrays: Vec<ArrayEntry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Group {
    Model,
    Optimizer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayEntry {
    group: Group,
    name: String,
    shape: Vec<usize>,
}

/// Passes bytes on and keeps their checksum and number.
struct Summing<'a, W> {
    inner: &'a mut W,
    crc: crc32fast::Hasher,
    written: u64,
}

impl<W: Write> Write for Summing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.crc.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes `checkpoint` and returns its size in bytes.
pub fn encode(checkpoint: &Checkpoint, writer: &mut impl Write) -> io::Result<u64> {
    let groups = [(Group::Model, &checkpoint.model), (Group::Optimizer, &checkpoint.optimizer)];
    let arrays = || groups.iter().flat_map(|(group, list)| list.iter().map(|entry| (*group, entry)));
    let entry = |(group, (name, data)): (Group, &(String, TensorData))| ArrayEntry {
        group,
        name: name.clone(),
        shape: data.shape().to_vec(),
    };
    let header = Header {
        progress: checkpoint.progress.clone(),
        settings: checkpoint.settings.clone(),
        data_fingerprint: format!("{:016x}", checkpoint.data_fingerprint),
        labels: checkpoint.labels.clone(),
        arrays: arrays().map(entry).collect(),
    };
    let header = serde_json::to_vec(&header)?;
    let mut out = Summing { inner: writer, crc: crc32fast::Hasher::new(), written: 0 };
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, (name, data)) in arrays() {
        write_array(&mut out, name, data)?;
    }
    let crc = out.crc.clone().finalize();
    out.write_all(&crc.to_le_bytes())?;
    Ok(out.written)
}

fn write_array(out: &mut impl Write, name: &str, data: &TensorData) -> io::Result<()> {
    if data.dtype() != DType::F32 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is not f32")));
    }
    if cfg!(target_endian = "little") {
        return out.write_all(data.as_bytes());
    }
    data.iter::<f32>().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Reads a checkpoint from all of its bytes.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let (header, data) = verified_parts(bytes)?;
    let malformed = |text: &str| CheckpointError::Malformed(text.to_owned());
    let header: Header =
        serde_json::from_slice(header).map_err(|e| CheckpointError::Malformed(e.to_string()))?;
    let data_fingerprint =
        u64::from_str_radix(&header.data_fingerprint, 16).map_err(|_| malformed("data_fingerprint"))?;
    let (mut model, mut optimizer) = (Vec::new(), Vec::new());
    let mut rest = data;
    for entry in header.arrays {
        let count = entry.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let size = count.and_then(|n| n.checked_mul(4)).filter(|n| *n <= rest.len());
        let (own, after) = rest.split_at(size.ok_or_else(|| malformed("an array exceeds the file"))?);
        rest = after;
        let values: Vec<f32> = own.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let target = if entry.group == Group::Model { &mut model } else { &mut optimizer };
        target.push((entry.name, TensorData::new(values, entry.shape)));
    }
    if !rest.is_empty() {
        return Err(malformed("bytes after the last array"));
    }
    Ok(Checkpoint {
        progress: header.progress,
        settings: header.settings,
        data_fingerprint,
        labels: header.labels,
        model,
        optimizer,
    })
}

/// The header's and the arrays' bytes, after magic, version, lengths and checksum were found right.
fn verified_parts(bytes: &[u8]) -> Result<(&[u8], &[u8]), CheckpointError> {
    let truncated =
        |expected: usize| CheckpointError::Truncated { expected: expected as u64, found: bytes.len() as u64 };
    if bytes.len() < MAGIC.len() {
        return Err(truncated(PREFIX_BYTES + CHECKSUM_BYTES));
    }
    let (magic, rest) = bytes.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(CheckpointError::NotACheckpoint);
    }
    let Some((version, rest)) = rest.split_first_chunk::<4>() else {
        return Err(truncated(PREFIX_BYTES + CHECKSUM_BYTES));
    };
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(CheckpointError::Version { found });
    }
    let Some((body, stored)) = rest.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(truncated(PREFIX_BYTES + CHECKSUM_BYTES));
    };
    let expected = u32::from_le_bytes(*stored);
    let found = crc32fast::hash(&bytes[..bytes.len() - CHECKSUM_BYTES]);
    if found != expected {
        return Err(CheckpointError::Checksum { expected, found });
    }
    let Some((length, body)) = body.split_first_chunk::<8>() else {
        return Err(truncated(PREFIX_BYTES + CHECKSUM_BYTES));
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > body.len() {
        return Err(truncated(length));
    }
    Ok(body.split_at(length))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::small_settings;

    pub(crate) fn small() -> Checkpoint {
        Checkpoint {
            progress: Progress {
                steps: 7,
                epoch: 1,
                batch: 3,
                epoch_loss_sum: 0.1 + 0.2,
                ..Progress::start()
            },
            settings: small_settings("lenet5"),
            data_fingerprint: u64::MAX - 5,
            labels: vec!["stop".into(), "clear".into()],
            model: vec![("a.weight".into(), TensorData::new(vec![1.5f32, -0.0, f32::MIN_POSITIVE], [3, 1]))],
            optimizer: vec![("a.weight#first".into(), TensorData::new(vec![0.25f32; 3], [3]))],
        }
    }

    pub(crate) fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
        let mut bytes = Vec::new();
        let size = encode(checkpoint, &mut bytes).unwrap();
        assert_eq!(size, bytes.len() as u64);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let checkpoint = small();
        let read = decode(&bytes_of(&checkpoint)).unwrap();
        assert_eq!(read.progress, checkpoint.progress);
        assert_eq!(read.settings, checkpoint.settings);
        assert_eq!(read.data_fingerprint, checkpoint.data_fingerprint);
        assert_eq!(bytes_of(&read), bytes_of(&checkpoint));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = bytes_of(&small());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut} was accepted");
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let bytes = bytes_of(&small());
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(decode(&bytes).is_err(), "a flip in byte {at} was accepted");
        }
    }

    /// Accepts so many bytes and then has no space left.
    struct FullDisk(usize);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_at_any_byte_is_an_error() {
        let checkpoint = small();
        let size = bytes_of(&checkpoint).len();
        for space in 0..size {
            let error = encode(&checkpoint, &mut FullDisk(space)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "with {space} bytes of space");
        }
        assert!(encode(&checkpoint, &mut FullDisk(size)).is_ok());
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = bytes_of(&small());
        bytes[8] = 2;
        assert!(matches!(decode(&bytes), Err(CheckpointError::Version { found: 2 })));
    }

    /// The bytes of `small()` with another header, and the checksum made right again.
    fn with_header(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let bytes = bytes_of(&small());
        let length = u64::from_le_bytes(bytes[12..20].try_into().unwrap()) as usize;
        let mut header: serde_json::Value = serde_json::from_slice(&bytes[20..20 + length]).unwrap();
        change(&mut header);
        let header = serde_json::to_vec(&header).unwrap();
        let mut changed = bytes[..12].to_vec();
        changed.extend((header.len() as u64).to_le_bytes());
        changed.extend(header);
        changed.extend(&bytes[20 + length..bytes.len() - CHECKSUM_BYTES]);
        let crc = crc32fast::hash(&changed);
        changed.extend(crc.to_le_bytes());
        changed
    }

    #[test]
    fn a_header_that_makes_no_sense_is_told_though_its_checksum_is_right() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 6] = [
            (|h| h["arrays"][0]["shape"] = serde_json::json!([3, 1000]), "an array exceeds the file"),
            (|h| h["arrays"][0]["shape"] = serde_json::json!([u64::MAX, 2]), "an array exceeds the file"),
            (|h| h["arrays"][1]["shape"] = serde_json::json!([2]), "bytes after the last array"),
            (|h| h["data_fingerprint"] = "not hexadecimal".into(), "data_fingerprint"),
            (|h| h["surprise"] = 1.into(), "unknown field `surprise`"),
            (|h| h["progress"]["steps"] = "seven".into(), "invalid type"),
        ];
        assert!(decode(&with_header(|_| ())).is_ok());
        for (change, words) in cases {
            let Err(CheckpointError::Malformed(reason)) = decode(&with_header(change)) else {
                panic!("{words}")
            };
            assert!(reason.contains(words), "{reason}, not {words}");
        }
    }

    #[test]
    fn another_file_is_not_taken_for_a_checkpoint() {
        assert!(matches!(decode(b"PK\x03\x04 a zip archive"), Err(CheckpointError::NotACheckpoint)));
        assert!(matches!(decode(b""), Err(CheckpointError::Truncated { found: 0, .. })));
        let error = CheckpointError::Checksum { expected: 0xab, found: 0x1 }.to_string();
        assert_eq!(error, "checksum 00000001 does not match the file's 000000ab");
    }

    #[test]
    fn only_numbers_of_single_precision_are_written() {
        let mut checkpoint = small();
        checkpoint.model[0].1 = TensorData::new(vec![1i32], [1]);
        let error = encode(&checkpoint, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "`a.weight` is not f32");
    }
}
