//! Answers a tuner for those who have the ports of [`footplate_core::ports`].
//!
//! # Example
//!
//! A board with three GPU clocks is all four ports in one.
//!
//! ```
//! use std::cell::Cell;
//! use std::rc::Rc;
//!
//! use footplate_core::ports::{
//!     Applied, Clock, ControlError, PowerControl, PowerMeter, WindowEnergy, WindowReading, WorkError, WorkStep,
//!     Workload,
//! };
//! use footplate_core::power_mode::{KnobTables, ModeSpace, Preset};
//! use footplate_core::{Hertz, Joules, PowerMode, Reading, Watts};
//! use footplate_tune::Setting;
//! use footplate_tune::drive::{Observer, Ports, drive_to_choice};
//! use footplate_tune::goal::{Goal, Limits, Objective};
//! use footplate_tune::profiler::ProfileRecord;
//! use footplate_tune::tuner::{NotKept, Purpose, TuneOptions, Tuner};
//!
//! #[derive(Clone)]
//! struct Board { space: ModeSpace, ghz: Rc<Cell<f64>>, now_ns: Rc<Cell<u64>> }
//!
//! impl Clock for Board {
//!     fn now_ns(&self) -> u64 { self.now_ns.get() }
//!     fn wait_ns(&self, ns: u64) { self.now_ns.set(self.now_ns.get() + ns) }
//! }
//!
//! impl PowerControl for Board {
//!     fn space(&self) -> &ModeSpace { &self.space }
//!     fn presets(&self) -> &[Preset] { &[] }
//!     fn present(&mut self) -> Result<PowerMode, ControlError> { Ok(self.space.modes()[0]) }
//!     fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
//!         self.ghz.set(mode.gpu_hz.map_or(1.0, |hz| hz.0 as f64 / 1e9));
//!         Ok(Applied { asked: *mode, got: *mode, warnings: Vec::new() })
//!     }
//!     fn restore(&mut self) -> Result<(), ControlError> { Ok(()) }
//! }
//!
//! impl PowerMeter for Board {
//!     fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
//!         let watts = 2.0 + 8.0 * self.ghz.get();
//!         let joules = watts * (to_ns - from_ns) as f64 / 1e9;
//!         let total = WindowEnergy {
//!             energy_j: Joules(joules), error_j: Joules(0.01 * joules), coverage: 1.0,
//!             mean_power_w: Watts(watts), peak_power_w: Watts(watts), samples: 30,
//!         };
//!         WindowReading {
//!             total: Reading::Value(total), rails: Vec::new(), temperature_c: Reading::Absent,
//!             throttled: Vec::new(), simulated: true,
//!         }
//!     }
//!     fn least_window_ns(&self) -> Option<u64> { None }
//! }
//!
//! impl Workload for Board {
//!     fn name(&self) -> &str { "a formula" }
//!     fn run(&mut self, min: u32, time_min_ns: u64, max: u32) -> Result<Vec<WorkStep>, WorkError> {
//!         let step_ns = (1e8 / self.ghz.get()) as u64;
//!         let count = u64::from(min).max(time_min_ns.div_ceil(step_ns)).min(u64::from(max));
//!         let step = |_| {
//!             self.wait_ns(step_ns);
//!             WorkStep { end_ns: self.now_ns(), step_ns, stall_ns: 0, items: 32 }
//!         };
//!         Ok((0..count).map(step).collect())
//!     }
//!     fn steps_left(&self) -> Option<u64> { None }
//!     fn steps_per_epoch(&self) -> u64 { 100 }
//!     fn worker_choices(&self) -> &[usize] { &[] }
//!     fn set_workers(&mut self, _workers: usize) {}
//! }
//!
//! /// Counts measurements, and shows what the user should know.
//! struct Counter(usize);
//!
//! impl Observer for Counter {
//!     fn profiled(&mut self, _: &ProfileRecord, _: Purpose) -> Result<(), NotKept> {
//!         self.0 += 1;
//!         Ok(())
//!     }
//!     fn warn(&mut self, message: &str) { println!("{message}") }
//! }
//!
//! let clocks = KnobTables {
//!     gpu_hz: [4, 6, 8].map(|i| Hertz(i * 100_000_000)).to_vec(),
//!     ..KnobTables::default()
//! };
//! let space = ModeSpace::product(&clocks, |_| true);
//! let settings: Vec<Setting> = space.modes().iter().map(|mode| Setting::of(*mode)).collect();
//! let board = Board { space, ghz: Rc::new(Cell::new(1.0)), now_ns: Rc::default() };
//! let (mut control, mut meter, mut workload) = (board.clone(), board.clone(), board.clone());
//! let mut ports =
//!     Ports { control: &mut control, meter: &mut meter, workload: &mut workload, clock: &board };
//!
//! let limits = Limits { power_w: Some(7.0), ..Limits::default() };
//! let goal = Goal { objective: Objective::Time, limits, confidence: 0.9 };
//! let mut tuner = Tuner::new(settings, goal, TuneOptions::default());
//! let mut counter = Counter(0);
//! let tuned = drive_to_choice(&mut tuner, &mut ports, &mut counter)?;
//! // The fastest clock that draws at most 7 W, measured once more than the others.
//! assert_eq!(tuned.chosen().and_then(|setting| setting.mode.gpu_hz), Some(Hertz(600_000_000)));
//! assert_eq!(counter.0, 4);
//! # Ok::<(), footplate_tune::tuner::TuneError>(())
//! ```

use footplate_core::ports::{Applied, Clock, PowerControl, PowerMeter, Workload};
use footplate_core::record::ModePurpose;

use crate::drift::Verdict;
use crate::profiler::ProfileRecord;
use crate::tuner::{Answer, Ask, NotKept, Purpose, TuneError, Tuned, Tuner};

/// The machine and the job.
pub struct Ports<'a> {
    /// Sets power modes and reads them back.
    pub control: &'a mut dyn PowerControl,
    /// Reads power and temperature on the clock below.
    pub meter: &'a mut dyn PowerMeter,
    /// The job, whose steps are timed on the clock below.
    pub workload: &'a mut dyn Workload,
    /// The clock that all of them read.
    pub clock: &'a dyn Clock,
}

/// Hears of everything that happens, as it happens.
pub trait Observer {
    /// A setting was measured: the record is to be kept. An error ends the tune: what is not kept is lost.
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept>;
    /// Something that the user should know.
    fn warn(&mut self, message: &str);
    /// A search has ended. `because`: why a new plan was made; `None`: it is the first.
    fn chosen(&mut self, _tuned: &Tuned, _because: Option<&Verdict>) {}
    /// A mode was set and read back.
    fn mode_set(&mut self, _applied: &Applied, _purpose: ModePurpose) {}
    /// Whether the user asked to stop.
    fn stopped(&self) -> bool {
        false
    }
}

/// Searches, and ends with the choice: the mode that is set then is the last one that was measured, and the caller
/// sets the choice or puts back what was there. [`drive`] with the same tuner goes on from there.
pub fn drive_to_choice(
    tuner: &mut Tuner,
    ports: &mut Ports<'_>,
    observer: &mut dyn Observer,
) -> Result<Tuned, TuneError> {
    loop {
        match ask(tuner, ports, observer) {
            Ask::Chosen { tuned, because } => {
                observer.chosen(&tuned, because.as_ref());
                tuner.answer(Answer::Done)?;
                return Ok(std::sync::Arc::unwrap_or_clone(tuned));
            }
            Ask::Done(result) => return Err(result.err().unwrap_or(TuneError::Infeasible)),
            ask => tuner.answer(answer(ask, ports, observer))?,
        }
    }
}

/// Searches (unless the tuner has a choice already), sets the choice, and trains in it to the end of the job, with new
/// plans where they are needed. The mode that is set then is the last one that was set: the caller puts back what
/// was there before.
pub fn drive(tuner: &mut Tuner, ports: &mut Ports<'_>, observer: &mut dyn Observer) -> Result<(), TuneError> {
    loop {
        match ask(tuner, ports, observer) {
            Ask::Done(result) => return result,
            ask => tuner.answer(answer(ask, ports, observer))?,
        }
    }
}

fn ask(tuner: &mut Tuner, ports: &Ports<'_>, observer: &dyn Observer) -> Ask {
    if observer.stopped() {
        tuner.stop();
    }
    tuner.set_least_window_ns(ports.meter.least_window_ns());
    tuner.next(ports.clock.now_ns())
}

fn answer(ask: Ask, ports: &mut Ports<'_>, observer: &mut dyn Observer) -> Answer {
    match ask {
        Ask::Apply { mode, purpose } => {
            let result = ports.control.apply(&mode);
            if let Ok(applied) = &result {
                observer.mode_set(applied, purpose);
            }
            return Answer::Applied(result);
        }
        Ask::Steps { min, time_min_ns, max } => {
            return Answer::Steps(ports.workload.run(min, time_min_ns, max));
        }
        Ask::Train { steps_min, time_min_ns } => {
            return Answer::Steps(ports.workload.train(steps_min, time_min_ns));
        }
        Ask::Window { from_ns, to_ns } => return Answer::Window(ports.meter.window(from_ns, to_ns)),
        Ask::Keep { record, purpose } => {
            return observer.profiled(&record, purpose).map_or_else(Answer::NotKept, |()| Answer::Done);
        }
        Ask::SetWorkers(workers) => ports.workload.set_workers(workers),
        Ask::Wait { ns } => ports.clock.wait_ns(ns),
        Ask::Chosen { tuned, because } => observer.chosen(&tuned, because.as_ref()),
        Ask::Warn(message) => observer.warn(&message),
        Ask::Done(_) => {}
    }
    Answer::Done
}
