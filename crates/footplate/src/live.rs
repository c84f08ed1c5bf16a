//! The screen beside a run: what is known of the run, and the thread that draws it and reads keys.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use footplate_core::Record;
use footplate_views::live::{Ansi, LiveState, Look, Moment, SharedState, draw};
use ratatui::Terminal;

use crate::output;
use crate::terminal;

/// Between two pictures.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// On a slow line pictures take at most one part of the time in so many.
const DRAW_SHARE: u32 = 5;
/// Work that is over sooner shows no screen: a mistyped option must not clear the terminal.
const DELAY: Duration = Duration::from_millis(300);
/// Keys are looked for so often.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// A smaller terminal gets lines.
const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 10;

/// What is known of a run, for all who want to show it, on one clock.
pub(crate) struct Board {
    state: SharedState,
    origin: Instant,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: SharedState::default(), origin: Instant::now() })
    }

    /// Takes a record into account.
    pub(crate) fn push(&self, record: &Record) {
        self.state.push(record, self.origin.elapsed());
    }

    /// Changes the state in another way; `age`: how long ago that was, which it was told.
    pub(crate) fn change(&self, age: Duration, change: impl FnOnce(&mut LiveState)) {
        self.state.change(self.origin.elapsed(), age, change);
    }

    /// Says what is done before the run begins.
    pub(crate) fn preparing(&self, what: &str) {
        self.state.preparing(what);
    }

    /// Says how many lines of the log are damaged.
    pub(crate) fn damaged_lines(&self, lines: u64) {
        self.state.damaged_lines(lines);
    }

    /// Says something in the last line; `None`: the keys.
    pub(crate) fn notice(&self, text: Option<String>) {
        self.state.notice(text);
    }

    /// Looks at it; the duration is since the last record.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&LiveState, Duration, Option<&str>) -> T) -> T {
        self.state.look(self.origin.elapsed(), look)
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Beside a run of this process: `q` leaves the screen to lines.
    Train,
    /// Of a run elsewhere: `q` ends the program.
    Watch,
}

impl Kind {
    fn keys(self) -> &'static str {
        match self {
            Self::Train => "q lines instead of this, the run goes on   Ctrl-C stop, can be resumed",
            Self::Watch => "q leave",
        }
    }
}

/// Whether the terminal says that it can do nothing but print.
pub(crate) fn is_dumb() -> bool {
    env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb")
}

/// Whether this terminal can show a screen.
pub(crate) fn can_show() -> bool {
    let is_large = terminal::size().is_some_and(|size| size.width >= COLUMNS_MIN && size.height >= ROWS_MIN);
    !is_dumb() && is_large && terminal::is_ours()
}

/// A screen that is being shown. Dropped, it gives the terminal back.
pub(crate) struct Screen {
    thread: Option<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Begins to draw.
    pub(crate) fn start(board: Arc<Board>, kind: Kind) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let its_ended = ended.clone();
        let show = move || {
            // A terminal that has gone is no reason to end a run.
            let _ = show(&board, kind, &its_ended);
            terminal::give_back();
        };
        let thread = thread::Builder::new().name("screen".to_owned()).spawn(show)?;
        Ok(Self { thread: Some(thread), ended })
    }

    /// Whether the user has left it, or the terminal has gone.
    pub(crate) fn is_left(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Draws the end and gives the terminal back.
    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
            // In case the thread came to no good end.
            terminal::give_back();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

fn show(board: &Board, kind: Kind, ended: &AtomicBool) -> io::Result<()> {
    let since = Instant::now();
    while since.elapsed() < DELAY {
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::park_timeout(DELAY.saturating_sub(since.elapsed()));
    }
    if !terminal::is_ours() {
        return Ok(());
    }
    terminal::take()?;
    let mut screen = Terminal::new(Ansi::new(output::terminal(), terminal::size))?;
    let look = Look::from_environment(|name| env::var(name).ok());
    let mut due = Instant::now();
    let mut was_ours = true;
    while terminal::is_taken() {
        let is_last = ended.load(Ordering::Relaxed);
        if is_last || Instant::now() >= due {
            let began = Instant::now();
            // In the background nothing is drawn; when it comes back, it is drawn whole.
            let is_ours = terminal::is_ours();
            if is_ours && !was_ours {
                terminal::retake();
            }
            was_ours = is_ours;
            if is_ours && terminal::is_spoiled() {
                screen.clear()?;
            }
            if let Some(drawn) = terminal::while_taken(|| picture(&mut screen, board, kind, look)) {
                drawn?;
            }
            terminal::drain();
            due = Instant::now() + DRAW_EVERY.max(began.elapsed() * DRAW_SHARE);
        }
        if is_last {
            return Ok(());
        }
        for key in terminal::keys(KEYS_EVERY) {
            match key {
                b'q' | b'Q' => return Ok(()),
                // Ctrl-L: something else has written on the terminal.
                0x0c => screen.clear()?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn picture<W: io::Write>(
    screen: &mut Terminal<Ansi<W>>,
    board: &Board,
    kind: Kind,
    look: Look,
) -> io::Result<()> {
    screen.draw(|frame| {
        board.look(|state, since_last, notice| {
            let moment = Moment { since_last, keys: kind.keys(), notice };
            draw(frame, state, &moment, look);
        });
        // A process that is killed leaves the cursor here, behind all that was drawn.
        let area = frame.area();
        let end = kind.keys().len() as u16 + 2;
        frame.set_cursor_position((end.min(area.width.saturating_sub(1)), area.height.saturating_sub(1)));
    })?;
    Ok(())
}
