//! Several runs side by side.

mod extremes;

use std::fmt::Write;

use super::charts::{COLOURS, Row, extent, legend, line, reach};
use super::curves::PARTS;
use super::figures::{count, difference, number};
use super::groups::{FACTORS, Group, Metric, differing, groups, spread_text, varying};
use super::html::{Cell, details, document, escape, paragraph, table};
use super::log_data::RunView;
use super::page::UNFINISHED;
use super::plot::{Along, Axis, Dot, Plot};
use crate::spread::Spread;
use crate::summary::ended;

/// Most runs whose curves are drawn in one chart.
const CURVES_MAX: usize = COLOURS;
/// Strength of a grid's colour at the largest value, in per cent.
const HEAT_MAX: f64 = 45.0;

/// The page that compares runs. `notes`: what else a reader should know, such as runs of a study that failed.
pub fn compare(title: &str, views: &[RunView], notes: &[String]) -> String {
    let groups = groups(views);
    let varying = varying(&groups);
    let comparison = Comparison { views, groups, varying };
    let mut sections = Vec::new();
    let mut add = |id: &str, name: &'static str, html: String| {
        if !html.is_empty() {
            sections.push((id.to_owned(), name, html));
        }
    };
    add("summary", "Summary", comparison.summary(notes));
    add("grid", "Grid", comparison.grids());
    add("side", "Side by side", comparison.side_by_side());
    add("parts", "Where the step's time went", comparison.parts());
    add("energy", "Time against energy", comparison.energy());
    add("curves", "Learning", comparison.curves());
    add("runs", "Runs", comparison.runs());
    document(title, &comparison.header(title), &sections)
}

/// The title of a comparison of runs with these names.
pub fn title(views: &[RunView]) -> String {
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    match names.len() {
        0..=3 => format!("Comparison of {}", names.join(", ")),
        n => format!("Comparison of {n} runs"),
    }
}

/// The label of the folder that a run's data was read from.
pub const DATA_FOLDER: &str = "data folder";

/// The same data in several folders is a difference of storage, unless a study has named it.
pub fn tell_storage_apart(views: &mut [RunView]) {
    let folder = |view: &RunView| view.labels.get(DATA_FOLDER).cloned();
    let differs = |a: &RunView, b: &RunView| a.start.data == b.start.data && folder(a) != folder(b);
    let is_storage = views.iter().any(|a| views.iter().any(|b| differs(a, b)));
    if !is_storage || views.iter().any(|view| view.labels.contains_key("storage")) {
        return;
    }
    for view in views {
        if let Some(folder) = folder(view) {
            view.labels.insert("storage".to_owned(), folder);
        }
    }
}

struct Comparison<'a> {
    views: &'a [RunView],
    groups: Vec<Group<'a>>,
    /// The factors that differ between groups, as indices into [`FACTORS`].
    varying: Vec<usize>,
}

impl Comparison<'_> {
    fn label(&self, group: &Group<'_>) -> String {
        let label = group.label(&self.varying);
        let twins = self.groups.iter().filter(|other| other.label(&self.varying) == label).count();
        // Another setting differs: the run's name tells them apart.
        if twins > 1 && !self.varying.is_empty() {
            format!("{label} ({})", group.runs[0].name)
        } else {
            label
        }
    }

    /// A shorter label, for use below a heading with model and data.
    fn label_in_family(&self, group: &Group<'_>) -> String {
        let inner: Vec<usize> = self.varying.iter().copied().filter(|factor| *factor > 1).collect();
        if self.has_single_families() || inner.is_empty() { self.label(group) } else { group.label(&inner) }
    }

    fn header(&self, title: &str) -> String {
        let simulated = self.views.iter().filter(|v| v.log.simulated_steps).count();
        let boards = self.views.iter().filter(|v| v.log.simulated && !v.log.simulated_steps).count();
        let mut tags = String::new();
        if simulated > 0 {
            let _ = write!(tags, " <span class=\"tag\">{simulated} simulated</span>");
        }
        if boards > 0 {
            let _ = write!(tags, " <span class=\"tag\">{boards} on a simulated board</span>");
        }
        let first = self.groups.first().map(|group| &group.factors);
        let same: Vec<String> = (0..FACTORS.len())
            .filter(|factor| !self.varying.contains(factor))
            .filter_map(|factor| Some((FACTORS[factor], &first?[factor])))
            .filter(|(_, value)| *value != "-")
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let same =
            if same.is_empty() { String::new() } else { format!("The same in all: {}.", same.join("; ")) };
        format!(
            "<h1>{}</h1>\n<p>{} runs, {} settings.{tags}</p>\n<p class=\"soft\">{}</p>\n",
            escape(title),
            self.views.len(),
            self.groups.len(),
            escape(&same)
        )
    }

    /// Whether no two groups have the same model and data.
    fn has_single_families(&self) -> bool {
        let same = |a: &Group<'_>, b: &Group<'_>| a.factors[..2] == b.factors[..2];
        self.groups.iter().all(|group| self.groups.iter().filter(|other| same(group, other)).count() == 1)
    }

    /// Groups that are compared with each other: those with the same model and data, or all if no two share both.
    fn families(&self) -> Vec<Vec<&Group<'_>>> {
        let mut families: Vec<Vec<&Group<'_>>> = Vec::new();
        if !self.groups.is_empty() && self.has_single_families() {
            return vec![self.groups.iter().collect()];
        }
        for group in &self.groups {
            match families.iter_mut().find(|family| family[0].factors[..2] == group.factors[..2]) {
                Some(family) => family.push(group),
                None => families.push(vec![group]),
            }
        }
        families
    }

    /// The group that `group` is compared with.
    fn base(&self, group: &Group<'_>) -> &Group<'_> {
        if self.has_single_families() {
            return &self.groups[0];
        }
        let of = |other: &&Group<'_>| other.factors[..2] == group.factors[..2];
        self.groups.iter().find(of).unwrap_or(&self.groups[0])
    }

    fn side_by_side(&self) -> String {
        let metrics: Vec<Metric> =
            Metric::ALL.into_iter().filter(|m| self.groups.iter().any(|g| g.spread(*m).is_some())).collect();
        let mut rows = Vec::new();
        for group in &self.groups {
            let base = self.base(group);
            let mut row = vec![Cell::text(&self.label(group)), Cell::number(&group.runs.len().to_string())];
            for metric in &metrics {
                let spread = group.spread(*metric);
                let mut cell = escape(&group.shown(*metric));
                if !std::ptr::eq(base, group) {
                    let mean = |s: Option<Spread>| s.map(|s| s.mean);
                    let other = difference(mean(base.spread(*metric)), mean(spread));
                    let _ = write!(cell, "<br><span class=\"soft\">{other}</span>");
                }
                row.push(Cell::html(cell).right());
            }
            rows.push(row);
        }
        let mut head = vec!["Setting", "runs"];
        head.extend(metrics.iter().map(|m| m.name()));
        let above = "Mean over repeats ± standard deviation. In grey: the difference to the first row with the same model \
            and data (to the first row of all, where no two rows share both).";
        let missing: Vec<&str> =
            Metric::ALL.into_iter().filter(|m| !metrics.contains(m)).map(Metric::name).collect();
        let missing = match missing.is_empty() {
            true => String::new(),
            false => paragraph(&format!("Not measured in any run: {}.", missing.join(", "))),
        };
        paragraph(above) + &table("Figures of each setting", &head, &rows) + &missing
    }

    /// A table per metric: the innermost factor that varies in columns, all others in rows.
    fn grids(&self) -> String {
        let Some((across, down)) = self.varying.split_last().filter(|_| self.groups.len() > 2) else {
            return String::new();
        };
        let mut out = String::new();
        for metric in [Metric::ItemsPerS, Metric::StallPercent, Metric::EnergyEachJ, Metric::PowerW] {
            if self.groups.iter().any(|g| g.spread(metric).is_some()) {
                let _ = writeln!(out, "<h3>{}</h3>", escape(metric.name()));
                out.push_str(&self.grid(metric, *across, down));
            }
        }
        out.push_str(&paragraph(
            "The stronger the colour, the larger the value among rows with the same model and data.",
        ));
        out
    }

    fn grid(&self, metric: Metric, across: usize, down: &[usize]) -> String {
        let mut columns: Vec<&String> = Vec::new();
        let mut lines: Vec<(String, Vec<&Group<'_>>)> = Vec::new();
        for group in &self.groups {
            if !columns.contains(&&group.factors[across]) {
                columns.push(&group.factors[across]);
            }
            let label = if down.is_empty() { "all".to_owned() } else { group.label(down) };
            match lines.iter_mut().find(|(known, _)| *known == label) {
                Some((_, groups)) => groups.push(group),
                None => lines.push((label, vec![group])),
            }
        }
        let mut rows = Vec::new();
        for (label, groups) in &lines {
            let mut row = vec![Cell::text(label)];
            for column in &columns {
                let here: Vec<&&Group<'_>> =
                    groups.iter().filter(|g| g.factors[across] == **column).collect();
                let cells: Vec<String> = here.iter().map(|group| self.heat(group, metric)).collect();
                row.push(Cell::html(if cells.is_empty() { String::new() } else { cells.concat() }).right());
            }
            rows.push(row);
        }
        let names: Vec<String> = columns.iter().map(|value| format!("{} {value}", FACTORS[across])).collect();
        let mut head: Vec<&str> = vec!["Setting"];
        head.extend(names.iter().map(String::as_str));
        table(&format!("{} by {}", metric.name(), FACTORS[across]), &head, &rows)
    }

    fn heat(&self, group: &Group<'_>, metric: Metric) -> String {
        let Some(spread) = group.spread(metric) else {
            return format!("<span class=\"heat\">{}</span>", group.missing(metric));
        };
        let family = self.groups.iter().filter(|other| other.factors[..2] == group.factors[..2]);
        let all: Vec<f64> = family.filter_map(|g| g.spread(metric)).map(|s| s.mean).collect();
        let (least, most) =
            (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max));
        let share = if most > least { (spread.mean - least) / (most - least) } else { 0.0 };
        format!(
            "<span class=\"heat\" style=\"background:color-mix(in srgb,var(--c0) {:.0}%,transparent)\">{}</span>",
            share * HEAT_MAX,
            escape(&spread_text(spread))
        )
    }

    fn parts(&self) -> String {
        let largest =
            self.groups.iter().filter_map(Group::parts_ms).map(|p| p.iter().sum::<f64>()).fold(0.0, f64::max);
        let mut rows = Vec::new();
        for group in &self.groups {
            let Some(parts) = group.parts_ms() else { continue };
            let mut bar = String::from("<div class=\"bar\" aria-hidden=\"true\">");
            for (ms, (_, colour, _)) in parts.iter().zip(PARTS) {
                let _ = write!(
                    bar,
                    "<i class=\"k{colour}\" style=\"width:{:.2}%\"></i>",
                    ms / largest.max(1e-9) * 100.0
                );
            }
            bar.push_str("</div>");
            let mut row = vec![Cell::text(&self.label(group)), Cell::html(bar)];
            row.extend(parts.iter().map(|ms| Cell::number(&number(*ms))));
            row.push(Cell::number(&number(parts.iter().sum())));
            rows.push(row);
        }
        let mut head: Vec<String> = vec!["Setting".to_owned(), "mean step".to_owned()];
        head.extend(PARTS.iter().map(|(name, _, _)| format!("{name} (ms)")));
        head.push("step (ms)".to_owned());
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let legend: Vec<String> = PARTS
            .iter()
            .map(|(name, colour, _)| format!("{}{name}", super::charts::swatch(*colour, false)))
            .collect();
        format!("<p>{}</p>\n{}", legend.join(" &nbsp; "), table("Parts of the mean step", &head, &rows))
    }

    fn energy(&self) -> String {
        let point =
            |group: &Group<'_>| Some((group.spread(Metric::StepMs)?, group.spread(Metric::EnergyEachJ)?));
        let known: Vec<(&Group<'_>, (Spread, Spread))> =
            self.groups.iter().filter_map(|group| Some((group, point(group)?))).collect();
        if known.len() < 2 {
            return String::new();
        }
        let x = Axis::over("time per step", Along::Quantity("ms"), known.iter().map(|k| k.1.0.mean), false);
        let y = Axis::over("energy per image", Along::Quantity("J"), known.iter().map(|k| k.1.1.mean), true);
        let mut plot = Plot::new("energies", "Time per step against energy per image", x, y);
        plot.description =
            "Each point is a setting: further left is faster, further down needs less energy.".to_owned();
        let around = |s: Spread| s.sd.map(|d| (s.mean - d, s.mean + d));
        let dots = known.iter().map(|(group, (time, energy))| Dot {
            x: time.mean,
            y: energy.mean,
            class: "measured",
            label: format!(
                "{}: {} ms a step, {} J an image",
                self.label(group),
                spread_text(*time),
                spread_text(*energy)
            ),
            x_interval: around(*time),
            y_interval: around(*energy),
        });
        plot.dots = dots.collect();
        plot.html()
    }

    fn curves(&self) -> String {
        let with_loss: Vec<&RunView> = self.views.iter().filter(|v| !v.log.loss.is_empty()).collect();
        if with_loss.is_empty() {
            return String::new();
        }
        let mut out = String::new();
        for (id, title, validation) in [("loss", "Training loss", false), ("val", "Validation loss", true)] {
            let series =
                |view: &RunView| if validation { view.log.val_loss.clone() } else { view.log.loss.clone() };
            let shown: Vec<_> = with_loss
                .iter()
                .map(|view| (view.name.clone(), series(view)))
                .filter(|(_, series)| !series.is_empty())
                .take(CURVES_MAX)
                .collect();
            if shown.is_empty() {
                continue;
            }
            let all: Vec<_> = shown.iter().map(|(_, series)| series).collect();
            let (from, to) = reach(&all);
            let values: Vec<f64> = all.iter().flat_map(|s| extent(&s.points()).collect::<Vec<_>>()).collect();
            let y = Axis::over("loss", Along::Quantity(""), values.into_iter(), false);
            let mut plot = Plot::new(id, title, Axis::exact("step", Along::Quantity(""), from, to), y);
            let mut rows = Vec::new();
            for (colour, (name, series)) in shown.iter().enumerate() {
                let mut drawn = line(name, colour, series);
                drawn.band.clear();
                plot.lines.push(drawn);
                let range = series.range(0).ok_or_else(|| "-".to_owned());
                rows.push(Row { colour, dashed: false, name: name.clone(), range, note: String::new() });
            }
            plot.legend = legend(&format!("{title}: figures"), "", &rows);
            out.push_str(&plot.html());
        }
        if with_loss.len() > CURVES_MAX {
            out.push_str(&paragraph(&format!(
                "The first {CURVES_MAX} of {} runs are drawn.",
                with_loss.len()
            )));
        }
        out
    }

    fn runs(&self) -> String {
        let rows: Vec<Vec<Cell>> = self
            .views
            .iter()
            .map(|view| {
                let label = match (view.log.simulated_steps, view.log.simulated) {
                    (true, _) => "simulated",
                    (false, true) => "on a simulated board",
                    (false, false) => "",
                };
                vec![
                    Cell::text(&view.name),
                    Cell::text(&view.summary.status.map_or_else(
                        || format!("unfinished ({UNFINISHED})"),
                        |status| ended(status).to_owned(),
                    )),
                    Cell::number(&count(view.summary.steps)),
                    Cell::text(&view.start.started_at),
                    Cell::text(&view.start.device),
                    Cell::text(&view.start.host),
                    Cell::text(&view.start.version),
                    Cell::number(&count(view.log.warnings.count)),
                    Cell::number(&count(view.summary.bad_samples)),
                    Cell::text(label),
                ]
            })
            .collect();
        let head = [
            "Run",
            "end",
            "steps",
            "started",
            "device",
            "host",
            "footplate",
            "warnings",
            "samples left out",
            "simulated",
        ];
        let mut out = table("Each run", &head, &rows);
        let differ = differing(self.views);
        if differ.is_empty() {
            return out + &paragraph("The settings of all runs are the same.");
        }
        let rows: Vec<Vec<Cell>> = differ
            .into_iter()
            .map(|(path, values)| {
                let values = values.iter().map(|value| Cell::text(value));
                std::iter::once(Cell::text(&path)).chain(values).collect()
            })
            .collect();
        let mut head: Vec<&str> = vec!["Setting"];
        head.extend(self.views.iter().map(|view| view.name.as_str()));
        out.push_str(&details(
            "Settings that differ",
            &table("Settings that are not the same in all runs", &head, &rows),
        ));
        out
    }
}

#[cfg(test)]
mod tests;
