//! The screen's lines of figures, each with a rank: a small terminal shows the most important ones.

use core::time::Duration;

use footplate_core::record::{ClockState, RunStatus};
use footplate_core::{Bytes, Reading};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::state::{LiveState, Phase};
use crate::text::{bar, cells, clock, explained, joules, known, percent, seconds, short, shown};

/// Width of a line's name.
const NAME: usize = 9;
/// With fewer columns than this, lines leave out the less important parts.
const NARROW: usize = 70;
/// Closer to the throttling temperature than this is shown in red.
const HEAT_NEAR_K: f64 = 5.0;
/// The parts of a step: name, letter in the bar, colour.
const PARTS: [(&str, char, Color); 5] = [
    ("fetch", 'f', Color::Yellow),
    ("prep", 'p', Color::Magenta),
    ("transfer", 't', Color::Cyan),
    ("compute", 'c', Color::Green),
    ("other", 'o', Color::Blue),
];

/// A line and its rank: 0 is the most important one.
pub(super) struct Ranked {
    pub(super) rank: u8,
    pub(super) line: Line<'static>,
}

fn named(name: &str, rest: Vec<Span<'static>>) -> Line<'static> {
    let mut spans = vec![Span::styled(format!("{name:<NAME$}"), Style::new().fg(Color::Cyan))];
    spans.extend(rest);
    Line::from(spans)
}

fn plain(name: &str, text: String) -> Line<'static> {
    named(name, vec![Span::raw(text)])
}

fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

/// What the run is doing, in words.
pub(super) fn phase_text(state: &LiveState, since_last: Duration) -> String {
    let for_so_long = format!("{:.0} s", state.in_phase(since_last).as_secs_f64());
    match state.phase() {
        Phase::Preparing(what) => format!("{what} ({for_so_long})"),
        Phase::WarmingUp if state.kernels > 0 => {
            format!("first step, tuning kernels: {} ({for_so_long})", state.kernels)
        }
        Phase::WarmingUp => format!("first step, the backend warms up ({for_so_long})"),
        Phase::Training => "training".to_owned(),
        Phase::Validating => format!("validating ({for_so_long})"),
        Phase::Ended(status) => match status {
            RunStatus::Completed => "completed".to_owned(),
            RunStatus::EarlyStopped => "stopped early: validation no longer improved".to_owned(),
            RunStatus::Interrupted => "interrupted, can be resumed".to_owned(),
            RunStatus::Failed => "FAILED".to_owned(),
        },
    }
}

/// The first line: model, device, phase, time so far and time left.
pub(super) fn title(state: &LiveState, since_last: Duration, width: usize) -> Line<'static> {
    let what = match state.start() {
        Some(start) => {
            let device = start.device.split(" (").next().unwrap_or_default();
            format!("{} on {device}", start.model)
        }
        None => "footplate".to_owned(),
    };
    let silence = state.silent(since_last);
    let phase = match silence {
        Some(silence) => format!("no news for {}", clock(silence)),
        None => phase_text(state, since_last),
    };
    let bad = silence.is_some() || matches!(state.phase(), Phase::Ended(RunStatus::Failed));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let style = if bad { alarm() } else { bold };
    let mut spans = vec![Span::styled(what, bold), Span::raw(": "), Span::styled(phase, style)];
    if state.start().is_some() {
        let goes_on = silence.is_none() && !matches!(state.phase(), Phase::Ended(_));
        let elapsed = state.elapsed(if goes_on { since_last } else { Duration::ZERO });
        if width >= NARROW {
            spans.push(Span::raw(format!("   {} so far", clock(elapsed))));
        }
        if goes_on {
            spans.push(Span::raw(format!("   {} left", known(state.time_left(), clock))));
        }
    }
    Line::from(spans)
}

/// The second line: epoch, step and a bar of the progress.
pub(super) fn progress(state: &LiveState, width: usize) -> Line<'static> {
    let Some(start) = state.start() else { return Line::default() };
    let done = state.steps_done();
    let share = if start.steps_total == 0 { 0.0 } else { done as f64 / start.steps_total as f64 };
    let epoch = done.saturating_sub(1) / start.steps_per_epoch.max(1) + 1;
    let text = format!(
        "epoch {}/{}  step {done}/{}  {:>3.0} % ",
        epoch.min(u64::from(start.epochs.max(1))),
        start.epochs,
        start.steps_total,
        share * 100.0
    );
    let room = width.saturating_sub(text.len() + 1);
    Line::from(vec![Span::raw(text), Span::styled(bar(room, share), Style::new().fg(Color::Green))])
}

/// All lines of figures in their order on the screen.
pub(super) fn figures(state: &LiveState, width: usize) -> Vec<Ranked> {
    let mut lines = vec![Ranked { rank: 2, line: step(state, width) }];
    if let Some(line) = step_bar(state, width) {
        lines.push(Ranked { rank: 3, line });
    }
    lines.push(Ranked { rank: 1, line: speed(state, width) });
    lines.push(Ranked { rank: 4, line: power(state, width) });
    lines.extend(rails(state, width).map(|line| Ranked { rank: 7, line }));
    lines.push(Ranked { rank: 5, line: heat(state, width) });
    lines.extend(clocks(state, width).into_iter().map(|line| Ranked { rank: 8, line }));
    lines.push(Ranked { rank: 6, line: memory(state, width) });
    lines.push(Ranked { rank: 9, line: saved(state) });
    lines
}

/// Loss and accuracy, for screens without room for curves.
pub(super) fn learning(state: &LiveState, width: usize) -> Vec<Line<'static>> {
    if width >= NARROW {
        let text = format!("{}   accuracy {}", loss_text(state), accuracy_text(state));
        return vec![plain("loss", text)];
    }
    vec![plain("loss", loss_text(state)), plain("accuracy", accuracy_text(state))]
}

pub(super) fn loss_text(state: &LiveState) -> String {
    let validation =
        state.last_validation().map_or(String::new(), |v| format!(", validation {}", short(v.loss)));
    format!("{}{validation}", known(state.loss(), short))
}

pub(super) fn accuracy_text(state: &LiveState) -> String {
    let now = known(state.last_validation(), |v| percent(v.top1));
    let best = state.best.as_ref().map_or(String::new(), |best| {
        format!(", best {} in epoch {}", percent(best.top1), best.epoch.saturating_add(1))
    });
    format!("{now}{best}")
}

fn step(state: &LiveState, width: usize) -> Line<'static> {
    let recent = state.recent();
    let mut spans = vec![Span::raw(known(recent.step_s(), seconds))];
    if let Some(shares) = recent.shares() {
        let is_narrow = width < NARROW;
        spans.push(Span::raw(if is_narrow { " in %:" } else { " = " }));
        for ((name, letter, color), share) in PARTS.iter().zip(shares) {
            let style = Style::new().fg(*color);
            let share = share * 100.0;
            if is_narrow {
                spans.push(Span::styled(format!(" {letter}{share:.0}"), style));
            } else {
                spans.push(Span::styled((*name).to_owned(), style));
                spans.push(Span::raw(format!(" {share:.0} %  ")));
            }
        }
    }
    named("step", spans)
}

/// The step's time as a bar of letters, which needs no colours.
fn step_bar(state: &LiveState, width: usize) -> Option<Line<'static>> {
    let shares = state.recent().shares()?;
    let cells = cells(width.saturating_sub(NAME), shares);
    let parts = PARTS.iter().zip(cells);
    let parts = parts.map(|((_, letter, color), count)| {
        Span::styled(letter.to_string().repeat(count), Style::new().fg(*color))
    });
    Some(named("", parts.collect()))
}

fn speed(state: &LiveState, width: usize) -> Line<'static> {
    let (recent, all) = (state.recent(), state.all());
    let rate = known(recent.items_per_s(), short);
    let stall = known(recent.stall_share(), percent);
    if width < NARROW {
        return plain("speed", format!("{rate} items/s, stall {stall}"));
    }
    let mean = known(all.items_per_s(), short);
    let mut text = format!("{rate} items/s, mean {mean}   waits for data {stall}");
    if let Some(loader) = &state.loader {
        text.push_str(&format!("   workers {}, ahead {}", loader.workers, loader.depth));
    }
    plain("speed", text)
}

fn power(state: &LiveState, width: usize) -> Line<'static> {
    let budget = state.budget_w();
    let of = known(budget, |w| format!("{} W", short(w)));
    let Some(record) = &state.power else { return plain("power", format!("-   budget {of}")) };
    let watts = record.total_w.value().map(|watts| watts.0);
    let is_over = watts.zip(budget).is_some_and(|(watts, budget)| watts > budget);
    let total = explained(&record.total_w, |w| format!("{:.2} W", w.0));
    let style = if is_over { alarm() } else { Style::new() };
    let mut spans = vec![Span::styled(total, style), Span::raw(format!("   budget {of}"))];
    if let Some((watts, budget)) = watts.zip(budget) {
        spans.extend((width >= NARROW).then(|| Span::raw(format!(" {}", bar(12, watts / budget)))));
        spans.extend(is_over.then(|| Span::styled(" OVER", alarm())));
    }
    if record.simulated {
        spans.push(Span::styled("   SIMULATED", Style::new().add_modifier(Modifier::BOLD)));
    }
    match (state.energy_j(), state.energy) {
        (Some(measured), _) => spans.push(Span::raw(format!("   energy {}", joules(measured.0)))),
        // Added up from the records' means; the measured energy comes with the run's end.
        (None, Some(so_far)) => {
            spans.push(Span::raw(format!("   energy about {}", joules(so_far.energy_j))));
        }
        (None, None) => {}
    }
    named("power", spans)
}

fn rails(state: &LiveState, width: usize) -> impl Iterator<Item = Line<'static>> {
    let rails = state.power.as_ref().map(|power| power.rails.as_slice()).unwrap_or_default();
    let parts =
        rails.iter().map(|(label, watts)| format!("{label} {}", shown(watts, |w| format!("{:.2} W", w.0))));
    wrapped(parts, width, 2).into_iter().map(|text| plain("", text))
}

fn heat(state: &LiveState, width: usize) -> Line<'static> {
    let degrees = |value: f64| format!("{value:.1} °C");
    let now = state.power.as_ref().map_or(&Reading::Absent, |power| &power.temperature_c);
    let machine = state.machine();
    let trip = machine.map_or(&Reading::Absent, |machine| &machine.trip_c);
    let distance = machine.map_or(&Reading::Absent, |machine| &machine.trip_distance_c);
    let (side, far) = match distance {
        Reading::Value(distance) if distance.0 < 0.0 => ("above", format!("{:.1} K", -distance.0)),
        other => ("below", shown(other, |d| format!("{:.1} K", d.0))),
    };
    let is_near = distance.value().is_some_and(|distance| distance.0 < HEAT_NEAR_K);
    let style = if is_near { alarm() } else { Style::new() };
    let mut spans = vec![Span::raw(explained(now, |c| degrees(c.0)))];
    if state.power.as_ref().is_some_and(|power| !power.throttled.is_empty()) {
        spans.push(Span::styled("  THROTTLED", alarm()));
    }
    let text = if (distance, trip) == (&Reading::Absent, &Reading::Absent) {
        // The throttling temperature is unknown.
        String::new()
    } else if width < NARROW {
        format!(", {far} {side} throttling")
    } else {
        format!("   {far} {side} throttling, which begins at {}", shown(trip, |c| degrees(c.0)))
    };
    spans.push(Span::styled(text, style));
    named("heat", spans)
}

fn clocks(state: &LiveState, width: usize) -> Vec<Line<'static>> {
    let Some(machine) = state.machine() else { return vec![plain("clocks", "-".to_owned())] };
    let mhz =
        |reading: &Reading<footplate_core::Hertz>| shown(reading, |hz| format!("{:.0}", hz.0 as f64 / 1e6));
    let one = |state: &ClockState| format!("{} {}/{}", state.label, mhz(&state.got_hz), mhz(&state.asked_hz));
    let cores = format!("cores {}", shown(&machine.cpu_cores, u32::to_string));
    let mut parts = vec![cores];
    parts.extend(machine.clocks.iter().map(one));
    if machine.clocks.is_empty() {
        parts.push("clocks -".to_owned());
    } else {
        parts.push("MHz (is/limit)".to_owned());
    }
    let mut names = ["clocks", ""].into_iter();
    wrapped(parts.into_iter(), width, 2)
        .into_iter()
        .map(|text| plain(names.next().unwrap_or(""), text))
        .collect()
}

fn memory(state: &LiveState, width: usize) -> Line<'static> {
    let plan = state.start().map(|start| start.planned_memory_bytes).filter(|plan| plan.0 > 0);
    let measured = match (&state.end, state.machine()) {
        (Some(end), _) => ("peak ", &end.peak_memory_bytes),
        (None, Some(machine)) => ("", &machine.memory_bytes),
        (None, None) => ("", &Reading::Absent),
    };
    let text = format!(
        "{}{} of {} planned ",
        measured.0,
        explained(measured.1, Bytes::to_string),
        known(plan, |plan| plan.to_string())
    );
    let mut spans = vec![Span::raw(text.clone())];
    if let Some((used, plan)) = measured.1.value().zip(plan) {
        let share = used.0 as f64 / plan.0 as f64;
        let note = format!(" {:.0} %", share * 100.0);
        let room = width.saturating_sub(NAME + text.len() + note.len()).min(24);
        let style = if share > 1.0 { alarm() } else { Style::new() };
        spans.push(Span::styled(format!("{}{note}", bar(room, share)), style));
    }
    named("memory", spans)
}

fn saved(state: &LiveState) -> Line<'static> {
    let text = state.checkpoint.as_ref().map_or("-".to_owned(), |checkpoint| {
        format!("checkpoint at step {}, {}", checkpoint.step, checkpoint.size_bytes)
    });
    let mode = state.mode.as_ref().map_or(String::new(), |mode| format!("   mode {}", mode.got));
    plain("saved", format!("{text}{mode}"))
}

/// The messages, newest last, in at most `room` lines with a heading.
pub(super) fn notices(state: &LiveState, room: usize) -> Vec<Line<'static>> {
    let notices = state.notices();
    if room == 0 {
        return Vec::new();
    }
    let mut counts = vec![format!("warnings {}", notices.total())];
    if state.bad_samples > 0 {
        counts.push(format!("samples left out {}", state.bad_samples));
    }
    if state.throttled_records > 0 {
        counts.push(format!("throttled for about {} s", state.throttled_records));
    }
    if state.damaged_lines > 0 {
        counts.push(format!("{} lines of the log are damaged", state.damaged_lines));
    }
    if let Some(end) = state.end.as_ref().filter(|end| end.dropped_records > 0) {
        counts.push(format!("{} records are missing", end.dropped_records));
    }
    let style =
        if notices.total() + state.damaged_lines > 0 { Style::new().fg(Color::Yellow) } else { Style::new() };
    let mut lines = vec![Line::styled(counts.join(", "), style)];
    let shown = notices.last().rev().take(room - 1).collect::<Vec<_>>();
    for notice in shown.into_iter().rev() {
        let times = if notice.count > 1 { format!(" ({} times)", notice.count) } else { String::new() };
        lines.push(Line::raw(format!("  {}{times}", notice.text)));
    }
    lines
}

/// What is known of the run while there are no curves yet.
pub(super) fn facts(state: &LiveState, since_last: Duration) -> Vec<Line<'static>> {
    let mut lines =
        vec![Line::styled(phase_text(state, since_last), Style::new().add_modifier(Modifier::BOLD))];
    if let Some(start) = state.start() {
        lines.push(Line::raw(String::new()));
        lines.push(plain("data", start.data.clone()));
        lines.push(plain("device", start.device.clone()));
        lines.push(plain("host", start.host.clone()));
        let sizes = format!(
            "{} parameters, batch {}, {} steps an epoch",
            start.parameters, start.batch_size, start.steps_per_epoch
        );
        lines.push(plain("model", format!("{}: {sizes}", start.model)));
    }
    lines
}

/// Joins parts with two spaces into at most `rows` lines that fit; "…" stands for parts that do not.
fn wrapped(parts: impl Iterator<Item = String>, width: usize, rows: usize) -> Vec<String> {
    let room = width.saturating_sub(NAME).max(1);
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let used = lines.len();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + part.chars().count() <= room => {
                line.push_str("  ");
                line.push_str(&part);
            }
            Some(line) if used == rows => {
                line.push('…');
                break;
            }
            _ => lines.push(part),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{arbitrary, minibatch, start};
    use footplate_core::Record;

    fn width_of(line: &Line) -> usize {
        line.spans.iter().map(|span| span.content.chars().count()).sum()
    }

    proptest! {
        /// A part that is wider than the screen is cut by the screen; everything else stays within it.
        #[test]
        fn wrapped_lines_fit_and_say_when_something_is_left_out(
            parts in prop::collection::vec("[a-zA-Zµ°0-9]{1,12}", 0..20),
            width in 24usize..120,
            rows in 1usize..4,
        ) {
            let lines = wrapped(parts.iter().cloned(), width, rows);
            prop_assert!(lines.len() <= rows);
            prop_assert!(lines.iter().all(|line| line.trim_end_matches('…').chars().count() <= width - NAME));
            let shown: Vec<&str> =
                lines.iter().flat_map(|line| line.trim_end_matches('…').split("  ")).collect();
            prop_assert_eq!(&parts[..shown.len()], shown.as_slice());
            let cut = lines.last().is_some_and(|line| line.ends_with('…'));
            prop_assert_eq!(cut, shown.len() < parts.len());
        }

        /// The line of progress and the bar of the step fill the screen and do not leave it.
        #[test]
        fn bars_end_where_the_screen_does(
            records in prop::collection::vec(arbitrary::record(), 0..8),
            width in 40usize..250,
        ) {
            let mut state = LiveState::default();
            state.push(&Record::RunStart(start()));
            state.push(&Record::Minibatch(minibatch(0, 1_000_000)));
            let whole = progress(&state, width);
            prop_assert_eq!(width_of(&whole), width - 1);
            prop_assert_eq!(width_of(&step_bar(&state, width).unwrap()), width);
            for record in &records {
                state.push(record);
                let fixed = width_of(&progress(&state, 0));
                prop_assert!(width_of(&progress(&state, width)) <= width.max(fixed));
                prop_assert!(step_bar(&state, width).is_none_or(|bar| width_of(&bar) <= width));
            }
        }
    }

    #[test]
    fn the_lines_of_a_narrow_screen_say_the_same_in_fewer_words() {
        let mut state = LiveState::default();
        state.push(&Record::RunStart(start()));
        state.push(&Record::Minibatch(minibatch(0, 50_000_000)));
        let text = |width| {
            let lines = figures(&state, width).into_iter().map(|ranked| ranked.line.to_string());
            lines.collect::<Vec<_>>().join("\n")
        };
        let (narrow, wide) = (text(40), text(80));
        for figure in ["50.00 ms", "640.0 items/s", "2.0 %", "100 MiB planned"] {
            assert!(narrow.contains(figure) && wide.contains(figure), "{figure}: {narrow}\n{wide}");
        }
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }
}
