//! What a file of kept profiles holds, one record in each line of [`footplate_core::framed`], and what records of other
//! jobs tell. `docs/profile-records.md` describes the fields.

use std::collections::BTreeMap;

use footplate_core::framed::Framed;
use serde::{Deserialize, Serialize};

use crate::predict::{Measurement, Source};
use crate::profiler::ProfileRecord;
use crate::setting::{Knobs, Setting};

/// One kept profile: what was measured, where, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptProfile {
    /// The machine: its board and release.
    pub machine: String,
    /// The job: network, batch, data and device, as the port `Workload` names it.
    pub workload: String,
    /// The goal of the tune that measured it, in words: an interrupted tune finds its own records by it.
    pub goal: String,
    /// Whether it verified a choice.
    pub verifies: bool,
    /// The measurement itself.
    pub profile: ProfileRecord,
}

impl Framed for KeptProfile {
    const FORMAT: &'static str = "file of profiles";
    const VERSION: u32 = 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiler::MeanPower;
    use crate::setting::Setting;
    use footplate_core::framed::{LineError, decode, decode_all, encode};
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
        assert_eq!(
            decode::<KeptProfile>(&newer),
            Err(LineError::Version { format: "file of profiles", found: 9, newest: 1 })
        );
        let mut file = line.repeat(2).into_bytes();
        let whole = file.len() as u64;
        file.extend_from_slice(&line.as_bytes()[..40]);
        let decoded = decode_all::<KeptProfile>(&file);
        assert_eq!((decoded.records.len(), decoded.whole_bytes, decoded.damaged.len()), (2, whole, 0));
    }

    proptest! {
        #[test]
        fn damage_costs_the_damaged_line_only(at in 0usize..5000, bit in 0u8..8) {
            let line = encode(&kept()).unwrap();
            let mut file = line.repeat(3).into_bytes();
            let at = at % file.len();
            file[at] ^= 1 << bit;
            let decoded = decode_all::<KeptProfile>(&file);
            prop_assert!(!decoded.records.is_empty());
            prop_assert!(decoded.records.iter().all(|p| *p == kept()));
        }
    }
}
