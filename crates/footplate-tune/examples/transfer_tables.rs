//! What 24 known settings of one job help to predict another, one line for each row: `transfer_tables PROFILES SEEDS
//! TARGET.csv[:WORKLOAD] SOURCE.csv[:WORKLOAD]`. For `benches/README.md`.
#![expect(clippy::disallowed_methods, reason = "it reads its arguments and tables")]
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::error::Error;

use footplate_core::profile_table::ProfileTable;
use footplate_tune::evaluate::{Options, Other, Row, Truth, evaluate, evaluate_with, truths};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profiles, seeds, target, source] = arguments.as_slice() else {
        return Err(
            "usage: transfer_tables PROFILES SEEDS TARGET.csv[:WORKLOAD] SOURCE.csv[:WORKLOAD]".into()
        );
    };
    let profiles = profiles.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let options = Options { profiles, seeds: seeds.parse()?, ..Options::default() };
    let ((name, table), (other, others)) = (read(target)?, read(source)?);
    let known = Other::of(&other, &others, &table);
    let fresh = evaluate(&name, &table, &options);
    let with = evaluate_with(&name, &table, Some(known), &options);
    for (fresh, with) in fresh.iter().zip(&with) {
        let shown = |value: &dyn Fn(&Row) -> Option<f64>, factor: f64| {
            let one = |row| value(row).map_or("-".to_owned(), |v| format!("{:.2}", factor * v));
            format!("{} > {}", one(fresh), one(with))
        };
        println!(
            "{other} > {name} | {:?} | {:?} | {} | MAPE {} | in 90 % {} | regret {} | broken {}",
            fresh.target,
            fresh.sampling,
            fresh.profiles,
            shown(&|r| r.mape_pct_median, 1.0),
            shown(&|r| r.coverage90, 1.0),
            shown(&|r| r.regret_pct_mean, 1.0),
            shown(&|r| r.limit_broken_fraction, 100.0),
        );
    }
    Ok(())
}

fn read(file: &str) -> Result<(String, Vec<Truth>), Box<dyn Error>> {
    let (path, only) = match file.split_once(".csv:") {
        Some((path, workload)) => (format!("{path}.csv"), Some(workload.to_owned())),
        None => (file.to_owned(), None),
    };
    let table = ProfileTable::parse(&std::fs::read_to_string(&path)?)?;
    let workload =
        only.or_else(|| table.workloads().first().map(|w| (*w).to_owned())).ok_or("no workload")?;
    let truths = truths(&table, &workload)?;
    Ok((workload, truths))
}
