//! The machine that a tune works on: a simulated board, a table of measurements, or this machine.

use std::sync::Arc;

use footplate_core::PowerMode;
use footplate_core::ports::{Clock, PowerControl, PowerMeter, Workload};
use footplate_core::power_mode::Preset;
use footplate_device::machine::{TableSource, has_power};
use footplate_device::meter::Meter;
use footplate_device::sim::{SimBoard, SimOptions, SimWorkload, WorkloadProfile};
use footplate_device::{Device, DeviceError, Root};
use footplate_tune::Setting;
use footplate_tune::drive::Ports;
use footplate_tune::tuner::TuneError;

use super::arguments::{BoardArguments, GoalArguments, TuneArguments};
use crate::failure::{Failure, Kind};
use crate::output;
use crate::profile_file;

/// Everything that a tune needs beside the job.
pub(crate) struct Machine {
    /// Its board and release; "sim:" before it if it is simulated.
    pub(crate) name: String,
    /// What the user should know before.
    pub(crate) notes: Vec<String>,
    /// Whether its figures come from a model.
    pub(crate) simulated: bool,
    /// All that can be chosen.
    pub(crate) space: Vec<Setting>,
    inner: footplate_device::Machine,
}

impl From<footplate_device::Machine> for Machine {
    fn from(inner: footplate_device::Machine) -> Self {
        Self {
            name: inner.name().to_owned(),
            notes: inner.notes().to_vec(),
            simulated: inner.is_simulated(),
            space: inner.space().iter().map(|mode| Setting::of(*mode)).collect(),
            inner,
        }
    }
}

impl Machine {
    /// A simulated board with the model's job on it.
    pub(crate) fn on_board(
        board: &str,
        seed: u64,
        model: &str,
        batch_size: usize,
    ) -> Result<(Self, SimWorkload), Failure> {
        let board = simulated(board, seed)?;
        let profile = job(model, batch_size)?;
        Ok(Self::of_board(&board, profile))
    }

    /// A simulated board and a job on it.
    pub(crate) fn of_board(board: &SimBoard, profile: WorkloadProfile) -> (Self, SimWorkload) {
        (footplate_device::Machine::simulated(board).into(), board.workload(profile))
    }

    /// A table of measurements.
    pub(crate) fn on_table(
        arguments: &TuneArguments,
        board: &str,
    ) -> Result<(Self, Box<dyn Workload>), Failure> {
        let Some(path) = &arguments.surface else {
            return Err(Failure::new(Kind::Internal, "no table"));
        };
        let board = simulated(board, arguments.seed())?;
        let table = profile_file::table(path)?;
        let stand_in = if has_power(&table) {
            None
        } else {
            let model = arguments.model.as_deref().unwrap_or("resnet18");
            Some(job(model, arguments.simulated_batch())?)
        };
        let name = path.display().to_string();
        let source = TableSource {
            table: table.clone(),
            name: &name,
            workload: arguments.workload.as_deref(),
            stand_in,
        };
        let (machine, workload) = footplate_device::Machine::table(source, &board)
            .map_err(|e| Failure::new(Kind::Data, e.to_string()))?;
        let truths = profile_file::truths(path, &table, workload.name())?;
        if truths.iter().any(|t| t.setting.batch_size.is_some()) {
            let message = "a surface of batch sizes cannot be tuned: the job's batch size is given";
            return Err(Failure::new(Kind::Data, message));
        }
        Ok((machine.into(), Box::new(workload)))
    }

    /// This machine, with the clock of the run whose steps are measured.
    pub(crate) fn here(board: &BoardArguments, clock: Arc<dyn Clock + Send + Sync>) -> Result<Self, Failure> {
        let device = Device::discover(Root::system());
        let device = if board.allow_gpu_settings { device.allow_gpu_settings() } else { device };
        let common = board.common();
        common.look_for_stale(&device)?;
        let folder = common.state_folder(&device.root);
        Ok(footplate_device::Machine::here(device, folder.as_deref(), clock)?.into())
    }

    /// Adds the loader's workers to what can be chosen: every mode with every number of them.
    pub(crate) fn with_workers(&mut self, choices: &[usize]) {
        if choices.is_empty() {
            output::warning(
                "the loader's workers cannot be chosen: this job makes its minibatches by itself",
            );
            return;
        }
        let few = few_workers(choices);
        let fits = |setting: &Setting, workers: u64| {
            // More workers than cores are in each other's way.
            workers == few[0] || setting.mode.cpu_cores.is_none_or(|cores| workers <= u64::from(cores))
        };
        let with = |setting: &Setting| -> Vec<Setting> {
            let workers = few.iter().filter(|n| fits(setting, **n));
            workers.map(|n| Setting { workers: Some(*n), ..*setting }).collect()
        };
        self.space = self.space.iter().flat_map(with).collect();
    }

    /// Refuses a goal that needs power where there is none, before anything is set or trained.
    pub(crate) fn check_here(needs_power: bool) -> Result<(), Failure> {
        if !needs_power {
            return Ok(());
        }
        match Device::discover(Root::system()).no_power() {
            Some(reason) => Err(super::failure(&TuneError::NoPower { reason }, &GoalArguments::default())),
            None => Ok(()),
        }
    }

    /// Refuses a board or a model that is not simulated.
    pub(crate) fn check_simulated(board: &str, model: Option<&str>) -> Result<(), Failure> {
        simulated(board, 0)?;
        model.map_or(Ok(()), |model| job(model, 1).map(|_| ()))
    }

    /// The ports, with a job.
    pub(crate) fn ports<'a>(&'a mut self, workload: &'a mut dyn Workload) -> Ports<'a> {
        let ports = self.inner.ports();
        Ports { control: ports.control, meter: ports.meter, workload, clock: ports.clock }
    }

    /// The ports without a job.
    pub(crate) fn parts(&mut self) -> (&mut dyn PowerControl, &mut dyn PowerMeter, &dyn Clock) {
        let ports = self.inner.ports();
        (ports.control, ports.meter, ports.clock)
    }

    /// The meter, where others may read it too.
    pub(crate) fn shared_meter(&self) -> Option<Arc<Meter>> {
        self.inner.shared_meter()
    }

    /// The controls.
    pub(crate) fn control(&mut self) -> &mut dyn PowerControl {
        self.inner.control()
    }

    /// The vendor's named modes.
    pub(crate) fn presets(&self) -> &[Preset] {
        self.inner.presets()
    }

    /// What time is priced at by Zeus' objective: the largest power limit; 0 where there is none, and the power of
    /// the largest mode is taken when it is measured.
    pub(crate) fn largest_power_w(&self) -> f64 {
        self.inner.largest_limit_w()
    }

    /// Puts back what was set before.
    pub(crate) fn restore(&mut self) -> Result<(), Failure> {
        self.inner.restore().map_err(|e| {
            Failure::new(Kind::Machine, format!("the mode that was set before is not back: {e}"))
                .hint("`footplate mode restore` tries again")
        })
    }

    /// Sets the choice for good.
    pub(crate) fn keep(&mut self, setting: &Setting) -> Result<(), Failure> {
        let kept = self.inner.keep(&setting.mode);
        kept.map_err(|e| Failure::new(Kind::Machine, format!("the choice cannot be set: {e}")))
    }

    /// The board, where it is one.
    pub(crate) fn board(&self) -> Option<&Device> {
        self.inner.device()
    }

    /// A block of nvpmodel's configuration.
    pub(crate) fn nvpmodel(&self, name: &str, mode: &PowerMode) -> Result<String, Failure> {
        self.inner.nvpmodel(name, mode).map_err(|e| Failure::new(Kind::Usage, e.to_string()))
    }

    /// The least score that any mode of a table truly has.
    pub(crate) fn true_best(&self, score: impl Fn(f64, Option<f64>) -> Option<f64>) -> Option<f64> {
        self.inner.true_best(|cost| score(cost.time_s, cost.power_w))
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

fn simulated(name: &str, seed: u64) -> Result<SimBoard, Failure> {
    let options = SimOptions { seed, power_noise: 0.01, time_noise: 0.01, ..SimOptions::default() };
    SimBoard::new(name, options).map_err(|error: DeviceError| {
        Failure::new(Kind::Usage, error.to_string())
            .hint(format!("the simulated boards are {}", SimBoard::names().join(", ")))
    })
}

fn job(model: &str, batch_size: usize) -> Result<WorkloadProfile, Failure> {
    let batch_size = u32::try_from(batch_size).unwrap_or(u32::MAX);
    WorkloadProfile::training(model, batch_size).ok_or_else(|| {
        let names: Vec<&str> = footplate_train::model::models().iter().map(|m| m.name).collect();
        Failure::new(Kind::Usage, format!("there is no model `{model}` on a simulated board"))
            .hint(format!("the models are {}", names.join(", ")))
    })
}
