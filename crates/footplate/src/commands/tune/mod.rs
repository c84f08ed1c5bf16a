//! `footplate tune`: finds the setting that serves a goal best by measuring few, on this machine, on a simulated
//! board, or on a table of measurements.

mod arguments;
mod keeper;
mod log;
mod machine;
mod rehearsal;
mod report;
pub(crate) mod run;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use footplate_core::ports::Workload;
use footplate_core::power_mode::Preset;
use footplate_core::quantity::{Limit, Per};
use footplate_tune::Setting;
use footplate_tune::drive::drive_to_choice;
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::plan::SearchOptions;
use footplate_tune::tuner::{TuneError, TuneOptions, Tuned, Tuner};

use crate::failure::{Failure, Kind};
use crate::output;

use self::arguments::Minimise;
pub(crate) use self::arguments::{BoardArguments, GoalArguments, TuneArguments, Wish};
use self::keeper::Keeper;
use self::machine::Machine;

/// What a job's limits are counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct JobSize {
    steps_per_epoch: u64,
    /// Of the whole job.
    steps: u64,
}

impl JobSize {
    /// A limit for one step.
    fn per_step(&self, limit: Limit) -> f64 {
        let steps = match limit.per {
            Per::Step => 1,
            Per::Epoch => self.steps_per_epoch,
            Per::Job => self.steps,
        };
        limit.value / steps.max(1) as f64
    }
}

pub(crate) fn run(arguments: &TuneArguments) -> Result<ExitCode, Failure> {
    match (&arguments.machine.sim, &arguments.surface) {
        (Some(board), Some(_)) => {
            let (machine, workload) = Machine::on_table(arguments, board)?;
            simulated(arguments, machine, workload)
        }
        (Some(board), None) => {
            let model = arguments.model.as_deref().unwrap_or("resnet18");
            let (machine, workload) =
                Machine::on_board(board, arguments.seed(), model, arguments.simulated_batch())?;
            simulated(arguments, machine, Box::new(workload))
        }
        (None, _) => super::train::tune_here(arguments),
    }
}

/// A tune of a job that is simulated as its machine is.
fn simulated(
    arguments: &TuneArguments,
    mut machine: Machine,
    mut workload: Box<dyn Workload>,
) -> Result<ExitCode, Failure> {
    let epochs = u64::from(arguments.options.epochs.unwrap_or(1));
    let steps_per_epoch = workload.steps_per_epoch();
    let size = JobSize { steps_per_epoch, steps: steps_per_epoch.saturating_mul(epochs) };
    if arguments.goal.tune_workers {
        machine.with_workers(workload.worker_choices());
    }
    let goal = goal(&arguments.goal, &size, &machine)?;
    let lines = beginning(&machine, &goal);
    if !arguments.quiet {
        lines.iter().for_each(|line| output::note(line));
    }
    let stop = Arc::new(AtomicBool::new(false));
    if super::train::stop_on(&stop).is_err() {
        output::warning("signals cannot be caught: Ctrl-C will not end the tune in order");
    }
    let (name, goal_text) = (workload.name().to_owned(), report::goal_text(&goal));
    let records = arguments.goal.records.as_deref();
    let mut keeper = Keeper::open(records, &machine, &name, &goal_text, stop)?.quiet(arguments.quiet);
    let result =
        search(&mut machine, workload.as_mut(), &goal, &arguments.goal, arguments.seed(), &mut keeper);
    let tuned = match result {
        Ok(tuned) => tuned,
        Err(error) => {
            machine.restore()?;
            return Err(failure(&error, &arguments.goal));
        }
    };
    let chosen = tuned.chosen();
    match chosen.filter(|_| arguments.keep) {
        Some(setting) => machine.keep(&setting)?,
        None => machine.restore()?,
    }
    print(arguments, &machine, &size, &goal, &tuned, &keeper, None)?;
    Ok(exit(&tuned))
}

/// Tells what a tune on this machine came to.
pub(crate) fn tell(arguments: &TuneArguments, told: &run::Told, run_dir: &Path) -> Result<(), Failure> {
    let run::Told { machine, size, goal, tuned, keeper } = told;
    print(arguments, machine, size, goal, tuned, keeper, Some(run_dir))
}

fn exit(tuned: &Tuned) -> ExitCode {
    if tuned.chosen().is_some() { ExitCode::SUCCESS } else { Kind::Infeasible.exit_code() }
}

/// Prints what a tune came to.
fn print(
    arguments: &TuneArguments,
    machine: &Machine,
    size: &JobSize,
    goal: &Goal,
    tuned: &Tuned,
    keeper: &Keeper,
    run_dir: Option<&Path>,
) -> Result<(), Failure> {
    let chosen = tuned.chosen();
    let block = match (&arguments.nvpmodel, chosen) {
        (Some(name), Some(setting)) => Some(machine.nvpmodel(name, &setting.mode)?),
        _ => None,
    };
    let view = report::View {
        machine,
        size: *size,
        goal,
        tuned,
        records: &keeper.records,
        kept: arguments.keep && chosen.is_some(),
        nvpmodel: block.as_deref(),
        run_dir,
    };
    output::result(&if arguments.json { report::json(&view)? } else { report::text(&view) });
    Ok(())
}

/// What is said before the first measurement.
fn beginning(machine: &Machine, goal: &Goal) -> Vec<String> {
    let mut lines = machine.notes.clone();
    lines.push(format!(
        "{}: {} settings of {}; {}",
        machine.name,
        machine.space.len(),
        report::knobs_text(&machine.space),
        report::goal_text(goal)
    ));
    lines
}

/// Searches, measures and verifies.
fn search(
    machine: &mut Machine,
    workload: &mut dyn Workload,
    goal: &Goal,
    wanted: &GoalArguments,
    seed: u64,
    keeper: &mut Keeper,
) -> Result<Tuned, TuneError> {
    let space = machine.space.clone();
    let earlier = std::mem::take(&mut keeper.earlier);
    let goal_text = report::goal_text(goal);
    let sources = keeper.sources(&space);
    let mut tuner = Tuner::new(space, *goal, options(wanted, seed));
    sources.into_iter().for_each(|source| tuner.learn_from(source));
    for kept in earlier {
        let counts = kept.goal == goal_text && !kept.verifies;
        tuner.resume(kept.profile, counts);
    }
    drive_to_choice(&mut tuner, &mut machine.ports(workload), keeper)
}

fn options(wanted: &GoalArguments, seed: u64) -> TuneOptions {
    TuneOptions {
        search: SearchOptions { profiles: wanted.profiles(), seed, ..SearchOptions::default() },
        profile_time_ns: wanted.profile_time.map(|limit| (limit.value * 1e9) as u64),
        ..TuneOptions::default()
    }
}

fn goal(wanted: &GoalArguments, size: &JobSize, machine: &Machine) -> Result<Goal, Failure> {
    let objective = match (wanted.zeus_eta, wanted.minimise()) {
        (Some(eta), _) => Objective::Zeus { eta, largest_power_w: machine.largest_power_w() },
        (None, Minimise::Time) => Objective::Time,
        (None, Minimise::Energy) => Objective::Energy,
        (None, Minimise::Power) => Objective::Power,
    };
    let limits = Limits {
        power_w: wanted.power_max.map(|watts| watts.0),
        time_s: wanted.time_max.map(|limit| size.per_step(limit)),
        energy_j: wanted.energy_max.map(|limit| size.per_step(limit)),
        slowdown: wanted.max_slowdown.map(|share| share.0),
        temperature_c: wanted.temperature_max.map(|celsius| celsius.0),
    };
    let goal = Goal { objective, limits, confidence: wanted.confidence() };
    goal.checked().map_err(|e| Failure::new(Kind::Usage, e.to_string()))
}

fn failure(error: &TuneError, wanted: &GoalArguments) -> Failure {
    let message = error.to_string();
    match error {
        TuneError::NoPower { .. } => Failure::new(Kind::Machine, message).hint(
            "without a power sensor only the time can be tuned: --minimise time, with --time-max or --max-slowdown at most",
        ),
        TuneError::NothingToSet { .. } => Failure::new(Kind::Machine, message)
            .hint("setting modes needs root on most boards: try again with sudo, or with --sim BOARD"),
        TuneError::Profile(_) | TuneError::NotKept(_) | TuneError::Answer(_) => {
            Failure::new(Kind::Machine, message)
        }
        TuneError::ChoiceNotSet(source) => {
            let failure = Failure::new(Kind::Machine, message);
            if source.permission { failure.hint("sudo") } else { failure }
        }
        TuneError::Infeasible => Failure::new(Kind::Infeasible, message),
        TuneError::Interrupted { .. } => {
            let failure = Failure::new(Kind::Interrupted, message);
            match &wanted.records {
                Some(folder) => failure.hint(format!(
                    "what was measured is in {}: the same command goes on from there",
                    folder.display()
                )),
                None => failure.hint("with --records DIR an interrupted tune can go on"),
            }
        }
    }
}

/// Presets that lie in a space, and those that do not.
fn presets_in<'a>(presets: &'a [Preset], space: &[Setting]) -> Vec<(&'a Preset, bool)> {
    presets.iter().map(|p| (p, space.iter().any(|s| s.mode == p.mode))).collect()
}

#[cfg(test)]
mod tests;
