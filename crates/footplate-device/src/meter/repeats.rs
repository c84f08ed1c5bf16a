//! The same measured several times: means, spread and extremes of what the windows say.

use footplate_core::ports::{WindowEnergy, WindowReading};
use footplate_core::stats;

/// Mean and spread of one figure over repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Their arithmetic mean.
    pub mean: f64,
    /// The standard deviation of the sample (n - 1); `None` for a single value.
    pub sd: Option<f64>,
    /// The smallest of the values.
    pub min: f64,
    /// The largest of the values.
    pub max: f64,
}

impl Spread {
    /// Of the values that there are; `None` without any, and if one is missing: a mean of those that are left would
    /// hide it.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
        let mean = stats::mean(&values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            sd: (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// The windows of several runs of the same command on the same machine.
#[derive(Clone, Debug)]
pub struct Repeats<'a> {
    windows: Vec<&'a WindowReading>,
}

impl<'a> Repeats<'a> {
    /// Of one window for each run; all have the same rails in the same order.
    pub fn new(windows: impl IntoIterator<Item = &'a WindowReading>) -> Self {
        Self { windows: windows.into_iter().collect() }
    }

    /// A figure of the total, such as its energy; `None` if one of the runs lacks it.
    pub fn total(&self, figure: impl Fn(&WindowEnergy) -> f64) -> Option<Spread> {
        Spread::of(self.windows.iter().map(|window| window.total.value().map(&figure)))
    }

    /// The same of the rail with this index.
    pub fn rail(&self, index: usize, figure: impl Fn(&WindowEnergy) -> f64) -> Option<Spread> {
        let of = |window: &&WindowReading| window.rails.get(index)?.1.value().map(&figure);
        Spread::of(self.windows.iter().map(of))
    }

    /// The highest temperature in °C; `None` if one of the runs has none.
    pub fn temperature_max(&self) -> Option<f64> {
        let of = |window: &&WindowReading| window.temperature_c.value().map(|celsius| celsius.0);
        Spread::of(self.windows.iter().map(of)).map(|spread| spread.max)
    }

    /// Evidence of throttling in any of them, sorted, each once.
    pub fn throttled(&self) -> Vec<&'a str> {
        let mut evidence: Vec<&str> =
            self.windows.iter().flat_map(|window| window.throttled.iter().map(String::as_str)).collect();
        evidence.sort_unstable();
        evidence.dedup();
        evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{Celsius, Joules, Reading, Watts};
    use proptest::prelude::*;

    fn window(joules: Option<f64>, celsius: Reading<Celsius>, throttled: &[&str]) -> WindowReading {
        let energy = joules.map_or(Reading::Absent, |joules| {
            Reading::Value(WindowEnergy {
                energy_j: Joules(joules),
                error_j: Joules(0.5),
                coverage: 1.0,
                mean_power_w: Watts(joules / 2.0),
                peak_power_w: Watts(joules),
                samples: 20,
            })
        });
        WindowReading {
            total: energy.clone(),
            rails: vec![("VDD_IN".to_owned(), energy)],
            temperature_c: celsius,
            throttled: throttled.iter().map(|text| (*text).to_owned()).collect(),
            simulated: true,
        }
    }

    #[test]
    fn repeats_have_a_mean_and_one_that_lacks_the_figure_leaves_none() {
        let warm = Reading::Value(Celsius(45.5));
        let windows = [window(Some(8.0), warm.clone(), &["b"]), window(Some(10.0), warm, &["a", "b"])];
        let repeats = Repeats::new(&windows);
        let energy = repeats.total(|total| total.energy_j.0).unwrap();
        assert_eq!((energy.mean, energy.min, energy.max), (9.0, 8.0, 10.0));
        assert!((energy.sd.unwrap() - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(repeats.rail(0, |rail| rail.mean_power_w.0).unwrap().mean, 4.5);
        assert_eq!(repeats.rail(1, |rail| rail.mean_power_w.0), None);
        assert_eq!(repeats.temperature_max(), Some(45.5));
        assert_eq!(repeats.throttled(), ["a", "b"]);

        let missing = [window(Some(8.0), Reading::Absent, &[]), window(None, Reading::Absent, &[])];
        let repeats = Repeats::new(&missing);
        assert_eq!(repeats.total(|total| total.energy_j.0), None);
        assert_eq!(repeats.temperature_max(), None);
        assert!(Repeats::new([]).total(|total| total.energy_j.0).is_none());
    }

    #[test]
    fn one_value_has_no_deviation() {
        assert_eq!(Spread::of([Some(3.0)]), Some(Spread { mean: 3.0, sd: None, min: 3.0, max: 3.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([Some(1.0), None]), None);
    }

    proptest! {
        #[test]
        fn the_mean_lies_between_the_ends_and_a_shift_moves_all_but_the_deviation(
            values in proptest::collection::vec(-1e3f64..1e3, 2..20),
            shift in -1e3f64..1e3,
        ) {
            let of = |shift: f64| Spread::of(values.iter().map(|v| Some(v + shift))).unwrap();
            let (plain, moved) = (of(0.0), of(shift));
            prop_assert!(plain.min <= plain.mean + 1e-9 && plain.mean <= plain.max + 1e-9);
            prop_assert!(plain.sd.unwrap() <= plain.max - plain.min + 1e-9);
            prop_assert!((moved.mean - plain.mean - shift).abs() < 1e-6);
            prop_assert!((moved.sd.unwrap() - plain.sd.unwrap()).abs() < 1e-6);
        }
    }
}
