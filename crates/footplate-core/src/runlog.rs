//! The run log's text format: lines as in [`framed`], of [`Record`]s. `docs/run-log.md` describes the records.

use crate::framed::{self, Framed};
use crate::record::Record;

pub use crate::framed::LineError;

/// The version that this program writes. Older ones are read too.
///
/// - 1: the first.
/// - 2: records of kind `loader`.
/// - 3: records of kind `power`.
/// - 4: records of kinds `machine`, `mode`, `profile` and `tune`; `copied_bytes` and `ingest_ns` of a minibatch.
/// - 5: records of kind `kernels`.
pub const VERSION: u32 = 5;

impl Framed for Record {
    const FORMAT: &'static str = "run log";
    const VERSION: u32 = VERSION;
}

/// What could be read of a run log.
pub type Decoded = framed::Decoded<Record>;

/// Reads a run log piece by piece, as it grows.
pub type Decoder = framed::Decoder<Record>;

/// A record as one line, with its newline. Fails only for a value that JSON cannot hold.
pub fn encode(record: &Record) -> Result<String, LineError> {
    framed::encode(record)
}

/// The record in `line` (with or without its newline).
pub fn decode(line: &str) -> Result<Record, LineError> {
    framed::decode(line)
}

/// Reads a whole run log, as [`framed::decode_all`] does.
pub fn decode_all(log: &[u8]) -> Decoded {
    framed::decode_all(log)
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
    fn a_newer_version_is_named() {
        let line = encode(&warning("x")).unwrap().replace("{\"v\":5", "{\"v\":6");
        assert_eq!(decode(&line), Err(LineError::Version { format: "run log", found: 6, newest: 5 }));
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
    }
}
