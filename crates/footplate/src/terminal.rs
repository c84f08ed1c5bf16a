//! The terminal while a screen is shown on it: taken, drawn on, and put back on every way out.
//!
//! The screen stands in the terminal's ordinary buffer, as that of `top` does, after what was there has been scrolled
//! up: however the process ends, even by SIGKILL (a board that runs out of memory), the shell's prompt comes below the
//! last picture. Signals from the keyboard stay signals, so that Ctrl-C works even if nothing reads keys any more.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcdrain, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};

use crate::output;

/// Whoever gives the terminal back waits so long for a picture that is being drawn.
const PATIENCE: Duration = Duration::from_millis(500);

/// The terminal as it was, while a screen is on it.
static TAKEN: Mutex<Option<Termios>> = Mutex::new(None);

/// Something else may have written on it.
static SPOILED: AtomicBool = AtomicBool::new(false);

fn taken() -> MutexGuard<'static, Option<Termios>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Columns and rows; `None`: there is no terminal, or it does not say.
pub(crate) fn size() -> Option<Size> {
    let size = tcgetwinsize(output::terminal()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { width: size.ws_col, height: size.ws_row })
}

/// Whether we may draw: we are on a terminal, and not in its background.
pub(crate) fn is_ours() -> bool {
    let terminal = output::terminal();
    terminal.is_terminal() && tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp())
}

/// Takes the terminal for a screen. What is on it is scrolled up.
pub(crate) fn take() -> io::Result<()> {
    let mut taken = taken();
    let terminal = output::terminal();
    let before = tcgetattr(&terminal)?;
    without_echo(&before)?;
    *taken = Some(before);
    output::hold();
    let rows = usize::from(size().map_or(24, |size| size.height));
    let mut terminal = terminal.lock();
    terminal.write_all("\r\n".repeat(rows).as_bytes())?;
    terminal.write_all(b"\x1b[H\x1b[2J")?;
    terminal.flush()
}

/// Takes it again after the process was stopped and goes on.
pub(crate) fn retake() {
    SPOILED.store(true, Ordering::Relaxed);
    if taken().is_some()
        && is_ours()
        && let Ok(now) = tcgetattr(output::terminal())
    {
        let _ = without_echo(&now);
    }
}

/// Whether the picture must be drawn whole; says so once.
pub(crate) fn is_spoiled() -> bool {
    SPOILED.swap(false, Ordering::Relaxed)
}

/// Keys come at once and are not shown; signals stay.
fn without_echo(before: &Termios) -> io::Result<()> {
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    modes.special_codes[SpecialCodeIndex::VMIN] = 0;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    Ok(tcsetattr(output::terminal(), OptionalActions::Now, &modes)?)
}

/// Gives the terminal back, from whatever thread, and says what was kept meanwhile. Does nothing if it is not taken.
pub(crate) fn give_back() {
    if put_back(true) {
        output::release();
    }
}

/// Puts the terminal's modes back for a pause; `retake` goes on.
pub(crate) fn pause() {
    put_back(false);
}

fn put_back(for_good: bool) -> bool {
    let Some(mut taken) = patiently() else { return false };
    let Some(before) = taken.clone() else { return false };
    if for_good {
        *taken = None;
    }
    if is_ours() {
        let rows = size().map_or(24, |size| size.height);
        let mut terminal = output::terminal();
        let _ = write!(terminal, "\x1b[0m\x1b[{rows};1H\r\n");
        let _ = terminal.flush();
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
    true
}

/// The lock; not waited for without end, since a thread may have panicked while it drew.
fn patiently() -> Option<MutexGuard<'static, Option<Termios>>> {
    let since = Instant::now();
    loop {
        match TAKEN.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Draws while nobody can take the terminal away. `None`: it is not ours, now or any more.
pub(crate) fn while_taken<T>(draw: impl FnOnce() -> T) -> Option<T> {
    let taken = taken();
    (taken.is_some() && is_ours()).then(draw)
}

/// Whether a screen has the terminal.
pub(crate) fn is_taken() -> bool {
    taken().is_some()
}

/// Waits until what was written has left for the terminal: on a serial line that takes its time.
pub(crate) fn drain() {
    let _ = tcdrain(output::terminal());
}

/// Keys that come within `patience`. On a terminal only.
pub(crate) fn keys(patience: Duration) -> Vec<u8> {
    let stdin = io::stdin();
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let mut waiting = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    let readable = stdin.is_terminal()
        && is_ours()
        && poll(&mut waiting, Some(&timeout)).is_ok_and(|count| count > 0)
        && waiting[0].revents().contains(PollFlags::IN);
    if !readable {
        // Nothing to wait on, or the terminal has hung up: that must not become a busy loop.
        if waiting[0].revents() != PollFlags::empty() || !stdin.is_terminal() || !is_ours() {
            thread::park_timeout(patience);
        }
        return Vec::new();
    }
    let mut keys = [0; 64];
    let count = stdin.lock().read(&mut keys).unwrap_or(0);
    keys[..count].to_vec()
}
