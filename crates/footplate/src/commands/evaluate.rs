//! `footplate evaluate`: how well few profiles predict all others of a measured table, and the choices from them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use footplate_core::profile_table::ProfileTable;
use footplate_run::profile_store;
use footplate_tune::evaluate::{
    Metric, NoiseFloor, Options, Other, Row, Sampling, evaluate, evaluate_with, noise_floor,
};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  footplate evaluate tx2-xception-600.csv
  footplate evaluate a40-training-power-limit.csv --profiles 12 --seeds 5 --json
  footplate evaluate tx2-xception-600.csv --transfer tx2-xception-200.csv     what an earlier job's profiles help

The table: workload, cpu_cores, cpu_hz, gpu_hz, emc_hz, power_limit_w, batch_size, and time_s (or
time_per_epoch_s), power_w, energy_j; empty where there is nothing. Rows with the same knobs are repeats.
What is printed is explained in docs/predictor.md.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvaluateArguments {
    /// Table of measured modes
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,

    /// Counts of modes that are measured
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "8,12,20,50",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    profiles: Vec<u32>,

    /// Draws for each count
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,

    /// Only this workload of the table
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,

    /// Also with 24 random settings of this table known beforehand: of another job, or of this one on another machine
    #[arg(long, value_name = "OTHER.csv")]
    transfer: Option<PathBuf>,

    /// Of these only this workload [default: the same name, or the only one]
    #[arg(long, value_name = "NAME", requires = "transfer")]
    transfer_workload: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    file: String,
    /// The other table, some settings of which are known in the rows that say so.
    transfer: Option<String>,
    seeds: u32,
    rows: Vec<Row>,
    noise_floors: Vec<Floor>,
}

#[derive(Serialize)]
struct Floor {
    workload: String,
    #[serde(flatten)]
    floor: NoiseFloor,
}

pub(crate) fn run(arguments: &EvaluateArguments) -> Result<ExitCode, Failure> {
    let table = profile_store::table(&arguments.file)?;
    let all = table.workloads();
    let workloads: Vec<&str> = match &arguments.workload {
        Some(name) if all.contains(&name.as_str()) => vec![name],
        Some(name) => {
            let failure = Failure::new(Kind::Usage, format!("the table has no workload `{name}`"));
            return Err(failure.hint(format!("its workloads are {}", all.join(", "))));
        }
        None => all,
    };
    let options = Options {
        profiles: arguments.profiles.iter().map(|n| *n as usize).collect(),
        seeds: u64::from(arguments.seeds),
        ..Options::default()
    };
    let other = match &arguments.transfer {
        Some(path) => Some((path, profile_store::table(path)?)),
        None => None,
    };
    let mut document = Document {
        file: arguments.file.display().to_string(),
        transfer: arguments.transfer.as_ref().map(|path| path.display().to_string()),
        seeds: arguments.seeds,
        rows: Vec::new(),
        noise_floors: Vec::new(),
    };
    let other = other.as_ref().map(|(path, table)| (path.as_path(), table));
    for workload in workloads {
        evaluate_one(arguments, workload, &table, other, &options, &mut document)?;
    }
    if document.rows.is_empty() {
        let failure = Failure::new(Kind::Data, "the table leaves nothing to evaluate");
        return Err(failure.hint("each count of --profiles must leave at least five settings hidden"));
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&document)
            .map_err(|e| Failure::new(Kind::Internal, format!("cannot write JSON: {e}")))?;
        output::result(&text);
    } else {
        print(&document);
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds the figures of one workload of a table.
fn evaluate_one(
    arguments: &EvaluateArguments,
    workload: &str,
    table: &ProfileTable,
    other: Option<(&Path, &ProfileTable)>,
    options: &Options,
    document: &mut Document,
) -> Result<(), Failure> {
    let truths = profile_store::truths(&arguments.file, table, workload)?;
    output::note(&format!("{workload}: {} settings", truths.len()));
    let floor = noise_floor(&truths);
    document.noise_floors.extend(floor.map(|floor| Floor { workload: workload.to_owned(), floor }));
    let rows = evaluate(workload, &truths, options);
    if rows.is_empty() {
        output::warning(&format!("{workload}: too few settings, or nothing that can be predicted"));
    }
    document.rows.extend(rows);
    if let Some((path, table)) = other {
        let name = other_workload(arguments, path, table, workload)?;
        let known = profile_store::truths(path, table, name)?;
        let label = format!("{}: {name}", path.display());
        let other = Other::of(&label, &known, &truths);
        document.rows.extend(evaluate_with(workload, &truths, Some(other), options));
    }
    Ok(())
}

/// The workload of the other table that is known beforehand.
fn other_workload<'a>(
    arguments: &EvaluateArguments,
    path: &Path,
    table: &'a ProfileTable,
    workload: &str,
) -> Result<&'a str, Failure> {
    let all = table.workloads();
    let wanted = arguments.transfer_workload.as_deref();
    let found = match (wanted, all.as_slice()) {
        (None, [only]) => Some(*only),
        _ => all.iter().copied().find(|name| *name == wanted.unwrap_or(workload)),
    };
    found.ok_or_else(|| {
        let message = format!("{} has no workload `{}`", path.display(), wanted.unwrap_or(workload));
        Failure::new(Kind::Usage, message).hint(format!("--transfer-workload with one of {}", all.join(", ")))
    })
}

fn print(document: &Document) {
    for floor in &document.noise_floors {
        let f = &floor.floor;
        output::result(&format!(
            "{}: repeats of {} settings differ by {} % (time), {} % (power), {} % (energy)",
            floor.workload,
            f.settings,
            shown(f.time_pct, 1.0),
            shown(f.power_pct, 1.0),
            shown(f.energy_pct, 1.0)
        ));
    }
    let mut before = None;
    for row in &document.rows {
        let title = (&row.workload, &row.known);
        if before != Some(title) {
            before = Some(title);
            let known =
                row.known.as_ref().map_or(String::new(), |other| format!(", some settings of {other} known"));
            output::result(&format!("\n{}{known}", row.workload));
            output::result(
                "target  sampling profiles |  error %: mean  median    p95  in 90 % | regret %  p95  to shown  limit   refused %  broken %  by %",
            );
        }
        output::result(&line(row));
    }
}

fn line(row: &Row) -> String {
    let sampling = match row.sampling {
        Sampling::Random => "random",
        Sampling::Planned => "planned",
    };
    let name = |target: Metric| match target {
        Metric::Time => "time",
        Metric::Power => "power",
        Metric::Energy => "energy",
    };
    format!(
        "{:<7} {sampling:<8} {:>8} |       {:>9} {:>7} {:>6} {:>9} | {:>8} {:>4} {:>9}  {:<6} {:>10} {:>9} {:>5}",
        name(row.target),
        row.profiles,
        shown(row.mape_pct_median, 1.0),
        shown(row.p50_pct, 1.0),
        shown(row.p95_pct, 1.0),
        shown(row.coverage90, 100.0),
        shown(row.regret_pct_mean, 1.0),
        shown(row.regret_pct_p95, 1.0),
        shown(row.regret_to_shown_pct_mean, 1.0),
        row.limit.map_or("-", name),
        shown(row.refused_fraction, 100.0),
        shown(row.limit_broken_fraction, 100.0),
        shown(row.limit_excess_pct_mean, 1.0),
    )
}

/// A figure, or "-" for one that there is not.
fn shown(value: Option<f64>, factor: f64) -> String {
    value.map_or("-".to_owned(), |v| {
        let v = v * factor;
        let decimals = if v.abs() < 10.0 { 2 } else { 1 };
        format!("{v:.decimals$}")
    })
}
