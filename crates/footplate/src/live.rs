//! The screen beside a run: what is known of the run, and the thread that draws it and reads keys.

use std::env;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use footplate_core::Record;
use footplate_views::live::{LiveState, Look, Moment, draw};
use ratatui::Terminal;

use crate::output;
use crate::terminal::{self, Ansi};

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

/// What is known of a run, for all who want to show it.
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

struct Inner {
    state: LiveState,
    received: Instant,
    notice: Option<String>,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        let inner = Inner { state: LiveState::default(), received: Instant::now(), notice: None };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record into account.
    pub(crate) fn push(&self, record: &Record) {
        let mut inner = self.lock();
        inner.state.push(record);
        inner.received = Instant::now();
    }

    /// Changes the state in another way; `age`: how long ago that was, which it was told.
    pub(crate) fn change(&self, age: Duration, change: impl FnOnce(&mut LiveState)) {
        let mut inner = self.lock();
        change(&mut inner.state);
        let now = Instant::now();
        inner.received = now.checked_sub(age).unwrap_or(now);
    }

    /// Says what is done before the run begins.
    pub(crate) fn preparing(&self, what: &str) {
        // The time that is shown with it is that of all preparation.
        self.lock().state.preparing(what);
    }

    /// Says how many lines of the log are damaged.
    pub(crate) fn damaged_lines(&self, lines: u64) {
        self.lock().state.damaged_lines(lines);
    }

    /// Says something in the last line; `None`: the keys.
    pub(crate) fn notice(&self, text: Option<String>) {
        self.lock().notice = text;
    }

    /// Looks at it; the duration is since the last record.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&LiveState, Duration, Option<&str>) -> T) -> T {
        let inner = self.lock();
        look(&inner.state, inner.received.elapsed(), inner.notice.as_deref())
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

/// What this terminal can show, by the environment.
fn look() -> Look {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_lowercase();
    let utf8 = locale.contains("utf-8") || locale.contains("utf8");
    let term = set("TERM").unwrap_or_default();
    // The kernel's console and serial terminals have no Braille.
    let is_simple = term == "linux" || term.starts_with("vt");
    Look { color: set("NO_COLOR").is_none() && !term.starts_with("vt"), unicode: utf8 && !is_simple }
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
    let mut screen = Terminal::new(Ansi::new(output::terminal()))?;
    let look = look();
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
