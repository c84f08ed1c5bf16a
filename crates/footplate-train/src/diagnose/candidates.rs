//! Changes that might help, each with what an item would cost then.

use std::time::Duration;

use footplate_data::measure_rates::{self, Rate};
use footplate_data::stall::{self, Candidate, Change, Costs, Situation};
use footplate_data::{Dataset, LoaderSettings, Split};

use super::bench::{Bench, share};
use super::costs::costs;
use super::{Measured, Source, Subject};
use crate::error::TrainError;
use crate::loader::loader_settings;
use crate::measure_step::{self as steps, StepRate};
use crate::model;
use crate::settings::TrainSettings;

/// A smaller image has about this share of the side.
const SMALLER_SIDE: f64 = 0.75;
/// Workers that are ever recommended.
const WORKERS_MAX: usize = 64;
/// Bytes of a cache's own tables.
const CACHE_TABLES: u64 = 1 << 20;

impl Bench<'_> {
    pub(super) fn candidates(
        &mut self,
        measured: &Measured,
        situation: &Situation,
        source: Source,
    ) -> Result<Vec<Candidate>, TrainError> {
        let workers = situation.workers;
        let mut candidates = vec![situation.best_workers(WORKERS_MAX)];
        let one = measured.prep_one.cpu_s_each().unwrap_or(0.0);
        // Other forms were measured by one thread; with several, each costs as much more as the present one.
        let scaled = |rate: &Rate| rate.cpu_s_each().map(|each| situation.costs.prep_s * each / one);
        if let Some(prep_s) = measured.prep_indexed.as_ref().and_then(scaled) {
            let costs = Costs { prep_s, ..situation.costs };
            candidates.push(Candidate { change: Change::IndexedShards, costs, workers });
        }
        if matches!(source, Source::Storage { .. }) {
            // The cache first: of two that gain as much, it costs nothing.
            candidates.extend(self.cache(measured, situation));
            candidates.push(situation.faster_storage());
        }
        candidates.extend(self.smaller_images(measured, situation)?);
        candidates.extend(self.other_batches(measured, situation)?);
        Ok(candidates)
    }

    /// A part of the data that stays in memory from its first reading on. Where `--cold` says that all comes from
    /// storage, the memory may hold even the whole.
    pub(super) fn cache(&self, measured: &Measured, situation: &Situation) -> Option<Candidate> {
        let (free, storage) = (self.subject.memory_free?, measured.storage.as_ref()?);
        let most = (free as f64 * stall::FITS) as u64;
        let uncached = costs(measured, true, self.subject.cores);
        // What the samples take besides their bytes.
        let all = storage.data_bytes + storage.data_bytes / 16 + CACHE_TABLES;
        Some(situation.cached(&uncached, most.min(all), all))
    }

    /// Whether `steps` more steps of `step_s` seconds fit into the time, with the applied run still to come.
    pub(super) fn is_time_for(&self, step_s: f64, steps: f64, now: &Situation) -> bool {
        let filling = match now.costs.storage_per_s {
            Some(_) if self.apply => self.filling(now),
            _ => Duration::ZERO,
        };
        let left = self.left().saturating_sub(self.share(share::APPLIED).saturating_add(filling));
        !self.watch.is_stopped() && step_s * steps < left.as_secs_f64()
    }

    /// The job on images of three quarters of the side, or the next size that suits the network.
    pub(super) fn smaller_images(
        &mut self,
        measured: &Measured,
        now: &Situation,
    ) -> Result<Option<Candidate>, TrainError> {
        let Subject { settings, dataset, device, .. } = self.subject;
        let smallest = model::find(&settings.model).map_or(1, |entry| entry.min_image_size as u32);
        let side = f64::from(settings.image_size) * SMALLER_SIDE;
        let pixels = (side / 32.0).round() as u32 * 32;
        let step_s = now.costs.compute_s * settings.batch_size as f64;
        let sensible = (smallest..settings.image_size).contains(&pixels);
        let images = matches!(dataset.as_ref(), Dataset::Images(_));
        if !images || !sensible || !self.is_time_for(step_s, 4.0, now) {
            return Ok(None);
        }
        (self.note)("smaller images");
        let smaller = TrainSettings { image_size: pixels, ..settings.clone() };
        let step = steps::step_rate(&smaller, dataset, device, self.share(share::SMALLER), self.watch)?;
        let loader = loader_settings(&smaller, Split::Train, smaller.batch_size);
        let loader = LoaderSettings { workers: 0, workers_max: None, ..loader };
        let prep =
            measure_rates::prep(&self.resident, &loader, self.share(share::PREP_OTHER), &self.watch.stop)?;
        let crowded = measured.crowded(self.subject.cores);
        let (Some(costs), Some(prep_s)) = (with_step(&now.costs, &step, crowded), prep.cpu_s_each()) else {
            return Ok(None);
        };
        let costs = Costs { prep_s: prep_s * crowded, ..costs };
        Ok(Some(Candidate { change: Change::ImageSize { pixels }, costs, workers: now.workers }))
    }

    /// The job with batches twice as large, and half as large.
    pub(super) fn other_batches(
        &mut self,
        measured: &Measured,
        now: &Situation,
    ) -> Result<Vec<Candidate>, TrainError> {
        let Subject { settings, dataset, device, batch_max, .. } = self.subject;
        let step_s = now.costs.compute_s * measured.step.batch_size as f64;
        let mut candidates = Vec::new();
        for (samples, factor) in [(settings.batch_size * 2, 2.0), (settings.batch_size / 2, 0.5)] {
            let sensible = samples >= 1 && samples <= *batch_max;
            if !sensible || !self.is_time_for(step_s * factor, 4.0, now) {
                continue;
            }
            (self.note)("another batch size");
            let other = TrainSettings { batch_size: samples, ..settings.clone() };
            let step = steps::step_rate(&other, dataset, device, self.share(share::BATCH), self.watch)?;
            let change = Change::BatchSize { samples };
            let costs = with_step(&now.costs, &step, measured.crowded(self.subject.cores));
            candidates.extend(costs.map(|costs| Candidate { change, costs, workers: now.workers }));
        }
        Ok(candidates)
    }
}

/// The same job with another step.
fn with_step(costs: &Costs, step: &StepRate, crowded: f64) -> Option<Costs> {
    let (compute_s, compute_cpu_s) = (step.wall_s_each()?, step.cpu_s_each()? * crowded);
    Some(Costs { compute_s, compute_cpu_s, ..*costs })
}
