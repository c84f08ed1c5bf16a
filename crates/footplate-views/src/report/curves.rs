//! Curves of learning, and where the step's time went.

use super::charts::{Row, extent, legend, line, named, points, reach};
use super::figures::{count, number, percent, seconds};
use super::gather::RunView;
use super::html::{Cell, details, paragraph, table};
use super::plot::{Along, Axis, Layer, Plot};
use super::totals::Totals;

/// The parts of a step: name, colour, and what they mean.
pub(crate) const PARTS: [(&str, usize, &str); 5] = [
    ("fetch stall", 1, "waiting for storage"),
    ("prep stall", 4, "waiting for decode and augmentation"),
    ("transfer", 3, "waiting for the way to the device"),
    ("compute", 0, "forward, backward, update"),
    ("other", 6, "bookkeeping, copies for checkpoints"),
];

/// Loss, accuracy and learning rate over the steps.
pub(crate) fn curves(view: &RunView) -> String {
    let seen = &view.seen;
    if seen.loss.is_empty() && seen.val_loss.is_empty() {
        return paragraph("The log holds no loss: - .");
    }
    let (from, to) = reach(&[&seen.loss, &seen.rate, &seen.val_loss]);
    let steps = || Axis::exact("step", Along::Quantity(""), from, to);
    let mut out = String::new();
    let losses = extent(&seen.loss.places()).chain(extent(&seen.val_loss.places())).collect::<Vec<_>>();
    let mut plot = Plot::new(
        "loss",
        "Loss",
        steps(),
        Axis::over("loss", Along::Quantity(""), losses.into_iter(), false),
    );
    plot.description =
        "Training loss of each step where it was fetched, and validation loss after each epoch.".to_owned();
    plot.lines = vec![line("training", 0, &seen.loss)];
    let mut rows = vec![row("training", 0, seen.loss.range(0))];
    if !seen.val_loss.is_empty() {
        // Few epochs are points; many are a line.
        let draw = if seen.val_loss.places().len() > 60 { line } else { points };
        plot.lines.push(draw("validation", 1, &seen.val_loss));
        rows.push(row("validation", 1, seen.val_loss.range(0)));
    }
    plot.legend = legend("Loss over the run", "", &rows);
    out.push_str(&plot.html());
    out.push_str("<div class=\"two\">");
    if !seen.val_top1.is_empty() {
        let places = seen.val_top1.places();
        let shares: Vec<f64> = places.iter().map(|p| p.mean[0] * 100.0).collect();
        let axis = Axis::over("accuracy", Along::Quantity("%"), shares.iter().copied(), false);
        let mut plot = Plot::new("accuracy", "Validation accuracy (top-1)", steps(), axis);
        let mut drawn = line("accuracy", 2, &seen.val_top1);
        if places.len() == 1 {
            drawn = points("accuracy", 2, &seen.val_top1);
        }
        for run in &mut drawn.runs {
            run.iter_mut().for_each(|(_, y)| *y *= 100.0);
        }
        drawn.band.clear();
        plot.lines = vec![drawn];
        let range = seen.val_top1.range(0).map(|(a, b, c)| (a * 100.0, b * 100.0, c * 100.0));
        plot.legend = legend("Accuracy over the run", "%", &[row("accuracy", 2, range)]);
        out.push_str(&plot.html());
    }
    let rates = extent(&seen.rate.places()).collect::<Vec<_>>();
    let axis = Axis::over("learning rate", Along::Quantity(""), rates.into_iter(), true);
    let mut plot = Plot::new("rate", "Learning rate", steps(), axis);
    plot.lines = vec![line("learning rate", 7, &seen.rate)];
    plot.legend = legend("Learning rate over the run", "", &[row("learning rate", 7, seen.rate.range(0))]);
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
    let epochs = &view.seen.epochs;
    let loss = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let rows: Vec<Vec<Cell>> = epochs
        .iter()
        .map(|(epoch, validation)| {
            let v = validation.as_ref();
            vec![
                Cell::text(&(epoch.epoch + 1).to_string()),
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
    let totals = &view.seen.totals;
    if totals.steps == 0 {
        return paragraph("The log holds no step: - .");
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
        "Fetch, prep and transfer are the data stall. The wait for the loader is divided between fetch and prep in the \
         proportion of its workers' time on them: an attribution, not a measurement of each.",
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
    table(caption, &["Part", "of a step", "share", "what it is"], &rows)
}

/// The sums of the parts, in the order of [`PARTS`].
pub(crate) fn parts_ns(totals: &Totals) -> [u64; 5] {
    [totals.fetch_stall_ns, totals.prep_stall_ns, totals.transfer_ns, totals.compute_ns, totals.other_ns]
}

fn over_time(view: &RunView) -> String {
    let places = view.seen.parts.places();
    let sums = places.iter().map(|place| place.mean.iter().sum::<f64>());
    let y = Axis::over("step", Along::Quantity("ms"), sums, true);
    let last = places.last().map_or(1.0, |place| place.x);
    let mut plot =
        Plot::new("step", "Time of a step over the run", Axis::exact("time", Along::Time, 0.0, last), y);
    plot.description = "The mean time of a step, divided into its parts, stacked.".to_owned();
    plot.shades = view.seen.stretches.kept.iter().map(|s| (s.from_s, s.to_s)).collect();
    // From below: compute first, so that the stalls are seen on top.
    for part in [3, 4, 2, 1, 0] {
        let (name, colour, _) = PARTS[part];
        let points = places.iter().enumerate().map(|(i, place)| {
            let below = plot.layers.last().and_then(|layer: &Layer| layer.points.get(i)).map_or(0.0, |p| p.2);
            (place.x, below, below + place.mean[part])
        });
        let points = points.collect();
        plot.layers.push(Layer { name: name.to_owned(), colour, points });
    }
    plot.html()
}

/// What happened beside the steps.
fn beside(view: &RunView) -> String {
    let totals = &view.seen.totals;
    let mut notes = Vec::new();
    let share = |ns: u64| percent(totals.share(ns));
    if totals.validation_ns > 0 {
        notes.push(format!("Validation took {} besides.", seconds(totals.validation_ns as f64 / 1e9)));
    }
    if view.summary.checkpoints > 0 {
        notes.push(format!(
            "{} checkpoints; copying the state for them took {} of the training time.",
            view.summary.checkpoints,
            share(totals.snapshot_ns)
        ));
    }
    if let Some(bytes) = view.seen.copied_bytes {
        let each = bytes as f64 / totals.items.max(1) as f64;
        notes.push(format!("{} bytes were copied for each item on its way to the device.", number(each)));
    }
    let loaders = &view.seen.loaders;
    if let (Some((_, first)), Some((_, last))) = (loaders.kept.first(), loaders.kept.last()) {
        notes.push(format!(
            "The loader changed itself {} times: first to {} workers with {} minibatches ahead, last to {} with {}.",
            loaders.count, first.workers, first.depth, last.workers, last.depth
        ));
    }
    notes.iter().map(|note| paragraph(note)).collect()
}
