//! The measured command: started, waited for, and told of the signals that we get in its place.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use crate::failure::{Failure, Kind};
use crate::{output, signals};

/// What a shell says of a command that is not there, or that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;
/// A command that a signal ended: this and the signal's number.
const BY_SIGNAL: i32 = 128;

/// Runs a command to its end and gives its exit code. With `quiet_stdout` its output goes to stderr.
pub(super) fn run(command: &[OsString], quiet_stdout: bool) -> Result<u8, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(Kind::Usage, "no command"));
    };
    let mut process = Command::new(program);
    process.args(arguments);
    if quiet_stdout {
        process.stdout(output::stderr_for_child());
    }
    // Signals do not end us: the command decides, and its figures are told.
    signals::forward(
        || process.spawn().map_err(|error| Ok(not_started(program, &error))),
        |child| {
            let status = child.wait();
            status
                .map(code_of)
                .map_err(|e| Failure::new(Kind::Internal, format!("waiting for the command: {e}")))
        },
    )?
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn not_started(program: &OsString, error: &io::Error) -> u8 {
    output::note(&format!("error: cannot run {}: {error}", program.display()));
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(code_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}
