//! The best change that a process can make to its own job, made and measured.

use std::time::Duration;

use footplate_data::measure_rates;
use footplate_data::stall::{Change, Situation};
use footplate_data::{CacheSettings, Split};

use super::bench::{Bench, share};
use super::{Applied, Diagnosis, Source, Subject};
use crate::error::TrainError;
use crate::measure_step::Lead;
use crate::settings::TrainSettings;

/// The same run that differs by more than this share was not run on the same machine, in effect.
const DRIFT: f64 = 0.1;
/// An epoch may take this much longer than by the rate of the real run while it fills a cache.
const FILLING: f64 = 1.2;

/// The settings after a change; `None` for one that settings cannot express.
pub(super) fn changed(settings: &TrainSettings, change: Change) -> Option<TrainSettings> {
    let settings = settings.clone();
    match change {
        Change::Workers { workers } => Some(TrainSettings { workers, workers_max: None, ..settings }),
        Change::ImageSize { pixels } => Some(TrainSettings { image_size: pixels, ..settings }),
        Change::BatchSize { samples } => Some(TrainSettings { batch_size: samples, ..settings }),
        Change::Cache { bytes } => {
            Some(TrainSettings { cache: Some(CacheSettings::Ram { bytes }), ..settings })
        }
        Change::PixelsU8 | Change::IndexedShards | Change::FasterStorage { .. } | Change::GpuClock { .. } => {
            None
        }
    }
}

impl Bench<'_> {
    /// How long an epoch may take that fills a cache.
    pub(super) fn filling(&self, now: &Situation) -> Duration {
        let items = self.subject.dataset.len(Split::Train) as f64;
        Duration::try_from_secs_f64(FILLING * items / now.present_per_s()).unwrap_or(Duration::MAX / 4)
    }

    /// The rate of the unchanged job, if there is time for it.
    fn once_more(&mut self, source: Source) -> Result<Option<f64>, TrainError> {
        let share = share::APPLIED / 2.0;
        if self.left() < self.share(share) {
            return Ok(None);
        }
        (self.note)("the real run once more");
        let Subject { settings, dataset, .. } = self.subject;
        Ok(self.trial(settings, dataset, source, (Lead::default(), share))?.items_per_s())
    }

    /// What has to come before a run with a change; `None`: there is no time for it.
    fn lead(&self, change: Change, diagnosis: &Diagnosis) -> Option<Lead> {
        if !matches!(change, Change::Cache { .. }) {
            return Some(Lead::default());
        }
        let time = self.filling(&diagnosis.situation);
        let steps = self.subject.dataset.len(Split::Train).div_ceil(self.subject.settings.batch_size);
        // Slow storage has drawn out the measurements before: a little more than was given is taken for it.
        let is_time = time < self.left() + self.share(share::APPLIED / 2.0);
        is_time.then_some(Lead { steps, time })
    }

    /// Runs the job with the best change that this process can make.
    pub(super) fn apply(&mut self, diagnosis: &mut Diagnosis) -> Result<(), TrainError> {
        let settings = &self.subject.settings;
        let found = diagnosis.recommendations.iter().find_map(|recommendation| {
            let change = recommendation.change;
            let in_memory = diagnosis.source == Source::PageCache && change == Change::IndexedShards;
            // What shards in the page cache give is what the same bytes give from this process's memory.
            let dataset = match in_memory {
                true => measure_rates::resident_indexed(&self.subject.dataset)?,
                false => self.subject.dataset.clone(),
            };
            let settings = if in_memory { settings.clone() } else { changed(settings, change)? };
            let lead = self.lead(change, diagnosis)?;
            Some((*recommendation, settings, dataset, lead))
        });
        let Some((recommendation, settings, dataset, lead)) = found else { return Ok(()) };
        (self.note)("the real run with the change");
        let counted = (lead, share::APPLIED / 2.0);
        let trial = self.trial(&settings, &dataset, diagnosis.source, counted)?;
        let Some(got_per_s) = trial.items_per_s() else { return Ok(()) };
        let again = self.once_more(diagnosis.source)?;
        let before = diagnosis.measured.trial.items_per_s();
        let moved = before.zip(again).map(|(before, now)| now / before - 1.0);
        if let Some(moved) = moved.filter(|moved| moved.abs() > DRIFT) {
            diagnosis.warnings.push(format!(
                "the unchanged job ran {:+.0} % against its first run: the machine moved while it was measured",
                moved * 100.0
            ));
        }
        let predicted_per_s = recommendation.predicted_per_s;
        diagnosis.applied = Some(Applied {
            change: recommendation.change,
            predicted_per_s,
            got_per_s,
            error: predicted_per_s / got_per_s - 1.0,
            unchanged_per_s: again,
        });
        Ok(())
    }
}
