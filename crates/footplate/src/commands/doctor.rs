//! `footplate doctor`: what would stop or slow a run on this machine, each with the repair.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use footplate_core::Reading;
use footplate_data::measure_rates::{self, Cold, Rate};
use footplate_device::discover::storage_of_folder;
use footplate_device::doctor::{self, Finding, Level, Outside, StorageVerdict};
use footplate_device::host;
use footplate_device::meter::RealClock;
use footplate_device::{Device, Source, guard};
use footplate_train::device::DeviceChoice;
use footplate_train::feed_path::FeedChoice;
use footplate_train::measure_step::{Watch, step_rate};
use footplate_train::{JobRequest, OpenJob, TrainError, device};
use footplate_views::text::{known, short};
use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::machine::MachineArguments;
use crate::view::{Detail, Progress, percent};
use crate::{cache_folder, machine, output};

/// Each measurement takes so long at most.
const TIME_WARM: Duration = Duration::from_millis(500);
const TIME_COLD: Duration = Duration::from_secs(4);
const TIME_STEPS: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  footplate doctor                            this machine
  footplate doctor resnet18 --data photos/    and whether its storage keeps up with this model
  footplate doctor --sim orin-nano            a simulated board

Each finding is ok, a note (good to know), a warning (costs speed, or may cost the run) or a problem (a run will fail),
with what helps below it. --data reads for a few seconds and runs some steps on random numbers; nothing is changed.

Exit codes: 0 no problem, 1 failure inside, 2 usage, 4 a problem was found.";

/// What to look at.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArguments {
    /// The model that the storage must keep up with [default: lenet5]
    #[arg(requires = "data")]
    model: Option<String>,

    /// Measure how fast this data is read, against what the model needs
    #[arg(long, value_name = "PATH", conflicts_with_all = ["sim", "root"])]
    data: Option<PathBuf>,

    #[command(flatten)]
    machine: MachineArguments,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let device = Device::discover(arguments.machine.open()?);
    let is_here = *device.root.source() == Source::System;
    let now_unix_s = is_here.then(|| jiff::Timestamp::now().as_second());
    let mut findings = doctor::examine(&device, Outside { now_unix_s });
    if let Some(folder) = arguments.machine.state_folder(&device.root) {
        findings.push(doctor::journal(guard::stale(&folder)));
    }
    if is_here {
        findings.push(engine());
        findings.extend(folders(&device));
    }
    if let Some(data) = &arguments.data {
        let mut progress = Progress::new(Detail::of_terminal(arguments.json));
        findings.extend(storage(&device, data, arguments.model.as_deref(), &mut progress)?);
        progress.clear();
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    output::result(&if arguments.json {
        json_text(&device, &findings, worst)
    } else {
        text(&device, &findings)
    });
    Ok(if worst == Level::Problem { Kind::Machine.exit_code() } else { ExitCode::SUCCESS })
}

/// The device that `--device auto` would choose.
fn engine() -> Finding {
    match device::open(DeviceChoice::Auto, FeedChoice::Auto, kernels_folder().as_deref()) {
        Ok(chosen) => {
            let finding = Finding::new(
                "device",
                Level::Ok,
                format!("`--device auto` trains on {}: {}", chosen.name, chosen.reason),
            );
            if chosen.name == "cpu" {
                return Finding { level: Level::Note, ..finding }.repair(
                    "for a GPU footplate is built with a cargo feature: README, \"What works where\"",
                );
            }
            finding
        }
        Err(error) => Finding::new("device", Level::Problem, error.to_string()),
    }
}

/// Room for runs, where they are kept unless `--run-dir` says otherwise.
fn folders(device: &Device) -> Vec<Finding> {
    let here = Path::new(".");
    let name = std::path::absolute(here).unwrap_or_else(|_| here.to_owned());
    let kind = match storage_of_folder(&device.root, here) {
        Reading::Value(storage) => {
            format!(" on {} ({})", storage.disk, super::device::storage_name(storage.kind))
        }
        Reading::Absent | Reading::Unreadable { .. } => String::new(),
    };
    match host::space(here) {
        Ok((free, is_read_only)) => {
            vec![doctor::folder_space(&format!("{}{kind}", name.display()), free, is_read_only)]
        }
        Err(error) => vec![Finding::new("disk", Level::Note, format!("{}: {error}", name.display()))],
    }
}

/// Whether the data can be opened, and whether it is read as fast as the model trains.
fn storage(
    machine: &Device,
    data: &Path,
    model: Option<&str>,
    progress: &mut Progress,
) -> Result<Vec<Finding>, Failure> {
    let request =
        JobRequest { model: model.map(str::to_owned), data: Some(data.to_owned()), ..JobRequest::default() };
    progress.stage("opening the data set");
    let open = match OpenJob::open(&request, &machine::of_process(), &mut |_| {}) {
        Ok(open) => open,
        Err(error @ (TrainError::UnknownModel { .. } | TrainError::Path { .. })) => return Err(error.into()),
        Err(error) => {
            let failure = Failure::from(error);
            let finding = Finding::new("data", Level::Problem, failure.message);
            let repair =
                failure.hint.unwrap_or_else(|| "docs/data.md tells which forms can be read".to_owned());
            return Ok(vec![finding.repair(repair)]);
        }
    };
    let dataset = &open.dataset;
    let mut findings: Vec<Finding> =
        dataset.warnings().iter().map(|text| Finding::new("data", Level::Warning, text.clone())).collect();
    findings.push(Finding::new("data", Level::Ok, dataset.description()));
    let watch = Watch { clock: Arc::new(RealClock::since(Instant::now())), stop: Arc::default() };
    progress.stage("reading samples");
    let Some(read) = measure_rates::storage(dataset, TIME_WARM, TIME_COLD, &watch.stop) else {
        return Ok(findings);
    };
    progress.stage("running steps on random numbers");
    let need = need(&open, &watch)?;
    let folder = if data.is_dir() { data } else { data.parent().unwrap_or(Path::new(".")) };
    let disk = match storage_of_folder(&machine.root, folder) {
        Reading::Value(storage) => {
            format!("{} ({})", storage.disk, super::device::storage_name(storage.kind))
        }
        Reading::Absent => "a file system without a disk".to_owned(),
        Reading::Unreadable { reason } => format!("x ({reason})"),
    };
    findings.push(verdict(&read.cold, &read.warm, need.as_ref(), &disk));
    Ok(findings)
}

/// Where kernels that were chosen by measuring are kept.
fn kernels_folder() -> Option<PathBuf> {
    cache_folder::user_cache().map(|folder| folder.join("kernels"))
}

/// What the steps take.
struct Need {
    items_per_s: f64,
    how: String,
}

fn need(open: &OpenJob, watch: &Watch) -> Result<Option<Need>, Failure> {
    let chosen = device::open(DeviceChoice::Auto, FeedChoice::Auto, kernels_folder().as_deref())?;
    let settings = open.settings(host::cores());
    let rate = step_rate(&settings, &open.dataset, &chosen, TIME_STEPS, watch)?;
    Ok(rate.wall_s_each().map(|each| Need {
        items_per_s: 1.0 / each,
        how: format!(
            "{} on {}, batch {}, measured on random numbers",
            open.entry.name, chosen.name, rate.batch_size
        ),
    }))
}

fn verdict(cold: &Cold, warm: &Rate, need: Option<&Need>, disk: &str) -> Finding {
    let check = "storage";
    let per_s = |rate: &Rate| {
        let mega = rate.per_s().zip(rate.bytes_each()).map(|(items, bytes)| items * bytes / 1e6);
        format!("{} samples/s ({} MB/s)", known(rate.per_s(), short), known(mega, short))
    };
    let needs = need.map_or("what the model needs is not known".to_owned(), |need| {
        format!("the steps take {} samples/s ({})", short(need.items_per_s), need.how)
    });
    let many = match cold {
        Cold::Measured { many, .. } => many,
        Cold::NotMeasured(reason) => {
            let told = format!(
                "{disk}: reading from the disk itself was not measured: {reason}; from the page cache {}; {needs}",
                per_s(warm)
            );
            return Finding::new(check, Level::Note, told);
        }
    };
    let told = format!("{disk} gives {} at first reading; {needs}", per_s(many));
    let verdict = StorageVerdict::of(many.per_s(), need.map(|need| need.items_per_s));
    let finding = |told: String| Finding::new(check, verdict.level(), told);
    match verdict {
        StorageVerdict::Waits { share } => {
            let lost = percent(share);
            finding(format!(
                "{told}: the first epoch waits {lost} of its time, and each one if the data is larger than memory"
            ))
            .repair("footplate pack, --cache, or faster storage; `footplate stalls` tells what each would bring")
        }
        StorageVerdict::JustEnough => finding(format!("{told}: that is just enough")),
        StorageVerdict::Enough | StorageVerdict::Unknown => finding(told),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    }
}

fn machine_name(device: &Device) -> String {
    let mut name = device.module.map_or(device.facts.name, |module| module.name).to_owned();
    if device.root.is_simulated() {
        name.push_str(" - SIMULATED: no figure here was measured");
    }
    name
}

fn text(device: &Device, findings: &[Finding]) -> String {
    let mut lines = vec![machine_name(device)];
    for finding in findings {
        lines.push(format!("  {:<8} {:<13} {}", level_name(finding.level), finding.check, finding.message));
        if let Some(repair) = finding.repair.as_ref().filter(|_| finding.level > Level::Ok) {
            lines.push(format!("           {:<13} -> {repair}", ""));
        }
    }
    let count = |level: Level, one: &str, many: &str| {
        let n = findings.iter().filter(|finding| finding.level == level).count();
        format!("{n} {}", if n == 1 { one } else { many })
    };
    lines.push(format!(
        "\n{}, {}, {}",
        count(Level::Problem, "problem", "problems"),
        count(Level::Warning, "warning", "warnings"),
        count(Level::Note, "note", "notes")
    ));
    lines.join("\n")
}

fn json_text(device: &Device, findings: &[Finding], worst: Level) -> String {
    let document = json!({
        "machine": device.module.map_or(device.facts.name, |module| module.name),
        "board_id": device.facts.id,
        "simulated": device.root.is_simulated(),
        "worst": worst,
        "findings": findings,
    });
    format!("{document:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(items: u64) -> Rate {
        Rate { items, bytes: items * 100_000, wall_s: 1.0, ..Rate::default() }
    }

    fn judged(gives: u64, takes: f64) -> Finding {
        let need = Need { items_per_s: takes, how: "test".into() };
        let cold = Cold::Measured { one: rate(gives / 2), many: rate(gives) };
        verdict(&cold, &rate(gives * 10), Some(&need), "sda (SD card)")
    }

    #[test]
    fn storage_is_judged_by_what_the_steps_take() {
        let slow = judged(50, 100.0);
        assert_eq!(slow.level, Level::Warning);
        assert!(slow.message.contains("waits 50.0 %") && slow.repair.is_some(), "{slow:?}");
        assert_eq!(judged(110, 100.0).level, Level::Note);
        assert_eq!(judged(500, 100.0).level, Level::Ok);
        let unknown = verdict(&Cold::NotMeasured("in memory".into()), &rate(9), None, "x");
        assert_eq!(unknown.level, Level::Note);
        assert!(unknown.message.contains("in memory"), "{unknown:?}");
    }
}
