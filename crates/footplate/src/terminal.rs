//! The terminal while a screen is shown on it: taken, drawn on, and put back on every way out.
//!
//! The screen stands in the terminal's ordinary buffer, as that of `top` does, after what was there has been scrolled
//! up: however the process ends, even by SIGKILL (a board that runs out of memory), the shell's prompt comes below the
//! last picture. Signals from the keyboard stay signals, so that Ctrl-C works even if nothing reads keys any more.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
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

/// Draws cells with the escape sequences that every terminal since the VT100 knows, and the eight colours of ECMA-48.
/// Each picture is collected and written at once.
pub(crate) struct Ansi<W> {
    out: W,
    pending: String,
}

impl<W: Write> Ansi<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, pending: String::new() }
    }

    fn push(&mut self, text: &str) {
        self.pending.push_str(text);
    }
}

/// The numbers that set a cell's look, from a clean slate.
fn look(cell: &Cell) -> String {
    let mut codes = String::from("\x1b[0");
    let modifiers =
        [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::UNDERLINED, 4), (Modifier::REVERSED, 7)];
    for (modifier, code) in modifiers {
        if cell.modifier.contains(modifier) {
            let _ = write!(codes, ";{code}");
        }
    }
    for (color, base) in [(cell.fg, 30), (cell.bg, 40)] {
        if let Some(number) = color_number(color) {
            let _ = write!(codes, ";{}", base + number);
        }
    }
    codes.push('m');
    codes
}

/// A colour's number; `None`: the terminal's own.
fn color_number(color: Color) -> Option<u32> {
    Some(match color {
        Color::Black => 0,
        Color::Red | Color::LightRed => 1,
        Color::Green | Color::LightGreen => 2,
        Color::Yellow | Color::LightYellow => 3,
        Color::Blue | Color::LightBlue => 4,
        Color::Magenta | Color::LightMagenta => 5,
        Color::Cyan | Color::LightCyan => 6,
        Color::White | Color::Gray => 7,
        _ => return None,
    })
}

impl<W: Write> Backend for Ansi<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut next: Option<(u16, u16)> = None;
        let mut look_now = String::from("\x1b[0m");
        self.push("\x1b[0m");
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
            }
            let wanted = look(cell);
            if wanted != look_now {
                self.push(&wanted);
                look_now = wanted;
            }
            self.push(cell.symbol());
            // A wide character moves further: the next cell is then addressed anew.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        self.push("\x1b[0m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        // It stays: a process that is killed could not bring it back.
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.push("\x1b[0m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        size().ok_or_else(|| io::Error::other("the terminal does not tell its size"))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(self.pending.as_bytes())?;
        self.pending.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn drawn(before: &Buffer, after: &Buffer) -> String {
        let mut out = Vec::new();
        let mut ansi = Ansi::new(&mut out);
        ansi.draw(before.diff(after).into_iter()).unwrap();
        ansi.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_changed_is_written() {
        let area = Rect::new(0, 0, 20, 2);
        let (before, mut after) = (Buffer::empty(area), Buffer::empty(area));
        after.set_string(3, 1, "ab", Style::new());
        after.set_string(10, 1, "c", Style::new().red().bold());
        assert_eq!(drawn(&before, &after), "\x1b[0m\x1b[2;4Hab\x1b[2;11H\x1b[0;1;31mc\x1b[0m");
        assert_eq!(drawn(&after, &after), "\x1b[0m\x1b[0m");
    }

    #[test]
    fn what_stands_behind_a_wide_character_is_addressed() {
        let area = Rect::new(0, 0, 10, 1);
        let (before, mut after) = (Buffer::empty(area), Buffer::empty(area));
        after.set_string(0, 0, "日x", Style::new());
        let text = drawn(&before, &after);
        assert!(text.contains("日\x1b[1;3Hx"), "{text:?}");
    }
}
