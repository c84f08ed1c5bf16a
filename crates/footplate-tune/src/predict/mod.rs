//! Predicts time, power and energy of every setting from a few measured ones.

mod dual;
mod fit;
mod form;
mod kernel;
mod linalg;
mod predictor;

pub use predictor::{Estimate, Measurement, Prediction, Predictor, Z90};
