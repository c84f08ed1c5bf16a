//! Fits one quantity: a physical form with priors, and a Gaussian process for what the form leaves, both in log
//! space, by their joint evidence.
//!
//! The model of a measurement is `ln y = form(x, θ) + g(x) + noise` with θ normal around its prior and `g` a
//! Gaussian process of small amplitude around 0, so that the correction vanishes where there is no data. θ is
//! found by Gauss-Newton steps; around it the form is linear, and prediction has a closed form.

use super::dual::{Dual, PARAMS};
use super::form::{Form, Input, Part, Prior};
use super::kernel::{Kernel, Levels};
use super::linalg::{Cholesky, Matrix, dot};

/// A measured quantity at an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) input: Input,
    pub(crate) log_value: f64,
    /// Variance of `log_value` that the measurement itself reports, beyond the fitted noise.
    pub(crate) extra_variance: f64,
}

/// What a fit found: enough to predict anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) form: Form,
    pub(crate) priors: [Prior; PARAMS],
    pub(crate) params: [f64; PARAMS],
    pub(crate) scale: f64,
    pub(crate) kernel: Kernel,
    pub(crate) noise_sd: f64,
    /// Parameters that have an effect.
    active: Vec<usize>,
    levels: Levels,
    gram: Cholesky,
    /// `C⁻¹ (y − form)`.
    weights: Vec<f64>,
    /// `L⁻¹ J S` of the samples.
    whitened_jacobian: Matrix,
    /// `L⁻¹` of the samples less the form with its parameters at their priors.
    whitened_out: Vec<f64>,
    posterior: Cholesky,
    /// Logarithm of the evidence, for choosing between fits.
    pub(crate) log_evidence: f64,
}

/// Mean and variance of a logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogNormal {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

struct State {
    params: [f64; PARAMS],
    residual: Vec<f64>,
    jacobian: Matrix,
}

struct Problem<'a> {
    form: Form,
    priors: &'a [Prior; PARAMS],
    active: &'a [usize],
    samples: &'a [Sample],
    scale: f64,
}

impl Problem<'_> {
    /// Residuals and the derivatives by the active parameters in units of their prior's width.
    fn state(&self, params: [f64; PARAMS]) -> State {
        let mut jacobian = Matrix::zeros(self.samples.len(), self.active.len());
        let duals = self.form.prepare(&duals(&params, self.active));
        let mut residual = Vec::with_capacity(self.samples.len());
        for (row, sample) in self.samples.iter().enumerate() {
            let value = self.form.log_value(&duals, &sample.input);
            let scale = if sample.input.part == Part::Whole { self.scale } else { 0.0 };
            residual.push(sample.log_value - scale - value.v);
            for (column, index) in self.active.iter().enumerate() {
                jacobian.set(row, column, value.d[*index] * self.priors[*index].sd);
            }
        }
        State { params, residual, jacobian }
    }

    fn offsets(&self, params: &[f64; PARAMS]) -> Vec<f64> {
        self.active.iter().map(|i| (params[*i] - self.priors[*i].mean) / self.priors[*i].sd).collect()
    }

    fn cost(&self, state: &State, gram: &Cholesky) -> f64 {
        let mut white = state.residual.clone();
        gram.forward(&mut white);
        let offsets = self.offsets(&state.params);
        0.5 * (dot(&white, &white) + dot(&offsets, &offsets))
    }

    /// Levenberg-Marquardt from `start`.
    fn descend(&self, start: [f64; PARAMS], gram: &Cholesky, steps: usize) -> (State, f64) {
        let mut state = self.state(start);
        let mut cost = self.cost(&state, gram);
        let mut damping = 1e-2;
        for _ in 0..steps {
            let mut white = state.residual.clone();
            gram.forward(&mut white);
            let jacobian = gram.forward_matrix(&state.jacobian);
            let offsets = self.offsets(&state.params);
            let mut gradient = jacobian.transposed_times(&white);
            gradient.iter_mut().zip(&offsets).for_each(|(g, o)| *g -= o);
            let mut hessian = jacobian.gram_plus_identity();
            for i in 0..self.active.len() {
                hessian.set(i, i, hessian.at(i, i) * (1.0 + damping));
            }
            let Some(factor) = Cholesky::of(&hessian) else { break };
            let step = factor.solve(&gradient);
            let mut params = state.params;
            for (i, s) in self.active.iter().zip(&step) {
                params[*i] += s.clamp(-1.5, 1.5) * self.priors[*i].sd;
            }
            let next = self.state(params);
            let next_cost = self.cost(&next, gram);
            if next_cost.is_finite() && next_cost < cost {
                let gain = cost - next_cost;
                (state, cost) = (next, next_cost);
                damping = (damping * 0.3).max(1e-6);
                if gain < 1e-3 * (1.0 + cost) {
                    break;
                }
            } else {
                damping *= 8.0;
                if damping > 1e6 {
                    break;
                }
            }
        }
        (state, cost)
    }
}

fn duals(params: &[f64; PARAMS], active: &[usize]) -> [Dual; PARAMS] {
    let mut duals = params.map(Dual::constant);
    for index in active {
        duals[*index] = Dual::parameter(*index, params[*index]);
    }
    duals
}

/// Widths of noise and of the correction that are tried, as standard deviations of the logarithm.
const NOISES: [f64; 6] = [0.002, 0.005, 0.012, 0.03, 0.06, 0.12];
const AMPLITUDES: [f64; 4] = [0.015, 0.04, 0.1, 0.25];
const LENGTHS: [f64; 3] = [0.3, 0.7, 1.5];

/// How likely each width is before any measurement: (mean, width) of its logarithm.
const NOISE_BELIEF: (f64, f64) = (-4.1, 0.8);
const AMPLITUDE_BELIEF: (f64, f64) = (-3.0, 0.8);

impl Fit {
    /// Fits `samples`, those of a part before the others; `None` without any, or if they are not numbers.
    pub(crate) fn of(
        form: Form,
        priors: [Prior; PARAMS],
        scale: f64,
        samples: &[Sample],
        levels: Levels,
    ) -> Option<Self> {
        if levels.parts() == samples.len() || samples.iter().any(|s| !s.log_value.is_finite()) {
            return None;
        }
        let active: Vec<usize> = (0..PARAMS).filter(|i| priors[*i].sd > 0.0).collect();
        let problem = Problem { form, priors: &priors, active: &active, samples, scale };
        let mut kernel = Kernel { amplitude: 0.04, length: 0.7 };
        let mut noise_sd = 0.02;
        let mut params = priors.map(|prior| prior.mean);
        for round in 0..2 {
            let gram = levels.gram(&kernel, noise_sd, samples)?;
            let (state, _) = problem.best_start(params, &gram, round == 0);
            params = state.params;
            (kernel, noise_sd) = problem.choose_widths(&state, &levels)?;
        }
        let gram = levels.gram(&kernel, noise_sd, samples)?;
        let (state, _) = problem.descend(params, &gram, 10);
        Self::around(&problem, &state, kernel, noise_sd, levels)
    }

    fn around(
        problem: &Problem,
        state: &State,
        kernel: Kernel,
        noise_sd: f64,
        levels: Levels,
    ) -> Option<Self> {
        let gram = levels.gram(&kernel, noise_sd, problem.samples)?;
        let whitened_jacobian = gram.forward_matrix(&state.jacobian);
        let posterior = Cholesky::of(&whitened_jacobian.gram_plus_identity())?;
        let weights = gram.solve(&state.residual);
        let mut whitened_out = problem.centred(state);
        gram.forward(&mut whitened_out);
        let log_evidence = -problem.cost(state, &gram) - 0.5 * (gram.log_det() + posterior.log_det())
            + belief(&kernel, noise_sd);
        Some(Self {
            form: problem.form,
            priors: *problem.priors,
            params: state.params,
            scale: problem.scale,
            kernel,
            noise_sd,
            active: problem.active.to_vec(),
            levels,
            gram,
            weights,
            whitened_jacobian,
            whitened_out,
            posterior,
            log_evidence,
        })
    }

    /// How well each whole sample is predicted by all others: the sum of the logarithms of its density, with the form
    /// linear around what was found.
    pub(crate) fn cross_validation(&self) -> f64 {
        let n = self.weights.len();
        let mut score = 0.0;
        // y = f(θ₀) + J (φ − φ₀) + g + noise, with φ integrated out: `out` is y − f(θ₀) + J φ₀, of covariance
        // C + J Jᵀ; its inverse by Woodbury. A sample left out has the error [K⁻¹ out] / [K⁻¹] and the variance 1 / [K⁻¹].
        let mut pull = self.whitened_jacobian.transposed_times(&self.whitened_out);
        self.posterior.forward(&mut pull);
        for i in self.levels.parts()..n {
            let mut unit = vec![0.0; n];
            unit[i] = 1.0;
            self.gram.forward(&mut unit);
            let mut through = self.whitened_jacobian.transposed_times(&unit);
            self.posterior.forward(&mut through);
            let precision = dot(&unit, &unit) - dot(&through, &through);
            let weighted = dot(&unit, &self.whitened_out) - dot(&through, &pull);
            score += 0.5 * (precision.ln() - weighted * weighted / precision);
        }
        score
    }

    /// How sure each parameter is after the fit: its standard deviation.
    pub(crate) fn param_sds(&self) -> [f64; PARAMS] {
        let mut sds = self.priors.map(|prior| prior.sd);
        for (place, index) in self.active.iter().enumerate() {
            let mut unit = vec![0.0; self.active.len()];
            unit[place] = 1.0;
            self.posterior.forward(&mut unit);
            sds[*index] *= dot(&unit, &unit).sqrt();
        }
        sds
    }

    /// What is left beyond the form at each input: the mean of the correction.
    pub(crate) fn corrections(&self, inputs: &[Input]) -> Vec<f64> {
        let mut reader = self.levels.reader(&self.kernel);
        let mut cross = vec![0.0; self.weights.len()];
        let correction = |input: &Input| {
            reader.cross(&input.point, &mut cross);
            dot(&cross, &self.weights)
        };
        inputs.iter().map(correction).collect()
    }

    /// The form's parameters as constants, prepared.
    pub(crate) fn constants(&self) -> [Dual; PARAMS] {
        self.form.prepare(&self.params.map(Dual::constant))
    }

    /// Prediction of the true value (without the noise of a single measurement) at each input.
    pub(crate) fn predict(&self, inputs: &[Input]) -> Vec<LogNormal> {
        let duals = self.prepared();
        let mut knowledge = Knowledge::for_fit(self);
        let mut reader = self.levels.reader(&self.kernel);
        let widen = student_factor(self.weights.len() - self.levels.parts()).powi(2);
        inputs
            .iter()
            .map(|input| {
                let value = self.form.log_value(&duals, input);
                reader.cross(&input.point, &mut knowledge.cross);
                let mean = self.scale + value.v + dot(&knowledge.cross, &self.weights);
                self.digest(&value, &mut knowledge);
                LogNormal { mean, variance: knowledge.variance(&self.kernel) * widen }
            })
            .collect()
    }

    /// How much a measurement at each of `candidates` would lower the sum of the variances at `references`.
    pub(crate) fn gain(&self, candidates: &[Input], references: &[Input]) -> Vec<f64> {
        let duals = self.prepared();
        let know = |input: &Input| self.knowledge(&duals, input);
        let known: Vec<Knowledge> = references.iter().map(know).collect();
        let gain = |candidate: &Input| {
            let here = self.knowledge(&duals, candidate);
            let shared = |(there, input): (&Knowledge, &Input)| {
                let near = self.levels.covariance(&self.kernel, &candidate.point, &input.point);
                (near - dot(&here.cross, &there.cross) + dot(&here.sensitivity, &there.sensitivity)).powi(2)
            };
            let sum: f64 = known.iter().zip(references).map(shared).sum();
            sum / (here.variance(&self.kernel) + self.noise_sd * self.noise_sd)
        };
        candidates.iter().map(gain).collect()
    }

    fn prepared(&self) -> [Dual; PARAMS] {
        self.form.prepare(&duals(&self.params, &self.active))
    }

    fn knowledge(&self, duals: &[Dual; PARAMS], input: &Input) -> Knowledge {
        let mut knowledge = Knowledge::for_fit(self);
        self.levels.reader(&self.kernel).cross(&input.point, &mut knowledge.cross);
        let value = self.form.log_value(duals, input);
        self.digest(&value, &mut knowledge);
        knowledge
    }

    /// From covariances with the samples to what they leave open.
    fn digest(&self, value: &Dual, knowledge: &mut Knowledge) {
        let parts = self.levels.parts();
        self.gram.forward_from(parts, &mut knowledge.cross);
        let sensitivity = &mut knowledge.sensitivity;
        for (s, index) in sensitivity.iter_mut().zip(&self.active) {
            *s = value.d[*index] * self.priors[*index].sd;
        }
        for (row, known) in knowledge.cross.iter().enumerate().skip(parts) {
            let told = self.whitened_jacobian.row(row);
            sensitivity.iter_mut().zip(told).for_each(|(s, t)| *s -= known * t);
        }
        self.posterior.forward(&mut knowledge.sensitivity);
    }
}

/// What the samples tell of one input: their whitened covariances with it, and the form's open directions.
struct Knowledge {
    cross: Vec<f64>,
    sensitivity: Vec<f64>,
}

impl Knowledge {
    fn for_fit(fit: &Fit) -> Self {
        Self { cross: vec![0.0; fit.weights.len()], sensitivity: vec![0.0; fit.active.len()] }
    }

    fn variance(&self, kernel: &Kernel) -> f64 {
        let correction = kernel.variance() - dot(&self.cross, &self.cross);
        correction.max(0.0) + dot(&self.sensitivity, &self.sensitivity)
    }
}

/// By how much Student's distribution is wider than the normal one at its 95 % quantile, if three of the samples
/// went into the widths of noise and correction: with few samples these are themselves unsure.
/// (Series of Cornish and Fisher; at least two degrees of freedom are taken.)
pub(crate) fn student_factor(samples: usize) -> f64 {
    let freedom = samples.saturating_sub(3).max(2) as f64;
    1.0 + 0.927 / freedom + 0.9 / (freedom * freedom)
}

fn belief(kernel: &Kernel, noise_sd: f64) -> f64 {
    let log_normal = |x: f64, (mean, width): (f64, f64)| -0.5 * ((x.ln() - mean) / width).powi(2);
    log_normal(noise_sd, NOISE_BELIEF) + log_normal(kernel.amplitude, AMPLITUDE_BELIEF)
}

impl Problem<'_> {
    /// Descends from `start`, and on the first round from a few other guesses of what dominates.
    fn best_start(&self, start: [f64; PARAMS], gram: &Cholesky, widely: bool) -> (State, f64) {
        let mut best = self.descend(start, gram, 12);
        let guesses: usize = if widely { 2 } else { 0 };
        for guess in 0..guesses {
            let mut params = start;
            for index in self.active.iter().filter(|i| **i < 5) {
                let sign = if index % 3 == guess { 0.8 } else { -0.8 };
                params[*index] += sign * self.priors[*index].sd;
            }
            let other = self.descend(params, gram, 12);
            if other.1 < best.1 {
                best = other;
            }
        }
        best
    }

    /// The form is `f(θ) ≈ f(θ₀) + J (φ − φ₀)`: with φ integrated out, `y − f(θ₀) + J φ₀` has covariance C + J Jᵀ.
    fn centred(&self, state: &State) -> Vec<f64> {
        let offsets = self.offsets(&state.params);
        let rows = state.residual.iter().enumerate();
        rows.map(|(r, residual)| residual + dot(state.jacobian.row(r), &offsets)).collect()
    }

    /// The widths of largest evidence, with the form linear around `state`: all of them tried for few samples, one
    /// after the other for many.
    fn choose_widths(&self, state: &State, levels: &Levels) -> Option<(Kernel, f64)> {
        let centred = self.centred(state);
        let shapes = LENGTHS.map(|length| levels.shape(length));
        let evidence = |[length, amplitude, noise]: [usize; 3]| {
            let kernel = Kernel { amplitude: AMPLITUDES[amplitude], length: LENGTHS[length] };
            let noise_sd = NOISES[noise];
            let gram = levels.gram_of(&shapes[length], &kernel, noise_sd, self.samples)?;
            let jacobian = gram.forward_matrix(&state.jacobian);
            let mut white = centred.clone();
            gram.forward(&mut white);
            let posterior = Cholesky::of(&jacobian.gram_plus_identity())?;
            let mut pull = jacobian.transposed_times(&white);
            posterior.forward(&mut pull);
            let fits = dot(&white, &white) - dot(&pull, &pull);
            Some(belief(&kernel, noise_sd) - 0.5 * (fits + gram.log_det() + posterior.log_det()))
        };
        let counts = [LENGTHS.len(), AMPLITUDES.len(), NOISES.len()];
        let [length, amplitude, noise] = if self.samples.len() <= WIDTHS_ALL_MAX {
            best_of_all(counts, evidence)?
        } else {
            best_in_turn([1, 1, 2], counts, evidence)?
        };
        let kernel = Kernel { amplitude: AMPLITUDES[amplitude], length: LENGTHS[length] };
        Some((kernel, NOISES[noise]))
    }
}

/// Up to so many samples all combinations of widths are tried.
const WIDTHS_ALL_MAX: usize = 16;

fn best_of_all(counts: [usize; 3], score: impl Fn([usize; 3]) -> Option<f64>) -> Option<[usize; 3]> {
    let all = (0..counts.iter().product::<usize>())
        .map(|i| [i % counts[0], i / counts[0] % counts[1], i / counts[0] / counts[1]]);
    let scored = all.filter_map(|at| Some((score(at)?, at)));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
}

/// Twice the best along each axis.
fn best_in_turn(
    start: [usize; 3],
    counts: [usize; 3],
    score: impl Fn([usize; 3]) -> Option<f64>,
) -> Option<[usize; 3]> {
    let mut at = start;
    for axis in [2, 1, 0, 2, 1] {
        let moved = |i| {
            let mut moved = at;
            moved[axis] = i;
            moved
        };
        let scored = (0..counts[axis]).filter_map(|i| Some((score(moved(i))?, moved(i))));
        at = scored.max_by(|a, b| a.0.total_cmp(&b.0))?.1;
    }
    Some(at)
}
