//! `footplate completions`: a script for a shell.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  footplate completions bash > ~/.local/share/bash-completion/completions/footplate";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLE)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: Shell,
}

/// Prints the script for `program`, which is this one's whole command line.
pub(crate) fn run(arguments: &CompletionsArguments, program: &mut Command) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, program, "footplate", &mut script);
    output::result(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}
