//! The program `footplate`: arguments and settings in, records and figures out.

mod cli;
mod commands;
mod embedded;
mod failure;
mod heap;
mod host;
mod options;
mod output;
mod recorder;
mod resolve;
mod run_store;
mod summary_text;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let result = match cli.command {
        cli::Command::Train(arguments) => commands::train::run(&arguments),
        cli::Command::Export(arguments) => commands::export::run(&arguments),
        cli::Command::Completions(arguments) => commands::completions::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output::failure(&failure);
            failure.kind.exit_code()
        }
    }
}
