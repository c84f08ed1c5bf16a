//! The arguments of `footplate train`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::tune::TuneArguments;
use crate::exporter::MetricsAddress;
use crate::goal::{BoardArguments, GoalArguments};
use crate::options::TrainOptions;

const TRAIN_EXAMPLES: &str = "\
Examples:
  footplate train                                          the embedded data set, one or two minutes
  footplate train resnet18 --data photos/ --epochs 20      folders of images, one for each class
  footplate train resnet18 --data photos/ --weights resnet18.safetensors --learning-rate 0.01
  footplate train mobilenet_v3_small --data 'shards/train-{000..009}.tar' --batch-size auto
  footplate train lstm --data shakespeare.txt --max-steps 2000
  footplate train resnet18 --data photos/ --power-max 20W  find the fastest mode under 20 W on the first steps, train in it
  footplate train --resume runs/20261124-101500-resnet18   go on after Ctrl-C, a crash or a power cut
  footplate train resnet18 --data photos/ --metrics 9184   for Prometheus, at http://127.0.0.1:9184/metrics

Images: ROOT/CLASS/*.jpg (split by itself) or ROOT/train/CLASS and ROOT/val/CLASS; MNIST idx, CIFAR binary, tar shards.
Settings may stand in a TOML file (--config) under the flags' names; flags override it.

On a terminal of 40 by 10 characters or more the run has a screen (NO_COLOR: without colours); q leaves it for lines.

Exit codes: 0 done, 1 failure inside, 2 usage, 3 bad input data, 4 hardware, permission or storage,
5 no mode holds the limits, 6 not enough memory, 7 interrupted and resumable.";

#[derive(Debug, Args)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct TrainArguments {
    /// lenet5, resnet18, resnet50, mobilenet_v3_small, mobilenet_v3_large or lstm [default: lenet5]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) options: TrainOptions,

    #[command(flatten)]
    pub(crate) goal: GoalArguments,

    #[command(flatten)]
    pub(crate) machine: BoardArguments,

    /// Settings file in TOML
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub(crate) config: Option<PathBuf>,

    /// Go on with the run in this folder, with its own settings
    #[arg(long, value_name = "RUN", help_heading = "Run", conflicts_with_all = ["model", "config", "run_dir"])]
    pub(crate) resume: Option<PathBuf>,

    /// Print the memory plan and the settings, and do not train
    #[arg(long, help_heading = "Run", conflicts_with = "resume")]
    pub(crate) dry_run: bool,

    /// Print one JSON document with the run's figures on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors and the result
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Print lines now and then instead of a screen, as where there is no terminal
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub(crate) plain: bool,

    /// Serve Prometheus metrics at http://ADDR/metrics while it trains: PORT for this machine only, or ADDRESS:PORT
    #[arg(long, value_name = "ADDR", help_heading = "Output")]
    pub(crate) metrics: Option<MetricsAddress>,
}

impl TrainArguments {
    /// Those of the run whose first steps a tune on this machine measures.
    pub(crate) fn of_tune(arguments: &TuneArguments) -> Self {
        Self {
            model: arguments.model.clone(),
            options: arguments.options.clone(),
            goal: arguments.goal.clone(),
            machine: arguments.machine.clone(),
            config: None,
            resume: None,
            dry_run: false,
            json: arguments.json,
            quiet: arguments.quiet,
            plain: true,
            metrics: None,
        }
    }
}
