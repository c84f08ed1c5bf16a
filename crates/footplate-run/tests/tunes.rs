//! Whole tunes on the simulated boards, with what goes wrong on real ones.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use footplate_core::PowerMode;
use footplate_core::ports::Workload;
use footplate_device::Device;
use footplate_device::knob::gpu;
use footplate_device::sim::{Fault, SimBoard, SimOptions, SimWorkload, WorkloadProfile};
use footplate_tune::drive::{Observer, drive_to_choice};
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{NotKept, Outcome, Purpose, TuneError, TuneOptions, Tuned, Tuner};

use footplate_device::Machine;
use footplate_run::run_machine::RunMachine;

/// The chip's temperature that leakage is counted at: heat is left out, so that a mode has one true power.
const CHIP_C: f64 = 50.0;

#[derive(Default)]
struct Notes {
    records: Vec<ProfileRecord>,
    warnings: Vec<String>,
}

impl Observer for Notes {
    fn profiled(&mut self, record: &ProfileRecord, _purpose: Purpose) -> Result<(), NotKept> {
        self.records.push(record.clone());
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(message.to_owned());
    }
}

fn board(name: &str) -> SimBoard {
    let options = SimOptions { heat: false, power_noise: 0.01, time_noise: 0.01, ..SimOptions::default() };
    SimBoard::new(name, options).unwrap()
}

fn job() -> WorkloadProfile {
    WorkloadProfile::training("resnet18", 16).unwrap()
}

fn under(power_w: Option<f64>) -> Goal {
    Goal { objective: Objective::Time, limits: Limits { power_w, ..Limits::default() }, confidence: 0.9 }
}

fn on(board: &SimBoard, job: WorkloadProfile) -> (RunMachine, SimWorkload) {
    (Machine::simulated(board).into(), board.workload(job))
}

fn drive(
    machine: &mut RunMachine,
    workload: &mut dyn Workload,
    goal: Goal,
    observer: &mut dyn Observer,
) -> Result<Tuned, TuneError> {
    let mut tuner = Tuner::new(machine.space().to_vec(), goal, TuneOptions::default());
    machine.with_ports(workload, |ports| drive_to_choice(&mut tuner, ports, observer))
}

fn tune(board: &SimBoard, goal: Goal, notes: &mut Notes) -> Result<Tuned, TuneError> {
    let (mut machine, mut workload) = on(board, job());
    let tuned = drive(&mut machine, &mut workload, goal, notes);
    machine.restore().unwrap();
    tuned
}

fn chosen(tuned: &Tuned) -> PowerMode {
    tuned.chosen().expect("no choice").mode
}

/// Every mode's true time and power.
fn truths(board: &SimBoard, workload: &SimWorkload) -> Vec<(f64, f64)> {
    let space = Device::discover(board.root()).space();
    let truth = |mode: &PowerMode| (workload.true_time_s(mode), workload.true_power(mode, CHIP_C).0);
    space.modes().iter().map(truth).collect()
}

/// The mean standard error of a power, as the sensors of the board tell it.
fn sensor_error(notes: &Notes) -> f64 {
    let errors = notes.records.iter().map(|r| r.measurement().power_error);
    errors.sum::<f64>() / notes.records.len() as f64
}

/// The choice truly holds the limit, and is near the best that could be shown to hold it: a sensor with an error of
/// two percent cannot tell a mode right below the limit from one right above.
#[test]
fn each_board_ends_in_a_verified_choice_near_the_true_best() {
    for name in SimBoard::names() {
        let board = board(name);
        let workload = board.workload(job());
        let truths = truths(&board, &workload);
        let least = truths.iter().map(|t| t.1).fold(f64::INFINITY, f64::min);
        let most = truths.iter().map(|t| t.1).fold(0.0, f64::max);
        let budget = (least * most).sqrt();
        let mut notes = Notes::default();
        let tuned = tune(&board, under(Some(budget)), &mut notes).unwrap();
        assert!(
            matches!(tuned.outcome, Outcome::Chosen { verified: true, .. }),
            "{name}: {:?}",
            tuned.outcome
        );
        let mode = chosen(&tuned);
        let (time, power) = (workload.true_time_s(&mode), workload.true_power(&mode, CHIP_C).0);
        assert!(power <= budget, "{name}: {power} W of {budget} W");
        let margin = (-1.282 * sensor_error(&notes)).exp();
        let allowed = truths.iter().filter(|t| t.1 <= margin * budget).map(|t| t.0);
        let best = allowed.fold(f64::INFINITY, f64::min);
        assert!(time <= 1.02 * best, "{name} under {budget:.2} W: {time} s in {mode}, best {best} s");
    }
}

#[test]
fn a_board_that_throttles_is_told_and_gets_a_mode_that_does_not() {
    let board = board("agx-orin");
    board.limit_current(20.0);
    let mut notes = Notes::default();
    let tuned = tune(&board, under(None), &mut notes).unwrap();
    assert!(notes.warnings.iter().any(|w| w.contains("throttled")), "{:?}", notes.warnings);
    let power = board.workload(job()).true_power(&chosen(&tuned), CHIP_C).0;
    assert!(power <= 20.5, "{power} W");
    let setting = tuned.chosen().unwrap();
    assert!(notes.records.iter().filter(|r| r.setting == setting).all(ProfileRecord::is_sound));
}

#[test]
fn a_stuck_knob_is_told_and_only_modes_that_were_taken_are_chosen() {
    let board = board("xavier-nx");
    let device = Device::discover(board.root());
    for path in device.gpu.iter().flat_map(gpu::nodes) {
        board.inject(Fault::DoesNotStick { path });
    }
    let mut notes = Notes::default();
    match tune(&board, under(Some(9.0)), &mut notes) {
        Ok(tuned) => {
            let setting = tuned.chosen();
            let taken = |r: &&ProfileRecord| Some(r.setting) == setting;
            assert!(notes.records.iter().filter(taken).all(ProfileRecord::is_sound));
            if let Some(setting) = setting {
                assert!(board.workload(job()).true_power(&setting.mode, CHIP_C).0 <= 9.0);
            }
        }
        Err(error) => assert!(matches!(error, TuneError::NothingToSet { .. }), "{error}"),
    }
    let told = |w: &String| w.contains("was not taken") && w.contains("left out");
    assert!(notes.warnings.iter().any(told), "{:?}", notes.warnings);
}

#[test]
fn a_dead_rail_refuses_a_power_limit_and_not_a_time() {
    for gone in [false, true] {
        let board = board("orin-nx");
        let device = Device::discover(board.root());
        let rail = &device.rails[0];
        for path in [&rail.volts, &rail.amps, &rail.watts].into_iter().flatten().cloned() {
            board.inject(if gone { Fault::Vanishes { path } } else { Fault::ReadFails { path, errno: 5 } });
        }
        let refused = tune(&board, under(Some(12.0)), &mut Notes::default());
        let Err(TuneError::NoPower { reason }) = refused else { panic!("{gone}: not refused") };
        assert!(!reason.is_empty());
        let tuned = tune(&board, under(None), &mut Notes::default()).unwrap();
        assert!(tuned.chosen().is_some());
    }
}

/// A sensor that dies in the middle of a search ends it: a limit that cannot be seen cannot be held.
#[test]
fn a_rail_that_dies_in_the_search_ends_it() {
    struct Dying {
        notes: Notes,
        board: SimBoard,
        paths: Vec<String>,
    }
    impl Observer for Dying {
        fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept> {
            if self.notes.records.len() == 3 {
                for path in self.paths.drain(..) {
                    self.board.inject(Fault::ReadFails { path, errno: 121 });
                }
            }
            self.notes.profiled(record, purpose)
        }

        fn warn(&mut self, message: &str) {
            self.notes.warn(message);
        }
    }
    let board = board("tx2");
    let device = Device::discover(board.root());
    let paths = device.rails.iter().flat_map(|r| [&r.volts, &r.amps, &r.watts]).flatten().cloned().collect();
    let mut dying = Dying { notes: Notes::default(), board: board.clone(), paths };
    let (mut machine, mut workload) = on(&board, job());
    let result = drive(&mut machine, &mut workload, under(Some(6.0)), &mut dying);
    assert!(matches!(result, Err(TuneError::NoPower { .. })), "{:?}", result.map(|t| t.outcome));
    machine.restore().unwrap();
}

/// The loader's workers are a knob like the others: a job that waits for its data gets many, one that does not few.
#[test]
fn a_data_bound_job_gets_more_workers() {
    let workers = |model: &str| {
        let board = board("orin-nx");
        let job = WorkloadProfile::training(model, 16).unwrap();
        let (mut machine, mut workload) = on(&board, job);
        assert!(machine.choose_workers_too(&machine.worker_choices(&workload)));
        let mut notes = Notes::default();
        let tuned = drive(&mut machine, &mut workload, under(None), &mut notes).unwrap();
        machine.restore().unwrap();
        let stalled = notes.records.iter().any(|r| r.stall_share.is_some_and(|share| share > 0.2));
        (tuned.chosen().and_then(|s| s.workers).expect("no number of workers"), stalled, tuned.stall_share)
    };
    let (many, stalled, _) = workers("mobilenet_v3_small");
    let (few, _, left) = workers("resnet50");
    assert!(stalled, "the small network never waited for its data");
    assert!(many > few, "{many} workers for a job that waits for its data, {few} for one that does not");
    assert!(left.is_some_and(|share| share < 0.02), "{left:?}");
}

#[test]
fn modes_with_more_workers_than_cores_are_left_out() {
    let board = board("tx2");
    let (mut machine, workload) = on(&board, job());
    let modes = machine.space().len();
    assert!(machine.choose_workers_too(&machine.worker_choices(&workload)));
    assert!(machine.space().len() > modes);
    let fits = |s: &footplate_tune::Setting| {
        s.workers.zip(s.mode.cpu_cores).is_none_or(|(workers, cores)| workers <= u64::from(cores))
    };
    assert!(machine.space().iter().all(fits));
}
