//! The page of one run.

use footplate_core::record::RunStatus;

use super::advice::advice;
use super::figures::{count, joules, number, percent, seconds};
use super::gather::RunView;
use super::html::{Cell, details, document, escape, glued, paragraph, table};
use super::totals::Energy;
use super::{curves, machine, tuned};

/// The page of a run: one file, without anything from elsewhere.
pub fn page(view: &RunView) -> String {
    let mut sections = vec![("answer".to_owned(), "The answer", answer(view))];
    let mut add = |id: &str, name: &'static str, html: String| sections.push((id.to_owned(), name, html));
    if !view.seen.simulated_steps {
        add("curves", "Learning", curves::curves(view));
    }
    add("time", "Where the step's time went", curves::step_time(view));
    add("power-section", "Power", machine::power(view));
    if let Some(html) = tuned::tuned(view) {
        add("tune", "Power modes", html);
    }
    add("clocks-section", "Temperature and clocks", machine::heat_and_clocks(view));
    add("memory-section", "Memory", machine::memory(view));
    add("warnings", "Warnings and samples left out", doubts(view));
    add("settings", "Settings and versions", settings(view));
    let title = format!("{}: {}", view.name, view.start.model);
    document(&title, &header(view), &sections)
}

/// How the run ended.
pub(crate) fn status(status: Option<RunStatus>) -> &'static str {
    match status {
        Some(RunStatus::Completed) => "completed",
        Some(RunStatus::EarlyStopped) => "stopped early: validation no longer improved",
        Some(RunStatus::Interrupted) => "interrupted",
        Some(RunStatus::Failed) => "failed",
        None => "without an end: it was killed, or is still running",
    }
}

fn header(view: &RunView) -> String {
    let start = &view.start;
    let how = status(view.summary.status);
    let mut tags = String::new();
    if view.seen.simulated_steps {
        tags.push_str(" <span class=\"tag\">simulated run</span>");
    } else if view.seen.simulated {
        tags.push_str(" <span class=\"tag\">simulated board</span>");
    }
    let of = if start.steps_total > 0 { format!(" of {}", count(start.steps_total)) } else { String::new() };
    format!(
        "<h1>{} on {}</h1>\n<p>{}: {how} after {}{of} steps.{tags}</p>\n<p class=\"soft\">{}; {}; begun {}</p>\n",
        escape(&start.model),
        escape(&start.data),
        escape(&view.name),
        count(view.summary.steps),
        escape(&start.device),
        escape(&start.host),
        escape(&view.seen.starts.kept.first().map_or(start.started_at.clone(), |s| s.started_at.clone())),
    )
}

/// A figure of the answer: name, value, and what there is to say of it.
struct Figure {
    name: &'static str,
    value: String,
    notes: Vec<String>,
    simulated: bool,
}

fn answer(view: &RunView) -> String {
    let mut out = String::from("<dl class=\"answers\">\n");
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
    if view.seen.simulated_steps {
        let text = "The steps are those of a simulated board: they say how a model of it behaves, and nothing is advised from them.";
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
    let processes = &view.seen.processes;
    let wall: u64 = processes.iter().map(|p| p.wall_ns).sum();
    let training = view.seen.totals.step_ns as f64 / 1e9;
    let mut notes = vec![format!(
        "steps {}, validation {}",
        seconds(training),
        seconds(view.seen.totals.validation_ns as f64 / 1e9)
    )];
    if view.seen.starts.count > 1 {
        notes.push(format!("in {} processes; steps that were done again count", view.seen.starts.count));
    }
    if view.summary.status.is_none() {
        notes.push("to the last record".to_owned());
    }
    Figure { name: "Time", value: seconds(wall as f64 / 1e9), notes, simulated: view.seen.simulated_steps }
}

fn speed(view: &RunView) -> Figure {
    let value = view.summary.images_per_s.map_or("-".to_owned(), |rate| format!("{} items/s", number(rate)));
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{} ms", number(ms)));
    let notes = vec![
        format!("batch of {}; step {} (median)", view.summary.batch_size, ms(view.summary.step_ms_median)),
        format!("95 % of the steps within {}", ms(view.summary.step_ms_p95)),
    ];
    Figure { name: "Speed", value, notes, simulated: view.seen.simulated_steps }
}

fn stall(view: &RunView) -> Figure {
    let totals = &view.seen.totals;
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
        simulated: view.seen.simulated_steps,
    }
}

fn energy(view: &RunView) -> Figure {
    let (value, mut notes) = match Energy::of(&view.seen.processes) {
        Energy::Known { joules: j, added_up_ns: 0 } => (joules(j), Vec::new()),
        Energy::Known { joules: j, .. } => {
            (joules(j), vec!["from power records: the log has no end".to_owned()])
        }
        Energy::Absent => ("-".to_owned(), vec!["no power sensor, or no value yet".to_owned()]),
        Energy::Unreadable(reason) => ("x".to_owned(), vec![reason]),
    };
    if let Some((_, mean, most)) = view.seen.total_w.series.range(0) {
        notes.push(format!("power: mean {} W, most {} W", number(mean), number(most)));
    }
    Figure { name: "Energy", value, notes, simulated: view.seen.simulated }
}

fn energy_each(view: &RunView) -> Figure {
    let energy = Energy::of(&view.seen.processes);
    let items = view.seen.totals.items;
    let (value, notes) = match (&energy, items) {
        (Energy::Unreadable(reason), _) => ("x".to_owned(), vec![reason.clone()]),
        (Energy::Known { joules: j, .. }, 1..) => (
            joules(j / items as f64),
            vec![format!("{} / {} items; validation is in it", joules(*j), count(items))],
        ),
        _ => ("-".to_owned(), Vec::new()),
    };
    Figure { name: "Energy of an image", value, notes, simulated: view.seen.simulated }
}

/// A simulated board trains nothing: what it does not have is "-", not zero.
fn unless_simulated(view: &RunView, text: String) -> String {
    if view.seen.simulated_steps { "-".to_owned() } else { text }
}

/// Warnings, samples that were left out, and damage of the log itself.
fn doubts(view: &RunView) -> String {
    let seen = &view.seen;
    let mut out = String::new();
    if seen.warnings.kept.is_empty() {
        out.push_str(&paragraph("No warnings."));
    } else {
        let items = seen.warnings.kept.iter().map(|(text, times)| match times {
            1 => text.clone(),
            n => format!("{text} ({n} times)"),
        });
        out.push_str(&list(items, seen.warnings.left_out()));
    }
    out.push_str(&bad_samples(view));
    let mut log = Vec::new();
    if view.summary.dropped_records > 0 {
        log.push(format!(
            "{} records did not fit the queue to the log and are missing.",
            view.summary.dropped_records
        ));
    }
    if seen.damaged.count > 0 {
        log.push(format!("{} lines of the log are damaged and were left out:", seen.damaged.count));
    }
    out.extend(log.iter().map(|text| paragraph(text)));
    if seen.damaged.count > 0 {
        let lines = seen.damaged.kept.iter().map(|(line, reason)| format!("line {line}: {reason}"));
        out.push_str(&list(lines, seen.damaged.left_out()));
    }
    out
}

fn bad_samples(view: &RunView) -> String {
    let bad = &view.seen.bad;
    if bad.count == 0 {
        return match view.summary.bad_samples {
            0 => paragraph("No sample was left out."),
            n => paragraph(&format!("{n} samples were left out; the log does not name them.")),
        };
    }
    let share = bad.count as f64 / view.start.train_items.max(1) as f64;
    let mut out = paragraph(&format!(
        "{} damaged or unreadable samples were left out (training data: {} samples, so {} of it if each was named once).",
        count(bad.count),
        count(view.start.train_items),
        percent(Some(share))
    ));
    let rows: Vec<Vec<Cell>> =
        bad.kept.iter().map(|(name, reason)| vec![Cell::text(name), Cell::text(reason)]).collect();
    let mut shown = table("Samples that were left out", &["Sample", "what is wrong with it"], &rows);
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
    let mut out = table("What was run on what", &["What", "value"], &rows);
    if view.seen.starts.count > 1 {
        out.push_str(&starts(view));
    }
    let text = if start.settings_toml.is_empty() { "-" } else { &start.settings_toml };
    let shown = format!("<pre tabindex=\"0\" aria-label=\"All settings as TOML\">{}</pre>\n", escape(text));
    out.push_str(&details("All settings (TOML)", &shown));
    out
}

fn starts(view: &RunView) -> String {
    let rows: Vec<Vec<Cell>> = view
        .seen
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
    let head = ["Begun", "with step", "footplate", "device", "host"];
    table("Processes of this run", &head, &rows)
}
