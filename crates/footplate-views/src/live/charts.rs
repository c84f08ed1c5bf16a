//! Curves on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph};

use super::series::Series;
use crate::text::short;

/// A chart with fewer rows than this, its title included, shows no more than a number does.
pub(super) const ROWS_MIN: u16 = 5;
/// The x axis has labels in a chart of at least this many rows.
const ROWS_LABELLED: u16 = 9;

/// One curve of a chart.
pub(super) struct Curve<'a> {
    pub(super) series: &'a Series,
    pub(super) color: Color,
    /// Whether the points are drawn as dots instead of a fine line.
    pub(super) dots: bool,
}

pub(super) struct Plot<'a> {
    pub(super) title: String,
    pub(super) curves: Vec<Curve<'a>>,
    /// Values are multiplied by this: 100 for per cent.
    pub(super) scale: f64,
    /// Limits of the y axis: no value can lie outside of these.
    pub(super) within: [f64; 2],
    /// The x axis goes from 0 to this at least; `None`: to the last point.
    pub(super) x_max: Option<f64>,
    pub(super) x_unit: &'static str,
    /// The text shown as long as there is no point.
    pub(super) empty: String,
}

impl Plot<'_> {
    /// Draws the chart. `fine`: the terminal can show Braille dots.
    pub(super) fn draw(&self, frame: &mut Frame, area: Rect, fine: bool) {
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let title = Line::styled(self.title.clone(), Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(title, head);
        let points: Vec<Vec<(f64, f64)>> = self.curves.iter().map(|curve| self.points(curve)).collect();
        let Some((last, y)) = bounds(&points) else {
            frame.render_widget(Paragraph::new(format!("  {}", self.empty)), body);
            return;
        };
        let y = y.map(|end| end.clamp(self.within[0], self.within[1]));
        let x = [0.0, self.x_max.map_or(last, |max| max.max(last)).max(1.0)];
        let sets = points.iter().zip(&self.curves).map(|(points, curve)| {
            let fine_marker = if fine { Marker::Braille } else { Marker::Dot };
            Dataset::default()
                .marker(if curve.dots { Marker::Dot } else { fine_marker })
                .graph_type(if points.len() == 1 || curve.dots {
                    GraphType::Scatter
                } else {
                    GraphType::Line
                })
                .style(Style::new().fg(curve.color))
                .data(points)
        });
        let label = |value: f64| Span::raw(short(value));
        let mut x_axis = Axis::default().bounds(x);
        if area.height >= ROWS_LABELLED {
            let end = format!("{:.0} {}", x[1], self.x_unit);
            x_axis = x_axis.labels([Span::raw("0"), Span::raw(end)]);
        }
        let middle = f64::midpoint(y[0], y[1]);
        let y_axis = Axis::default().bounds(y).labels([label(y[0]), label(middle), label(y[1])]);
        let chart = Chart::new(sets.collect()).x_axis(x_axis).y_axis(y_axis).legend_position(None);
        frame.render_widget(chart, body);
    }

    fn points(&self, curve: &Curve) -> Vec<(f64, f64)> {
        curve.series.buckets().iter().map(|bucket| (bucket.middle(), bucket.mean() * self.scale)).collect()
    }
}

/// The largest x, and the smallest and the largest y; `None` without a point. A flat curve lies in the middle.
fn bounds(curves: &[Vec<(f64, f64)>]) -> Option<(f64, [f64; 2])> {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[min, max], v| [min.min(v), max.max(v)])
    };
    let x = range(&mut curves.iter().flatten().map(|point| point.0));
    let y = range(&mut curves.iter().flatten().map(|point| point.1));
    if !(x[0] <= x[1] && y[0] <= y[1]) {
        return None;
    }
    let pad = if y[1] > y[0] { 0.0 } else { (y[0].abs() * 0.1).max(1e-3) };
    Some((x[1], [y[0] - pad, y[1] + pad]))
}
