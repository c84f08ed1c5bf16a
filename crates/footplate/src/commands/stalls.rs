//! `footplate stalls`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footplate_device::meter::RealClock;
use footplate_train::JobRequest;
use footplate_train::diagnose::{self, Subject};
use footplate_train::measure_step::Watch;

use crate::cli::StallsArguments;
use crate::failure::{Failure, Kind};
use crate::heap::Heap;
use crate::options::SettingsFile;
use crate::view::{Detail, Progress};
use crate::{machine, output, signals, stalls_text};

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
    let stop = signals::stop_flag()?;
    let watch = Watch { clock: Arc::new(RealClock::since(Instant::now())), stop };
    let mut progress = Progress::new(detail);
    let mut note = |what: &str| progress.stage(&format!("measuring: {what}"));
    let time = Duration::from_secs_f64(seconds.min(86_400.0));
    let found = diagnose::diagnose(&subject, time, arguments.apply, &watch, &mut note);
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
    let model = arguments.model.clone();
    let request = JobRequest { model, ..arguments.options.clone() }.or(file.options);
    let mut progress = Progress::new(detail);
    let plan = footplate_train::prepare(&request, &machine::of_process(), &Heap, &mut |what| {
        progress.prepares(what);
    });
    progress.clear();
    let plan = plan?;
    if detail != Detail::Quiet {
        plan.notes.iter().for_each(|note| output::note(note));
    }
    Ok(Subject::of(plan, arguments.cold))
}
