//! What the measurements say: the stage that limits the job, and what would help.

use footplate_data::measure_rates::{Cold, Storage};
use footplate_data::stall::{self, Candidate, Recommendation, Situation};

use super::bench::Bench;
use super::costs::costs;
use super::{Diagnosis, Measured, Source, Subject};
use crate::error::TrainError;

/// A process that gets less than this share of the cores shares them with others.
const OWN_CORES: f64 = 0.9;

impl Bench<'_> {
    pub(super) fn judge(&mut self, measured: Measured) -> Result<Diagnosis, TrainError> {
        let Subject { settings, cores, .. } = self.subject;
        let source = self.source(&measured);
        let uncached = costs(&measured, matches!(source, Source::Storage { .. }), *cores);
        let costs = match source {
            Source::Storage { hits } => uncached.with_hits(hits),
            Source::Process | Source::PageCache => uncached,
        };
        // The pipeline may have chosen another number than it began with.
        let workers = measured.trial.workers.unwrap_or(settings.workers);
        // The real run found nothing in the page cache; later epochs find a part of their data there.
        let helped = costs.rate(workers, *cores) / uncached.rate(workers, *cores);
        let measured_per_s = measured.trial.items_per_s().map(|rate| rate * helped);
        let situation = Situation { costs, workers, cores: *cores, measured_per_s };
        let bottleneck = stall::bottleneck(&costs, workers, *cores);
        let candidates = self.candidates(&measured, &situation, source)?;
        let mut recommendations = situation.rank(&candidates);
        if let Some(change) = situation.gpu_clock().filter(|_| !self.subject.device.synchronous) {
            let predicted_per_s = situation.present_per_s();
            recommendations.push(Recommendation {
                change,
                predicted_per_s,
                gain: 0.0,
                changes_training: false,
            });
        }
        let alone = measured.step.wall_s_each().unwrap_or(0.0);
        let split = measured_per_s.map(|_| measured.trial.split.against(alone));
        let first_epoch_per_s = self.first_epoch(&measured, &situation, source);
        let warnings = warnings(&measured, &situation);
        Ok(Diagnosis {
            measured,
            source,
            situation,
            split,
            bottleneck,
            first_epoch_per_s,
            recommendations,
            applied: None,
            warnings,
        })
    }

    /// The rate of an epoch from storage, where later ones come from memory.
    pub(super) fn first_epoch(
        &self,
        measured: &Measured,
        situation: &Situation,
        source: Source,
    ) -> Option<f64> {
        let cold = match measured.storage.as_ref().map(|storage| &storage.cold) {
            Some(Cold::Measured { .. }) if source == Source::PageCache => {
                costs(measured, true, self.subject.cores)
            }
            _ => return None,
        };
        let change = situation.faster_storage().change;
        let first = Candidate { change, costs: cold, workers: situation.workers };
        let rate = situation.predicted_per_s(&first);
        (rate < situation.present_per_s() * (1.0 - stall::LEAST_GAIN)).then_some(rate)
    }
}

/// What makes the figures doubtful.
pub(super) fn warnings(measured: &Measured, situation: &Situation) -> Vec<String> {
    let mut warnings = Vec::new();
    let crowded = measured.crowded(situation.cores);
    if crowded > 1.0 / OWN_CORES {
        warnings.push(format!(
            "other programs use the cores: this one got {:.1} of {}; rates are lower than they could be",
            situation.cores as f64 / crowded,
            situation.cores
        ));
    }
    match measured.trial.items_per_s() {
        None => {
            warnings.push("no step of the real run ended in the time given: give more with --time".into());
        }
        Some(rate) => {
            let model = situation.modelled_per_s();
            if !(0.75..1.33).contains(&(rate / model)) {
                warnings.push(format!(
                    "the measured stages explain {model:.0} items/s and the real run made {rate:.0}: take predictions with care"
                ));
            }
        }
    }
    if measured.step.steps_s.len() == 1 || measured.trial.steps == 1 {
        warnings.push("a step takes so long that figures rest on a single one: give more with --time".into());
    }
    if let Some(Storage { cold: Cold::NotMeasured(reason), .. }) = &measured.storage {
        warnings.push(format!("reading from storage was not measured: {reason}"));
    }
    warnings
}
