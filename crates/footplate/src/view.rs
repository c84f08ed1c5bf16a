//! What people see while a run goes on: one live line on a terminal, plain lines at a sane rate elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use footplate_core::record::{
    EpochRecord, Estimated, MinibatchRecord, ModePurpose, ProfilePurpose, ProfiledRecord, RunStart,
    TunePoint, TuneRecord, ValidationRecord,
};
use footplate_core::summary::SummaryBuilder;
use footplate_core::{Reading, Record};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::host;
use crate::output;

/// Between two lines where nobody watches a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Between two refreshes of the live line.
const LIVE_EVERY: Duration = Duration::from_millis(200);
/// A validation item costs about so much of a training item's step: forward without backward.
const FORWARD_SHARE: f64 = 0.35;
/// Weight of a new step in the moving averages.
const SMOOTHING: f64 = 0.05;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// A line that renews itself.
    Live,
    /// Lines now and then.
    Plain,
    /// Warnings only.
    Quiet,
}

impl Detail {
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
pub(crate) struct Progress {
    detail: Detail,
    bar: Option<ProgressBar>,
    told: bool,
}

impl Progress {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { detail, bar: None, told: false }
    }

    /// So much of it is done.
    pub(crate) fn counted(&mut self, what: &str, done: u64, total: u64) {
        match self.detail {
            Detail::Quiet => {}
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

    /// This is being done now.
    pub(crate) fn stage(&mut self, what: &str) {
        match self.detail {
            Detail::Quiet => {}
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

/// Shows records as they come.
pub(crate) struct View {
    detail: Detail,
    bar: Option<ProgressBar>,
    shown: Instant,
    start: Option<RunStart>,
    validation: Option<ValidationRecord>,
    /// Moving averages over the last steps.
    step_ns: Option<f64>,
    loss: Option<f64>,
}

impl View {
    pub(crate) fn new(detail: Detail) -> Self {
        Self {
            detail,
            bar: None,
            shown: Instant::now(),
            start: None,
            validation: None,
            step_ns: None,
            loss: None,
        }
    }

    /// Shows `record`, of which `summary` knows already.
    pub(crate) fn show(&mut self, record: &Record, summary: &SummaryBuilder) {
        match record {
            Record::RunStart(start) => self.begin(start),
            Record::Minibatch(minibatch) => self.step(minibatch, summary),
            Record::Epoch(_) | Record::Checkpoint(_) | Record::RunEnd(_) | Record::Power(_) => {}
            Record::Validation(_) | Record::BadSample(_) | Record::Warning(_) | Record::Loader(_) => {}
            Record::Machine(_) | Record::Mode(_) | Record::Profile(_) | Record::Tune(_) => {}
        }
        match record {
            Record::Profile(profile) => self.line(&profile_text(profile)),
            Record::Tune(tune) => tune_lines(tune).iter().for_each(|line| self.line(line)),
            Record::Mode(mode) if mode.purpose == ModePurpose::Train => {
                self.line(&format!("training in {}", mode.got));
            }
            Record::Mode(mode) if mode.purpose == ModePurpose::Restore => {
                self.line(&format!("set as before: {}", mode.got));
            }
            Record::Epoch(epoch) if self.start_has_no_validation() => {
                self.line(&self.epoch_text(epoch, None));
            }
            Record::Validation(validation) => {
                self.validation = Some(validation.clone());
                let text = self.validation_text(validation, summary);
                self.line(&text);
            }
            Record::BadSample(bad) => self.warn(&format!("left out {}: {}", bad.name, bad.reason)),
            Record::Warning(warning) => self.warn(&warning.message),
            Record::RunEnd(_) => self.end(),
            _ => {}
        }
    }

    fn start_has_no_validation(&self) -> bool {
        self.start.as_ref().is_some_and(|start| start.validation_items == 0)
    }

    fn begin(&mut self, start: &RunStart) {
        self.start = Some(start.clone());
        if self.detail == Detail::Live {
            let bar = live_bar("{msg}");
            bar.set_length(start.steps_total);
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, minibatch: &MinibatchRecord, summary: &SummaryBuilder) {
        smooth(&mut self.step_ns, minibatch.step_ns as f64);
        if let Some(loss) = minibatch.loss {
            smooth(&mut self.loss, f64::from(loss));
        }
        let every = match self.detail {
            Detail::Quiet => return,
            Detail::Live => LIVE_EVERY,
            Detail::Plain => PLAIN_EVERY,
        };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let text = self.step_text(minibatch, summary);
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => output::note(&text),
        }
    }

    fn step_text(&self, minibatch: &MinibatchRecord, summary: &SummaryBuilder) -> String {
        let Some(start) = &self.start else { return String::new() };
        let accuracy = self.validation.as_ref().map_or("-".to_owned(), |v| percent(v.top1));
        let memory = host::resident_memory();
        let memory = memory.value().map_or_else(|| memory.to_string(), ToString::to_string);
        format!(
            "epoch {}/{}  step {}/{}  loss {}  val acc {accuracy}  {} items/s  stall {}  eta {}  mem {memory}",
            minibatch.epoch + 1,
            start.epochs,
            minibatch.step + 1,
            start.steps_total,
            self.loss.map_or("-".to_owned(), |loss| format!("{loss:.3}")),
            summary.items_per_s().map_or("-".to_owned(), |rate| format!("{rate:.0}")),
            summary.stall_fraction().map_or("-".to_owned(), percent),
            self.eta(minibatch).map_or("-".to_owned(), duration_text),
        )
    }

    /// What is left: the steps at the present pace, and the validations at the pace of the last one or,
    /// before the first, at that of a forward pass.
    fn eta(&self, minibatch: &MinibatchRecord) -> Option<Duration> {
        let start = self.start.as_ref()?;
        let step_s = self.step_ns? / 1e9;
        let steps_left = start.steps_total.saturating_sub(minibatch.step + 1);
        let epochs_left = steps_left.div_ceil(start.steps_per_epoch.max(1));
        let validation_s = match &self.validation {
            Some(validation) => validation.duration_ns as f64 / 1e9,
            None => {
                let item_s = step_s / f64::from(minibatch.items.max(1));
                start.validation_items as f64 * item_s * FORWARD_SHARE
            }
        };
        Duration::try_from_secs_f64(steps_left as f64 * step_s + epochs_left as f64 * validation_s).ok()
    }

    fn epoch_text(&self, epoch: &EpochRecord, extra: Option<&str>) -> String {
        let of = self.start.as_ref().map_or(0, |start| start.epochs);
        let loss = epoch.train_loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        format!("epoch {}/{of}: train loss {loss}{}", epoch.epoch + 1, extra.unwrap_or(""))
    }

    fn validation_text(&self, validation: &ValidationRecord, summary: &SummaryBuilder) -> String {
        let top5 = validation.top5.map_or(String::new(), |top5| format!(" (top-5 {})", percent(top5)));
        let extra = format!(
            "  val loss {:.4}  accuracy {}{top5}{}",
            validation.loss,
            percent(validation.top1),
            if validation.best { "  best" } else { "" }
        );
        match summary.last_epoch() {
            Some(epoch) => self.epoch_text(epoch, Some(&extra)),
            None => extra.trim().to_owned(),
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
        format!(
            "{name}: {}: {} a step, {}, {} a step ({kind})",
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

fn smooth(average: &mut Option<f64>, value: f64) {
    *average = Some(average.map_or(value, |average| average + SMOOTHING * (value - average)));
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A value in words where a reading may be missing.
pub(crate) fn reading_text<T: std::fmt::Display>(reading: &Reading<T>) -> String {
    match reading {
        Reading::Unreadable { reason } => format!("x ({reason})"),
        other => other.to_string(),
    }
}

/// Hours, minutes and seconds.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        let shown = [0.4, 59.6, 61.0, 7325.0].map(|s| duration_text(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["0:00", "1:00", "1:01", "2:02:05"]);
    }

    #[test]
    fn the_time_left_counts_validations_before_the_first_one() {
        let mut view = View::new(Detail::Quiet);
        let mut start = crate::recorder::tests::start();
        (start.steps_total, start.steps_per_epoch, start.validation_items) = (100, 50, 320);
        view.show(&Record::RunStart(start), &SummaryBuilder::default());
        let minibatch = crate::recorder::tests::minibatch(0, 1_000_000_000);
        view.show(&Record::Minibatch(minibatch.clone()), &SummaryBuilder::default());
        // 99 steps of 1 s; two validations of 320 items at 0.35 of a 32nd of a second.
        let expected = 99.0 + 2.0 * 320.0 / 32.0 * FORWARD_SHARE;
        assert!((view.eta(&minibatch).unwrap().as_secs_f64() - expected).abs() < 1e-6);
    }
}
