//! Dense linear algebra for a handful of unknowns: Cholesky factors and what is solved with them.
//!
//! Own code because the sizes are tens, the whole need is sixty lines, and a library of matrices would be the
//! crate's largest dependency.

/// A matrix by rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    data: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![0.0; rows * columns] }
    }

    pub(crate) fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..rows * columns).map(|i| f(i / columns, i % columns)).collect();
        Self { rows, columns, data }
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.data[row * self.columns + column]
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        self.data[row * self.columns + column] = value;
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }

    /// The transpose times itself, plus the identity.
    pub(crate) fn gram_plus_identity(&self) -> Self {
        let mut gram = Self::from_fn(self.columns, self.columns, |i, j| f64::from(u8::from(i == j)));
        for r in 0..self.rows {
            let row = self.row(r);
            for i in 0..self.columns {
                if row[i] != 0.0 {
                    let target = &mut gram.data[i * self.columns..(i + 1) * self.columns];
                    target.iter_mut().zip(row).for_each(|(t, x)| *t += row[i] * x);
                }
            }
        }
        gram
    }

    /// The transpose times `v`.
    pub(crate) fn transposed_times(&self, v: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; self.columns];
        for (r, value) in v.iter().enumerate() {
            product.iter_mut().zip(self.row(r)).for_each(|(p, x)| *p += value * x);
        }
        product
    }
}

/// The lower triangular factor of a symmetric positive definite matrix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cholesky(Matrix);

impl Cholesky {
    /// `None` if `matrix` is not positive definite (to rounding).
    pub(crate) fn of(matrix: &Matrix) -> Option<Self> {
        let n = matrix.rows;
        let mut factor = Matrix::zeros(n, n);
        for i in 0..n {
            for j in 0..=i {
                let rest = matrix.at(i, j) - dot(&factor.row(i)[..j], &factor.row(j)[..j]);
                if i == j {
                    if rest.is_nan() || rest <= 1e-14 {
                        return None;
                    }
                    factor.set(i, i, rest.sqrt());
                } else {
                    factor.set(i, j, rest / factor.at(j, j));
                }
            }
        }
        Some(Self(factor))
    }

    /// Solves `L x = v` in place.
    pub(crate) fn forward(&self, v: &mut [f64]) {
        self.forward_from(0, v);
    }

    /// The same where the first `zeros` of `v` are zero.
    pub(crate) fn forward_from(&self, zeros: usize, v: &mut [f64]) {
        for i in zeros..v.len() {
            let row = self.0.row(i);
            v[i] = (v[i] - dot(&row[zeros..i], &v[zeros..i])) / row[i];
        }
    }

    /// Solves `Lᵀ x = v` in place.
    pub(crate) fn backward(&self, v: &mut [f64]) {
        for i in (0..v.len()).rev() {
            v[i] /= self.0.at(i, i);
            let (before, rest) = v.split_at_mut(i);
            let row = self.0.row(i);
            before.iter_mut().zip(row).for_each(|(b, l)| *b -= l * rest[0]);
        }
    }

    /// Solves `L Lᵀ x = v`.
    pub(crate) fn solve(&self, v: &[f64]) -> Vec<f64> {
        let mut x = v.to_vec();
        self.forward(&mut x);
        self.backward(&mut x);
        x
    }

    /// Solves `L X = M`, column by column.
    pub(crate) fn forward_matrix(&self, matrix: &Matrix) -> Matrix {
        let mut solved = matrix.clone();
        let width = matrix.columns;
        for i in 0..matrix.rows {
            let (done, open) = solved.data.split_at_mut(i * width);
            let row = self.0.row(i);
            for (j, l) in row[..i].iter().enumerate() {
                let source = &done[j * width..(j + 1) * width];
                open[..width].iter_mut().zip(source).for_each(|(t, s)| *t -= l * s);
            }
            open[..width].iter_mut().for_each(|t| *t /= row[i]);
        }
        solved
    }

    /// Logarithm of the determinant of the whole matrix.
    pub(crate) fn log_det(&self) -> f64 {
        2.0 * (0..self.0.rows).map(|i| self.0.at(i, i).ln()).sum::<f64>()
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_solves_what_it_was_made_of() {
        let j = Matrix::from_fn(5, 3, |r, c| ((r * 7 + c * 3) % 5) as f64 - 1.5);
        let gram = j.gram_plus_identity();
        let factor = Cholesky::of(&gram).unwrap();
        let x = factor.solve(&[1.0, -2.0, 0.5]);
        for (row, expected) in [1.0, -2.0, 0.5].iter().enumerate() {
            assert!((dot(gram.row(row), &x) - expected).abs() < 1e-12);
        }
        let mut column: Vec<f64> = (0..3).map(|r| gram.at(r, 1)).collect();
        factor.forward(&mut column);
        let whole = factor.forward_matrix(&gram);
        assert!((0..3).all(|r| (whole.at(r, 1) - column[r]).abs() < 1e-12));
        assert!((Cholesky::of(&Matrix::from_fn(2, 2, |_, _| 1.0))).is_none());
    }
}
