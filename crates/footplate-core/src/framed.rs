//! Records as lines of text: one a line, each with its format's version and a checksum.
//!
//! A line is `{"v":5,"crc32":"0123abcd","record":{…}}` and a newline. The checksum is the CRC-32 (IEEE 802.3) of
//! the bytes of the record's JSON, from its `{` to its `}`. A line is therefore JSON that any tool can read, and
//! a torn or altered line is told from a whole one.
//!
//! ```
//! use footplate_core::framed::{self, Framed};
//!
//! #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Visit { page: String }
//!
//! impl Framed for Visit {
//!     const FORMAT: &'static str = "list of visits";
//!     const VERSION: u32 = 2;
//! }
//!
//! let line = framed::encode(&Visit { page: "start".to_owned() }).unwrap();
//! assert!(line.starts_with("{\"v\":2,\"crc32\":"));
//! assert_eq!(framed::decode::<Visit>(&line).unwrap().page, "start");
//! // A torn line at the end is what a crash leaves: it is left out.
//! let file = format!("{line}{}", &line[..20]);
//! assert_eq!(framed::decode_all::<Visit>(file.as_bytes()).records.len(), 1);
//! ```

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// What can be kept as lines of one format.
pub trait Framed: Serialize + DeserializeOwned {
    /// What a file of such lines is called in messages, such as "run log".
    const FORMAT: &'static str;
    /// The version that this program writes. All versions from 1 to this one are read.
    const VERSION: u32;
}

/// Why a line is not a record.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// It does not have the form of a line of this format.
    #[error("not a line of a {format}")]
    Malformed {
        /// Name of the format, from [`Framed::FORMAT`].
        format: &'static str,
    },
    /// A newer program wrote it.
    #[error("{format} version {found}; this program reads up to {newest}")]
    Version {
        /// Name of the format, from [`Framed::FORMAT`].
        format: &'static str,
        /// The version that the line states.
        found: u32,
        /// The newest version that is read, from [`Framed::VERSION`].
        newest: u32,
    },
    /// The bytes are not the ones that were written.
    #[error("checksum {found:08x} does not match the line's {expected:08x}")]
    Checksum {
        /// The one that the line states.
        expected: u32,
        /// Computed from its bytes.
        found: u32,
    },
    /// The checksum is right and the record is of no kind that is known, or a value cannot be written as JSON.
    #[error("unknown record: {0}")]
    Record(String),
}

fn malformed<T: Framed>() -> LineError {
    LineError::Malformed { format: T::FORMAT }
}

/// A record as one line, with its newline. Fails only for a value that JSON cannot hold.
pub fn encode<T: Framed>(record: &T) -> Result<String, LineError> {
    let body = serde_json::to_string(record).map_err(|e| LineError::Record(e.to_string()))?;
    let crc = crc32fast::hash(body.as_bytes());
    Ok(format!("{{\"v\":{},\"crc32\":\"{crc:08x}\",\"record\":{body}}}\n", T::VERSION))
}

/// The record in `line` (with or without its newline).
pub fn decode<T: Framed>(line: &str) -> Result<T, LineError> {
    let malformed = malformed::<T>;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (version, rest) =
        line.strip_prefix("{\"v\":").and_then(|rest| rest.split_once(',')).ok_or_else(malformed)?;
    let found: u32 = version.parse().map_err(|_| malformed())?;
    if !(1..=T::VERSION).contains(&found) {
        return Err(LineError::Version { format: T::FORMAT, found, newest: T::VERSION });
    }
    let rest = rest.strip_prefix("\"crc32\":\"").ok_or_else(malformed)?;
    let (crc, rest) = rest.split_once("\",\"record\":").ok_or_else(malformed)?;
    let body = rest.strip_suffix('}').ok_or_else(malformed)?;
    let expected = u32::from_str_radix(crc, 16).map_err(|_| malformed())?;
    let found = crc32fast::hash(body.as_bytes());
    if found != expected {
        return Err(LineError::Checksum { expected, found });
    }
    serde_json::from_str(body).map_err(|e| LineError::Record(e.to_string()))
}

/// The record in a line of bytes, which may not be text at all.
pub fn decode_bytes<T: Framed>(line: &[u8]) -> Result<T, LineError> {
    std::str::from_utf8(line).map_err(|_| malformed::<T>()).and_then(decode)
}

/// What could be read of a file of lines.
#[derive(Debug, PartialEq)]
pub struct Decoded<T> {
    /// The good records, in order.
    pub records: Vec<T>,
    /// Lines that are damaged, with their number from 1. A torn last line is not among them.
    pub damaged: Vec<(usize, LineError)>,
    /// Bytes up to the end of the last whole line: where an appender must go on.
    pub whole_bytes: u64,
}

impl<T> Default for Decoded<T> {
    fn default() -> Self {
        Self { records: Vec::new(), damaged: Vec::new(), whole_bytes: 0 }
    }
}

/// Reads a whole file. A last line without its newline was cut off while being written: it is left out. Damage
/// elsewhere costs the damaged lines only.
pub fn decode_all<T: Framed>(file: &[u8]) -> Decoded<T> {
    let mut decoded = Decoded::default();
    for (number, line) in file.split_inclusive(|b| *b == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        decoded.whole_bytes += line.len() as u64;
        match decode_bytes(line) {
            Ok(record) => decoded.records.push(record),
            Err(error) => decoded.damaged.push((number + 1, error)),
        }
    }
    decoded
}

/// A longer line is damage, which must not fill the memory. In bytes.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Reads a file piece by piece, as it grows: pieces may be cut anywhere. Holds at most [`LINE_BYTES_MAX`].
#[derive(Debug)]
pub struct Decoder<T> {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The partial line is too long to be kept; what comes up to its end is dropped.
    skipping: bool,
    whole_bytes: u64,
    dropped_bytes: u64,
    lines: usize,
    damaged: u64,
    first_damage: Option<(usize, LineError)>,
    record: PhantomData<fn() -> T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            skipping: false,
            whole_bytes: 0,
            dropped_bytes: 0,
            lines: 0,
            damaged: 0,
            first_damage: None,
            record: PhantomData,
        }
    }
}

impl<T: Framed> Decoder<T> {
    /// Takes the next piece and gives the records that it completes to `take`.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(T)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = part.last() == Some(&b'\n');
            if self.skipping || self.partial.len() + part.len() > LINE_BYTES_MAX {
                self.dropped_bytes += (self.partial.len() + part.len()) as u64;
                self.partial.clear();
                self.skipping = !is_whole;
                if is_whole {
                    self.whole_bytes += std::mem::take(&mut self.dropped_bytes);
                    self.line(Err(malformed::<T>()), &mut take);
                }
            } else if !is_whole {
                self.partial.extend_from_slice(part);
            } else if self.partial.is_empty() {
                self.whole_bytes += part.len() as u64;
                self.line(decode_bytes(part), &mut take);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(part);
                self.whole_bytes += line.len() as u64;
                self.line(decode_bytes(&line), &mut take);
            }
        }
    }

    fn line(&mut self, decoded: Result<T, LineError>, take: &mut impl FnMut(T)) {
        self.lines += 1;
        match decoded {
            Ok(record) => take(record),
            Err(error) => {
                self.damaged += 1;
                self.first_damage.get_or_insert((self.lines, error));
            }
        }
    }

    /// Forgets the line that was begun: its writer has died, and what comes next begins at `whole_bytes`.
    pub fn forget_partial(&mut self) {
        self.partial.clear();
        self.skipping = false;
        self.dropped_bytes = 0;
    }

    /// Bytes up to the end of the last whole line.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Lines that are damaged. A torn last line is not among them.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The first damaged line's number, from 1, and what is wrong with it.
    pub fn first_damage(&self) -> Option<&(usize, LineError)> {
        self.first_damage.as_ref()
    }
}

#[cfg(test)]
mod tests;
