//! Fits and predicts time, power and energy together.

use footplate_core::stats;
use serde::{Deserialize, Serialize};

use super::fit::{Fit, LogNormal, Sample};
use super::form::{Busy, Form, Input, Part, Slowest};
use super::kernel::Levels;
use super::transfer::{self, Kind, Source};
use crate::setting::{Knob, Knobs, Setting};

/// What was measured at one setting: per unit of work (a step, a picture, an epoch: the same for all).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The setting that was measured.
    pub setting: Setting,
    /// Time of a unit of work, in seconds.
    pub time_s: Option<f64>,
    /// Mean power, in watts.
    pub power_w: Option<f64>,
    /// Relative standard error of the time, as far as the measurement knows it; 0 if it does not.
    pub time_error: f64,
    /// The same of the power.
    pub power_error: f64,
    /// Share of the time that the job waited for its data pipeline, where it is known.
    pub stall_share: Option<f64>,
}

impl Measurement {
    /// Energy of a unit of work, in joules.
    pub fn energy_j(&self) -> Option<f64> {
        Some(self.time_s? * self.power_w?)
    }
}

/// A predicted quantity: its logarithm is taken to be normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median, in the unit of the quantity.
    pub value: f64,
    /// Standard deviation of the logarithm: about the relative error.
    pub log_sd: f64,
}

impl Estimate {
    fn of(log: LogNormal) -> Self {
        Self { value: log.mean.exp(), log_sd: log.variance.sqrt() }
    }

    /// The value that lies `z` standard deviations above the median (below it if negative).
    pub fn quantile(&self, z: f64) -> f64 {
        self.value * (z * self.log_sd).exp()
    }

    /// The interval that holds the true value with a probability of 90 %.
    pub fn interval90(&self) -> (f64, f64) {
        (self.quantile(-Z90), self.quantile(Z90))
    }
}

/// The normal distribution's 95 % quantile: 90 % lie between its negative and it.
pub const Z90: f64 = 1.644_853_6;

/// What is predicted for one setting; `None` for a quantity that no measurement had.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Seconds for a unit of work.
    pub time_s: Option<Estimate>,
    /// Mean power, in watts.
    pub power_w: Option<Estimate>,
    /// Joules for a unit of work.
    pub energy_j: Option<Estimate>,
}

impl Prediction {
    /// The same medians with errors that are `factor` times as large.
    pub fn widened(&self, factor: f64) -> Self {
        let widen = |e: Option<Estimate>| e.map(|e| Estimate { log_sd: e.log_sd * factor, ..e });
        Self { time_s: widen(self.time_s), power_w: widen(self.power_w), energy_j: widen(self.energy_j) }
    }
}

/// A fitted model of one job on one machine: predicts time, power and energy of every setting from a few measured ones.
///
/// ```
/// use footplate_core::{Hertz, PowerMode};
/// use footplate_tune::predict::{Measurement, Predictor};
/// use footplate_tune::{Knobs, Setting};
///
/// // Nine GPU clocks; steps take 0.02 s and 0.08 s / GHz, at 2 W and 8 W for each GHz.
/// let setting = |i: u64| {
///     Setting::of(PowerMode { gpu_hz: Some(Hertz(i * 100_000_000)), ..PowerMode::default() })
/// };
/// let truth = |i: u64| (0.02 + 0.08 / (0.1 * i as f64), 2.0 + 0.8 * i as f64);
/// let measured = [2, 5, 10].map(|i| Measurement {
///     setting: setting(i),
///     time_s: Some(truth(i).0),
///     power_w: Some(truth(i).1),
///     time_error: 0.005,
///     power_error: 0.01,
///     stall_share: None,
/// });
/// let space: Vec<Setting> = (2..=10).map(setting).collect();
/// let predictor = Predictor::fit(&Knobs::of(&space), &measured);
/// for (i, prediction) in (2..=10).zip(predictor.predict(&space)) {
///     let (time, power) = (prediction.time_s.unwrap().value, prediction.power_w.unwrap().value);
///     assert!((time / truth(i).0 - 1.0).abs() < 0.1, "{time} s");
///     assert!((power / truth(i).1 - 1.0).abs() < 0.1, "{power} W");
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Predictor {
    knobs: Knobs,
    time: Option<Fit>,
    power: Option<Fit>,
    /// Correlation of the errors of time and power.
    correlation: f64,
    /// What time and power were told by.
    sources: [Option<Source>; 2],
}

/// Waits for data below this share are not told from none.
const STALL_LEAST: f64 = 0.02;
/// How exactly a share of waiting tells of the job's own work: what runs beside it disturbs it.
const STALL_ERROR: f64 = 0.02;
/// A larger share of waiting leaves too little to tell of.
const STALL_MOST: f64 = 0.95;

impl Predictor {
    /// Fits what was measured. Measurements that are not positive numbers count as not there.
    pub fn fit(knobs: &Knobs, measured: &[Measurement]) -> Self {
        Self::fit_with(knobs, measured, &[])
    }

    /// The same with what other jobs tell, as far as it helps to predict what was measured of this one.
    pub fn fit_with(knobs: &Knobs, measured: &[Measurement], sources: &[Source]) -> Self {
        let least_limit = knobs.least_share(Knob::PowerLimit);
        let both = knobs.varies(Knob::Cores) && knobs.varies(Knob::Workers);
        let form = Form::Time {
            least_limit,
            least_host: 1.0 / (slowest(knobs).clock * slowest(knobs).cores),
            workers_by_cores: both.then(|| knobs.largest(Knob::Workers) / knobs.largest(Knob::Cores)),
        };
        let inputs: Vec<Input> = measured.iter().map(|m| input(knobs, &m.setting)).collect();
        let mut times = stalls(&inputs, measured);
        let has_stalls = !times.is_empty();
        times.extend(samples(&inputs, measured, |m| (m.time_s, m.time_error)));
        let mut used = [None, None];
        let mut fit = |kind: Kind, form: Form, stalls: bool, samples: &[Sample]| {
            let levels = Levels::of(knobs, samples);
            let fresh = Fit::of(form, form.priors(knobs, stalls), scale(samples), samples, levels)?;
            let (best, source) = transfer::better(kind, fresh, knobs, samples, sources);
            used[kind as usize] = source.map(|index| sources[index].clone());
            Some(best)
        };
        let time = fit(Kind::Time, form, has_stalls, &times);
        let mut inputs = inputs;
        if let Some(time) = &time {
            add_busy(time, &mut inputs);
        }
        let powers: Vec<Sample> = samples(&inputs, measured, |m| (m.power_w, m.power_error));
        let scale = scale(&powers).exp();
        let limit_by_scale = knobs.largest(Knob::PowerLimit) / 1e3 / scale;
        let form = Form::Power { limit_by_scale, slowest: slowest(knobs) };
        let power = fit(Kind::Power, form, false, &powers);
        Self { knobs: knobs.clone(), time, power, correlation: 0.0, sources: used }
    }

    /// The other jobs that time and power are predicted with the help of; `None`: none helped.
    pub fn helped_by(&self) -> [Option<&str>; 2] {
        [&self.sources[0], &self.sources[1]].map(|source| source.as_ref().map(Source::name))
    }

    pub(super) fn fit_of(&self, kind: Kind) -> Option<&Fit> {
        match kind {
            Kind::Time => self.time.as_ref(),
            Kind::Power => self.power.as_ref(),
        }
    }

    /// Gives inputs what the source of a quantity's fit knows of them.
    fn add_hints(&self, kind: Kind, inputs: &mut [Input]) {
        if let Some(source) = &self.sources[kind as usize] {
            let hints = transfer::hints(kind, source, inputs);
            inputs.iter_mut().zip(hints).for_each(|(input, hint)| input.hint = hint);
        }
    }

    /// Predictions of the settings, in their order.
    pub fn predict(&self, settings: &[Setting]) -> Vec<Prediction> {
        let mut inputs: Vec<Input> = settings.iter().map(|setting| input(&self.knobs, setting)).collect();
        self.add_hints(Kind::Time, &mut inputs);
        let times = self.time.as_ref().map(|time| time.predict(&inputs));
        if let Some(time) = self.time.as_ref().filter(|_| self.power.is_some()) {
            add_busy(time, &mut inputs);
        }
        self.add_hints(Kind::Power, &mut inputs);
        let powers = self.power.as_ref().map(|power| power.predict(&inputs));
        (0..settings.len())
            .map(|i| {
                let (time, power) = (times.as_ref().map(|t| t[i]), powers.as_ref().map(|p| p[i]));
                let energy = time.zip(power).map(|(t, p)| self.energy(t, p));
                Prediction {
                    time_s: time.map(Estimate::of),
                    power_w: power.map(Estimate::of),
                    energy_j: energy.map(Estimate::of),
                }
            })
            .collect()
    }

    fn energy(&self, time: LogNormal, power: LogNormal) -> LogNormal {
        let covariance = self.correlation * (time.variance * power.variance).sqrt();
        LogNormal {
            mean: time.mean + power.mean,
            variance: (time.variance + power.variance + 2.0 * covariance).max(0.0),
        }
    }

    /// How much one more measurement at each of `candidates` would lower the sum of the variances at `references`
    /// (of the logarithms of time and power, together).
    pub fn gain(&self, candidates: &[Setting], references: &[Setting]) -> Vec<f64> {
        let mut inputs: Vec<Input> =
            candidates.iter().chain(references).map(|setting| input(&self.knobs, setting)).collect();
        let mut gains = vec![0.0; candidates.len()];
        let mut add = |fit: &Fit, inputs: &[Input]| {
            let (of, over) = inputs.split_at(candidates.len());
            gains.iter_mut().zip(fit.gain(of, over)).for_each(|(sum, gain)| *sum += gain);
        };
        if let Some(time) = &self.time {
            self.add_hints(Kind::Time, &mut inputs);
            add(time, &inputs);
            add_busy(time, &mut inputs);
        }
        if let Some(power) = &self.power {
            self.add_hints(Kind::Power, &mut inputs);
            add(power, &inputs);
        }
        gains
    }

    /// Noise of a single measurement of (time, power), as fitted: standard deviations of the logarithm.
    pub fn noise(&self) -> (Option<f64>, Option<f64>) {
        (self.time.as_ref().map(|f| f.noise_sd), self.power.as_ref().map(|f| f.noise_sd))
    }

    /// A prediction of the mean of `repeats` measurements instead of the true value: wider by their noise.
    pub fn with_noise(&self, prediction: &Prediction, repeats: usize) -> Prediction {
        let (time, power) = self.noise();
        let shrink = 1.0 / (repeats.max(1) as f64).sqrt();
        let widen = |estimate: Option<Estimate>, noise: f64| {
            estimate.map(|e| Estimate { log_sd: e.log_sd.hypot(noise * shrink), ..e })
        };
        let (time, power) = (time.unwrap_or(0.0), power.unwrap_or(0.0));
        Prediction {
            time_s: widen(prediction.time_s, time),
            power_w: widen(prediction.power_w, power),
            energy_j: widen(prediction.energy_j, time.hypot(power)),
        }
    }

    /// What the fits found, for a debugging eye.
    pub fn describe(&self) -> String {
        let one = |name: &str, fit: &Option<Fit>| {
            fit.as_ref().map_or(String::new(), |f| {
                format!(
                    "{name}: noise {:.3}, correction {:.3} over {:.1}, evidence {:.1}, {:.2?}\n",
                    f.noise_sd, f.kernel.amplitude, f.kernel.length, f.log_evidence, f.params
                )
            })
        };
        one("time", &self.time) + &one("power", &self.power)
    }
}

fn input(knobs: &Knobs, setting: &Setting) -> Input {
    let busy = Busy { host: 1.0, device: 1.0 };
    Input { point: knobs.point(setting), busy, hint: 0.0, part: Part::Whole }
}

fn slowest(knobs: &Knobs) -> Slowest {
    Slowest { clock: 1.0 / knobs.least_share(Knob::CpuClock), cores: 1.0 / knobs.least_share(Knob::Cores) }
}

fn add_busy(time: &Fit, inputs: &mut [Input]) {
    let constants = time.constants();
    for input in inputs {
        input.busy = time.form.log_time(&constants, input).1;
    }
}

fn samples(
    inputs: &[Input],
    measured: &[Measurement],
    value: impl Fn(&Measurement) -> (Option<f64>, f64),
) -> Vec<Sample> {
    let sample = |(input, measurement): (&Input, &Measurement)| {
        let (value, error) = value(measurement);
        let value = value.filter(|v| v.is_finite() && *v > 0.0)?;
        Some(Sample { input: *input, log_value: value.ln(), extra_variance: error * error })
    };
    inputs.iter().zip(measured).filter_map(sample).collect()
}

/// The shares of the time that did not wait for data, where any did.
fn stalls(inputs: &[Input], measured: &[Measurement]) -> Vec<Sample> {
    let share = |m: &Measurement| m.stall_share.filter(|s| s.is_finite()).map(|s| s.clamp(0.0, STALL_MOST));
    if !measured.iter().filter_map(share).any(|s| s >= STALL_LEAST) {
        return Vec::new();
    }
    let sample = |(input, measurement): (&Input, &Measurement)| {
        let work = 1.0 - share(measurement)?;
        let error = STALL_ERROR / work;
        let input = Input { part: Part::Unstalled, ..*input };
        Some(Sample { input, log_value: work.ln(), extra_variance: error * error })
    };
    inputs.iter().zip(measured).filter_map(sample).collect()
}

fn scale(samples: &[Sample]) -> f64 {
    let whole = samples.iter().filter(|s| s.input.part == Part::Whole);
    stats::quantile(&whole.map(|s| s.log_value).collect::<Vec<f64>>(), 0.5).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{Hertz, PowerMode};
    use proptest::prelude::*;

    fn setting(i: u64) -> Setting {
        Setting::of(PowerMode { gpu_hz: Some(Hertz(i * 100_000_000)), ..PowerMode::default() })
    }

    fn space() -> Vec<Setting> {
        (2..=10).map(setting).collect()
    }

    fn measured(i: u64, error: f64) -> Measurement {
        let ghz = 0.1 * i as f64;
        Measurement {
            setting: setting(i),
            time_s: Some(0.02 + 0.08 / ghz),
            power_w: Some(2.0 + 8.0 * ghz),
            time_error: error,
            power_error: error,
            stall_share: None,
        }
    }

    fn fit(clocks: &[u64], error: f64) -> Predictor {
        let measured: Vec<Measurement> = clocks.iter().map(|i| measured(*i, error)).collect();
        Predictor::fit(&Knobs::of(&space()), &measured)
    }

    #[test]
    fn without_measurements_nothing_is_predicted() {
        let predictor = fit(&[], 0.0);
        assert_eq!(predictor.predict(&space()), vec![Prediction::default(); 9]);
        assert_eq!((predictor.noise(), predictor.helped_by()), ((None, None), [None, None]));
        assert_eq!(predictor.gain(&space(), &space()), vec![0.0; 9]);
    }

    #[test]
    fn a_quantity_that_is_no_positive_number_counts_as_not_measured() {
        for bad in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            let all = [4, 8].map(|i| Measurement { power_w: Some(bad), ..measured(i, 0.01) });
            let predictor = Predictor::fit(&Knobs::of(&space()), &all);
            let prediction = predictor.predict(&space())[0];
            assert!(prediction.time_s.is_some() && prediction.power_w.is_none(), "{bad}: {prediction:?}");
            assert_eq!(prediction.energy_j, None);
        }
    }

    #[test]
    fn energy_is_power_times_time_with_both_errors() {
        for prediction in fit(&[2, 6, 10], 0.01).predict(&space()) {
            let (time, power) = (prediction.time_s.unwrap(), prediction.power_w.unwrap());
            let energy = prediction.energy_j.unwrap();
            assert!((energy.value / (time.value * power.value) - 1.0).abs() < 1e-9);
            assert!((energy.log_sd - time.log_sd.hypot(power.log_sd)).abs() < 1e-9);
        }
    }

    #[test]
    fn a_measurement_tells_most_where_nothing_is_known() {
        let gains = fit(&[9, 10], 0.01).gain(&[setting(2), setting(10)], &space());
        assert!(gains[0] > gains[1] && gains[1] >= 0.0, "{gains:?}");
    }

    #[test]
    fn intervals_and_quantiles_are_of_the_logarithm() {
        let estimate = Estimate { value: 2.0, log_sd: 0.1 };
        let (low, high) = estimate.interval90();
        assert!((low * high - 4.0).abs() < 1e-12 && (high / low - (0.2 * Z90).exp()).abs() < 1e-12);
        assert_eq!(estimate.quantile(0.0), 2.0);
        let prediction = Prediction { time_s: Some(estimate), ..Prediction::default() };
        assert_eq!(prediction.widened(3.0).time_s, Some(Estimate { value: 2.0, log_sd: 0.1 * 3.0 }));
        assert_eq!(prediction.widened(3.0).power_w, None);
    }

    #[test]
    fn the_mean_of_more_repeats_is_predicted_more_exactly() {
        let predictor = fit(&[2, 4, 7, 10], 0.0);
        let prediction = predictor.predict(&space())[3];
        let error = |repeats| predictor.with_noise(&prediction, repeats).time_s.unwrap().log_sd;
        assert!(error(1) > error(9) && error(9) > prediction.time_s.unwrap().log_sd, "{}", error(1));
        assert_eq!(error(0), error(1));
    }

    proptest! {
        #[test]
        fn the_order_of_measurements_makes_no_difference(
            clocks in proptest::collection::vec(2u64..=10, 1..8),
            turn in 0usize..8,
        ) {
            let mut turned = clocks.clone();
            turned.rotate_left(turn % clocks.len());
            let pairs = fit(&clocks, 0.01).predict(&space()).into_iter().zip(fit(&turned, 0.01).predict(&space()));
            for (a, b) in pairs {
                let ratio = a.time_s.unwrap().value / b.time_s.unwrap().value;
                prop_assert!((ratio - 1.0).abs() < 1e-3, "{ratio}");
            }
        }
    }
}
