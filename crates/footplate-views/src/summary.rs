//! The figures that end a run, for people and as JSON.

use std::fmt::{Display, Write};
use std::path::Path;

use footplate_core::record::RunStatus;
use footplate_core::summary::Summary;
use footplate_core::{Bytes, Joules, Reading};
use serde::Serialize;

use crate::text::{explained, known, percent};

/// The summary that `footplate train` and `footplate watch` end with. Figures that were not measured are "-".
///
/// ```
/// use footplate_core::record::{RunEnd, RunStatus};
/// use footplate_core::summary::SummaryBuilder;
/// use footplate_core::{Reading, Record};
///
/// let mut figures = SummaryBuilder::default();
/// # figures.push(&Record::RunStart(footplate_core::record::RunStart {
/// #     started_at: "2026-11-24T10:00:00Z".into(), version: "0.1.0".into(), model: "lenet5".into(),
/// #     device: "cpu".into(), data: "64 images".into(), host: "linux".into(), parameters: 61_000,
/// #     train_items: 64, validation_items: 16, batch_size: 32, epochs: 1, steps_per_epoch: 2, steps_total: 2,
/// #     first_step: 0, planned_memory_bytes: footplate_core::Bytes(1), settings_toml: String::new(),
/// # }));
/// // … the records of a run, from its start to its end:
/// figures.push(&Record::RunEnd(RunEnd {
///     t_ns: 1_000_000_000,
///     status: RunStatus::Completed,
///     steps: 2,
///     bad_samples: 0,
///     dropped_records: 0,
///     peak_memory_bytes: Reading::Absent,
///     energy_j: Reading::Absent,
/// }));
/// let summary = figures.summary().ok_or("no start of a run")?;
/// let text = footplate_views::summary::text(&summary, &figures.energy(), "runs/example");
/// assert!(text.starts_with("run         lenet5 on cpu: completed after 2 steps\n"));
/// assert!(text.contains("\nenergy      -\n"));
/// # Ok::<(), &str>(())
/// ```
pub fn text(summary: &Summary, energy: &Reading<Joules>, run_folder: impl Display) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<12}{value}");
    };
    row("run", headline(summary));
    row("accuracy", accuracy(summary));
    row(
        "loss",
        format!("train {}, validation {}", number(summary.train_loss, 4), number(summary.val_loss, 4)),
    );
    row(
        "speed",
        format!(
            "{} items/s; step median {} ms, 95th percentile {} ms",
            number(summary.images_per_s, 1),
            number(summary.step_ms_median, 1),
            number(summary.step_ms_p95, 1)
        ),
    );
    row("step", format!("mean {} ms, of which", number(summary.step_ms_mean, 2)));
    let parts = [
        ("  fetch", summary.fetch_ms, "data stall: waiting for storage"),
        ("  prep", summary.prep_ms, "data stall: waiting for decode and augmentation"),
        ("  transfer", summary.transfer_ms, "data stall: waiting for the transfer to the device"),
        ("  compute", summary.compute_ms, "forward, backward, update"),
        ("  other", summary.other_ms, "bookkeeping, copies for checkpoints"),
    ];
    for (name, value, meaning) in parts {
        row(name, part(value, summary.step_ms_mean, meaning));
    }
    if let Some(bytes) = summary.copied_bytes_per_step {
        row("copied", copied(bytes, summary.ingest_ms));
    }
    row("memory", memory(summary));
    row("energy", explained(energy, Joules::to_string));
    if summary.bad_samples > 0 {
        row("left out", format!("{} damaged or unreadable samples", summary.bad_samples));
    }
    if summary.dropped_records > 0 {
        row("log", format!("{} records are missing", summary.dropped_records));
    }
    row("run folder", run_folder.to_string());
    out.trim_end().to_owned()
}

/// The summary as one JSON document, with the run's folder; `null` is what was not measured.
///
/// # Errors
///
/// If the folder's path is not UTF-8.
pub fn json(summary: &Summary, run_folder: &Path) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        run_dir: &'a Path,
    }
    serde_json::to_string_pretty(&Document { summary, run_dir: run_folder })
}

fn headline(summary: &Summary) -> String {
    let from = match summary.first_step {
        0 => String::new(),
        step => format!(" (the figures are from step {step} on)"),
    };
    let outcome = match summary.status {
        Some(status) => format!("{} after {} steps", ended(status), summary.steps),
        None => format!("unfinished: {} steps (still running, or killed)", summary.steps),
    };
    format!("{} on {}: {outcome}{from}", summary.model, summary.device)
}

/// How a run ended, in words.
pub(crate) fn ended(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "completed",
        RunStatus::EarlyStopped => "stopped early: validation no longer improved",
        RunStatus::Interrupted => "interrupted",
        RunStatus::Failed => "failed",
    }
}

fn accuracy(summary: &Summary) -> String {
    let best = match (summary.best_val_accuracy, summary.best_epoch) {
        (Some(best), Some(epoch)) => format!(", best {} (epoch {epoch})", percent(best)),
        _ => String::new(),
    };
    let top5 = summary.val_top5.map_or(String::new(), |top5| format!(", top-5 {}", percent(top5)));
    format!("{}{top5}{best}", known(summary.val_accuracy, percent))
}

fn part(value: Option<f64>, whole: Option<f64>, meaning: &str) -> String {
    let share = value.zip(whole).filter(|(_, whole)| *whole > 0.0).map(|(value, whole)| value / whole);
    format!("{:>10} ms  {:>7}  {meaning}", number(value, 2), known(share, percent))
}

/// What was copied for a step's inputs to reach the device.
fn copied(bytes: f64, ingest_ms: Option<f64>) -> String {
    let kernel =
        ingest_ms.map_or(String::new(), |ms| format!("; the kernel that reads them takes {ms:.2} ms"));
    format!("{} of inputs per step on their way to the device{kernel}", Bytes(bytes as u64))
}

fn memory(summary: &Summary) -> String {
    let shown = |bytes: Option<Bytes>| known(bytes, |bytes| bytes.to_string());
    let ratio = match (summary.peak_memory_bytes, summary.planned_memory_bytes) {
        (Some(peak), Some(plan)) if plan.0 > 0 => {
            format!(" ({:+.0} % against the plan)", (peak.0 as f64 / plan.0 as f64 - 1.0) * 100.0)
        }
        _ => String::new(),
    };
    let (peak, plan) = (shown(summary.peak_memory_bytes), shown(summary.planned_memory_bytes));
    format!("peak {peak} measured, {plan} planned{ratio}")
}

fn number(value: Option<f64>, decimals: usize) -> String {
    known(value, |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use footplate_core::Record;
    use footplate_core::record::{BadSampleRecord, RunEnd};
    use footplate_core::summary::SummaryBuilder;

    use super::*;
    use crate::testing::{minibatch, start, validation};

    fn figures(records: impl IntoIterator<Item = Record>) -> SummaryBuilder {
        let mut builder = SummaryBuilder::default();
        records.into_iter().for_each(|record| builder.push(&record));
        builder
    }

    fn end(status: RunStatus, energy_j: Reading<Joules>) -> Record {
        Record::RunEnd(RunEnd {
            t_ns: 1_000_000_000,
            status,
            steps: 2,
            bad_samples: 0,
            dropped_records: 3,
            peak_memory_bytes: Reading::Value(Bytes(110 << 20)),
            energy_j,
        })
    }

    fn begun() -> Vec<Record> {
        vec![Record::RunStart(start()), Record::Minibatch(minibatch(0, 100_000_000))]
    }

    #[test]
    fn the_summary_says_where_the_step_went_and_dashes_what_was_not_measured() {
        let text = text(&figures(begun()).summary().unwrap(), &Reading::Absent, "runs/x");
        assert_eq!(text, EXPECTED);
    }

    const EXPECTED: &str = "\
run         lenet5 on cpu (asked for): unfinished: 1 steps (still running, or killed)
accuracy    -
loss        train -, validation -
speed       320.0 items/s; step median 100.0 ms, 95th percentile 100.0 ms
step        mean 100.00 ms, of which
  fetch           0.18 ms    0.2 %  data stall: waiting for storage
  prep            1.82 ms    1.8 %  data stall: waiting for decode and augmentation
  transfer        0.00 ms    0.0 %  data stall: waiting for the transfer to the device
  compute        98.00 ms   98.0 %  forward, backward, update
  other           0.00 ms    0.0 %  bookkeeping, copies for checkpoints
memory      peak - measured, 100 MiB planned
energy      -
run folder  runs/x";

    #[test]
    fn every_way_a_run_can_end_has_words_of_its_own() {
        let ways = [RunStatus::Completed, RunStatus::EarlyStopped, RunStatus::Interrupted, RunStatus::Failed];
        let mut heads: Vec<String> = ways
            .into_iter()
            .map(|status| {
                let summary = figures(begun().into_iter().chain([end(status, Reading::Absent)]));
                text(&summary.summary().unwrap(), &Reading::Absent, "x").lines().next().unwrap().to_owned()
            })
            .collect();
        assert!(heads.iter().all(|head| head.ends_with("after 2 steps")), "{heads:?}");
        heads.dedup();
        assert_eq!(heads.len(), ways.len());
    }

    #[test]
    fn energy_that_is_zero_unreadable_or_absent_looks_different() {
        let unreadable = Reading::unreadable("permission denied");
        let lines = [Reading::Value(Joules(0.0)), unreadable, Reading::Absent].map(|energy| {
            let figures = figures(begun().into_iter().chain([end(RunStatus::Completed, energy)]));
            let text = text(&figures.summary().unwrap(), &figures.energy(), "x");
            text.lines().find(|line| line.starts_with("energy")).unwrap().to_owned()
        });
        assert_eq!(lines, ["energy      0.0 J", "energy      x (permission denied)", "energy      -"]);
    }

    #[test]
    fn what_is_missing_or_was_left_out_is_told() {
        let bad = Record::BadSample(BadSampleRecord { name: "a.jpg".into(), reason: "cut off".into() });
        let records = begun().into_iter().chain([validation(0, 0.75), bad]);
        let figures = figures(records.chain([end(RunStatus::Completed, Reading::Absent)]));
        let text = text(&figures.summary().unwrap(), &Reading::Absent, "x");
        for line in [
            "accuracy    75.0 %, best 75.0 % (epoch 1)",
            "log         3 records are missing",
            "memory      peak 110 MiB measured, 100 MiB planned (+10 % against the plan)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_json_document_has_null_where_nothing_was_measured() {
        let summary = figures(begun()).summary().unwrap();
        let document: serde_json::Value =
            serde_json::from_str(&json(&summary, Path::new("runs/x")).unwrap()).unwrap();
        assert_eq!(document["run_dir"], "runs/x");
        assert_eq!(document["step_ms_mean"], 100.0);
        for unknown in ["energy_j", "val_accuracy", "peak_memory_bytes", "status"] {
            assert!(document[unknown].is_null(), "{unknown}: {document:#}");
        }
    }
}
