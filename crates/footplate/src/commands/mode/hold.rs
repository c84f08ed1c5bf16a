//! Holding a mode: for a time, while a command runs, or until the user ends it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, Kind};
use crate::signals::Held;

/// How often signals, the time and the command are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Shells give a program that a signal ended this plus the signal's number.
const SIGNALLED: i32 = 128;

/// Why a mode is held no longer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its time is over.
    Time,
    /// The user pressed Ctrl-C where that is the way to end it.
    Asked,
    /// The command ended with this exit code.
    Command(u8),
    /// A signal came.
    Interrupted,
}

/// Holds on until the time is over, the command has ended or a signal comes.
pub(crate) fn until(held: &Held, seconds: Option<f64>, command: &[String]) -> Result<End, Failure> {
    if let Some((program, arguments)) = command.split_first() {
        let child = Command::new(program).args(arguments).spawn().map_err(|error| {
            Failure::new(Kind::Usage, format!("cannot run {program}: {error}"))
                .hint("the command stands after `--`, as in `footplate mode set MAXN -- make`")
        })?;
        return run_out(held, child);
    }
    let begin = Instant::now();
    loop {
        if held.terminated() || (held.interrupted() && seconds.is_some()) {
            return Ok(End::Interrupted);
        }
        if held.interrupted() {
            return Ok(End::Asked);
        }
        match seconds {
            Some(seconds) if begin.elapsed().as_secs_f64() >= seconds => return Ok(End::Time),
            _ => thread::sleep(LOOK),
        }
    }
}

/// Waits for a command. Ctrl-C reaches it from the terminal; the other signals are passed on to it.
fn run_out(held: &Held, mut child: Child) -> Result<End, Failure> {
    let mut is_told = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if held.terminated() => {
                let _ = status;
                return Ok(End::Interrupted);
            }
            Ok(Some(status)) => {
                let code = status.code().or(status.signal().map(|signal| SIGNALLED + signal)).unwrap_or(1);
                return Ok(End::Command(u8::try_from(code).unwrap_or(1)));
            }
            Ok(None) => {}
            Err(error) => {
                return Err(Failure::new(Kind::Machine, format!("waiting for the command: {error}")));
            }
        }
        if held.terminated() && !is_told {
            is_told = true;
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        thread::sleep(LOOK);
    }
}
