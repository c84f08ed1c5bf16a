//! The measurements, each in its share of the time.

use std::sync::Arc;
use std::time::Duration;

use footplate_data::cpu_time::cores_got;
use footplate_data::measure_rates::{self, Rate};
use footplate_data::stall;
use footplate_data::{Dataset, LoaderSettings, PixelLayout};

use super::{Measured, Source, Subject, no_sample};
use crate::error::TrainError;
use crate::measure_step::{self as steps, Lead, Trial, Watch};
use crate::settings::TrainSettings;

/// Shares of the time for each measurement. What is left goes to the run with the change applied.
pub(super) mod share {
    pub(in crate::diagnose) const STEP: f64 = 0.18;
    pub(in crate::diagnose) const PREP_ONE: f64 = 0.08;
    pub(in crate::diagnose) const PREP_MANY: f64 = 0.08;
    pub(in crate::diagnose) const PREP_OTHER: f64 = 0.05;
    pub(in crate::diagnose) const UPLOAD: f64 = 0.03;
    pub(in crate::diagnose) const WARM: f64 = 0.02;
    pub(in crate::diagnose) const COLD: f64 = 0.08;
    pub(in crate::diagnose) const EVICT: f64 = 0.03;
    pub(in crate::diagnose) const TRIAL: f64 = 0.20;
    pub(in crate::diagnose) const SMALLER: f64 = 0.05;
    pub(in crate::diagnose) const BATCH: f64 = 0.05;
    pub(in crate::diagnose) const CORES: f64 = 0.01;
    pub(in crate::diagnose) const APPLIED: f64 = 0.20;
}

/// Longer is not more exact.
const CORES_TIME_MAX: Duration = Duration::from_secs(1);

/// Measurements while they are made.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a Subject,
    pub(super) watch: &'a Watch,
    /// On the watch's clock.
    pub(super) started: Duration,
    pub(super) time: Duration,
    pub(super) loader: LoaderSettings,
    pub(super) resident: Arc<Dataset>,
    /// Whether the best change is to be applied.
    pub(super) apply: bool,
    pub(super) note: &'a mut dyn FnMut(&str),
}

impl Bench<'_> {
    pub(super) fn share(&self, share: f64) -> Duration {
        self.time.mul_f64(share)
    }

    pub(super) fn left(&self) -> Duration {
        self.time.saturating_sub(self.watch.since(self.started))
    }

    pub(super) fn measure(&mut self) -> Result<Measured, TrainError> {
        let Subject { settings, dataset, device, .. } = self.subject;
        (self.note)("the step by itself");
        let step = steps::step_rate(settings, dataset, device, self.share(share::STEP), self.watch)?;
        let mut measured = Measured { step, ..Measured::default() };
        (self.note)("decode and augmentation");
        measured.prep_one = self.prep(&self.resident, 0, self.loader.layout, share::PREP_ONE)?;
        if measured.prep_one.items == 0 && !self.watch.is_stopped() {
            return Err(no_sample(self.subject, &self.loader));
        }
        if settings.workers > 0 {
            let rate = self.prep(&self.resident, settings.workers, self.loader.layout, share::PREP_MANY)?;
            measured.prep_many = Some(rate).filter(|rate| rate.items > 0);
        }
        if matches!(dataset.as_ref(), Dataset::Images(_)) {
            let rate = self.prep(&self.resident, 0, PixelLayout::U8Nhwc, share::PREP_OTHER)?;
            measured.prep_u8 = Some(rate).filter(|rate| rate.items > 0);
            measured.upload = self.upload()?;
            if let Some(indexed) = measure_rates::resident_indexed(dataset) {
                let rate = self.prep(&indexed, 0, self.loader.layout, share::PREP_OTHER)?;
                measured.prep_indexed = Some(rate).filter(|rate| rate.items > 0);
            }
        }
        (self.note)("reading");
        measured.storage = measure_rates::storage(
            dataset,
            self.share(share::WARM),
            self.share(share::COLD),
            &self.watch.stop,
        );
        (self.note)("the real run");
        measured.cores_got.push(self.cores_got());
        measured.trial =
            self.trial(settings, dataset, self.source(&measured), (Lead::default(), share::TRIAL))?;
        measured.cores_got.push(self.cores_got());
        Ok(measured)
    }

    pub(super) fn cores_got(&self) -> f64 {
        let time = if self.watch.is_stopped() { Duration::ZERO } else { self.share(share::CORES) };
        cores_got(self.subject.cores, time.min(CORES_TIME_MAX))
    }

    pub(super) fn prep(
        &self,
        dataset: &Arc<Dataset>,
        workers: usize,
        layout: PixelLayout,
        share: f64,
    ) -> Result<Rate, TrainError> {
        if self.watch.is_stopped() {
            return Ok(Rate::default());
        }
        let loader = LoaderSettings { workers, workers_max: None, layout, ..self.loader.clone() };
        Ok(measure_rates::prep(dataset, &loader, self.share(share), &self.watch.stop)?)
    }

    pub(super) fn upload(&self) -> Result<Option<[f64; 2]>, TrainError> {
        let time = self.share(share::UPLOAD / 2.0);
        let each = |layout| {
            steps::upload_s_each(&self.resident, &self.loader, layout, &self.subject.device, time, self.watch)
        };
        let (f32s, u8s) = (each(PixelLayout::F32Nchw)?, each(PixelLayout::U8Nhwc)?);
        Ok(f32s.zip(u8s).map(|(f32s, u8s)| [f32s, u8s]))
    }

    /// A real run; what it will read is taken out of the page cache first, where it comes from storage.
    pub(super) fn trial(
        &self,
        settings: &TrainSettings,
        dataset: &Arc<Dataset>,
        source: Source,
        (lead, share): (Lead, f64),
    ) -> Result<Trial, TrainError> {
        let device = &self.subject.device;
        let cold = matches!(source, Source::Storage { .. });
        let _forgetting = cold.then(|| measure_rates::EvictAfterRead::begin(dataset));
        if cold {
            measure_rates::evict(dataset, self.share(share::EVICT));
        }
        steps::trial(settings, dataset, device, (lead, self.share(share)), self.watch)
    }

    /// Where samples will come from after the first epoch.
    pub(super) fn source(&self, measured: &Measured) -> Source {
        let Some(storage) = &measured.storage else { return Source::Process };
        if self.subject.cold {
            return Source::Storage { hits: 0.0 };
        }
        match self.subject.memory_free {
            Some(free) if storage.data_bytes as f64 > free as f64 * stall::FITS => {
                let kept = free as f64 / storage.data_bytes as f64;
                Source::Storage { hits: stall::lru_hits(kept) }
            }
            _ => Source::PageCache,
        }
    }
}
