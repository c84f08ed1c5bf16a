//! `footplate tune`: finds the setting that serves a goal best by measuring few, on this machine, on a simulated
//! board, or on a table of measurements.

mod arguments;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use footplate_core::Record;
use footplate_core::ports::Workload;
use footplate_device::{Device, Root};
use footplate_run::mode_request::{JobSize, MachineRequest, ModeRequest};
use footplate_run::run_machine::{JobOnBoard, RunMachine, SIMULATED_BATCH, SIMULATED_MODEL, simulated_board};
use footplate_run::tuned_run::{self, AfterTune, TuneReport, Tuning};
use footplate_run::{Listener, SharedClock};
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::Purpose;

use crate::failure::{Failure, Kind};
use crate::machine::MachineArguments;
use crate::options::BatchSize;
use crate::{output, signals};

pub(crate) use self::arguments::TuneArguments;

pub(crate) fn run(arguments: &TuneArguments) -> Result<ExitCode, Failure> {
    let Some(board) = &arguments.machine.sim else { return super::train::tune_here(arguments) };
    let batch_size = match arguments.options.batch_size {
        Some(BatchSize::Fixed(size)) => u32::try_from(size).unwrap_or(u32::MAX),
        Some(BatchSize::Auto) | None => SIMULATED_BATCH,
    };
    let seed = arguments.options.seed.unwrap_or(0);
    let job = JobOnBoard { model: arguments.model.as_deref().unwrap_or(SIMULATED_MODEL), batch_size, seed };
    match &arguments.surface {
        Some(path) => {
            let (machine, workload) = RunMachine::table(path, arguments.workload.as_deref(), board, job)?;
            simulated(arguments, machine, workload, seed)
        }
        None => {
            let (machine, workload) = RunMachine::simulation(board, job)?;
            simulated(arguments, machine, Box::new(workload), seed)
        }
    }
}

/// A tune of a job that is simulated as its machine is.
fn simulated(
    arguments: &TuneArguments,
    mut machine: RunMachine,
    mut steps: Box<dyn Workload>,
    seed: u64,
) -> Result<ExitCode, Failure> {
    let lines = std::sync::Arc::new(Lines { quiet: arguments.quiet });
    let request = ModeRequest::from(arguments);
    let epochs = u64::from(arguments.options.epochs.unwrap_or(1));
    let steps_per_epoch = steps.steps_per_epoch();
    let size = JobSize { steps_per_epoch, steps: steps_per_epoch.saturating_mul(epochs) };
    tuned_run::add_workers(&request.goal, &mut machine, steps.as_ref(), lines.as_ref());
    let goal = tuned_run::goal_on(&request.goal, &size, &machine)?;
    tuned_run::beginning(&machine, &goal).iter().for_each(|line| lines.note(line));
    let stop = signals::stop_flag().unwrap_or_else(|_| {
        output::warning("signals cannot be caught: Ctrl-C will not end the tune in order");
        Default::default()
    });
    let after = AfterTune::Stop { keep: arguments.keep };
    let tuning = Tuning { request, size, seed, earlier: None, after };
    let report = tuned_run::tune(steps.as_mut(), machine, &tuning, stop, lines)?;
    tell(arguments, &report, None)?;
    let is_chosen = report.tuned.chosen().is_some();
    Ok(if is_chosen { ExitCode::SUCCESS } else { Kind::Infeasible.exit_code() })
}

/// Prints the result of a tune. `run_dir`: the run whose steps were measured.
pub(crate) fn tell(
    arguments: &TuneArguments,
    report: &TuneReport,
    run_dir: Option<&Path>,
) -> Result<(), Failure> {
    let chosen = report.tuned.chosen();
    let block = match (&arguments.nvpmodel, chosen) {
        (Some(name), Some(setting)) => {
            let block = report.machine.machine().nvpmodel(name, &setting.mode);
            Some(block.map_err(|e| Failure::new(Kind::Usage, e.to_string()))?)
        }
        _ => None,
    };
    let kept = arguments.keep && chosen.is_some();
    let view = report::View { report, kept, nvpmodel: block.as_deref(), run_dir };
    output::result(&if arguments.json { report::json(&view)? } else { report::text(&view) });
    Ok(())
}

/// Tells of a tune that has no run log, a line for each measurement.
struct Lines {
    quiet: bool,
}

impl Listener for Lines {
    fn record(&self, _record: &Record) {}

    fn note(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }

    fn warn(&self, text: &str) {
        output::warning(text);
    }

    fn profiled(&self, number: usize, record: &ProfileRecord, purpose: Purpose) {
        self.note(&report::progress(number, record, purpose));
    }
}

/// Refuses what cannot be, before anything is made: a board or a model that is not simulated, a goal that needs power on
/// a machine that tells none. `model`: the job's, where it is known.
pub(crate) fn check(request: &ModeRequest, model: Option<&str>) -> Result<(), Failure> {
    match &request.machine.sim {
        Some(board) => RunMachine::check_simulated(board, model)?,
        None if request.goal.needs_power() => RunMachine::check_power(&Device::discover(Root::system()))?,
        None => {}
    }
    Ok(())
}

/// The machine that a run's mode is chosen on.
pub(crate) fn machine(
    request: &ModeRequest,
    job: JobOnBoard<'_>,
    clock: SharedClock,
) -> Result<RunMachine, Failure> {
    check(request, Some(job.model))?;
    let wanted = &request.machine;
    if let Some(board) = &wanted.sim {
        let board = simulated_board(board, job.seed)?;
        return Ok(RunMachine::stand_in(&board, &wanted.sim_change, job)?);
    }
    let (device, journal) = here(wanted)?;
    Ok(RunMachine::here(device, journal.as_deref(), clock)?)
}

/// The running machine, and the folder of its journal.
fn here(wanted: &MachineRequest) -> Result<(Device, Option<PathBuf>), Failure> {
    let device = Device::discover(Root::system());
    let device = if wanted.allow_gpu_settings { device.allow_gpu_settings() } else { device };
    let machine = MachineArguments {
        root: None,
        sim: None,
        state_dir: wanted.state_dir.clone(),
        restore_stale: wanted.restore_stale,
    };
    machine.look_for_stale(&device)?;
    let journal = machine.state_folder(&device.root);
    Ok((device, journal))
}
