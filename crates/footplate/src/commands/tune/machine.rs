//! The machine and the job that a tune works on: a simulated board, a table of measurements, or this machine.

use footplate_core::PowerMode;
use footplate_core::ports::{Clock, ControlError, PowerControl, PowerMeter, Workload};
use footplate_core::power_mode::Preset;
use footplate_device::control::Control;
use footplate_device::knob::Hold;
use footplate_device::meter::{INTERVAL_NS, Meter};
use footplate_device::preset::{self, Presets};
use footplate_device::sim::{Replay, SimBoard, SimOptions, Surface, SurfaceControl, WorkloadProfile};
use footplate_device::{Device, DeviceError};
use footplate_tune::Setting;
use footplate_tune::evaluate::Truth;
use footplate_tune::profiler::Ports;

use super::arguments::TuneArguments;
use crate::failure::{Failure, Kind};
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

/// Everything that a tune needs.
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
    workload: Box<dyn Workload>,
    clock: Box<dyn Clock>,
    /// For an nvpmodel block, where it is a board.
    device: Option<(Device, Presets)>,
    /// Time and power of every mode of a table: the truth that the choice is compared with.
    truth: Vec<(f64, Option<f64>)>,
}

impl Machine {
    /// Opens what the arguments ask for.
    pub(crate) fn open(arguments: &TuneArguments) -> Result<Self, Failure> {
        if arguments.tune_workers {
            let message = "--tune-workers is not there yet: no job here can change its workers while it runs";
            return Err(Failure::new(Kind::Usage, message));
        }
        match (&arguments.sim, &arguments.surface) {
            (Some(board), Some(_)) => Self::on_table(arguments, board),
            (Some(board), None) => Self::on_board(arguments, board),
            (None, _) => Self::here(arguments),
        }
    }

    fn on_board(arguments: &TuneArguments, board: &str) -> Result<Self, Failure> {
        let board = simulated(board, arguments.seed)?;
        let profile = job(arguments)?;
        let device = Device::discover(board.root());
        let presets = Presets::read(&device, &mut Vec::new());
        let clock = board.clock();
        let wait_clock = board.clock();
        let meter = Meter::on_board(&board, &device, INTERVAL_NS);
        let control = Control::new(Device::discover(board.root()), &presets, Hold::default(), None)
            .with_wait(std::sync::Arc::new(move |d| {
                wait_clock.wait_ns(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
            }));
        let space: Vec<Setting> = control.space().modes().iter().map(|m| Setting::of(*m)).collect();
        Ok(Self {
            name: format!("sim:{}", board.name()),
            notes: vec![format!("{} is a simulated board: all figures are those of a model", board.name())],
            simulated: true,
            space,
            control: Controls::Board(Box::new(control)),
            meter: Box::new(meter),
            workload: Box::new(board.workload(profile)),
            clock: Box::new(clock),
            device: Some((device, presets)),
            truth: Vec::new(),
        })
    }

    fn on_table(arguments: &TuneArguments, board: &str) -> Result<Self, Failure> {
        let Some(path) = &arguments.surface else {
            return Err(Failure::new(Kind::Internal, "no table"));
        };
        let board = simulated(board, arguments.seed)?;
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
            let model = board.workload(job(arguments)?);
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
        Ok(Self {
            name: format!("sim:{} with {}", board.name(), workload.name()),
            notes,
            simulated: true,
            space: control.space().modes().iter().map(|m| Setting::of(*m)).collect(),
            control: Controls::Table(control),
            meter: Box::new(surface.meter()),
            workload: Box::new(workload),
            clock: Box::new(surface.clock()),
            device: None,
            truth: truths.iter().filter_map(cost).collect(),
        })
    }

    fn here(_arguments: &TuneArguments) -> Result<Self, Failure> {
        Err(Failure::new(Kind::Machine, "tuning this machine is not there yet").hint("use --sim BOARD"))
    }

    /// The ports.
    pub(crate) fn ports(&mut self) -> Ports<'_> {
        Ports {
            control: self.control.port(),
            meter: self.meter.as_mut(),
            workload: self.workload.as_mut(),
            clock: self.clock.as_ref(),
        }
    }

    /// The vendor's named modes.
    pub(crate) fn presets(&self) -> &[Preset] {
        self.control.port_ref().presets()
    }

    /// The job's name.
    pub(crate) fn workload_name(&self) -> String {
        self.workload.name().to_owned()
    }

    /// Steps in an epoch of the job.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.workload.steps_per_epoch()
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

fn simulated(name: &str, seed: u64) -> Result<SimBoard, Failure> {
    let options = SimOptions { seed, power_noise: 0.01, time_noise: 0.01, ..SimOptions::default() };
    SimBoard::new(name, options).map_err(|error: DeviceError| {
        Failure::new(Kind::Usage, error.to_string())
            .hint(format!("the simulated boards are {}", SimBoard::names().join(", ")))
    })
}

fn job(arguments: &TuneArguments) -> Result<WorkloadProfile, Failure> {
    let model = arguments.model.as_deref().unwrap_or("resnet18");
    WorkloadProfile::training(model, arguments.batch_size).ok_or_else(|| {
        let names: Vec<&str> = footplate_train::model::models().iter().map(|m| m.name).collect();
        Failure::new(Kind::Usage, format!("there is no model `{model}` on a simulated board"))
            .hint(format!("the models are {}", names.join(", ")))
    })
}
