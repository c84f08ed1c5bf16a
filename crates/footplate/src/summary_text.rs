//! A run's figures for people.

use std::fmt::Write;
use std::path::Path;

use footplate_core::record::RunStatus;
use footplate_core::summary::Summary;
use footplate_core::{Bytes, Joules, Reading};
use footplate_train::memory::MemoryPlan;

use crate::view::{percent, reading_text};

/// The summary that ends a run. Absent figures are "-".
pub(crate) fn text(summary: &Summary, energy: &Reading<Joules>, run_dir: &Path) -> String {
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
        ("  transfer", summary.transfer_ms, "data stall: waiting for the way to the device"),
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
    row("energy", reading_text(energy));
    if summary.bad_samples > 0 {
        row("left out", format!("{} damaged or unreadable samples", summary.bad_samples));
    }
    if summary.dropped_records > 0 {
        row("log", format!("{} records are missing", summary.dropped_records));
    }
    row("run folder", run_dir.display().to_string());
    out.trim_end().to_owned()
}

fn headline(summary: &Summary) -> String {
    let status = match summary.status {
        Some(RunStatus::Completed) => "completed",
        Some(RunStatus::EarlyStopped) => "stopped early: validation no longer improved",
        Some(RunStatus::Interrupted) => "interrupted",
        Some(RunStatus::Failed) => "failed",
        None => "without an end",
    };
    let from = match summary.first_step {
        0 => String::new(),
        step => format!(" (the figures are from step {step} on)"),
    };
    format!("{} on {}: {status} after {} steps{from}", summary.model, summary.device, summary.steps)
}

fn accuracy(summary: &Summary) -> String {
    let share = |value: Option<f64>| value.map_or("-".to_owned(), percent);
    let best = match (summary.best_val_accuracy, summary.best_epoch) {
        (Some(best), Some(epoch)) => format!(", best {} (epoch {epoch})", percent(best)),
        _ => String::new(),
    };
    let top5 = summary.val_top5.map_or(String::new(), |top5| format!(", top-5 {}", percent(top5)));
    format!("{}{top5}{best}", share(summary.val_accuracy))
}

fn part(value: Option<f64>, whole: Option<f64>, meaning: &str) -> String {
    let share = value.zip(whole).filter(|(_, whole)| *whole > 0.0).map(|(value, whole)| value / whole);
    let share = share.map_or("-".to_owned(), percent);
    format!("{:>10} ms  {share:>7}  {meaning}", number(value, 2))
}

/// What the way to the device cost.
fn copied(bytes: f64, ingest_ms: Option<f64>) -> String {
    let kernel =
        ingest_ms.map_or(String::new(), |ms| format!("; the kernel that reads them takes {ms:.2} ms"));
    format!("{} of inputs per step on their way to the device{kernel}", Bytes(bytes as u64))
}

fn memory(summary: &Summary) -> String {
    let shown = |bytes: Option<Bytes>| bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
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
    value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A memory plan in words.
pub(crate) fn plan(plan: &MemoryPlan, available: &Reading<Bytes>) -> String {
    let parts = [
        ("program", plan.program),
        ("parameters", plan.parameters),
        ("gradients", plan.gradients),
        ("optimizer", plan.optimizer),
        ("activations", plan.activations),
        ("pipeline", plan.pipeline),
        ("checkpoint", plan.checkpoint),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {}", Bytes(*bytes))).collect();
    let available = available.value().map_or("unknown".to_owned(), Bytes::to_string);
    format!(
        "memory plan (estimate for batch size {}): {} of {available} available\n  {}",
        plan.batch_size,
        plan.total(),
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_records::{minibatch, start};
    use footplate_core::Record;
    use footplate_core::summary::SummaryBuilder;

    #[test]
    fn the_summary_says_where_the_step_went_and_dashes_what_was_not_measured() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(start()));
        builder.push(&Record::Minibatch(minibatch(0, 100_000_000)));
        let text = text(&builder.summary().unwrap(), &Reading::Absent, Path::new("runs/x"));
        assert_eq!(text, EXPECTED);
    }

    const EXPECTED: &str = "\
run         lenet5 on cpu (asked for): without an end after 1 steps
accuracy    -
loss        train -, validation -
speed       320.0 items/s; step median 100.0 ms, 95th percentile 100.0 ms
step        mean 100.00 ms, of which
  fetch           0.18 ms    0.2 %  data stall: waiting for storage
  prep            1.82 ms    1.8 %  data stall: waiting for decode and augmentation
  transfer        0.00 ms    0.0 %  data stall: waiting for the way to the device
  compute        98.00 ms   98.0 %  forward, backward, update
  other           0.00 ms    0.0 %  bookkeeping, copies for checkpoints
memory      peak - measured, 100 MiB planned
energy      -
run folder  runs/x";
}
