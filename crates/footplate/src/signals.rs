//! All that this program does about signals: what a command asks for is one of the functions here.
//!
//! | asked for by | first Ctrl-C | second |
//! |---|---|---|
//! | [`watch`]: a run, beside a screen | asks the run what it means | ends the process |
//! | [`stop_flag`]: work that ends in order by itself | sets a flag | ends the process |
//! | [`flag_each`]: a study that passes signals on to its run | sets a flag | sets it again |
//! | [`Held`]: a mode that is held | sets a flag | sets it again |
//! | [`forward`]: a measured command | the command decides | the command decides |

use std::io;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, exit};

use crate::failure::{Failure, Kind};
use crate::terminal;
use footplate_device::host;

/// What a signal to end means at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// There is something to bring to an end in order: only the flag is set.
    Finish,
    /// There is nothing to lose: the process ends as it would without a handler.
    Die,
}

/// The first signal to end asks `intent` and sets the flag; the second ends the process at once. On a thread of its own, so
/// that it works whatever the others are doing.
pub(crate) fn watch(intent: impl Fn() -> Intent + Send + 'static) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT];
    // Under nohup a run outlives its terminal.
    let is_nohup = host::ignored_signals().contains(&SIGHUP);
    let wanted = wanted.into_iter().filter(|signal| *signal != SIGHUP || !is_nohup);
    let mut signals = Signals::new(wanted).map_err(failed)?;
    let its_stop = stop.clone();
    let listen = move || {
        for signal in signals.forever() {
            match signal {
                SIGTSTP => {
                    terminal::pause();
                    let _ = emulate_default_handler(SIGTSTP);
                    terminal::retake();
                }
                SIGCONT => terminal::retake(),
                SIGQUIT => die(SIGQUIT),
                _ if its_stop.swap(true, Ordering::Relaxed) => {
                    terminal::give_back();
                    exit(Kind::Interrupted as i32);
                }
                _ if intent() == Intent::Die => die(signal),
                _ => {}
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(stop)
}

fn die(signal: i32) {
    terminal::give_back();
    let _ = emulate_default_handler(signal);
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failed(error: io::Error) -> Failure {
    Failure::new(Kind::Machine, format!("signals: {error}"))
}

/// Signals that ask a program to end.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// A flag that the first signal to end sets; the second ends the process at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // The order matters: the first handler sees the flag as it was before this signal.
        flag::register_conditional_shutdown(signal, Kind::Interrupted as i32, stop.clone())
            .map_err(failed)?;
        flag::register(signal, stop.clone()).map_err(failed)?;
    }
    Ok(stop)
}

/// A flag that each signal to end sets, for whoever takes it down again.
pub(crate) fn flag_each() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    ENDING
        .into_iter()
        .try_for_each(|signal| flag::register(signal, flag.clone()).map(|_| ()))
        .map_err(failed)?;
    Ok(flag)
}

/// Flags that signals set while a mode is held: from here on they end nothing by themselves.
pub(crate) struct Held {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

impl Held {
    pub(crate) fn register() -> Result<Self, Failure> {
        let held = Self { interrupt: Arc::default(), terminate: Arc::default() };
        let register = |signal, flag: &Arc<AtomicBool>| flag::register(signal, flag.clone()).map_err(failed);
        register(SIGINT, &held.interrupt)?;
        register(SIGTERM, &held.terminate)?;
        register(SIGHUP, &held.terminate)?;
        Ok(held)
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Whether another signal to end came.
    pub(crate) fn terminated(&self) -> bool {
        self.terminate.load(Ordering::Relaxed)
    }
}

/// Passes signals to end on to a child while `wait` waits for it. `start` is called once they no longer end us.
pub(crate) fn forward<T>(
    start: impl FnOnce() -> Result<Child, T>,
    wait: impl FnOnce(&mut Child) -> T,
) -> Result<T, Failure> {
    let mut signals = Signals::new(ENDING).map_err(failed)?;
    let handle = signals.handle();
    let mut child = match start() {
        Ok(child) => child,
        Err(instead) => return Ok(instead),
    };
    let pid = Pid::from_child(&child);
    let pass_on = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            // A terminal sends Ctrl-C to the child too; other signals come to us alone.
            let signal = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            let _ = kill_process(pid, signal);
        }
    });
    let waited = wait(&mut child);
    handle.close();
    if let Ok(thread) = pass_on {
        let _ = thread.join();
    }
    Ok(waited)
}
