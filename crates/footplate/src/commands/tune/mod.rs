//! `footplate tune`: finds the setting that serves a goal best by measuring few, on this machine, on a simulated
//! board, or on a table of measurements.

mod arguments;
mod machine;
mod quantity;
mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footplate_core::power_mode::Preset;
use footplate_tune::Setting;
use footplate_tune::goal::{Goal, Limits, Objective};
use footplate_tune::plan::SearchOptions;
use footplate_tune::profiler::{ProfileOptions, ProfileRecord};
use footplate_tune::records::KeptProfile;
use footplate_tune::tuner::{Observer, Outcome, Purpose, TuneError, TuneOptions, Tuned, Tuner};

use crate::failure::{Failure, Kind};
use crate::output;
use crate::profile_file::ProfileStore;

use self::arguments::Minimise;
pub(crate) use self::arguments::TuneArguments;
use self::machine::Machine;
use self::quantity::{Limit, Per};

/// What a job's limits are counted in.
#[derive(Clone, Copy, Debug)]
struct Job {
    steps_per_epoch: u64,
    epochs: u64,
}

impl Job {
    /// A limit for one step.
    fn per_step(&self, limit: Limit) -> f64 {
        let steps = match limit.per {
            Per::Step => 1,
            Per::Epoch => self.steps_per_epoch,
            Per::Job => self.steps_per_epoch.saturating_mul(self.epochs),
        };
        limit.value / steps.max(1) as f64
    }
}

pub(crate) fn run(arguments: &TuneArguments) -> Result<ExitCode, Failure> {
    let mut machine = Machine::open(arguments)?;
    let job = Job { steps_per_epoch: machine.steps_per_epoch(), epochs: u64::from(arguments.epochs) };
    let goal = goal(arguments, &job, &machine)?;
    for note in &machine.notes {
        output::note(note);
    }
    let goal_text = report::goal_text(&goal);
    output::note(&format!(
        "{}: {} settings of {}; {goal_text}",
        machine.name,
        machine.space.len(),
        report::knobs_text(&machine.space)
    ));
    let mut keeper = Keeper::open(arguments, &machine, &goal_text)?;
    let options = TuneOptions {
        search: SearchOptions {
            profiles: arguments.profiles as usize,
            seed: arguments.seed,
            ..SearchOptions::default()
        },
        profile: ProfileOptions::default(),
        profile_time_ns: arguments.profile_time.map(|limit| (limit.value * 1e9) as u64),
    };
    let space = machine.space.clone();
    let earlier = std::mem::take(&mut keeper.earlier);
    let result = {
        let mut tuner = Tuner::new(machine.ports(), space, goal, options, &mut keeper);
        for kept in earlier {
            let counts = kept.goal == goal_text && !kept.verifies;
            tuner.resume(kept.profile, counts);
        }
        tuner.run()
    };
    let tuned = match result {
        Ok(tuned) => tuned,
        Err(error) => {
            machine.restore()?;
            return Err(failure(&error, arguments));
        }
    };
    finish(arguments, &mut machine, &job, &goal, &tuned, &keeper)
}

/// Applies or puts back, and prints.
fn finish(
    arguments: &TuneArguments,
    machine: &mut Machine,
    job: &Job,
    goal: &Goal,
    tuned: &Tuned,
    keeper: &Keeper,
) -> Result<ExitCode, Failure> {
    let chosen = match &tuned.outcome {
        Outcome::Chosen { choice, .. } => Some(tuned.outlook.candidates[choice.index].setting),
        Outcome::Infeasible(_) => None,
    };
    match chosen.filter(|_| arguments.keep) {
        Some(setting) => machine.keep(&setting)?,
        None => machine.restore()?,
    }
    let block = match (&arguments.nvpmodel, chosen) {
        (Some(name), Some(setting)) => Some(machine.nvpmodel(name, &setting.mode)?),
        _ => None,
    };
    let view = report::View {
        machine,
        job: (job.steps_per_epoch, job.epochs),
        goal,
        tuned,
        records: &keeper.records,
        kept: arguments.keep && chosen.is_some(),
        nvpmodel: block.as_deref(),
    };
    if arguments.json {
        output::result(&report::json(&view)?);
    } else {
        output::result(&report::text(&view));
    }
    Ok(if chosen.is_some() { ExitCode::SUCCESS } else { Kind::Infeasible.exit_code() })
}

fn goal(arguments: &TuneArguments, job: &Job, machine: &Machine) -> Result<Goal, Failure> {
    let objective = match (arguments.zeus_eta, arguments.minimise) {
        (Some(eta), _) => Objective::Zeus { eta, largest_power_w: machine.largest_power_w() },
        (None, Minimise::Time) => Objective::Time,
        (None, Minimise::Energy) => Objective::Energy,
        (None, Minimise::Power) => Objective::Power,
    };
    let limits = Limits {
        power_w: arguments.power_max,
        time_s: arguments.time_max.map(|limit| job.per_step(limit)),
        energy_j: arguments.energy_max.map(|limit| job.per_step(limit)),
        slowdown: arguments.max_slowdown,
        temperature_c: arguments.temperature_max,
    };
    let goal = Goal { objective, limits, confidence: arguments.confidence };
    goal.checked().map_err(|e| Failure::new(Kind::Usage, e.to_string()))
}

fn failure(error: &TuneError, arguments: &TuneArguments) -> Failure {
    let message = error.to_string();
    match error {
        TuneError::NoPower { .. } => Failure::new(Kind::Machine, message).hint(
            "without a power sensor only the time can be tuned: --minimise time, with --time-max or --max-slowdown at most",
        ),
        TuneError::NothingToSet { .. } => Failure::new(Kind::Machine, message)
            .hint("setting modes needs root on most boards: try again with sudo, or with --sim BOARD"),
        TuneError::Profile(_) => Failure::new(Kind::Machine, message),
        TuneError::Interrupted { .. } => {
            let failure = Failure::new(Kind::Interrupted, message);
            match &arguments.records {
                Some(folder) => failure.hint(format!(
                    "what was measured is in {}: the same command goes on from there",
                    folder.display()
                )),
                None => failure.hint("with --records DIR an interrupted tune can go on"),
            }
        }
        TuneError::Record(_) => Failure::new(Kind::Machine, message),
    }
}

/// Keeps every record at once, and tells of it.
struct Keeper {
    store: Option<ProfileStore>,
    machine: String,
    workload: String,
    goal: String,
    /// Records of the same job on the same machine, from earlier.
    earlier: Vec<KeptProfile>,
    records: Vec<(ProfileRecord, Purpose)>,
    warned: Vec<String>,
    stop: Arc<AtomicBool>,
}

impl Keeper {
    fn open(arguments: &TuneArguments, machine: &Machine, goal: &str) -> Result<Self, Failure> {
        let workload = machine.workload_name();
        let mut earlier = Vec::new();
        let store = match &arguments.records {
            None => None,
            Some(folder) => {
                let (store, kept, damaged) = ProfileStore::open(folder)?;
                damaged.iter().for_each(|line| output::warning(line));
                let ours = |k: &KeptProfile| k.machine == machine.name && k.workload == workload;
                earlier = kept.into_iter().filter(ours).collect();
                if !earlier.is_empty() {
                    let count = earlier.len();
                    output::note(&format!("{count} earlier profiles of this job on this machine are used"));
                }
                Some(store)
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the program at once.
            let twice = signal_hook::flag::register_conditional_shutdown(signal, 7, stop.clone());
            let once = signal_hook::flag::register(signal, stop.clone());
            if twice.is_err() || once.is_err() {
                output::warning("signals cannot be caught: Ctrl-C will not put the mode back");
            }
        }
        Ok(Self {
            store,
            machine: machine.name.clone(),
            workload,
            goal: goal.to_owned(),
            earlier,
            records: Vec::new(),
            warned: Vec::new(),
            stop,
        })
    }
}

impl Observer for Keeper {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), String> {
        if let Some(store) = &mut self.store {
            store.append(&KeptProfile {
                machine: self.machine.clone(),
                workload: self.workload.clone(),
                goal: self.goal.clone(),
                verifies: purpose == Purpose::Verify,
                profile: record.clone(),
            })?;
        }
        self.records.push((record.clone(), purpose));
        output::note(&report::progress(self.records.len(), record, purpose));
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        output::warning(message);
        self.warned.push(message.to_owned());
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Presets that lie in a space, and those that do not.
fn presets_in<'a>(presets: &'a [Preset], space: &[Setting]) -> Vec<(&'a Preset, bool)> {
    presets.iter().map(|p| (p, space.iter().any(|s| s.mode == p.mode))).collect()
}
