//! Charts as inline SVG. The drawing is stretched to its box; labels and points are HTML on top of it, so that text keeps
//! its size on a phone, follows the page's colours, and works with a keyboard and a screen reader. No script is needed; the
//! page's script reads the drawn values back for a cursor.

use std::fmt::Write;

use super::figures::number;
use super::html::escape;

/// The size of the drawing in its own units; the page stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;
/// Numbers of marks closer together than this share of the width are left out.
const MARK_GAP: f64 = 0.035;

/// The quantity along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Along {
    /// Seconds, shown in the unit that fits.
    Time,
    /// A plain quantity with the unit's name, which may be empty.
    Quantity(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) along: Along,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Axis {
    /// An axis that shows all of `values` with 5 % of room; `zero`: 0 is shown too.
    pub(crate) fn over(name: &str, along: Along, values: impl Iterator<Item = f64>, zero: bool) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            from = from.min(value);
            to = to.max(value);
        }
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        if zero {
            (from, to) = (from.min(0.0), to.max(0.0));
        }
        let room = (to - from) * 0.05;
        let (mut from, mut to) = (if zero && from >= 0.0 { 0.0 } else { from - room }, to + room);
        if to - from < 1e-12 * to.abs().max(1e-9) {
            let half = if to == 0.0 { 1.0 } else { to.abs() * 0.1 };
            (from, to) = (if zero { 0.0 } else { from - half }, to + half);
        }
        Self { name: name.to_owned(), along, from, to }
    }

    /// An axis from its first to its last value, without room.
    pub(crate) fn exact(name: &str, along: Along, from: f64, to: f64) -> Self {
        Self { name: name.to_owned(), along, from, to: if to > from { to } else { from + 1.0 } }
    }

    /// The factor from values to labels, and the unit of the labels.
    fn unit(&self) -> (f64, &'static str) {
        match self.along {
            Along::Quantity(unit) => (1.0, unit),
            Along::Time if self.to >= 7200.0 => (1.0 / 3600.0, "h"),
            Along::Time if self.to >= 120.0 => (1.0 / 60.0, "min"),
            Along::Time => (1.0, "s"),
        }
    }

    /// Positions and labels of about `about` ticks at round values.
    fn ticks(&self, about: f64) -> Vec<(f64, String)> {
        let (scale, _) = self.unit();
        let (from, to) = (self.from * scale, self.to * scale);
        let rough = (to - from) / about;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let decimals = if step >= 1.0 { 0 } else { (-step.log10()).ceil().clamp(0.0, 9.0) as usize };
        let first = (from / step - 1e-9).ceil();
        let all = (0..=20).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= to + step * 1e-9);
        all.map(|v| (v / scale, format!("{:.decimals$}", if v == 0.0 { 0.0 } else { v }))).collect()
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    fn title(&self) -> String {
        match self.unit().1 {
            "" => self.name.clone(),
            unit => format!("{} ({unit})", self.name),
        }
    }
}

/// How a line is drawn, besides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stroke {
    #[default]
    Solid,
    Dashed,
    /// Points that no line joins.
    Points,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Index of one of the page's colours.
    pub(crate) colour: usize,
    pub(crate) stroke: Stroke,
    /// Points (x, y) that a line joins; between two runs there is a gap.
    pub(crate) runs: Vec<Vec<(f64, f64)>>,
    /// (x, smallest, largest value) of each point, in the same runs.
    pub(crate) band: Vec<Vec<(f64, f64, f64)>>,
}

/// A layer of a stack, with points (x, lower, upper).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64, f64)>,
}

/// A point with a label of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The kind of point, as a class of the page's style sheet.
    pub(crate) class: &'static str,
    /// The label, in full.
    pub(crate) label: String,
    /// Ends of the 90 % interval of a prediction, or of the standard deviation.
    pub(crate) x_interval: Option<(f64, f64)>,
    pub(crate) y_interval: Option<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Identifier, unique on the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// What it shows, for readers who cannot see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) layers: Vec<Layer>,
    pub(crate) lines: Vec<Line>,
    /// Limits on y, with their names.
    pub(crate) limits: Vec<(f64, String)>,
    /// Limits on x, with their names.
    pub(crate) walls: Vec<(f64, String)>,
    /// Numbered moments on x.
    pub(crate) marks: Vec<(f64, String)>,
    /// Periods that are shaded: first and last x.
    pub(crate) shades: Vec<(f64, f64)>,
    pub(crate) dots: Vec<Dot>,
    /// HTML below the chart: a legend with numbers.
    pub(crate) legend: String,
}

impl Plot {
    pub(crate) fn new(id: &str, title: &str, x: Axis, y: Axis) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            description: String::new(),
            x,
            y,
            layers: Vec::new(),
            lines: Vec::new(),
            limits: Vec::new(),
            walls: Vec::new(),
            marks: Vec::new(),
            shades: Vec::new(),
            dots: Vec::new(),
            legend: String::new(),
        }
    }

    fn px(&self, x: f64) -> f64 {
        self.x.share(x) * WIDTH
    }

    fn py(&self, y: f64) -> f64 {
        // Clamped far outside of the drawing: browsers draw huge numbers badly.
        (1.0 - self.y.share(y).clamp(-5.0, 5.0)) * HEIGHT
    }

    pub(crate) fn html(&self) -> String {
        let id = escape(&self.id);
        let (x_scale, x_unit) = self.x.unit();
        let (_, y_unit) = self.y.unit();
        let mut out = format!(
            "<figure class=\"chart{}\"><figcaption id=\"{id}-t\">{}</figcaption>\n<div class=\"yname\" aria-hidden=\"true\">{}</div>\n\
             <div class=\"plot\" data-x=\"{} {} {x_scale} {x_unit}\" data-y=\"{} {} {y_unit}\" data-name=\"{}\">\
             <svg viewBox=\"0 0 1000 300\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"{id}-t\" aria-describedby=\"{id}-d\">\
             <desc id=\"{id}-d\">{}</desc>",
            if self.marks.is_empty() { "" } else { " marked" },
            escape(&self.title),
            escape(&self.y.title()),
            self.x.from,
            self.x.to,
            self.y.from,
            self.y.to,
            escape(&self.x.name),
            escape(&self.described()),
        );
        self.draw(&mut out);
        out.push_str("</svg>");
        self.labels(&mut out);
        self.points(&mut out);
        let _ = write!(
            out,
            "</div>\n<div class=\"xname\" aria-hidden=\"true\">{}</div>\n{}</figure>\n",
            escape(&self.x.title()),
            self.legend
        );
        out
    }

    fn described(&self) -> String {
        let mut text = self.description.clone();
        let _ = write!(text, " Across: {}. Upwards: {}.", self.x.title(), self.y.title());
        for (value, name) in &self.limits {
            let _ = write!(text, " {name}: {} {}.", number(*value), self.y.unit().1);
        }
        text.trim().to_owned()
    }

    fn draw(&self, out: &mut String) {
        for (value, _) in self.y.ticks(5.0) {
            let y = self.py(value);
            let _ = write!(out, "<path class=\"grid\" d=\"M0 {y:.1}H1000\"/>");
        }
        for (from, to) in &self.shades {
            let (a, b) = (self.px(*from).clamp(0.0, WIDTH), self.px(*to).clamp(0.0, WIDTH));
            let width = (b - a).max(2.0);
            let _ = write!(
                out,
                "<rect class=\"shade\" x=\"{a:.1}\" y=\"0\" width=\"{width:.1}\" height=\"300\"/>"
            );
        }
        for layer in &self.layers {
            self.layer(layer, out);
        }
        for line in &self.lines {
            self.band(line, out);
        }
        for line in &self.lines {
            self.line(line, out);
        }
        for (value, _) in &self.limits {
            let y = self.py(*value);
            let _ = write!(out, "<path class=\"limit\" d=\"M0 {y:.1}H1000\"/>");
        }
        for at in self.walls.iter().map(|(at, _)| at).chain(self.marks.iter().map(|(at, _)| at)) {
            let x = self.px(*at);
            let _ = write!(out, "<path class=\"mark\" d=\"M{x:.1} 0V300\"/>");
        }
        for dot in &self.dots {
            let (x, y) = (self.px(dot.x), self.py(dot.y));
            if let Some((low, high)) = dot.x_interval {
                let (a, b) = (self.px(low).clamp(0.0, WIDTH), self.px(high).clamp(0.0, WIDTH));
                let _ = write!(out, "<path class=\"whisker\" d=\"M{a:.1} {y:.1}H{b:.1}\"/>");
            }
            if let Some((low, high)) = dot.y_interval {
                let (a, b) = (self.py(low).clamp(0.0, HEIGHT), self.py(high).clamp(0.0, HEIGHT));
                let _ = write!(out, "<path class=\"whisker\" d=\"M{x:.1} {a:.1}V{b:.1}\"/>");
            }
        }
    }

    fn layer(&self, layer: &Layer, out: &mut String) {
        if layer.points.is_empty() {
            return;
        }
        let upper = layer.points.iter().map(|(x, _, upper)| (*x, *upper));
        let lower = layer.points.iter().rev().map(|(x, lower, _)| (*x, *lower));
        let d = self.path(upper.chain(lower));
        let _ = write!(
            out,
            "<path class=\"layer f{}\" data-n=\"{}\" d=\"{d}Z\"/>",
            layer.colour,
            escape(&layer.name)
        );
    }

    fn band(&self, line: &Line, out: &mut String) {
        for run in line.band.iter().filter(|run| run.len() > 1) {
            let upper = run.iter().map(|(x, _, high)| (*x, *high));
            let lower = run.iter().rev().map(|(x, low, _)| (*x, *low));
            let d = self.path(upper.chain(lower));
            let _ = write!(out, "<path class=\"band f{}\" d=\"{d}Z\"/>", line.colour);
        }
    }

    fn line(&self, line: &Line, out: &mut String) {
        let mut d = String::new();
        for run in &line.runs {
            d.push_str(&self.path(run.iter().copied()));
            // A single point is drawn as a dot.
            if run.len() == 1 || line.stroke == Stroke::Points {
                d.push_str("h0");
            }
        }
        if d.is_empty() {
            return;
        }
        let class = match line.stroke {
            Stroke::Solid => "",
            Stroke::Dashed => " dashed",
            Stroke::Points => " points",
        };
        let _ = write!(
            out,
            "<path class=\"line{class} s{}\" data-n=\"{}\" d=\"{d}\"/>",
            line.colour,
            escape(&line.name)
        );
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut d = String::new();
        for (index, (x, y)) in points.enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{:.1} {:.1}", self.px(x), self.py(y));
        }
        d
    }

    fn labels(&self, out: &mut String) {
        out.push_str("<div aria-hidden=\"true\">");
        for (value, label) in self.y.ticks(5.0) {
            let top = (1.0 - self.y.share(value)) * 100.0;
            let _ = write!(out, "<span class=\"yt\" style=\"top:{top:.2}%\">{label}</span>");
        }
        for (value, label) in self.x.ticks(6.0) {
            let left = self.x.share(value) * 100.0;
            let _ = write!(out, "<span class=\"xt\" style=\"left:{left:.2}%\">{label}</span>");
        }
        for (value, name) in &self.limits {
            let top = (1.0 - self.y.share(*value)) * 100.0;
            let side = if top < 12.0 { "below" } else { "above" };
            let _ = write!(
                out,
                "<span class=\"limitname {side}\" style=\"top:{top:.2}%\">{}</span>",
                escape(name)
            );
        }
        for (value, name) in &self.walls {
            let left = self.x.share(*value) * 100.0;
            let _ = write!(out, "<span class=\"wallname\" style=\"left:{left:.2}%\">{}</span>", escape(name));
        }
        let mut last = f64::NEG_INFINITY;
        for (at, name) in &self.marks {
            let share = self.x.share(*at);
            if share - last >= MARK_GAP {
                let _ = write!(
                    out,
                    "<span class=\"markname\" style=\"left:{:.2}%\">{}</span>",
                    share * 100.0,
                    escape(name)
                );
                last = share;
            }
        }
        out.push_str("</div>");
    }

    fn points(&self, out: &mut String) {
        if self.dots.is_empty() {
            return;
        }
        out.push_str("<ul class=\"dots\">");
        for dot in &self.dots {
            let (left, top) = (self.x.share(dot.x) * 100.0, (1.0 - self.y.share(dot.y)) * 100.0);
            let label = escape(&dot.label);
            let _ = write!(
                out,
                "<li class=\"{}\" style=\"left:{left:.2}%;top:{top:.2}%\"><button type=\"button\" title=\"{label}\" aria-label=\"{label}\"></button></li>",
                dot.class,
            );
        }
        out.push_str("</ul>");
    }
}

#[cfg(test)]
mod tests;
