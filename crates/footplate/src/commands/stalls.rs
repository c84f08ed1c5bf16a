//! `footplate stalls`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use footplate_core::Seconds;
use footplate_device::meter::RealClock;
use footplate_train::JobRequest;
use footplate_train::diagnose::{self, Subject};
use footplate_train::measure_step::Watch;

use crate::failure::{Failure, Kind};
use crate::heap::Heap;
use crate::options::{SettingsFile, TrainOptions};
use crate::view::{Detail, Progress};
use crate::{machine, output, signals, stalls_text};

/// The least time that gives every stage a measurement worth the name.
const TIME_MIN_S: f64 = 1.0;

const STALLS_EXAMPLES: &str = "\
Examples:
  footplate stalls resnet18 --data photos/                 what limits this job, and what to change
  footplate stalls resnet18 --data photos/ --apply         also try the best change: predicted against got
  footplate stalls lenet5 --data photos/ --image-size 224 --workers 1 --time 20s --json
  footplate stalls resnet18 --data /media/card/photos --cold   as in the first epoch, or with more data than memory

It takes the options of `footplate train`, runs real steps on real data for the time given, and leaves nothing behind.

Exit codes: 0 done, 1 failure inside, 2 usage, 3 bad input data, 4 hardware, permission or storage,
6 not enough memory, 7 interrupted.";

#[derive(Debug, Args)]
#[command(after_help = STALLS_EXAMPLES)]
pub(crate) struct StallsArguments {
    /// lenet5, resnet18, resnet50, mobilenet_v3_small, mobilenet_v3_large or lstm [default: lenet5]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) options: TrainOptions,

    /// Settings file in TOML
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub(crate) config: Option<PathBuf>,

    /// How long to measure, e.g. 20s, 2m; single steps that are longer are still finished
    #[arg(long, value_name = "TIME", default_value = "60s", help_heading = "Diagnosis")]
    pub(crate) time: Seconds,

    /// Run again with the best change that needs no other data set or machine, and compare with the prediction
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) apply: bool,

    /// Take the samples as not yet read: the first epoch, or more data than memory [default: by the sizes]
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) cold: bool,

    /// Print one JSON document with all figures on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors and the result
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}

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
