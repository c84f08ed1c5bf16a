//! A tune: the front, what was measured, the presets, and the choice.

use footplate_core::record::{Estimated, ProfilePurpose, ProfiledRecord, TunePoint, TuneRecord};

use super::figures::{difference, joules, number, percent, seconds};
use super::html::{Cell, details, escape, paragraph, table};
use super::log_data::RunView;
use super::plot::{Along, Axis, Dot, Line, Plot, Stroke};
use crate::text::explained;

/// The section; `None` where nothing was tuned.
pub(crate) fn tuned(view: &RunView) -> Option<String> {
    let profiles = &view.log.profiles;
    match &view.log.tune {
        Some(tune) => Some(of(tune, view)),
        None if profiles.count > 0 => {
            let text = "Modes were profiled but there is no result: tuning was interrupted, or the log ends before it.";
            Some(paragraph(text) + &profiles_chart(&profiles.kept) + &profiled(view))
        }
        None => None,
    }
}

fn of(tune: &TuneRecord, view: &RunView) -> String {
    let mut out = paragraph(&format!("Goal: {}.", tune.goal));
    if tune.simulated {
        out.push_str(
            "<p><span class=\"tag\">simulated</span> All figures here are from a simulated board.</p>\n",
        );
    }
    out.push_str(&verdict(tune));
    if view.log.tunes > 1 {
        out.push_str(&paragraph(&format!(
            "The log holds {} tuning results; this is the last one.",
            view.log.tunes
        )));
    }
    out.push_str(&front(tune));
    out.push_str(&against_table(tune));
    out.push_str(&paragraph(&format!(
        "The space has {} settings; {} were measured for the search. The others are predictions with their 90 % intervals.",
        tune.space, tune.profiles
    )));
    out.push_str(&points_table(tune));
    out.push_str(&profiled(view));
    out
}

/// What was chosen, and what it brings against the largest mode.
fn verdict(tune: &TuneRecord) -> String {
    let Some(choice) = tune.choice.and_then(|index| tune.points.get(index)) else {
        let why = tune.message.clone().unwrap_or_else(|| "no setting holds the limits".to_owned());
        return paragraph(&format!("Nothing was chosen: {why}."));
    };
    let checked = if tune.verified { "measured again and confirmed" } else { "not measured again" };
    let sure = tune
        .probability
        .map_or(String::new(), |p| format!("; the limits hold with a probability of {}", percent(Some(p))));
    let mut out = format!("<p>Choice: <strong>{}</strong> ({checked}{sure}).</p>\n", escape(&name(choice)));
    if let Some(largest) = tune.points.iter().find(|point| point.largest)
        && !std::ptr::eq(largest, choice)
    {
        let kind = |point: &TunePoint| if point.measured { "measured" } else { "predicted" };
        out.push_str(&paragraph(&format!(
            "Against the mode with every knob at its largest ({}): time per step {}, power {}, energy per step {} (choice {}, \
             largest {}).",
            largest.mode,
            difference(value(largest.step_s), value(choice.step_s)),
            difference(value(largest.power_w), value(choice.power_w)),
            difference(value(largest.energy_j), value(choice.energy_j)),
            kind(choice),
            kind(largest),
        )));
    }
    if let Some(message) = &tune.message {
        out.push_str(&paragraph(message));
    }
    out
}

fn value(estimated: Option<Estimated>) -> Option<f64> {
    estimated.map(|e| e.value)
}

fn name(point: &TunePoint) -> String {
    let workers = point.workers.map_or(String::new(), |n| format!(", {n} workers"));
    format!("{}{workers}", point.mode)
}

/// What kind of point it is: the strongest word wins.
fn class(tune: &TuneRecord, index: usize) -> &'static str {
    let point = &tune.points[index];
    match () {
        () if tune.choice == Some(index) => "choice",
        () if point.largest => "largest",
        () if !point.presets.is_empty() => "preset",
        () if point.measured => "measured",
        () => "predicted",
    }
}

fn kinds(tune: &TuneRecord, index: usize) -> String {
    let point = &tune.points[index];
    let mut kinds = Vec::new();
    if tune.choice == Some(index) {
        kinds.push("the choice".to_owned());
    }
    if point.largest {
        kinds.push("every knob at its largest".to_owned());
    }
    kinds.extend(point.presets.iter().map(|preset| format!("preset {preset}")));
    if point.on_front {
        kinds.push("on the front".to_owned());
    }
    kinds.push(if point.measured { "measured".to_owned() } else { "predicted".to_owned() });
    kinds.join(", ")
}

fn front(tune: &TuneRecord) -> String {
    let with_power = tune.points.iter().any(|point| point.power_w.is_some() && point.step_s.is_some());
    if !with_power {
        return paragraph(
            "Power: - . The machine has no power sensor, so there is no front to draw; the table has the times.",
        );
    }
    let known = |p: &&TunePoint| p.power_w.is_some() && p.step_s.is_some();
    let times = tune.points.iter().filter(known).filter_map(|p| p.step_s.map(|s| s.value * 1e3));
    let powers = tune.points.iter().filter(known).filter_map(|p| value(p.power_w));
    let limits = tune.power_max_w.into_iter();
    let x = Axis::over("time per step", Along::Quantity("ms"), times, false);
    let y = Axis::over("power", Along::Quantity("W"), powers.chain(limits), false);
    let mut plot = Plot::new("front", "Time per step against power: front, presets and choice", x, y);
    plot.description =
        "Each point is a setting: further left is faster, further down draws less power.".to_owned();
    let mut line: Vec<(f64, f64)> = tune
        .points
        .iter()
        .filter(|p| p.on_front)
        .filter_map(|p| Some((value(p.step_s)? * 1e3, value(p.power_w)?)))
        .collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    plot.lines = vec![Line {
        name: "front".to_owned(),
        colour: 6,
        stroke: Stroke::Dashed,
        runs: vec![line],
        band: Vec::new(),
    }];
    if let Some(limit) = tune.power_max_w {
        plot.limits.push((limit, format!("limit {} W", number(limit))));
    }
    if let Some(limit) = tune.step_max_s.map(|s| s * 1e3).filter(|ms| (plot.x.from..=plot.x.to).contains(ms))
    {
        plot.walls.push((limit, format!("limit {} ms", number(limit))));
    }
    plot.dots = (0..tune.points.len()).filter_map(|index| dot(tune, index)).collect();
    // The choice is drawn last, on top.
    plot.dots.sort_by_key(|dot| dot.class == "choice");
    plot.legend = key();
    plot.html()
}

fn key() -> String {
    let entries = [
        ("choice", "the choice"),
        ("largest", "every knob at its largest (MAXN)"),
        ("preset", "a preset of the vendor"),
        ("measured", "measured"),
        ("predicted", "predicted, with 90 % interval"),
    ];
    let items: Vec<String> = entries
        .iter()
        .map(|(class, text)| {
            format!("<li><span class=\"sw dot {class}\" aria-hidden=\"true\"></span>{text}</li>")
        })
        .collect();
    format!("<ul class=\"plain key\">{}</ul>", items.concat())
}

fn dot(tune: &TuneRecord, index: usize) -> Option<Dot> {
    let point = &tune.points[index];
    let (time, power) = (point.step_s?, point.power_w?);
    let energy = value(point.energy_j).map_or("-".to_owned(), joules);
    let label = format!(
        "{}: {}. {} a step, {} W, {} a step.",
        kinds(tune, index),
        name(point),
        seconds(time.value),
        number(power.value),
        energy
    );
    let shown = !point.measured;
    Some(Dot {
        x: time.value * 1e3,
        y: power.value,
        class: class(tune, index),
        label,
        x_interval: shown.then_some((time.low90 * 1e3, time.high90 * 1e3)),
        y_interval: shown.then_some((power.low90, power.high90)),
    })
}

/// A figure with its interval where it is a prediction.
fn estimated(figure: Option<Estimated>, measured: bool, shown: impl Fn(f64) -> String) -> String {
    match figure {
        None => "-".to_owned(),
        Some(e) if measured => shown(e.value),
        Some(e) => format!("{} ({} to {})", shown(e.value), shown(e.low90), shown(e.high90)),
    }
}

fn point_row(tune: &TuneRecord, index: usize) -> Vec<Cell> {
    let point = &tune.points[index];
    let measured = point.measured;
    vec![
        Cell::text(&name(point)),
        Cell::text(&kinds(tune, index)),
        Cell::number(&estimated(point.step_s, measured, seconds)),
        Cell::number(&estimated(point.power_w, measured, |w| format!("{} W", number(w)))),
        Cell::number(&estimated(point.energy_j, measured, joules)),
    ]
}

const HEAD: [&str; 5] = ["Setting", "what it is", "time per step", "power", "energy per step"];

/// The choice, the largest mode and the presets.
fn against_table(tune: &TuneRecord) -> String {
    let matters = |index: &usize| {
        let point = &tune.points[*index];
        tune.choice == Some(*index) || point.largest || !point.presets.is_empty()
    };
    let mut indices: Vec<usize> = (0..tune.points.len()).filter(matters).collect();
    indices.sort_by_key(|index| tune.choice != Some(*index));
    let rows: Vec<Vec<Cell>> = indices.into_iter().map(|index| point_row(tune, index)).collect();
    if rows.is_empty() {
        String::new()
    } else {
        table("The choice, the largest mode and the presets", &HEAD, &rows)
    }
}

fn points_table(tune: &TuneRecord) -> String {
    let rows: Vec<Vec<Cell>> = (0..tune.points.len()).map(|index| point_row(tune, index)).collect();
    let shown = table("All settings of this tuning result in the log", &HEAD, &rows);
    details(&format!("The front and everything that was measured ({} settings)", tune.points.len()), &shown)
}

/// Measurements in their order.
fn profiled(view: &RunView) -> String {
    let profiles = &view.log.profiles;
    if profiles.kept.is_empty() {
        return String::new();
    }
    let row = |p: &ProfiledRecord| {
        let purpose = match p.purpose {
            ProfilePurpose::Search => "search",
            ProfilePurpose::Verify => "check of the choice",
        };
        let workers = p.workers.map_or("-".to_owned(), |n| n.to_string());
        let got = if p.got == p.mode { String::new() } else { format!(" (got {})", p.got) };
        let doubts = if p.throttled.is_empty() { String::new() } else { p.throttled.join("; ") };
        vec![
            Cell::text(&format!("{}{got}", p.mode)),
            Cell::text(purpose),
            Cell::number(&workers),
            Cell::number(&p.steps.to_string()),
            Cell::number(&format!("{} ± {}", seconds(p.step_s), seconds(p.step_error_s))),
            Cell::number(&percent(p.stall_share)),
            Cell::number(&explained(&p.power_w, |w| format!("{} W", number(w.0)))),
            Cell::text(&doubts),
        ]
    };
    let rows: Vec<Vec<Cell>> = profiles.kept.iter().map(row).collect();
    let head =
        ["Mode", "purpose", "workers", "steps", "step ± standard error", "stall", "power", "throttled"];
    let left = profiles.left_out();
    let more = if left > 0 { paragraph(&format!("{left} more are not shown.")) } else { String::new() };
    details(
        &format!("Measurements in their order ({})", profiles.count),
        &(table("Profiled modes", &head, &rows) + &more),
    )
}

/// Without a result: what was measured so far.
fn profiles_chart(profiles: &[ProfiledRecord]) -> String {
    let dots: Vec<Dot> = profiles
        .iter()
        .filter_map(|p| {
            let watts = p.power_w.value()?.0;
            let label = format!("measured: {}. {} a step, {} W.", p.mode, seconds(p.step_s), number(watts));
            Some(Dot { x: p.step_s * 1e3, y: watts, class: "measured", label, ..Dot::default() })
        })
        .collect();
    if dots.is_empty() {
        return String::new();
    }
    let x = Axis::over("time per step", Along::Quantity("ms"), dots.iter().map(|d| d.x), false);
    let y = Axis::over("power", Along::Quantity("W"), dots.iter().map(|d| d.y), false);
    let mut plot = Plot::new("front", "Time per step against power: measured modes", x, y);
    plot.dots = dots;
    plot.html()
}
