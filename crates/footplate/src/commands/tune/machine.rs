//! The machine that a tune works on: a simulated board, a table of measurements, or this machine.

use std::sync::Arc;

use footplate_core::PowerMode;
use footplate_core::ports::{Clock, ControlError, PowerControl, PowerMeter, Workload};
use footplate_core::power_mode::Preset;
use footplate_device::control::Control;
use footplate_device::guard::Guard;
use footplate_device::knob::Hold;
use footplate_device::meter::{INTERVAL_NS, Meter, SharedMeter};
use footplate_device::preset::{self, Presets};
use footplate_device::sim::{
    Replay, SimBoard, SimOptions, SimWorkload, Surface, SurfaceControl, WorkloadProfile,
};
use footplate_device::{Device, DeviceError, Root, settable};
use footplate_tune::Setting;
use footplate_tune::drive::Ports;
use footplate_tune::evaluate::Truth;
use footplate_tune::tuner::TuneError;

use super::arguments::{BoardArguments, GoalArguments, TuneArguments};
use crate::failure::{Failure, Kind};
use crate::output;
use crate::profile_file;

/// Who sets modes.
enum Controls {
    Board(Box<Control>),
    Table(SurfaceControl),
}

impl Controls {
    fn port(&mut self) -> &mut dyn PowerControl {
        match self {
            Self::Board(control) => control.as_mut(),
            Self::Table(surface) => surface,
        }
    }

    fn port_ref(&self) -> &dyn PowerControl {
        match self {
            Self::Board(control) => control.as_ref(),
            Self::Table(surface) => surface,
        }
    }

    /// What is set now stays.
    fn keep(&mut self) -> Result<(), ControlError> {
        match self {
            Self::Board(control) => control.keep(),
            Self::Table(_) => Ok(()),
        }
    }
}

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
    control: Controls,
    meter: Box<dyn PowerMeter>,
    shared_meter: Option<Arc<Meter>>,
    clock: Box<dyn Clock>,
    /// For an nvpmodel block, where it is a board.
    device: Option<(Device, Presets)>,
    /// Time and power of every mode of a table: the truth that the choice is compared with.
    truth: Vec<(f64, Option<f64>)>,
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
        let device = Device::discover(board.root());
        let presets = Presets::read(&device, &mut Vec::new());
        let clock = board.clock();
        let wait_clock = board.clock();
        let meter = Meter::on_board(board, &device, INTERVAL_NS);
        let control = Control::new(Device::discover(board.root()), &presets, Hold::default(), None)
            .with_wait(Arc::new(move |d| {
                wait_clock.wait_ns(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
            }));
        let space: Vec<Setting> = control.space().modes().iter().map(|m| Setting::of(*m)).collect();
        let machine = Self {
            name: format!("sim:{}", board.name()),
            notes: vec![format!("{} is a simulated board: all figures are those of a model", board.name())],
            simulated: true,
            space,
            control: Controls::Board(Box::new(control)),
            meter: Box::new(meter),
            shared_meter: None,
            clock: Box::new(clock),
            device: Some((device, presets)),
            truth: Vec::new(),
        };
        (machine, board.workload(profile))
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
        let mut table = profile_file::table(path)?;
        let mut notes = vec![format!("times are those of {}, measured by others", path.display())];
        let measured = table.rows.iter().any(|row| row.mean_power().is_some());
        if measured {
            notes.push("powers are those of the table too".to_owned());
        } else {
            notes.push(format!(
                "the table has no power: powers are those of the simulated {}, a model",
                board.name()
            ));
            let model = arguments.model.as_deref().unwrap_or("resnet18");
            let model = board.workload(job(model, arguments.simulated_batch())?);
            for row in &mut table.rows {
                row.power_w = Some(model.true_power(&row.mode, 50.0));
            }
        }
        let surface = Surface::new(&table, arguments.workload.as_deref(), Replay::InTurn)
            .map_err(|e| Failure::new(Kind::Data, e.to_string()))?;
        let workload = surface.workload(1, None);
        let truths = profile_file::truths(path, &table, workload.name())?;
        if truths.iter().any(|t| t.setting.batch_size.is_some()) {
            let message = "a surface of batch sizes cannot be tuned: the job's batch size is given";
            return Err(Failure::new(Kind::Data, message));
        }
        let cost = |truth: &Truth| {
            let mean = truth.mean();
            Some((mean.time_s?, mean.power_w))
        };
        let control = surface.control();
        let machine = Self {
            name: format!("sim:{} with {}", board.name(), workload.name()),
            notes,
            simulated: true,
            space: control.space().modes().iter().map(|m| Setting::of(*m)).collect(),
            control: Controls::Table(control),
            meter: Box::new(surface.meter()),
            shared_meter: None,
            clock: Box::new(surface.clock()),
            device: None,
            truth: truths.iter().filter_map(cost).collect(),
        };
        Ok((machine, Box::new(workload)))
    }

    /// This machine, with the clock of the run whose steps are measured.
    pub(crate) fn here(board: &BoardArguments, clock: Arc<dyn Clock + Send + Sync>) -> Result<Self, Failure> {
        let device = Device::discover(Root::system());
        let device = if board.allow_gpu_settings { device.allow_gpu_settings() } else { device };
        let found = settable::look(&device);
        let common = board.common();
        if common.look_for_stale(&device)? {
            let message =
                "a dead process's settings were not put back: setting more would lose what was before it";
            return Err(
                Failure::new(Kind::Machine, message).hint("--restore-stale, or `footplate mode restore`")
            );
        }
        let guard = match common.state_folder(&device.root).filter(|_| found.is_something()) {
            Some(folder) => Some(Guard::take(&folder)?),
            None => None,
        };
        let presets = Presets::read(&device, &mut Vec::new());
        let no_power = no_power(&device);
        let mut notes: Vec<String> = found
            .missing
            .iter()
            .map(|knob| format!("{} cannot be chosen: {}", knob.what, knob.cause))
            .collect();
        if let Some(reason) = &no_power {
            notes
                .push(format!("power cannot be measured ({reason}): only time can be made small or limited"));
        }
        if !found.is_something() {
            notes.push("nothing can be chosen here: the present setting is measured as it is".to_owned());
        }
        let meter = Arc::new(Meter::start(&device, INTERVAL_NS, clock.clone())?);
        let control = Control::new(device.clone(), &presets, Hold::default(), guard);
        Ok(Self {
            name: format!("{} ({})", device.facts.id, device.facts.name),
            notes,
            simulated: false,
            space: found.space.modes().iter().map(|m| Setting::of(*m)).collect(),
            control: Controls::Board(Box::new(control)),
            meter: Box::new(SharedMeter(meter.clone())),
            shared_meter: Some(meter),
            clock: Box::new(Shared(clock)),
            device: Some((device, presets)),
            truth: Vec::new(),
        })
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
        match no_power(&Device::discover(Root::system())) {
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
        Ports {
            control: self.control.port(),
            meter: self.meter.as_mut(),
            workload,
            clock: self.clock.as_ref(),
        }
    }

    /// The ports without a job.
    pub(crate) fn parts(&mut self) -> (&mut dyn PowerControl, &mut dyn PowerMeter, &dyn Clock) {
        (self.control.port(), self.meter.as_mut(), self.clock.as_ref())
    }

    /// The meter, where others may read it too.
    pub(crate) fn shared_meter(&self) -> Option<Arc<Meter>> {
        self.shared_meter.clone()
    }

    /// The controls.
    pub(crate) fn control(&mut self) -> &mut dyn PowerControl {
        self.control.port()
    }

    /// The vendor's named modes.
    pub(crate) fn presets(&self) -> &[Preset] {
        self.control.port_ref().presets()
    }

    /// What time is priced at by Zeus' objective: the largest power limit; 0 where there is none, and the power of
    /// the largest mode is taken when it is measured.
    pub(crate) fn largest_power_w(&self) -> f64 {
        let limit = self.space.iter().filter_map(|s| s.mode.gpu_power_limit_mw).max();
        limit.map_or(0.0, |mw| mw as f64 / 1e3)
    }

    /// Puts back what was set before.
    pub(crate) fn restore(&mut self) -> Result<(), Failure> {
        self.control.port().restore().map_err(|e| {
            Failure::new(Kind::Machine, format!("the mode that was set before is not back: {e}"))
                .hint("`footplate mode restore` tries again")
        })
    }

    /// Sets the choice for good.
    pub(crate) fn keep(&mut self, setting: &Setting) -> Result<(), Failure> {
        let applied = self.control.port().apply(&setting.mode).and_then(|_| self.control.keep());
        applied.map_err(|e| Failure::new(Kind::Machine, format!("the choice cannot be set: {e}")))
    }

    /// The board, where it is one.
    pub(crate) fn board(&self) -> Option<&Device> {
        self.device.as_ref().map(|(device, _)| device)
    }

    /// A block of nvpmodel's configuration.
    pub(crate) fn nvpmodel(&self, name: &str, mode: &PowerMode) -> Result<String, Failure> {
        let Some((device, presets)) = &self.device else {
            return Err(Failure::new(Kind::Usage, "a table has no nvpmodel configuration"));
        };
        preset::export(device, presets, name, mode).map_err(|e| Failure::new(Kind::Usage, e.to_string()))
    }

    /// The least score that any mode of a table truly has.
    pub(crate) fn true_best(&self, score: impl Fn(f64, Option<f64>) -> Option<f64>) -> Option<f64> {
        let scores = self.truth.iter().filter_map(|(time_s, power_w)| score(*time_s, *power_w));
        scores.min_by(f64::total_cmp)
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

/// Why the machine's power cannot be measured; `None`: it can.
fn no_power(device: &Device) -> Option<String> {
    if device.total.is_some() {
        return None;
    }
    let about = device.problems.iter().find(|p| p.what.contains("total") || p.what.contains("rail"));
    Some(match about {
        Some(problem) => problem.cause.clone(),
        None => "this machine has no power sensor that footplate can read".to_owned(),
    })
}

/// A clock that others hold too.
struct Shared(Arc<dyn Clock + Send + Sync>);

impl Clock for Shared {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.0.wait_ns(duration_ns);
    }
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
