//! Everything of a machine that a tuner needs, in one: controls, meter, clock, presets, and what can be chosen.

use std::path::Path;
use std::sync::Arc;

use footplate_core::PowerMode;
use footplate_core::ports::{Clock, ControlError, PowerControl, PowerMeter};
use footplate_core::power_mode::Preset;
use footplate_core::profile_table::ProfileTable;

use crate::control::Control;
use crate::discover::Device;
use crate::error::DeviceError;
use crate::guard::{self, Guard};
use crate::knob::Hold;
use crate::meter::{INTERVAL_NS, Meter, SharedMeter};
use crate::preset::{self, ExportError, Presets};
use crate::settable;
use crate::sim::{Replay, SimBoard, Surface, SurfaceControl, SurfaceWorkload, TrueCost, WorkloadProfile};

/// The chip's temperature, in °C, at which a model tells the power of a mode for a table without powers.
const TABLE_CHIP_C: f64 = 50.0;

/// A clock that several threads read.
pub type SharedClock = Arc<dyn Clock + Send + Sync>;

enum Controls {
    Board(Box<Control>),
    Table(SurfaceControl),
}

impl Controls {
    fn port(&mut self) -> &mut (dyn PowerControl + Send) {
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

/// A machine to tune on: the running one, a simulated board, or a table of measured modes.
///
/// ```
/// use footplate_core::ports::{PowerControl, PowerMeter};
/// use footplate_device::Machine;
/// use footplate_device::sim::{SimBoard, SimOptions};
///
/// let board = SimBoard::new("agx-orin", SimOptions::default())?;
/// let mut machine = Machine::simulated(&board);
/// let slowest = machine.space()[0];
/// let ports = machine.ports();
/// ports.control.apply(&slowest)?;
/// let from = ports.clock.now_ns();
/// ports.clock.wait_ns(2_000_000_000);
/// let seen = ports.meter.window(from, ports.clock.now_ns());
/// assert!(seen.simulated && seen.total.value().is_some());
/// machine.restore()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Machine {
    name: String,
    notes: Vec<String>,
    simulated: bool,
    space: Vec<PowerMode>,
    controls: Controls,
    meter: Box<dyn PowerMeter + Send>,
    shared_meter: Option<Arc<Meter>>,
    clock: SharedClock,
    /// For an nvpmodel block, where it is a board.
    board: Option<(Device, Presets)>,
    truth: Vec<TrueCost>,
}

/// A machine's ports, borrowed together.
pub struct Ports<'a> {
    /// Sets modes, reads them back and puts back what was set.
    pub control: &'a mut (dyn PowerControl + Send),
    /// Measures power, energy and temperature over windows of the clock.
    pub meter: &'a mut (dyn PowerMeter + Send),
    /// The clock that the meter reads.
    pub clock: &'a (dyn Clock + Send + Sync),
}

/// A table of measurements that stands in for a machine.
pub struct TableSource<'a> {
    /// The rows, each a measurement of a job in a mode.
    pub table: ProfileTable,
    /// What the table is called, such as the path of its file.
    pub name: &'a str,
    /// Which of its workloads is replayed; `None`: the only one.
    pub workload: Option<&'a str>,
    /// The job whose simulated power is taken where the table has times only.
    pub stand_in: Option<WorkloadProfile>,
}

/// Whether any row of a table has a power, or an energy and a time.
pub fn has_power(table: &ProfileTable) -> bool {
    table.rows.iter().any(|row| row.mean_power().is_some())
}

impl Machine {
    /// The machine behind `device`, with the clock of the run whose steps are measured. `state_folder`: where the
    /// journal of what was set before is kept; without one a crash leaves the machine as it is.
    ///
    /// # Errors
    /// [`DeviceError::Stale`] if a dead process's settings were not put back, [`DeviceError::Held`] if another process
    /// has the controls, and what keeps the meter's thread from starting.
    pub fn here(
        device: Device,
        state_folder: Option<&Path>,
        clock: SharedClock,
    ) -> Result<Self, DeviceError> {
        if let Some(journal) = state_folder.map(guard::stale).transpose()?.flatten() {
            return Err(journal.into());
        }
        let found = settable::look(&device);
        let guard = state_folder.filter(|_| found.is_something()).map(Guard::take).transpose()?;
        let presets = Presets::read(&device, &mut Vec::new());
        let mut notes: Vec<String> = found
            .missing
            .iter()
            .map(|knob| format!("{} cannot be chosen: {}", knob.what, knob.cause))
            .collect();
        if let Some(reason) = device.no_power() {
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
            space: found.space.modes().to_vec(),
            controls: Controls::Board(Box::new(control)),
            meter: Box::new(SharedMeter(meter.clone())),
            shared_meter: Some(meter),
            clock,
            board: Some((device, presets)),
            truth: Vec::new(),
        })
    }

    /// A simulated board whose time passes when someone waits on its clock.
    pub fn simulated(board: &SimBoard) -> Self {
        let device = Device::discover(board.root());
        let presets = Presets::read(&device, &mut Vec::new());
        let wait_clock = board.clock();
        let wait = move |time: std::time::Duration| {
            wait_clock.wait_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        };
        let control = Control::new(device.clone(), &presets, Hold::default(), None).with_wait(Arc::new(wait));
        Self {
            name: format!("sim:{}", board.name()),
            notes: vec![format!("{} is a simulated board: all figures are those of a model", board.name())],
            simulated: true,
            space: control.space().modes().to_vec(),
            meter: Box::new(Meter::on_board(board, &device, INTERVAL_NS)),
            controls: Controls::Board(Box::new(control)),
            shared_meter: None,
            clock: Arc::new(board.clock()),
            board: Some((device, presets)),
            truth: Vec::new(),
        }
    }

    /// A table of measurements, and the job that replays them. Where the table has no power, that of `board` with the
    /// job `stand_in` is taken, and a note says so.
    ///
    /// # Errors
    /// The workload is not in the table, none of its rows has a time, or power is missing and nothing stands in.
    pub fn table(
        mut source: TableSource<'_>,
        board: &SimBoard,
    ) -> Result<(Self, SurfaceWorkload), DeviceError> {
        let mut notes = vec![format!("times are those of {}, measured by others", source.name)];
        if has_power(&source.table) {
            notes.push("powers are those of the table too".to_owned());
        } else {
            let name = board.name();
            notes.push(format!("the table has no power: powers are those of the simulated {name}, a model"));
            let stand_in = source.stand_in.ok_or_else(|| {
                DeviceError::Other(format!("{} has no power, and no job stands in for it", source.name))
            })?;
            let model = board.workload(stand_in);
            for row in &mut source.table.rows {
                row.power_w = Some(model.true_power(&row.mode, TABLE_CHIP_C));
            }
        }
        let surface = Surface::new(&source.table, source.workload, Replay::InTurn)?;
        let (control, workload) = (surface.control(), surface.workload(1, None));
        let machine = Self {
            name: format!("sim:{} with {}", board.name(), surface.name()),
            notes,
            simulated: true,
            space: control.space().modes().to_vec(),
            controls: Controls::Table(control),
            meter: Box::new(surface.meter()),
            shared_meter: None,
            clock: Arc::new(surface.clock()),
            board: None,
            truth: surface.true_costs(),
        };
        Ok((machine, workload))
    }

    /// Its board, with `sim:` and the release if it is simulated; records are filed under it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user should know before: what cannot be chosen or measured and why, and where figures come from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether its figures come from a model or a table.
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// All modes that can be chosen, in ascending order.
    pub fn space(&self) -> &[PowerMode] {
        &self.space
    }

    /// The vendor's named modes; empty for a table.
    pub fn presets(&self) -> &[Preset] {
        self.controls.port_ref().presets()
    }

    /// Control, meter and clock.
    pub fn ports(&mut self) -> Ports<'_> {
        Ports { control: self.controls.port(), meter: self.meter.as_mut(), clock: self.clock.as_ref() }
    }

    /// What sets modes; the same as in [`Machine::ports`].
    pub fn control(&mut self) -> &mut (dyn PowerControl + Send) {
        self.controls.port()
    }

    /// What measures power; the same as in [`Machine::ports`].
    pub fn meter(&mut self) -> &mut (dyn PowerMeter + Send) {
        self.meter.as_mut()
    }

    /// The meter, where others may read it too: that of the running machine.
    pub fn shared_meter(&self) -> Option<Arc<Meter>> {
        self.shared_meter.clone()
    }

    /// The clock that the meter reads, for other threads too.
    pub fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    /// The board; `None` for a table.
    pub fn device(&self) -> Option<&Device> {
        self.board.as_ref().map(|(device, _)| device)
    }

    /// The largest power limit that can be chosen, in watts; 0 where there is none.
    pub fn largest_limit_w(&self) -> f64 {
        let limit = self.space.iter().filter_map(|mode| mode.gpu_power_limit_mw).max();
        limit.map_or(0.0, |mw| mw as f64 / 1e3)
    }

    /// Sets a mode for good: nothing is put back at the end.
    pub fn keep(&mut self, mode: &PowerMode) -> Result<(), ControlError> {
        self.controls.port().apply(mode)?;
        self.controls.keep()
    }

    /// Puts back what was set before.
    pub fn restore(&mut self) -> Result<(), ControlError> {
        self.controls.port().restore()
    }

    /// A mode as a block of nvpmodel's configuration.
    pub fn nvpmodel(&self, name: &str, mode: &PowerMode) -> Result<String, ExportError> {
        let (device, presets) = self.board.as_ref().ok_or(ExportError::Table)?;
        preset::export(device, presets, name, mode)
    }

    /// What each mode of a table truly takes, which a choice is compared with; empty for a board.
    pub fn truth(&self) -> &[TrueCost] {
        &self.truth
    }

    /// The least score that any mode of a table truly has; a mode that `score` gives `None` for does not count.
    pub fn true_best(&self, score: impl Fn(&TrueCost) -> Option<f64>) -> Option<f64> {
        self.truth.iter().filter_map(score).min_by(f64::total_cmp)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look into folders, start a clock and use a thread")]
mod tests {
    use super::*;
    use crate::knob::Snapshot;
    use crate::meter::RealClock;
    use crate::sim::SimOptions;
    use footplate_core::ports::Workload;
    use std::time::Instant;

    fn is_send<T: Send>(_: &T) {}

    fn clock() -> SharedClock {
        Arc::new(RealClock::since(Instant::now()))
    }

    fn board(name: &str) -> SimBoard {
        SimBoard::new(name, SimOptions::default()).unwrap()
    }

    #[test]
    fn a_simulated_board_is_a_machine_with_all_its_modes_and_can_go_to_another_thread() {
        let board = board("xavier-nx");
        let device = Device::discover(board.root());
        let before = Snapshot::read(&board.root(), &device);
        let mut machine = Machine::simulated(&board);
        is_send(&machine);
        assert_eq!(machine.name(), "sim:xavier-nx@r35");
        assert!(machine.is_simulated() && machine.notes()[0].contains("simulated"));
        assert_eq!(machine.space(), device.space().modes());
        assert!(!machine.presets().is_empty());
        assert_eq!(machine.largest_limit_w(), 0.0);
        assert!(machine.truth().is_empty() && machine.shared_meter().is_none());
        let wanted = machine.space()[0];
        let mut machine = std::thread::spawn(move || {
            let applied = machine.control().apply(&wanted).unwrap();
            assert_eq!(applied.got, wanted);
            machine
        })
        .join()
        .unwrap();
        let block = machine.nvpmodel("LEAST", &wanted).unwrap();
        assert!(block.starts_with("< POWER_MODEL ID=") && block.contains("NAME=LEAST"));
        machine.restore().unwrap();
        assert_eq!(Snapshot::read(&board.root(), &device), before);
    }

    #[test]
    fn a_mode_that_is_kept_stays_after_the_machine_is_dropped() {
        let board = board("nano");
        let device = Device::discover(board.root());
        let before = Snapshot::read(&board.root(), &device);
        let mut machine = Machine::simulated(&board);
        let least = machine.space()[0];
        machine.keep(&least).unwrap();
        drop(machine);
        let kept = crate::control::present_mode(&device, &Snapshot::read(&board.root(), &device));
        assert_eq!(kept, least);
        // And without `keep` it does not.
        let mut machine = Machine::simulated(&board);
        let most = machine.space()[machine.space().len() - 1];
        machine.control().apply(&most).unwrap();
        drop(machine);
        let now = Snapshot::read(&board.root(), &device);
        assert_eq!(crate::control::present_mode(&device, &now), least);
        assert_ne!(now, before);
    }

    #[test]
    fn a_dead_process_s_journal_keeps_this_machine_from_being_opened() {
        let folder = tempfile::tempdir().unwrap();
        let board = board("tx2");
        let device = Device::discover(board.root());
        let saved = Snapshot::read(&board.root(), &device);
        Guard::take(folder.path()).unwrap().save("tx2", &saved).unwrap();
        let refused = Machine::here(device.clone(), Some(folder.path()), clock()).err().unwrap();
        assert!(matches!(refused, DeviceError::Stale { .. }), "{refused}");
        guard::put_back(&device, folder.path()).unwrap().unwrap();
        let machine = Machine::here(device, Some(folder.path()), clock()).unwrap();
        assert_eq!(machine.name(), "tx2 (Jetson TX2)");
    }

    #[test]
    fn two_machines_cannot_have_the_same_controls() {
        let folder = tempfile::tempdir().unwrap();
        let board = board("tx2");
        let open = || Machine::here(Device::discover(board.root()), Some(folder.path()), clock());
        let first = open().unwrap();
        assert!(matches!(open().err().unwrap(), DeviceError::Held { .. }));
        drop(first);
        assert!(open().is_ok());
    }

    #[test]
    fn a_machine_tells_what_cannot_be_chosen_and_takes_no_lock_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let board = SimBoard::new("orin-nx", SimOptions { root: false, ..SimOptions::default() }).unwrap();
        let device = Device::discover(board.root());
        let machine = Machine::here(device, Some(folder.path()), clock()).unwrap();
        assert_eq!(machine.space(), [PowerMode::default()]);
        assert!(machine.notes().iter().any(|note| note.starts_with("the GPU clock cannot be chosen: ")));
        assert!(machine.notes().iter().any(|note| note.starts_with("nothing can be chosen here")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no lock, no journal");
        assert!(machine.shared_meter().is_some());
    }

    const TABLE: &str = "\
workload,cpu_cores,cpu_hz,gpu_hz,emc_hz,time_s,power_w
net,1,345600000,140250000,1062400000,2.0,3.0
net,1,345600000,140250000,1062400000,4.0,6.0
net,4,2035200000,1300500000,1866000000,0.5,12.0
";

    fn table(text: &str) -> TableSource<'static> {
        let table = ProfileTable::parse(text).unwrap();
        TableSource { table, name: "measured.csv", workload: None, stand_in: None }
    }

    #[test]
    fn a_table_is_a_machine_that_knows_its_own_truth() {
        let (mut machine, mut job) = Machine::table(table(TABLE), &board("tx2")).unwrap();
        is_send(&machine);
        assert_eq!(machine.name(), "sim:tx2@r32 with net");
        assert_eq!(machine.notes().len(), 2);
        assert_eq!(machine.space().len(), 2);
        // Power is mean energy by mean time: (2 × 3 + 4 × 6) / 2 by 3.
        let slow = machine.truth()[0];
        assert_eq!((slow.time_s, slow.power_w), (3.0, Some(5.0)));
        assert_eq!(machine.true_best(|cost| Some(cost.time_s)), Some(0.5));
        assert_eq!(machine.true_best(|cost| Some(cost.time_s * cost.power_w?)), Some(6.0));
        assert_eq!(machine.true_best(|_| None), None);
        let fast = machine.space()[1];
        machine.control().apply(&fast).unwrap();
        assert_eq!(job.run(1, 0, 1).unwrap()[0].step_ns, 500_000_000);
        assert_eq!(machine.nvpmodel("FAST", &fast), Err(ExportError::Table));
        machine.keep(&fast).unwrap();
    }

    #[test]
    fn a_table_without_power_takes_that_of_a_model_and_says_so() {
        let text = TABLE.replace(",power_w", ",x").replace(",3.0\n", ",\n");
        let refused = Machine::table(table(&text), &board("tx2")).err().unwrap();
        assert!(refused.to_string().contains("no job stands in"), "{refused}");
        let stand_in = WorkloadProfile::training("resnet18", 16);
        let (machine, _) = Machine::table(TableSource { stand_in, ..table(&text) }, &board("tx2")).unwrap();
        assert!(machine.notes()[1].contains("the simulated tx2@r32, a model"), "{:?}", machine.notes());
        assert!(machine.truth().iter().all(|cost| cost.power_w.is_some_and(|watts| watts > 0.5)));
    }
}
