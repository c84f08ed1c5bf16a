//! Signals beside a screen: the terminal is put back before the process stops or ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, exit};

use crate::failure::Kind;
use crate::host;
use crate::terminal;

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
pub(crate) fn watch(intent: impl Fn() -> Intent + Send + 'static) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT];
    // Under nohup a run outlives its terminal.
    let is_nohup = host::ignored_signals().contains(&SIGHUP);
    let mut signals = Signals::new(wanted.into_iter().filter(|signal| *signal != SIGHUP || !is_nohup))?;
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
    thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(stop)
}

fn die(signal: i32) {
    terminal::give_back();
    let _ = emulate_default_handler(signal);
}
