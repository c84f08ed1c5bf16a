//! What another job on this machine, or this job on another machine, tells of a job before it is measured.
//!
//! A source is fitted by itself. Its parameters become the priors of the new job's form, more or less wide, and what
//! its form left on the same machine becomes a hint. Whether that is believed is decided by how well the new job's own
//! measurements predict each other with and without it.

use std::sync::Arc;

use footplate_core::stats;

use super::dual::PARAMS;
use super::fit::{Fit, Sample};
use super::form::{HINT, Input, Part, Prior};
use super::kernel::Levels;
use super::predictor::{Measurement, Predictor};
use crate::setting::{Knobs, Setting};

/// Measurements of another job, ready to become priors.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    predictor: Arc<Predictor>,
    /// Its settings are those of the new job's machine.
    same_machine: bool,
}

/// Measured settings without which a source tells nothing.
pub const SOURCE_LEAST: usize = 4;

/// Settings of one source that are used: more cost time and tell little.
const SOURCE_MOST: usize = 48;

impl Source {
    /// Another job on the machine whose knobs these are; `None` if too little was measured.
    pub fn same_machine(name: &str, knobs: &Knobs, measured: &[Measurement]) -> Option<Self> {
        Self::of(name, Some(knobs), measured)
    }

    /// The same job on another machine: each knob counts by its own largest value there.
    pub fn other_machine(name: &str, measured: &[Measurement]) -> Option<Self> {
        Self::of(name, None, measured)
    }

    fn of(name: &str, knobs: Option<&Knobs>, measured: &[Measurement]) -> Option<Self> {
        let measured = &measured[measured.len().saturating_sub(SOURCE_MOST)..];
        if measured.len() < SOURCE_LEAST {
            return None;
        }
        let settings = || measured.iter().map(|m| m.setting).collect::<Vec<Setting>>();
        let own = knobs.map_or_else(|| Knobs::of(&settings()), Clone::clone);
        let predictor = Arc::new(Predictor::fit(&own, measured));
        Some(Self { name: name.to_owned(), predictor, same_machine: knobs.is_some() })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its hints for inputs of the new job's machine.
    fn hints(&self, fit: &Fit, inputs: &[Input]) -> Vec<f64> {
        if self.same_machine { fit.corrections(inputs) } else { vec![0.0; inputs.len()] }
    }
}

/// Which quantity is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Time,
    Power,
}

/// How far a source is believed: the width that is added to its parameters' own, in widths of what is believed
/// without it.
#[derive(Clone, Copy, Debug)]
struct Trust {
    /// Of the amounts of work.
    amounts: f64,
    /// Of exponents, shares and overlaps.
    curves: f64,
}

/// A job much like the source, and one that shares only its kind of machine.
const TRUSTS: [Trust; 2] = [Trust { amounts: 0.5, curves: 0.5 }, Trust { amounts: 1.0, curves: 0.5 }];

/// By how much a source must raise the logarithm of the density of what was measured: less may be chance.
const EVIDENCE_LEAST: f64 = 2.0;

/// With fewer measurements than this they cannot tell whether a source helps.
const CHECK_LEAST: usize = 4;

/// Prior of the parameter that weighs the hint.
const HINT_BELIEF: Prior = Prior { mean: 0.5, sd: 0.5 };

/// A source's fit as it stands for a new job: what is believed with it, and where it expects the new job's logarithm.
struct Offer<'a> {
    source: &'a Source,
    fit: &'a Fit,
    scale: f64,
    /// How far the new job is from the source's form, up to a factor.
    distance: f64,
}

/// The better of a fit without sources and the best with one, and that source's place.
pub(crate) fn better(
    kind: Kind,
    fresh: Fit,
    knobs: &Knobs,
    samples: &[Sample],
    sources: &[Source],
) -> (Fit, Option<usize>) {
    let whole: Vec<&Sample> = samples.iter().filter(|s| s.input.part == Part::Whole).collect();
    if whole.len() < CHECK_LEAST {
        return (fresh, None);
    }
    // The nearest source alone is tried: each try costs as much as the fit itself.
    let offers = sources.iter().enumerate().filter_map(|(i, source)| Some((i, offer(kind, source, &whole)?)));
    let Some((index, offer)) = offers.min_by(|a, b| a.1.distance.total_cmp(&b.1.distance)) else {
        return (fresh, None);
    };
    let inputs: Vec<Input> = samples.iter().map(|s| s.input).collect();
    let hints = offer.source.hints(offer.fit, &inputs);
    let hinted: Vec<Sample> = samples
        .iter()
        .zip(hints)
        .map(|(sample, hint)| Sample { input: Input { hint, ..sample.input }, ..*sample })
        .collect();
    let mut score = fresh.cross_validation() + EVIDENCE_LEAST;
    let mut best = None;
    for trust in &TRUSTS {
        let priors = offer.priors(&fresh, trust);
        let scale = if trust.amounts < 1.0 { offer.scale } else { fresh.scale };
        let levels = Levels::of(knobs, &hinted);
        let Some(fit) = Fit::of(fresh.form, priors, scale, &hinted, levels) else { continue };
        let with = fit.cross_validation();
        if with > score {
            best = Some(fit);
            score = with;
        }
    }
    best.map_or((fresh, None), |fit| (fit, Some(index)))
}

/// Hints of a source for inputs of the new job.
pub(crate) fn hints(kind: Kind, source: &Source, inputs: &[Input]) -> Vec<f64> {
    source.predictor.fit_of(kind).map_or_else(|| vec![0.0; inputs.len()], |fit| source.hints(fit, inputs))
}

fn offer<'a>(kind: Kind, source: &'a Source, whole: &[&Sample]) -> Option<Offer<'a>> {
    let fit = source.predictor.fit_of(kind)?;
    let constants = fit.constants();
    let apart: Vec<f64> =
        whole.iter().map(|s| s.log_value - fit.form.log_value(&constants, &s.input).v).collect();
    let scale = stats::quantile(&apart, 0.5)?;
    let distance = stats::mean(&apart.iter().map(|a| (a - scale).abs()).collect::<Vec<f64>>())?;
    Some(Offer { source, fit, scale, distance })
}

impl Offer<'_> {
    /// What is believed with the source; `without`: without it.
    fn priors(&self, without: &Fit, trust: &Trust) -> [Prior; PARAMS] {
        let known = self.fit.param_sds();
        let mut priors = without.priors;
        for (index, prior) in priors.iter_mut().enumerate() {
            if prior.sd == 0.0 || self.fit.priors[index].sd == 0.0 {
                continue;
            }
            let share = if without.form.is_amount(index) { trust.amounts } else { trust.curves };
            if share < 1.0 {
                let sd = known[index].hypot(share * prior.sd).min(prior.sd);
                *prior = Prior { mean: self.fit.params[index], sd };
            }
        }
        priors[HINT] = if self.source.same_machine { HINT_BELIEF } else { Prior { mean: 0.0, sd: 0.0 } };
        priors
    }
}
