//! The training loop.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use footplate_core::ports::WorkStep;
use footplate_core::random;
use footplate_core::record::{BadSampleRecord, LoaderRecord, MinibatchRecord, Record, WarningRecord};
use footplate_data::{BadSample, DataError, HostBatch, Pipeline, Position, Split};

use crate::checkpoint::{Best, CheckpointError, CheckpointStore, CheckpointWriter};
use crate::error::{TrainError, guarded};
use crate::evaluate::scalar;
use crate::feed::{Feed, IngestTime};
use crate::job::Job;
#[cfg(feature = "autotune")]
use crate::kernels;
use crate::loss::cross_entropy_sum;
use crate::optimizer::{GradientMap, clip_norm};
use crate::records::{RecordSink, RunClock};
use crate::schedule::learning_rate;
use crate::settings::Precision;
use scale::LossScale;

mod epoch;
mod scale;

/// On a device that computes behind the loop's back the loss is fetched once in so many steps, and at the end.
const ASYNC_LOSS_EVERY: u64 = 16;

/// What the loop is given by the program around it.
pub struct Surroundings<'a> {
    /// Where checkpoints go. `None` for a trial: nothing is written, and nothing is validated.
    pub store: Option<CheckpointStore>,
    /// Where records go.
    pub sink: RecordSink,
    /// The clock of the records.
    pub clock: RunClock,
    /// Set by whoever wants the run to stop after the present step.
    pub stop: &'a AtomicBool,
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// Validation stopped improving.
    EarlyStopped,
    /// It was asked to stop, and wrote a checkpoint.
    Interrupted,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Steps done over the whole run.
    pub steps: u64,
    /// The best validation.
    pub best: Option<Best>,
    /// Samples that were left out.
    pub bad_samples: u64,
}

/// Times of a step's parts, in nanoseconds.
#[derive(Default)]
struct StepTimes {
    fetch: u64,
    prep: u64,
    wait: u64,
    transfer: u64,
    compute: u64,
    copied_bytes: u64,
    /// Of each minibatch.
    ingests: Vec<IngestTime>,
}

impl StepTimes {
    /// What the kernels took that made the model's inputs; `None` unless all are known.
    fn ingest_ns(&self) -> Option<u64> {
        if self.ingests.is_empty() {
            return None;
        }
        self.ingests.iter().map(IngestTime::ns).sum()
    }
}

/// A job while it runs.
struct Loop<'a> {
    job: Job,
    around: Surroundings<'a>,
    feed: Feed,
    validation_feed: Feed,
    /// `None` in a trial.
    writer: Option<CheckpointWriter>,
    bad: BTreeSet<u64>,
    bad_named: Vec<BadSample>,
    steps_total: u64,
    steps_per_epoch: u64,
    /// When the step before ended.
    step_ended_ns: u64,
    epoch_began_ns: u64,
    checkpoint_at_ns: u64,
    /// Summed loss of steps whose loss is still on the device.
    loss_on_device: Option<Tensor<1>>,
    /// Whether each step is waited for to its end on the device, as a measurement needs it.
    waits: bool,
    scale: LossScale,
    /// Tells the run of kernels that are chosen while it goes on.
    #[cfg(feature = "autotune")]
    _kernels: kernels::Watch,
}

/// Trains until the job's end or until it is asked to stop.
pub fn run(job: Job, around: Surroundings<'_>) -> Result<Outcome, TrainError> {
    let mut session = Session::start(job, around)?;
    while session.advance()?.is_some() {}
    session.finish()
}

/// What one turn of the loop came to.
enum Turn {
    Step(WorkStep),
    End(Ending),
}

/// A run that is driven from outside, a step at a time: what [`run`] does is to drive it to its end.
pub struct Session<'a> {
    this: Loop<'a>,
    /// `None`: there is nothing left to do.
    pipeline: Option<Pipeline>,
    ending: Option<Ending>,
}

impl<'a> Session<'a> {
    /// Starts the pipeline. The first step is made by the first [`Session::advance`].
    pub fn start(job: Job, around: Surroundings<'a>) -> Result<Self, TrainError> {
        let writer = match &around.store {
            Some(store) => Some(start_writer(store, &around)?),
            None => None,
        };
        let now = around.clock.now_ns();
        let normalize = job.loader_settings(Split::Train).normalize;
        let training = job.device.training(&job.settings);
        let scale = LossScale::new(job.settings.precision);
        #[cfg(feature = "autotune")]
        let kernels = kernels::Watch::begin(around.sink.clone(), around.clock);
        let mut this = Loop {
            feed: Feed::new(&job.device, training, normalize, job.settings.precision),
            validation_feed: Feed::new(&job.device, job.device.device.clone(), normalize, Precision::F32),
            steps_total: job.steps_total(),
            steps_per_epoch: job.steps_per_epoch(),
            bad: job.progress.bad_samples.iter().copied().collect(),
            bad_named: Vec::new(),
            writer,
            job,
            around,
            step_ended_ns: now,
            epoch_began_ns: now,
            checkpoint_at_ns: now,
            loss_on_device: None,
            waits: false,
            scale,
            #[cfg(feature = "autotune")]
            _kernels: kernels,
        };
        if this.job.progress.finished {
            return Ok(Self { this, pipeline: None, ending: Some(Ending::Completed) });
        }
        let pipeline = this.start_pipeline()?;
        Ok(Self { this, pipeline: Some(pipeline), ending: None })
    }

    /// Makes the next step, with all that is due before it (the end of an epoch) and after it (a checkpoint).
    /// `None`: the run is over, or was asked to stop.
    pub fn advance(&mut self) -> Result<Option<WorkStep>, TrainError> {
        let Some(pipeline) = self.pipeline.as_mut().filter(|_| self.ending.is_none()) else {
            return Ok(None);
        };
        let this = &mut self.this;
        match guarded(&this.job.device.clone(), this.job.settings.batch_size, || this.turn(pipeline))? {
            Turn::Step(step) => Ok(Some(step)),
            Turn::End(ending) => {
                self.ending = Some(ending);
                Ok(None)
            }
        }
    }

    /// The last checkpoint, and the end. A run that was not driven to its end can be resumed.
    pub fn finish(self) -> Result<Outcome, TrainError> {
        let ending = self.ending.unwrap_or(Ending::Interrupted);
        let this = self.this;
        guarded(&this.job.device.clone(), this.job.settings.batch_size, || this.finish(ending))
    }

    /// How the run ended; `None`: it goes on.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whether each step is waited for to its end on the device: for measurements. What was asked of the device
    /// before is waited for at once.
    pub fn wait_for_steps(&mut self, waits: bool) {
        if waits && !self.this.waits {
            self.this.wait_for_device();
        }
        self.this.waits = waits;
    }

    /// Changes the number of the loader's workers; what minibatches hold does not depend on it.
    pub fn set_workers(&mut self, workers: usize) -> Result<(), TrainError> {
        match &mut self.pipeline {
            Some(pipeline) => Ok(pipeline.set_workers(workers)?),
            None => Ok(()),
        }
    }

    /// The job as it stands.
    pub fn job(&self) -> &Job {
        &self.this.job
    }

    /// Steps that remain.
    pub fn steps_left(&self) -> u64 {
        self.this.steps_total.saturating_sub(self.this.job.progress.steps)
    }

    /// Where its records go.
    pub fn sink(&self) -> &RecordSink {
        &self.this.around.sink
    }

    /// The clock of its records and steps.
    pub fn clock(&self) -> RunClock {
        self.this.around.clock
    }
}

fn start_writer(store: &CheckpointStore, around: &Surroundings<'_>) -> Result<CheckpointWriter, TrainError> {
    let writer = CheckpointWriter::start(store.clone(), around.sink.clone(), around.clock);
    let folder = || store.folder().to_owned();
    writer.map_err(|source| {
        CheckpointError::Io { action: "start the writer of", path: folder(), source }.into()
    })
}

impl Loop<'_> {
    fn start_pipeline(&mut self) -> Result<Pipeline, TrainError> {
        let from = Position { epoch: self.job.progress.epoch, batch: self.job.progress.batch };
        let settings = self.feed.loader(self.job.loader_settings(Split::Train));
        let epochs = self.job.settings.epochs;
        let pipeline = Pipeline::start(self.job.dataset.clone(), Split::Train, settings, from, epochs)?;
        self.checkpoint_due_next();
        self.step_ended_ns = self.around.clock.now_ns();
        self.epoch_began_ns = self.step_ended_ns;
        Ok(pipeline)
    }

    /// What is due, and one step.
    fn turn(&mut self, pipeline: &mut Pipeline) -> Result<Turn, TrainError> {
        if self.job.progress.epoch > self.job.progress.validated_epochs
            && let Some(ending) = self.finish_epoch()?
        {
            return Ok(Turn::End(ending));
        }
        if self.job.progress.steps >= self.steps_total {
            return self.last_validation().map(Turn::End);
        }
        if self.around.stop.load(Ordering::Relaxed) {
            return Ok(Turn::End(Ending::Interrupted));
        }
        let Some(step) = self.step(pipeline)? else { return Ok(Turn::End(Ending::Completed)) };
        self.note_adjusted(pipeline);
        self.checkpoint_if_due()?;
        Ok(Turn::Step(step))
    }

    /// Lets the device finish what it was asked. A device that fails shows it where a result is fetched.
    fn wait_for_device(&self) {
        if !self.job.device.synchronous {
            let _ = self.job.device.device.sync();
        }
    }

    /// Records what the pipeline has changed about itself, and what it has to say.
    fn note_adjusted(&mut self, pipeline: &mut Pipeline) {
        for message in pipeline.take_notices() {
            self.around.sink.send(Record::Warning(WarningRecord { message }));
        }
        if let Some(setting) = pipeline.take_adjusted() {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.around.sink.send(Record::Loader(LoaderRecord {
                t_ns: self.around.clock.now_ns(),
                workers: count(setting.workers),
                depth: count(setting.depth),
            }));
        }
    }

    /// One step: the gradients of `accumulate` minibatches (fewer at the end of an epoch) and one update.
    /// `None`: the pipeline has come to its end.
    fn step(&mut self, pipeline: &mut Pipeline) -> Result<Option<WorkStep>, TrainError> {
        let begun_ns = self.around.clock.now_ns();
        let mut times = StepTimes::default();
        let mut gradients = GradientMap::new();
        let (mut rows, mut items) = (0usize, 0usize);
        let mut loss_sum: Option<Tensor<1>> = None;
        let epoch = self.job.progress.epoch;
        for _ in 0..self.job.settings.accumulate {
            let Some(batch) = self.next_batch(pipeline, &mut times)? else { return Ok(None) };
            items += batch.items;
            if batch.items > 0 {
                let loss = self.forward_backward(batch, &mut gradients, &mut rows, &mut times)?;
                loss_sum = Some(match loss_sum {
                    Some(sum) => sum + loss,
                    None => loss,
                });
            }
            if self.advance() {
                break;
            }
        }
        let rate = self.update(gradients, rows, &mut times)?;
        self.job.progress.steps += 1;
        self.record_step(epoch, items, rows, rate, loss_sum, &times)?;
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
        let begun = self.around.clock.now_ns();
        let batch = pipeline.next();
        times.wait += self.around.clock.now_ns() - begun;
        let Some(batch) = batch else { return Ok(None) };
        let mut batch = batch?;
        times.fetch += batch.times.fetch_ns;
        times.prep += batch.times.prep_ns;
        self.note_bad(std::mem::take(&mut batch.bad))?;
        Ok(Some(batch))
    }

    /// Adds a minibatch's gradients (of its summed loss) to `gradients`; returns its summed loss.
    fn forward_backward(
        &mut self,
        batch: HostBatch,
        gradients: &mut GradientMap,
        rows: &mut usize,
        times: &mut StepTimes,
    ) -> Result<Tensor<1>, TrainError> {
        let begun = self.around.clock.now_ns();
        let seed = step_seed(self.job.settings.seed, batch.epoch, batch.batch);
        let batch = self.feed.upload(batch)?;
        let uploaded = self.around.clock.now_ns();
        times.transfer += uploaded - begun;
        times.copied_bytes += batch.copied_bytes;
        times.ingests.push(batch.ingest);
        // Dropout draws from the host's generator, whose state cannot be saved: each minibatch sets it.
        Device::flex().seed(seed);
        *rows += batch.rows;
        let logits = self.job.net.forward(batch.input);
        let loss = cross_entropy_sum(logits, batch.targets, self.job.settings.label_smoothing);
        let value = loss.clone().inner();
        let factor = self.scale.factor();
        let loss = if factor == 1.0 { loss } else { loss.mul_scalar(factor) };
        for (path, gradient) in self.job.net.gradients(loss) {
            let sum = match gradients.remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            gradients.insert(path, sum);
        }
        times.compute += self.around.clock.now_ns() - uploaded;
        Ok(value)
    }

    /// Updates the parameters by the mean of the gradients; returns the learning rate.
    fn update(
        &mut self,
        mut gradients: GradientMap,
        rows: usize,
        times: &mut StepTimes,
    ) -> Result<f64, TrainError> {
        let begun = self.around.clock.now_ns();
        let settings = &self.job.settings;
        let steps = self.job.progress.steps;
        let rate = learning_rate(&settings.schedule, steps, self.steps_total, self.steps_per_epoch);
        let factor = self.scale.factor();
        if rows > 0 && self.scale.accept(&gradients)? {
            for gradient in gradients.values_mut() {
                *gradient = gradient.clone().div_scalar(rows as f64 * factor);
            }
            if let Some(norm_max) = settings.clip_norm {
                clip_norm(&mut gradients, norm_max);
            }
            let optimizer = &mut self.job.optimizer;
            optimizer.begin_step();
            // As is usual, biases and normalisation parameters (one dimension) do not decay.
            self.job.net.update(gradients, &mut |path, rank, value, gradient| {
                optimizer.update(path, rank > 1, value, gradient, rate)
            });
        }
        times.compute += self.around.clock.now_ns() - begun;
        Ok(rate)
    }

    /// Moves on by one minibatch; `true` at the end of an epoch.
    fn advance(&mut self) -> bool {
        let progress = &mut self.job.progress;
        progress.batch += 1;
        let at_end = progress.batch
            >= self.job.dataset.len(Split::Train).div_ceil(self.job.settings.batch_size) as u64;
        if at_end {
            progress.epoch += 1;
            progress.batch = 0;
        }
        at_end
    }

    fn record_step(
        &mut self,
        epoch: u32,
        items: usize,
        rows: usize,
        learning_rate: f64,
        loss_sum: Option<Tensor<1>>,
        times: &StepTimes,
    ) -> Result<(), TrainError> {
        let step = self.job.progress.steps - 1;
        let begun = self.around.clock.now_ns();
        let synced = self.job.device.synchronous
            || self.waits
            || step.is_multiple_of(ASYNC_LOSS_EVERY)
            || step + 1 == self.steps_total;
        if self.waits {
            self.wait_for_device();
        }
        let loss = self.take_loss(loss_sum, rows, synced)?;
        let t_ns = self.around.clock.now_ns();
        if let Some(loss) = loss.filter(|loss| !loss.is_finite()) {
            return Err(TrainError::Diverged { loss, step });
        }
        self.job.progress.epoch_items += rows as u64;
        self.around.sink.send(Record::Minibatch(MinibatchRecord {
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
            // Behind the loop's back the device may not have come to it yet.
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
    fn fetch_loss(&mut self) -> Result<(), TrainError> {
        if let Some(sum) = self.loss_on_device.take() {
            self.job.progress.epoch_loss_sum += scalar(sum)?;
        }
        Ok(())
    }

    /// Notes samples that were left out, once each; too many of them end the run.
    fn note_bad(&mut self, bad: Vec<BadSample>) -> Result<(), TrainError> {
        for sample in bad {
            if !self.bad.insert(sample.index) {
                continue;
            }
            self.around.sink.send(Record::BadSample(BadSampleRecord {
                name: sample.name.clone(),
                reason: sample.reason.clone(),
            }));
            self.bad_named.push(sample);
        }
        let dataset = &self.job.dataset;
        let total = (dataset.len(Split::Train) + dataset.len(Split::Validation)) as u64;
        let limit = self.job.settings.max_bad_fraction;
        if self.bad.len() as f64 > limit * total as f64 {
            let bad = std::mem::take(&mut self.bad_named);
            return Err(DataError::TooManyBad { bad, total, limit }.into());
        }
        Ok(())
    }

    /// The last checkpoint, and the end.
    fn finish(mut self, ending: Ending) -> Result<Outcome, TrainError> {
        self.job.progress.finished = ending != Ending::Interrupted;
        self.checkpoint_now(false)?;
        let outcome = Outcome {
            ending,
            steps: self.job.progress.steps,
            best: self.job.progress.best,
            bad_samples: self.bad.len() as u64,
        };
        let dropped = self.around.sink.dropped();
        if dropped > 0 {
            let message =
                format!("{dropped} records did not fit the queue to the run log and are missing there");
            self.around.sink.send(Record::Warning(WarningRecord { message }));
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

#[cfg(test)]
mod tests;
