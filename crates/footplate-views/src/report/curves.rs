//! Curves of learning, and where the step's time went.

use super::charts::{Row, dotted, extent, legend, line, named, reach};
use super::figures::{count, number, percent, seconds};
use super::html::{Cell, details, paragraph, table};
use super::log_data::RunView;
use super::plot::{Along, Axis, Layer, Plot};
use super::totals::Totals;

/// The parts of a step: name, colour, and what they mean.
pub(crate) const PARTS: [(&str, usize, &str); 5] = [
    ("fetch stall", 1, "waiting for storage"),
    ("prep stall", 4, "waiting for decode and augmentation"),
    ("transfer", 3, "waiting for the transfer to the device"),
    ("compute", 0, "forward, backward, update"),
    ("other", 6, "bookkeeping, copies for checkpoints"),
];

/// Loss, accuracy and learning rate over the steps.
pub(crate) fn curves(view: &RunView) -> String {
    let log = &view.log;
    if log.loss.is_empty() && log.val_loss.is_empty() {
        return paragraph("Loss: - . The log holds none.");
    }
    let (from, to) = reach(&[&log.loss, &log.rate, &log.val_loss]);
    let steps = || Axis::exact("step", Along::Quantity(""), from, to);
    let mut out = String::new();
    let losses = extent(&log.loss.points()).chain(extent(&log.val_loss.points())).collect::<Vec<_>>();
    let mut plot = Plot::new(
        "loss",
        "Loss",
        steps(),
        Axis::over("loss", Along::Quantity(""), losses.into_iter(), false),
    );
    plot.description =
        "Training loss of each step where it was fetched, and validation loss after each epoch.".to_owned();
    plot.lines = vec![line("training", 0, &log.loss)];
    let mut rows = vec![row("training", 0, log.loss.range(0))];
    if !log.val_loss.is_empty() {
        // Few epochs are points; many are a line.
        let draw = if log.val_loss.points().len() > 60 { line } else { dotted };
        plot.lines.push(draw("validation", 1, &log.val_loss));
        rows.push(row("validation", 1, log.val_loss.range(0)));
    }
    plot.legend = legend("Loss over the run", "", &rows);
    out.push_str(&plot.html());
    out.push_str("<div class=\"two\">");
    if !log.val_top1.is_empty() {
        let points = log.val_top1.points();
        let shares: Vec<f64> = points.iter().map(|p| p.mean[0] * 100.0).collect();
        let axis = Axis::over("accuracy", Along::Quantity("%"), shares.iter().copied(), false);
        let mut plot = Plot::new("accuracy", "Validation accuracy (top-1)", steps(), axis);
        let mut drawn = line("accuracy", 2, &log.val_top1);
        if points.len() == 1 {
            drawn = dotted("accuracy", 2, &log.val_top1);
        }
        for run in &mut drawn.runs {
            run.iter_mut().for_each(|(_, y)| *y *= 100.0);
        }
        drawn.band.clear();
        plot.lines = vec![drawn];
        let range = log.val_top1.range(0).map(|(a, b, c)| (a * 100.0, b * 100.0, c * 100.0));
        plot.legend = legend("Accuracy over the run", "%", &[row("accuracy", 2, range)]);
        out.push_str(&plot.html());
    }
    let rates = extent(&log.rate.points()).collect::<Vec<_>>();
    let axis = Axis::over("learning rate", Along::Quantity(""), rates.into_iter(), true);
    let mut plot = Plot::new("rate", "Learning rate", steps(), axis);
    plot.lines = vec![line("learning rate", 7, &log.rate)];
    plot.legend = legend("Learning rate over the run", "", &[row("learning rate", 7, log.rate.range(0))]);
    out.push_str(&plot.html());
    out.push_str("</div>");
    out.push_str(&epochs(view));
    out
}

fn row(name: &str, colour: usize, range: Option<(f64, f64, f64)>) -> Row {
    let range = range.ok_or_else(|| "-".to_owned());
    Row { colour, dashed: false, name: name.to_owned(), range, note: String::new() }
}

fn epochs(view: &RunView) -> String {
    let epochs = &view.log.epochs;
    let loss = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let rows: Vec<Vec<Cell>> = epochs
        .iter()
        .map(|(epoch, validation)| {
            let v = validation.as_ref();
            vec![
                Cell::text(&epoch.epoch.saturating_add(1).to_string()),
                Cell::number(&loss(epoch.train_loss)),
                Cell::number(&loss(v.map(|v| v.loss))),
                Cell::number(&percent(v.map(|v| v.top1))),
                Cell::number(&percent(v.and_then(|v| v.top5))),
                Cell::number(&seconds(epoch.duration_ns as f64 / 1e9)),
                Cell::number(&v.map_or("-".to_owned(), |v| seconds(v.duration_ns as f64 / 1e9))),
                Cell::text(if v.is_some_and(|v| v.best) { "best so far" } else { "" }),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["Epoch", "training loss", "validation loss", "top-1", "top-5", "training", "validation", ""];
    let caption = format!("The last {} epochs of this run", rows.len());
    details(&format!("Epochs ({})", rows.len()), &table(&caption, &head, &rows))
}

/// Where the step's time went, in sum and over the run.
pub(crate) fn step_time(view: &RunView) -> String {
    let totals = &view.log.totals;
    if totals.steps == 0 {
        return paragraph("Steps: - . The log holds none.");
    }
    let mut out = String::new();
    let summary = &view.summary;
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{} ms", number(ms)));
    out.push_str(&paragraph(&format!(
        "{} steps: mean {}, median {}, 95th percentile {}.",
        count(totals.steps),
        ms(summary.step_ms_mean),
        ms(summary.step_ms_median),
        ms(summary.step_ms_p95)
    )));
    out.push_str(&over_time(view));
    out.push_str(&parts_table("Parts of the mean step", totals));
    out.push_str(&paragraph(
        "Fetch, prep and transfer together are the time spent waiting for data. The wait for the loader is attributed to fetch \
         and prep in proportion to its workers' time on each; the two are not measured separately.",
    ));
    out.push_str(&beside(view));
    out
}

/// The five parts with their shares.
pub(crate) fn parts_table(caption: &str, totals: &Totals) -> String {
    let rows: Vec<Vec<Cell>> = PARTS
        .iter()
        .zip(parts_ns(totals))
        .map(|((name, colour, meaning), ns)| {
            vec![
                Cell::html(named(name, *colour, false)),
                Cell::number(&totals.per_step_s(ns).map_or("-".to_owned(), seconds)),
                Cell::number(&percent(totals.share(ns))),
                Cell::text(meaning),
            ]
        })
        .collect();
    table(caption, &["Part", "per step", "share", "meaning"], &rows)
}

/// The sums of the parts, in the order of [`PARTS`].
pub(crate) fn parts_ns(totals: &Totals) -> [u64; 5] {
    [totals.fetch_stall_ns, totals.prep_stall_ns, totals.transfer_ns, totals.compute_ns, totals.other_ns]
}

fn over_time(view: &RunView) -> String {
    let points = view.log.parts.points();
    let sums = points.iter().map(|point| point.mean.iter().sum::<f64>());
    let y = Axis::over("step", Along::Quantity("ms"), sums, true);
    let last = points.last().map_or(1.0, |point| point.x);
    let mut plot =
        Plot::new("step", "Time per step over the run", Axis::exact("time", Along::Time, 0.0, last), y);
    plot.description = "The mean time per step, divided into its parts, stacked.".to_owned();
    plot.shades = view.log.stretches.kept.iter().map(|s| (s.from_s, s.to_s)).collect();
    // From below: compute first, so that the stalls are seen on top.
    for part in [3, 4, 2, 1, 0] {
        let (name, colour, _) = PARTS[part];
        let points = points.iter().enumerate().map(|(i, point)| {
            let below = plot.layers.last().and_then(|layer: &Layer| layer.points.get(i)).map_or(0.0, |p| p.2);
            (point.x, below, below + point.mean[part])
        });
        let points = points.collect();
        plot.layers.push(Layer { name: name.to_owned(), colour, points });
    }
    plot.html()
}

/// What happened beside the steps.
fn beside(view: &RunView) -> String {
    let totals = &view.log.totals;
    let mut notes = Vec::new();
    let share = |ns: u64| percent(totals.share(ns));
    if totals.validation_ns > 0 {
        notes.push(format!("Validation took another {}.", seconds(totals.validation_ns as f64 / 1e9)));
    }
    if view.summary.checkpoints > 0 {
        notes.push(format!(
            "{} checkpoints; copying the state for them took {} of the training time.",
            view.summary.checkpoints,
            share(totals.snapshot_ns)
        ));
    }
    if let Some(bytes) = view.log.copied_bytes {
        let each = bytes as f64 / totals.items.max(1) as f64;
        notes.push(format!("{} bytes per item were copied on the way to the device.", number(each)));
    }
    let loaders = &view.log.loaders;
    if let (Some((_, first)), Some((_, last))) = (loaders.kept.first(), loaders.kept.last()) {
        notes.push(format!(
            "The loader adjusted itself {} times: first to {} workers with {} minibatches ahead, last to {} with {}.",
            loaders.count, first.workers, first.depth, last.workers, last.depth
        ));
    }
    notes.iter().map(|note| paragraph(note)).collect()
}
