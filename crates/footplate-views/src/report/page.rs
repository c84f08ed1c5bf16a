//! The page of one run.

use footplate_core::Reading;

use super::advice::advice;
use super::figures::{count, joules, number, percent, seconds};
use super::html::{Cell, details, document, escape, glued, paragraph, table};
use super::log_data::RunView;
use super::totals::{Energy, wall_s};
use super::{curves, hardware, tuned};
use crate::summary::ended;

/// The page of a run: one file, without anything from elsewhere.
pub fn page(view: &RunView) -> String {
    let mut sections = vec![("summary".to_owned(), "Summary", summary(view))];
    let mut add = |id: &str, name: &'static str, html: String| sections.push((id.to_owned(), name, html));
    if !view.log.simulated_steps {
        add("curves", "Learning", curves::curves(view));
    }
    add("time", "Where the step's time went", curves::step_time(view));
    add("power-section", "Power", hardware::power(view));
    if let Some(html) = tuned::tuned(view) {
        add("tune", "Power modes", html);
    }
    add("clocks-section", "Temperature and clocks", hardware::heat_and_clocks(view));
    add("memory-section", "Memory", hardware::memory(view));
    add("warnings", "Warnings and samples left out", doubts(view));
    add("settings", "Settings and versions", settings(view));
    let title = format!("{}: {}", view.name, view.start.model);
    document(&title, &header(view), &sections)
}

/// How the run ended, and after how many steps.
fn outcome(view: &RunView) -> String {
    let total = view.start.steps_total;
    let of = if total > 0 { format!(" of {}", count(total)) } else { String::new() };
    let steps = format!("{}{of} steps", count(view.summary.steps));
    match view.summary.status {
        Some(status) => format!("{} after {steps}", ended(status)),
        None => format!("unfinished: {steps} ({UNFINISHED})"),
    }
}

/// What a log without an end may mean.
pub(crate) const UNFINISHED: &str = "still running, or killed";

fn header(view: &RunView) -> String {
    let start = &view.start;
    let mut tags = String::new();
    if view.log.simulated_steps {
        tags.push_str(" <span class=\"tag\">simulated run</span>");
    } else if view.log.simulated {
        tags.push_str(" <span class=\"tag\">simulated board</span>");
    }
    format!(
        "<h1>{} on {}</h1>\n<p>{}: {}.{tags}</p>\n<p class=\"soft\">{}; {}; started {}</p>\n",
        escape(&start.model),
        escape(&start.data),
        escape(&view.name),
        outcome(view),
        escape(&start.device),
        escape(&start.host),
        escape(&view.log.starts.kept.first().map_or(start.started_at.clone(), |s| s.started_at.clone())),
    )
}

/// A figure of the summary: name, value, and what there is to say of it.
struct Figure {
    name: &'static str,
    value: String,
    notes: Vec<String>,
    simulated: bool,
}

fn summary(view: &RunView) -> String {
    let mut out = String::from("<dl class=\"figures\">\n");
    for figure in [accuracy(view), time(view), speed(view), stall(view), energy(view), energy_each(view)] {
        let tag = if figure.simulated { " <span class=\"tag\">simulated</span>" } else { "" };
        out.push_str(&format!("<div><dt>{}{tag}</dt><dd>{}</dd>", figure.name, glued(&figure.value)));
        for note in &figure.notes {
            out.push_str(&format!("<dd>{}</dd>", glued(note)));
        }
        out.push_str("</div>\n");
    }
    out.push_str("</dl>\n");
    out.push_str(&advised(view));
    out
}

fn advised(view: &RunView) -> String {
    if view.log.simulated_steps {
        let text =
            "The steps were simulated: they show how a model of the board behaves, so no change is advised.";
        return format!(
            "<div class=\"advice\"><h3>The one change that would help most</h3>{}</div>\n",
            paragraph(text)
        );
    }
    let body = match advice(view) {
        Ok(advice) => {
            format!("<p><strong>{}.</strong></p>{}", escape(&advice.change), paragraph(&advice.because))
        }
        Err(why) => paragraph(&why),
    };
    format!("<div class=\"advice\"><h3>The one change that would help most</h3>\n{body}</div>\n")
}

fn accuracy(view: &RunView) -> Figure {
    let summary = &view.summary;
    let mut notes = Vec::new();
    if let Some((best, epoch)) = summary.best_val_accuracy.zip(summary.best_epoch) {
        notes.push(format!("best {} (epoch {epoch} of {})", percent(Some(best)), summary.epochs));
    }
    if let Some(top5) = summary.val_top5 {
        notes.push(format!("top-5 {}", percent(Some(top5))));
    }
    let loss = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    notes.push(format!("loss: training {}, validation {}", loss(summary.train_loss), loss(summary.val_loss)));
    Figure { name: "Validation accuracy", value: percent(summary.val_accuracy), notes, simulated: false }
}

fn time(view: &RunView) -> Figure {
    let training = view.log.totals.step_ns as f64 / 1e9;
    let mut notes = vec![format!(
        "steps {}, validation {}",
        seconds(training),
        seconds(view.log.totals.validation_ns as f64 / 1e9)
    )];
    if view.log.starts.count > 1 {
        notes.push(format!("in {} processes; repeated steps count", view.log.starts.count));
    }
    if view.summary.status.is_none() {
        notes.push("up to the last record".to_owned());
    }
    Figure {
        name: "Time",
        value: seconds(wall_s(&view.log.processes)),
        notes,
        simulated: view.log.simulated_steps,
    }
}

fn speed(view: &RunView) -> Figure {
    let value = view.summary.images_per_s.map_or("-".to_owned(), |rate| format!("{} items/s", number(rate)));
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{} ms", number(ms)));
    let notes = vec![
        format!("batch of {}; step {} (median)", view.summary.batch_size, ms(view.summary.step_ms_median)),
        format!("95 % of the steps within {}", ms(view.summary.step_ms_p95)),
    ];
    Figure { name: "Speed", value, notes, simulated: view.log.simulated_steps }
}

fn stall(view: &RunView) -> Figure {
    let totals = &view.log.totals;
    let share = |ns| percent(totals.share(ns));
    let notes = vec![format!(
        "fetch {}, prep {}, transfer {}",
        share(totals.fetch_stall_ns),
        share(totals.prep_stall_ns),
        share(totals.transfer_ns)
    )];
    Figure {
        name: "Waiting for data",
        value: share(totals.stall_ns()),
        notes,
        simulated: view.log.simulated_steps,
    }
}

fn energy(view: &RunView) -> Figure {
    let (value, mut notes) = match Energy::of(&view.log.processes) {
        Reading::Value(Energy { joules: j, added_up_ns: 0 }) => (joules(j), Vec::new()),
        Reading::Value(Energy { joules: j, .. }) => {
            (joules(j), vec!["from power records: the run is unfinished".to_owned()])
        }
        Reading::Absent => ("-".to_owned(), vec!["no power sensor, or no value yet".to_owned()]),
        Reading::Unreadable { reason } => ("x".to_owned(), vec![reason]),
    };
    if let Some((_, mean, max)) = view.log.total_w.series.range(0) {
        notes.push(format!("power: mean {} W, max {} W", number(mean), number(max)));
    }
    Figure { name: "Energy", value, notes, simulated: view.log.simulated }
}

fn energy_each(view: &RunView) -> Figure {
    let energy = Energy::of(&view.log.processes);
    let items = view.log.totals.items;
    let (value, notes) = match (&energy, items) {
        (Reading::Unreadable { reason }, _) => ("x".to_owned(), vec![reason.clone()]),
        (Reading::Value(Energy { joules: j, .. }), 1..) => (
            joules(j / items as f64),
            vec![format!("{} / {} items, validation included", joules(*j), count(items))],
        ),
        _ => ("-".to_owned(), Vec::new()),
    };
    Figure { name: "Energy per image", value, notes, simulated: view.log.simulated }
}

/// A simulated board trains nothing: what it does not have is "-", not zero.
fn unless_simulated(view: &RunView, text: String) -> String {
    if view.log.simulated_steps { "-".to_owned() } else { text }
}

/// Warnings, samples that were left out, and damage of the log itself.
fn doubts(view: &RunView) -> String {
    let log = &view.log;
    let mut out = String::new();
    if log.warnings.kept.is_empty() {
        out.push_str(&paragraph("No warnings."));
    } else {
        let items = log.warnings.kept.iter().map(|(text, times)| match times {
            1 => text.clone(),
            n => format!("{text} ({n} times)"),
        });
        out.push_str(&list(items, log.warnings.left_out()));
    }
    out.push_str(&bad_samples(view));
    let mut damage = Vec::new();
    if view.summary.dropped_records > 0 {
        damage.push(format!(
            "{} records are missing: the queue to the log was full.",
            view.summary.dropped_records
        ));
    }
    if log.damaged.count > 0 {
        damage.push(format!("{} damaged lines of the log were skipped:", log.damaged.count));
    }
    out.extend(damage.iter().map(|text| paragraph(text)));
    if log.damaged.count > 0 {
        let lines = log.damaged.kept.iter().map(|(line, reason)| format!("line {line}: {reason}"));
        out.push_str(&list(lines, log.damaged.left_out()));
    }
    out
}

fn bad_samples(view: &RunView) -> String {
    let bad = &view.log.bad;
    if bad.count == 0 {
        return match view.summary.bad_samples {
            0 => paragraph("No sample was left out."),
            n => paragraph(&format!("{n} samples were left out; the log does not name them.")),
        };
    }
    let share = bad.count as f64 / view.start.train_items.max(1) as f64;
    let mut out = paragraph(&format!(
        "{} damaged or unreadable samples were left out: {2} of the {1} training samples, if each is named once.",
        count(bad.count),
        count(view.start.train_items),
        percent(Some(share))
    ));
    let rows: Vec<Vec<Cell>> =
        bad.kept.iter().map(|(name, reason)| vec![Cell::text(name), Cell::text(reason)]).collect();
    let mut shown = table("Samples that were left out", &["Sample", "reason"], &rows);
    if bad.left_out() > 0 {
        shown.push_str(&paragraph(&format!("{} more are in the log.", count(bad.left_out()))));
    }
    out.push_str(&details(&format!("Samples left out ({})", count(bad.count)), &shown));
    out
}

fn list(items: impl Iterator<Item = String>, left_out: u64) -> String {
    let mut out = String::from("<ul class=\"plain\">");
    for item in items {
        out.push_str(&format!("<li>{}</li>", escape(&item)));
    }
    if left_out > 0 {
        out.push_str(&format!("<li>{left_out} more are not shown.</li>"));
    }
    out.push_str("</ul>\n");
    out
}

fn settings(view: &RunView) -> String {
    let start = &view.start;
    let rows: Vec<Vec<Cell>> = [
        ("footplate", start.version.clone()),
        ("model", format!("{}, {} parameters", start.model, unless_simulated(view, count(start.parameters)))),
        ("data", start.data.clone()),
        (
            "samples",
            format!(
                "{} for training, {} for validation",
                count(start.train_items),
                count(start.validation_items)
            ),
        ),
        ("device", start.device.clone()),
        ("host", start.host.clone()),
        ("batch size", count(start.batch_size)),
        (
            "epochs",
            format!(
                "{} of {} steps, {} steps in all",
                start.epochs,
                count(start.steps_per_epoch),
                count(start.steps_total)
            ),
        ),
    ]
    .into_iter()
    .chain(view.labels.iter().map(|(name, value)| (name.as_str(), value.clone())))
    .map(|(name, value)| vec![Cell::text(name), Cell::text(&value)])
    .collect();
    let mut out = table("Model, data and machine", &["Setting", "value"], &rows);
    if view.log.starts.count > 1 {
        out.push_str(&starts(view));
    }
    let text = if start.settings_toml.is_empty() { "-" } else { &start.settings_toml };
    let shown = format!("<pre tabindex=\"0\" aria-label=\"All settings as TOML\">{}</pre>\n", escape(text));
    out.push_str(&details("All settings (TOML)", &shown));
    out
}

fn starts(view: &RunView) -> String {
    let rows: Vec<Vec<Cell>> = view
        .log
        .starts
        .kept
        .iter()
        .map(|s| {
            vec![
                Cell::text(&s.started_at),
                Cell::number(&count(s.first_step)),
                Cell::text(&s.version),
                Cell::text(&s.device),
                Cell::text(&s.host),
            ]
        })
        .collect();
    let head = ["Started", "at step", "footplate", "device", "host"];
    table("Processes of this run", &head, &rows)
}
