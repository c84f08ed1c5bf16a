//! The text format of kept profiles: one record a line, each with a version and a checksum, as in a run log.
//!
//! A line is `{"v":1,"crc32":"0123abcd","record":{…}}` and a newline; the checksum is the CRC-32 (IEEE 802.3) of
//! the bytes of the record's JSON. `docs/profile-records.md` describes the fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::predict::{Measurement, Source};
use crate::profiler::ProfileRecord;
use crate::setting::{Knobs, Setting};

/// The version that this program writes.
pub const VERSION: u32 = 1;

/// One kept profile: what was measured, where, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptProfile {
    /// The machine: its board and release.
    pub machine: String,
    /// The job.
    pub workload: String,
    /// The goal of the tune that measured it, in words: an interrupted tune finds its own records by it.
    pub goal: String,
    /// Whether it verified a choice.
    pub verifies: bool,
    /// What was measured.
    pub profile: ProfileRecord,
}

impl KeptProfile {
    /// Whether it is of this job on this machine.
    pub fn is_of(&self, machine: &str, workload: &str) -> bool {
        self.machine == machine && self.workload == workload
    }
}

/// What kept profiles of other jobs on this machine, and of this job on other machines, can tell of it. Each job is a
/// source of its own; of a setting that was measured several times the last one counts.
pub fn sources(kept: &[KeptProfile], machine: &str, workload: &str, knobs: &Knobs) -> Vec<Source> {
    let mut jobs: BTreeMap<(&str, &str), BTreeMap<Setting, Measurement>> = BTreeMap::new();
    for one in kept.iter().filter(|k| k.profile.is_sound() && !k.is_of(machine, workload)) {
        if one.machine == machine || one.workload == workload {
            let job = jobs.entry((&one.machine, &one.workload)).or_default();
            job.insert(one.profile.setting, one.profile.measurement());
        }
    }
    let source = |((place, job), measured): ((&str, &str), BTreeMap<Setting, Measurement>)| {
        let measured: Vec<Measurement> = measured.into_values().collect();
        if place == machine {
            Source::same_machine(job, knobs, &measured)
        } else {
            Source::other_machine(&format!("{job} on {place}"), &measured)
        }
    };
    jobs.into_iter().filter_map(source).collect()
}

/// Why a line is not a kept profile.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// It does not have the form of a line of this format.
    #[error("not a line of a file of profiles")]
    Malformed,
    /// A newer program wrote it.
    #[error("profiles of version {found}; this program reads up to {VERSION}")]
    Version {
        /// The line's version.
        found: u32,
    },
    /// The bytes are not the ones that were written.
    #[error("the checksum does not match")]
    Checksum,
    /// The checksum is right and the record is not one of ours.
    #[error("unknown record: {0}")]
    Record(String),
}

/// A profile as one line, with its newline.
pub fn encode(kept: &KeptProfile) -> Result<String, RecordError> {
    let body = serde_json::to_string(kept).map_err(|e| RecordError::Record(e.to_string()))?;
    let crc = crc32fast::hash(body.as_bytes());
    Ok(format!("{{\"v\":{VERSION},\"crc32\":\"{crc:08x}\",\"record\":{body}}}\n"))
}

/// The profile in a line (with or without its newline).
pub fn decode(line: &str) -> Result<KeptProfile, RecordError> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (version, rest) =
        line.strip_prefix("{\"v\":").and_then(|rest| rest.split_once(',')).ok_or(RecordError::Malformed)?;
    let found: u32 = version.parse().map_err(|_| RecordError::Malformed)?;
    if !(1..=VERSION).contains(&found) {
        return Err(RecordError::Version { found });
    }
    let rest = rest.strip_prefix("\"crc32\":\"").ok_or(RecordError::Malformed)?;
    let (crc, rest) = rest.split_once("\",\"record\":").ok_or(RecordError::Malformed)?;
    let body = rest.strip_suffix('}').ok_or(RecordError::Malformed)?;
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(body.as_bytes())) {
        return Err(RecordError::Checksum);
    }
    serde_json::from_str(body).map_err(|e| RecordError::Record(e.to_string()))
}

/// What could be read of a file.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// The good profiles, in order.
    pub profiles: Vec<KeptProfile>,
    /// Damaged lines with their number from 1. A torn last line is not among them.
    pub damaged: Vec<(usize, RecordError)>,
    /// Bytes up to the end of the last whole line: where an appender must go on.
    pub whole_bytes: u64,
}

/// Reads a whole file. A last line without its newline was cut off while being written: it is left out.
pub fn decode_all(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    for (number, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        decoded.whole_bytes += line.len() as u64;
        match std::str::from_utf8(line).map_err(|_| RecordError::Malformed).and_then(decode) {
            Ok(profile) => decoded.profiles.push(profile),
            Err(error) => decoded.damaged.push((number + 1, error)),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiler::MeanPower;
    use crate::setting::Setting;
    use footplate_core::{Hertz, PowerMode, Reading};
    use proptest::prelude::*;

    fn kept() -> KeptProfile {
        let mode = PowerMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(114_750_000)), ..PowerMode::default() };
        let profile = ProfileRecord {
            setting: Setting { mode, batch_size: None, workers: Some(2) },
            got: mode,
            steps: 12,
            step_s: 0.25,
            step_error_s: 0.001,
            stall_share: Some(0.5),
            items: 16.0,
            power: Reading::Value(MeanPower { mean_w: 9.5, error_w: 0.125, coverage: 1.0 }),
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            warnings: vec!["hot".into()],
            simulated: true,
            t_ns: 7,
            duration_ns: 3,
        };
        KeptProfile {
            machine: "sim:tx2@r32".into(),
            workload: "resnet18, batch 16".into(),
            goal: "time".into(),
            verifies: false,
            profile,
        }
    }

    /// The golden line: a change here is a change of the format and needs a new version.
    #[test]
    fn golden_line() {
        let line = encode(&kept()).unwrap();
        assert_eq!(line, include_str!("golden_profile.txt"));
        assert_eq!(decode(&line), Ok(kept()));
    }

    #[test]
    fn sources_are_other_jobs_here_and_this_job_elsewhere() {
        let of = |machine: &str, workload: &str, cores: u32| {
            let mut one = kept();
            (one.machine, one.workload) = (machine.into(), workload.into());
            one.profile.setting.mode.cpu_cores = Some(cores);
            one.profile.got = one.profile.setting.mode;
            one
        };
        let mut all = Vec::new();
        for (machine, workload) in [("here", "job"), ("here", "other"), ("there", "job"), ("there", "other")]
        {
            all.extend((1..=5).map(|cores| of(machine, workload, cores)));
        }
        // Too few to tell anything.
        all.extend((1..=3).map(|cores| of("here", "hardly", cores)));
        // Repeats of one setting, and what was not taken, are not more.
        all.extend((1..=3).map(|cores| of("here", "hardly", cores)));
        all.push(KeptProfile {
            profile: ProfileRecord { throttled: vec!["hot".into()], ..of("here", "hardly", 4).profile },
            ..of("here", "hardly", 4)
        });
        let knobs = Knobs::of(&all.iter().map(|k| k.profile.setting).collect::<Vec<_>>());
        let found = sources(&all, "here", "job", &knobs);
        let names: Vec<&str> = found.iter().map(Source::name).collect();
        assert_eq!(names, ["other", "job on there"]);
    }

    #[test]
    fn a_newer_version_is_named_and_a_torn_tail_left_out() {
        let line = encode(&kept()).unwrap();
        let newer = line.replace("{\"v\":1", "{\"v\":9");
        assert_eq!(decode(&newer), Err(RecordError::Version { found: 9 }));
        let mut file = line.repeat(2).into_bytes();
        let whole = file.len() as u64;
        file.extend_from_slice(&line.as_bytes()[..40]);
        let decoded = decode_all(&file);
        assert_eq!((decoded.profiles.len(), decoded.whole_bytes, decoded.damaged.len()), (2, whole, 0));
    }

    proptest! {
        #[test]
        fn damage_costs_the_damaged_line_only(at in 0usize..5000, bit in 0u8..8) {
            let line = encode(&kept()).unwrap();
            let mut file = line.repeat(3).into_bytes();
            let at = at % file.len();
            file[at] ^= 1 << bit;
            let decoded = decode_all(&file);
            prop_assert!(!decoded.profiles.is_empty());
            prop_assert!(decoded.profiles.iter().all(|p| *p == kept()));
        }
    }
}
