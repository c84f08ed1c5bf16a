//! A step of the loop, with all that is due before and after it.

use burn::tensor::{Device, Tensor};
use footplate_core::ports::WorkStep;
use footplate_core::random;
use footplate_core::record::{BadSampleRecord, LoaderRecord, MinibatchRecord, Record, WarningRecord};
use footplate_core::steps::Ending;
use footplate_data::{BadSample, DataError, HostBatch, Pipeline, Position, Split};

use super::Outcome;
use super::bad_samples::BadSamples;
use super::loss_scale::LossScale;
use super::times::StepTimes;
use crate::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use crate::error::TrainError;
use crate::evaluate::scalar;
use crate::feed::Feed;
use crate::job::Job;
#[cfg(feature = "autotune")]
use crate::kernels;
use crate::run_context::RunContext;
use crate::schedule::learning_rate;
use crate::settings::Precision;
use crate::step::{Step, Update};

/// On a device that runs asynchronously the loss is fetched once in so many steps, and at the end.
const ASYNC_LOSS_EVERY: u64 = 16;

/// A job while it runs.
pub(super) struct TrainLoop {
    pub(super) job: Job,
    pub(super) context: RunContext,
    feed: Feed,
    pub(super) validation_feed: Feed,
    /// `None` in a trial.
    pub(super) writer: Option<CheckpointWriter>,
    pub(super) bad: BadSamples,
    pub(super) steps_total: u64,
    steps_per_epoch: u64,
    /// When the step before ended.
    pub(super) step_ended_ns: u64,
    pub(super) epoch_began_ns: u64,
    pub(super) checkpoint_at_ns: u64,
    /// Summed loss of steps whose loss is still on the device.
    loss_on_device: Option<Tensor<1>>,
    /// Whether each step is waited for to its end on the device, as a measurement needs it.
    pub(super) waits: bool,
    scale: LossScale,
    /// Tells the run of kernels that are chosen while it goes on.
    #[cfg(feature = "autotune")]
    _kernels: kernels::Watch,
}

/// What one turn of the loop came to.
pub(super) enum Tick {
    Step(WorkStep),
    End(Ending),
}

fn start_writer(store: &CheckpointStore, context: &RunContext) -> Result<CheckpointWriter, TrainError> {
    let writer = CheckpointWriter::start(store.clone(), context.sink.clone(), context.clock.clone());
    let folder = || store.folder().to_owned();
    writer.map_err(|source| {
        CheckpointError::Io { action: "start the writer of", path: folder(), source }.into()
    })
}

impl TrainLoop {
    pub(super) fn new(job: Job, context: RunContext) -> Result<Self, TrainError> {
        let writer = match &context.store {
            Some(store) => Some(start_writer(store, &context)?),
            None => None,
        };
        let now = context.now_ns();
        let normalize = job.loader_settings(Split::Train).normalize;
        let training = job.device.training(&job.settings);
        Ok(Self {
            feed: Feed::new(&job.device, training, normalize, job.settings.precision),
            validation_feed: Feed::new(&job.device, job.device.device.clone(), normalize, Precision::F32),
            steps_total: job.steps_total(),
            steps_per_epoch: job.steps_per_epoch(),
            bad: BadSamples::new(&job.progress.bad_samples),
            writer,
            scale: LossScale::new(job.settings.precision),
            #[cfg(feature = "autotune")]
            _kernels: kernels::Watch::begin(context.sink.clone(), context.clock.clone()),
            job,
            context,
            step_ended_ns: now,
            epoch_began_ns: now,
            checkpoint_at_ns: now,
            loss_on_device: None,
            waits: false,
        })
    }

    pub(super) fn start_pipeline(&mut self) -> Result<Pipeline, TrainError> {
        let from = Position { epoch: self.job.progress.epoch, batch: self.job.progress.batch };
        let settings = self.feed.loader(self.job.loader_settings(Split::Train));
        let epochs = self.job.settings.epochs;
        let pipeline = Pipeline::start(self.job.dataset.clone(), Split::Train, settings, from, epochs)?;
        self.checkpoint_due_next();
        self.step_ended_ns = self.context.now_ns();
        self.epoch_began_ns = self.step_ended_ns;
        Ok(pipeline)
    }

    /// What is due, and one step.
    pub(super) fn tick(&mut self, pipeline: &mut Pipeline) -> Result<Tick, TrainError> {
        if self.job.progress.epoch > self.job.progress.validated_epochs
            && let Some(ending) = self.finish_epoch()?
        {
            return Ok(Tick::End(ending));
        }
        if self.job.progress.steps >= self.steps_total {
            return self.last_validation().map(Tick::End);
        }
        if self.context.is_stopped() {
            return Ok(Tick::End(Ending::Interrupted));
        }
        let Some(step) = self.step(pipeline)? else { return Ok(Tick::End(Ending::Completed)) };
        self.note_adjusted(pipeline);
        self.checkpoint_if_due()?;
        Ok(Tick::Step(step))
    }

    /// Lets the device finish what it was asked. A device that fails shows it where a result is fetched.
    pub(super) fn wait_for_device(&self) {
        if !self.job.device.synchronous {
            let _ = self.job.device.device.sync();
        }
    }

    /// Records what the pipeline has changed about itself, and what it has to say.
    fn note_adjusted(&mut self, pipeline: &mut Pipeline) {
        for message in pipeline.take_notices() {
            self.context.send(Record::Warning(WarningRecord { message }));
        }
        if let Some(setting) = pipeline.take_adjusted() {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.context.send(Record::Loader(LoaderRecord {
                t_ns: self.context.now_ns(),
                workers: count(setting.workers),
                depth: count(setting.depth),
            }));
        }
    }

    /// One step: the gradients of `accumulate` minibatches (fewer at the end of an epoch) and one update.
    /// `None`: the pipeline has come to its end.
    fn step(&mut self, pipeline: &mut Pipeline) -> Result<Option<WorkStep>, TrainError> {
        let begun_ns = self.context.now_ns();
        let mut times = StepTimes::default();
        let mut step = Step::default();
        let mut items = 0usize;
        let epoch = self.job.progress.epoch;
        for _ in 0..self.job.settings.accumulate {
            let Some(batch) = self.next_batch(pipeline, &mut times)? else { return Ok(None) };
            items += batch.items;
            if batch.items > 0 {
                self.forward_backward(batch, &mut step, &mut times)?;
            }
            if self.advance() {
                break;
            }
        }
        let (rows, loss_sum) = (step.rows(), step.take_loss());
        let rate = self.update(step, &mut times)?;
        self.job.progress.steps += 1;
        self.record_step((epoch, items, rows), rate, loss_sum, &times)?;
        Ok(Some(WorkStep {
            end_ns: self.step_ended_ns,
            step_ns: self.step_ended_ns - begun_ns,
            stall_ns: times.wait + times.transfer,
            items: u32::try_from(items).unwrap_or(u32::MAX),
        }))
    }

    /// Waits for the next minibatch.
    fn next_batch(
        &mut self,
        pipeline: &mut Pipeline,
        times: &mut StepTimes,
    ) -> Result<Option<HostBatch>, TrainError> {
        let begun = self.context.now_ns();
        let batch = pipeline.next();
        times.wait += self.context.now_ns() - begun;
        let Some(batch) = batch else { return Ok(None) };
        let mut batch = batch?;
        times.fetch += batch.times.fetch_ns;
        times.prep += batch.times.prep_ns;
        self.note_bad(std::mem::take(&mut batch.bad))?;
        Ok(Some(batch))
    }

    /// Takes a minibatch to the device and adds its gradients to the step's.
    fn forward_backward(
        &mut self,
        batch: HostBatch,
        step: &mut Step,
        times: &mut StepTimes,
    ) -> Result<(), TrainError> {
        let begun = self.context.now_ns();
        let seed = step_seed(self.job.settings.seed, batch.epoch, batch.batch);
        let batch = self.feed.upload(batch)?;
        let uploaded = self.context.now_ns();
        times.transfer += uploaded - begun;
        times.copied_bytes += batch.copied_bytes;
        times.ingests.push(batch.ingest);
        // Dropout draws from the host's generator, whose state cannot be saved: each minibatch sets it.
        Device::flex().seed(seed);
        let input = (batch.input, batch.targets, batch.rows);
        step.add(self.job.net.as_ref(), input, self.job.settings.label_smoothing, self.scale.factor());
        times.compute += self.context.now_ns() - uploaded;
        Ok(())
    }

    /// Updates the parameters by the mean of the gradients; returns the learning rate.
    fn update(&mut self, step: Step, times: &mut StepTimes) -> Result<f64, TrainError> {
        let begun = self.context.now_ns();
        let settings = &self.job.settings;
        let steps = self.job.progress.steps;
        let rate = learning_rate(&settings.schedule, steps, self.steps_total, self.steps_per_epoch);
        let loss_scale = self.scale.factor();
        if step.rows() > 0 && self.scale.accept(step.gradients())? {
            let update = Update { loss_scale, clip_norm: settings.clip_norm, learning_rate: rate };
            step.update(self.job.net.as_mut(), &mut self.job.optimizer, update);
        }
        times.compute += self.context.now_ns() - begun;
        Ok(rate)
    }

    /// Moves on by one minibatch; `true` at the end of an epoch.
    fn advance(&mut self) -> bool {
        let at_end = self.job.progress.batch + 1 >= self.job.batches_per_epoch();
        let progress = &mut self.job.progress;
        progress.batch += 1;
        if at_end {
            progress.epoch += 1;
            progress.batch = 0;
        }
        at_end
    }

    fn record_step(
        &mut self,
        (epoch, items, rows): (u32, usize, usize),
        learning_rate: f64,
        loss_sum: Option<Tensor<1>>,
        times: &StepTimes,
    ) -> Result<(), TrainError> {
        let step = self.job.progress.steps - 1;
        let begun = self.context.now_ns();
        let synced = self.job.device.synchronous
            || self.waits
            || step.is_multiple_of(ASYNC_LOSS_EVERY)
            || step + 1 == self.steps_total;
        if self.waits {
            self.wait_for_device();
        }
        let loss = self.take_loss(loss_sum, rows, synced)?;
        let t_ns = self.context.now_ns();
        if let Some(loss) = loss.filter(|loss| !loss.is_finite()) {
            return Err(TrainError::Diverged { loss, step });
        }
        self.job.progress.epoch_items += rows as u64;
        self.context.send(Record::Minibatch(MinibatchRecord {
            t_ns,
            epoch,
            step,
            items: u32::try_from(items).unwrap_or(u32::MAX),
            fetch_ns: times.fetch,
            prep_ns: times.prep,
            transfer_ns: times.transfer,
            stall_ns: times.wait + times.transfer,
            compute_ns: times.compute + (t_ns - begun),
            step_ns: t_ns - self.step_ended_ns,
            learning_rate,
            loss,
            synced,
            copied_bytes: Some(times.copied_bytes),
            // A device that runs asynchronously may not have come to it yet.
            ingest_ns: if synced { times.ingest_ns() } else { None },
        }));
        self.step_ended_ns = t_ns;
        Ok(())
    }

    /// Adds a step's summed loss to the epoch's; gives its mean if it is fetched from the device now.
    fn take_loss(
        &mut self,
        loss_sum: Option<Tensor<1>>,
        rows: usize,
        fetch: bool,
    ) -> Result<Option<f32>, TrainError> {
        let Some(loss_sum) = loss_sum else { return Ok(None) };
        if !fetch {
            self.loss_on_device = Some(match self.loss_on_device.take() {
                Some(sum) => sum + loss_sum,
                None => loss_sum,
            });
            return Ok(None);
        }
        let value = scalar(loss_sum)?;
        self.job.progress.epoch_loss_sum += value;
        self.fetch_loss()?;
        Ok(Some((value / rows.max(1) as f64) as f32))
    }

    /// Fetches what is still on the device of this epoch's loss.
    pub(super) fn fetch_loss(&mut self) -> Result<(), TrainError> {
        if let Some(sum) = self.loss_on_device.take() {
            self.job.progress.epoch_loss_sum += scalar(sum)?;
        }
        Ok(())
    }

    /// Notes samples that were left out, once each; too many of them end the run.
    pub(super) fn note_bad(&mut self, bad: Vec<BadSample>) -> Result<(), TrainError> {
        for sample in bad {
            let (name, reason) = (sample.name.clone(), sample.reason.clone());
            if self.bad.note(sample) {
                self.context.send(Record::BadSample(BadSampleRecord { name, reason }));
            }
        }
        let dataset = &self.job.dataset;
        let total = (dataset.len(Split::Train) + dataset.len(Split::Validation)) as u64;
        let limit = self.job.settings.max_bad_fraction;
        if self.bad.exceed(limit, total) {
            let bad = self.bad.take_named();
            return Err(DataError::TooManyBad { bad, total, limit }.into());
        }
        Ok(())
    }

    /// The last checkpoint, and the end.
    pub(super) fn finish(mut self, ending: Ending) -> Result<Outcome, TrainError> {
        self.job.progress.finished = ending != Ending::Interrupted;
        self.checkpoint_now(false)?;
        let outcome = Outcome {
            ending,
            steps: self.job.progress.steps,
            best: self.job.progress.best,
            bad_samples: self.bad.len(),
        };
        let dropped = self.context.sink.dropped();
        if dropped > 0 {
            let message =
                format!("{dropped} records did not fit the queue to the run log and are missing there");
            self.context.send(Record::Warning(WarningRecord { message }));
        }
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(outcome)
    }
}

/// A seed for one minibatch's dropout: a pure function of its place in the run.
fn step_seed(seed: u64, epoch: u32, batch: u64) -> u64 {
    random::mix(seed ^ (u64::from(epoch) << 40) ^ batch.wrapping_add(1).wrapping_mul(random::GAMMA))
}
