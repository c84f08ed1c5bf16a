//! The machine that a run's mode is chosen on: this one, a simulated board in its place, or a table of measurements.

use std::path::Path;
use std::sync::Arc;

use footplate_core::ports::{WorkError, WorkStep, Workload};
use footplate_device::machine::{TableSource, has_power};
use footplate_device::sim::{SimBoard, SimOptions, SimWorkload, WorkloadProfile};
use footplate_device::{Device, Machine, Meter};
use footplate_tune::Setting;
use footplate_tune::drive::Ports;
use footplate_tune::tuner::TuneError;

use crate::SharedClock;
use crate::error::RunError;
use crate::fault_script::FaultScript;
use crate::profile_store;
use crate::tune_record::TunedOn;

/// Least real steps, and least time in nanoseconds, between two looks at a job on a simulated board.
const TRAIN_BETWEEN_LOOKS: (u32, u64) = (20, 1_000_000_000);
/// A look at the simulated job: its least steps, least time in nanoseconds, and most steps.
const SIMULATED_LOOK: (u32, u64, u32) = (6, 3_000_000_000, 100_000);
/// Errors of a simulated board's sensors and step times, as a share.
const NOISE: f64 = 0.01;
/// Samples in a minibatch of a simulated job, unless something else is asked for.
pub const SIMULATED_BATCH: u32 = 16;
/// The model of a simulated job, unless another is named.
pub const SIMULATED_MODEL: &str = "resnet18";

/// A simulated board as `--sim` names it, with sensors that are a little wrong. `seed` decides how.
pub fn simulated_board(name: &str, seed: u64) -> Result<SimBoard, RunError> {
    let options = SimOptions { seed, power_noise: NOISE, time_noise: NOISE, ..SimOptions::default() };
    SimBoard::new(name, options).map_err(RunError::NoBoard)
}

/// The job of a model on a simulated board.
pub fn simulated_job(model: &str, batch_size: u32) -> Result<WorkloadProfile, RunError> {
    let none = || RunError::NoSimulatedJob { model: model.to_owned() };
    WorkloadProfile::training(model, batch_size).ok_or_else(none)
}

/// A machine and the settings that can be chosen on it.
pub struct RunMachine {
    machine: Machine,
    space: Vec<Setting>,
    /// Takes the place of the run's own step times.
    simulated: Option<Simulated>,
}

struct Simulated {
    job: SimWorkload,
    model: String,
    script: FaultScript,
}

/// A job whose times a simulated machine tells.
#[derive(Clone, Copy, Debug)]
pub struct JobOnBoard<'a> {
    /// The network's name in the registry.
    pub model: &'a str,
    /// Samples in a step.
    pub batch_size: u32,
    /// Decides the errors of the board's sensors.
    pub seed: u64,
}

impl RunMachine {
    /// The machine behind `device`. `journal`: the folder of the journal of what was set before; `clock`: the run's.
    pub fn here(device: Device, journal: Option<&Path>, clock: SharedClock) -> Result<Self, RunError> {
        Ok(Machine::here(device, journal, clock)?.into())
    }

    /// A simulated board that stands in for the machine of a run that makes real steps.
    /// `changes` are what happens to it while the run trains, as in [`crate::fault_script`].
    pub fn stand_in(board: &SimBoard, changes: &[String], job: JobOnBoard<'_>) -> Result<Self, RunError> {
        let profile = simulated_job(job.model, job.batch_size)?;
        let simulated = Simulated {
            job: board.workload(profile),
            model: job.model.to_owned(),
            script: FaultScript::new(board.clone(), changes),
        };
        Ok(Self { simulated: Some(simulated), ..Machine::simulated(board).into() })
    }

    /// A simulated board and the model's job on it, where nothing is trained.
    pub fn simulation(board: &str, job: JobOnBoard<'_>) -> Result<(Self, SimWorkload), RunError> {
        let board = simulated_board(board, job.seed)?;
        let profile = simulated_job(job.model, job.batch_size)?;
        Ok((Machine::simulated(&board).into(), board.workload(profile)))
    }

    /// A table of measured modes and the job that replays them. Where it has no power, that of `job` on the simulated
    /// board is taken. `workload`: which of the table's; `None`: the only one.
    pub fn table(
        path: &Path,
        workload: Option<&str>,
        board: &str,
        job: JobOnBoard<'_>,
    ) -> Result<(Self, Box<dyn Workload>), RunError> {
        let board = simulated_board(board, job.seed)?;
        let table = profile_store::table(path)?;
        let lacks_power = !has_power(&table);
        let stand_in = lacks_power.then(|| simulated_job(job.model, job.batch_size)).transpose()?;
        let content = |problem: String| RunError::Content { path: path.to_owned(), problem };
        let name = path.display().to_string();
        let source = TableSource { table: table.clone(), name: &name, workload, stand_in };
        let (machine, workload) = Machine::table(source, &board).map_err(|e| content(e.to_string()))?;
        let truths = profile_store::truths(path, &table, workload.name())?;
        if truths.iter().any(|truth| truth.setting.batch_size.is_some()) {
            let problem = "a surface of batch sizes cannot be tuned: the job's batch size is given";
            return Err(content(problem.to_owned()));
        }
        Ok((machine.into(), Box::new(workload)))
    }

    /// Refuses, before anything is made, a board or a model that is not simulated. `model`: where it is known.
    pub fn check_simulated(board: &str, model: Option<&str>) -> Result<(), RunError> {
        simulated_board(board, 0)?;
        model.map_or(Ok(()), |model| simulated_job(model, 1).map(|_| ()))
    }

    /// Refuses a goal that needs power on a device that has no sensor for it.
    pub fn check_power(device: &Device) -> Result<(), RunError> {
        match device.no_power() {
            Some(reason) => Err(RunError::Tune { error: TuneError::NoPower { reason }, records: None }),
            None => Ok(()),
        }
    }

    /// The machine whose modes are set and whose power is measured.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine itself, to set it.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// All settings that can be chosen.
    pub fn space(&self) -> &[Setting] {
        &self.space
    }

    /// Its board and release; "sim:" before it if it is simulated. Profiles are filed under it.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// What the user should know before, beside what the run log says.
    pub fn notes(&self) -> &[String] {
        // A simulated board in a run is told with the log's first warning.
        if self.simulated.is_some() { &[] } else { self.machine.notes() }
    }

    /// Whether its figures come from a model or a table.
    pub fn is_simulated(&self) -> bool {
        self.machine.is_simulated()
    }

    /// What the log of a real run must say of a simulated machine.
    pub fn label(&self) -> Option<String> {
        let model = &self.simulated.as_ref()?.model;
        Some(format!(
            "training is real, the machine is not: all modes, and times and powers of profiles, are those of the \
             simulated board {} with {model} on photographs of 224 pixels",
            self.name()
        ))
    }

    /// The board that stands in for this machine in a run.
    pub fn simulated_device(&self) -> Option<Device> {
        self.simulated.as_ref().and_then(|_| self.machine.device().cloned())
    }

    /// A meter that runs already, for whoever needs one too.
    pub fn meter(&self) -> Option<Arc<Meter>> {
        self.machine.shared_meter()
    }

    /// What a tune's record says of it.
    pub fn tuned_on(&self) -> TunedOn {
        TunedOn { presets: self.machine.presets().to_vec(), simulated: self.machine.is_simulated() }
    }

    /// Numbers of the loader's workers that can be tried with `steps`; empty: there is no choice.
    pub fn worker_choices(&self, steps: &dyn Workload) -> Vec<usize> {
        let simulated = self.simulated.as_ref().map(|simulated| simulated.job.worker_choices());
        simulated.unwrap_or_else(|| steps.worker_choices()).to_vec()
    }

    /// Adds the loader's workers to what can be chosen: every mode with some numbers of them. False: there is no choice,
    /// and nothing was added.
    pub fn choose_workers_too(&mut self, choices: &[usize]) -> bool {
        let few = few_workers(choices);
        let Some(least) = few.first().copied() else { return false };
        let fits = |setting: &Setting, workers: u64| {
            // More workers than cores are in each other's way.
            workers == least || setting.mode.cpu_cores.is_none_or(|cores| workers <= u64::from(cores))
        };
        let with = |setting: &Setting| -> Vec<Setting> {
            let workers = few.iter().filter(|n| fits(setting, **n));
            workers.map(|n| Setting { workers: Some(*n), ..*setting }).collect()
        };
        self.space = self.space.iter().flat_map(with).collect();
        true
    }

    /// Calls `drive` with the ports of the machine and of the job that makes the steps.
    pub fn with_ports<R>(&mut self, steps: &mut dyn Workload, drive: impl FnOnce(&mut Ports<'_>) -> R) -> R {
        let ports = self.machine.ports();
        let (control, meter, clock) = (ports.control, ports.meter, ports.clock);
        match &mut self.simulated {
            None => drive(&mut Ports { control, meter, workload: steps, clock }),
            Some(simulated) => {
                let mut workload = TimedByBoard { steps, simulated };
                drive(&mut Ports { control, meter, workload: &mut workload, clock })
            }
        }
    }

    /// Sets the choice for good.
    pub fn keep(&mut self, setting: &Setting) -> Result<(), RunError> {
        self.machine.keep(&setting.mode).map_err(RunError::ChoiceNotKept)
    }

    /// Puts back what was set before.
    pub fn restore(&mut self) -> Result<(), RunError> {
        self.machine.restore().map_err(RunError::NotRestored)
    }
}

impl From<Machine> for RunMachine {
    fn from(machine: Machine) -> Self {
        let space = machine.space().iter().map(|mode| Setting::of(*mode)).collect();
        Self { machine, space, simulated: None }
    }
}

/// Real steps whose times are those of a simulated board.
struct TimedByBoard<'a> {
    steps: &'a mut dyn Workload,
    simulated: &'a mut Simulated,
}

impl Workload for TimedByBoard<'_> {
    fn name(&self) -> &str {
        self.steps.name()
    }

    fn run(&mut self, steps_min: u32, time_min_ns: u64, steps_max: u32) -> Result<Vec<WorkStep>, WorkError> {
        self.steps.run(steps_min, 0, steps_min)?;
        self.simulated.job.run(steps_min, time_min_ns, steps_max)
    }

    fn train(&mut self, _steps_min: u32, _time_min_ns: u64) -> Result<Vec<WorkStep>, WorkError> {
        let (steps_min, time_min_ns) = TRAIN_BETWEEN_LOOKS;
        self.steps.train(steps_min, time_min_ns)?;
        self.simulated.script.advance(&mut self.simulated.job);
        let (steps_min, time_min_ns, steps_max) = SIMULATED_LOOK;
        self.simulated.job.run(steps_min, time_min_ns, steps_max)
    }

    fn steps_left(&self) -> Option<u64> {
        self.steps.steps_left()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.steps.steps_per_epoch()
    }

    fn worker_choices(&self) -> &[usize] {
        self.simulated.job.worker_choices()
    }

    fn set_workers(&mut self, workers: usize) {
        self.simulated.job.set_workers(workers);
    }
}

/// Of many numbers of workers a few that differ by a third or more: each one multiplies all modes.
fn few_workers(choices: &[usize]) -> Vec<u64> {
    let mut few: Vec<u64> = Vec::new();
    for choice in choices.iter().map(|n| *n as u64) {
        if few.last().is_none_or(|last| 3 * choice >= 4 * last) {
            few.push(choice);
        }
    }
    let most = choices.iter().map(|n| *n as u64).max();
    if let (Some(most), Some(last)) = (most, few.last_mut()) {
        *last = most.max(*last);
    }
    few
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]
    use super::*;
    use proptest::prelude::*;

    const JOB: JobOnBoard<'static> = JobOnBoard { model: "resnet18", batch_size: 16, seed: 0 };

    #[test]
    fn what_is_not_simulated_is_refused_by_name() {
        RunMachine::check_simulated("tx2", None).unwrap();
        RunMachine::check_simulated("tx2", Some("lenet5")).unwrap();
        assert!(matches!(RunMachine::check_simulated("tx9", None), Err(RunError::NoBoard(_))));
        let error = RunMachine::check_simulated("tx2", Some("vgg")).unwrap_err();
        assert_eq!(error.to_string(), "there is no model `vgg` on a simulated board");
    }

    #[test]
    fn a_table_without_power_takes_that_of_the_board_and_says_so() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("table.csv");
        std::fs::write(&path, "workload,gpu_hz,time_s\na,114750000,0.5\na,1300500000,0.1\n").unwrap();
        let (machine, workload) = RunMachine::table(&path, None, "tx2", JOB).unwrap();
        assert_eq!((machine.space().len(), workload.name()), (2, "a"));
        assert!(machine.notes().iter().any(|note| note.contains("the table has no power")));
        assert!(machine.is_simulated() && machine.label().is_none());
        let truth = machine.machine().truth();
        assert!(truth.iter().all(|cost| cost.power_w.is_some_and(|power| power > 0.0)));
    }

    #[test]
    fn a_table_of_batch_sizes_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("table.csv");
        std::fs::write(
            &path,
            "workload,gpu_hz,batch_size,time_s,power_w\na,114750000,8,0.5,5\na,114750000,16,0.9,5\n",
        )
        .unwrap();
        let error = RunMachine::table(&path, None, "tx2", JOB).err().unwrap();
        assert!(error.to_string().contains("batch"), "{error}");
    }

    #[test]
    fn a_device_without_a_sensor_cannot_serve_a_goal_that_needs_power() {
        let board = simulated_board("tx2", 0).unwrap();
        RunMachine::check_power(&Device::discover(board.root())).unwrap();
        let empty = tempfile::tempdir().unwrap();
        let nothing = Device::discover(footplate_device::Root::at(empty.path()).unwrap());
        let error = RunMachine::check_power(&nothing).unwrap_err();
        assert!(matches!(error, RunError::Tune { error: TuneError::NoPower { .. }, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn few_numbers_of_workers_span_all_that_there_are(most in 1usize..200) {
            let choices: Vec<usize> = (1..=most).collect();
            let few = few_workers(&choices);
            prop_assert_eq!((few[0].min(few[few.len() - 1]), few[few.len() - 1]), (few[0], most as u64));
            prop_assert!(few.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", few);
            prop_assert!(few.len() <= 20, "{:?}", few);
        }
    }

    #[test]
    fn without_a_choice_there_is_none() {
        assert!(few_workers(&[]).is_empty());
        let board = simulated_board("tx2", 0).unwrap();
        let mut machine = RunMachine::stand_in(&board, &[], JOB).unwrap();
        let modes = machine.space().len();
        assert!(!machine.choose_workers_too(&[]));
        assert_eq!(machine.space().len(), modes);
    }
}
