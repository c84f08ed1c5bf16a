//! The command line. Parsing has no side effects.

use clap::{Parser, Subcommand};

use crate::commands::characterize::CharacterizeArguments;
use crate::commands::completions::CompletionsArguments;
use crate::commands::evaluate::EvaluateArguments;
use crate::commands::export::ExportArguments;
use crate::commands::pack::PackArguments;
use crate::commands::report::ReportArguments;
use crate::commands::stalls::StallsArguments;
use crate::commands::train::TrainArguments;
use crate::commands::tune::TuneArguments;

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
