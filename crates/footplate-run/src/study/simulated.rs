//! A cell on a simulated board: its own work load for the network under a manual clock, written as a run's log. Nothing is
//! trained, and every figure is a model's.

use std::sync::Arc;

use footplate_core::ports::{Clock, PowerControl, WorkStep, Workload};
use footplate_core::quantity::QuantityError;
use footplate_core::record::{
    MinibatchRecord, ModePurpose, ModeRecord, RunEnd, RunStart, RunStatus, WarningRecord,
};
use footplate_core::{Bytes, Hertz, PowerMode, Reading, Record};
use footplate_device::control::Control;
use footplate_device::knob::Hold;
use footplate_device::meter::INTERVAL_NS;
use footplate_device::sim::{SimBoard, WorkloadProfile};
use footplate_device::wanted::WantedMode;
use footplate_device::{Device, Meter, Presets};

use super::cells::{AS_IS, Cell};
use super::file::{Knobs, Mode, PageCache, Workers};
use super::folder::CellFolder;
use crate::error::RunError;
use crate::folder::RunFolder;
use crate::log_writer::LogWriter;
use crate::run_machine::{SIMULATED_BATCH, simulated_board, simulated_job};

/// Steps where the study does not say how many, and the time that they take at least: the sensors need some.
const STEPS: u64 = 200;
const STEPS_TIME_NS: u64 = 5_000_000_000;
/// The board is warm and its clocks have settled.
const WARM_UP_NS: u64 = 2_000_000_000;
const RECORD_EVERY_NS: u64 = 1_000_000_000;

/// Makes the run of a cell on the simulated board `board`. `started_at` (RFC 3339) and `version` (the program's) are for
/// people.
pub fn run(
    cell: &Cell,
    board: &str,
    folder: &CellFolder,
    started_at: &str,
    version: &str,
) -> Result<(), RunError> {
    let seed = cell.train.get("seed").and_then(toml::Value::as_integer).unwrap_or(0);
    let board = simulated_board(board, u64::try_from(seed).unwrap_or(0))?;
    let device = Device::discover(board.root());
    let presets = Presets::read(&device, &mut Vec::new());
    let mut profile = simulated_job(&cell.model, cell.batch_size.unwrap_or(SIMULATED_BATCH))?;
    if let Some(Workers::Fixed(n)) = cell.workers {
        profile.loaders = Some(n);
    }
    let steps =
        cell.train.get("max-steps").and_then(toml::Value::as_integer).and_then(|n| u64::try_from(n).ok());
    let run = RunFolder::create(Some(&folder.run()), &cell.model, "")?;
    let mut log = run.append_log(Arc::new(board.clock()))?;
    let mut start = start(cell, &board, &profile, steps.unwrap_or(0));
    (start.started_at, start.version) = (started_at.to_owned(), version.to_owned());
    log.write(&Record::RunStart(start));
    if cell.cache != PageCache::AsIs {
        let message = "a simulated board has no page cache: it makes no difference here".to_owned();
        log.write(&Record::Warning(WarningRecord { message }));
    }
    set(cell, &board, &device, &presets, &mut log)?;
    board.clock().wait_ns(WARM_UP_NS);
    train(&board, &device, profile, steps, &mut log)?;
    log.finish()
}

fn start(cell: &Cell, board: &SimBoard, profile: &WorkloadProfile, steps: u64) -> RunStart {
    RunStart {
        started_at: String::new(),
        version: String::new(),
        model: cell.model.clone(),
        device: format!("simulated {}", board.name()),
        data: "photographs that do not exist (simulated)".to_owned(),
        host: format!("simulated {}", board.name()),
        parameters: 0,
        train_items: profile.steps_per_epoch * u64::from(profile.items),
        validation_items: 0,
        batch_size: u64::from(profile.items),
        epochs: 1,
        steps_per_epoch: profile.steps_per_epoch,
        steps_total: steps,
        first_step: 0,
        planned_memory_bytes: Bytes(0),
        settings_toml: cell.train.to_string(),
    }
}

/// Sets the cell's mode and records it.
fn set(
    cell: &Cell,
    board: &SimBoard,
    device: &Device,
    presets: &Presets,
    log: &mut LogWriter,
) -> Result<(), RunError> {
    let mode = match &cell.mode {
        Mode::Named(name) if name == AS_IS => return Ok(()),
        Mode::Named(name) => preset(name, presets)?,
        Mode::Knobs(knobs) => wanted(knobs)?.resolve(device).map_err(|e| RunError::Mode(e.to_string()))?,
    };
    let clock = board.clock();
    let mut control = Control::new(Device::discover(board.root()), presets, Hold::default(), None)
        .with_wait(Arc::new(move |d| clock.wait_ns(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))));
    let applied = control.apply(&mode)?;
    log.write(&Record::Mode(ModeRecord {
        t_ns: 0,
        purpose: ModePurpose::Train,
        asked: applied.asked,
        got: applied.got,
        warnings: applied.warnings,
    }));
    control.keep()?;
    Ok(())
}

fn preset(name: &str, presets: &Presets) -> Result<PowerMode, RunError> {
    presets.named(name).map(|preset| preset.mode).ok_or_else(|| {
        let names: Vec<&str> = presets.modes.iter().map(|mode| mode.name.as_str()).collect();
        RunError::Mode(format!("there is no preset {name}; the presets are {}", names.join(", ")))
    })
}

fn wanted(knobs: &Knobs) -> Result<WantedMode, RunError> {
    let clock = |text: &Option<String>| {
        let parsed: Result<Option<Hertz>, QuantityError> = text.as_deref().map(str::parse).transpose();
        parsed.map_err(|e| RunError::Mode(format!("mode {}: {e}", knobs.name)))
    };
    Ok(WantedMode {
        cpu_cores: knobs.cpu_cores,
        cpu_hz: clock(&knobs.cpu_clock)?,
        gpu_hz: clock(&knobs.gpu_clock)?,
        emc_hz: clock(&knobs.emc_clock)?,
        gpu_power_limit: None,
    })
}

/// Makes the steps, and records them with the board's power.
fn train(
    board: &SimBoard,
    device: &Device,
    profile: WorkloadProfile,
    wanted: Option<u64>,
    log: &mut LogWriter,
) -> Result<(), RunError> {
    let clock = board.clock();
    let meter = Meter::on_board(board, device, INTERVAL_NS);
    let mut workload = board.workload(profile);
    let begun = clock.now_ns();
    let mut recorded = begun;
    let mut steps = 0;
    let is_over = |steps: u64, now: u64| match wanted {
        Some(wanted) => steps >= wanted,
        None => steps >= STEPS && now - begun >= STEPS_TIME_NS,
    };
    while !is_over(steps, clock.now_ns()) {
        let made = workload.run(1, 0, 1).map_err(|e| RunError::Work(e.to_string()))?;
        for made in made {
            log.write(&Record::Minibatch(minibatch(steps, made, begun)));
        }
        steps += 1;
        if clock.now_ns() - recorded >= RECORD_EVERY_NS || is_over(steps, clock.now_ns()) {
            recorded = clock.now_ns();
            if let Some(mut power) = meter.record(recorded) {
                power.t_ns = power.t_ns.saturating_sub(begun);
                log.write(&Record::Power(power));
            }
        }
    }
    let now = clock.now_ns();
    let energy_j = meter.between(begun, now).total.map(|total| total.energy_j);
    log.write(&Record::RunEnd(RunEnd {
        t_ns: now - begun,
        status: RunStatus::Completed,
        steps,
        bad_samples: 0,
        dropped_records: 0,
        peak_memory_bytes: Reading::Absent,
        energy_j,
    }));
    Ok(())
}

/// A step as a run log keeps it; `begun_ns` is when the run began on the board's clock.
fn minibatch(step: u64, made: WorkStep, begun_ns: u64) -> MinibatchRecord {
    MinibatchRecord {
        t_ns: made.end_ns - begun_ns,
        epoch: 0,
        step,
        items: made.items,
        fetch_ns: 0,
        prep_ns: 0,
        transfer_ns: 0,
        stall_ns: made.stall_ns,
        compute_ns: made.step_ns.saturating_sub(made.stall_ns),
        step_ns: made.step_ns,
        learning_rate: 0.0,
        loss: None,
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::study::cells::cells;
    use crate::study::file::{Known, Study};
    use footplate_core::summary::SummaryBuilder;

    /// The records of the first cell of a study, or why there are none.
    fn run_first(text: &str) -> Result<Vec<Record>, RunError> {
        let known = Known { models: &["resnet18", "vgg"], check_train: &|_| Ok(()) };
        let study = Study::parse(text, known).unwrap();
        let cell = cells(&study, Path::new("/"), &[], Some("tx2")).remove(0);
        let place = tempfile::tempdir().unwrap();
        let folder = CellFolder::of(place.path(), &cell);
        run(&cell, "tx2", &folder, "2026-11-29T10:00:00Z", "0.1.0")?;
        let mut log = Vec::new();
        RunFolder::create(Some(&folder.run()), "", "")?.read_log(|record| log.push(record))?;
        Ok(log)
    }

    #[test]
    fn a_cell_is_a_whole_run_with_energy_and_as_many_steps_as_the_study_says() {
        let log = run_first("models = [\"resnet18\"]\n[train]\nmax-steps = 40\n").unwrap();
        let mut figures = SummaryBuilder::default();
        log.iter().for_each(|record| figures.push(record));
        let summary = figures.summary().unwrap();
        assert_eq!((summary.model.as_str(), figures.steps_done()), ("resnet18", 40));
        let Some(Record::RunEnd(end)) = log.last() else { panic!("{:?}", log.last()) };
        assert!(
            end.status == RunStatus::Completed && end.energy_j.value().is_some_and(|energy| energy.0 > 0.0)
        );
    }

    #[test]
    fn without_a_number_of_steps_the_sensors_get_their_time() {
        let log = run_first("models = [\"resnet18\"]\n").unwrap();
        let Some(Record::RunEnd(end)) = log.last() else { panic!("{:?}", log.last()) };
        assert!(end.steps >= STEPS && end.t_ns >= STEPS_TIME_NS, "{end:?}");
    }

    #[test]
    fn the_mode_of_the_cell_is_set_and_what_cannot_be_set_is_refused() {
        let mode = "[{ name = \"slow\", cpu-cores = 2, gpu-clock = \"114.75MHz\" }]";
        let log =
            run_first(&format!("models = [\"resnet18\"]\nmodes = {mode}\n[train]\nmax-steps = 5\n")).unwrap();
        let set = log.iter().find_map(|record| match record {
            Record::Mode(mode) => Some(mode.got),
            _ => None,
        });
        let set = set.unwrap();
        assert_eq!((set.cpu_cores, set.gpu_hz), (Some(2), Some(Hertz(114_750_000))));
        for (mode, reason) in [
            ("[\"NO_SUCH\"]", "there is no preset NO_SUCH; the presets are"),
            ("[{ name = \"m\", gpu-clock = \"fast\" }]", "mode m: "),
            ("[{ name = \"m\", gpu-clock = \"5GHz\" }]", "no clock near"),
            ("[{ name = \"m\", cpu-cores = 99 }]", "99 cores"),
        ] {
            let error = run_first(&format!("models = [\"resnet18\"]\nmodes = {mode}\n")).unwrap_err();
            assert!(error.to_string().contains(reason), "{mode}: {error}");
        }
    }

    #[test]
    fn a_model_that_no_board_simulates_is_refused() {
        assert!(matches!(run_first("models = [\"vgg\"]\n"), Err(RunError::NoSimulatedJob { .. })));
    }
}
