//! The same measured several times: means, spread and extremes of what the windows say.

use footplate_core::ports::{WindowEnergy, WindowReading};

use crate::spread::Spread;

/// The windows of several runs of the same command on the same machine.
#[derive(Clone, Debug)]
pub(super) struct Repeats<'a> {
    windows: Vec<&'a WindowReading>,
}

impl<'a> Repeats<'a> {
    /// Of one window for each run; all have the same rails in the same order.
    pub(super) fn new(windows: impl IntoIterator<Item = &'a WindowReading>) -> Self {
        Self { windows: windows.into_iter().collect() }
    }

    /// A figure of the total, such as its energy; `None` if one of the runs lacks it.
    pub(super) fn total(&self, figure: impl Fn(&WindowEnergy) -> f64) -> Option<Spread> {
        Spread::of_all(self.windows.iter().map(|window| window.total.value().map(&figure)))
    }

    /// The same of the rail with this index.
    pub(super) fn rail(&self, index: usize, figure: impl Fn(&WindowEnergy) -> f64) -> Option<Spread> {
        let of = |window: &&WindowReading| window.rails.get(index)?.1.value().map(&figure);
        Spread::of_all(self.windows.iter().map(of))
    }

    /// The highest temperature in °C; `None` if one of the runs has none.
    pub(super) fn temperature_max(&self) -> Option<f64> {
        let of = |window: &&WindowReading| window.temperature_c.value().map(|celsius| celsius.0);
        Spread::of_all(self.windows.iter().map(of)).map(|spread| spread.max)
    }

    /// Evidence of throttling in any of them, sorted, each once.
    pub(super) fn throttled(&self) -> Vec<&'a str> {
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
}
