//! The measured command: started, waited for, and told of the signals that we get in its place.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Kind};
use crate::output;

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
    // From here on signals do not end us: the command decides, and its figures are told.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|e| Failure::new(Kind::Machine, format!("signals: {e}")))?;
    let handle = signals.handle();
    let mut process = Command::new(program);
    process.args(arguments);
    if quiet_stdout {
        process.stdout(output::stderr_for_child());
    }
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => return not_started(program, &error),
    };
    let pid = Pid::from_child(&child);
    let forward = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            // A terminal sends Ctrl-C to the command too; other signals come to us alone.
            let signal = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            let _ = kill_process(pid, signal);
        }
    });
    let status = child.wait();
    handle.close();
    if let Ok(thread) = forward {
        let _ = thread.join();
    }
    let status = status.map_err(|e| Failure::new(Kind::Internal, format!("waiting for the command: {e}")))?;
    Ok(code_of(status))
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn not_started(program: &OsString, error: &io::Error) -> Result<u8, Failure> {
    output::note(&format!("error: cannot run {}: {error}", program.display()));
    Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
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
