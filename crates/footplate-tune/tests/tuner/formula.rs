//! A machine and a job that are formulas, with what goes wrong on real ones.

use std::cell::Cell;
use std::rc::Rc;

use footplate_core::ports::{
    Applied, ControlError, PowerControl, PowerMeter, Recovery, WindowReading, WorkError, WorkStep, Workload,
};
use footplate_core::power_mode::{KnobTables, ModeSpace, Preset};
use footplate_core::{Celsius, Hertz, PowerMode, Reading};
use footplate_tune::Setting;
use footplate_tune::drive::{Observer, Ports, drive_to_choice};
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::predict::Measurement;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{NotKept, Outcome, Purpose, TuneError, TuneOptions, Tuned, Tuner};

use crate::common::{self, SimClock, steady, steps};

pub(crate) fn space() -> ModeSpace {
    let hz = |steps: std::ops::RangeInclusive<u64>, unit: u64| steps.map(|i| Hertz(i * unit)).collect();
    let tables = KnobTables {
        cpu_cores: vec![1, 2, 4],
        cpu_hz: hz(2..=10, 200_000_000),
        gpu_hz: hz(2..=10, 100_000_000),
        emc_hz: vec![Hertz(800_000_000), Hertz(1_600_000_000)],
        gpu_power_limit_mw: Vec::new(),
    };
    ModeSpace::product(&tables, |_| true)
}

pub(crate) fn settings() -> Vec<Setting> {
    space().modes().iter().map(|mode| Setting::of(*mode)).collect()
}

/// Seconds and watts of a mode.
pub(crate) fn truth(mode: &PowerMode) -> (f64, f64) {
    let ghz = |hz: Option<Hertz>| hz.map_or(1.0, |hz| hz.0 as f64 / 1e9);
    let (cores, cpu) = (f64::from(mode.cpu_cores.unwrap_or(1)), ghz(mode.cpu_hz));
    let (gpu, emc) = (ghz(mode.gpu_hz), ghz(mode.emc_hz));
    let host = 0.01 / cpu + 0.04 / (cpu * cores);
    let device = 0.08 / gpu + 0.03 / emc;
    let time = (host.powi(3) + device.powi(3)).cbrt();
    let power = 2.0 + 0.6 * cores * cpu * cpu + 9.0 * gpu.powf(2.2) + 1.2 * emc;
    (time, power)
}

pub(crate) fn measured(mode: &PowerMode, error: f64) -> Measurement {
    common::measured(Setting::of(*mode), truth(mode), error)
}

pub(crate) fn under(power_w: f64) -> Goal {
    let limits = Limits { power_w: Some(power_w), ..Limits::default() };
    Goal { objective: Objective::Time, limits, confidence: 0.9 }
}

/// The least time of any mode within a power.
pub(crate) fn best_time(power_w: f64) -> f64 {
    let allowed =
        space().modes().iter().map(truth).filter(|t| t.1 <= power_w).map(|t| t.0).collect::<Vec<_>>();
    allowed.into_iter().fold(f64::INFINITY, f64::min)
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Nothing,
    NoSensor,
    /// The GPU clock does not follow above this value.
    StuckAbove(Hertz),
    /// Above this power the machine throttles.
    ThrottlesAbove(f64),
    /// One mode cannot be set.
    Refuses(PowerMode),
    NoPermission,
}

pub(crate) struct Machine {
    pub(crate) space: ModeSpace,
    pub(crate) mode: Cell<PowerMode>,
    pub(crate) clock: SimClock,
    pub(crate) steps_left: Cell<u64>,
    pub(crate) fault: Cell<Fault>,
    /// What the machine has come to draw, by what it drew at first.
    pub(crate) drift: Cell<f64>,
    /// The same while it trains without being measured.
    pub(crate) alarm: Cell<f64>,
    /// Whether the last steps were made in training.
    pub(crate) trains: Cell<bool>,
}

#[derive(Clone)]
pub(crate) struct Port(pub(crate) Rc<Machine>);

impl Port {
    pub(crate) fn new(fault: Fault, steps: u64) -> Self {
        let space = space();
        let mode = Cell::new(space.modes()[0]);
        Self(Rc::new(Machine {
            space,
            mode,
            clock: SimClock::default(),
            steps_left: Cell::new(steps),
            fault: Cell::new(fault),
            drift: Cell::new(1.0),
            alarm: Cell::new(1.0),
            trains: Cell::new(false),
        }))
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
        let refuse =
            |recovery, permission| Err(ControlError { recovery, permission, message: "refused".into() });
        let mut got = *mode;
        match self.0.fault.get() {
            Fault::Refuses(refused) if refused == *mode => return refuse(Recovery::NextMode, false),
            Fault::NoPermission => return refuse(Recovery::Fatal, true),
            Fault::StuckAbove(most) => got.gpu_hz = got.gpu_hz.map(|hz| hz.min(most)),
            _ => {}
        }
        self.0.mode.set(got);
        Ok(Applied { asked: *mode, got, warnings: Vec::new() })
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        Ok(())
    }
}

impl PowerMeter for Port {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        let alarm = if self.0.trains.get() { self.0.alarm.get() } else { 1.0 };
        let watts = truth(&self.0.mode.get()).1 * self.0.drift.get() * alarm;
        let total = match self.0.fault.get() {
            Fault::NoSensor => Reading::Absent,
            _ => Reading::Value(steady(watts, from_ns, to_ns)),
        };
        let hot = matches!(self.0.fault.get(), Fault::ThrottlesAbove(most) if watts > most);
        WindowReading {
            total,
            rails: Vec::new(),
            temperature_c: Reading::Value(Celsius(30.0 + watts)),
            throttled: if hot { vec!["cooling state 2".into()] } else { Vec::new() },
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
        self.0.trains.set(false);
        let (time, _) = truth(&self.0.mode.get());
        let left = self.0.steps_left.get();
        let most = steps_max.min(u32::try_from(left).unwrap_or(u32::MAX));
        let steps = steps(&self.0.clock, (time, 0.0), (steps_min, time_min_ns, most));
        self.0.steps_left.set(left - steps.len() as u64);
        if steps.is_empty() { Err(WorkError::Finished) } else { Ok(steps) }
    }

    fn train(&mut self, steps_min: u32, time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        let steps = self.run(steps_min, time_min_ns, 100_000);
        self.0.trains.set(true);
        steps
    }

    fn steps_left(&self) -> Option<u64> {
        Some(self.0.steps_left.get())
    }

    fn steps_per_epoch(&self) -> u64 {
        100
    }

    fn worker_choices(&self) -> &[usize] {
        &[]
    }

    fn set_workers(&mut self, _workers: usize) {}
}

#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) records: Vec<(ProfileRecord, Purpose)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) stop_after: Option<usize>,
}

impl Observer for Notes {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept> {
        self.records.push((record.clone(), purpose));
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(message.to_owned());
    }

    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|after| self.records.len() >= after)
    }
}

/// Drives a tuner on the formula's ports to its next choice.
pub(crate) fn drive_on(tuner: &mut Tuner, port: &Port, notes: &mut Notes) -> Result<Tuned, TuneError> {
    let (mut control, mut meter, mut workload) = (port.clone(), port.clone(), port.clone());
    let clock = &port.0.clock;
    let mut ports = Ports { control: &mut control, meter: &mut meter, workload: &mut workload, clock };
    drive_to_choice(tuner, &mut ports, notes)
}

pub(crate) fn tune(
    port: &Port,
    goal: Goal,
    notes: &mut Notes,
    earlier: &[ProfileRecord],
) -> Result<Tuned, TuneError> {
    let mut tuner = Tuner::new(settings(), goal, TuneOptions::default());
    earlier.iter().for_each(|record| tuner.resume(record.clone(), true));
    drive_on(&mut tuner, port, notes)
}

pub(crate) fn chosen(tuned: &Tuned) -> PowerMode {
    match &tuned.outcome {
        Outcome::Chosen { choice, .. } => tuned.outlook.candidates[choice.index].setting.mode,
        Outcome::Infeasible(_) => panic!("no choice"),
    }
}
