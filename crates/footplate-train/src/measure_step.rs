//! Measures a job: its step on a minibatch that is there already, the way of a minibatch to the device, and a
//! bounded real run that leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Int, Tensor};
use footplate_core::Record;
use footplate_core::ports::Clock;
use footplate_core::record::MinibatchRecord;
use footplate_core::sink::RecordSink;
use footplate_core::stats::quantile;
use footplate_data::cpu_time::process_cpu_s;
use footplate_data::stall::TimeBreakdown;
use footplate_data::{Dataset, LoaderSettings, Pipeline, PixelLayout, Position, Split};

use crate::device::ChosenDevice;
use crate::engine;
use crate::error::TrainError;
use crate::evaluate::scalar;
use crate::feed::Feed;
use crate::job::Job;
use crate::model::{NetInput, Task};
use crate::run_context::RunContext;
use crate::settings::{Precision, TrainSettings};
use crate::step::{Step, Update};

/// Steps that a figure rests on, at the least; fewer only where time runs out.
const STEPS_MIN: usize = 3;
/// Steps between two fetches of the loss on a device that runs asynchronously.
const SYNC_EVERY: usize = 8;
/// Share of a real run's time that warms up.
const WARM_UP: f64 = 0.15;
/// Steps that warm up, at the least.
const WARM_UP_STEPS: usize = 2;
/// A real run's epochs: it is ended by time.
const EPOCHS: u32 = u32::MAX;

/// The clock of a measurement, and who may end it early.
#[derive(Clone)]
pub struct Watch {
    /// What durations are read from.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Set by whoever wants the measurement to end.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    /// Time on the clock.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns())
    }

    /// Time on the clock since `then`.
    pub(crate) fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }

    /// Whether the measurement is to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// How fast the step is by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepRate {
    /// Samples of a minibatch.
    pub batch_size: usize,
    /// Each step's duration (on a device that runs asynchronously: the mean of a few), in
    /// seconds.
    pub steps_s: Vec<f64>,
    /// CPU time of the process over all those steps.
    pub cpu_s: f64,
}

impl StepRate {
    /// Seconds for one sample, from the median step.
    pub fn wall_s_each(&self) -> Option<f64> {
        quantile(&self.steps_s, 0.5).map(|s| s / self.batch_size as f64)
    }

    /// CPU seconds for one sample: the median step's share of the CPU time of all.
    pub fn cpu_s_each(&self) -> Option<f64> {
        let wall: f64 = self.steps_s.iter().sum();
        (wall > 0.0).then_some(())?;
        self.wall_s_each().map(|each| each * self.cpu_s / wall)
    }
}

/// The step of a job on a minibatch of random numbers that stays on the device: forward, loss, backward and
/// update, as in training. One step warms up. Ends after `time`, or when the watch says so.
pub fn step_rate(
    settings: &TrainSettings,
    dataset: &Arc<Dataset>,
    device: &ChosenDevice,
    time: Duration,
    watch: &Watch,
) -> Result<StepRate, TrainError> {
    let settings = TrainSettings { weights: None, ..settings.clone() };
    let (mut job, _) = Job::new(settings, dataset.clone(), device.clone())?;
    let autodiff = device.training(&job.settings);
    let (input, targets) = synthetic(&job, &autodiff);
    let block = if device.synchronous { 1 } else { SYNC_EVERY };
    let mut rate = StepRate { batch_size: job.settings.batch_size, ..StepRate::default() };
    let started = watch.now();
    // The warm-up: buffers are allocated, kernels compiled and chosen.
    let mut cpu_s = process_cpu_s();
    steps(&mut job, &input, &targets, 1)?;
    let first_s = watch.since(started).as_secs_f64();
    if first_s >= time.as_secs_f64() {
        // A single step must do, where it fills the time.
        rate.steps_s.push(first_s);
        rate.cpu_s = process_cpu_s() - cpu_s;
        return Ok(rate);
    }
    if block > 1 {
        steps(&mut job, &input, &targets, block)?;
    }
    cpu_s = process_cpu_s();
    loop {
        let begun = watch.now();
        steps(&mut job, &input, &targets, block)?;
        rate.steps_s.push(watch.since(begun).as_secs_f64() / block as f64);
        let over = watch.since(started) >= time;
        // A few steps more than there is time for are worth it, if they are short.
        let enough = rate.steps_s.len() >= STEPS_MIN || watch.since(started) >= time * 3 / 2;
        if watch.is_stopped() || over && enough {
            break;
        }
    }
    rate.cpu_s = (process_cpu_s() - cpu_s) / block as f64;
    Ok(rate)
}

/// Runs `count` steps to their end on the device.
fn steps(job: &mut Job, input: &NetInput, targets: &Tensor<1, Int>, count: usize) -> Result<(), TrainError> {
    let mut last = None;
    let rows = targets.dims()[0];
    for _ in 0..count {
        let mut step = Step::default();
        let batch = (input.clone(), targets.clone(), rows);
        step.add(job.net.as_ref(), batch, job.settings.label_smoothing, 1.0);
        last = step.take_loss();
        // A rate of zero keeps the parameters from running away on random numbers.
        let update = Update { loss_scale: 1.0, clip_norm: job.settings.clip_norm, learning_rate: 0.0 };
        step.update(job.net.as_mut(), &mut job.optimizer, update);
    }
    if let Some(loss) = last {
        scalar(loss)?;
    }
    Ok(())
}

/// A minibatch of random numbers, and its classes.
fn synthetic(job: &Job, device: &Device) -> (NetInput, Tensor<1, Int>) {
    let items = job.settings.batch_size;
    let size = job.settings.image_size as usize;
    let (input, rows) = match job.entry.task {
        Task::Images => {
            let pixels = Tensor::random([items, 3, size, size], Distribution::Normal(0.0, 1.0), device);
            (NetInput::Images(pixels), items)
        }
        Task::CharacterLm => {
            let length = job.settings.sequence_length;
            (NetInput::Tokens(Tensor::zeros([items, length], device)), items * length)
        }
    };
    (input, Tensor::zeros([rows], device))
}

/// Seconds that a sample takes from a minibatch in host memory to the form that the network sees, on a device
/// that has done it when the call returns. `None` on others, and where no minibatch was made in time.
pub fn upload_s_each(
    dataset: &Arc<Dataset>,
    loader: &LoaderSettings,
    layout: PixelLayout,
    device: &ChosenDevice,
    time: Duration,
    watch: &Watch,
) -> Result<Option<f64>, TrainError> {
    if !device.synchronous || watch.is_stopped() {
        return Ok(None);
    }
    let feed = Feed::new(device, device.device.clone().autodiff(), loader.normalize, Precision::F32);
    let loader = LoaderSettings { layout, workers: 0, ..loader.clone() };
    let from = Position { epoch: 0, batch: 0 };
    let deadline = watch.now() + time;
    let mut each = Vec::new();
    for batch in Pipeline::start(dataset.clone(), Split::Train, loader, from, EPOCHS)? {
        let batch = batch?;
        if batch.items > 0 {
            let (items, begun) = (batch.items as f64, watch.now());
            let uploaded = feed.upload(batch)?;
            each.push(watch.since(begun).as_secs_f64() / items);
            drop(uploaded);
        }
        if watch.now() >= deadline || watch.is_stopped() {
            break;
        }
    }
    Ok(quantile(&each, 0.5))
}

/// What a real run showed, its warm-up left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Steps that count: those after the warm-up.
    pub steps: u64,
    /// Samples in the steps that count.
    pub items: u64,
    /// How long they took.
    pub wall_s: f64,
    /// CPU time of the process meanwhile.
    pub cpu_s: f64,
    /// Where a sample's time went.
    pub split: TimeBreakdown,
    /// The number of workers at the end, where the pipeline changed it.
    pub workers: Option<usize>,
    /// What workers spent to read a sample, waiting included.
    pub fetch_worker_s: f64,
    /// What workers spent to decode, augment and collate a sample, waiting for a core included.
    pub prep_worker_s: f64,
}

impl Trial {
    /// Samples per second; `None` if no step counts.
    pub fn items_per_s(&self) -> Option<f64> {
        (self.items > 0 && self.wall_s > 0.0).then(|| self.items as f64 / self.wall_s)
    }
}

/// Trains for `time` with the real pipeline: the real loop, without checkpoints, validation or a run folder.
/// The network that comes out is thrown away. `lead` comes before that and does not count.
pub fn trial(
    settings: &TrainSettings,
    dataset: &Arc<Dataset>,
    device: &ChosenDevice,
    (lead, time): (Lead, Duration),
    watch: &Watch,
) -> Result<Trial, TrainError> {
    let settings = TrainSettings { epochs: EPOCHS, max_steps: None, early_stop: None, ..settings.clone() };
    let (job, _) = Job::new(settings, dataset.clone(), device.clone())?;
    let enough = Arc::new(AtomicBool::new(watch.is_stopped()));
    let (sink, records) = RecordSink::bounded();
    let context = RunContext { store: None, sink, clock: watch.clock.clone(), stop: enough.clone() };
    #[expect(clippy::disallowed_methods, reason = "listens while the loop runs")]
    thread::scope(|scope| {
        let listener = scope.spawn(move || listen(&records, lead, time, watch, &enough));
        let result = engine::run(job, context);
        let trial = listener.join().unwrap_or_default();
        result.map(|_| trial)
    })
}

/// What comes before the steps that count, as a cache's first epoch does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lead {
    /// Steps that do not count.
    pub steps: usize,
    /// The longest that they may take; then the trial ends without figures.
    pub time: Duration,
}

/// A step of a real run as it was seen.
struct Seen {
    step: MinibatchRecord,
    /// Since the listener began.
    ended: Duration,
    /// CPU time of the process then.
    cpu_s: f64,
}

/// Notes steps until the run has lasted long enough, then tells it to end.
fn listen(
    records: &Receiver<Record>,
    lead: Lead,
    time: Duration,
    watch: &Watch,
    enough: &AtomicBool,
) -> Trial {
    let (mut started, mut cpu_began_s) = (watch.now(), process_cpu_s());
    let (mut seen, mut workers, mut before) = (Vec::new(), None, 0);
    for record in records {
        let step = match record {
            Record::Minibatch(step) => step,
            Record::Loader(loader) => {
                workers = Some(loader.workers as usize);
                continue;
            }
            _ => continue,
        };
        let ended = watch.since(started);
        if before < lead.steps {
            before += 1;
            if ended >= lead.time || watch.is_stopped() {
                enough.store(true, Ordering::Relaxed);
            } else if before == lead.steps {
                (started, cpu_began_s) = (watch.now(), process_cpu_s());
            }
            continue;
        }
        seen.push(Seen { step, ended, cpu_s: process_cpu_s() });
        // A single step must do, where it fills the time.
        let counted = seen.len() == 1 || seen.len() >= WARM_UP_STEPS + STEPS_MIN;
        let over = ended >= time && counted || ended >= time * 3 / 2;
        if over || watch.is_stopped() {
            enough.store(true, Ordering::Relaxed);
        }
    }
    Trial { workers, ..counted(&seen, time, cpu_began_s) }
}

/// The figures of all steps but those that warm up: the first two and those of the first part of the time, but
/// never more than half of them.
fn counted(seen: &[Seen], time: Duration, cpu_began_s: f64) -> Trial {
    let early = seen.iter().take_while(|seen| seen.ended < time.mul_f64(WARM_UP)).count();
    let (warm_up, counted) = seen.split_at(early.max(WARM_UP_STEPS).min(seen.len() / 2));
    let items: u64 = counted.iter().map(|seen| u64::from(seen.step.items)).sum();
    let Some(last) = counted.last().filter(|_| items > 0) else { return Trial::default() };
    let sum = |ns: fn(&MinibatchRecord) -> u64| counted.iter().map(|s| ns(&s.step)).sum::<u64>() as f64 / 1e9;
    let each = |ns| sum(ns) / items as f64;
    Trial {
        steps: counted.len() as u64,
        items,
        wall_s: sum(|step| step.step_ns),
        cpu_s: last.cpu_s - warm_up.last().map_or(cpu_began_s, |seen| seen.cpu_s),
        split: TimeBreakdown {
            compute_s: each(|step| step.compute_ns),
            slowed_s: 0.0,
            prep_stall_s: each(MinibatchRecord::prep_stall_ns),
            fetch_stall_s: each(MinibatchRecord::fetch_stall_ns),
            transfer_s: each(|step| step.transfer_ns),
            other_s: each(MinibatchRecord::other_ns),
        },
        workers: None,
        fetch_worker_s: each(|step| step.fetch_ns),
        prep_worker_s: each(|step| step.prep_ns),
    }
}

#[cfg(test)]
mod tests {
    use footplate_data::measure_rates;

    use super::*;
    use crate::loader::loader_settings;
    use crate::testing::{TestClock, rhyme, seeded, small_settings};

    const TIME: Duration = Duration::from_millis(60);

    /// Each look at the clock takes a millisecond.
    fn ticking() -> Watch {
        Watch { clock: Arc::new(TestClock::ticking(1_000_000)), stop: Arc::default() }
    }

    fn text() -> Arc<Dataset> {
        rhyme(tempfile::tempdir().unwrap().path(), 12)
    }

    #[test]
    fn a_step_and_a_real_run_are_measured_and_end_in_time() {
        let _turn = seeded(0);
        let (settings, device) = (small_settings("lstm"), ChosenDevice::cpu("test"));
        let never = ticking();
        let rate = step_rate(&settings, &text(), &device, TIME, &never).unwrap();
        assert!(rate.steps_s.len() >= STEPS_MIN && rate.wall_s_each() > Some(0.0), "{rate:?}");
        assert!(rate.cpu_s_each() > Some(0.0));
        let trial = trial(&settings, &text(), &device, (Lead::default(), TIME), &never).unwrap();
        assert!(trial.steps >= STEPS_MIN as u64 && trial.items >= trial.steps, "{trial:?}");
        let per_item = trial.wall_s / trial.items as f64;
        assert!((trial.split.total_s() - per_item).abs() < 0.01 * per_item, "{trial:?}");
    }

    #[test]
    fn whoever_asks_to_stop_is_obeyed() {
        let _turn = seeded(0);
        let now = ticking();
        now.stop.store(true, Ordering::Relaxed);
        let device = ChosenDevice::cpu("test");
        let trial = trial(
            &small_settings("lstm"),
            &text(),
            &device,
            (Lead::default(), Duration::from_secs(600)),
            &now,
        )
        .unwrap();
        assert_eq!(trial.items_per_s(), None);
    }

    #[test]
    fn the_way_to_the_device_is_measured_where_it_can_be() {
        let _turn = seeded(0);
        let (settings, device) = (small_settings("lstm"), ChosenDevice::cpu("test"));
        let (text, never) = (text(), ticking());
        let loader = loader_settings(&settings, Split::Train, settings.batch_size);
        let resident = measure_rates::resident(&text).unwrap();
        let each = upload_s_each(&resident, &loader, PixelLayout::F32Nchw, &device, TIME, &never).unwrap();
        assert!(each > Some(0.0));
    }

    /// Steps of 2 samples that end every 10 ms: 4 ms of waiting (1 of them for the way to the device), 5 of computing.
    fn seen(count: u32) -> Vec<Seen> {
        let step = |number: u32| Seen {
            step: MinibatchRecord {
                t_ns: 0,
                epoch: 0,
                step: u64::from(number),
                items: 2,
                fetch_ns: 1_000_000,
                prep_ns: 2_000_000,
                transfer_ns: 1_000_000,
                stall_ns: 4_000_000,
                compute_ns: 5_000_000,
                step_ns: 10_000_000,
                learning_rate: 0.1,
                loss: None,
                synced: false,
                copied_bytes: None,
                ingest_ns: None,
            },
            ended: Duration::from_millis(10) * (number + 1),
            cpu_s: 0.02 * f64::from(number + 1),
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn figures_are_those_of_the_steps_after_the_warm_up() {
        let trial = counted(&seen(10), Duration::from_millis(100), 0.0);
        assert_eq!((trial.steps, trial.items), (8, 16), "two warm up");
        assert!((trial.wall_s - 0.08).abs() < 1e-9 && (trial.cpu_s - 0.16).abs() < 1e-9, "{trial:?}");
        assert_eq!(trial.items_per_s().map(f64::round), Some(200.0));
        let ms = |seconds: f64| (seconds * 1e6).round() / 1e3;
        let split = trial.split;
        assert_eq!([split.fetch_stall_s, split.prep_stall_s, split.transfer_s].map(ms), [0.5, 1.0, 0.5]);
        assert_eq!([split.compute_s, split.other_s, split.slowed_s].map(ms), [2.5, 0.5, 0.0]);
        assert_eq!([trial.fetch_worker_s, trial.prep_worker_s].map(ms), [0.5, 1.0]);
    }

    #[test]
    fn the_warm_up_grows_with_the_time_and_is_never_more_than_half() {
        let steps = |count, time_ms| counted(&seen(count), Duration::from_millis(time_ms), 0.0).steps;
        // 15 % of a second are 150 ms: the first 14 steps end before that.
        assert_eq!(steps(100, 1000), 86);
        assert_eq!([1, 2, 3, 4, 5].map(|count| steps(count, 1000)), [1, 1, 2, 2, 3]);
        assert_eq!(counted(&[], TIME, 0.0), Trial::default());
    }

    #[test]
    fn a_step_that_was_not_measured_has_no_rate() {
        assert_eq!((StepRate::default().wall_s_each(), StepRate::default().cpu_s_each()), (None, None));
        let rate = StepRate { batch_size: 10, steps_s: vec![0.1, 0.5, 0.2], cpu_s: 1.6 };
        assert_eq!(rate.wall_s_each(), Some(0.02), "the median step");
        assert!((rate.cpu_s_each().unwrap() - 0.04).abs() < 1e-9, "twice as much CPU time as wall time");
    }
}
