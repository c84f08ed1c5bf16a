//! What is asked of the power mode of a run, as `run.toml` keeps it for a resume.

use std::path::PathBuf;

use footplate_core::quantity::{Limit, Per};
use footplate_core::{Celsius, Share, Watts};
use footplate_tune::goal::{Goal, GoalError, Limits, Objective};
use footplate_tune::plan::SearchOptions;
use footplate_tune::tuner::TuneOptions;
use serde::{Deserialize, Serialize};

/// The power mode that is wanted for a run, and on which machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModeRequest {
    /// What the mode must hold, and what is made small.
    pub goal: GoalRequest,
    /// The machine whose mode is chosen.
    #[serde(default)]
    pub machine: MachineRequest,
}

/// What is made as small as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Minimise {
    /// The time of a step.
    Time,
    /// The energy of a step.
    Energy,
    /// The mean power of the whole board.
    Power,
}

/// What is wanted of a mode, and how long may be looked for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GoalRequest {
    /// What is made as small as possible; time unless something is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimise: Option<Minimise>,
    /// Minimise η × energy + (1 − η) × largest power × time instead, η from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeus_eta: Option<f64>,
    /// The most that the board may draw on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_max: Option<Watts>,
    /// Most time, in seconds of what the limit says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_max: Option<Limit>,
    /// Most energy, in joules of what the limit says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_max: Option<Limit>,
    /// How much slower than the fastest mode it may be: 0.2 is a fifth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_slowdown: Option<Share>,
    /// Temperature that no sensor may show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_max: Option<Celsius>,
    /// How sure it must be that the limits hold, 0 to 1; 0.9 unless something is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Share>,
    /// Modes that are measured at most; 12 unless something is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<u32>,
    /// Time in seconds after which no further mode is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_time: Option<Limit>,
    /// Whether the loader's worker count is chosen too.
    pub tune_workers: bool,
    /// Folder in which every measurement is kept at once, and from which a later tune goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<PathBuf>,
}

/// Modes that are measured unless something else is said.
const PROFILES: u32 = 12;
/// How sure it must be that the limits hold, unless something else is said.
const CONFIDENCE: Share = Share(0.9);

/// The machine whose mode is chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineRequest {
    /// A simulated board in the place of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<String>,
    /// What changes on the simulated board while it trains, as in [`crate::fault_script`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sim_change: Vec<String>,
    /// Folder of the journal of what was set before; the system's unless something is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Whether to put back what a dead process left set. Said anew for each process: it is not kept.
    #[serde(skip)]
    pub restore_stale: bool,
    /// Whether discrete GPUs may be set.
    pub allow_gpu_settings: bool,
}

/// How many steps a job has, by which its limits become those of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSize {
    /// Steps in one epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole job.
    pub steps: u64,
}

impl JobSize {
    /// A limit for one step.
    fn per_step(&self, limit: Limit) -> f64 {
        let steps = match limit.per {
            Per::Step => 1,
            Per::Epoch => self.steps_per_epoch,
            Per::Job => self.steps,
        };
        limit.value / steps.max(1) as f64
    }
}

impl GoalRequest {
    /// This goal, completed by `other` where it says nothing.
    pub fn or(self, other: Self) -> Self {
        // The two exclude each other: one that is given here stands for both.
        let objective = self.minimise.is_some() || self.zeus_eta.is_some();
        Self {
            minimise: self.minimise.or(other.minimise.filter(|_| !objective)),
            zeus_eta: self.zeus_eta.or(other.zeus_eta.filter(|_| !objective)),
            power_max: self.power_max.or(other.power_max),
            time_max: self.time_max.or(other.time_max),
            energy_max: self.energy_max.or(other.energy_max),
            max_slowdown: self.max_slowdown.or(other.max_slowdown),
            temperature_max: self.temperature_max.or(other.temperature_max),
            confidence: self.confidence.or(other.confidence),
            profiles: self.profiles.or(other.profiles),
            profile_time: self.profile_time.or(other.profile_time),
            tune_workers: self.tune_workers || other.tune_workers,
            records: self.records.or(other.records),
        }
    }

    /// Whether a mode is wanted at all: an objective or a limit is given.
    pub fn is_set(&self) -> bool {
        self.minimise.is_some()
            || self.zeus_eta.is_some()
            || self.power_max.is_some()
            || self.time_max.is_some()
            || self.energy_max.is_some()
            || self.max_slowdown.is_some()
            || self.temperature_max.is_some()
    }

    /// Whether power must be known to serve the goal.
    pub fn needs_power(&self) -> bool {
        self.zeus_eta.is_some()
            || self.power_max.is_some()
            || self.energy_max.is_some()
            || self.minimise.is_some_and(|minimise| minimise != Minimise::Time)
    }

    /// The goal for one step of a job of this size. `largest_power_w` is what Zeus' objective prices time at.
    pub fn goal(&self, size: &JobSize, largest_power_w: f64) -> Result<Goal, GoalError> {
        let objective = match (self.zeus_eta, self.minimise.unwrap_or(Minimise::Time)) {
            (Some(eta), _) => Objective::Zeus { eta, largest_power_w },
            (None, Minimise::Time) => Objective::Time,
            (None, Minimise::Energy) => Objective::Energy,
            (None, Minimise::Power) => Objective::Power,
        };
        let limits = Limits {
            power_w: self.power_max.map(|power| power.0),
            time_s: self.time_max.map(|limit| size.per_step(limit)),
            energy_j: self.energy_max.map(|limit| size.per_step(limit)),
            slowdown: self.max_slowdown.map(|share| share.0),
            temperature_c: self.temperature_max.map(|temperature| temperature.0),
        };
        Goal { objective, limits, confidence: self.confidence.unwrap_or(CONFIDENCE).0 }.checked()
    }

    /// The bounds of a search. `seed` decides its random draws.
    pub fn options(&self, seed: u64) -> TuneOptions {
        let profiles = self.profiles.unwrap_or(PROFILES) as usize;
        TuneOptions {
            search: SearchOptions { profiles, seed, ..SearchOptions::default() },
            profile_time_ns: self.profile_time.map(|limit| (limit.value * 1e9) as u64),
            ..TuneOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: JobSize = JobSize { steps_per_epoch: 100, steps: 1000 };

    fn request(text: &str) -> GoalRequest {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_request_stands_in_a_file_as_it_always_did() {
        let request = ModeRequest {
            goal: GoalRequest {
                minimise: Some(Minimise::Energy),
                power_max: Some(Watts(20.0)),
                time_max: Some(Limit { value: 90.0, per: Per::Epoch }),
                max_slowdown: Some(Share(0.2)),
                ..GoalRequest::default()
            },
            machine: MachineRequest {
                sim: Some("tx2".into()),
                sim_change: vec!["power=1.3@20s".into()],
                restore_stale: true,
                ..MachineRequest::default()
            },
        };
        let text = "[goal]\nminimise = \"energy\"\npower-max = 20.0\nmax-slowdown = 0.2\ntune-workers = false\n\n\
                    [goal.time-max]\nvalue = 90.0\nper = \"epoch\"\n\n\
                    [machine]\nsim = \"tx2\"\nsim-change = [\"power=1.3@20s\"]\nallow-gpu-settings = false\n";
        assert_eq!(toml::to_string(&request).unwrap(), text);
        let mut read: ModeRequest = toml::from_str(text).unwrap();
        // Said anew for each process.
        assert!(!read.machine.restore_stale);
        read.machine.restore_stale = true;
        assert_eq!(read, request);
    }

    #[test]
    fn limits_are_counted_in_steps() {
        let request = request(
            "time-max = { value = 10.0, per = \"epoch\" }\nenergy-max = { value = 50000.0, per = \"job\" }\n",
        );
        let goal = request.goal(&DAY, 0.0).unwrap();
        assert_eq!((goal.limits.time_s, goal.limits.energy_j), (Some(0.1), Some(50.0)));
        let per_step =
            GoalRequest { time_max: Some(Limit { value: 0.25, per: Per::Step }), ..GoalRequest::default() };
        assert_eq!(per_step.goal(&DAY, 0.0).unwrap().limits.time_s, Some(0.25));
        // A job that is over has no steps to divide by.
        let none = JobSize { steps_per_epoch: 0, steps: 0 };
        assert_eq!(request.goal(&none, 0.0).unwrap().limits.time_s, Some(10.0));
    }

    #[test]
    fn what_is_not_said_gets_its_default() {
        let goal = GoalRequest::default().goal(&DAY, 0.0).unwrap();
        assert_eq!((goal.objective, goal.confidence), (Objective::Time, 0.9));
        assert!(goal.limits.is_empty());
        let options = GoalRequest::default().options(7);
        assert_eq!((options.search.profiles, options.search.seed, options.profile_time_ns), (12, 7, None));
        let bounded = request("profiles = 3\nprofile-time = { value = 1.5, per = \"job\" }\n").options(0);
        assert_eq!((bounded.search.profiles, bounded.profile_time_ns), (3, Some(1_500_000_000)));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for text in ["zeus-eta = 1.5\n", "confidence = 0.2\n", "power-max = -1.0\n", "max-slowdown = -0.1\n"]
        {
            assert!(request(text).goal(&DAY, 0.0).is_err(), "{text}");
        }
    }

    #[test]
    fn power_must_be_known_for_all_but_time() {
        for (text, set, needs) in [
            ("", false, false),
            ("records = \"r\"\n", false, false),
            ("minimise = \"time\"\n", true, false),
            ("time-max = { value = 1.0, per = \"job\" }\n", true, false),
            ("max-slowdown = 0.1\n", true, false),
            ("temperature-max = 80.0\n", true, false),
            ("minimise = \"energy\"\n", true, true),
            ("minimise = \"power\"\n", true, true),
            ("zeus-eta = 0.5\n", true, true),
            ("power-max = 9.0\n", true, true),
            ("energy-max = { value = 1.0, per = \"step\" }\n", true, true),
        ] {
            assert_eq!((request(text).is_set(), request(text).needs_power()), (set, needs), "{text}");
        }
    }

    #[test]
    fn an_objective_on_the_command_line_stands_for_both_ways_to_give_one() {
        let file = request("zeus-eta = 0.5\npower-max = 9.0\n");
        let flags = GoalRequest { minimise: Some(Minimise::Power), ..GoalRequest::default() };
        let both = flags.or(file);
        assert_eq!(
            (both.minimise, both.zeus_eta, both.power_max),
            (Some(Minimise::Power), None, Some(Watts(9.0)))
        );
    }

    fn some_request() -> impl Strategy<Value = GoalRequest> {
        let limit = (1.0f64..100.0).prop_map(|value| Limit { value, per: Per::Epoch });
        (
            proptest::option::of(1.0f64..100.0),
            proptest::option::of(limit),
            proptest::option::of(1u32..20),
            proptest::bool::ANY,
        )
            .prop_map(|(power, time_max, profiles, tune_workers)| GoalRequest {
                power_max: power.map(Watts),
                time_max,
                profiles,
                tune_workers,
                ..GoalRequest::default()
            })
    }

    proptest! {
        #[test]
        fn completing_a_request_never_changes_what_it_says(a in some_request(), b in some_request()) {
            let both = a.clone().or(b.clone());
            prop_assert_eq!(both.power_max, a.power_max.or(b.power_max));
            prop_assert_eq!(both.profiles, a.profiles.or(b.profiles));
            prop_assert_eq!(a.clone().or(GoalRequest::default()), a.clone());
            prop_assert_eq!(GoalRequest::default().or(b.clone()), b);
            prop_assert_eq!(both.clone().or(a), both);
        }

        #[test]
        fn what_was_written_is_read_again(goal in some_request()) {
            let request = ModeRequest { goal, ..ModeRequest::default() };
            let text = toml::to_string(&request).unwrap();
            prop_assert_eq!(toml::from_str::<ModeRequest>(&text).unwrap(), request);
        }
    }
}
