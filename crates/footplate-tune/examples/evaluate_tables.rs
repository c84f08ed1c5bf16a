//! `footplate evaluate` for many tables at once, one line for each row: `evaluate_tables PROFILES SEEDS FILE.csv…`
//! (`PROFILES` such as `12,50`; a name after a colon takes only that workload). For `benches/README.md`.
#![expect(clippy::disallowed_methods, reason = "it reads its arguments and tables")]
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::error::Error;

use footplate_core::profile_table::ProfileTable;
use footplate_tune::evaluate::{Options, evaluate, truths};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: evaluate_tables PROFILES SEEDS FILE.csv[:WORKLOAD]…";
    let profiles = arguments.next().ok_or(usage)?;
    let profiles = profiles.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let seeds = arguments.next().ok_or(usage)?.parse()?;
    let options = Options { profiles, seeds, ..Options::default() };
    println!(
        "workload | target | sampling | profiles | MAPE % | p95 % | in 90 % | regret % | to shown % | refused % | broken % | by %"
    );
    for file in arguments {
        let (path, only) = match file.split_once(".csv:") {
            Some((path, workload)) => (format!("{path}.csv"), Some(workload.to_owned())),
            None => (file, None),
        };
        let table = ProfileTable::parse(&std::fs::read_to_string(&path)?)?;
        for workload in table.workloads() {
            if only.as_ref().is_some_and(|only| only != workload) {
                continue;
            }
            for row in evaluate(workload, &truths(&table, workload)?, &options) {
                let shown = |value: Option<f64>, factor: f64| {
                    value.map_or("-".to_owned(), |v| format!("{:.2}", v * factor))
                };
                println!(
                    "{workload} | {:?} | {:?} | {} | {} | {} | {} | {} | {} | {} | {} | {}",
                    row.target,
                    row.sampling,
                    row.profiles,
                    shown(row.mape_pct_median, 1.0),
                    shown(row.p95_pct, 1.0),
                    shown(row.coverage90, 1.0),
                    shown(row.regret_pct_mean, 1.0),
                    shown(row.regret_to_shown_pct_mean, 1.0),
                    shown(row.refused_fraction, 100.0),
                    shown(row.limit_broken_fraction, 100.0),
                    shown(row.limit_excess_pct_mean, 1.0),
                );
            }
        }
    }
    Ok(())
}
