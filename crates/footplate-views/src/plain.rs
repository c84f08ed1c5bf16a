//! A run as plain lines: what is printed where no screen is drawn.

use core::time::Duration;

use footplate_core::record::{
    EpochRecord, Estimated, MinibatchRecord, ModePurpose, ProfilePurpose, ProfiledRecord, TunePoint,
    TuneRecord, ValidationRecord,
};
use footplate_core::{Bytes, Record};

use crate::live::LiveState;
use crate::text::{clock, known, percent, shown};

/// A line that is printed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// News of the run.
    Line(String),
    /// A warning, which is printed even if the user asked for silence.
    Warning(String),
}

/// The lines to print for `record`, which `state` already includes.
pub fn messages(record: &Record, state: &LiveState) -> Vec<Message> {
    let line = |text: String| vec![Message::Line(text)];
    let warning = |text: String| vec![Message::Warning(text)];
    match record {
        Record::Epoch(epoch) if state.start().is_some_and(|start| start.validation_items == 0) => {
            line(epoch_text(epoch, state, ""))
        }
        Record::Validation(validation) => line(validation_text(validation, state)),
        Record::Profile(profile) => line(profile_text(profile)),
        Record::Tune(tune) => tune_lines(tune).into_iter().map(Message::Line).collect(),
        Record::Mode(mode) => match mode.purpose {
            ModePurpose::Train => line(format!("training in {}", mode.got)),
            ModePurpose::Restore => line(format!("set as before: {}", mode.got)),
            ModePurpose::Profile => Vec::new(),
        },
        Record::BadSample(bad) => warning(format!("left out {}: {}", bad.name, bad.reason)),
        Record::Warning(told) => warning(told.message.clone()),
        _ => Vec::new(),
    }
}

/// The progress at `record`, which `state` already includes: a text that the next one replaces. `None` for records that
/// are not about progress.
pub fn progress(record: &Record, state: &LiveState) -> Option<String> {
    match record {
        Record::Minibatch(minibatch) => Some(step_text(minibatch, state)),
        Record::Kernels(kernels) => Some(format!("tuning kernels: {} so far", kernels.tuned)),
        _ => None,
    }
}

/// Limits how often progress is printed. It has no clock: `now` is an argument.
///
/// ```
/// use std::time::Duration;
///
/// use footplate_views::plain::Pace;
///
/// let mut pace = Pace::new(Duration::from_secs(10));
/// let printed = (0..=30).filter(|s| pace.when_due(Duration::from_secs(*s), || Some(())).is_some());
/// assert_eq!(printed.collect::<Vec<_>>(), [10, 20, 30]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    every: Duration,
    last: Duration,
}

impl Pace {
    /// At most one text per `every`; the first comes after that time.
    pub fn new(every: Duration) -> Self {
        Self { every, last: Duration::ZERO }
    }

    /// Calls `make` if a text is due; `now` is the time since the pace was created. `None` from `make` leaves it due.
    pub fn when_due<T>(&mut self, now: Duration, make: impl FnOnce() -> Option<T>) -> Option<T> {
        if now.saturating_sub(self.last) < self.every {
            return None;
        }
        let made = make();
        if made.is_some() {
            self.last = now;
        }
        made
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

/// The result of a tune, in few lines.
fn tune_lines(tune: &TuneRecord) -> Vec<String> {
    let mut lines: Vec<String> = tune.message.iter().cloned().collect();
    if let Some(choice) = tune.choice.and_then(|index| tune.points.get(index)) {
        lines.push(point_text("choice", choice, tune.simulated));
        let state = if tune.verified { "measured again and confirmed" } else { "not measured again" };
        let sure = known(tune.probability, percent);
        lines.push(format!(
            "{state}; {}; the limits hold with a probability of {sure}; {} of {} modes were measured",
            tune.goal, tune.profiles, tune.space
        ));
    }
    let largest = tune.points.iter().find(|point| point.largest);
    lines.extend(largest.map(|point| point_text("largest", point, tune.simulated)));
    lines
}

fn point_text(name: &str, point: &TunePoint, simulated: bool) -> String {
    let figure = |estimated: Option<Estimated>, factor: f64, unit: &str| {
        known(estimated, |e| format!("{:.2} {unit}", e.value * factor))
    };
    let kind = match (point.measured, simulated) {
        (true, true) => "simulated",
        (true, false) => "measured",
        (false, _) => "estimate",
    };
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
}

fn step_text(minibatch: &MinibatchRecord, state: &LiveState) -> String {
    let Some(start) = state.start() else { return String::new() };
    let memory = known(state.machine(), |machine| shown(&machine.memory_bytes, Bytes::to_string));
    format!(
        "epoch {}/{}  step {}/{}  loss {}  val acc {}  {} items/s  stall {}  eta {}  mem {memory}",
        minibatch.epoch.saturating_add(1),
        start.epochs,
        minibatch.step.saturating_add(1),
        start.steps_total,
        known(state.loss(), |loss| format!("{loss:.3}")),
        known(state.last_validation(), |v| percent(v.top1)),
        known(state.all().items_per_s(), |rate| format!("{rate:.0}")),
        known(state.all().stall_share(), percent),
        known(state.time_left(), clock),
    )
}

fn epoch_text(epoch: &EpochRecord, state: &LiveState, extra: &str) -> String {
    let of = state.start().map_or(0, |start| start.epochs);
    let loss = known(epoch.train_loss, |loss| format!("{loss:.4}"));
    format!("epoch {}/{of}: train loss {loss}{extra}", epoch.epoch.saturating_add(1))
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
        Some(epoch) => epoch_text(epoch, state, &extra),
        None => extra.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests;
