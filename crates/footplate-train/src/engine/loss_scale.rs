//! The scale of gradients: half precision has no numbers below 6e-8, where many gradients are.

use crate::error::TrainError;
use crate::evaluate::scalar;
use crate::network::GradientMap;
use crate::settings::Precision;

/// Where it begins: of the summed loss of a minibatch.
const FIRST: f64 = 2048.0;
const LARGEST: f64 = 16_777_216.0;
/// It is doubled after so many updates without an overflow (PyTorch: 2000).
const STEADY_UPDATES: u32 = 500;

/// A factor of the loss before the backward pass; gradients are divided by it afterwards.
pub(super) struct LossScale {
    factor: f64,
    /// Updates since it changed; `None` where it is not needed.
    steady: Option<u32>,
}

impl LossScale {
    pub(super) fn new(precision: Precision) -> Self {
        match precision {
            Precision::F32 | Precision::Bf16 => Self { factor: 1.0, steady: None },
            Precision::F16 => Self { factor: FIRST, steady: Some(0) },
        }
    }

    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether gradients can be used. If one is no number the scale was too large: it is halved, and the
    /// update is left out.
    pub(super) fn accept(&mut self, gradients: &GradientMap) -> Result<bool, TrainError> {
        let Some(steady) = &mut self.steady else { return Ok(true) };
        let magnitudes = gradients.values().map(|gradient| gradient.clone().abs().sum());
        let sum = magnitudes.reduce(|sum, each| sum + each);
        let finite = sum.map(scalar).transpose()?.is_none_or(f64::is_finite);
        if !finite {
            self.factor = (self.factor / 2.0).max(1.0);
            *steady = 0;
        } else if *steady + 1 < STEADY_UPDATES {
            *steady += 1;
        } else {
            self.factor = (self.factor * 2.0).min(LARGEST);
            *steady = 0;
        }
        Ok(finite)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn gradients(value: f32) -> GradientMap {
        let tensor = Tensor::from_floats([1.0, value, -3.0], &Device::flex());
        GradientMap::from([("a".to_owned(), tensor)])
    }

    #[test]
    fn an_overflow_halves_the_scale_and_leaves_the_update_out() {
        let mut scale = LossScale::new(Precision::F16);
        assert!(scale.accept(&gradients(2.0)).unwrap());
        for bad in [f32::INFINITY, f32::NAN, f32::NEG_INFINITY] {
            let before = scale.factor();
            assert!(!scale.accept(&gradients(bad)).unwrap());
            assert_eq!(scale.factor(), before / 2.0);
        }
        for _ in 0..STEADY_UPDATES {
            assert!(scale.accept(&gradients(2.0)).unwrap());
        }
        assert_eq!(scale.factor(), FIRST / 4.0);
    }

    #[test]
    fn other_precisions_need_no_scale() {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut scale = LossScale::new(precision);
            assert!(scale.accept(&gradients(f32::NAN)).unwrap());
            assert_eq!(scale.factor(), 1.0);
        }
    }
}
