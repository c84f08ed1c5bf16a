//! The end of an epoch: its record, validation, and what goes into a checkpoint.

use std::time::Duration;

use footplate_core::record::{EpochRecord, Record, ValidationRecord};
use footplate_core::steps::Ending;
use footplate_data::{Dataset, Pipeline, Position, Split};

use super::train_loop::TrainLoop;
use crate::checkpoint::{Best, Checkpoint, CheckpointWriter};
use crate::error::TrainError;
use crate::evaluate::{Evaluation, evaluate};
use crate::model::Task;

impl TrainLoop {
    /// The epoch's record, its validation and what follows from that.
    pub(super) fn finish_epoch(&mut self) -> Result<Option<Ending>, TrainError> {
        let epoch = self.job.progress.epoch - 1;
        self.record_epoch(epoch)?;
        let Some(gain) = self.validate(epoch)? else { return Ok(Some(Ending::Interrupted)) };
        let progress = &mut self.job.progress;
        progress.validated_epochs = progress.epoch;
        progress.epoch_loss_sum = 0.0;
        progress.epoch_items = 0;
        if gain {
            self.checkpoint_now(true)?;
        }
        let now = self.context.now_ns();
        self.epoch_began_ns = now;
        self.step_ended_ns = now;
        let patience = self.job.settings.early_stop;
        let stale = self.job.progress.validations_without_gain;
        Ok(patience.is_some_and(|patience| stale >= patience).then_some(Ending::EarlyStopped))
    }

    /// A run that `max_steps` ends inside an epoch is validated all the same.
    pub(super) fn last_validation(&mut self) -> Result<Ending, TrainError> {
        if self.job.progress.batch == 0 {
            return Ok(Ending::Completed);
        }
        let epoch = self.job.progress.epoch;
        self.record_epoch(epoch)?;
        match self.validate(epoch)? {
            None => Ok(Ending::Interrupted),
            Some(gain) => {
                if gain {
                    self.checkpoint_now(true)?;
                }
                Ok(Ending::Completed)
            }
        }
    }

    pub(super) fn record_epoch(&mut self, epoch: u32) -> Result<(), TrainError> {
        self.fetch_loss()?;
        let t_ns = self.context.now_ns();
        let progress = &self.job.progress;
        let items = progress.epoch_items;
        self.context.send(Record::Epoch(EpochRecord {
            t_ns,
            epoch,
            items,
            train_loss: (items > 0).then(|| progress.epoch_loss_sum / items as f64),
            duration_ns: t_ns - self.epoch_began_ns,
        }));
        Ok(())
    }

    /// Evaluates; `Some(true)` if it is the best so far, `None` if it was interrupted.
    fn validate(&mut self, epoch: u32) -> Result<Option<bool>, TrainError> {
        if self.job.dataset.len(Split::Validation) == 0 || self.writer.is_none() {
            return Ok(Some(false));
        }
        let begun = self.context.now_ns();
        let settings = self.validation_feed.loader(self.job.loader_settings(Split::Validation));
        let from = Position { epoch: 0, batch: 0 };
        let pipeline = Pipeline::start(self.job.dataset.clone(), Split::Validation, settings, from, 1)?;
        let net = self.job.net.eval();
        let feed = &self.validation_feed;
        let Some(mut found) = evaluate(net.as_ref(), feed, pipeline, &self.context.stop)? else {
            return Ok(None);
        };
        self.note_bad(std::mem::take(&mut found.bad))?;
        if found.rows == 0 {
            return Ok(Some(false));
        }
        let now = best_of(&found, epoch);
        let gain = self.job.progress.best.is_none_or(|best| is_better(self.job.entry.task, &now, &best));
        let progress = &mut self.job.progress;
        if gain {
            progress.best = Some(now);
            progress.validations_without_gain = 0;
        } else {
            progress.validations_without_gain += 1;
        }
        self.record_validation(&found, &now, gain, begun);
        Ok(Some(gain))
    }

    fn record_validation(&self, found: &Evaluation, now: &Best, best: bool, begun_ns: u64) {
        let classes = match self.job.dataset.as_ref() {
            Dataset::Images(images) => images.classes().len(),
            Dataset::Text(text) => text.vocabulary().len(),
        };
        let t_ns = self.context.now_ns();
        self.context.send(Record::Validation(ValidationRecord {
            t_ns,
            epoch: now.epoch,
            items: found.rows,
            loss: now.loss,
            top1: now.top1,
            top5: (classes > 5).then(|| found.hits.top5 as f64 / found.rows as f64),
            best,
            duration_ns: t_ns - begun_ns,
        }));
    }

    pub(super) fn checkpoint_due_next(&mut self) {
        let every =
            Duration::try_from_secs_f64(self.job.settings.checkpoint_every_s).unwrap_or(Duration::MAX);
        let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        self.checkpoint_at_ns = self.context.now_ns().saturating_add(every);
    }

    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), TrainError> {
        let idle = self.writer.as_ref().is_some_and(CheckpointWriter::is_idle);
        if self.context.now_ns() < self.checkpoint_at_ns || !idle {
            return Ok(());
        }
        self.checkpoint_now(false)
    }

    /// Copies the run's state and hands it to the writer.
    pub(super) fn checkpoint_now(&mut self, best: bool) -> Result<(), TrainError> {
        if self.writer.is_none() {
            return Ok(());
        }
        let begun = self.context.now_ns();
        self.fetch_loss()?;
        let (updates, optimizer) = self.job.optimizer.to_tensors();
        self.job.progress.optimizer_updates = updates;
        self.job.progress.bad_samples = self.bad.indices();
        let checkpoint = Checkpoint {
            progress: self.job.progress.clone(),
            settings: self.job.settings.clone(),
            data_fingerprint: self.job.dataset.fingerprint(),
            labels: labels(&self.job.dataset),
            model: self.job.net.tensors().into_iter().map(|t| (t.path, t.data)).collect(),
            optimizer,
        };
        let snapshot_ns = self.context.now_ns() - begun;
        if let Some(writer) = &self.writer {
            writer.write(checkpoint, snapshot_ns, best);
        }
        self.checkpoint_due_next();
        Ok(())
    }
}

fn best_of(found: &Evaluation, epoch: u32) -> Best {
    let rows = found.rows as f64;
    Best { epoch, loss: found.loss_sum / rows, top1: found.hits.top1 as f64 / rows }
}

/// A classifier is better with more right answers (then with less loss), a language model with less loss.
fn is_better(task: Task, now: &Best, best: &Best) -> bool {
    match task {
        Task::Images => now.top1 > best.top1 || (now.top1 == best.top1 && now.loss < best.loss),
        Task::CharacterLm => now.loss < best.loss,
    }
}

fn labels(dataset: &Dataset) -> Vec<String> {
    match dataset {
        Dataset::Images(images) => images.classes().to_vec(),
        Dataset::Text(text) => text.vocabulary().iter().map(char::to_string).collect(),
    }
}
