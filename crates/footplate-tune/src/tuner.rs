//! The whole loop: plan, profile, predict, choose, verify. What asks for a new plan later is in [`crate::drift`].

use footplate_core::ports::WorkError;
use footplate_core::{PowerMode, Reading};
use serde::Serialize;
use thiserror::Error;

use crate::choose::{Candidate, Choice, Infeasible, WouldDo};
use crate::goal::{Goal, Limits, Objective};
use crate::pareto;
use crate::plan::{Next, Outlook, Search, SearchOptions, Stop};
use crate::predict::Source;
use crate::profiler::{Ports, ProfileError, ProfileOptions, ProfileRecord, profile};
use crate::setting::{Knob, Setting};

/// Bounds of a tune.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TuneOptions {
    /// Of the search.
    pub search: SearchOptions,
    /// Of each measurement.
    pub profile: ProfileOptions,
    /// All measurements together end after this time on the common clock; the one in progress is completed.
    pub profile_time_ns: Option<u64>,
}

/// Times that a choice is verified, and another one chosen if it fails.
const ROUNDS: usize = 4;
/// Settings that are looked at beside the choice: those near a limit once more, and those that promise more.
const SECOND_LOOKS: usize = 4;
/// A verification looks this much longer than a profile.
const VERIFY_FACTOR: u32 = 2;

/// Looks at a knob that stays where it is before it counts as stuck.
const STUCK_LOOKS: usize = 2;
/// Modes that cannot be used before a search gives up: each costs the time of a measurement.
const FAILED_MOST: usize = 12;
/// By how much less than a mode that throttled another must draw.
const CAP_MARGIN: f64 = 0.03;

/// Hears of everything that happens, as it happens.
pub trait Observer {
    /// A setting was measured. What goes wrong here ends the tune: a record that is not kept is lost.
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), String>;
    /// Something that the user should know.
    fn warn(&mut self, message: &str);
    /// Whether the user asked to stop.
    fn stopped(&self) -> bool {
        false
    }
}

/// Why a setting is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The search asked for it.
    Search,
    /// It is the choice, and is checked.
    Verify,
}

/// Why there is no result.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TuneError {
    /// The goal needs power and the machine tells none.
    #[error("the goal needs the machine's power, and it cannot be had: {reason}")]
    NoPower {
        /// Why.
        reason: String,
    },
    /// There is nothing to choose between.
    #[error("no mode can be set: {reason}")]
    NothingToSet {
        /// Why.
        reason: String,
    },
    /// Nothing could be set any more.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The user asked to stop; what was measured is kept by the observer.
    #[error("interrupted after {profiles} profiles")]
    Interrupted {
        /// Measured so far.
        profiles: usize,
    },
    /// A record could not be kept.
    #[error("a record cannot be kept: {0}")]
    Record(String),
}

/// What a tune came to.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The verified choice, or that there is none.
    pub outcome: Outcome,
    /// All that is known at the end.
    pub outlook: Outlook,
    /// Settings that no other beats in time, power and energy together, as indices into the outlook's candidates.
    pub front: Vec<usize>,
    /// Settings that were measured, without verification.
    pub profiles: usize,
    /// Why the search ended.
    pub stop: Option<Stop>,
    /// Highest share of time that the choice waited for data.
    pub stall_share: Option<f64>,
}

/// By how much another setting must be better than the present one to be worth a change in a running job.
const CHANGE_LEAST: f64 = 0.02;

impl Tuned {
    /// The chosen setting.
    pub fn chosen(&self) -> Option<Setting> {
        match &self.outcome {
            Outcome::Chosen { choice, .. } => Some(self.outlook.candidates[choice.index].setting),
            Outcome::Infeasible(_) => None,
        }
    }

    /// The same with `present` as the choice, if it holds the limits and is not worse by more than a trifle.
    fn keeping(mut self, present: &Setting) -> Self {
        let goal = self.outlook.goal;
        let candidates = &self.outlook.candidates;
        let Outcome::Chosen { choice, .. } = &self.outcome else { return self };
        let Some(index) = candidates.iter().position(|c| c.setting == *present && c.measured) else {
            return self;
        };
        let prediction = &candidates[index].prediction;
        let probability = goal.probability(prediction);
        let holds = probability >= goal.confidence && goal.excess(prediction) <= 1.0;
        if let Some(objective) = goal.objective_of(prediction).filter(|_| holds)
            && objective.value <= choice.objective.value * (1.0 + CHANGE_LEAST)
        {
            let choice = Choice { index, objective, probability };
            self.outcome = Outcome::Chosen { choice, verified: true };
        }
        self
    }
}

/// The end of a tune.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A setting that holds the limits, measured once more.
    Chosen {
        /// Which.
        choice: Choice,
        /// Whether the last measurement was a verification (false: the job ended or the time was up before).
        verified: bool,
    },
    /// No setting holds the limits.
    Infeasible(Infeasible),
}

/// A tune in progress.
pub struct Tuner<'a> {
    ports: Ports<'a>,
    search: Search,
    options: TuneOptions,
    observer: &'a mut dyn Observer,
    records: Vec<ProfileRecord>,
    start_ns: u64,
    power_limit_w: Option<f64>,
    failed_modes: usize,
    /// The job has no more steps, and that was said.
    ended: bool,
    /// Knobs that did not go where they should: which, where it stayed, whether more was asked for.
    stuck: Vec<(Knob, f64, bool)>,
}

impl<'a> Tuner<'a> {
    /// A tune of what the ports offer in `space`.
    pub fn new(
        ports: Ports<'a>,
        space: Vec<Setting>,
        goal: Goal,
        options: TuneOptions,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let start_ns = ports.clock.now_ns();
        let search = Search::new(space, goal, options.search);
        let power_limit_w = goal.limits.power_w;
        Self {
            ports,
            search,
            options,
            observer,
            records: Vec::new(),
            start_ns,
            power_limit_w,
            failed_modes: 0,
            ended: false,
            stuck: Vec::new(),
        }
    }

    /// Takes over what was measured before. `counts`: whether it is part of this tune's allowance.
    pub fn resume(&mut self, record: ProfileRecord, counts: bool) {
        self.price_time(&record);
        if self.admit(&record) {
            let measurement = record.measurement();
            if counts { self.search.record(measurement) } else { self.search.record_given(measurement) }
        }
        self.records.push(record);
    }

    /// Takes what is known of another job: it becomes a prior as far as it helps to predict this one.
    pub fn learn_from(&mut self, source: Source) {
        self.search.learn_from(source);
    }

    /// Plans anew while the job runs, from what was measured before (already told by [`Tuner::resume`]). The present
    /// setting is measured first, and stays unless it breaks a limit or another one is better by more than a trifle.
    /// `throttled`: it made the machine throttle at this power (where that is known) and is not looked at again.
    pub fn replan(mut self, present: &Setting, throttled: Option<Option<f64>>) -> Result<Tuned, TuneError> {
        match throttled {
            Some(power_w) => {
                self.search.forbid_from(present);
                self.cap(power_w);
            }
            None => {
                self.measure(present, Purpose::Verify)?;
            }
        }
        let present = *present;
        let tuned = self.run()?;
        Ok(if throttled.is_some() { tuned } else { tuned.keeping(&present) })
    }

    /// Runs to the end. The mode that is set then is the last one that was measured: the caller applies the choice
    /// or restores.
    pub fn run(mut self) -> Result<Tuned, TuneError> {
        let mut stop = None;
        loop {
            self.check_stop()?;
            if self.time_is_up() {
                break;
            }
            if self.failed_modes >= FAILED_MOST {
                let count = self.failed_modes;
                self.observer.warn(&format!("{count} modes could not be used: the search ends here"));
                break;
            }
            match self.search.next() {
                Next::Done(why) => {
                    stop = Some(why);
                    break;
                }
                Next::Profile(setting) => {
                    if !self.measure(&setting, Purpose::Search)? {
                        if self.search.measured().is_empty() {
                            return Err(ProfileError::Work(WorkError::Finished).into());
                        }
                        break;
                    }
                }
            }
        }
        if self.search.measured().is_empty() {
            let reason = format!("{} settings were tried and none was taken", self.failed_modes.max(1));
            return Err(TuneError::NothingToSet { reason });
        }
        self.settle(stop)
    }

    /// Verifies the choice; takes the next one if it fails.
    fn settle(mut self, stop: Option<Stop>) -> Result<Tuned, TuneError> {
        let profiles = self.search.used();
        // What was looked at here for the second time or more: it need not be looked at again.
        let mut checked: Vec<Setting> = Vec::new();
        for _ in 0..SECOND_LOOKS {
            self.check_stop()?;
            let outlook = self.search.outlook();
            let search = &self.search;
            let next = search.doubtful(&outlook).or_else(|| search.unchecked(&outlook));
            let Some(setting) = next.or_else(|| search.thriftier(&outlook)) else { break };
            if self.time_is_up() || !self.measure(&setting, Purpose::Verify)? {
                break;
            }
            checked.extend((self.search.looks(&setting) > 1).then_some(setting));
        }
        let mut before: Option<Setting> = None;
        for _ in 0..ROUNDS {
            self.check_stop()?;
            let outlook = self.search.outlook();
            let chosen = match outlook.verified.or(outlook.best.ok()) {
                Some(choice) => self.search.space()[choice.index],
                None => break,
            };
            if let Some(before) = before.filter(|before| *before != chosen) {
                self.observer.warn(&format!(
                    "{before} is no longer the choice after a second look; {chosen} is taken"
                ));
            }
            if checked.contains(&chosen) {
                // It was chosen, measured once more, and is chosen still.
                return Ok(self.done(outlook, profiles, stop, true));
            }
            if !self.measure(&chosen, Purpose::Verify)? {
                break;
            }
            checked.push(chosen);
            before = Some(chosen);
        }
        let outlook = self.search.outlook();
        let chosen = outlook.verified.map(|choice| self.search.space()[choice.index]);
        let verified = chosen.is_some_and(|chosen| checked.contains(&chosen));
        Ok(self.done(outlook, profiles, stop, verified))
    }

    fn done(&self, outlook: Outlook, profiles: usize, stop: Option<Stop>, verified: bool) -> Tuned {
        let outcome = match (outlook.verified, outlook.best) {
            (Some(choice), _) => Outcome::Chosen { choice, verified },
            (None, Ok(choice)) => Outcome::Chosen { choice, verified: false },
            (None, Err(refusal)) => Outcome::Infeasible(refusal),
        };
        let stall_share = match outcome {
            Outcome::Chosen { choice, .. } => {
                let setting = self.search.space()[choice.index];
                self.records.iter().rev().find(|r| r.setting == setting).map(|r| r.stall_share)
            }
            Outcome::Infeasible(_) => None,
        };
        let front = front(&self.search, &outlook);
        Tuned { outcome, outlook, front, profiles, stop, stall_share }
    }

    fn check_stop(&self) -> Result<(), TuneError> {
        if self.observer.stopped() {
            return Err(TuneError::Interrupted { profiles: self.search.used() });
        }
        Ok(())
    }

    fn time_is_up(&self) -> bool {
        let spent = self.ports.clock.now_ns().saturating_sub(self.start_ns);
        self.options.profile_time_ns.is_some_and(|most| spent >= most) && !self.search.measured().is_empty()
    }

    /// Measures a setting and adds what it gave. False: the job gives no more steps.
    fn measure(&mut self, setting: &Setting, purpose: Purpose) -> Result<bool, TuneError> {
        let mut options = self.options.profile;
        if purpose == Purpose::Verify {
            options.steps_min *= VERIFY_FACTOR;
            options.time_min_ns *= u64::from(VERIFY_FACTOR);
        }
        let record = match profile(&mut self.ports, setting, &options) {
            Ok(record) => record,
            Err(ProfileError::Mode { setting, source }) => {
                self.observer.warn(&format!("{setting} is left out: {source}"));
                self.search.forbid(&setting);
                self.failed_modes += 1;
                if source.permission {
                    return Err(TuneError::NothingToSet { reason: source.to_string() });
                }
                return Ok(true);
            }
            Err(ProfileError::Work(WorkError::Finished)) => {
                if !std::mem::replace(&mut self.ended, true) {
                    self.observer.warn("the job ended before the search did");
                }
                return Ok(false);
            }
            Err(ProfileError::Work(WorkError::Interrupted)) => {
                return Err(TuneError::Interrupted { profiles: self.search.used() });
            }
            Err(error) => return Err(error.into()),
        };
        self.observer.profiled(&record, purpose).map_err(TuneError::Record)?;
        self.need_power(&record)?;
        self.price_time(&record);
        if self.admit(&record) {
            match purpose {
                Purpose::Search => self.search.record(record.measurement()),
                Purpose::Verify => self.search.record_given(record.measurement()),
            }
        }
        self.records.push(record);
        Ok(true)
    }

    /// A goal that needs power ends with the first measurement that has none: later ones would not either, and a
    /// limit that cannot be seen cannot be held.
    fn need_power(&self, record: &ProfileRecord) -> Result<(), TuneError> {
        if !self.search.goal().needs_power() {
            return Ok(());
        }
        match &record.power {
            Reading::Value(_) => Ok(()),
            Reading::Absent => {
                let reason = "this machine has no sensor that footplate can read".to_owned();
                Err(TuneError::NoPower { reason })
            }
            Reading::Unreadable { reason } => Err(TuneError::NoPower { reason: reason.clone() }),
        }
    }

    /// Zeus' objective prices time at the machine's largest power: that of the first, largest setting, where nothing
    /// else is known.
    fn price_time(&mut self, record: &ProfileRecord) {
        let goal = *self.search.goal();
        if let (Objective::Zeus { eta, largest_power_w }, Some(power)) =
            (goal.objective, record.power.value())
            && largest_power_w <= 0.0
        {
            let objective = Objective::Zeus { eta, largest_power_w: power.mean_w };
            self.search.set_goal(Goal { objective, ..goal });
        }
    }

    /// Whether a record may be learned from; if not, its setting is left out, with a word to the user.
    fn admit(&mut self, record: &ProfileRecord) -> bool {
        for warning in &record.warnings {
            self.observer.warn(&format!("{}: {warning}", record.setting));
        }
        if record.got != record.setting.mode {
            self.observer.warn(&format!("{} is left out: it was not taken", record.setting));
            self.search.forbid(&record.setting);
            self.failed_modes += 1;
            self.leave_out_stuck(record);
            return false;
        }
        if !record.throttled.is_empty() {
            let why = record.throttled.join("; ");
            self.observer.warn(&format!("{} is left out: the machine throttled ({why})", record.setting));
            self.search.forbid_from(&record.setting);
            self.failed_modes += 1;
            self.cap_power(record);
            return false;
        }
        let hot = self.search.goal().limits.temperature_c;
        if let (Some(limit), Some(seen)) = (hot, record.temperature_c.value())
            && *seen > limit
        {
            self.observer.warn(&format!(
                "{} is left out: {seen:.1} °C is above the limit of {limit:.1} °C",
                record.setting
            ));
            self.search.forbid_from(&record.setting);
            self.cap_power(record);
            // The measurement itself is sound, and the model may learn from it.
        }
        true
    }

    /// A knob that stayed at the same value twice, when others were asked for, is taken to be stuck there: settings
    /// that would have it elsewhere on the same side are left out too. A search must not try them one by one.
    fn leave_out_stuck(&mut self, record: &ProfileRecord) {
        let got = Setting { mode: record.got, ..record.setting };
        for knob in Knob::ALL {
            let (Some(asked), Some(stays)) = (knob.value(&record.setting), knob.value(&got)) else {
                continue;
            };
            if asked == stays {
                continue;
            }
            let above = asked > stays;
            let before = self.stuck.iter().filter(|s| **s == (knob, stays, above)).count();
            self.stuck.push((knob, stays, above));
            if before + 1 == STUCK_LOOKS {
                let side = if above { "above" } else { "below" };
                self.observer.warn(&format!(
                    "the {} stays at {stays}: settings with one {side} that are left out",
                    knob.name()
                ));
                self.search.forbid_where(|setting| {
                    knob.value(setting).is_some_and(|v| if above { v > stays } else { v < stays })
                });
            }
        }
    }

    /// What got too hot shows how much power is too much: settings that would draw as much are left out too.
    fn cap_power(&mut self, record: &ProfileRecord) {
        self.cap(record.power.value().map(|power| power.mean_w));
    }

    fn cap(&mut self, power_w: Option<f64>) {
        let Some(power_w) = power_w else { return };
        let power_w = power_w * (1.0 - CAP_MARGIN);
        let cap = self.power_limit_w.map_or(power_w, |limit| limit.min(power_w));
        self.power_limit_w = Some(cap);
        let goal = *self.search.goal();
        self.search.set_goal(Goal { limits: Limits { power_w: Some(cap), ..goal.limits }, ..goal });
    }
}

/// The front over the quantities that are known, without settings that cannot be had.
fn front(search: &Search, outlook: &Outlook) -> Vec<usize> {
    let indices: Vec<usize> = (0..outlook.candidates.len()).filter(|i| !search.is_forbidden(*i)).collect();
    let cost = |candidate: &Candidate| {
        let value = |e: Option<crate::predict::Estimate>| e.map_or(0.0, |e| e.value);
        let prediction = &candidate.prediction;
        [value(prediction.time_s), value(prediction.power_w)]
    };
    let costs: Vec<[f64; 2]> = indices.iter().map(|i| cost(&outlook.candidates[*i])).collect();
    pareto::front(&costs).into_iter().map(|i| indices[i]).collect()
}

/// What a mode would cost, such as MAXN or a preset; the setting of the space that is it, or `None`.
pub fn cost_of(outlook: &Outlook, mode: &PowerMode) -> Option<Candidate> {
    outlook.candidates.iter().find(|c| c.setting.mode == *mode).copied()
}

/// Limits that would do, in words; empty without any.
pub fn would_do_text(would: &WouldDo) -> Vec<String> {
    let mut texts = Vec::new();
    texts.extend(would.power_w.map(|w| format!("{w:.2} W")));
    texts.extend(would.time_s.map(|s| format!("{s:.4} s a step")));
    texts.extend(would.energy_j.map(|j| format!("{j:.3} J a step")));
    texts
}
