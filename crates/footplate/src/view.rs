//! What people see while a run goes on: one live line on a terminal, plain lines at a sane rate elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use footplate_core::Record;
use footplate_run::Listener;
use footplate_train::Preparing;
use footplate_views::live::LiveState;
use footplate_views::plain::{self, Message, Pace};
pub(crate) use footplate_views::text::percent;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::live::{self, Board};
use crate::output;
use crate::terminal;

/// Between two lines where nobody watches a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Between two refreshes of the live line.
const LIVE_EVERY: Duration = Duration::from_millis(200);

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The whole terminal, and lines once the user has left it.
    Screen,
    /// A line that renews itself.
    Live,
    /// Lines now and then.
    Plain,
    /// Warnings only.
    Quiet,
}

impl Detail {
    /// For a run: a screen where the terminal can show one, unless something else was asked for.
    pub(crate) fn of_run(quiet: bool, plain: bool) -> Self {
        match (quiet, plain) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Plain,
            (false, false) if live::can_show() => Self::Screen,
            (false, false) if live::is_dumb() => Self::Plain,
            (false, false) => Self::of_terminal(false),
        }
    }

    /// Live on a terminal, plain elsewhere, unless silence was asked for.
    #[expect(clippy::disallowed_methods, reason = "whether stderr is a terminal decides how much is told")]
    pub(crate) fn of_terminal(quiet: bool) -> Self {
        match (quiet, stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Live,
            (false, false) => Self::Plain,
        }
    }
}

/// A counted piece of work that comes before training.
pub(crate) struct Progress<'a> {
    detail: Detail,
    board: Option<&'a Board>,
    bar: Option<ProgressBar>,
    told: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { detail, board: None, bar: None, told: false }
    }

    /// Tells it to the board of a run too.
    pub(crate) fn with_board(detail: Detail, board: &'a Board) -> Self {
        Self { board: Some(board), ..Self::new(detail) }
    }

    /// So much of it is done.
    pub(crate) fn counted(&mut self, what: &str, done: u64, total: u64) {
        if let Some(board) = self.board {
            board.preparing(&format!("{what}: {done} of {total}"));
        }
        match self.detail {
            Detail::Quiet | Detail::Screen => {}
            Detail::Plain if self.told => {}
            Detail::Plain => {
                self.told = true;
                output::note(&format!("{what}: {total} images"));
            }
            Detail::Live => {
                let bar = self.bar.get_or_insert_with(|| live_bar("{msg} {wide_bar} {pos}/{len}"));
                bar.set_message(what.to_owned());
                bar.set_length(total);
                bar.set_position(done);
            }
        }
    }

    /// A training job is being prepared.
    pub(crate) fn prepares(&mut self, what: Preparing) {
        if let Preparing::EmbeddedData { done, total } = what {
            return self.counted(&what.to_string(), done, total);
        }
        self.clear();
        if let Some(board) = self.board {
            board.preparing(&what.to_string());
        }
    }

    /// This is being done now.
    pub(crate) fn stage(&mut self, what: &str) {
        if let Some(board) = self.board {
            board.preparing(what);
        }
        match self.detail {
            Detail::Quiet | Detail::Screen => {}
            Detail::Plain => output::note(what),
            Detail::Live => {
                let bar = self.bar.get_or_insert_with(|| live_bar("{msg} ({elapsed})"));
                bar.set_message(what.to_owned());
                bar.tick();
            }
        }
    }

    /// It is over.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn live_bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // The template is a constant: if it were wrong, the default is shown.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Shows records as they come, in lines.
pub(crate) struct View {
    detail: Detail,
    bar: Option<ProgressBar>,
    origin: Instant,
    pace: Pace,
}

impl View {
    pub(crate) fn new(detail: Detail) -> Self {
        let every = if detail == Detail::Live { LIVE_EVERY } else { PLAIN_EVERY };
        Self { detail, bar: None, origin: Instant::now(), pace: Pace::new(every) }
    }

    /// Shows `record`, of which `state` knows already.
    pub(crate) fn show(&mut self, record: &Record, state: &LiveState) {
        match record {
            Record::RunStart(start) if self.detail == Detail::Live => {
                let bar = live_bar("{msg}");
                bar.set_length(start.steps_total);
                self.bar = Some(bar);
            }
            Record::RunEnd(_) => self.end(),
            _ => {}
        }
        for message in plain::messages(record, state) {
            match message {
                Message::Line(_) if self.detail == Detail::Quiet => {}
                Message::Line(text) => self.print(&text),
                Message::Warning(text) => self.print(&format!("warning: {text}")),
            }
        }
        self.progress(record, state);
    }

    /// A text that the next one overtakes.
    fn progress(&mut self, record: &Record, state: &LiveState) {
        let hidden = self.detail == Detail::Screen && terminal::is_taken();
        if hidden || self.detail == Detail::Quiet {
            return;
        }
        let text = self.pace.when_due(self.origin.elapsed(), || plain::progress(record, state));
        match (text, &self.bar) {
            (Some(text), Some(bar)) => bar.set_message(text),
            (Some(text), None) => output::note(&text),
            (None, _) => {}
        }
    }

    /// Prints above the live line.
    fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Shows a run of this process: on its board, and in lines.
pub(crate) struct Viewer {
    board: Arc<Board>,
    quiet: bool,
    view: Mutex<View>,
}

impl Viewer {
    pub(crate) fn new(detail: Detail, board: Arc<Board>) -> Self {
        Self { board, quiet: detail == Detail::Quiet, view: Mutex::new(View::new(detail)) }
    }
}

impl Listener for Viewer {
    fn record(&self, record: &Record) {
        self.board.push(record);
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        self.board.look(|state, _, _| view.show(record, state));
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }

    fn warn(&self, text: &str) {
        output::warning(text);
    }
}
