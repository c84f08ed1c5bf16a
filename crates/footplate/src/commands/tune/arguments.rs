//! The arguments of `footplate tune`, and those that `footplate train` shares with it.

use std::path::PathBuf;

use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum};
use footplate_core::quantity::{self, Limit};
use footplate_core::{Celsius, Share, Watts};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::rehearsal;
use crate::failure::Failure;
use crate::machine::MachineArguments;
use crate::options::TrainOptions;

const EXAMPLES: &str = "\
Examples:
  footplate tune resnet18 --data photos/ --power-max 20W            the fastest mode under 20 W
  footplate tune resnet18 --minimise energy --max-slowdown 20%      least energy, at most a fifth slower
  footplate tune --minimise power --time-max 90s/epoch --keep       stay in the chosen mode
  footplate tune resnet18 --sim agx-orin --power-max 20W            on a simulated board, in a moment
  footplate tune --sim tx2 --surface tx2-xception-600.csv --minimise time     on measured data
  footplate tune resnet18 --power-max 15W --nvpmodel RESNET18_15W   print a block for nvpmodel's configuration

On this machine the steps are real ones of a real run, which `footplate train --resume RUN` goes on with in the
chosen mode; `footplate train … --power-max 20W` does both at once. The mode that was set before is put back unless
--keep says otherwise. Limits on time and energy are for the whole job, or with /epoch or /step for one of these.
Exit codes: 0 done, 2 usage, 3 bad input data, 4 no sensor or no permission, 5 no mode holds the limits,
7 interrupted (what was measured is kept with --records, and the same command goes on).";

/// What is made as small as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Minimise {
    /// Time of a step
    Time,
    /// Energy of a step
    Energy,
    /// Mean power
    Power,
}

/// What is wanted of a mode, and how long may be looked for it. Kept in `run.toml` for a resume.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct GoalArguments {
    /// What is made as small as possible [default: time]
    #[arg(long, value_enum, help_heading = "Goal", alias = "minimize")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) minimise: Option<Minimise>,

    /// Minimise η × energy + (1 − η) × largest power × time instead, η from 0 to 1
    #[arg(long, value_name = "ETA", help_heading = "Goal", conflicts_with = "minimise")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zeus_eta: Option<f64>,

    /// Mean power, such as 20W
    #[arg(long, value_name = "POWER", value_parser = quantity::power_limit, help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) power_max: Option<Watts>,

    /// Time, such as 2h or 90s/epoch
    #[arg(long, value_name = "TIME", value_parser = quantity::time_limit, help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_max: Option<Limit>,

    /// Energy, such as 50kJ or 2J/step
    #[arg(long, value_name = "ENERGY", value_parser = quantity::energy_limit, help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) energy_max: Option<Limit>,

    /// How much slower than the fastest mode it may be, such as 20%
    #[arg(long, value_name = "SHARE", help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_slowdown: Option<Share>,

    /// Temperature that no sensor may show, such as 80C
    #[arg(long, value_name = "TEMPERATURE", value_parser = quantity::temperature_limit, help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature_max: Option<Celsius>,

    /// How sure it must be that the limits hold [default: 90%]
    #[arg(long, value_name = "SHARE", help_heading = "Goal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<Share>,

    /// Modes that are measured at most [default: 12]
    #[arg(long, value_name = "N", help_heading = "Search", value_parser = clap::value_parser!(u32).range(1..=1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profiles: Option<u32>,

    /// Time after which no further mode is measured, such as 5min
    #[arg(long, value_name = "TIME", value_parser = quantity::time_limit, help_heading = "Search")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile_time: Option<Limit>,

    /// Choose the loader's worker count too
    #[arg(long, help_heading = "Search")]
    pub(crate) tune_workers: bool,

    /// Folder in which every measurement is kept at once, and from which a later tune goes on
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<PathBuf>,
}

/// Modes that are measured unless something else is said.
const PROFILES: u32 = 12;
/// How sure it must be that the limits hold, unless something else is said.
const CONFIDENCE: f64 = 0.9;

impl GoalArguments {
    /// Takes what a settings file says of the goal, under the flags' names and in their words, out of its table.
    pub(crate) fn taken_from(table: &mut toml::Table) -> Result<Self, String> {
        let command = Self::augment_args(Command::new("goal").no_binary_name(true));
        let mut words = Vec::new();
        for argument in command.get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            let flag = format!("--{name}");
            match table.remove(name) {
                None => {}
                Some(toml::Value::Boolean(value)) if matches!(argument.get_action(), ArgAction::SetTrue) => {
                    words.extend(value.then_some(flag));
                }
                Some(toml::Value::String(value)) => words.push(format!("{flag}={value}")),
                Some(value @ (toml::Value::Integer(_) | toml::Value::Float(_))) => {
                    words.push(format!("{flag}={value}"));
                }
                Some(value) => return Err(format!("{name}: {value} is of the wrong type")),
            }
        }
        let first_line = |e: clap::Error| {
            let text = e.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        };
        let matches = command.try_get_matches_from(words).map_err(first_line)?;
        Self::from_arg_matches(&matches).map_err(first_line)
    }

    /// This goal, completed by `other` where it says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
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

    /// Whether a mode is wanted at all.
    pub(crate) fn is_set(&self) -> bool {
        self.minimise.is_some()
            || self.zeus_eta.is_some()
            || self.power_max.is_some()
            || self.time_max.is_some()
            || self.energy_max.is_some()
            || self.max_slowdown.is_some()
            || self.temperature_max.is_some()
    }

    /// Without any wish the least time is wanted.
    pub(crate) fn ensure_set(&mut self) {
        if !self.is_set() {
            self.minimise = Some(Minimise::Time);
        }
    }

    pub(crate) fn minimise(&self) -> Minimise {
        self.minimise.unwrap_or(Minimise::Time)
    }

    pub(crate) fn profiles(&self) -> usize {
        self.profiles.unwrap_or(PROFILES) as usize
    }

    pub(crate) fn confidence(&self) -> f64 {
        self.confidence.map_or(CONFIDENCE, |share| share.0)
    }

    /// Whether power must be known to serve the goal.
    pub(crate) fn needs_power(&self) -> bool {
        self.zeus_eta.is_some()
            || self.power_max.is_some()
            || self.energy_max.is_some()
            || self.minimise.is_some_and(|minimise| minimise != Minimise::Time)
    }
}

/// The machine whose mode is chosen.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct BoardArguments {
    /// A simulated board instead of this machine, such as agx-orin: its modes, times and powers are those of a model
    #[arg(long, value_name = "BOARD", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sim: Option<String>,

    /// On a simulated board, after TIME of training: power=FACTOR@TIME, time=FACTOR@TIME or supply=POWER@TIME
    #[arg(long, value_name = "WHAT@TIME", help_heading = "Machine", requires = "sim", value_parser = rehearsal::checked)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sim_change: Vec<String>,

    /// Folder of the journal of what was set before [default: /var/lib/footplate]
    #[arg(long, value_name = "DIR", help_heading = "Machine", conflicts_with = "sim")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Put back what a dead process left set, without asking
    #[arg(long, help_heading = "Machine", conflicts_with = "sim")]
    #[serde(skip)]
    pub(crate) restore_stale: bool,

    /// Allow settings of discrete NVIDIA GPUs
    #[arg(long, help_heading = "Machine", conflicts_with = "sim")]
    pub(crate) allow_gpu_settings: bool,
}

impl BoardArguments {
    /// The same for what is common to all commands.
    pub(crate) fn common(&self) -> MachineArguments {
        MachineArguments {
            root: None,
            sim: None,
            state_dir: self.state_dir.clone(),
            restore_stale: self.restore_stale,
        }
    }
}

/// What `run.toml` keeps of a run whose mode is chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Wish {
    pub(crate) goal: GoalArguments,
    #[serde(default)]
    pub(crate) machine: BoardArguments,
}

impl Wish {
    /// Refuses what cannot be, before anything is made: a board or a model that is not simulated, a goal that needs
    /// power on a machine that tells none. `model`: the job's, where it is known.
    pub(crate) fn check(&self, model: Option<&str>) -> Result<(), Failure> {
        match &self.machine.sim {
            Some(board) => Machine::check_simulated(board, model),
            None => Machine::check_here(self.goal.needs_power()),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TuneArguments {
    /// lenet5, resnet18, resnet50, mobilenet_v3_small, mobilenet_v3_large or lstm [default: lenet5; on a simulated board resnet18]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) options: TrainOptions,

    #[command(flatten)]
    pub(crate) goal: GoalArguments,

    #[command(flatten)]
    pub(crate) machine: BoardArguments,

    /// Take times (and powers, where it has them) from a table of measured modes
    #[arg(long, value_name = "FILE.csv", requires = "sim", help_heading = "Machine")]
    pub(crate) surface: Option<PathBuf>,

    /// The table's workload, where it has several
    #[arg(long, value_name = "NAME", requires = "surface", help_heading = "Machine")]
    pub(crate) workload: Option<String>,

    /// Stay in the chosen mode
    #[arg(long, help_heading = "Output")]
    pub(crate) keep: bool,

    /// Print the choice as a block of nvpmodel's configuration under this name
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub(crate) nvpmodel: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but warnings, errors and the result
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// Samples in a minibatch on a simulated board.
const SIMULATED_BATCH: usize = 16;

impl TuneArguments {
    /// Samples in a minibatch of a simulated job.
    pub(crate) fn simulated_batch(&self) -> usize {
        match self.options.batch_size {
            Some(crate::options::BatchSize::Fixed(size)) => size,
            Some(crate::options::BatchSize::Auto) | None => SIMULATED_BATCH,
        }
    }

    /// Seed of the search's draws: that of the job.
    pub(crate) fn seed(&self) -> u64 {
        self.options.seed.unwrap_or(0)
    }
}
