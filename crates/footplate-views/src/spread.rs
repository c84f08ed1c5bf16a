//! Mean and spread of a figure over repeats.

use footplate_core::stats::mean;

/// Mean and spread of one figure over repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Arithmetic mean of the values.
    pub(crate) mean: f64,
    /// The standard deviation of the sample (n - 1); `None` for a single value.
    pub(crate) sd: Option<f64>,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many values there are.
    pub(crate) count: usize,
}

impl Spread {
    /// Of the values that there are; `None` without any, and if one is missing: a mean of those that are left would
    /// hide it.
    pub(crate) fn of_all(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        Self::of(&values.into_iter().collect::<Option<Vec<f64>>>()?)
    }

    /// Of some values; `None` without any.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mean = mean(values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            sd: (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count: values.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_has_no_deviation() {
        assert_eq!(Spread::of(&[3.0]), Some(Spread { mean: 3.0, sd: None, min: 3.0, max: 3.0, count: 1 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_missing_value_leaves_no_mean_of_the_others() {
        assert_eq!(Spread::of_all([Some(1.0), None]), None);
        assert_eq!(Spread::of_all([Some(1.0), Some(3.0)]).unwrap().mean, 2.0);
    }

    proptest! {
        #[test]
        fn the_mean_lies_between_the_ends_and_a_shift_moves_all_but_the_deviation(
            values in proptest::collection::vec(-1e3f64..1e3, 2..20),
            shift in -1e3f64..1e3,
        ) {
            let of = |shift: f64| Spread::of(&values.iter().map(|v| v + shift).collect::<Vec<f64>>()).unwrap();
            let (plain, moved) = (of(0.0), of(shift));
            prop_assert!(plain.min <= plain.mean + 1e-9 && plain.mean <= plain.max + 1e-9);
            prop_assert!(plain.sd.unwrap() <= plain.max - plain.min + 1e-9);
            prop_assert!((moved.mean - plain.mean - shift).abs() < 1e-6);
            prop_assert!((moved.sd.unwrap() - plain.sd.unwrap()).abs() < 1e-6);
        }
    }
}
