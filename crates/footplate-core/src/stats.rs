//! Order statistics of samples.

/// The `q`-quantile (0 to 1) of `samples` by linear interpolation between the two nearest ranks
/// (Hyndman and Fan's type 7, numpy's default). `None` without samples. NaNs sort last.
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    if samples.is_empty() {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    Some(below + (above - below) * rank.fract())
}

/// The arithmetic mean; `None` without samples.
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.95), Some(3.0));
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 1.0), Some(5.0));
    }

    proptest! {
        #[test]
        fn a_quantile_lies_between_the_extremes_and_grows_with_q(
            samples in prop::collection::vec(-1e6f64..1e6, 1..40), low in 0.0f64..1.0, high in 0.0f64..1.0
        ) {
            let (low, high) = (low.min(high), low.max(high));
            let at = |q: f64| quantile(&samples, q).unwrap();
            let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!((at(0.0), at(1.0)), (least, most));
            prop_assert!(at(low) <= at(high) && least <= at(low) && at(high) <= most);
            let middle = mean(&samples).unwrap();
            prop_assert!(least - 1e-6 <= middle && middle <= most + 1e-6);
        }
    }
}
