//! Predicts time, power and energy of every setting from a few measured ones.

mod dual;
mod fit;
mod form;
mod kernel;
mod linalg;
mod predictor;
mod transfer;

pub use predictor::{Estimate, Measurement, Prediction, Predictor, Z90};
pub use transfer::{SOURCE_LEAST, Source};
