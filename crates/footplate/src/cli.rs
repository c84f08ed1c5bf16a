//! The command line. Parsing has no side effects.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use footplate_core::Seconds;

use crate::commands::characterize::CharacterizeArguments;
use crate::commands::evaluate::EvaluateArguments;
use crate::commands::pack::PackArguments;
use crate::commands::report::ReportArguments;
use crate::commands::tune::{BoardArguments, GoalArguments, TuneArguments};
use crate::exporter::MetricsAddress;
use crate::options::TrainOptions;

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failure inside, 2 usage, 3 bad input data, 4 hardware, permission or storage,
5 infeasible budget, 6 not enough memory, 7 interrupted and resumable.";

/// Trains deep neural networks on edge devices, and says where the time went.
#[derive(Debug, Parser)]
#[command(name = "footplate", version, about, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network; with no arguments, on railway signals that the program makes itself
    Train(Box<TrainArguments>),
    /// Watch a run in another terminal, or how a finished one went
    Watch(crate::commands::watch::WatchArguments),
    /// Pack a data set of images into indexed shards: faster to read and to begin decoding
    Pack(PackArguments),
    /// Measure a training job's stages: which one limits it, by how much, and what to change
    Stalls(Box<StallsArguments>),
    /// Show the machine: its knobs, rails, temperatures, and what is missing
    Device(crate::commands::device::DeviceArguments),
    /// Look for what would stop or slow a run on this machine, and say what helps
    Doctor(crate::commands::doctor::DoctorArguments),
    /// Run any command and tell its time, energy, heat and throttling
    Measure(crate::commands::measure::MeasureArguments),
    /// Show, set and restore power modes
    Mode(Box<crate::commands::mode::ModeArguments>),
    /// Make a page of a run, or of several side by side: one HTML file, to be read without a network
    Report(ReportArguments),
    /// Run a grid of settings, one run each, and compare them: networks, data, workers, batches, power modes
    #[command(visible_alias = "characterise")]
    Characterize(CharacterizeArguments),
    /// Write a run's weights as safetensors in torchvision's layout
    Export(ExportArguments),
    /// Find the power mode that trains fastest, or with least energy, within limits
    Tune(Box<TuneArguments>),
    /// Say how well few measured power modes of a table predict all the others
    Evaluate(EvaluateArguments),
    /// Show, export or import the kernels that were chosen by measuring on this machine's GPU
    Kernels(crate::commands::kernels::KernelsArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
}

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

const STALLS_EXAMPLES: &str = "\
Examples:
  footplate stalls resnet18 --data photos/                 what limits this job, and what to change
  footplate stalls resnet18 --data photos/ --apply         also try the best change: predicted against got
  footplate stalls lenet5 --data photos/ --image-size 224 --workers 1 --time 20s --json
  footplate stalls resnet18 --data /media/card/photos --cold   as in the first epoch, or with more data than memory

It takes the options of `footplate train`, runs real steps on real data for the time given, and leaves nothing behind.

Exit codes: 0 done, 1 failure inside, 2 usage, 3 bad input data, 4 hardware, permission or storage,
6 not enough memory, 7 interrupted.";

#[derive(Debug, Args)]
#[command(after_help = STALLS_EXAMPLES)]
pub(crate) struct StallsArguments {
    /// lenet5, resnet18, resnet50, mobilenet_v3_small, mobilenet_v3_large or lstm [default: lenet5]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) options: TrainOptions,

    /// Settings file in TOML
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub(crate) config: Option<PathBuf>,

    /// How long to measure, e.g. 20s, 2m; single steps that are longer are still finished
    #[arg(long, value_name = "TIME", default_value = "60s", help_heading = "Diagnosis")]
    pub(crate) time: Seconds,

    /// Run again with the best change that needs no other data set or machine, and compare with the prediction
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) apply: bool,

    /// Take the samples as not yet read: the first epoch, or more data than memory [default: by the sizes]
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) cold: bool,

    /// Print one JSON document with all figures on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors and the result
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}

const EXPORT_EXAMPLE: &str = "\
Example:
  footplate export runs/20261124-101500-resnet18 --out resnet18.safetensors

and in PyTorch:
  model = torchvision.models.resnet18(num_classes=4)
  model.load_state_dict(safetensors.torch.load_file('resnet18.safetensors'))";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLE)]
pub(crate) struct ExportArguments {
    /// The run's folder
    pub(crate) run: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Take the newest weights instead of those of the best validation
    #[arg(long)]
    pub(crate) newest: bool,
}

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  footplate completions bash > ~/.local/share/bash-completion/completions/footplate";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLE)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
