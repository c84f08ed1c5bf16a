//! A state as a terminal's screen: a pure function of the state, the moment, and what the terminal can show.

use core::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::charts::{Curve, Plot, ROWS_MIN};
use super::lines::{self, Ranked};
use super::look::Look;
use super::state::{LiveState, Phase};

/// Two charts stand side by side on screens of at least this many columns.
const COLUMNS_TWO_CHARTS: u16 = 70;
/// There are two rows of charts if at least this many rows are left for them.
const ROWS_FOUR_CHARTS: u16 = 16;
/// Most rows of messages, the heading included.
const NOTICE_ROWS: usize = 4;

/// What changes even if no record comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment<'a> {
    /// Time since the last record was received.
    pub since_last: Duration,
    /// The last line: keys and what they do.
    pub keys: &'a str,
    /// A message of the program itself, shown in place of the keys, such as that it is stopping.
    pub notice: Option<&'a str>,
}

/// Draws the screen of `state` on a frame of any size.
pub fn draw(frame: &mut Frame, state: &LiveState, moment: &Moment, look: Look) {
    let area = frame.area();
    if area.width > 0 && area.height > 0 {
        compose(frame, area, state, moment, look);
    }
    look.apply(frame.buffer_mut());
}

fn compose(frame: &mut Frame, area: Rect, state: &LiveState, moment: &Moment, look: Look) {
    let width = usize::from(area.width);
    let rows = usize::from(area.height);
    let title = lines::title(state, moment.since_last, width);
    let footer = footer(moment);
    if rows < 4 {
        let mut shown = vec![title, lines::progress(state, width)];
        shown.extend(lines::learning(state, width));
        shown.truncate(rows);
        frame.render_widget(Paragraph::new(shown), area);
        return;
    }
    let is_early = matches!(state.phase(), Phase::Preparing(_) | Phase::WarmingUp);
    let mut figures = lines::figures(state, width);
    // Always shown: title, progress, footer.
    let room = rows - 3;
    let notices = lines::notices(state, if room >= 8 { NOTICE_ROWS.min(room / 4) } else { 0 });
    let charts_min = usize::from(ROWS_MIN) + 1;
    let is_early = is_early && rows >= 12;
    let has_charts = room >= figures.len().min(8) + notices.len() + charts_min;
    if !has_charts {
        let learning = lines::learning(state, width).into_iter().map(|line| Ranked { rank: 0, line });
        figures.splice(0..0, learning);
    }
    let for_figures = room - notices.len() - if has_charts { charts_min } else { 0 };
    let figures = most_important(figures, for_figures);
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        if has_charts { Constraint::Min(0) } else { Constraint::Length(0) },
        Constraint::Length(figures.len() as u16),
        Constraint::Length(notices.len() as u16),
        if has_charts { Constraint::Length(0) } else { Constraint::Min(0) },
        Constraint::Length(1),
    ];
    let [top, second, middle, below, messages, _, bottom] = Layout::vertical(parts).areas(area);
    frame.render_widget(title, top);
    frame.render_widget(lines::progress(state, width), second);
    if has_charts && is_early {
        frame.render_widget(Paragraph::new(lines::facts(state, moment.since_last)), inner(middle));
    } else if has_charts {
        charts(frame, middle, state, look);
    }
    frame.render_widget(Paragraph::new(figures), below);
    frame.render_widget(Paragraph::new(notices), messages);
    frame.render_widget(footer, bottom);
}

fn inner(area: Rect) -> Rect {
    Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area }
}

fn footer(moment: &Moment) -> Line<'static> {
    match moment.notice {
        Some(notice) => Line::styled(
            notice.to_owned(),
            Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD | Modifier::REVERSED),
        ),
        None => Line::styled(moment.keys.to_owned(), Style::new().add_modifier(Modifier::DIM)),
    }
}

/// The `room` most important lines, in the order of the screen.
fn most_important(mut lines: Vec<Ranked>, room: usize) -> Vec<Line<'static>> {
    let mut ranks: Vec<u8> = lines.iter().map(|line| line.rank).collect();
    ranks.sort_unstable();
    let worst = ranks.get(room).copied().unwrap_or(u8::MAX);
    // Lines of the same rank are dropped together if not all of them fit.
    lines.retain(|line| line.rank < worst);
    lines.into_iter().map(|ranked| ranked.line).collect()
}

fn charts(frame: &mut Frame, area: Rect, state: &LiveState, look: Look) {
    let fine = look.unicode;
    let plots = plots(state);
    let is_wide = area.width >= COLUMNS_TWO_CHARTS;
    let is_high = area.height >= ROWS_FOUR_CHARTS;
    let rows = if is_high { 2 } else { 1 };
    let columns = if is_wide { 2 } else { 1 };
    let gap = 2;
    let by_row = Layout::vertical(vec![Constraint::Fill(1); rows]).spacing(1).split(inner(area));
    let mut plots = plots.iter();
    for row in by_row.iter() {
        let cells = Layout::horizontal(vec![Constraint::Fill(1); columns]).spacing(gap).split(*row);
        for cell in cells.iter() {
            if let Some(plot) = plots.next() {
                plot.draw(frame, *cell, fine);
            }
        }
    }
}

fn plots(state: &LiveState) -> Vec<Plot<'_>> {
    let curves = &state.curves;
    let steps = state.start().map(|start| start.steps_total as f64);
    let line = |series, color| Curve { series, color, dots: false };
    let dots = |series, color| Curve { series, color, dots: true };
    let no_validation = state.start().is_some_and(|start| start.validation_items == 0);
    let budget = state.budget_w().map_or(String::new(), |w| format!(", budget {} W", crate::text::short(w)));
    vec![
        Plot {
            title: format!("loss {}", lines::loss_text(state)),
            curves: vec![
                line(&curves.train_loss, Color::Green),
                dots(&curves.validation_loss, Color::Yellow),
            ],
            scale: 1.0,
            within: [f64::MIN, f64::MAX],
            x_max: steps,
            x_unit: "steps",
            empty: "after the first step".to_owned(),
        },
        Plot {
            title: format!("accuracy {}", lines::accuracy_text(state)),
            curves: vec![line(&curves.accuracy, Color::Yellow), dots(&curves.accuracy, Color::Yellow)],
            scale: 100.0,
            within: [0.0, 100.0],
            x_max: steps,
            x_unit: "steps",
            empty: if no_validation { "no validation split" } else { "after the first epoch" }.to_owned(),
        },
        Plot {
            title: "items/s".to_owned(),
            curves: vec![line(&curves.items_per_s, Color::Cyan)],
            scale: 1.0,
            within: [f64::MIN, f64::MAX],
            x_max: None,
            x_unit: "s",
            empty: "after the first step".to_owned(),
        },
        Plot {
            title: format!("power in W{budget}"),
            curves: vec![line(&curves.power_w, Color::Red)],
            scale: 1.0,
            within: [f64::MIN, f64::MAX],
            x_max: None,
            x_unit: "s",
            empty: power_missing(state),
        },
    ]
}

/// The mark for missing power: "-" if absent, "x" with the reason if unreadable.
fn power_missing(state: &LiveState) -> String {
    match &state.power {
        None => "-".to_owned(),
        Some(power) => crate::text::explained(&power.total_w, ToString::to_string),
    }
}
