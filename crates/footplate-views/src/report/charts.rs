//! What the charts of a page have in common: lines made of series, and the table below a chart, its legend with numbers.

use super::figures::number;
use super::html::{Cell, escape, table};
use super::log_data::Gauge;
use super::plot::{Line, Stroke};
use super::thin::{Point, Thin};

/// Number of colours in the page's style sheet.
pub(crate) const COLOURS: usize = 8;

/// A row of a chart's legend.
pub(crate) struct Row {
    pub(crate) colour: usize,
    pub(crate) dashed: bool,
    pub(crate) name: String,
    /// Smallest, mean and largest value, or the mark that says why there is none.
    pub(crate) range: Result<(f64, f64, f64), String>,
    pub(crate) note: String,
}

impl Row {
    /// Of a quantity that may be missing.
    pub(crate) fn of(name: &str, colour: usize, gauge: &Gauge) -> Self {
        let note = gauge.unreadable.as_ref().filter(|_| !gauge.series.is_empty());
        Self {
            colour,
            dashed: false,
            name: name.to_owned(),
            range: gauge.series.range(0).ok_or_else(|| gauge.missing().unwrap_or_default()),
            note: note.map_or(String::new(), |(times, reason)| format!("x {times} times ({reason})")),
        }
    }
}

/// The legend: each series with its smallest, mean and largest value.
pub(crate) fn legend(caption: &str, unit: &str, rows: &[Row]) -> String {
    let has_notes = rows.iter().any(|row| !row.note.is_empty());
    let mut head = vec!["Series".to_owned()];
    head.extend(["min", "mean", "max"].map(|name| format!("{name}{}", in_brackets(unit))));
    if has_notes {
        head.push("not read".to_owned());
    }
    let made: Vec<Vec<Cell>> = rows.iter().map(|row| cells(row, has_notes)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(caption, &head, &made)
}

pub(crate) fn in_brackets(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" ({unit})") }
}

fn cells(row: &Row, has_notes: bool) -> Vec<Cell> {
    let mut cells = vec![Cell::html(named(&row.name, row.colour, row.dashed))];
    match &row.range {
        Ok((min, mean, max)) => {
            cells.extend([min, mean, max].map(|value| Cell::number(&number(*value))));
        }
        Err(why) => cells.extend([why, why, why].map(|why| Cell::number(why))),
    }
    if has_notes {
        cells.push(Cell::text(&row.note));
    }
    cells
}

/// A patch of a colour with a name.
pub(crate) fn named(name: &str, colour: usize, dashed: bool) -> String {
    format!("{}<span class=\"nm\">{}</span>", swatch(colour, dashed), escape(name))
}

/// A patch of a colour.
pub(crate) fn swatch(colour: usize, dashed: bool) -> String {
    let dash = if dashed { " dash" } else { "" };
    format!("<span class=\"sw k{}{dash}\" aria-hidden=\"true\"></span>", colour % COLOURS)
}

/// A thinned series as a line, with the band between its extremes where values were merged.
pub(crate) fn line(name: &str, colour: usize, series: &Thin<1>) -> Line {
    let points = series.points();
    let merged = points.iter().any(|point| point.count > 1);
    let mut line = Line { name: name.to_owned(), colour: colour % COLOURS, ..Line::default() };
    for point in &points {
        if point.after_gap || line.runs.is_empty() {
            line.runs.push(Vec::new());
            line.band.push(Vec::new());
        }
        if let (Some(run), Some(band)) = (line.runs.last_mut(), line.band.last_mut()) {
            run.push((point.x, point.mean[0]));
            if merged {
                band.push((point.x, point.min[0], point.max[0]));
            }
        }
    }
    line
}

/// A thinned series as points that no line joins.
pub(crate) fn dotted(name: &str, colour: usize, series: &Thin<1>) -> Line {
    let line = line(name, colour, series);
    let runs = line.runs.iter().flatten().map(|point| vec![*point]).collect();
    Line { stroke: Stroke::Points, band: Vec::new(), runs, ..line }
}

/// All values of a series that a chart must show.
pub(crate) fn extent<const K: usize>(points: &[Point<K>]) -> impl Iterator<Item = f64> + '_ {
    points.iter().flat_map(|point| point.min.into_iter().chain(point.max))
}

/// The first and last place of some series.
pub(crate) fn reach(all: &[&Thin<1>]) -> (f64, f64) {
    let points = all.iter().flat_map(|series| {
        let points = series.points();
        [points.first().map(|p| p.x), points.last().map(|p| p.x)]
    });
    points.flatten().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)))
}
