//! How long fitting and predicting take for a board of 30,000 modes: a measurement for `benches/README.md`.
#![expect(clippy::disallowed_methods, reason = "it takes the time")]
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::time::Instant;

use footplate_core::{Hertz, PowerMode};
use footplate_tune::predict::{Measurement, Predictor, Source};
use footplate_tune::rng::Rng;
use footplate_tune::{Knobs, Setting};

fn main() {
    let mut space = Vec::new();
    for cores in 1..=12 {
        for cpu in 1..=29 {
            for gpu in 1..=22 {
                for emc in 1..=4 {
                    let hz = |step: u64, unit: u64| Some(Hertz(step * unit));
                    space.push(Setting::of(PowerMode {
                        cpu_cores: Some(cores),
                        cpu_hz: hz(cpu, 76_800_000),
                        gpu_hz: hz(gpu, 57_000_000),
                        emc_hz: hz(emc, 800_000_000),
                        gpu_power_limit_mw: None,
                    }));
                }
            }
        }
    }
    let knobs = Knobs::of(&space);
    let known: Vec<Measurement> =
        Rng::new(2).sample(space.len(), 24).into_iter().map(|i| measured(&knobs, &space[i])).collect();
    let sources: Vec<Source> = Source::same_machine("other", &knobs, &known).into_iter().collect();
    for (profiles, with) in [(8, false), (12, false), (12, true), (20, false), (50, false)] {
        let picked = Rng::new(1).sample(space.len(), profiles);
        let measured: Vec<Measurement> = picked.iter().map(|i| measured(&knobs, &space[*i])).collect();
        let sources = if with { &sources[..] } else { &[] };
        let mut fits = Vec::new();
        let mut predictions = Vec::new();
        for _ in 0..11 {
            let start = Instant::now();
            let predictor = Predictor::fit_with(&knobs, &measured, sources);
            fits.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            let all = predictor.predict(&space);
            predictions.push(start.elapsed().as_secs_f64() * 1e3);
            assert_eq!(all.len(), space.len());
        }
        for times in [&mut fits, &mut predictions] {
            times.sort_by(f64::total_cmp);
        }
        let (fit, predict) = (fits[0], predictions[0]);
        println!(
            "{} modes, {profiles} profiles, {} other job known, least of 11: fit {fit:.1} ms + predict {predict:.1} ms = {:.1} ms",
            space.len(),
            sources.len(),
            fit + predict
        );
    }
}

/// A made-up job: only the time that the arithmetic takes is of interest here.
fn measured(knobs: &Knobs, setting: &Setting) -> Measurement {
    let [cores, cpu, gpu, emc, ..] = knobs.point(setting);
    let time = 0.02 / cpu + 0.01 / (cpu * cores) + 0.08 / gpu + 0.03 / emc;
    let power = 5.0 + 8.0 * cores * cpu * cpu + 20.0 * gpu * gpu + 6.0 * emc;
    Measurement {
        setting: *setting,
        time_s: Some(time),
        power_w: Some(power),
        time_error: 0.01,
        power_error: 0.01,
        stall_share: None,
    }
}
