//! throw-away
use footplate_core::profile_table::ProfileTable;
use footplate_tune::Setting;
use footplate_tune::evaluate::*;
use footplate_tune::predict::Measurement;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let profiles: Vec<usize> = args[0].split(',').map(|s| s.parse().unwrap()).collect();
    let seeds: u64 = args[1].parse().unwrap();
    for path in &args[2..] {
        let table = ProfileTable::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        for w in table.workloads().into_iter() {
            let mut truths: Vec<Truth> = vec![];
            for row in table.of(w) {
                let setting = Setting {
                    mode: row.mode,
                    batch_size: table.extra_number(row, "batch_size").unwrap().map(|v| v as u64),
                    workers: None,
                };
                let time_s = row.time_s.or(table.extra_number(row, "time_per_epoch_s").unwrap());
                let m = Measurement {
                    setting,
                    time_s,
                    power_w: row.mean_power().map(|p| p.0),
                    time_error: 0.0,
                    power_error: 0.0,
                };
                match truths.iter_mut().find(|t| t.setting == setting) {
                    Some(t) => t.repeats.push(m),
                    None => truths.push(Truth { setting, repeats: vec![m] }),
                }
            }
            println!("{w} {:?}", noise_floor(&truths));
            let t = std::time::Instant::now();
            for r in
                evaluate(w, &truths, &Options { profiles: profiles.clone(), seeds, ..Options::default() })
            {
                println!(
                    "  {:?} {:?} n={} mape {:.2} p95 {:.1} cover {:.2} regret {:.2} p95 {:.1} broken {:.3} by {:.2} used {:.1}",
                    r.target,
                    r.sampling,
                    r.profiles,
                    r.mape_pct_median.unwrap_or(-1.0),
                    r.p95_pct.unwrap_or(-1.0),
                    r.coverage90.unwrap_or(-1.0),
                    r.regret_pct_mean.unwrap_or(-1.0),
                    r.regret_pct_p95.unwrap_or(-1.0),
                    r.limit_broken_fraction.unwrap_or(-1.0),
                    r.limit_excess_pct_mean.unwrap_or(-1.0),
                    r.profiles_used_mean.unwrap_or(-1.0)
                );
            }
            println!("  took {:.1} s", t.elapsed().as_secs_f64());
        }
    }
}
