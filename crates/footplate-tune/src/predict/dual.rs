//! Numbers that carry their derivatives by the parameters (forward differentiation).

use std::array;
use std::ops::{Add, Mul};

/// Parameters that a form may have at most.
pub(crate) const PARAMS: usize = 18;

/// A positive value and the derivatives of it by each parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual {
    pub(crate) v: f64,
    pub(crate) d: [f64; PARAMS],
}

impl Dual {
    pub(crate) fn constant(v: f64) -> Self {
        Self { v, d: [0.0; PARAMS] }
    }

    pub(crate) fn parameter(index: usize, v: f64) -> Self {
        let mut d = [0.0; PARAMS];
        d[index] = 1.0;
        Self { v, d }
    }

    fn chain(self, v: f64, slope: f64) -> Self {
        Self { v, d: self.d.map(|d| d * slope) }
    }

    pub(crate) fn scale(self, factor: f64) -> Self {
        self.chain(self.v * factor, factor)
    }

    pub(crate) fn exp(self) -> Self {
        let v = self.v.exp();
        self.chain(v, v)
    }

    pub(crate) fn ln(self) -> Self {
        self.chain(self.v.ln(), 1.0 / self.v)
    }

    pub(crate) fn recip(self) -> Self {
        self.chain(1.0 / self.v, -1.0 / (self.v * self.v))
    }

    /// 1 / (1 + e⁻ˣ).
    pub(crate) fn sigmoid(self) -> Self {
        let v = 1.0 / (1.0 + (-self.v).exp());
        self.chain(v, v * (1.0 - v))
    }

    /// A known positive base to the power of self.
    pub(crate) fn exponent_of(self, base: f64) -> Self {
        if base == 1.0 {
            return Self::constant(1.0);
        }
        let log = base.ln();
        let v = (self.v * log).exp();
        self.chain(v, v * log)
    }

    /// Self, which must be positive, to a power.
    pub(crate) fn powf(self, exponent: f64) -> Self {
        let v = self.v.powf(exponent);
        self.chain(v, exponent * v / self.v)
    }

    /// The power mean of two non-negative terms that overlap: exponent 1 is their sum (one after the other), and
    /// the larger the exponent, the nearer to the larger of the two (side by side).
    pub(crate) fn overlap(self, other: Self, exponent: Self) -> Self {
        let largest = self.v.max(other.v);
        let (a, b) = ((self.v / largest).max(1e-12), (other.v / largest).max(1e-12));
        let k = exponent.v;
        let (la, lb) = (a.ln(), b.ln());
        let (pa, pb) = ((k * la).exp(), (k * lb).exp());
        let sum = pa + pb;
        let v = largest * (sum.ln() / k).exp();
        let (share_a, share_b) = (pa / sum, pb / sum);
        let slope_a = v * share_a / (a * largest);
        let slope_b = v * share_b / (b * largest);
        let slope_k = v * ((share_a * la + share_b * lb) / k - sum.ln() / (k * k));
        let d = array::from_fn(|i| slope_a * self.d[i] + slope_b * other.d[i] + slope_k * exponent.d[i]);
        Self { v, d }
    }
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { v: self.v + other.v, d: array::from_fn(|i| self.d[i] + other.d[i]) }
    }
}

impl Mul for Dual {
    type Output = Self;

    #[expect(clippy::suspicious_arithmetic_impl, reason = "the product rule has a sum")]
    fn mul(self, other: Self) -> Self {
        Self { v: self.v * other.v, d: array::from_fn(|i| self.d[i] * other.v + self.v * other.d[i]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formula(t: &[f64; 3]) -> Dual {
        let [a, b, k] = array::from_fn(|i| Dual::parameter(i, t[i]));
        let host = a.exp() * b.exponent_of(0.4).recip();
        let device = b.sigmoid().scale(2.0) + Dual::constant(0.1);
        host.overlap(device, k.exp() + Dual::constant(1.0)).powf(1.3).ln()
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let t = [0.3, 0.8, -0.2];
        let exact = formula(&t);
        for i in 0..3 {
            let mut above = t;
            above[i] += 1e-6;
            let difference = (formula(&above).v - exact.v) / 1e-6;
            assert!((difference - exact.d[i]).abs() < 1e-4, "{i}: {difference} {}", exact.d[i]);
        }
    }

    #[test]
    fn overlapping_terms_lie_between_the_larger_and_the_sum() {
        let (a, b) = (Dual::constant(3.0), Dual::constant(2.0));
        assert!((a.overlap(b, Dual::constant(1.0)).v - 5.0).abs() < 1e-12);
        assert!((a.overlap(b, Dual::constant(200.0)).v - 3.0).abs() < 1e-3);
    }
}
