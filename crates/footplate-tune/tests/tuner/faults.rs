//! A failure of a port at every one of its calls, in turn: each tune ends with a result or a typed error.

use std::cell::Cell;
use std::rc::Rc;

use footplate_core::ports::{
    Applied, ControlError, PowerControl, PowerMeter, Recovery, WindowReading, WorkError, WorkStep, Workload,
};
use footplate_core::power_mode::{ModeSpace, Preset};
use footplate_core::{PowerMode, Reading};
use footplate_tune::drive::{Observer, Ports, drive, drive_to_choice};
use footplate_tune::profiler::{ProfileError, ProfileRecord};
use footplate_tune::tuner::{AnswerError, NotKept, Purpose, TuneError, TuneOptions, Tuned, Tuner};

use crate::formula::{Fault, Notes, Port, truth, under};
use crate::settings::few;

/// Which call fails, and how: the port counts its calls.
#[derive(Clone)]
struct Failing<E> {
    port: Port,
    calls: Rc<Cell<usize>>,
    at: usize,
    error: E,
}

impl<E: Clone> Failing<E> {
    fn new(port: &Port, at: usize, error: E) -> Self {
        Self { port: port.clone(), calls: Rc::default(), at, error }
    }

    /// The error, if this call is the one.
    fn due(&self) -> Option<E> {
        let call = self.calls.replace(self.calls.get() + 1);
        (call == self.at).then(|| self.error.clone())
    }
}

impl PowerControl for Failing<Recovery> {
    fn space(&self) -> &ModeSpace {
        self.port.space()
    }

    fn presets(&self) -> &[Preset] {
        &[]
    }

    fn present(&mut self) -> Result<PowerMode, ControlError> {
        self.port.present()
    }

    fn apply(&mut self, mode: &PowerMode) -> Result<Applied, ControlError> {
        match self.due() {
            Some(recovery) => Err(ControlError { recovery, permission: false, message: "it broke".into() }),
            None => self.port.apply(mode),
        }
    }

    fn restore(&mut self) -> Result<(), ControlError> {
        Ok(())
    }
}

impl PowerMeter for Failing<Reading<f64>> {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        let reading = self.port.window(from_ns, to_ns);
        match self.due() {
            // A value takes the place of the mean power: what a broken driver may say.
            Some(power) => {
                let total = power.and_then(|watts| {
                    reading.total.clone().map(|mut total| {
                        total.mean_power_w.0 = watts;
                        total
                    })
                });
                WindowReading { total, ..reading }
            }
            None => reading,
        }
    }

    fn least_window_ns(&self) -> Option<u64> {
        self.port.least_window_ns()
    }
}

impl Workload for Failing<WorkError> {
    fn name(&self) -> &str {
        "failing"
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        match self.due() {
            Some(error) => Err(error),
            None => self.port.run(steps_min, time_min_ns, steps_max),
        }
    }

    fn steps_left(&self) -> Option<u64> {
        None
    }

    fn steps_per_epoch(&self) -> u64 {
        100
    }

    fn worker_choices(&self) -> &[usize] {
        &[]
    }

    fn set_workers(&mut self, _workers: usize) {}
}

/// Tunes the few modes under 9 W with these ports in place of the formula's own.
fn tune_with(
    port: &Port,
    control: Option<&mut dyn PowerControl>,
    meter: Option<&mut dyn PowerMeter>,
    workload: Option<&mut dyn Workload>,
) -> Result<Tuned, TuneError> {
    let (mut own_control, mut own_meter, mut own_workload) = (port.clone(), port.clone(), port.clone());
    let mut ports = Ports {
        control: control.unwrap_or(&mut own_control),
        meter: meter.unwrap_or(&mut own_meter),
        workload: workload.unwrap_or(&mut own_workload),
        clock: &port.0.clock,
    };
    let mut tuner = Tuner::new(few(), under(9.0), TuneOptions::default());
    drive_to_choice(&mut tuner, &mut ports, &mut Notes::default())
}

fn draws_little(tuned: &Tuned) -> bool {
    tuned.chosen().is_some_and(|setting| truth(&setting.mode).1 <= 9.0)
}

#[test]
fn a_control_that_fails_at_any_call_costs_a_try_a_mode_or_the_tune() {
    for recovery in [Recovery::Retry, Recovery::NextMode, Recovery::Fatal] {
        for at in 0.. {
            let port = Port::new(Fault::Nothing, u64::MAX);
            let mut control = Failing::new(&port, at, recovery);
            let result = tune_with(&port, Some(&mut control), None, None);
            let failed = control.calls.get() > at;
            match result {
                Err(TuneError::Profile(ProfileError::Control(error))) => {
                    assert!(failed && recovery == Recovery::Fatal, "{at}: {error}");
                }
                Ok(tuned) => {
                    assert!(draws_little(&tuned), "{recovery:?} at {at}");
                    assert!(!failed || recovery != Recovery::Fatal, "a fatal error at {at} was passed over");
                }
                Err(error) => panic!("{recovery:?} at {at}: {error}"),
            }
            if !failed {
                break;
            }
        }
    }
}

#[test]
fn a_sensor_that_fails_at_any_window_ends_a_tune_that_needs_it() {
    for power in [Reading::Absent, Reading::unreadable("errno 121"), Reading::Value(f64::NAN)] {
        for at in 0.. {
            let port = Port::new(Fault::Nothing, u64::MAX);
            let mut meter = Failing::new(&port, at, power.clone());
            let result = tune_with(&port, None, Some(&mut meter), None);
            if meter.calls.get() <= at {
                assert!(result.is_ok_and(|tuned| draws_little(&tuned)));
                break;
            }
            match (&power, result) {
                (Reading::Value(_), Err(TuneError::Answer(AnswerError::Reading { .. }))) => {}
                (Reading::Absent | Reading::Unreadable { .. }, Err(TuneError::NoPower { reason })) => {
                    assert!(power.is_absent() || reason == "errno 121", "{reason}");
                }
                (_, result) => panic!("{power:?} at {at}: {:?}", result.map(|tuned| tuned.outcome)),
            }
        }
    }
}

#[test]
fn a_job_that_fails_at_any_call_ends_the_tune_or_leaves_what_was_measured() {
    for error in [WorkError::Failed("out of memory".into()), WorkError::Interrupted, WorkError::Finished] {
        for at in 0.. {
            let port = Port::new(Fault::Nothing, u64::MAX);
            let mut workload = Failing::new(&port, at, error.clone());
            let result = tune_with(&port, None, None, Some(&mut workload));
            if workload.calls.get() <= at {
                assert!(result.is_ok());
                break;
            }
            match (&error, result) {
                (WorkError::Failed(_), Err(TuneError::Profile(ProfileError::Work(found)))) => {
                    assert_eq!(found, error, "at {at}");
                }
                (WorkError::Interrupted, Err(TuneError::Interrupted { profiles })) => {
                    assert!(profiles <= at, "{profiles} profiles in {at} calls");
                }
                // What was measured until then is chosen from; before the first measurement there is nothing.
                (WorkError::Finished, Ok(_)) => assert!(at >= 2),
                (WorkError::Finished, Err(end)) => assert!(end.is_end_of_job() && at < 2, "{end} at {at}"),
                (_, result) => panic!("{error} at {at}: {:?}", result.map(|tuned| tuned.outcome)),
            }
        }
    }
}

/// Keeps a few records, then no more.
struct Full {
    asked: usize,
    room: usize,
}

impl Observer for Full {
    fn profiled(&mut self, _record: &ProfileRecord, _purpose: Purpose) -> Result<(), NotKept> {
        self.asked += 1;
        if self.asked > self.room {
            return Err(NotKept { reason: "no space left on device".into() });
        }
        Ok(())
    }

    fn warn(&mut self, _message: &str) {}
}

#[test]
fn a_record_that_cannot_be_kept_ends_the_tune_at_once() {
    for room in 0..16 {
        let port = Port::new(Fault::Nothing, 5000);
        let (mut control, mut meter, mut workload) = (port.clone(), port.clone(), port.clone());
        let clock = &port.0.clock;
        let mut ports = Ports { control: &mut control, meter: &mut meter, workload: &mut workload, clock };
        let mut full = Full { asked: 0, room };
        let mut tuner = Tuner::new(few(), under(9.0), TuneOptions::default());
        match drive(&mut tuner, &mut ports, &mut full) {
            Ok(()) => assert!(full.asked <= room, "a record was lost and nobody said so"),
            Err(error) => {
                let text = "a record cannot be kept: no space left on device";
                assert_eq!((error.to_string().as_str(), full.asked), (text, room + 1));
            }
        }
    }
}
