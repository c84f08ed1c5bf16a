//! The standard normal distribution.

/// Density at `x`.
pub(crate) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Probability of a value up to `x`. Absolute error below 8e-8 (Abramowitz and Stegun, formula 26.2.17).
pub(crate) fn cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let tail = density(x) * series.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// Expected amount by which a normal value lies below `best`.
pub(crate) fn expected_improvement(mean: f64, sd: f64, best: f64) -> f64 {
    if sd <= 0.0 {
        return (best - mean).max(0.0);
    }
    let z = (best - mean) / sd;
    ((best - mean) * cdf(z) + sd * density(z)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (x, p) in [(0.0, 0.5), (1.644_853_6, 0.95), (-1.281_551_6, 0.1), (3.0, 0.998_650_1)] {
            assert!((cdf(x) - p).abs() < 1e-6, "{x}");
        }
        assert!((expected_improvement(0.0, 1.0, 0.0) - 0.398_942_3).abs() < 1e-6);
        assert_eq!(expected_improvement(2.0, 0.0, 3.0), 1.0);
    }
}
