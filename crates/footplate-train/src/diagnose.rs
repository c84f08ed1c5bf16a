//! From a job to a diagnosis: measures its stages one after the other within a given time, and lets the model
//! of [`footplate_data::stall`] say what limits it and what would help.

use std::sync::Arc;
use std::time::Duration;

use footplate_core::stats::mean;
use footplate_data::cpu_time::cores_got;
use footplate_data::probe::{self, Cold, Rate, Storage};
use footplate_data::stall::{self, Candidate, Change, Costs, Recommendation, Situation};
use footplate_data::{DataError, Dataset, LoaderSettings, Pipeline, PixelLayout, Position, Split};
use serde::Serialize;

use crate::device::ChosenDevice;
use crate::error::TrainError;
use crate::job::Job;
use crate::loader::loader_settings;
use crate::measure_step::{self as steps, Lead, StepRate, Trial, Watch};
use crate::memory_planner::AUTO_BATCH_MAX;
use crate::model;
use crate::prepare::JobPlan;
use crate::settings::TrainSettings;

mod apply;

/// Shares of the time for each measurement. What is left goes to the run with the change applied.
mod share {
    pub(super) const STEP: f64 = 0.18;
    pub(super) const PREP_ONE: f64 = 0.08;
    pub(super) const PREP_MANY: f64 = 0.08;
    pub(super) const PREP_OTHER: f64 = 0.05;
    pub(super) const UPLOAD: f64 = 0.03;
    pub(super) const WARM: f64 = 0.02;
    pub(super) const COLD: f64 = 0.08;
    pub(super) const EVICT: f64 = 0.03;
    pub(super) const TRIAL: f64 = 0.20;
    pub(super) const SMALLER: f64 = 0.05;
    pub(super) const BATCH: f64 = 0.05;
    pub(super) const CORES: f64 = 0.01;
    pub(super) const APPLIED: f64 = 0.20;
}

/// A process that gets less than this share of the cores shares them with others.
const OWN_CORES: f64 = 0.9;
/// Longer is not more exact.
const CORES_TIME_MAX: Duration = Duration::from_secs(1);
/// A smaller image has about this share of the side.
const SMALLER_SIDE: f64 = 0.75;
/// Steps that an epoch must keep if a larger batch is recommended.
const EPOCH_STEPS_MIN: usize = 4;
/// Workers that are ever recommended.
const WORKERS_MAX: usize = 64;

/// A job that is to be diagnosed.
pub struct Subject {
    /// Its settings.
    pub settings: TrainSettings,
    /// Its data.
    pub dataset: Arc<Dataset>,
    /// Where it computes.
    pub device: ChosenDevice,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory that is left for the page cache beside the job, in bytes; `None`: unknown.
    pub memory_free: Option<u64>,
    /// The largest batch that fits the memory.
    pub batch_max: usize,
    /// Samples are to be taken as not yet read, whatever their size.
    pub cold: bool,
}

impl Subject {
    /// The job that was prepared. `cold`: its samples are to be taken as not yet read.
    pub fn of(plan: JobPlan, cold: bool) -> Self {
        let JobPlan { open, settings, device, memory, available, planner, cores, .. } = plan;
        let dataset = open.dataset;
        let available = available.value().copied();
        let most = planner.largest_batch(AUTO_BATCH_MAX.max(settings.batch_size), available);
        // A larger batch must leave an epoch a few steps.
        let sensible = (dataset.len(Split::Train) / EPOCH_STEPS_MIN).max(settings.batch_size);
        Self {
            memory_free: available.map(|available| available.0.saturating_sub(memory.total().0)),
            batch_max: most.min(sensible),
            settings,
            dataset,
            device,
            cores,
            cold,
        }
    }
}

/// Where samples come from after the first epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// They are in this process's memory from the beginning.
    Process,
    /// The page cache holds them.
    PageCache,
    /// Storage, because they are more than memory can hold, or because it was asked for.
    Storage {
        /// Share of the reads that the page cache is thought to serve all the same, 0 to 1. An estimate.
        hits: f64,
    },
}

/// What was measured. Rates are `None` where they were not.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The step by itself.
    pub step: StepRate,
    /// Preparing what is in memory by the loop's own thread.
    pub prep_one: Rate,
    /// The same with the job's workers.
    pub prep_many: Option<Rate>,
    /// The same as bytes, by one thread.
    pub prep_u8: Option<Rate>,
    /// The same from the form that packed shards have, by one thread.
    pub prep_indexed: Option<Rate>,
    /// Seconds of a sample to the device, for f32 and u8.
    pub upload: Option<[f64; 2]>,
    /// Reading.
    pub storage: Option<Storage>,
    /// The real run.
    pub trial: Trial,
    /// Cores that this process got when it asked for all of them, before and after the real run.
    pub cores_got: Vec<f64>,
}

impl Measured {
    /// How many times longer work takes because other programs run on the same cores.
    fn crowded(&self, cores: usize) -> f64 {
        let got = mean(&self.cores_got).unwrap_or(f64::INFINITY);
        (cores as f64 / got).max(1.0)
    }
}

/// What a change was predicted to give, and what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// What was changed.
    #[serde(flatten)]
    pub change: Change,
    /// Items per second that were predicted.
    pub predicted_per_s: f64,
    /// Items per second of a real run with the change.
    pub got_per_s: f64,
    /// The prediction over what was got, less 1.
    pub error: f64,
    /// Items per second of the unchanged job once more, after that: how far the machine itself moved meanwhile.
    pub unchanged_per_s: Option<f64>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// All measurements.
    pub measured: Measured,
    /// Where samples come from.
    pub source: Source,
    /// The job for the model.
    pub situation: Situation,
    /// Where the time of a real step went; `None` where no step ended in time.
    pub split: Option<stall::Split>,
    /// The stage that limits the job.
    pub bottleneck: stall::Bottleneck,
    /// Items per second of an epoch that reads everything from storage, where that is another rate. An
    /// estimate.
    pub first_epoch_per_s: Option<f64>,
    /// What would help, the best first.
    pub recommendations: Vec<Recommendation>,
    /// What the best change that can be made in this process gave.
    pub applied: Option<Applied>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

/// Measurements while they are made.
struct Bench<'a> {
    subject: &'a Subject,
    watch: &'a Watch,
    /// On the watch's clock.
    started: Duration,
    time: Duration,
    loader: LoaderSettings,
    resident: Arc<Dataset>,
    /// Whether the best change is to be applied.
    apply: bool,
    note: &'a mut dyn FnMut(&str),
}

/// Diagnoses a job in about `time`. `note` is told what is being measured. `None`: it was stopped meanwhile.
pub fn diagnose(
    subject: &Subject,
    time: Duration,
    apply: bool,
    watch: &Watch,
    note: &mut dyn FnMut(&str),
) -> Result<Option<Diagnosis>, TrainError> {
    // Weights are checked as in training, once.
    Job::new(subject.settings.clone(), subject.dataset.clone(), subject.device.clone())?;
    let loader = loader_settings(&subject.settings, Split::Train, subject.settings.batch_size);
    let started = watch.now();
    let Some(resident) = probe::resident(&subject.dataset) else {
        return Err(no_sample(subject, &loader));
    };
    let mut bench = Bench { subject, watch, started, time, loader, resident, apply, note };
    let measured = bench.measure()?;
    if watch.is_stopped() {
        return Ok(None);
    }
    let mut diagnosis = bench.judge(measured)?;
    if apply {
        bench.apply(&mut diagnosis)?;
    }
    Ok((!watch.is_stopped()).then_some(diagnosis))
}

/// What is wrong with a data set whose samples are all bad: the first minibatch's are named.
fn no_sample(subject: &Subject, loader: &LoaderSettings) -> TrainError {
    let (total, limit) = (subject.dataset.len(Split::Train) as u64, subject.settings.max_bad_fraction);
    let loader = LoaderSettings { workers: 0, workers_max: None, ..loader.clone() };
    let from = Position { epoch: 0, batch: 0 };
    let first = Pipeline::start(subject.dataset.clone(), Split::Train, loader, from, 1).map(|mut p| p.next());
    match first {
        Err(error) | Ok(Some(Err(error))) => error.into(),
        Ok(batch) => {
            let bad = batch.and_then(Result::ok).map_or_else(Vec::new, |batch| batch.bad);
            DataError::TooManyBad { bad, total, limit }.into()
        }
    }
}

impl Bench<'_> {
    fn share(&self, share: f64) -> Duration {
        self.time.mul_f64(share)
    }

    fn left(&self) -> Duration {
        self.time.saturating_sub(self.watch.since(self.started))
    }

    fn measure(&mut self) -> Result<Measured, TrainError> {
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
            if let Some(indexed) = probe::resident_indexed(dataset) {
                let rate = self.prep(&indexed, 0, self.loader.layout, share::PREP_OTHER)?;
                measured.prep_indexed = Some(rate).filter(|rate| rate.items > 0);
            }
        }
        (self.note)("reading");
        measured.storage =
            probe::storage(dataset, self.share(share::WARM), self.share(share::COLD), &self.watch.stop);
        (self.note)("the real run");
        measured.cores_got.push(self.cores_got());
        measured.trial =
            self.trial(settings, dataset, self.source(&measured), (Lead::default(), share::TRIAL))?;
        measured.cores_got.push(self.cores_got());
        Ok(measured)
    }

    fn cores_got(&self) -> f64 {
        let time = if self.watch.is_stopped() { Duration::ZERO } else { self.share(share::CORES) };
        cores_got(self.subject.cores, time.min(CORES_TIME_MAX))
    }

    fn prep(
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
        Ok(probe::prep(dataset, &loader, self.share(share), &self.watch.stop)?)
    }

    fn upload(&self) -> Result<Option<[f64; 2]>, TrainError> {
        let time = self.share(share::UPLOAD / 2.0);
        let each = |layout| {
            steps::upload_s_each(&self.resident, &self.loader, layout, &self.subject.device, time, self.watch)
        };
        let (f32s, u8s) = (each(PixelLayout::F32Nchw)?, each(PixelLayout::U8Nhwc)?);
        Ok(f32s.zip(u8s).map(|(f32s, u8s)| [f32s, u8s]))
    }

    /// A real run; what it will read is taken out of the page cache first, where it comes from storage.
    fn trial(
        &self,
        settings: &TrainSettings,
        dataset: &Arc<Dataset>,
        source: Source,
        (lead, share): (Lead, f64),
    ) -> Result<Trial, TrainError> {
        let device = &self.subject.device;
        let cold = matches!(source, Source::Storage { .. });
        let _forgetting = cold.then(|| probe::Forgetting::begin(dataset));
        if cold {
            probe::evict(dataset, self.share(share::EVICT));
        }
        steps::trial(settings, dataset, device, (lead, self.share(share)), self.watch)
    }

    /// Where samples will come from after the first epoch.
    fn source(&self, measured: &Measured) -> Source {
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

    fn judge(&mut self, measured: Measured) -> Result<Diagnosis, TrainError> {
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
    fn first_epoch(&self, measured: &Measured, situation: &Situation, source: Source) -> Option<f64> {
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

    fn candidates(
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
    fn cache(&self, measured: &Measured, situation: &Situation) -> Option<Candidate> {
        let (free, storage) = (self.subject.memory_free?, measured.storage.as_ref()?);
        let most = (free as f64 * stall::FITS) as u64;
        let uncached = costs(measured, true, self.subject.cores);
        // What the samples take besides their bytes.
        let all = storage.data_bytes + storage.data_bytes / 16 + CACHE_TABLES;
        Some(situation.cached(&uncached, most.min(all), all))
    }

    /// Whether `steps` more steps of `step_s` seconds fit into the time, with the applied run still to come.
    fn is_time_for(&self, step_s: f64, steps: f64, now: &Situation) -> bool {
        let filling = match now.costs.storage_per_s {
            Some(_) if self.apply => self.filling(now),
            _ => Duration::ZERO,
        };
        let left = self.left().saturating_sub(self.share(share::APPLIED).saturating_add(filling));
        !self.watch.is_stopped() && step_s * steps < left.as_secs_f64()
    }

    /// The job on images of three quarters of the side, or the next size that suits the network.
    fn smaller_images(
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
        let prep = probe::prep(&self.resident, &loader, self.share(share::PREP_OTHER), &self.watch.stop)?;
        let crowded = measured.crowded(self.subject.cores);
        let (Some(costs), Some(prep_s)) = (with_step(&now.costs, &step, crowded), prep.cpu_s_each()) else {
            return Ok(None);
        };
        let costs = Costs { prep_s: prep_s * crowded, ..costs };
        Ok(Some(Candidate { change: Change::ImageSize { pixels }, costs, workers: now.workers }))
    }

    /// The job with batches twice as large, and half as large.
    fn other_batches(&mut self, measured: &Measured, now: &Situation) -> Result<Vec<Candidate>, TrainError> {
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

/// Room for a cache's own tables.
const CACHE_TABLES: u64 = 1 << 20;
/// The same job with another step.
fn with_step(costs: &Costs, step: &StepRate, crowded: f64) -> Option<Costs> {
    let (compute_s, compute_cpu_s) = (step.wall_s_each()?, step.cpu_s_each()? * crowded);
    Some(Costs { compute_s, compute_cpu_s, ..*costs })
}

/// What an item costs by all that was measured; with all of it read from storage, or none.
fn costs(measured: &Measured, from_storage: bool, cores: usize) -> Costs {
    // Figures for each second of CPU time know nothing of other programs; the real run does.
    let crowded = measured.crowded(cores);
    let prep = measured.prep_many.as_ref().unwrap_or(&measured.prep_one);
    let mut costs = Costs {
        compute_s: measured.step.wall_s_each().unwrap_or(0.0),
        compute_cpu_s: measured.step.cpu_s_each().unwrap_or(0.0) * crowded,
        transfer_s: measured.trial.split.transfer_s,
        other_s: measured.trial.split.other_s,
        prep_s: prep.cpu_s_each().unwrap_or(0.0) * crowded,
        fetch_cpu_s: 0.0,
        fetch_wait_s: 0.0,
        storage_per_s: None,
    };
    let Some(storage) = &measured.storage else { return costs };
    costs.fetch_cpu_s = storage.warm.cpu_s_each().unwrap_or(0.0) * crowded;
    if let (true, Cold::Measured { one, many }) = (from_storage, &storage.cold) {
        costs.fetch_cpu_s = one.cpu_s_each().map_or(costs.fetch_cpu_s, |each| each * crowded);
        let waited = one.per_s().map_or(0.0, |rate| 1.0 / rate) - costs.fetch_cpu_s;
        // The pipeline reads ahead: what its workers wait for is less than a read takes.
        let seen = measured.trial.items_per_s().map(|_| measured.trial.fetch_worker_s - costs.fetch_cpu_s);
        costs.fetch_wait_s = waited.min(seen.unwrap_or(f64::INFINITY)).max(0.0);
        costs.storage_per_s = many.per_s();
    }
    costs
}

/// What makes the figures doubtful.
fn warnings(measured: &Measured, situation: &Situation) -> Vec<String> {
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
