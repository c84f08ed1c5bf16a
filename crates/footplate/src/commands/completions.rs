//! `footplate completions`.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArguments};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &CompletionsArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "footplate", &mut script);
    output::result(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}
