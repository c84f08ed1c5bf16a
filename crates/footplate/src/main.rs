//! The program `footplate`: arguments and settings in, records and figures out.

mod cache_folder;
mod cli;
mod commands;
mod exporter;
mod failure;
mod goal;
mod heap;
mod live;
mod machine;
mod options;
mod output;
mod plan_text;
mod signals;
mod stalls_text;
mod terminal;
mod view;

use std::panic;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::failure::{Failure, Kind};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // What a panic says must not be lost on a screen.
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |fault| {
        terminal::give_back();
        say(fault);
    }));
    // A fault in us or in the engine is told like any other failure; the panic's own message came before.
    let result = panic::catch_unwind(|| run(cli.command)).unwrap_or_else(|_| {
        Err(Failure::new(Kind::Internal, "a fault inside footplate; please report the lines above"))
    });
    result.unwrap_or_else(|failure| {
        output::failure(&failure);
        failure.kind.exit_code()
    })
}

fn run(command: cli::Command) -> Result<ExitCode, Failure> {
    if matches!(command, cli::Command::Train(_) | cli::Command::Measure(_)) {
        machine::tell_of_stale();
    }
    match command {
        cli::Command::Train(arguments) => commands::train::run(&arguments),
        cli::Command::Watch(arguments) => commands::watch::run(&arguments),
        cli::Command::Pack(arguments) => commands::pack::run(&arguments),
        cli::Command::Stalls(arguments) => commands::stalls::run(&arguments),
        cli::Command::Device(arguments) => commands::device::run(&arguments),
        cli::Command::Doctor(arguments) => commands::doctor::run(&arguments),
        cli::Command::Measure(arguments) => commands::measure::run(&arguments),
        cli::Command::Mode(arguments) => commands::mode::run(&arguments),
        cli::Command::Characterize(arguments) => commands::characterize::run(&arguments),
        cli::Command::Report(arguments) => commands::report::run(&arguments),
        cli::Command::Export(arguments) => commands::export::run(&arguments),
        cli::Command::Kernels(arguments) => commands::kernels::run(&arguments),
        cli::Command::Tune(arguments) => commands::tune::run(&arguments),
        cli::Command::Evaluate(arguments) => commands::evaluate::run(&arguments),
        cli::Command::Completions(arguments) => {
            commands::completions::run(&arguments, &mut cli::Cli::command())
        }
    }
}
