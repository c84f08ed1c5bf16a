//! A tuner that is asked: it says what to do next, is told what came of it, and owns neither machine nor job.
//!
//! [`Tuner::next`] gives an [`Ask`]: set a mode, make steps, read a window of the sensors. Whoever holds the machine
//! and the job does it, and calls [`Tuner::answer`]. The conversation goes through these states:
//!
//! 1. **Search**: some settings are measured (set, read back, settle, warm up, steps in one stretch), each by what all
//!    before it tell; the choice is measured once more. It ends with [`Ask::Chosen`].
//! 2. **Train**: the choice is set, and the job trains on ([`Ask::Train`]). Each stretch is compared with what was
//!    expected of the choice.
//! 3. **Plan anew**: if the job is no longer as expected, at most
//!    [`REPLANS_MAX`](crate::drift::REPLANS_MAX) times: the present setting and a few others are measured, and the
//!    conversation goes on at 2 after another [`Ask::Chosen`].
//!
//! It ends with [`Ask::Done`] when the job gives no more steps. Every measurement was handed out as [`Ask::Keep`]:
//! a tuner that is made anew and told of those records ([`Tuner::resume`]) goes on where another one was lost.
//!
//! A tuner is `Send`, so it can be on another thread, or another machine, than the loop that it tunes. It reads no
//! clock: the moment is an argument. Those who have the ports of [`footplate_core::ports`] need not answer by hand:
//! see [`crate::drive`].
//!
//! # Example
//!
//! A loop of its own: a machine whose steps take `0.1 s × 1 GHz / GPU clock`, at 2 W and 8 W for each GHz.
//!
//! ```
//! use footplate_core::ports::{Applied, WindowEnergy, WindowReading, WorkError, WorkStep};
//! use footplate_core::{Hertz, Joules, PowerMode, Reading, Watts};
//! use footplate_tune::Setting;
//! use footplate_tune::goal::{Goal, Limits, Objective};
//! use footplate_tune::tuner::{Answer, Ask, TuneOptions, Tuner};
//!
//! let mode = |mhz: u64| PowerMode { gpu_hz: Some(Hertz(mhz * 1_000_000)), ..PowerMode::default() };
//! let space: Vec<Setting> = (2..=10).map(|i| Setting::of(mode(100 * i))).collect();
//! let goal = Goal {
//!     objective: Objective::Time,
//!     limits: Limits { power_w: Some(7.0), ..Limits::default() },
//!     confidence: 0.9,
//! };
//! let mut tuner = Tuner::new(space, goal, TuneOptions::default());
//!
//! let (mut now_ns, mut ghz, mut steps_left) = (0, 1.0, 2000);
//! let mut chosen = None;
//! loop {
//!     let answer = match tuner.next(now_ns) {
//!         Ask::Apply { mode, .. } => {
//!             ghz = mode.gpu_hz.map_or(1.0, |hz| hz.0 as f64 / 1e9);
//!             Answer::Applied(Ok(Applied { asked: mode, got: mode, warnings: Vec::new() }))
//!         }
//!         Ask::Steps { min, time_min_ns, .. } | Ask::Train { steps_min: min, time_min_ns } => {
//!             let step_ns = (0.1e9 / ghz) as u64;
//!             let wanted = u64::from(min).max(time_min_ns.div_ceil(step_ns)).min(steps_left);
//!             steps_left -= wanted;
//!             let steps = (0..wanted).map(|_| {
//!                 now_ns += step_ns;
//!                 WorkStep { end_ns: now_ns, step_ns, stall_ns: 0, items: 32 }
//!             });
//!             Answer::Steps(if wanted > 0 { Ok(steps.collect()) } else { Err(WorkError::Finished) })
//!         }
//!         Ask::Window { from_ns, to_ns } => {
//!             let mean_w = 2.0 + 8.0 * ghz;
//!             let energy_j = mean_w * (to_ns - from_ns) as f64 / 1e9;
//!             let total = Reading::Value(WindowEnergy {
//!                 energy_j: Joules(energy_j),
//!                 error_j: Joules(0.01 * energy_j),
//!                 coverage: 1.0,
//!                 mean_power_w: Watts(mean_w),
//!                 peak_power_w: Watts(mean_w),
//!                 samples: 30,
//!             });
//!             Answer::Window(WindowReading {
//!                 total,
//!                 rails: Vec::new(),
//!                 temperature_c: Reading::Absent,
//!                 throttled: Vec::new(),
//!                 simulated: true,
//!             })
//!         }
//!         Ask::Wait { ns } => {
//!             now_ns += ns;
//!             Answer::Done
//!         }
//!         Ask::Chosen { tuned, .. } => {
//!             chosen = tuned.chosen();
//!             Answer::Done
//!         }
//!         Ask::Done(result) => break result?,
//!         Ask::SetWorkers(_) | Ask::Keep { .. } | Ask::Warn(_) => Answer::Done,
//!     };
//!     tuner.answer(answer)?;
//! }
//! // The fastest clock that surely draws at most 7 W, and the job has trained in it to its end.
//! assert_eq!(chosen.map(|setting| setting.mode), Some(mode(600)));
//! assert_eq!((ghz, steps_left), (0.6, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod ask;
mod choosing;
mod errors;
mod measuring;
mod training;
mod tuned;

use std::collections::VecDeque;
use std::sync::Arc;

use footplate_core::ports::{Applied, ControlError};
use footplate_core::record::ModePurpose;

pub use self::ask::{Answer, Ask};
pub use self::errors::{AnswerError, NotKept, TuneError};
pub use self::tuned::{Outcome, Purpose, TuneOptions, Tuned, cost_of, would_do_text};

use self::choosing::{Choosing, Moment, Needs};
use self::training::{Event, Training};
use crate::drift::{Action, Replanner, Verdict, still_known};
use crate::goal::Goal;
use crate::predict::{Prediction, Source};
use crate::profiler::ProfileRecord;
use crate::setting::Setting;
use crate::window::WindowStats;

/// Chooses a setting for a job by measuring few, and looks after the choice while the job trains. The
/// [module](self) describes the conversation, with an example.
#[derive(Clone, Debug)]
pub struct Tuner {
    space: Vec<Setting>,
    goal: Goal,
    options: TuneOptions,
    sources: Vec<Source>,
    /// What this tuner measured, in order: a new plan is made from it.
    measured: Vec<ProfileRecord>,
    phase: Phase,
    /// What a new plan replaces, once the job has trained in a choice.
    watched: Option<Watched>,
    /// Sentences for the user that are not told yet.
    warnings: VecDeque<String>,
    /// What was asked and is not answered.
    open: Option<Ask>,
    stopped: bool,
    least_window_ns: Option<u64>,
}

#[derive(Clone, Debug)]
enum Phase {
    Choosing(Box<Choosing>, Option<Replan>),
    /// The result of a search is to be noted by the holder.
    Chosen(Arc<Tuned>, Option<Replan>),
    /// A setting to train in is being set.
    Setting(Choice, SetStage),
    Training(Box<Training>),
    Ended(Result<(), TuneError>),
}

/// A setting to train in, and what is expected of it.
#[derive(Clone, Copy, Debug)]
struct Choice {
    setting: Setting,
    expected: Prediction,
}

#[derive(Clone, Copy, Debug)]
enum SetStage {
    Mode,
    Workers(usize),
}

/// Why a new plan is made.
#[derive(Clone, Debug)]
struct Replan {
    verdict: Verdict,
    seen: Box<WindowStats>,
}

/// The setting that a job trains in, and what decides on new plans for it.
#[derive(Clone, Copy, Debug)]
struct Watched {
    present: Setting,
    replanner: Replanner,
}

impl Tuner {
    /// A tuner of a job and a machine that can be set to each of `space`, with a goal whose numbers were
    /// [checked](Goal::checked). Each setting should be there once.
    pub fn new(space: Vec<Setting>, goal: Goal, options: TuneOptions) -> Self {
        let choosing = Choosing::new(space.clone(), goal, options.clone(), &[]);
        Self {
            space,
            goal,
            options,
            sources: Vec::new(),
            measured: Vec::new(),
            phase: Phase::Choosing(Box::new(choosing), None),
            watched: None,
            warnings: VecDeque::new(),
            open: None,
            stopped: false,
            least_window_ns: None,
        }
    }

    /// Takes what is known of another job: it becomes a prior as far as it helps to predict this one. To be called before
    /// the first [`Tuner::next`].
    pub fn learn_from(&mut self, source: Source) {
        if let Phase::Choosing(choosing, None) = &mut self.phase {
            choosing.learn_from(source.clone());
        }
        self.sources.push(source);
    }

    /// Takes over what was measured before, in the order of the measurements. `counts`: whether it is part of this
    /// search's allowance, because an interrupted search for the same goal measured it. To be called before the first
    /// [`Tuner::next`].
    pub fn resume(&mut self, record: ProfileRecord, counts: bool) {
        if let Phase::Choosing(choosing, None) = &mut self.phase {
            choosing.resume(record, counts);
        }
    }

    /// Takes over the choice of an earlier tuner instead of searching: it is set, and the job trains in it. To be called
    /// before the first [`Tuner::next`]. `expected`: what is known of the choice
    /// ([`Candidate::prediction`](crate::choose::Candidate::prediction)).
    pub fn resume_choice(&mut self, setting: Setting, expected: Prediction) {
        if let Phase::Choosing(_, None) = &self.phase {
            self.phase = Phase::Setting(Choice { setting, expected }, SetStage::Mode);
        }
    }

    /// Takes over what was measured until the choice of [`Tuner::resume_choice`] was made: new plans are made from it.
    /// Without it they begin with the sources alone.
    pub fn resume_measured(&mut self, records: impl IntoIterator<Item = ProfileRecord>) {
        self.measured.extend(records);
    }

    /// Says over how long a window the sensors can tell an energy, in nanoseconds; `None`: there is no sensor. It holds
    /// for measurements that begin later.
    pub fn set_least_window_ns(&mut self, least_ns: Option<u64>) {
        self.least_window_ns = least_ns;
    }

    /// The user asks to stop: no further measurement is begun. A search ends with [`TuneError::Interrupted`]; a job
    /// that trains is not the tuner's to end: whoever holds it answers its steps with an error.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// What to do next. It is the same until [`Tuner::answer`] has taken an answer. `now_ns`: the present moment on the
    /// clock on which steps and windows are told, in nanoseconds.
    pub fn next(&mut self, now_ns: u64) -> Ask {
        if let Some(open) = &self.open {
            return open.clone();
        }
        let ask = self.advance(now_ns);
        self.open = Some(ask.clone());
        ask
    }

    /// Takes the answer to what [`Tuner::next`] asked. After an error everything is as before: the ask stands.
    pub fn answer(&mut self, answer: Answer) -> Result<(), AnswerError> {
        let open = self.open.as_ref().ok_or(AnswerError::NothingAsked)?;
        answer.check(open)?;
        match self.open.take() {
            Some(Ask::Warn(_)) => {}
            Some(Ask::Keep { record, .. }) => {
                if answer == Answer::Done {
                    self.measured.push(*record);
                }
                self.take(answer);
            }
            _ => self.take(answer),
        }
        Ok(())
    }

    /// Goes on until something must be asked. What the user should know is told before it.
    fn advance(&mut self, now_ns: u64) -> Ask {
        loop {
            if let Phase::Choosing(choosing, _) = &mut self.phase {
                self.warnings.extend(choosing.take_warnings());
            }
            if let Some(message) = self.warnings.pop_front() {
                return Ask::Warn(message);
            }
            let ask = match &mut self.phase {
                Phase::Choosing(choosing, _) => {
                    let (stopped, least_window_ns) = (self.stopped, self.least_window_ns);
                    let needs = choosing.needs(Moment { now_ns, stopped, least_window_ns });
                    self.warnings.extend(choosing.take_warnings());
                    match needs {
                        Needs::Ask(ask) => ask,
                        Needs::Over(result) => {
                            self.search_over(result.map(|tuned| Arc::new(*tuned)));
                            continue;
                        }
                    }
                }
                Phase::Chosen(tuned, replan) => {
                    let because = replan.as_ref().map(|replan| replan.verdict);
                    Ask::Chosen { tuned: Arc::clone(tuned), because }
                }
                Phase::Setting(choice, SetStage::Mode) => {
                    Ask::Apply { mode: choice.setting.mode, purpose: ModePurpose::Train }
                }
                Phase::Setting(_, SetStage::Workers(workers)) => Ask::SetWorkers(*workers),
                Phase::Training(training) => training.ask(),
                Phase::Ended(result) => Ask::Done(result.clone()),
            };
            if self.warnings.is_empty() {
                return ask;
            }
        }
    }

    /// An answer that fits what was asked.
    fn take(&mut self, answer: Answer) {
        match (&mut self.phase, answer) {
            (Phase::Choosing(choosing, _), answer) => choosing.take(answer),
            (Phase::Chosen(tuned, replan), _) => {
                let (tuned, replan) = (Arc::clone(tuned), replan.take());
                self.noted(&tuned, replan);
            }
            (Phase::Setting(choice, SetStage::Mode), Answer::Applied(result)) => {
                let choice = *choice;
                self.applied(choice, result);
            }
            (Phase::Setting(choice, SetStage::Workers(_)), _) => {
                let choice = *choice;
                self.train(choice);
            }
            (Phase::Training(training), answer) => match training.take(answer) {
                Some(Event::JobOver) => self.phase = Phase::Ended(Ok(())),
                Some(Event::Looked(action, seen)) => self.looked(action, seen),
                None => {}
            },
            (Phase::Setting(_, SetStage::Mode) | Phase::Ended(_), _) => {}
        }
    }

    fn search_over(&mut self, result: Result<Arc<Tuned>, TuneError>) {
        let Phase::Choosing(choosing, replan) = &mut self.phase else { return };
        let (job_ended, replan) = (choosing.job_ended(), replan.take());
        self.phase = match (result, replan) {
            (Ok(tuned), replan) => Phase::Chosen(tuned, replan),
            (Err(error), None) => Phase::Ended(Err(error)),
            // The job goes on to its own end, or has come to it.
            (Err(TuneError::Interrupted { .. }), Some(_)) => Phase::Ended(Ok(())),
            (Err(error), Some(_)) if job_ended => {
                self.warnings.push_back(format!("the run ended while it was planned anew ({error})"));
                Phase::Ended(Ok(()))
            }
            (Err(error), Some(_)) => Phase::Ended(Err(error)),
        };
    }

    /// The result of a search was noted: its choice is set.
    fn noted(&mut self, tuned: &Tuned, replan: Option<Replan>) {
        let choice = tuned.choice().map(|best| Choice { setting: best.setting, expected: best.prediction });
        let choice = match (choice, replan, self.watched) {
            (Some(choice), ..) => choice,
            // A job whose limits could be held goes on as well as it can: the user is told, and decides.
            (None, Some(replan), Some(watched)) => {
                let why = tuned.refusal_text().unwrap_or_default();
                self.warnings.push_back(format!("{why}; the mode stays"));
                Choice { setting: watched.present, expected: replan.seen.expected() }
            }
            (None, ..) => {
                self.phase = Phase::Ended(Err(TuneError::Infeasible));
                return;
            }
        };
        self.phase = Phase::Setting(choice, SetStage::Mode);
    }

    /// The mode to train in was set, or was not.
    fn applied(&mut self, choice: Choice, result: Result<Applied, ControlError>) {
        match result {
            Err(error) => self.phase = Phase::Ended(Err(TuneError::ChoiceNotSet(error))),
            Ok(applied) => {
                if applied.got != choice.setting.mode {
                    self.warnings.push_back(format!("asked for {}, got {}", applied.asked, applied.got));
                }
                match choice.setting.workers {
                    Some(workers) => {
                        let workers = usize::try_from(workers).unwrap_or(usize::MAX);
                        self.phase = Phase::Setting(choice, SetStage::Workers(workers));
                    }
                    None => self.train(choice),
                }
            }
        }
    }

    fn train(&mut self, choice: Choice) {
        let replanner = match self.watched {
            Some(watched) => watched.replanner.replanned(choice.expected),
            None => Replanner::new(choice.expected, self.goal.limits.power_w),
        };
        let training = Training::new(choice.setting, replanner, self.options.look);
        self.phase = Phase::Training(Box::new(training));
    }

    fn looked(&mut self, action: Action, seen: Box<WindowStats>) {
        let Phase::Training(training) = &mut self.phase else { return };
        match action {
            Action::CarryOn => {}
            Action::Tell(verdict) => self.warnings.push_back(format!(
                "{}; {} new plans were made already: the mode stays",
                verdict.text(),
                training.replanner.replans()
            )),
            Action::Replan(verdict) if self.space.len() < 2 => {
                self.warnings.push_back(format!("{}; there is no other mode to choose", verdict.text()));
                training.replanner = training.replanner.replanned(seen.expected());
            }
            Action::Replan(verdict) => {
                self.warnings.push_back(format!("{}: planning anew", verdict.text()));
                let watched = Watched { present: training.present, replanner: training.replanner };
                self.watched = Some(watched);
                self.plan_anew(watched.present, Replan { verdict, seen });
            }
        }
    }

    /// A short search from what can still be believed of all that was measured.
    fn plan_anew(&mut self, present: Setting, replan: Replan) {
        let mut options = self.options.clone();
        options.search.profiles = options.replan_profiles;
        let mut choosing = Choosing::new(self.space.clone(), self.goal, options, &self.sources);
        for record in still_known(&self.measured, &replan.verdict) {
            choosing.resume(record, false);
        }
        let throttled = (replan.verdict == Verdict::Throttled).then(|| replan.seen.step_power_w());
        let choosing = choosing.of_running_job(present, throttled);
        self.phase = Phase::Choosing(Box::new(choosing), Some(replan));
    }
}
