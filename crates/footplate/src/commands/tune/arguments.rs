//! The arguments of `footplate tune`.

use std::path::PathBuf;

use clap::Args;
use footplate_run::mode_request::ModeRequest;

use crate::goal::{BoardArguments, GoalArguments};
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

impl From<&TuneArguments> for ModeRequest {
    fn from(arguments: &TuneArguments) -> Self {
        Self { goal: arguments.goal.clone().into(), machine: arguments.machine.clone().into() }
    }
}
