//! A job that waits for its data: what the shares of waiting tell the model, and what is chosen then.

use std::cell::Cell;
use std::rc::Rc;

use footplate_core::ports::{
    Applied, ControlError, PowerControl, PowerMeter, WindowReading, WorkError, WorkStep, Workload,
};
use footplate_core::power_mode::{KnobTables, ModeSpace, Preset};
use footplate_core::{Hertz, PowerMode, Reading};
use footplate_tune::drive::{Observer, Ports, drive_to_choice};
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::predict::{Measurement, Prediction, Predictor};
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::rng::Rng;
use footplate_tune::tuner::{NotKept, Purpose, TuneOptions, Tuner};
use footplate_tune::{Knobs, Setting};

use crate::common::{SimClock, noisy, steady, steps};

fn space() -> ModeSpace {
    let hz = |steps: std::ops::RangeInclusive<u64>, unit: u64| steps.map(|i| Hertz(i * unit)).collect();
    let tables = KnobTables {
        cpu_cores: vec![1, 2, 3, 4, 5, 6],
        cpu_hz: hz(2..=10, 200_000_000),
        gpu_hz: hz(2..=10, 100_000_000),
        emc_hz: Vec::new(),
        gpu_power_limit_mw: Vec::new(),
    };
    ModeSpace::product(&tables, |_| true)
}

fn settings(workers: &[usize]) -> Vec<Setting> {
    let modes = space();
    let every = |mode: &PowerMode| {
        let setting = Setting::of(*mode);
        let with = |n: &usize| Setting { workers: Some(*n as u64), ..setting };
        if workers.is_empty() { vec![setting] } else { workers.iter().map(with).collect::<Vec<_>>() }
    };
    modes.modes().iter().flat_map(every).collect()
}

/// Seconds, seconds of waiting, watts. `load`: core seconds at 1 GHz to load a minibatch.
fn truth(setting: &Setting, load: f64) -> (f64, f64, f64) {
    let mode = &setting.mode;
    let ghz = |hz: Option<Hertz>| hz.map_or(1.0, |hz| hz.0 as f64 / 1e9);
    let cores = f64::from(mode.cpu_cores.unwrap_or(1));
    let (cpu, gpu) = (ghz(mode.cpu_hz), ghz(mode.gpu_hz));
    let loaders = setting.workers.map_or(cores, |n| cores.min(n as f64));
    let (own, data) = (0.005 / cpu + 0.05 / gpu, load / (cpu * (0.1 + 0.9 * loaders)));
    let time = own.max(data);
    let watts = 2.0
        + 0.5 * cores * cpu * cpu * (0.3 + 0.7 * loaders / cores)
        + 9.0 * gpu.powf(2.2) * (0.3 + 0.7 * own / time);
    (time, time - own, watts)
}

fn measured(setting: &Setting, load: f64, rng: &mut Rng, tells: bool) -> Measurement {
    let (time, stall, power) = truth(setting, load);
    let known = noisy(*setting, (time, power), rng);
    Measurement { stall_share: tells.then_some(stall / time), ..known }
}

#[test]
fn shares_of_waiting_make_the_model_better() {
    let all = settings(&[]);
    let knobs = Knobs::of(&all);
    let mut errors = [0.0; 2];
    for seed in 0..10 {
        for (place, tells) in [(0, false), (1, true)] {
            let mut rng = Rng::new(seed);
            let picked = rng.sample(all.len(), 8);
            let own: Vec<Measurement> =
                picked.iter().map(|i| measured(&all[*i], 0.4, &mut rng, tells)).collect();
            let predicted = Predictor::fit(&knobs, &own).predict(&all);
            let off = |(p, s): (&Prediction, &Setting)| Some((p.time_s?.value / truth(s, 0.4).0).ln().abs());
            errors[place] += predicted.iter().zip(&all).filter_map(off).sum::<f64>() / all.len() as f64;
        }
    }
    assert!(errors[1] < 0.8 * errors[0], "{} with the shares, {} without", errors[1], errors[0]);
}

/// With the GPU clock as the only knob a job that waits for its data is as fast from some clock on.
#[test]
fn a_single_knob_shows_where_waiting_begins() {
    let all: Vec<Setting> = settings(&[])
        .into_iter()
        .filter(|s| s.mode.cpu_cores == Some(2) && s.mode.cpu_hz == Some(Hertz(1_200_000_000)))
        .collect();
    let knobs = Knobs::of(&all);
    let mut rng = Rng::new(1);
    let own: Vec<Measurement> = [0, 3, 8].iter().map(|i| measured(&all[*i], 0.2, &mut rng, true)).collect();
    let predicted = Predictor::fit(&knobs, &own).predict(&all);
    for (prediction, setting) in predicted.iter().zip(&all) {
        let (time, ..) = truth(setting, 0.2);
        let value = prediction.time_s.unwrap().value;
        assert!((value / time).ln().abs() < 0.08, "{setting}: {value} s for {time} s");
    }
}

/// A job and its machine.
struct Job {
    space: ModeSpace,
    mode: Cell<PowerMode>,
    workers: Cell<Option<usize>>,
    clock: SimClock,
    load: f64,
}

#[derive(Clone)]
struct Port(Rc<Job>);

impl Port {
    fn new(load: f64) -> Self {
        let space = space();
        let mode = Cell::new(space.modes()[0]);
        Self(Rc::new(Job { space, mode, workers: Cell::new(None), clock: SimClock::default(), load }))
    }

    fn setting(&self) -> Setting {
        Setting { workers: self.0.workers.get().map(|n| n as u64), ..Setting::of(self.0.mode.get()) }
    }
}

impl PowerControl for Port {
    fn space(&self) -> &ModeSpace {
        &self.0.space
    }

    fn presets(&self) -> &[Preset] {
        &[]
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        Ok(self.0.mode.get())
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        self.0.mode.set(*mode);
        Ok(Applied { asked: *mode, got: *mode, warnings: Vec::new() })
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        Ok(())
    }
}

impl PowerMeter for Port {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        let watts = truth(&self.setting(), self.0.load).2;
        WindowReading {
            total: Reading::Value(steady(watts, from_ns, to_ns)),
            rails: Vec::new(),
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        }
    }

    fn least_window_ns(&self) -> Option<u64> {
        Some(1_000_000_000)
    }
}

impl Workload for Port {
    fn name(&self) -> &str {
        "formula"
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        let (time, stall, _) = truth(&self.setting(), self.0.load);
        Ok(steps(&self.0.clock, (time, stall), (steps_min, time_min_ns, steps_max)))
    }

    fn steps_left(&self) -> Option<u64> {
        None
    }

    fn steps_per_epoch(&self) -> u64 {
        100
    }

    fn worker_choices(&self) -> &[usize] {
        &[1, 2, 4, 6]
    }

    fn set_workers(&mut self, workers: usize) {
        self.0.workers.set(Some(workers));
    }
}

#[derive(Default)]
struct Notes(Vec<ProfileRecord>);

impl Observer for Notes {
    fn profiled(&mut self, record: &ProfileRecord, _purpose: Purpose) -> Result<(), NotKept> {
        self.0.push(record.clone());
        Ok(())
    }

    fn warn(&mut self, _message: &str) {}
}

fn tuned(port: &Port, space: Vec<Setting>, limits: Limits) -> Setting {
    let (mut control, mut meter, mut workload) = (port.clone(), port.clone(), port.clone());
    let mut ports =
        Ports { control: &mut control, meter: &mut meter, workload: &mut workload, clock: &port.0.clock };
    let goal = Goal { objective: Objective::Time, limits, confidence: 0.9 };
    let mut tuner = Tuner::new(space, goal, TuneOptions::default());
    let tuned = drive_to_choice(&mut tuner, &mut ports, &mut Notes::default());
    tuned.expect("no tune").chosen().expect("no choice")
}

#[test]
fn a_data_bound_job_gets_no_useless_gpu_clock() {
    let port = Port::new(1.0);
    let chosen = tuned(&port, settings(&[]), Limits::default());
    let largest = *settings(&[]).last().unwrap();
    let (time, _, power) = truth(&chosen, 1.0);
    let (fastest, stall, most) = truth(&largest, 1.0);
    assert!(stall > 0.0, "the job does not wait for its data at full clocks");
    assert!(time <= 1.01 * fastest, "{chosen}: {time} s, fastest {fastest} s");
    assert!(power <= 0.85 * most, "{chosen}: {power} W of {most} W");
    assert!(chosen.mode.gpu_hz <= Some(Hertz(700_000_000)), "{chosen}");
    // A job that does not wait keeps its clock.
    let chosen = tuned(&Port::new(0.01), settings(&[]), Limits::default());
    assert_eq!(chosen.mode.gpu_hz, Some(Hertz(1_000_000_000)), "{chosen}");
}

#[test]
fn under_a_limit_the_power_goes_where_the_data_come_from() {
    let limits = |power_w| Limits { power_w: Some(power_w), ..Limits::default() };
    let bound = tuned(&Port::new(1.0), settings(&[]), limits(9.0));
    let free = tuned(&Port::new(0.01), settings(&[]), limits(9.0));
    assert!(bound.mode.gpu_hz < free.mode.gpu_hz, "{bound} and {free}");
    let cycles = |s: &Setting| s.mode.cpu_cores.unwrap() as u64 * s.mode.cpu_hz.unwrap().0;
    assert!(cycles(&bound) > cycles(&free), "{bound} and {free}");
    let best = settings(&[])
        .iter()
        .map(|s| truth(s, 1.0))
        .filter(|t| t.2 <= 9.0 * 0.99)
        .map(|t| t.0)
        .fold(f64::INFINITY, f64::min);
    let (time, _, power) = truth(&bound, 1.0);
    assert!(power <= 9.0 && time <= 1.03 * best, "{bound}: {power} W, {time} s, best {best} s");
}

#[test]
fn workers_are_chosen_too_and_a_data_bound_job_gets_more() {
    let port = Port::new(1.0);
    let choices = [1, 2, 4, 6];
    let chosen = tuned(&port, settings(&choices), Limits::default());
    let free = tuned(&Port::new(0.004), settings(&choices), Limits::default());
    assert!(chosen.workers >= Some(6), "{chosen}");
    assert!(free.workers < chosen.workers, "{free} and {chosen}");
    assert!(port.0.workers.get().is_some(), "no number of workers was set");
}
