//! `footplate stalls`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use footplate_core::Bytes;
use footplate_data::Dataset;
use footplate_train::diagnose::{self, Subject};
use footplate_train::settings::TrainSettings;

use crate::cli::StallsArguments;
use crate::commands::train;
use crate::failure::{Failure, Kind};
use crate::options::{BatchSize, SettingsFile, TrainOptions};
use crate::view::{Detail, Progress};
use crate::{host, output, resolve, stalls_text};

/// The least time that gives every stage a measurement worth the name.
const TIME_MIN_S: f64 = 1.0;

pub(crate) fn run(arguments: &StallsArguments) -> Result<ExitCode, Failure> {
    let seconds = arguments.time.0;
    if seconds < TIME_MIN_S {
        return Err(Failure::new(Kind::Usage, format!("time = {seconds} s: too short to measure anything"))
            .hint("--time 20s is enough for most jobs"));
    }
    let detail = Detail::of_terminal(arguments.quiet);
    let subject = subject(arguments, detail)?;
    for warning in subject.dataset.warnings() {
        output::warning(warning);
    }
    let stop = train::stop_on_signals().map_err(|e| Failure::new(Kind::Machine, format!("signals: {e}")))?;
    let mut progress = Progress::new(detail);
    let mut note = |what: &str| progress.stage(&format!("measuring: {what}"));
    let time = Duration::from_secs_f64(seconds.min(86_400.0));
    let found = diagnose::diagnose(&subject, time, arguments.apply, &stop, &mut note);
    progress.clear();
    let Some(diagnosis) = found? else {
        return Err(Failure::new(Kind::Interrupted, "interrupted before the diagnosis was complete"));
    };
    for warning in &diagnosis.warnings {
        output::warning(warning);
    }
    let text = if arguments.json {
        stalls_text::json(&subject, &diagnosis).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?
    } else {
        stalls_text::text(&subject, &diagnosis)
    };
    output::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// The job that `footplate train` would run with the same options.
fn subject(arguments: &StallsArguments, detail: Detail) -> Result<Subject, Failure> {
    let file = match &arguments.config {
        Some(path) => SettingsFile::read(path)?,
        None => SettingsFile::default(),
    };
    let options = arguments.options.clone().or(file.options);
    let entry = resolve::entry(arguments.model.as_deref().or(file.model.as_deref()))?;
    let device = resolve::opened_device(&options)?;
    let data = match &options.data {
        Some(path) => train::absolute(path)?,
        None => train::embedded_data(entry, &options, detail)?,
    };
    let fraction = resolve::validation_fraction(&options, entry.task);
    let (seed, length) = (options.seed.unwrap_or(0), resolve::sequence_length(&options));
    let dataset = train::open(&data, options.format.as_deref(), fraction, seed, length)?;
    let mut settings = train::settings_for(&options, entry, &dataset);
    let available = train::available_memory(&options);
    let planner = train::planner(&settings, &dataset)?;
    if options.batch_size == Some(BatchSize::Auto) {
        let batch_size = Some(BatchSize::Fixed(train::auto_batch(&planner, &dataset, available)?));
        settings = train::settings_for(&TrainOptions { batch_size, ..options.clone() }, entry, &dataset);
    }
    let planner = planner.with_batch_size(settings.batch_size);
    let plan = planner.checked(available)?;
    let batch_max = planner.largest_batch(train::AUTO_BATCH_MAX.max(settings.batch_size), available);
    let known = available != Bytes(u64::MAX);
    Ok(Subject {
        cores: host::cores(),
        memory_free: known.then(|| available.0.saturating_sub(plan.total().0)),
        batch_max: batch_max.min(largest_sensible(&dataset, &settings)),
        cold: arguments.cold,
        settings,
        dataset,
        device,
    })
}

/// A batch that leaves an epoch a few steps.
fn largest_sensible(dataset: &Arc<Dataset>, settings: &TrainSettings) -> usize {
    (dataset.len(footplate_data::Split::Train) / 4).max(settings.batch_size)
}
