//! The records of a run log: what the training loop says happened, for every view that wants to know.
//!
//! Times are nanoseconds on one monotonic clock that starts at 0 with the process that wrote them
//! (`t_ns`); durations end in `_ns`, sizes in `_bytes`. `docs/run-log.md` describes each field.

use serde::{Deserialize, Serialize};

use crate::power_mode::PowerMode;
use crate::reading::Reading;
use crate::units::{Bytes, Celsius, Hertz, Joules, Watts};

/// One entry of a run log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A process begins to train: at the start of a run and at each resume.
    RunStart(RunStart),
    /// One step of training has ended.
    Minibatch(MinibatchRecord),
    /// The data pipeline has changed its number of workers or its depth.
    Loader(LoaderRecord),
    /// The device's kernels are being chosen by measuring them.
    Kernels(KernelsRecord),
    /// One epoch of training has ended.
    Epoch(EpochRecord),
    /// The model was evaluated on the validation split.
    Validation(ValidationRecord),
    /// A checkpoint is safely on disk.
    Checkpoint(CheckpointRecord),
    /// A sample was left out.
    BadSample(BadSampleRecord),
    /// What the power sensors gave over a second or so.
    Power(PowerRecord),
    /// Clocks, cores and memory, about once a second.
    Machine(MachineRecord),
    /// A power mode was set.
    Mode(ModeRecord),
    /// A tuner has measured one setting on real steps.
    Profile(ProfiledRecord),
    /// What a tune came to.
    Tune(TuneRecord),
    /// Something the user should know.
    Warning(WarningRecord),
    /// The process has stopped training.
    RunEnd(RunEnd),
}

/// Where and with what a run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// Wall-clock time, RFC 3339 in UTC, so that runs can be told apart.
    pub started_at: String,
    /// Version of the footplate that wrote it, such as `0.1.0`.
    pub version: String,
    /// The network's name in the registry.
    pub model: String,
    /// The device's name and why it was chosen.
    pub device: String,
    /// What the data set is, in words.
    pub data: String,
    /// Operating system, architecture and core count of the host.
    pub host: String,
    /// Trainable parameters of the network, in numbers (not bytes).
    pub parameters: u64,
    /// Samples in the training split.
    pub train_items: u64,
    /// Samples in the validation split.
    pub validation_items: u64,
    /// Samples per step (before accumulation).
    pub batch_size: u64,
    /// Passes over the training data that were asked for.
    pub epochs: u32,
    /// Steps in one epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole run; less than `epochs` × `steps_per_epoch` if `--max-steps` says so.
    pub steps_total: u64,
    /// The step to begin with; more than 0 after a resume.
    pub first_step: u64,
    /// The memory plan's total.
    pub planned_memory_bytes: Bytes,
    /// All settings of the run, as TOML.
    pub settings_toml: String,
}

/// One step of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinibatchRecord {
    /// When the step ended.
    pub t_ns: u64,
    /// The epoch that the step belongs to, from 0.
    pub epoch: u32,
    /// From 0, over the whole run.
    pub step: u64,
    /// Samples that were trained on (less than the batch size where samples were bad or the epoch ended).
    pub items: u32,
    /// What the pipeline's worker spent to read this minibatch's bytes. Not a wait of the loop.
    pub fetch_ns: u64,
    /// What the pipeline's worker spent to decode, augment and collate. Not a wait of the loop.
    pub prep_ns: u64,
    /// What the loop waited for the minibatch to be on the device.
    pub transfer_ns: u64,
    /// Data stall: what the loop waited for the pipeline, plus `transfer_ns`.
    pub stall_ns: u64,
    /// Forward, backward and update.
    pub compute_ns: u64,
    /// From the end of the step before to the end of this one: stall, compute and the loop's own work.
    pub step_ns: u64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Mean loss over the items, where it was fetched from the device.
    pub loss: Option<f32>,
    /// Whether the device had finished the step when the time was taken.
    pub synced: bool,
    /// Bytes that were copied to bring the inputs to the device; `None` where the feed does not count them. Since
    /// version 4.
    #[serde(default)]
    pub copied_bytes: Option<u64>,
    /// Time of the kernel that made the model's input from the bytes; `None` where the feed does not time it. Since
    /// version 4.
    #[serde(default)]
    pub ingest_ns: Option<u64>,
}

impl MinibatchRecord {
    /// The part of the stall that is attributed to storage: the wait for the pipeline is split in the
    /// proportion of the worker's time on this minibatch.
    pub fn fetch_stall_ns(&self) -> u64 {
        let worked = self.fetch_ns.saturating_add(self.prep_ns);
        if worked == 0 {
            return 0;
        }
        let wait = self.stall_ns.saturating_sub(self.transfer_ns);
        (wait as f64 * (self.fetch_ns as f64 / worked as f64)) as u64
    }

    /// The part of the stall that is attributed to decode, augmentation and collation.
    pub fn prep_stall_ns(&self) -> u64 {
        self.stall_ns.saturating_sub(self.transfer_ns).saturating_sub(self.fetch_stall_ns())
    }

    /// What is neither stall nor compute: bookkeeping, and copying state for a checkpoint.
    pub fn other_ns(&self) -> u64 {
        self.step_ns.saturating_sub(self.stall_ns).saturating_sub(self.compute_ns)
    }
}

/// A setting that the data pipeline has given itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderRecord {
    /// When it was changed.
    pub t_ns: u64,
    /// Threads that make minibatches.
    pub workers: u32,
    /// Minibatches that may be ahead.
    pub depth: u32,
}

/// How many kernels were chosen by measuring candidates, which happens where a shape is met for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelsRecord {
    /// When the number was read.
    pub t_ns: u64,
    /// Choices that this process has begun to measure. What earlier runs chose is not measured again.
    pub tuned: u64,
}

/// One epoch of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// When its last step ended.
    pub t_ns: u64,
    /// Its number, from 0.
    pub epoch: u32,
    /// Samples seen in this epoch by this process.
    pub items: u64,
    /// Mean loss over those samples; `None` if the epoch had no good sample.
    pub train_loss: Option<f64>,
    /// Duration of the training part of this epoch in this process.
    pub duration_ns: u64,
}

/// One evaluation of the model on the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// When the evaluation ended.
    pub t_ns: u64,
    /// The epoch after which it ran, from 0.
    pub epoch: u32,
    /// Samples (for a language model: predicted characters).
    pub items: u64,
    /// Mean loss over the items, in nats.
    pub loss: f64,
    /// Share of items whose true class has the highest score, 0 to 1.
    pub top1: f64,
    /// Share of items whose true class is among the five highest scores; `None` with five classes or fewer.
    pub top5: Option<f64>,
    /// Whether this is the best validation loss or accuracy of the run so far.
    pub best: bool,
    /// How long it took.
    pub duration_ns: u64,
}

/// A checkpoint that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// When it was complete on disk.
    pub t_ns: u64,
    /// Steps done at the moment it describes.
    pub step: u64,
    /// Name inside the run's `checkpoints` folder.
    pub file: String,
    /// Size of the file.
    pub size_bytes: Bytes,
    /// What the loop paid: copying the state out of the model.
    pub snapshot_ns: u64,
    /// What the writer paid beside the loop.
    pub write_ns: u64,
}

/// A sample that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadSampleRecord {
    /// Its file or its name in the archive.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What the power sensors gave since the power record before. Since version 2 of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerRecord {
    /// The end of the time that it tells of.
    pub t_ns: u64,
    /// The length of that time.
    pub span_ns: u64,
    /// Mean of the samples of the board's total power.
    pub total_w: Reading<Watts>,
    /// Mean of the samples of each rail, by its label.
    pub rails: Vec<(String, Reading<Watts>)>,
    /// The highest temperature of all zones over that time.
    pub temperature_c: Reading<Celsius>,
    /// Evidence that the machine lowered its clocks by itself.
    pub throttled: Vec<String>,
    /// Whether a simulated board gave this.
    pub simulated: bool,
}

/// A clock: what it is held to, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockState {
    /// Which, such as `CPU`, `GPU` or `EMC`.
    pub label: String,
    /// Its upper limit as set.
    pub asked_hz: Reading<Hertz>,
    /// The rate that was read back.
    pub got_hz: Reading<Hertz>,
}

/// The machine's state at one moment. Since version 4 of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// When the machine was looked at.
    pub t_ns: u64,
    /// CPU cores that are on.
    pub cpu_cores: Reading<u32>,
    /// Each clock that the machine has.
    pub clocks: Vec<ClockState>,
    /// The temperature at which the machine begins to slow down, of the zone that is nearest to it.
    pub trip_c: Reading<Celsius>,
    /// The distance of that zone's temperature from it.
    pub trip_distance_c: Reading<Celsius>,
    /// Resident memory of the process.
    pub memory_bytes: Reading<Bytes>,
    /// Whether a simulated board gave this.
    pub simulated: bool,
}

/// Why a mode was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModePurpose {
    /// A tuner wants to measure the job in it.
    Profile,
    /// The run goes on in it: it was chosen.
    Train,
    /// To put back what was there before.
    Restore,
}

/// A power mode was set. Since version 4 of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeRecord {
    /// When it was in force.
    pub t_ns: u64,
    /// What it was set for.
    pub purpose: ModePurpose,
    /// What was asked for.
    pub asked: PowerMode,
    /// What was read back.
    pub got: PowerMode,
    /// Why they differ, and what else the user should know.
    pub warnings: Vec<String>,
}

/// What a measurement was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfilePurpose {
    /// The search asked for it.
    Search,
    /// It is the choice, and is checked.
    Verify,
}

/// One setting, measured on real steps. Since version 4 of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfiledRecord {
    /// When it was complete.
    pub t_ns: u64,
    /// Why it was measured.
    pub purpose: ProfilePurpose,
    /// The mode that was asked for.
    pub mode: PowerMode,
    /// The mode that was read back.
    pub got: PowerMode,
    /// The loader's workers, where they were chosen too.
    pub workers: Option<u32>,
    /// Steps that count: without warm-up and interruptions.
    pub steps: u32,
    /// Their mean duration, in seconds.
    pub step_s: f64,
    /// Standard error of that mean.
    pub step_error_s: f64,
    /// Share of the time that steps waited for data, 0 to 1.
    pub stall_share: Option<f64>,
    /// The board's mean power meanwhile.
    pub power_w: Reading<Watts>,
    /// Evidence that the machine lowered its clocks by itself.
    pub throttled: Vec<String>,
    /// Whether a simulated board gave this.
    pub simulated: bool,
}

/// A value with the interval that holds the truth with a probability of 90 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimated {
    /// The most likely value, in the unit of the field that holds this.
    pub value: f64,
    /// Lower end of the interval.
    pub low90: f64,
    /// Upper end of the interval.
    pub high90: f64,
}

/// One setting of a tune's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunePoint {
    /// The knobs' values.
    pub mode: PowerMode,
    /// The loader's workers, where they were chosen too.
    pub workers: Option<u32>,
    /// Names of the vendor's presets that this mode is.
    pub presets: Vec<String>,
    /// Whether it was measured; else it is predicted.
    pub measured: bool,
    /// Whether no other setting beats it in time, power and energy together.
    pub on_front: bool,
    /// Whether it is the setting with every knob at its largest.
    pub largest: bool,
    /// Duration of a step in seconds.
    pub step_s: Option<Estimated>,
    /// Mean power in watts; `None` where the machine tells no power.
    pub power_w: Option<Estimated>,
    /// Joules a step; `None` where the machine tells no power.
    pub energy_j: Option<Estimated>,
}

/// What a tune came to: the front, what was measured, the presets, the choice. Since version 4 of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuneRecord {
    /// When the tune ended.
    pub t_ns: u64,
    /// The goal in words, with its limits.
    pub goal: String,
    /// The limit on the board's power in watts, if there is one.
    pub power_max_w: Option<f64>,
    /// The limit on a step's time in seconds, if there is one.
    pub step_max_s: Option<f64>,
    /// The limit on a step's energy in joules, if there is one.
    pub energy_max_j: Option<f64>,
    /// Settings measured, without verification.
    pub profiles: u32,
    /// The front, the measured settings, the presets and the largest; not the whole space.
    pub points: Vec<TunePoint>,
    /// Settings in the whole space.
    pub space: u64,
    /// The chosen one, as an index into `points`; `None`: none holds the limits.
    pub choice: Option<usize>,
    /// Whether the choice was measured once more and held.
    pub verified: bool,
    /// The probability that the choice holds the limits.
    pub probability: Option<f64>,
    /// What the user should know.
    pub message: Option<String>,
    /// Whether a simulated board gave the figures.
    pub simulated: bool,
}

/// Something the user should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarningRecord {
    /// One sentence, for people.
    pub message: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// All steps were done.
    Completed,
    /// Validation did not improve for as many epochs as `--early-stop` says.
    EarlyStopped,
    /// Interrupted; a checkpoint was written.
    Interrupted,
    /// An error ended it.
    Failed,
}

/// The end of a process's training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// When training stopped.
    pub t_ns: u64,
    /// In what way it ended.
    pub status: RunStatus,
    /// Steps done over the whole run.
    pub steps: u64,
    /// Samples that were left out.
    pub bad_samples: u64,
    /// Records that did not fit the queue to the log's writer and are missing from it.
    pub dropped_records: u64,
    /// Largest resident memory of the process, where the system tells.
    pub peak_memory_bytes: Reading<Bytes>,
    /// Energy over the run, where a sensor exists.
    pub energy_j: Reading<Joules>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minibatch(fetch_ns: u64, prep_ns: u64, transfer_ns: u64, stall_ns: u64) -> MinibatchRecord {
        MinibatchRecord {
            t_ns: 0,
            epoch: 0,
            step: 0,
            items: 1,
            fetch_ns,
            prep_ns,
            transfer_ns,
            stall_ns,
            compute_ns: 500,
            step_ns: 1000,
            learning_rate: 0.1,
            loss: None,
            synced: true,
            copied_bytes: None,
            ingest_ns: None,
        }
    }

    #[test]
    fn a_wait_is_split_in_the_proportion_of_the_workers_time() {
        let record = minibatch(300, 900, 20, 120);
        assert_eq!((record.fetch_stall_ns(), record.prep_stall_ns(), record.other_ns()), (25, 75, 380));
    }

    #[test]
    fn a_wait_of_which_nothing_is_known_counts_as_prep() {
        let record = minibatch(0, 0, 0, 70);
        assert_eq!((record.fetch_stall_ns(), record.prep_stall_ns()), (0, 70));
    }
}
