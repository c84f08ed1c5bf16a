//! What people see while a run goes on: one live line on a terminal, plain lines at a sane rate elsewhere.
#![expect(clippy::disallowed_methods, reason = "whether stderr is a terminal decides how much is told")]

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use footplate_core::record::{
    EpochRecord, Estimated, MinibatchRecord, ModePurpose, ProfilePurpose, ProfiledRecord, TunePoint,
    TuneRecord, ValidationRecord,
};
use footplate_core::{Bytes, Reading, Record};
use footplate_run::Listener;
use footplate_train::Preparing;
use footplate_views::live::LiveState;
use footplate_views::live::text::{clock, known, shown};
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
    told: Instant,
}

impl View {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { detail, bar: None, told: Instant::now() }
    }

    /// Shows `record`, of which `state` knows already.
    pub(crate) fn show(&mut self, record: &Record, state: &LiveState) {
        match record {
            Record::RunStart(start) if self.detail == Detail::Live => {
                let bar = live_bar("{msg}");
                bar.set_length(start.steps_total);
                self.bar = Some(bar);
            }
            Record::Minibatch(minibatch) => self.now_and_then(|| step_text(minibatch, state)),
            Record::Kernels(kernels) => {
                self.now_and_then(|| format!("tuning kernels: {} so far", kernels.tuned));
            }
            Record::Epoch(epoch) if state.start().is_some_and(|start| start.validation_items == 0) => {
                self.line(&epoch_text(epoch, state, None));
            }
            Record::Validation(validation) => self.line(&validation_text(validation, state)),
            Record::Profile(profile) => self.line(&profile_text(profile)),
            Record::Tune(tune) => tune_lines(tune).iter().for_each(|line| self.line(line)),
            Record::Mode(mode) if mode.purpose == ModePurpose::Train => {
                self.line(&format!("training in {}", mode.got));
            }
            Record::Mode(mode) if mode.purpose == ModePurpose::Restore => {
                self.line(&format!("set as before: {}", mode.got));
            }
            Record::BadSample(bad) => self.warn(&format!("left out {}: {}", bad.name, bad.reason)),
            Record::Warning(warning) => self.warn(&warning.message),
            Record::RunEnd(_) => self.end(),
            _ => {}
        }
    }

    /// A text that the next one overtakes.
    fn now_and_then(&mut self, text: impl FnOnce() -> String) {
        let every = match self.detail {
            Detail::Quiet => return,
            Detail::Screen if terminal::is_taken() => return,
            Detail::Live => LIVE_EVERY,
            Detail::Plain | Detail::Screen => PLAIN_EVERY,
        };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let text = text();
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => output::note(&text),
        }
    }

    fn line(&self, text: &str) {
        if self.detail != Detail::Quiet {
            self.print(text);
        }
    }

    fn warn(&self, text: &str) {
        self.print(&format!("warning: {text}"));
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

/// A measurement of a mode in a line.
fn profile_text(profile: &ProfiledRecord) -> String {
    let what = match profile.purpose {
        ProfilePurpose::Search => "profile",
        ProfilePurpose::Verify => "verify ",
    };
    let workers = profile.workers.map_or(String::new(), |n| format!(", {n} workers"));
    let simulated = if profile.simulated { ", simulated" } else { "" };
    format!(
        "{what}  {}{workers}: {:.2} ms a step, {}, {} steps{simulated}",
        profile.mode,
        1e3 * profile.step_s,
        profile.power_w,
        profile.steps
    )
}

/// What a tune came to, in few lines.
fn tune_lines(tune: &TuneRecord) -> Vec<String> {
    let mut lines: Vec<String> = tune.message.iter().cloned().collect();
    let kind = if tune.simulated { "simulated" } else { "measured" };
    let point_text = |name: &str, point: &TunePoint| {
        let figure = |e: Option<Estimated>, factor: f64, unit: &str| {
            e.map_or("-".to_owned(), |e| format!("{:.2} {unit}", e.value * factor))
        };
        let kind = if point.measured { kind } else { "estimate" };
        let workers = match point.workers {
            Some(1) => ", 1 worker".to_owned(),
            Some(n) => format!(", {n} workers"),
            None => String::new(),
        };
        format!(
            "{name}: {}{workers}: {} a step, {}, {} a step ({kind})",
            point.mode,
            figure(point.step_s, 1e3, "ms"),
            figure(point.power_w, 1.0, "W"),
            figure(point.energy_j, 1e3, "mJ")
        )
    };
    if let Some(choice) = tune.choice.and_then(|index| tune.points.get(index)) {
        lines.push(point_text("choice", choice));
        let state = if tune.verified { "measured again and confirmed" } else { "not measured again" };
        let sure = tune.probability.map_or("-".to_owned(), percent);
        lines.push(format!(
            "{state}; {}; the limits hold with a probability of {sure}; {} of {} modes were measured",
            tune.goal, tune.profiles, tune.space
        ));
    }
    lines.extend(tune.points.iter().find(|p| p.largest).map(|p| point_text("largest", p)));
    lines
}

fn step_text(minibatch: &MinibatchRecord, state: &LiveState) -> String {
    let Some(start) = state.start() else { return String::new() };
    let memory = state.machine().map_or("-".to_owned(), |m| shown(&m.memory_bytes, Bytes::to_string));
    format!(
        "epoch {}/{}  step {}/{}  loss {}  val acc {}  {} items/s  stall {}  eta {}  mem {memory}",
        minibatch.epoch + 1,
        start.epochs,
        minibatch.step + 1,
        start.steps_total,
        known(state.loss(), |loss| format!("{loss:.3}")),
        known(state.last_validation(), |v| percent(v.top1)),
        known(state.all().items_per_s(), |rate| format!("{rate:.0}")),
        known(state.all().stall_share(), percent),
        known(state.time_left(), clock),
    )
}

fn epoch_text(epoch: &EpochRecord, state: &LiveState, extra: Option<&str>) -> String {
    let of = state.start().map_or(0, |start| start.epochs);
    let loss = epoch.train_loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
    format!("epoch {}/{of}: train loss {loss}{}", epoch.epoch + 1, extra.unwrap_or(""))
}

fn validation_text(validation: &ValidationRecord, state: &LiveState) -> String {
    let top5 = validation.top5.map_or(String::new(), |top5| format!(" (top-5 {})", percent(top5)));
    let extra = format!(
        "  val loss {:.4}  accuracy {}{top5}{}",
        validation.loss,
        percent(validation.top1),
        if validation.best { "  best" } else { "" }
    );
    match state.last_epoch() {
        Some(epoch) => epoch_text(epoch, state, Some(&extra)),
        None => extra.trim().to_owned(),
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    footplate_views::live::text::percent(share)
}

/// A value in words where a reading may be missing.
pub(crate) fn reading_text<T: std::fmt::Display>(reading: &Reading<T>) -> String {
    match reading {
        Reading::Unreadable { reason } => format!("x ({reason})"),
        other => other.to_string(),
    }
}
