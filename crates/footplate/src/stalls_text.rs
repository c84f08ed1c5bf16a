//! A diagnosis for people, and as JSON.

use std::fmt::Write;

use footplate_core::Bytes;
use footplate_core::stats::mean;
use footplate_data::Dataset;
use footplate_data::measure_rates::{Cold, Rate};
use footplate_data::stall::{Change, Stage, TimeBreakdown};
use footplate_train::diagnose::{Applied, Diagnosis, Source, Subject};
use serde::Serialize;

use crate::view::percent;

/// A gain from the removal of a stage that is not worth a word.
const NOTHING: f64 = 1.03;

/// The figures of a diagnosis. Rates are items (images; for a text, sequences) per second; `null` is a figure
/// that was not measured. `docs/stalls.md` describes each.
#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    device: &'static str,
    data: String,
    batch_size: usize,
    image_size: Option<u32>,
    workers: usize,
    cores: usize,
    cores_got: Option<f64>,
    bottleneck: Stage,
    gain_if_free: Option<f64>,
    images_per_s: Option<f64>,
    modelled_images_per_s: f64,
    first_epoch_images_per_s: Option<f64>,
    stall_fraction: Option<f64>,
    compute_images_per_s: Option<f64>,
    compute_images_per_cpu_s: Option<f64>,
    prep_images_per_s: Option<f64>,
    prep_images_per_cpu_s: Option<f64>,
    prep_u8_images_per_cpu_s: Option<f64>,
    prep_indexed_images_per_cpu_s: Option<f64>,
    upload_f32_s: Option<f64>,
    upload_u8_s: Option<f64>,
    fetch_images_per_s_warm: Option<f64>,
    fetch_images_per_s_cold: Option<f64>,
    fetch_images_per_s_cold_one_reader: Option<f64>,
    fetch_bytes_per_s_cold: Option<f64>,
    fetch_not_measured: Option<&'a str>,
    data_bytes: Option<u64>,
    source: Source,
    seconds_per_image: Option<TimeBreakdown>,
    real_steps: u64,
    recommendations: Vec<Advice>,
    applied: Option<Applied>,
    warnings: &'a [String],
}

/// A recommendation with what the user has to do.
#[derive(Serialize)]
struct Advice {
    #[serde(flatten)]
    change: Change,
    predicted_images_per_s: f64,
    gain: f64,
    changes_training: bool,
    /// The flags of `footplate train`, or the command; `null` where it is something to buy.
    flags: Option<String>,
    what: String,
}

fn advice(diagnosis: &Diagnosis) -> Vec<Advice> {
    let made = diagnosis.recommendations.iter().map(|r| Advice {
        change: r.change,
        predicted_images_per_s: r.predicted_per_s,
        gain: r.gain,
        changes_training: r.changes_training,
        flags: flags(r.change),
        what: what(r.change, diagnosis),
    });
    made.collect()
}

/// What to type.
fn flags(change: Change) -> Option<String> {
    match change {
        Change::Workers { workers } => Some(format!("--workers {workers}")),
        Change::IndexedShards => Some("footplate pack DATA SHARDS, then --data SHARDS".to_owned()),
        Change::Cache { bytes } => Some(format!("--cache ram:{}MiB", bytes >> 20)),
        Change::ImageSize { pixels } => Some(format!("--image-size {pixels}")),
        Change::BatchSize { samples } => Some(format!("--batch-size {samples}")),
        Change::PixelsU8 | Change::FasterStorage { .. } | Change::GpuClock { .. } => None,
    }
}

/// What it is.
fn what(change: Change, diagnosis: &Diagnosis) -> String {
    let before = diagnosis.situation.workers;
    match change {
        Change::Workers { workers } if workers < before => format!("fewer workers than {before}"),
        Change::Workers { .. } => format!("more workers than {before}"),
        Change::PixelsU8 => "pixels as bytes, normalised on the device".to_owned(),
        Change::IndexedShards => "shards with an index: crops are decoded from their first row".to_owned(),
        Change::Cache { .. } => "a part of the data stays in memory".to_owned(),
        Change::FasterStorage { items_per_s } => match bytes_each(diagnosis) {
            Some(each) => format!(
                "faster storage: {items_per_s:.0} reads/s of {} in random order, {}/s in all",
                Bytes(each as u64),
                Bytes((each * items_per_s) as u64)
            ),
            None => format!("faster storage: {items_per_s:.0} reads/s"),
        },
        Change::ImageSize { .. } => "smaller images; the network learns from less detail".to_owned(),
        Change::BatchSize { .. } => "another batch size; check the learning rate".to_owned(),
        Change::GpuClock { enough } => {
            format!("{} of the GPU's clock is enough while it waits for data", percent(enough))
        }
    }
}

fn bytes_each(diagnosis: &Diagnosis) -> Option<f64> {
    diagnosis.measured.storage.as_ref()?.warm.bytes_each()
}

/// One JSON document.
pub(crate) fn json(subject: &Subject, diagnosis: &Diagnosis) -> serde_json::Result<String> {
    let Diagnosis { measured: m, situation, bottleneck, .. } = diagnosis;
    let settings = &subject.settings;
    let storage = m.storage.as_ref();
    let (cold, fetch_not_measured) = match storage.map(|storage| &storage.cold) {
        Some(Cold::Measured { one, many }) => (Some((one, many)), None),
        Some(Cold::NotMeasured(reason)) => (None, Some(reason.as_str())),
        None => (None, None),
    };
    let images = matches!(subject.dataset.as_ref(), Dataset::Images(_));
    serde_json::to_string_pretty(&Document {
        model: &settings.model,
        device: subject.device.name,
        data: subject.dataset.description(),
        batch_size: settings.batch_size,
        image_size: images.then_some(settings.image_size),
        workers: situation.workers,
        cores: subject.cores,
        cores_got: mean(&m.cores_got),
        bottleneck: bottleneck.stage,
        gain_if_free: Some(bottleneck.gain_if_free).filter(|gain| gain.is_finite()),
        images_per_s: m.trial.items_per_s(),
        modelled_images_per_s: situation.modelled_per_s(),
        first_epoch_images_per_s: diagnosis.first_epoch_per_s,
        stall_fraction: diagnosis.split.and_then(|split| split.stall_fraction()),
        compute_images_per_s: m.step.wall_s_each().map(|each| 1.0 / each),
        compute_images_per_cpu_s: m.step.cpu_s_each().map(|each| 1.0 / each),
        prep_images_per_s: m.prep_many.as_ref().unwrap_or(&m.prep_one).per_s(),
        prep_images_per_cpu_s: m.prep_one.per_cpu_s(),
        prep_u8_images_per_cpu_s: m.prep_u8.and_then(|rate| rate.per_cpu_s()),
        prep_indexed_images_per_cpu_s: m.prep_indexed.and_then(|rate| rate.per_cpu_s()),
        upload_f32_s: m.upload.map(|[f32s, _]| f32s),
        upload_u8_s: m.upload.map(|[_, u8s]| u8s),
        fetch_images_per_s_warm: storage.and_then(|storage| storage.warm.per_s()),
        fetch_images_per_s_cold: cold.and_then(|(_, many)| many.per_s()),
        fetch_images_per_s_cold_one_reader: cold.and_then(|(one, _)| one.per_s()),
        fetch_bytes_per_s_cold: cold.and_then(|(_, many)| Some(many.per_s()? * many.bytes_each()?)),
        fetch_not_measured,
        data_bytes: storage.map(|storage| storage.data_bytes),
        source: diagnosis.source,
        seconds_per_image: diagnosis.split,
        real_steps: m.trial.steps,
        recommendations: advice(diagnosis),
        applied: diagnosis.applied,
        warnings: &diagnosis.warnings,
    })
}

/// The report: the answer first.
pub(crate) fn text(subject: &Subject, diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    answer(diagnosis).iter().for_each(|text| line(text));
    line("");
    job(subject, diagnosis).iter().for_each(|text| line(text));
    line("");
    rates(diagnosis).iter().for_each(|text| line(text));
    if let Some(split) = &diagnosis.split {
        line("");
        line(&format!(
            "real run    {} items/s over {} steps; an item takes {} ms, of which",
            rate(diagnosis.measured.trial.items_per_s()),
            diagnosis.measured.trial.steps,
            milliseconds(split.total_s())
        ));
        parts(split).iter().for_each(|text| line(text));
    }
    if let Some(applied) = &diagnosis.applied {
        line("");
        line(&applied_text(applied));
    }
    out.trim_end().to_owned()
}

/// What limits the job, by how much, and what to change.
fn answer(diagnosis: &Diagnosis) -> Vec<String> {
    let Diagnosis { situation, bottleneck, measured, .. } = diagnosis;
    let stage = match bottleneck.stage {
        Stage::Compute => "compute: the step itself",
        Stage::Prep => "prep: decode and augmentation on the CPU",
        Stage::Fetch => "fetch: reading from storage",
        Stage::Transfer => "transfer: moving data to the device",
    };
    let gain = match bottleneck.gain_if_free {
        gain if gain.is_infinite() => String::new(),
        gain if gain < NOTHING => "; other stages are nearly as slow".to_owned(),
        gain => {
            let free = situation.present_per_s() * gain;
            match bottleneck.stage {
                Stage::Compute => format!("; the loader could feed {free:.0} (estimate)"),
                _ => format!("; {free:.0} if that cost nothing (estimate)"),
            }
        }
    };
    let now = rate(Some(situation.present_per_s()));
    let kind = if measured.trial.steps == 0 { " by the model" } else { "" };
    let mut lines = vec![format!("limited by  {stage}"), format!("speed       {now} items/s{kind}{gain}")];
    if let Some(split) = &diagnosis.split {
        let stall = split.stall_fraction().map_or("-".to_owned(), percent);
        let slowed = match split.slowed_s / split.total_s() {
            share if share >= 0.01 => {
                format!("; steps are {} slower because loader threads use the same cores", percent(share))
            }
            _ => String::new(),
        };
        lines.push(format!("waiting     {stall} of the time for data{slowed}"));
    }
    if let Some(first) = diagnosis.first_epoch_per_s {
        lines.push(format!(
            "first epoch {first:.0} items/s (estimate): it reads from storage, later ones from memory"
        ));
    }
    let advice = advice(diagnosis);
    if advice.is_empty() {
        let why = match bottleneck.stage {
            Stage::Compute => "compute-bound",
            _ => "nothing that was tried helps by 3 % or more",
        };
        lines.push(format!("change      nothing: {why}"));
    } else {
        lines.push("change      (estimates, the best first)".to_owned());
    }
    for (number, item) in advice.iter().enumerate() {
        let note = if item.changes_training { " [changes what is learnt]" } else { "" };
        let what = item.flags.as_ref().map_or(item.what.clone(), |flags| format!("{flags}: {}", item.what));
        lines.push(format!(
            "  {}. {:>7} items/s, {:+.0} %  {what}{note}",
            number + 1,
            rate(Some(item.predicted_images_per_s)),
            item.gain * 100.0
        ));
    }
    lines
}

fn job(subject: &Subject, diagnosis: &Diagnosis) -> Vec<String> {
    let settings = &subject.settings;
    let workers = diagnosis.situation.workers;
    let size = match subject.dataset.as_ref() {
        Dataset::Images(_) => format!(", {0} x {0} pixels", settings.image_size),
        Dataset::Text(text) => format!(", sequences of {}", text.sequence_length()),
    };
    let source = match diagnosis.source {
        Source::Process => "in this process's memory".to_owned(),
        Source::PageCache => "the page cache holds all of it after the first epoch (estimate)".to_owned(),
        Source::Storage { hits } if hits > 0.0 => {
            format!("from storage in every epoch, {} from the page cache (estimate)", percent(hits))
        }
        Source::Storage { .. } => "from storage".to_owned(),
    };
    vec![
        format!(
            "job         {} on {}, batches of {}{size}, workers: {workers}, cores: {}",
            settings.model, subject.device.name, settings.batch_size, subject.cores
        ),
        format!("data        {}; {source}", subject.dataset.description()),
    ]
}

fn rates(diagnosis: &Diagnosis) -> Vec<String> {
    let m = &diagnosis.measured;
    let per_cpu = |stage: Option<Rate>| rate(stage.and_then(|r| r.per_cpu_s()));
    let mut lines = vec![
        "items/s     each stage by itself".to_owned(),
        format!(
            "  compute   {:>8}  {} for each second of CPU time",
            rate(m.step.wall_s_each().map(|each| 1.0 / each)),
            rate(m.step.cpu_s_each().map(|each| 1.0 / each))
        ),
        format!(
            "  prep      {:>8}  {} for each second of CPU time; as bytes {}, from indexed shards {}",
            rate(m.prep_many.as_ref().unwrap_or(&m.prep_one).per_s()),
            rate(m.prep_one.per_cpu_s()),
            per_cpu(m.prep_u8),
            per_cpu(m.prep_indexed)
        ),
    ];
    let Some(storage) = &m.storage else {
        lines.push("  fetch            -  nothing to read: the data is in memory".to_owned());
        return lines;
    };
    lines.push(format!("  fetch     {:>8}  from the page cache, one reader", rate(storage.warm.per_s())));
    lines.push(match &storage.cold {
        Cold::Measured { one, many } => format!(
            "            {:>8}  from storage, many readers ({}/s); one reader {}",
            rate(many.per_s()),
            Bytes((many.per_s().unwrap_or(0.0) * many.bytes_each().unwrap_or(0.0)) as u64),
            rate(one.per_s())
        ),
        Cold::NotMeasured(reason) => format!("                   -  from storage: {reason}"),
    });
    lines
}

fn parts(split: &TimeBreakdown) -> Vec<String> {
    let rows = [
        ("compute", split.compute_s, "what the step takes by itself"),
        ("slowed", split.slowed_s, "what it takes longer while workers use the same cores"),
        ("prep", split.prep_stall_s, "data stall: waiting for decode and augmentation"),
        ("fetch", split.fetch_stall_s, "data stall: waiting for storage"),
        ("transfer", split.transfer_s, "data stall: waiting for the transfer to the device"),
        ("other", split.other_s, "bookkeeping"),
    ];
    let share = |value: f64| percent(value / split.total_s());
    let row = |(name, value, meaning): (&str, f64, &str)| {
        format!("  {name:<10}{:>8} ms  {:>7}  {meaning}", milliseconds(value), share(value))
    };
    rows.map(row).to_vec()
}

fn applied_text(applied: &Applied) -> String {
    let flags = flags(applied.change).unwrap_or_default();
    format!(
        "applied     {flags}: {:.1} items/s predicted, {:.1} got (the prediction is {:+.1} % off)\n            \
         the unchanged job after that: {}",
        applied.predicted_per_s,
        applied.got_per_s,
        applied.error * 100.0,
        rate(applied.unchanged_per_s)
    )
}

/// A rate with as many decimals as make sense.
fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", seconds * 1e3)
}
