//! What a run log says in sum: computed from records alone, so that a live run, a finished one and a log
//! from another machine give the same figures.

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::record::{EpochRecord, MinibatchRecord, Record, RunEnd, RunStart, RunStatus, ValidationRecord};
use crate::stats::{mean, quantile};
use crate::units::{Bytes, Joules};

/// Adds up records as they come.
#[derive(Clone, Debug, Default)]
pub struct SummaryBuilder {
    start: Option<RunStart>,
    end: Option<RunEnd>,
    last_epoch: Option<EpochRecord>,
    last_validation: Option<ValidationRecord>,
    best_validation: Option<ValidationRecord>,
    step_ns: Vec<f64>,
    items: u64,
    stall_ns: u64,
    fetch_stall_ns: u64,
    prep_stall_ns: u64,
    transfer_ns: u64,
    compute_ns: u64,
    other_ns: u64,
    /// Bytes, and the steps that told.
    copied: (u64, u64),
    /// Nanoseconds, and the steps that told.
    ingest_ns: (u64, u64),
    steps_done: u64,
    bad_samples: u64,
    checkpoints: u64,
    checkpoint_snapshot_ns: u64,
}

/// The figures of one process's share of a run. Times of a step are means over its steps unless they say
/// otherwise; `fetch_ms`, `prep_ms` and `transfer_ms` are the parts of the data stall, so that the five
/// parts add up to the mean step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How the run ended; `None`: the log has no end.
    pub status: Option<RunStatus>,
    /// The network's name in the registry.
    pub model: String,
    /// The device's name and why it was chosen.
    pub device: String,
    /// Passes over the training data that were asked for.
    pub epochs: u32,
    /// Steps done over the whole run.
    pub steps: u64,
    /// The step that this process began with.
    pub first_step: u64,
    /// Samples in a minibatch.
    pub batch_size: u64,
    /// Trainable parameters of the network, in numbers (not bytes).
    pub parameters: u64,
    /// Training samples (for a language model: sequences) per second of training, without validation.
    pub images_per_s: Option<f64>,
    /// Median duration of a step, in milliseconds.
    pub step_ms_median: Option<f64>,
    /// 95th percentile of the duration of a step, in milliseconds.
    pub step_ms_p95: Option<f64>,
    /// Mean duration of a step, in milliseconds.
    pub step_ms_mean: Option<f64>,
    /// Share of the training time that the loop waited for data, 0 to 1.
    pub stall_fraction: Option<f64>,
    /// Milliseconds of a step that waited for reading.
    pub fetch_ms: Option<f64>,
    /// Milliseconds of a step that waited for decode, augmentation and collation.
    pub prep_ms: Option<f64>,
    /// Milliseconds of a step that waited for the transfer to the device.
    pub transfer_ms: Option<f64>,
    /// Milliseconds of a step in forward, backward and update.
    pub compute_ms: Option<f64>,
    /// Milliseconds of a step that are none of these: bookkeeping, copies for checkpoints.
    pub other_ms: Option<f64>,
    /// Bytes that were copied to bring a step's inputs to the device, on average; null where the feed does not count
    /// them. Older logs have none.
    #[serde(default)]
    pub copied_bytes_per_step: Option<f64>,
    /// Mean time of the kernel that makes a step's input, over those steps where it was timed.
    #[serde(default)]
    pub ingest_ms: Option<f64>,
    /// Mean loss over the last epoch.
    pub train_loss: Option<f64>,
    /// Loss of the last validation.
    pub val_loss: Option<f64>,
    /// Top-1 accuracy of the last validation, 0 to 1.
    pub val_accuracy: Option<f64>,
    /// Top-5 accuracy of the last validation.
    pub val_top5: Option<f64>,
    /// Top-1 accuracy of the best validation.
    pub best_val_accuracy: Option<f64>,
    /// The best validation's epoch, from 1.
    pub best_epoch: Option<u32>,
    /// Largest resident memory of the process; null where the system does not tell.
    pub peak_memory_bytes: Option<Bytes>,
    /// The memory plan's total: an estimate made before the first step.
    pub planned_memory_bytes: Option<Bytes>,
    /// Energy of the run; null where it was not measured.
    pub energy_j: Option<Joules>,
    /// Samples that were left out.
    pub bad_samples: u64,
    /// Records that the log lacks.
    pub dropped_records: u64,
    /// Checkpoints that this process wrote.
    pub checkpoints: u64,
    /// Share of the training time that the loop spent on copying state for them.
    pub checkpoint_fraction: Option<f64>,
}

impl SummaryBuilder {
    /// Takes one record into account.
    pub fn push(&mut self, record: &Record) {
        match record {
            Record::RunStart(start) => self.start = Some(start.clone()),
            Record::Minibatch(minibatch) => self.push_minibatch(minibatch),
            Record::Epoch(epoch) => self.last_epoch = Some(epoch.clone()),
            Record::Validation(validation) => {
                self.last_validation = Some(validation.clone());
                if validation.best {
                    self.best_validation = Some(validation.clone());
                }
            }
            Record::Checkpoint(checkpoint) => {
                self.checkpoints += 1;
                self.checkpoint_snapshot_ns =
                    self.checkpoint_snapshot_ns.saturating_add(checkpoint.snapshot_ns);
            }
            Record::BadSample(_) => self.bad_samples += 1,
            Record::Warning(_) | Record::Loader(_) | Record::Kernels(_) | Record::Power(_) => {}
            Record::Machine(_) | Record::Mode(_) | Record::Profile(_) | Record::Tune(_) => {}
            Record::RunEnd(end) => self.end = Some(end.clone()),
        }
    }

    fn push_minibatch(&mut self, minibatch: &MinibatchRecord) {
        self.step_ns.push(minibatch.step_ns as f64);
        self.items += u64::from(minibatch.items);
        self.stall_ns = self.stall_ns.saturating_add(minibatch.stall_ns);
        self.fetch_stall_ns = self.fetch_stall_ns.saturating_add(minibatch.fetch_stall_ns());
        self.prep_stall_ns = self.prep_stall_ns.saturating_add(minibatch.prep_stall_ns());
        self.transfer_ns = self.transfer_ns.saturating_add(minibatch.transfer_ns);
        self.compute_ns = self.compute_ns.saturating_add(minibatch.compute_ns);
        self.other_ns = self.other_ns.saturating_add(minibatch.other_ns());
        for (sum, value) in
            [(&mut self.copied, minibatch.copied_bytes), (&mut self.ingest_ns, minibatch.ingest_ns)]
        {
            if let Some(value) = value {
                *sum = (sum.0.saturating_add(value), sum.1 + 1);
            }
        }
        self.steps_done = minibatch.step.saturating_add(1);
    }

    /// The last epoch that ended.
    pub fn last_epoch(&self) -> Option<&EpochRecord> {
        self.last_epoch.as_ref()
    }

    /// Steps done over the whole run, as far as the records tell.
    pub fn steps_done(&self) -> u64 {
        self.steps_done.max(self.start.as_ref().map_or(0, |start| start.first_step))
    }

    /// Samples that were left out so far.
    pub fn bad_samples(&self) -> u64 {
        self.bad_samples
    }

    /// Items per second so far.
    pub fn items_per_s(&self) -> Option<f64> {
        let total: f64 = self.step_ns.iter().sum();
        (total > 0.0).then(|| self.items as f64 * 1e9 / total)
    }

    /// Share of the training time so far that was data stall.
    pub fn stall_fraction(&self) -> Option<f64> {
        let total: f64 = self.step_ns.iter().sum();
        (total > 0.0).then(|| self.stall_ns as f64 / total)
    }

    /// The figures. Without a start there is nothing to say.
    pub fn summary(&self) -> Option<Summary> {
        let start = self.start.as_ref()?;
        let end = self.end.as_ref();
        let steps = self.step_ns.len() as f64;
        let total: f64 = self.step_ns.iter().sum();
        let per_step = |ns: u64| (steps > 0.0).then(|| ns as f64 / steps / 1e6);
        let ms = |ns: Option<f64>| ns.map(|ns| ns / 1e6);
        let mean_of = |(sum, count): (u64, u64)| (count > 0).then(|| sum as f64 / count as f64);
        let last = self.last_validation.as_ref();
        Some(Summary {
            status: end.map(|end| end.status),
            model: start.model.clone(),
            device: start.device.clone(),
            epochs: start.epochs,
            steps: end.map_or(self.steps_done(), |end| end.steps),
            first_step: start.first_step,
            batch_size: start.batch_size,
            parameters: start.parameters,
            images_per_s: self.items_per_s(),
            step_ms_median: ms(quantile(&self.step_ns, 0.5)),
            step_ms_p95: ms(quantile(&self.step_ns, 0.95)),
            step_ms_mean: ms(mean(&self.step_ns)),
            stall_fraction: self.stall_fraction(),
            fetch_ms: per_step(self.fetch_stall_ns),
            prep_ms: per_step(self.prep_stall_ns),
            transfer_ms: per_step(self.transfer_ns),
            compute_ms: per_step(self.compute_ns),
            other_ms: per_step(self.other_ns),
            copied_bytes_per_step: mean_of(self.copied),
            ingest_ms: ms(mean_of(self.ingest_ns)),
            train_loss: self.last_epoch.as_ref().and_then(|epoch| epoch.train_loss),
            val_loss: last.map(|v| v.loss),
            val_accuracy: last.map(|v| v.top1),
            val_top5: last.and_then(|v| v.top5),
            best_val_accuracy: self.best_validation.as_ref().map(|v| v.top1),
            best_epoch: self.best_validation.as_ref().map(|v| v.epoch.saturating_add(1)),
            peak_memory_bytes: end.and_then(|end| end.peak_memory_bytes.value().copied()),
            planned_memory_bytes: Some(start.planned_memory_bytes),
            energy_j: end.and_then(|end| end.energy_j.value().copied()),
            bad_samples: end.map_or(self.bad_samples, |end| end.bad_samples),
            dropped_records: end.map_or(0, |end| end.dropped_records),
            checkpoints: self.checkpoints,
            checkpoint_fraction: (total > 0.0).then(|| self.checkpoint_snapshot_ns as f64 / total),
        })
    }

    /// How the energy reading came out, where the log has an end.
    pub fn energy(&self) -> Reading<Joules> {
        self.end.as_ref().map_or(Reading::Absent, |end| end.energy_j.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> RunStart {
        RunStart {
            started_at: "2026-11-24T10:00:00Z".into(),
            version: "0.1.0".into(),
            model: "lenet5".into(),
            device: "cpu".into(),
            data: "test".into(),
            host: "test".into(),
            parameters: 10,
            train_items: 64,
            validation_items: 8,
            batch_size: 32,
            epochs: 1,
            steps_per_epoch: 2,
            steps_total: 2,
            first_step: 0,
            planned_memory_bytes: Bytes(100),
            settings_toml: String::new(),
        }
    }

    fn minibatch(step: u64, step_ns: u64) -> Record {
        Record::Minibatch(MinibatchRecord {
            t_ns: 0,
            epoch: 0,
            step,
            items: 32,
            fetch_ns: 10_000_000,
            prep_ns: 30_000_000,
            transfer_ns: 1_000_000,
            stall_ns: 5_000_000,
            compute_ns: step_ns - 6_000_000,
            step_ns,
            learning_rate: 0.1,
            loss: Some(1.0),
            synced: true,
            copied_bytes: None,
            ingest_ns: None,
        })
    }

    #[test]
    fn the_parts_of_the_step_add_up() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(start()));
        builder.push(&minibatch(0, 20_000_000));
        builder.push(&minibatch(1, 44_000_000));
        let summary = builder.summary().unwrap();
        assert_eq!(summary.step_ms_mean, Some(32.0));
        let parts =
            [summary.fetch_ms, summary.prep_ms, summary.transfer_ms, summary.compute_ms, summary.other_ms];
        assert_eq!(parts, [1.0, 3.0, 1.0, 26.0, 1.0].map(Some));
        assert_eq!(summary.stall_fraction, Some(10.0 / 64.0));
        assert_eq!(summary.images_per_s, Some(1000.0));
        assert_eq!(summary.steps, 2);
        assert_eq!((summary.energy_j, summary.peak_memory_bytes, summary.val_accuracy), (None, None, None));
    }

    #[test]
    fn copies_and_kernels_are_means_over_the_steps_that_tell() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(start()));
        builder.push(&minibatch(0, 20_000_000));
        let summary = builder.summary().unwrap();
        assert_eq!((summary.copied_bytes_per_step, summary.ingest_ms), (None, None));
        for (step, copied_bytes, ingest_ns) in [(1, 0, Some(3_000_000)), (2, 10, None)] {
            let Record::Minibatch(record) = minibatch(step, 20_000_000) else { continue };
            let copied_bytes = Some(copied_bytes);
            builder.push(&Record::Minibatch(MinibatchRecord { copied_bytes, ingest_ns, ..record }));
        }
        let summary = builder.summary().unwrap();
        assert_eq!((summary.copied_bytes_per_step, summary.ingest_ms), (Some(5.0), Some(3.0)));
    }

    #[test]
    fn a_run_without_steps_has_no_figures_rather_than_zeros() {
        let mut builder = SummaryBuilder::default();
        assert!(builder.summary().is_none());
        builder.push(&Record::RunStart(start()));
        let summary = builder.summary().unwrap();
        assert_eq!((summary.images_per_s, summary.step_ms_p95, summary.stall_fraction), (None, None, None));
    }

    #[test]
    fn the_last_validation_is_told_beside_the_best() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(start()));
        for (epoch, top1, best) in [(0, 0.5, true), (1, 0.75, true), (2, 0.25, false)] {
            builder.push(&Record::Validation(ValidationRecord {
                t_ns: 0,
                epoch,
                items: 8,
                loss: 1.0 - top1,
                top1,
                top5: None,
                best,
                duration_ns: 1,
            }));
        }
        let summary = builder.summary().unwrap();
        assert_eq!(
            (summary.val_accuracy, summary.best_val_accuracy, summary.best_epoch),
            (Some(0.25), Some(0.75), Some(2))
        );
        assert_eq!(summary.val_top5, None);
    }

    #[test]
    fn a_log_that_breaks_off_has_no_status_and_keeps_its_steps() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(RunStart { first_step: 40, ..start() }));
        assert_eq!(builder.steps_done(), 40);
        builder.push(&minibatch(40, 20_000_000));
        let summary = builder.summary().unwrap();
        assert_eq!((summary.status, summary.steps, summary.first_step), (None, 41, 40));
        assert_eq!(builder.energy(), Reading::Absent);
    }

    #[test]
    fn an_energy_that_could_not_be_read_is_not_a_zero() {
        let mut builder = SummaryBuilder::default();
        builder.push(&Record::RunStart(start()));
        builder.push(&Record::RunEnd(RunEnd {
            t_ns: 9,
            status: RunStatus::Interrupted,
            steps: 1,
            bad_samples: 3,
            dropped_records: 2,
            peak_memory_bytes: Reading::Absent,
            energy_j: Reading::unreadable("insufficient: 1 sample"),
        }));
        let summary = builder.summary().unwrap();
        assert_eq!((summary.energy_j, summary.bad_samples, summary.dropped_records), (None, 3, 2));
        assert_eq!(builder.energy().reason(), Some("insufficient: 1 sample"));
    }

    proptest! {
        #[test]
        fn the_five_parts_are_the_step_whatever_the_waits(
            steps in prop::collection::vec((0u64..1 << 30, 0u64..1 << 30, 0u64..1 << 20, 0u64..1 << 20, 0u64..1 << 30), 1..20)
        ) {
            let mut builder = SummaryBuilder::default();
            builder.push(&Record::RunStart(start()));
            for (index, (fetch_ns, prep_ns, transfer_ns, wait_ns, compute_ns)) in steps.into_iter().enumerate() {
                let Record::Minibatch(record) = minibatch(index as u64, 1 << 30) else { unreachable!() };
                let stall_ns = transfer_ns + wait_ns;
                let step_ns = stall_ns + compute_ns + 5;
                builder.push(&Record::Minibatch(MinibatchRecord {
                    fetch_ns, prep_ns, transfer_ns, stall_ns, compute_ns, step_ns, ..record
                }));
            }
            let s = builder.summary().unwrap();
            let parts = [s.fetch_ms, s.prep_ms, s.transfer_ms, s.compute_ms, s.other_ms].map(Option::unwrap);
            let (sum, step) = (parts.iter().sum::<f64>(), s.step_ms_mean.unwrap());
            // Where the worker spent no time there is nothing to attribute the wait to but preparation.
            prop_assert!((sum - step).abs() <= 1e-9 * step.max(1.0), "{sum} {step}");
        }
    }
}
