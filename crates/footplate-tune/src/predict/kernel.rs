//! The covariance of what the physical form leaves: near settings leave alike.

use super::fit::Sample;
use super::form::Part;
use super::linalg::{Cholesky, Matrix};
use crate::setting::{Knob, Knobs, Point};

const KNOBS: usize = Knob::ALL.len();

/// Part of the variance that is a sum over single knobs; the rest needs all knobs to be near.
const ADDITIVE: f64 = 0.5;

/// Size and reach of the correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kernel {
    /// Standard deviation of the logarithm.
    pub(crate) amplitude: f64,
    /// Distance over which it changes, in ranges of a knob.
    pub(crate) length: f64,
}

impl Kernel {
    pub(crate) fn variance(&self) -> f64 {
        self.amplitude * self.amplitude
    }
}

/// Matérn covariance with one derivative (ν = 3/2), at `distance` in lengths.
fn matern(distance: f64) -> f64 {
    let s = 3f64.sqrt() * distance;
    (1.0 + s) * (-s).exp()
}

/// Positions of the samples, by varying knob.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    knobs: Knobs,
    varying: Vec<usize>,
    positions: Vec<Point>,
    /// So many of the first samples have no correction: they are of a part of the quantity.
    parts: usize,
}

impl Levels {
    /// Of samples in order, those of a part of the quantity before the others.
    pub(crate) fn of(knobs: &Knobs, samples: &[Sample]) -> Self {
        let positions = samples.iter().map(|s| knobs.position(&s.input.point)).collect();
        let parts = samples.iter().take_while(|s| s.input.part != Part::Whole).count();
        Self {
            knobs: knobs.clone(),
            varying: knobs.varying().map(|k| k as usize).collect(),
            positions,
            parts,
        }
    }

    /// Samples at the beginning that have no correction.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    fn correlation(&self, a: &Point, b: &Point, length: f64) -> f64 {
        if self.varying.is_empty() {
            return 1.0;
        }
        let mut sum = 0.0;
        let mut product = 1.0;
        for k in &self.varying {
            let near = matern((a[*k] - b[*k]).abs() / length);
            sum += near;
            product *= near;
        }
        ADDITIVE * sum / self.varying.len() as f64 + (1.0 - ADDITIVE) * product
    }

    /// Correlations of the samples with each other.
    pub(crate) fn shape(&self, length: f64) -> Matrix {
        let n = self.positions.len();
        Matrix::from_fn(n, n, |i, j| {
            let whole = i >= self.parts && j >= self.parts;
            if whole { self.correlation(&self.positions[i], &self.positions[j], length) } else { 0.0 }
        })
    }

    /// Factor of the covariance of the samples: correction and noise.
    pub(crate) fn gram(&self, kernel: &Kernel, noise_sd: f64, samples: &[Sample]) -> Option<Cholesky> {
        self.gram_of(&self.shape(kernel.length), kernel, noise_sd, samples)
    }

    pub(crate) fn gram_of(
        &self,
        shape: &Matrix,
        kernel: &Kernel,
        noise_sd: f64,
        samples: &[Sample],
    ) -> Option<Cholesky> {
        let covariance = Matrix::from_fn(samples.len(), samples.len(), |i, j| {
            let own = if i < self.parts { 0.0 } else { noise_sd * noise_sd };
            let noise = if i == j { own + samples[i].extra_variance } else { 0.0 };
            kernel.variance() * shape.at(i, j) + noise
        });
        Cholesky::of(&covariance)
    }

    /// Reads covariances of points with the samples, and remembers them by knob and value.
    pub(crate) fn reader(&self, kernel: &Kernel) -> Reader<'_> {
        Reader { levels: self, kernel: *kernel, seen: vec![Seen::default(); self.varying.len()] }
    }

    /// Covariance of two points.
    pub(crate) fn covariance(&self, kernel: &Kernel, a: &Point, b: &Point) -> f64 {
        let (a, b) = (self.knobs.position(a), self.knobs.position(b));
        kernel.variance() * self.correlation(&a, &b, kernel.length)
    }
}

/// Correlations along one knob of each value that was met with each sample.
#[derive(Clone, Debug, Default)]
struct Seen {
    values: Vec<f64>,
    /// By value, in the order of `values`.
    rows: Vec<Vec<f64>>,
}

/// Covariances of points with the samples. Spaces are products of few levels: each level is computed once.
pub(crate) struct Reader<'a> {
    levels: &'a Levels,
    kernel: Kernel,
    seen: Vec<Seen>,
}

impl Reader<'_> {
    /// Covariances of a point with each sample.
    pub(crate) fn cross(&mut self, point: &Point, into: &mut [f64]) {
        let variance = self.kernel.variance();
        let (parts, into) = into.split_at_mut(self.levels.parts);
        parts.fill(0.0);
        if self.seen.is_empty() {
            into.fill(variance);
            return;
        }
        let share = ADDITIVE / self.seen.len() as f64;
        let mut sums = [0.0; KNOBS];
        let mut rows = [0; KNOBS];
        for (slot, knob) in self.levels.varying.iter().enumerate() {
            rows[slot] = self.row(slot, *knob, point);
        }
        for (index, target) in into.iter_mut().enumerate() {
            for (slot, seen) in self.seen.iter().enumerate() {
                sums[slot] = seen.rows[rows[slot]][index];
            }
            let near = &sums[..self.seen.len()];
            let sum: f64 = near.iter().sum();
            let product: f64 = near.iter().product();
            *target = variance * (share * sum + (1.0 - ADDITIVE) * product);
        }
    }

    /// The place of a value's row, made if it is new.
    fn row(&mut self, slot: usize, knob: usize, point: &Point) -> usize {
        let value = point[knob];
        match self.seen[slot].values.binary_search_by(|v| v.total_cmp(&value)) {
            Ok(index) => index,
            Err(index) => {
                let here = self.levels.knobs.position(point)[knob];
                let near = |there: &Point| matern((here - there[knob]).abs() / self.kernel.length);
                let row = self.levels.positions[self.levels.parts..].iter().map(near).collect();
                self.seen[slot].values.insert(index, value);
                self.seen[slot].rows.insert(index, row);
                index
            }
        }
    }
}
