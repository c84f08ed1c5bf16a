//! The run log's text format: one record a line, each with a version and a checksum.
//!
//! A line is `{"v":5,"crc32":"0123abcd","record":{…}}` and a newline. The checksum is the CRC-32 (IEEE
//! 802.3) of the bytes of the record's JSON, from its `{` to its `}`. A line is therefore JSON that any
//! tool can read, and a torn or altered line is told from a whole one.

use thiserror::Error;

use crate::record::Record;

/// The version that this program writes. Older ones are read too.
///
/// - 1: the first.
/// - 2: records of kind `loader`.
/// - 3: records of kind `power`.
/// - 4: records of kinds `machine`, `mode`, `profile` and `tune`; `copied_bytes` and `ingest_ns` of a minibatch.
/// - 5: records of kind `kernels`.
pub const VERSION: u32 = 5;

/// Why a line is not a record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// It does not have the form of a line of this format.
    #[error("not a line of a run log")]
    Malformed,
    /// A newer program wrote it.
    #[error("run log version {found}; this program reads up to {VERSION}")]
    Version {
        /// The line's version.
        found: u32,
    },
    /// The bytes are not the ones that were written.
    #[error("checksum {found:08x} does not match the line's {expected:08x}")]
    Checksum {
        /// The line's own.
        expected: u32,
        /// Computed from its bytes.
        found: u32,
    },
    /// The checksum is right and the record is not one of ours.
    #[error("unknown record: {0}")]
    Record(String),
}

/// A record as one line, with its newline. Fails only for a value that JSON cannot hold.
pub fn encode(record: &Record) -> Result<String, LineError> {
    let body = serde_json::to_string(record).map_err(|e| LineError::Record(e.to_string()))?;
    let crc = crc32fast::hash(body.as_bytes());
    Ok(format!("{{\"v\":{VERSION},\"crc32\":\"{crc:08x}\",\"record\":{body}}}\n"))
}

/// The record in `line` (with or without its newline).
pub fn decode(line: &str) -> Result<Record, LineError> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (version, rest) =
        line.strip_prefix("{\"v\":").and_then(|rest| rest.split_once(',')).ok_or(LineError::Malformed)?;
    let found: u32 = version.parse().map_err(|_| LineError::Malformed)?;
    if !(1..=VERSION).contains(&found) {
        return Err(LineError::Version { found });
    }
    let rest = rest.strip_prefix("\"crc32\":\"").ok_or(LineError::Malformed)?;
    let (crc, rest) = rest.split_once("\",\"record\":").ok_or(LineError::Malformed)?;
    let body = rest.strip_suffix('}').ok_or(LineError::Malformed)?;
    let expected = u32::from_str_radix(crc, 16).map_err(|_| LineError::Malformed)?;
    let found = crc32fast::hash(body.as_bytes());
    if found != expected {
        return Err(LineError::Checksum { expected, found });
    }
    serde_json::from_str(body).map_err(|e| LineError::Record(e.to_string()))
}

/// What could be read of a log.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The good records, in order.
    pub records: Vec<Record>,
    /// Lines that are damaged, with their number from 1. A torn last line is not among them.
    pub damaged: Vec<(usize, LineError)>,
    /// Bytes of the log up to the end of its last whole line: where an appender must go on.
    pub whole_bytes: u64,
}

/// A line longer than this is none of ours: a damaged log must not fill the memory.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Reads a log piece by piece, as it grows: pieces may be cut anywhere.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What has come of a line that is not whole yet.
    partial: Vec<u8>,
    /// The partial line is too long to be kept; what comes up to its end is dropped.
    skipping: bool,
    whole_bytes: u64,
    dropped_bytes: u64,
    lines: usize,
    damaged: u64,
    first_damage: Option<(usize, LineError)>,
}

impl Decoder {
    /// Takes the next piece and gives the records that it completes to `take`.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(Record)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = part.last() == Some(&b'\n');
            if self.skipping || self.partial.len() + part.len() > LINE_BYTES_MAX {
                self.dropped_bytes += (self.partial.len() + part.len()) as u64;
                self.partial.clear();
                self.skipping = !is_whole;
                if is_whole {
                    self.whole_bytes += std::mem::take(&mut self.dropped_bytes);
                    self.line(Err(LineError::Malformed), &mut take);
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

    fn line(&mut self, decoded: Result<Record, LineError>, take: &mut impl FnMut(Record)) {
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

fn decode_bytes(line: &[u8]) -> Result<Record, LineError> {
    std::str::from_utf8(line).map_err(|_| LineError::Malformed).and_then(decode)
}

/// Reads a whole log. A last line without its newline was cut off while being written: it is left out.
/// Damage elsewhere costs the damaged lines only.
pub fn decode_all(log: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    for (number, line) in log.split_inclusive(|b| *b == b'\n').enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BadSampleRecord, KernelsRecord, PowerRecord, WarningRecord};
    use crate::{Reading, Watts};
    use proptest::prelude::*;

    fn warning(message: &str) -> Record {
        Record::Warning(WarningRecord { message: message.into() })
    }

    /// The golden line: a change here is a change of the format and needs a new version.
    #[test]
    fn golden_line() {
        let line = encode(&warning("clock not set")).unwrap();
        assert_eq!(
            line,
            "{\"v\":5,\"crc32\":\"025387af\",\"record\":{\"kind\":\"warning\",\"message\":\"clock not set\"}}\n"
        );
        assert_eq!(decode(&line), Ok(warning("clock not set")));
    }

    #[test]
    fn logs_of_version_1_are_still_read() {
        let old = "{\"v\":1,\"crc32\":\"025387af\",\"record\":{\"kind\":\"warning\",\"message\":\"clock not set\"}}\n";
        assert_eq!(decode(old), Ok(warning("clock not set")));
    }

    #[test]
    fn golden_kernels_line() {
        let kernels = Record::Kernels(KernelsRecord { t_ns: 2_000_000_000, tuned: 12 });
        let line = encode(&kernels).unwrap();
        assert!(line.contains("{\"kind\":\"kernels\",\"t_ns\":2000000000,\"tuned\":12}"), "{line}");
        assert_eq!(decode(&line), Ok(kernels));
    }

    #[test]
    fn golden_power_line() {
        let power = Record::Power(PowerRecord {
            t_ns: 2_000_000_000,
            span_ns: 1_000_000_000,
            total_w: Reading::Value(Watts(7.25)),
            rails: vec![("VDD_IN".into(), Reading::Value(Watts(7.25))), ("VDD_SOC".into(), Reading::Absent)],
            temperature_c: Reading::Unreadable { reason: "no zone".into() },
            throttled: vec!["cooling device cpu-balanced is active".into()],
            simulated: true,
        });
        let line = encode(&power).unwrap();
        let body = "{\"kind\":\"power\",\"t_ns\":2000000000,\"span_ns\":1000000000,\
            \"total_w\":{\"value\":7.25},\"rails\":[[\"VDD_IN\",{\"value\":7.25}],[\"VDD_SOC\",\"absent\"]],\
            \"temperature_c\":{\"unreadable\":{\"reason\":\"no zone\"}},\
            \"throttled\":[\"cooling device cpu-balanced is active\"],\"simulated\":true}";
        assert!(line.contains(body), "{line}");
        assert_eq!(decode(&line), Ok(power));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            decoder.push(&piece, |_| {});
            assert!(decoder.partial.len() <= LINE_BYTES_MAX);
        }
        let good = encode(&warning("still read")).unwrap();
        let mut records = Vec::new();
        decoder.push(format!("\n{good}").as_bytes(), |record| records.push(record));
        assert_eq!((records, decoder.damaged()), (vec![warning("still read")], 1));
        assert_eq!(decoder.whole_bytes(), (40 << 20) + 1 + good.len() as u64);
    }

    #[test]
    fn a_torn_line_is_forgotten_when_its_writer_died() {
        let (mut decoder, mut records) = (Decoder::default(), Vec::new());
        let good = encode(&warning("good")).unwrap();
        decoder.push(format!("{good}{}", &good[..30]).as_bytes(), |record| records.push(record));
        decoder.forget_partial();
        decoder.push(good.as_bytes(), |record| records.push(record));
        assert_eq!((records.len(), decoder.damaged()), (2, 0));
    }

    #[test]
    fn a_newer_version_is_named() {
        let line = encode(&warning("x")).unwrap().replace("{\"v\":5", "{\"v\":6");
        assert_eq!(decode(&line), Err(LineError::Version { found: 6 }));
    }

    #[test]
    fn lines_of_older_versions_are_read() {
        for version in ["2", "3", "4"] {
            let line = encode(&warning("x")).unwrap().replace("{\"v\":5", &format!("{{\"v\":{version}"));
            assert_eq!(decode(&line), Ok(warning("x")));
        }
    }

    #[test]
    fn a_minibatch_of_version_3_has_no_count_of_copies() {
        let body = "{\"kind\":\"minibatch\",\"t_ns\":9,\"epoch\":0,\"step\":3,\"items\":4,\"fetch_ns\":1,\"prep_ns\":1,\
            \"transfer_ns\":0,\"stall_ns\":0,\"compute_ns\":5,\"step_ns\":6,\"learning_rate\":0.1,\"loss\":null,\
            \"synced\":true}";
        let crc = crc32fast::hash(body.as_bytes());
        let line = format!("{{\"v\":3,\"crc32\":\"{crc:08x}\",\"record\":{body}}}\n");
        let Ok(Record::Minibatch(read)) = decode(&line) else { panic!("not read: {line}") };
        assert_eq!((read.step, read.copied_bytes, read.ingest_ns), (3, None, None));
    }

    proptest! {
        #[test]
        fn any_text_survives(message in ".*", name in ".*") {
            for record in [warning(&message), Record::BadSample(BadSampleRecord { name: name.clone(), reason: message.clone() })] {
                let line = encode(&record).unwrap();
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert_eq!(decode(&line), Ok(record));
            }
        }

        #[test]
        fn a_flipped_bit_costs_one_record(at in 0usize..10_000, bit in 0u8..8) {
            let lines: Vec<String> = (0..5).map(|i| encode(&warning(&format!("message {i}"))).unwrap()).collect();
            let mut log = lines.concat().into_bytes();
            let at = at % log.len();
            log[at] ^= 1 << bit;
            let decoded = decode_all(&log);
            // A flip may make a newline (two damaged lines) or unmake one (two lines become one).
            prop_assert!(decoded.records.len() >= 3);
            for record in &decoded.records {
                let is_original = lines.iter().any(|l| decode(l).as_ref() == Ok(record));
                prop_assert!(is_original);
            }
        }

        #[test]
        fn a_log_in_pieces_is_the_log(cuts in prop::collection::vec(0usize..600, 0..8), flip in prop::option::of(0usize..600)) {
            let mut log: Vec<u8> =
                (0..6).flat_map(|i| encode(&warning(&format!("message {i}"))).unwrap().into_bytes()).collect();
            if let Some(at) = flip {
                let at = at % log.len();
                log[at] ^= 4;
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % log.len()).collect();
            cuts.extend([0, log.len()]);
            cuts.sort_unstable();
            let (mut decoder, mut records) = (Decoder::default(), Vec::new());
            for pair in cuts.windows(2) {
                decoder.push(&log[pair[0]..pair[1]], |record| records.push(record));
            }
            let whole = decode_all(&log);
            prop_assert_eq!(decoder.whole_bytes(), whole.whole_bytes);
            prop_assert_eq!(decoder.damaged(), whole.damaged.len() as u64);
            prop_assert_eq!(decoder.first_damage(), whole.damaged.first());
            prop_assert_eq!(records, whole.records);
        }

        #[test]
        fn a_log_cut_anywhere_keeps_its_whole_lines(cut in 0usize..10_000) {
            let lines: Vec<String> = (0..5).map(|i| encode(&warning(&format!("message {i}"))).unwrap()).collect();
            let log = lines.concat().into_bytes();
            let cut = cut % (log.len() + 1);
            let decoded = decode_all(&log[..cut]);
            let whole = log[..cut].iter().filter(|b| **b == b'\n').count();
            prop_assert_eq!(decoded.records.len(), whole);
            prop_assert!(decoded.damaged.is_empty());
        }
    }
}
