//! The arguments of `footplate tune`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::quantity::{self, Limit};

const EXAMPLES: &str = "\
Examples:
  footplate tune resnet18 --data photos/ --power-max 20W            the fastest mode under 20 W
  footplate tune resnet18 --minimise energy --max-slowdown 20%      least energy, at most a fifth slower
  footplate tune --minimise power --time-max 90s/epoch --keep       stay in the chosen mode
  footplate tune resnet18 --sim agx-orin --power-max 20W            on a simulated board, in a moment
  footplate tune --sim tx2 --surface tx2-xception-600.csv --minimise time     on measured data
  footplate tune resnet18 --power-max 15W --nvpmodel RESNET18_15W   print a block for nvpmodel's configuration

The steps are real ones of the real job. The mode that was set before is put back unless --keep says otherwise.
Limits on time and energy are for the whole job, or with /epoch or /step for one of these.
Exit codes: 0 done, 2 usage, 3 bad input data, 4 no sensor or no permission, 5 no mode holds the limits,
7 interrupted (what was measured is kept with --records, and the same command goes on).";

/// What is made as small as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Minimise {
    /// Time of a step
    Time,
    /// Energy of a step
    Energy,
    /// Mean power
    Power,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TuneArguments {
    /// lenet5, resnet18, resnet50, mobilenet_v3_small, mobilenet_v3_large or lstm [default: lenet5]
    pub(crate) model: Option<String>,

    /// Training data; without it, railway signals that the program makes itself
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Samples in a minibatch
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch_size: u32,

    /// Epochs of the whole job, for limits on its time and energy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) epochs: u32,

    /// What is made as small as possible
    #[arg(long, value_enum, default_value = "time", help_heading = "Goal", alias = "minimize")]
    pub(crate) minimise: Minimise,

    /// Minimise η × energy + (1 − η) × largest power × time instead, η from 0 to 1
    #[arg(long, value_name = "ETA", help_heading = "Goal", conflicts_with = "minimise")]
    pub(crate) zeus_eta: Option<f64>,

    /// Mean power, such as 20W
    #[arg(long, value_name = "POWER", value_parser = quantity::power, help_heading = "Goal")]
    pub(crate) power_max: Option<f64>,

    /// Time, such as 2h or 90s/epoch
    #[arg(long, value_name = "TIME", value_parser = quantity::time, help_heading = "Goal")]
    pub(crate) time_max: Option<Limit>,

    /// Energy, such as 50kJ or 2J/step
    #[arg(long, value_name = "ENERGY", value_parser = quantity::energy, help_heading = "Goal")]
    pub(crate) energy_max: Option<Limit>,

    /// How much slower than the fastest mode it may be, such as 20%
    #[arg(long, value_name = "SHARE", value_parser = quantity::share, help_heading = "Goal")]
    pub(crate) max_slowdown: Option<f64>,

    /// Temperature that no sensor may show, such as 80C
    #[arg(long, value_name = "TEMPERATURE", value_parser = quantity::temperature, help_heading = "Goal")]
    pub(crate) temperature_max: Option<f64>,

    /// How sure it must be that the limits hold
    #[arg(long, value_name = "SHARE", value_parser = quantity::share, default_value = "90%", help_heading = "Goal")]
    pub(crate) confidence: f64,

    /// Modes that are measured at most
    #[arg(long, value_name = "N", default_value_t = 12, help_heading = "Search",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) profiles: u32,

    /// Time after which no further mode is measured, such as 5min
    #[arg(long, value_name = "TIME", value_parser = quantity::time, help_heading = "Search")]
    pub(crate) profile_time: Option<Limit>,

    /// Choose the loader's worker count too
    #[arg(long, help_heading = "Search")]
    pub(crate) tune_workers: bool,

    /// Folder in which every measurement is kept at once, and from which a later tune goes on
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub(crate) records: Option<PathBuf>,

    /// Seed of the search's draws
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    pub(crate) seed: u64,

    /// Tune a simulated board instead of this machine, such as agx-orin
    #[arg(long, value_name = "BOARD", help_heading = "Simulation")]
    pub(crate) sim: Option<String>,

    /// Take times (and powers, where it has them) from a table of measured modes
    #[arg(long, value_name = "FILE.csv", requires = "sim", help_heading = "Simulation")]
    pub(crate) surface: Option<PathBuf>,

    /// The table's workload, where it has several
    #[arg(long, value_name = "NAME", requires = "surface", help_heading = "Simulation")]
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
}
