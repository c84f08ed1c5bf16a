//! What is known of another job helps where it fits, and is dropped where it does not.

use footplate_core::{Hertz, PowerMode};
use footplate_tune::evaluate::{Metric, Options, Other, Row, Sampling, Truth, evaluate, evaluate_with};
use footplate_tune::predict::{Measurement, Predictor, Source};
use footplate_tune::rng::Rng;
use footplate_tune::{Knobs, Setting};

use crate::common::noisy;

fn settings() -> Vec<Setting> {
    let mut space = Vec::new();
    for cores in [1, 2, 4] {
        for cpu in 2..=10 {
            for gpu in 2..=10 {
                for emc in [8, 16] {
                    let hz = |step: u64| Some(Hertz(step * 100_000_000));
                    space.push(Setting::of(PowerMode {
                        cpu_cores: Some(cores),
                        cpu_hz: hz(2 * cpu),
                        gpu_hz: hz(gpu),
                        emc_hz: hz(emc),
                        gpu_power_limit_mw: None,
                    }));
                }
            }
        }
    }
    space
}

/// What a job is made of, and how odd its machine is.
#[derive(Clone, Copy)]
struct Job {
    host: f64,
    device: f64,
    /// A step in the GPU's clock that no form knows of.
    oddity: f64,
}

const PLAIN: Job = Job { host: 0.02, device: 0.08, oddity: 0.1 };

fn measured(setting: &Setting, job: &Job, rng: &mut Rng) -> Measurement {
    let mode = &setting.mode;
    let ghz = |hz: Option<Hertz>| hz.map_or(1.0, |hz| hz.0 as f64 / 1e9);
    let (cores, cpu) = (f64::from(mode.cpu_cores.unwrap_or(1)), ghz(mode.cpu_hz));
    let (gpu, emc) = (ghz(mode.gpu_hz), ghz(mode.emc_hz));
    let host = job.host / cpu + job.host / (cpu * cores);
    let odd = if (0.45..0.75).contains(&gpu) { 1.0 + job.oddity } else { 1.0 };
    let time = host + job.device * odd / gpu.powf(1.1) + 0.03 / emc;
    let power = 2.0 + 0.6 * cores.powf(0.7) * cpu.powf(2.1) + 9.0 * gpu.powf(2.6) + 1.2 * emc;
    noisy(*setting, (time, power), rng)
}

fn table(job: &Job) -> Vec<Truth> {
    let mut rng = Rng::new(9);
    let truth =
        |setting: &Setting| Truth { setting: *setting, repeats: vec![measured(setting, job, &mut rng)] };
    settings().iter().map(truth).collect()
}

fn median_error(rows: &[Row], target: Metric) -> f64 {
    let row = rows.iter().find(|r| r.target == target && r.sampling == Sampling::Random);
    row.and_then(|r| r.mape_pct_median).expect("no such row")
}

#[test]
fn a_job_that_is_alike_helps_with_few_profiles() {
    let (table, alike) = (table(&PLAIN), table(&Job { host: 0.015, device: 0.1, ..PLAIN }));
    let options = Options { profiles: vec![6], seeds: 12, budgets: 1, ..Options::default() };
    let fresh = evaluate("job", &table, &options);
    let other = Other { name: "alike", table: &alike, same_machine: true };
    let with = evaluate_with("job", &table, Some(other), &options);
    let (before, after) = (median_error(&fresh, Metric::Time), median_error(&with, Metric::Time));
    assert!(after < 0.95 * before, "time: {before:.2} % without, {after:.2} % with");
    let (before, after) = (median_error(&fresh, Metric::Power), median_error(&with, Metric::Power));
    assert!(after < 0.6 * before, "power: {before:.2} % without, {after:.2} % with");
}

/// A job on whose machine everything goes the other way round: its knobs are those of the mirrored setting.
#[test]
fn a_misleading_job_is_dropped() {
    let all = settings();
    let knobs = Knobs::of(&all);
    let mut misled = 0;
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let mirrored: Vec<Measurement> = rng
            .sample(all.len(), 24)
            .into_iter()
            .map(|i| Measurement {
                setting: all[i],
                ..measured(&all[all.len() - 1 - i], &Job { oddity: -0.6, ..PLAIN }, &mut rng)
            })
            .collect();
        let source = Source::same_machine("mirrored", &knobs, &mirrored).expect("enough was measured");
        let own: Vec<Measurement> =
            rng.sample(all.len(), 8).into_iter().map(|i| measured(&all[i], &PLAIN, &mut rng)).collect();
        let fresh = Predictor::fit(&knobs, &own);
        let with = Predictor::fit_with(&knobs, &own, &[source]);
        let truth: Vec<Measurement> = all.iter().map(|s| measured(s, &PLAIN, &mut rng)).collect();
        let error = |predictor: &Predictor| {
            let predicted = predictor.predict(&all);
            let of = |(p, t): (&footplate_tune::predict::Prediction, &Measurement)| {
                Some((p.time_s?.value / t.time_s?).ln().abs())
            };
            predicted.iter().zip(&truth).filter_map(of).sum::<f64>() / all.len() as f64
        };
        misled += usize::from(error(&with) > 1.1 * error(&fresh));
    }
    assert_eq!(misled, 0, "of 10 draws");
}

#[test]
fn too_little_is_no_source() {
    let all = settings();
    let mut rng = Rng::new(0);
    let few: Vec<Measurement> = all.iter().take(3).map(|s| measured(s, &PLAIN, &mut rng)).collect();
    assert!(Source::same_machine("few", &Knobs::of(&all), &few).is_none());
    assert!(Source::other_machine("few", &few).is_none());
}

#[test]
fn another_machine_with_other_clocks_helps_too() {
    let all = settings();
    let knobs = Knobs::of(&all);
    // Half the clocks: what counts is each by the largest there.
    let slower = |setting: &Setting| {
        let mut mode = setting.mode;
        mode.gpu_hz = mode.gpu_hz.map(|hz| Hertz(hz.0 / 2));
        mode.cpu_hz = mode.cpu_hz.map(|hz| Hertz(hz.0 / 2));
        Setting::of(mode)
    };
    let job = Job { oddity: 0.0, ..PLAIN };
    let (mut before, mut after) = (0.0, 0.0);
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let mut picked = rng.sample(all.len(), 24);
        picked.push(all.len() - 1);
        let there: Vec<Measurement> = picked
            .into_iter()
            .map(|i| Measurement { setting: slower(&all[i]), ..measured(&all[i], &job, &mut rng) })
            .collect();
        let source = Source::other_machine("there", &there).expect("enough was measured");
        let own: Vec<Measurement> =
            rng.sample(all.len(), 6).into_iter().map(|i| measured(&all[i], &job, &mut rng)).collect();
        let truth: Vec<Measurement> = all.iter().map(|s| measured(s, &job, &mut rng)).collect();
        let error = |sources: &[Source]| {
            let predicted = Predictor::fit_with(&knobs, &own, sources).predict(&all);
            let of = |(p, t): (&footplate_tune::predict::Prediction, &Measurement)| {
                Some((p.time_s?.value / t.time_s?).ln().abs())
            };
            predicted.iter().zip(&truth).filter_map(of).sum::<f64>() / all.len() as f64
        };
        before += error(&[]);
        after += error(&[source]);
    }
    assert!(after < before, "{after} with, {before} without");
}
