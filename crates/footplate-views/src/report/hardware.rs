//! Power, temperatures, clocks and memory over the run.

use footplate_core::record::ModePurpose;
use footplate_core::{Bytes, Reading};

use super::charts::{Row, extent, legend, line};
use super::figures::{count, joules, number, percent, seconds, with_unit};
use super::html::{Cell, details, paragraph, table};
use super::log_data::{Gauge, RunView};
use super::plot::{Along, Axis, Plot, Stroke};
use super::totals::{Energy, peak_memory, wall_s};

const MIB: f64 = (1 << 20) as f64;

/// Marks of a chart over time: modes that were set, stretches of throttling.
fn mark(plot: &mut Plot, view: &RunView) {
    let modes = view.log.modes.kept.iter().enumerate();
    plot.marks = modes.map(|(index, (at, _))| (*at, (index + 1).to_string())).collect();
    plot.shades = view.log.stretches.kept.iter().map(|s| (s.from_s, s.to_s)).collect();
}

fn time_axis(view: &RunView) -> Axis {
    let last = wall_s(&view.log.processes);
    Axis::exact("time", Along::Time, 0.0, last)
}

fn chart(
    id: &str,
    title: &str,
    unit: &'static str,
    view: &RunView,
    gauges: &[(&str, &Gauge)],
    zero: bool,
) -> Plot {
    let points: Vec<_> = gauges.iter().map(|(_, gauge)| gauge.series.points()).collect();
    let values: Vec<f64> = points.iter().flat_map(|p| extent(p)).collect();
    let name = title.split(' ').next().unwrap_or(title).to_lowercase();
    let y = Axis::over(&name, Along::Quantity(unit), values.into_iter(), zero);
    let mut plot = Plot::new(id, title, time_axis(view), y);
    let shown = gauges.iter().enumerate();
    plot.lines = shown.map(|(colour, (name, gauge))| line(name, colour, &gauge.series)).collect();
    let rows: Vec<Row> =
        gauges.iter().enumerate().map(|(colour, (name, gauge))| Row::of(name, colour, gauge)).collect();
    plot.legend = legend(&format!("{title}: figures"), unit, &rows);
    mark(&mut plot, view);
    plot
}

/// Raises the upper end so that a limit is seen, if that does not flatten everything else.
fn show_limit(plot: &mut Plot, value: f64, name: String) {
    if value > plot.y.to && value < plot.y.to + 4.0 * (plot.y.to - plot.y.from) {
        plot.y.to = value + (value - plot.y.from) * 0.08;
    }
    plot.limits.push((value, name));
}

/// Power by rail, with the modes and the throttling.
pub(crate) fn power(view: &RunView) -> String {
    let log = &view.log;
    let mut gauges: Vec<(&str, &Gauge)> = vec![("board total", &log.total_w)];
    gauges.extend(log.rails.iter().map(|(label, gauge)| (label.as_str(), gauge)));
    if gauges.iter().all(|(_, gauge)| gauge.series.is_empty()) {
        let why = gauges.iter().find_map(|(_, gauge)| gauge.unreadable.as_ref());
        let text = match why {
            Some((_, reason)) => format!("Power: x ({reason})."),
            None => "Power: - . The log holds no power records: this machine has no sensor that footplate can read.".to_owned(),
        };
        return paragraph(&text) + &energies(view) + &events(view);
    }
    let mut plot = chart("power", "Power by rail", "W", view, &gauges, true);
    plot.description = "The power of the whole board and of each rail over the run; modes that were set are numbered lines, \
        throttling is shaded."
        .to_owned();
    if let Some(limit) = log.tune.as_ref().and_then(|tune| tune.power_max_w) {
        show_limit(&mut plot, limit, format!("limit {} W", number(limit)));
    }
    plot.html() + &energies(view) + &events(view)
}

/// The energy of the run and what it is made of.
fn energies(view: &RunView) -> String {
    let text = match Energy::of(&view.log.processes) {
        Reading::Value(Energy { joules: j, added_up_ns: 0 }) => {
            format!("Energy of the run: {}, added up from the sensors' samples.", joules(j))
        }
        Reading::Value(Energy { joules: j, added_up_ns }) => format!(
            "Energy of the run: {}; {} of it are added up from power records, because the run is unfinished.",
            joules(j),
            seconds(added_up_ns as f64 / 1e9)
        ),
        Reading::Absent => "Energy of the run: - .".to_owned(),
        Reading::Unreadable { reason } => format!("Energy of the run: x ({reason})."),
    };
    paragraph(&text)
}

fn events(view: &RunView) -> String {
    let mut out = modes(view);
    let stretches = &view.log.stretches;
    let throttling = &view.log.throttling;
    if stretches.kept.is_empty() {
        if throttling.watched_ns > 0 {
            out.push_str(&paragraph("Throttling: none seen."));
        }
        return out;
    }
    let share = throttling.slowed_ns as f64 / throttling.watched_ns.max(1) as f64;
    out.push_str(&paragraph(&format!(
        "Throttling (shaded): seen during {} of the time that power records cover; periods are rounded to whole records.",
        percent(Some(share))
    )));
    let rows: Vec<Vec<Cell>> = stretches
        .kept
        .iter()
        .map(|s| {
            vec![
                Cell::text(&seconds(s.from_s.max(0.0))),
                Cell::number(&seconds(s.to_s - s.from_s.max(0.0))),
                Cell::text(&s.evidence.join("; ")),
            ]
        })
        .collect();
    let shown = table("Periods of throttling", &["Start", "duration", "evidence"], &rows);
    out.push_str(&details(&format!("Throttling ({} periods)", count(stretches.count)), &shown));
    out
}

fn modes(view: &RunView) -> String {
    let modes = &view.log.modes;
    if modes.kept.is_empty() {
        return paragraph("Modes: the power mode was not changed.");
    }
    let rows: Vec<Vec<Cell>> = modes
        .kept
        .iter()
        .enumerate()
        .map(|(index, (at, mode))| {
            let purpose = match mode.purpose {
                ModePurpose::Profile => "to measure it",
                ModePurpose::Train => "to train in it",
                ModePurpose::Restore => "to restore the mode before",
            };
            let got = if mode.got == mode.asked { "as asked".to_owned() } else { mode.got.to_string() };
            vec![
                Cell::text(&(index + 1).to_string()),
                Cell::number(&seconds(*at)),
                Cell::text(purpose),
                Cell::text(&mode.asked.to_string()),
                Cell::text(&got),
                Cell::text(&mode.warnings.join("; ")),
            ]
        })
        .collect();
    let head = ["Mark", "at", "purpose", "mode asked for", "read back", "warnings"];
    let shown = table("Modes that were set; the numbers are the marks on the charts", &head, &rows);
    let left = modes.left_out();
    let more = if left > 0 { paragraph(&format!("{left} more are not shown.")) } else { String::new() };
    if modes.kept.len() <= 6 {
        shown + &more
    } else {
        details(&format!("Modes that were set ({})", modes.count), &(shown + &more))
    }
}

/// Temperature, clocks and cores.
pub(crate) fn heat_and_clocks(view: &RunView) -> String {
    let log = &view.log;
    let mut out = String::new();
    if log.temperature.series.is_empty() {
        out.push_str(&paragraph(&format!("Temperature: {}.", log.temperature.missing().unwrap_or_default())));
    } else {
        let gauges = [("highest zone", &log.temperature)];
        let mut plot = chart("temperature", "Temperature", "°C", view, &gauges, false);
        if let Some((trip, _, _)) = log.trip.series.range(0) {
            show_limit(&mut plot, trip, format!("slows down at {} °C", number(trip)));
        }
        out.push_str(&plot.html());
    }
    if log.clocks.is_empty() {
        out.push_str(&paragraph("Clocks: - . The log holds no clocks."));
    } else {
        out.push_str(&clocks(view));
    }
    if let Some((min, _, max)) = log.cores.series.range(0) {
        let cores = if min == max { format!("{max:.0}") } else { format!("{min:.0} to {max:.0}") };
        out.push_str(&paragraph(&format!("CPU cores online: {cores}.")));
    }
    out
}

fn clocks(view: &RunView) -> String {
    let clocks = &view.log.clocks;
    let values = clocks.values().flat_map(|c| {
        let (asked, got) = (c.asked.series.points(), c.got.series.points());
        extent(&asked).chain(extent(&got)).collect::<Vec<_>>()
    });
    let y = Axis::over("clock", Along::Quantity("MHz"), values.collect::<Vec<_>>().into_iter(), true);
    let mut plot = Plot::new("clocks", "Clocks: limit (dashed) and actual", time_axis(view), y);
    let mut rows = Vec::new();
    for (colour, (label, clock)) in clocks.iter().enumerate() {
        plot.lines.push(line(label, colour, &clock.got.series));
        rows.push(Row::of(label, colour, &clock.got));
        let mut asked = line(&format!("{label} limit"), colour, &clock.asked.series);
        (asked.stroke, asked.band) = (Stroke::Dashed, Vec::new());
        plot.lines.push(asked);
        let row = Row::of(&format!("{label} limit"), colour, &clock.asked);
        rows.push(Row { dashed: true, ..row });
    }
    plot.legend = legend("Clocks: figures", "MHz", &rows);
    mark(&mut plot, view);
    plot.html()
}

/// The memory plan against what was measured.
pub(crate) fn memory(view: &RunView) -> String {
    // A simulated board's steps need no memory: there is no plan, rather than one of zero.
    let plan = view.summary.planned_memory_bytes.filter(|_| !view.log.simulated_steps);
    let peak = peak_memory(&view.log.processes);
    let (peak_text, why) = match &peak {
        Reading::Value(bytes) => (bytes.to_string(), String::new()),
        Reading::Absent if view.log.processes.iter().all(|p| p.end.is_none()) => {
            ("-".to_owned(), "the run is unfinished".to_owned())
        }
        Reading::Absent => ("-".to_owned(), "not reported by the system".to_owned()),
        Reading::Unreadable { reason } => ("x".to_owned(), reason.clone()),
    };
    let against = match (peak.value(), plan) {
        (Some(peak), Some(Bytes(plan))) if plan > 0 => {
            format!("{:+.1} % against the plan", (peak.0 as f64 / plan as f64 - 1.0) * 100.0)
        }
        _ => why,
    };
    let plan_text = plan.map_or("-".to_owned(), |bytes| bytes.to_string());
    let rows = vec![
        vec![
            Cell::text("planned"),
            Cell::number(&plan_text),
            Cell::text("estimate made before the first step"),
        ],
        vec![Cell::text("peak, measured"), Cell::number(&peak_text), Cell::text(&against)],
    ];
    let mut out = table("Memory of the process", &["Memory", "size", ""], &rows);
    let gauge = &view.log.memory;
    if gauge.series.is_empty() {
        let text = gauge.missing().unwrap_or_default();
        out.push_str(&paragraph(&format!("Memory over the run: {text}")));
        return out;
    }
    let mut plot =
        chart("memory", "Memory of the process over the run", "MiB", view, &[("resident", gauge)], true);
    if let Some(Bytes(plan)) = plan {
        let plan = plan as f64 / MIB;
        show_limit(&mut plot, plan, format!("plan {}", with_unit(Some(plan), "MiB")));
    }
    out + &plot.html()
}
