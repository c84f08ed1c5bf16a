//! throw-away
use footplate_core::{Hertz, PowerMode, stats};
use footplate_tune::predict::{Measurement, Predictor, Z90};
use footplate_tune::rng::Rng;
use footplate_tune::{Knobs, Setting};
use std::collections::BTreeMap;

fn load(path: &str) -> BTreeMap<String, Vec<Measurement>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut groups: BTreeMap<String, BTreeMap<Setting, Vec<(Option<f64>, Option<f64>)>>> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let get = |n: &str| names.iter().position(|x| *x == n).and_then(|i| cells[i].parse::<f64>().ok());
        let mode = PowerMode {
            cpu_cores: get("cpu_cores").map(|v| v as u32),
            cpu_hz: get("cpu_hz").map(|v| Hertz(v as u64)),
            gpu_hz: get("gpu_hz").map(|v| Hertz(v as u64)),
            emc_hz: get("emc_hz").map(|v| Hertz(v as u64)),
            gpu_power_limit_mw: get("power_limit_w").map(|v| (v * 1e3) as u64),
        };
        let setting = Setting { mode, batch_size: get("batch_size").map(|v| v as u64), workers: None };
        let time = get("time_s").or(get("time_per_epoch_s"));
        let power = get("power_w").or_else(|| Some(get("energy_j")? / time?));
        groups.entry(cells[0].into()).or_default().entry(setting).or_default().push((time, power));
    }
    let mean = |v: Vec<f64>| stats::mean(&v);
    groups
        .into_iter()
        .map(|(name, settings)| {
            let rows = settings
                .into_iter()
                .map(|(setting, v)| Measurement {
                    setting,
                    time_s: mean(v.iter().filter_map(|x| x.0).collect()),
                    power_w: mean(v.iter().filter_map(|x| x.1).collect()),
                    time_error: 0.0,
                    power_error: 0.0,
                })
                .collect();
            (name, rows)
        })
        .collect()
}

fn plan(knobs: &Knobs, rows: &[Measurement], settings: &[Setting], count: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed);
    let n = rows.len();
    let starts: usize = std::env::var("STARTS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let pos: Vec<_> = settings.iter().map(|s| knobs.position(&knobs.point(s))).collect();
    let d =
        |a: usize, b: usize| -> f64 { pos[a].iter().zip(&pos[b]).map(|(x, y)| (x - y).powi(2)).sum::<f64>() };
    let mut picked = vec![rng.below(n)];
    while picked.len() < starts.min(count) {
        let pool = rng.sample(n, 100);
        let far = pool
            .into_iter()
            .max_by(|a, b| {
                let m = |x: usize| picked.iter().map(|p| d(x, *p)).fold(f64::MAX, f64::min);
                m(*a).total_cmp(&m(*b))
            })
            .unwrap();
        picked.push(far);
    }
    while picked.len() < count {
        let known: Vec<Measurement> = picked.iter().map(|i| rows[*i]).collect();
        let p = Predictor::fit(knobs, &known);
        let cand: Vec<usize> = rng.sample(n, 150).into_iter().filter(|i| !picked.contains(i)).collect();
        let refs: Vec<Setting> = rng.sample(n, 150).into_iter().map(|i| settings[i]).collect();
        let cs: Vec<Setting> = cand.iter().map(|i| settings[*i]).collect();
        let g = p.gain(&cs, &refs);
        let best = (0..cand.len()).max_by(|a, b| g[*a].total_cmp(&g[*b])).unwrap();
        picked.push(cand[best]);
    }
    picked
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let verbose = std::env::var("V").is_ok();
    let counts = [8usize, 12, 20, 50];
    for path in &args {
        let groups = load(path);
        // (count, target) -> per-draw
        let mut all: BTreeMap<(usize, usize), (Vec<f64>, Vec<f64>, Vec<f64>)> = BTreeMap::new();
        let mut by: BTreeMap<(usize, u64), (f64, f64, usize)> = BTreeMap::new();
        let groups_n = groups.len();
        for (name, rows) in groups.iter().take(8) {
            let settings: Vec<Setting> = rows.iter().map(|r| r.setting).collect();
            let knobs = Knobs::of(&settings);
            if verbose {
                let p = Predictor::fit(&knobs, rows);
                println!("{name} full: {}", p.describe());
            }
            for count in counts {
                for seed in 0..seeds {
                    let picked = if std::env::var("PLAN").is_ok() {
                        plan(&knobs, rows, &settings, count, seed)
                    } else {
                        Rng::new(seed).sample(rows.len(), count)
                    };
                    if picked.len() < count || count + 5 > rows.len() {
                        continue;
                    }
                    let known: Vec<Measurement> = picked.iter().map(|i| rows[*i]).collect();
                    let p = Predictor::fit(&knobs, &known);
                    if verbose && seed == 0 && count == 12 {
                        println!("{}", p.describe());
                    }
                    let pr = p.predict(&settings);
                    for target in 0..3 {
                        let mut errs = vec![];
                        let mut inside = 0;
                        for (i, r) in rows.iter().enumerate() {
                            if picked.contains(&i) {
                                continue;
                            }
                            let (truth, est, noise) = match target {
                                0 => (r.time_s, pr[i].time_s, p.noise().0),
                                1 => (r.power_w, pr[i].power_w, p.noise().1),
                                _ => (r.energy_j(), pr[i].energy_j, None),
                            };
                            let (Some(t), Some(mut e)) = (truth, est) else { continue };
                            let n = noise.unwrap_or_else(|| {
                                let (a, b) = p.noise();
                                (a.unwrap().powi(2) + b.unwrap().powi(2)).sqrt()
                            });
                            e.log_sd = e.log_sd.hypot(n);
                            errs.push(100.0 * (e.value / t - 1.0).abs());
                            if count == 12 {
                                if let Ok(k) = std::env::var("BY") {
                                    let k: usize = k.parse().unwrap();
                                    let v =
                                        footplate_tune::Knob::ALL[k].value(&r.setting).unwrap_or(0.0) as u64;
                                    let b = by.entry((target, v)).or_insert((0.0, 0.0, 0));
                                    b.0 += (e.value / t).ln();
                                    b.1 += (e.value / t).ln().abs();
                                    b.2 += 1;
                                }
                            }
                            inside += usize::from(((t / e.value).ln() / e.log_sd).abs() < Z90);
                        }
                        if errs.is_empty() {
                            continue;
                        }
                        let entry = all.entry((target, count)).or_default();
                        entry.0.push(stats::mean(&errs).unwrap());
                        entry.1.push(stats::quantile(&errs, 0.95).unwrap());
                        entry.2.push(inside as f64 / errs.len() as f64);
                    }
                }
            }
        }
        for (k, v) in &by {
            println!(
                "    {:?} bias {:6.1} abs {:5.1} n {}",
                k,
                100.0 * v.0 / v.2 as f64,
                100.0 * v.1 / v.2 as f64,
                v.2
            );
        }
        println!("== {path} {groups_n} workloads");
        for ((target, count), (m, p95, c)) in &all {
            println!(
                "  {} n={count:<3} mape med {:5.2} mean {:5.2} max {:5.1}  p95 {:5.1}  cover {:.2}",
                ["time", "power", "energy"][*target],
                stats::quantile(m, 0.5).unwrap(),
                stats::mean(m).unwrap(),
                stats::quantile(m, 1.0).unwrap(),
                stats::quantile(p95, 0.5).unwrap(),
                stats::mean(c).unwrap()
            );
        }
    }
}
