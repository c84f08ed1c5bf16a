//! Which mode is wanted, on which machine: what `train` and `tune` have in common, as flags and settings.

use std::path::PathBuf;

use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum};
use footplate_core::quantity::{self, Limit};
use footplate_core::{Celsius, Share, Watts};
use footplate_run::fault_script;
use footplate_run::mode_request::{GoalRequest, MachineRequest, Minimise};

/// What is made as small as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MinimiseArgument {
    /// Time of a step
    Time,
    /// Energy of a step
    Energy,
    /// Mean power
    Power,
}

/// What is wanted of a mode, and how long may be looked for it.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct GoalArguments {
    /// What is made as small as possible [default: time]
    #[arg(long, value_enum, help_heading = "Goal", alias = "minimize")]
    pub(crate) minimise: Option<MinimiseArgument>,

    /// Minimise η × energy + (1 − η) × largest power × time instead, η from 0 to 1
    #[arg(long, value_name = "ETA", help_heading = "Goal", conflicts_with = "minimise")]
    pub(crate) zeus_eta: Option<f64>,

    /// Mean power, such as 20W
    #[arg(long, value_name = "POWER", value_parser = quantity::power_limit, help_heading = "Goal")]
    pub(crate) power_max: Option<Watts>,

    /// Time, such as 2h or 90s/epoch
    #[arg(long, value_name = "TIME", value_parser = quantity::time_limit, help_heading = "Goal")]
    pub(crate) time_max: Option<Limit>,

    /// Energy, such as 50kJ or 2J/step
    #[arg(long, value_name = "ENERGY", value_parser = quantity::energy_limit, help_heading = "Goal")]
    pub(crate) energy_max: Option<Limit>,

    /// How much slower than the fastest mode it may be, such as 20%
    #[arg(long, value_name = "SHARE", help_heading = "Goal")]
    pub(crate) max_slowdown: Option<Share>,

    /// Temperature that no sensor may show, such as 80C
    #[arg(long, value_name = "TEMPERATURE", value_parser = quantity::temperature_limit, help_heading = "Goal")]
    pub(crate) temperature_max: Option<Celsius>,

    /// How sure it must be that the limits hold [default: 90%]
    #[arg(long, value_name = "SHARE", help_heading = "Goal")]
    pub(crate) confidence: Option<Share>,

    /// Modes that are measured at most [default: 12]
    #[arg(long, value_name = "N", help_heading = "Search", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) profiles: Option<u32>,

    /// Time after which no further mode is measured, such as 5min
    #[arg(long, value_name = "TIME", value_parser = quantity::time_limit, help_heading = "Search")]
    pub(crate) profile_time: Option<Limit>,

    /// Choose the loader's worker count too
    #[arg(long, help_heading = "Search")]
    pub(crate) tune_workers: bool,

    /// Folder in which every measurement is kept at once, and from which a later tune goes on
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub(crate) records: Option<PathBuf>,
}

impl GoalArguments {
    /// Takes what a settings file says of the goal, under the flags' names and in their words, out of its table.
    pub(crate) fn taken_from(table: &mut toml::Table) -> Result<GoalRequest, String> {
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
        Self::from_arg_matches(&matches).map(GoalRequest::from).map_err(first_line)
    }
}

impl From<GoalArguments> for GoalRequest {
    fn from(arguments: GoalArguments) -> Self {
        Self {
            minimise: arguments.minimise.map(|minimise| match minimise {
                MinimiseArgument::Time => Minimise::Time,
                MinimiseArgument::Energy => Minimise::Energy,
                MinimiseArgument::Power => Minimise::Power,
            }),
            zeus_eta: arguments.zeus_eta,
            power_max: arguments.power_max,
            time_max: arguments.time_max,
            energy_max: arguments.energy_max,
            max_slowdown: arguments.max_slowdown,
            temperature_max: arguments.temperature_max,
            confidence: arguments.confidence,
            profiles: arguments.profiles,
            profile_time: arguments.profile_time,
            tune_workers: arguments.tune_workers,
            records: arguments.records,
        }
    }
}

/// The machine whose mode is chosen.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct BoardArguments {
    /// A simulated board instead of this machine, such as agx-orin: its modes, times and powers are those of a model
    #[arg(long, value_name = "BOARD", help_heading = "Machine")]
    pub(crate) sim: Option<String>,

    /// On a simulated board, after TIME of training: power=FACTOR@TIME, time=FACTOR@TIME or supply=POWER@TIME
    #[arg(long, value_name = "WHAT@TIME", help_heading = "Machine", requires = "sim", value_parser = fault_script::checked)]
    pub(crate) sim_change: Vec<String>,

    /// Folder of the journal of what was set before [default: /var/lib/footplate]
    #[arg(long, value_name = "DIR", help_heading = "Machine", conflicts_with = "sim")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Put back what a dead process left set, without asking
    #[arg(long, help_heading = "Machine", conflicts_with = "sim")]
    pub(crate) restore_stale: bool,

    /// Allow settings of discrete NVIDIA GPUs
    #[arg(long, help_heading = "Machine", conflicts_with = "sim")]
    pub(crate) allow_gpu_settings: bool,
}

impl From<BoardArguments> for MachineRequest {
    fn from(arguments: BoardArguments) -> Self {
        let BoardArguments { sim, sim_change, state_dir, restore_stale, allow_gpu_settings } = arguments;
        Self { sim, sim_change, state_dir, restore_stale, allow_gpu_settings }
    }
}
