//! A training loop of one's own that loads batches, meters its energy and is tuned: `cargo run -p footplate-examples`.
//!
//! The network is a softmax regression in thirty lines; the machine is a simulated board, whose model says how long a
//! step takes in each power mode and what it draws. On a real board, `Machine::here` takes its place and the loop's own
//! clock says when a step ended. Neither footplate's command line nor its engine is used.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use footplate_core::ports::{WorkError, WorkStep, Workload};
use footplate_core::{PowerMode, Watts};
use footplate_data::transform::Transform;
use footplate_data::{
    Dataset, ImageData, Inputs, LoaderSettings, MemoryImage, OpenOptions, Pipeline, Position, Split,
};
use footplate_device::sim::{SimOptions, SimWorkload, WorkloadProfile};
use footplate_device::{Machine, SimBoard};
use footplate_tune::Setting;
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::tuner::{Answer, Ask, TuneOptions, Tuner};

type Failure = Box<dyn Error + Send + Sync>;

const SIDE: u32 = 16;
const BATCH: usize = 16;
const EPOCHS: u32 = 60;
const POWER_MAX: Watts = Watts(9.0);

/// Two classes of small pictures that a program has in memory: stripes that lie, and stripes that stand.
fn pictures() -> Result<Dataset, Failure> {
    let picture = |number: u32| {
        let label = number % 2;
        let shade = |x: u32, y: u32| match (if label == 0 { y } else { x } + number / 2) % 4 {
            0 | 1 => 40 + (number * 7 % 50) as u8,
            _ => 190,
        };
        let pixels = (0..SIDE).flat_map(|y| (0..SIDE).flat_map(move |x| [shade(x, y); 3])).collect();
        let data = ImageData::Pixels { pixels, width: SIDE, height: SIDE, channels: 3 };
        MemoryImage { name: format!("picture {number}"), label, data }
    };
    let classes = vec!["lying".to_owned(), "standing".to_owned()];
    Ok(Dataset::from_images(classes, (0..512).map(picture).collect(), &OpenOptions::default())?)
}

/// Scores of two classes from products of neighbouring pixels, trained by gradient descent.
struct Regression {
    weights: [f32; 2],
    bias: f32,
}

impl Regression {
    /// How much a picture (`[3, h, w]`, normalised) changes from left to right and from top to bottom.
    fn features(picture: &[f32]) -> [f32; 2] {
        let side = SIDE as usize;
        let change = |from: usize, step: usize| (picture[from] - picture[from + step]).abs();
        let places = (0..side - 1).flat_map(|y| (0..side - 1).map(move |x| y * side + x));
        let count = ((side - 1) * (side - 1)) as f32;
        let (across, down) = places.fold((0.0, 0.0), |(a, d), at| (a + change(at, 1), d + change(at, side)));
        [across / count, down / count]
    }

    /// The probability of the second class.
    fn probability(&self, features: [f32; 2]) -> f32 {
        let score = self.weights[0] * features[0] + self.weights[1] * features[1] + self.bias;
        1.0 / (1.0 + (-score).exp())
    }

    /// One step on a minibatch; its mean cross-entropy in nats.
    fn step(&mut self, pictures: &[f32], labels: &[i32]) -> f32 {
        let (mut gradient, mut loss) = ([0.0; 3], 0.0);
        for (picture, label) in pictures.chunks(pictures.len() / labels.len().max(1)).zip(labels) {
            let features = Self::features(picture);
            let (p, target) = (self.probability(features), *label as f32);
            loss -= if *label == 1 { p.ln() } else { (1.0 - p).ln() };
            gradient[0] += (p - target) * features[0];
            gradient[1] += (p - target) * features[1];
            gradient[2] += p - target;
        }
        let rate = 0.5 / labels.len() as f32;
        self.weights[0] -= rate * gradient[0];
        self.weights[1] -= rate * gradient[1];
        self.bias -= rate * gradient[2];
        loss / labels.len() as f32
    }
}

/// The loop: it owns its batches and its network, and knows nothing of a tuner.
struct OwnLoop {
    batches: Pipeline,
    network: Regression,
    losses: Vec<f32>,
    /// Says how long a step takes in the present mode. On a real board: the clock.
    board: SimWorkload,
}

impl OwnLoop {
    fn new(dataset: &Arc<Dataset>, board: SimWorkload) -> Result<Self, Failure> {
        let settings = LoaderSettings { workers: 1, ..LoaderSettings::new(BATCH, Transform::train(SIDE)) };
        let begin = Position { epoch: 0, batch: 0 };
        let batches = Pipeline::start(dataset.clone(), Split::Train, settings, begin, EPOCHS)?;
        Ok(Self { batches, network: Regression { weights: [0.0; 2], bias: 0.0 }, losses: Vec::new(), board })
    }

    /// Makes steps: at least `min`, for at least `time_min_ns`, at most `max`.
    fn steps(&mut self, min: u32, time_min_ns: u64, max: u32) -> Result<Vec<WorkStep>, WorkError> {
        let failed = |error: Failure| WorkError::Failed(error.to_string());
        let mut made: Vec<WorkStep> = Vec::new();
        let mut spent_ns = 0;
        while (made.len() as u32) < min.min(max) || (spent_ns < time_min_ns && (made.len() as u32) < max) {
            let Some(batch) = self.batches.next() else { break };
            let batch = batch.map_err(|e| failed(e.into()))?;
            let Inputs::F32Nchw { data, .. } = &batch.inputs else {
                return Err(failed("f32 was asked for".into()));
            };
            self.losses.push(self.network.step(data, &batch.labels));
            let step = self.board.run(1, 0, 1)?;
            spent_ns += step.iter().map(|step| step.step_ns).sum::<u64>();
            made.extend(step);
        }
        if made.is_empty() { Err(WorkError::Finished) } else { Ok(made) }
    }
}

/// What became of the run.
struct Outcome {
    chosen: Option<PowerMode>,
    profiles: usize,
    /// Mean power of the training in the chosen mode.
    trained_w: Option<f64>,
    first_loss: f32,
    last_loss: f32,
    before: PowerMode,
    after: PowerMode,
}

/// The conversation: the tuner says what it needs, the loop goes on making its own steps.
fn train(told: &mut impl Write) -> Result<Outcome, Failure> {
    let board = SimBoard::new("orin-nano", SimOptions::default())?;
    let profile = WorkloadProfile::training("mobilenet_v3_small", BATCH as u32).ok_or("no such network")?;
    let mut own = OwnLoop::new(&Arc::new(pictures()?), board.workload(profile))?;
    let mut machine = Machine::simulated(&board);
    for note in machine.notes() {
        writeln!(told, "note: {note}")?;
    }
    let before = machine.control().present()?;
    let goal = Goal {
        objective: Objective::Time,
        limits: Limits { power_w: Some(POWER_MAX.0), ..Limits::default() },
        confidence: 0.9,
    };
    let space: Vec<Setting> = machine.space().iter().map(|mode| Setting::of(*mode)).collect();
    let mut tuner = Tuner::new(space, goal, TuneOptions::default());
    let (mut profiles, mut chosen, mut trained) = (0, None, None);
    let result = loop {
        tuner.set_least_window_ns(machine.meter().least_window_ns());
        let answer = match tuner.next(machine.clock().now_ns()) {
            Ask::Apply { mode, .. } => Answer::Applied(machine.control().apply(&mode)),
            Ask::Steps { min, time_min_ns, max } => Answer::Steps(own.steps(min, time_min_ns, max)),
            Ask::Train { steps_min, time_min_ns } => {
                let from_ns = machine.clock().now_ns();
                let steps = own.steps(steps_min, time_min_ns, u32::MAX);
                let to_ns = machine.clock().now_ns();
                let window = machine.meter().window(from_ns, to_ns);
                trained = window.total.value().map(|energy| energy.mean_power_w.0).or(trained);
                Answer::Steps(steps)
            }
            Ask::Window { from_ns, to_ns } => Answer::Window(machine.meter().window(from_ns, to_ns)),
            Ask::Wait { ns } => {
                machine.clock().wait_ns(ns);
                Answer::Done
            }
            Ask::Keep { record, .. } => {
                profiles += 1;
                writeln!(
                    told,
                    "measured {}: {:.1} ms a step, {}",
                    record.setting,
                    record.step_s * 1e3,
                    watts(&record.power)
                )?;
                Answer::Done
            }
            Ask::Chosen { tuned, .. } => {
                chosen = tuned.chosen().map(|setting| setting.mode);
                Answer::Done
            }
            Ask::Warn(text) => {
                writeln!(told, "warning: {text}")?;
                Answer::Done
            }
            Ask::SetWorkers(_) => Answer::Done,
            Ask::Done(result) => break result,
        };
        tuner.answer(answer)?;
    };
    // Whatever came of it, the mode of before comes back.
    machine.restore()?;
    result?;
    Ok(Outcome {
        chosen,
        profiles,
        trained_w: trained,
        first_loss: own.losses.first().copied().ok_or("no step was made")?,
        last_loss: own.losses.last().copied().ok_or("no step was made")?,
        before,
        after: machine.control().present()?,
    })
}

fn watts(power: &footplate_core::Reading<footplate_tune::profiler::MeanPower>) -> String {
    power.as_ref().map(|power| format!("{:.2} W", power.mean_w)).to_string()
}

#[expect(clippy::print_stdout, reason = "a program prints")]
fn main() -> Result<(), Failure> {
    let mut lines = Vec::new();
    let outcome = train(&mut lines)?;
    print!("{}", String::from_utf8_lossy(&lines));
    let mode = outcome.chosen.map_or("none".to_owned(), |mode| mode.to_string());
    println!("chosen after {} measurements, at most {POWER_MAX}: {mode} (simulated board)", outcome.profiles);
    let trained = outcome.trained_w.map_or("-".to_owned(), |watts| format!("{watts:.2} W"));
    println!("power while training in it: {trained} (simulated)");
    println!("loss {:.3} -> {:.3} (real steps of this program)", outcome.first_loss, outcome.last_loss);
    println!("mode before: {}; after: {}", outcome.before, outcome.after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_learns_within_its_limit_and_the_mode_is_put_back() {
        let outcome = train(&mut std::io::sink()).unwrap();
        assert!(outcome.chosen.is_some() && outcome.profiles <= 16);
        assert!(outcome.trained_w.is_some_and(|watts| watts <= POWER_MAX.0), "{:?}", outcome.trained_w);
        assert!(
            outcome.last_loss < 0.5 * outcome.first_loss,
            "{} -> {}",
            outcome.first_loss,
            outcome.last_loss
        );
        assert_eq!(outcome.after, outcome.before);
    }
}
