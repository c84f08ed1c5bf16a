//! One search with the check of its choice, as states: measure the present setting (a new plan only), search, look a
//! second time where that may change the choice, verify.

use footplate_core::ports::WorkError;

use super::admission::{Admission, need_power, price_time};
use super::ask::{Answer, Ask};
use super::errors::TuneError;
use super::measuring::{Measured, Measuring};
use super::tuned::{Purpose, TuneOptions, Tuned};
use crate::goal::Goal;
use crate::plan::{Next, Search, Stop};
use crate::predict::Source;
use crate::profiler::{ProfileError, ProfileRecord};
use crate::setting::Setting;

/// Times that a choice is verified, and another one chosen if it fails.
const ROUNDS: usize = 4;
/// Settings that are looked at beside the choice: those near a limit once more, and those that promise more.
const SECOND_LOOKS: usize = 4;
/// A verification looks this much longer than a profile.
const VERIFY_FACTOR: u32 = 2;
/// Modes that cannot be used before a search gives up: each costs the time of a measurement.
const FAILED_MOST: usize = 12;

/// What the holder of a search can say beside its answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Nanoseconds on the common clock.
    pub(super) now_ns: u64,
    /// The user asked to stop: nothing more is begun.
    pub(super) stopped: bool,
    /// The least window over which the sensors tell an energy, in nanoseconds; `None` without any sensor.
    pub(super) least_window_ns: Option<u64>,
}

/// A search in progress.
#[derive(Clone, Debug)]
pub(super) struct Choosing {
    search: Search,
    options: TuneOptions,
    admission: Admission,
    /// All that was measured or resumed from, in order.
    records: Vec<ProfileRecord>,
    /// When the first measurement was decided on.
    start_ns: Option<u64>,
    /// The job has no more steps, and that was said.
    job_ended: bool,
    /// What was looked at by this search for the second time or more: it need not be looked at again.
    checked: Vec<Setting>,
    stage: Stage,
    current: Option<Current>,
    /// How the last measurement ended, until it is dealt with.
    last: Option<Result<AfterMeasuring, TuneError>>,
    /// Sentences for the user that are not told yet.
    warnings: Vec<String>,
    /// The setting that a running job is in: it stays unless another is clearly better.
    present: Option<Setting>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Of a new plan: the present setting is measured first.
    Present(Setting),
    Searching,
    SecondLooks {
        ended: Ended,
        made: usize,
        looked_at: Option<Setting>,
    },
    Verifying {
        ended: Ended,
        round: usize,
        before: Option<Setting>,
    },
}

/// How the search itself ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    profiles: usize,
    stop: Option<Stop>,
}

/// A measurement in progress and, once it is made, its record until that is kept.
#[derive(Clone, Debug)]
struct Current {
    measuring: Measuring,
    purpose: Purpose,
    made: Option<Box<ProfileRecord>>,
}

/// Whether more can be measured after a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterMeasuring {
    /// Further measurements can follow.
    GoOn,
    /// The job gives no more steps.
    JobEnded,
}

/// What is to be done next.
enum Decision {
    Measure(Setting, Purpose),
    /// The stage has changed: decide again.
    Again,
    Over(Result<Box<Tuned>, TuneError>),
}

/// What a search needs next.
pub(super) enum Needs {
    /// An answer to this.
    Ask(Ask),
    /// Nothing: the search has ended.
    Over(Result<Box<Tuned>, TuneError>),
}

impl Choosing {
    pub(super) fn new(space: Vec<Setting>, goal: Goal, options: TuneOptions, sources: &[Source]) -> Self {
        let mut search = Search::new(space, goal, options.search);
        sources.iter().for_each(|source| search.learn_from(source.clone()));
        Self {
            search,
            options,
            admission: Admission::new(&goal),
            records: Vec::new(),
            start_ns: None,
            job_ended: false,
            checked: Vec::new(),
            stage: Stage::Searching,
            current: None,
            last: None,
            warnings: Vec::new(),
            present: None,
        }
    }

    /// Takes over what was measured before. `counts`: whether it is part of this search's allowance.
    pub(super) fn resume(&mut self, record: ProfileRecord, counts: bool) {
        price_time(&mut self.search, &record);
        if self.admission.admit(&mut self.search, &record, &mut self.warnings) {
            let measurement = record.measurement();
            if counts { self.search.record(measurement) } else { self.search.record_uncounted(measurement) }
        }
        self.records.push(record);
    }

    /// Adds what is known of another job.
    pub(super) fn learn_from(&mut self, source: Source) {
        self.search.learn_from(source);
    }

    /// Makes it a new plan for a job that runs in `present`: that is measured first, and stays unless it breaks a limit
    /// or another one is better by more than a trifle. `throttled`: it made the machine throttle at this power (where
    /// that is known) and is not looked at again.
    pub(super) fn of_running_job(mut self, present: Setting, throttled: Option<Option<f64>>) -> Self {
        match throttled {
            Some(power_w) => {
                self.search.forbid_from(&present);
                self.admission.cap(&mut self.search, power_w);
            }
            None => {
                self.stage = Stage::Present(present);
                self.present = Some(present);
            }
        }
        self
    }

    /// Sentences for the user since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Whether the job said that it has no more steps.
    pub(super) fn job_ended(&self) -> bool {
        self.job_ended
    }

    /// What is needed next; the same until an answer is taken.
    pub(super) fn needs(&mut self, moment: Moment) -> Needs {
        loop {
            if let Some(current) = &self.current {
                return Needs::Ask(current.ask());
            }
            match self.decide(moment) {
                Decision::Measure(setting, purpose) => self.begin(setting, purpose, moment),
                Decision::Again => {}
                Decision::Over(result) => return Needs::Over(result.map(|tuned| self.keeping(tuned))),
            }
        }
    }

    fn keeping(&self, tuned: Box<Tuned>) -> Box<Tuned> {
        match &self.present {
            Some(present) => Box::new(tuned.keeping(present)),
            None => tuned,
        }
    }

    fn begin(&mut self, setting: Setting, purpose: Purpose, moment: Moment) {
        let mut options = self.options.profile;
        if purpose == Purpose::Verify {
            options.steps_min = options.steps_min.saturating_mul(VERIFY_FACTOR);
            options.time_min_ns = options.time_min_ns.saturating_mul(u64::from(VERIFY_FACTOR));
        }
        options.time_min_ns = options.time_min_ns.max(moment.least_window_ns.unwrap_or(0));
        let measuring = Measuring::new(setting, options, moment.now_ns);
        self.current = Some(Current { measuring, purpose, made: None });
    }

    /// Takes the answer to what was needed last.
    pub(super) fn take(&mut self, answer: Answer) {
        let Some(mut current) = self.current.take() else { return };
        match (current.made.take(), answer) {
            (Some(record), Answer::Done) => self.last = Some(self.kept(record, current.purpose)),
            (Some(_), Answer::NotKept(error)) => self.last = Some(Err(error.into())),
            (Some(record), _) => self.current = Some(Current { made: Some(record), ..current }),
            (None, answer) => match current.measuring.take(answer) {
                None => self.current = Some(current),
                Some(measured) => self.measured(current, measured),
            },
        }
    }

    fn measured(&mut self, current: Current, measured: Measured) {
        self.last = Some(match measured {
            Ok(record) => {
                self.current = Some(Current { made: Some(record), ..current });
                return;
            }
            Err(ProfileError::Mode { setting, source }) => {
                self.warnings.push(format!("{setting} is left out: {source}"));
                self.admission.refused(&mut self.search, &setting);
                if source.permission {
                    Err(TuneError::NothingToSet { reason: source.to_string() })
                } else {
                    Ok(AfterMeasuring::GoOn)
                }
            }
            Err(ProfileError::Work(WorkError::Finished)) => {
                if !std::mem::replace(&mut self.job_ended, true) {
                    self.warnings.push("the job ended before the search did".to_owned());
                }
                Ok(AfterMeasuring::JobEnded)
            }
            Err(ProfileError::Work(WorkError::Interrupted)) => Err(self.interrupted()),
            Err(error) => Err(error.into()),
        });
    }

    /// A record was kept: the search learns from it.
    fn kept(&mut self, record: Box<ProfileRecord>, purpose: Purpose) -> Result<AfterMeasuring, TuneError> {
        need_power(self.search.goal(), &record)?;
        price_time(&mut self.search, &record);
        if self.admission.admit(&mut self.search, &record, &mut self.warnings) {
            match purpose {
                Purpose::Search => self.search.record(record.measurement()),
                Purpose::Verify => self.search.record_uncounted(record.measurement()),
            }
        }
        self.records.push(*record);
        Ok(AfterMeasuring::GoOn)
    }

    fn interrupted(&self) -> TuneError {
        TuneError::Interrupted { profiles: self.search.used() }
    }

    fn time_is_up(&self, moment: Moment) -> bool {
        let spent = moment.now_ns.saturating_sub(self.start_ns.unwrap_or(moment.now_ns));
        self.options.profile_time_ns.is_some_and(|most| spent >= most) && !self.search.measured().is_empty()
    }

    fn decide(&mut self, moment: Moment) -> Decision {
        self.start_ns.get_or_insert(moment.now_ns);
        let after = match self.last.take() {
            Some(Err(error)) => return Decision::Over(Err(error)),
            Some(Ok(after)) => after,
            None => AfterMeasuring::GoOn,
        };
        match self.stage.clone() {
            Stage::Present(setting) => {
                // Whatever comes of it, the search goes on.
                self.stage = Stage::Searching;
                Decision::Measure(setting, Purpose::Verify)
            }
            Stage::Searching => self.search_on(after, moment),
            Stage::SecondLooks { ended, made, looked_at } => {
                self.look_again(ended, (made, looked_at), after, moment)
            }
            Stage::Verifying { ended, round, before } => {
                self.verify(ended, (round, before), after, moment.stopped)
            }
        }
    }

    fn search_on(&mut self, after: AfterMeasuring, moment: Moment) -> Decision {
        if after == AfterMeasuring::JobEnded {
            if self.search.measured().is_empty() {
                return Decision::Over(Err(ProfileError::Work(WorkError::Finished).into()));
            }
            return self.end_search(None);
        }
        if moment.stopped {
            return Decision::Over(Err(self.interrupted()));
        }
        if self.time_is_up(moment) {
            return self.end_search(None);
        }
        if self.admission.failed_modes() >= FAILED_MOST {
            let count = self.admission.failed_modes();
            self.warnings.push(format!("{count} modes could not be used: the search ends here"));
            return self.end_search(None);
        }
        match self.search.next() {
            Next::Done(why) => self.end_search(Some(why)),
            Next::Profile(setting) => Decision::Measure(setting, Purpose::Search),
        }
    }

    fn end_search(&mut self, stop: Option<Stop>) -> Decision {
        if self.search.measured().is_empty() {
            let tried = self.admission.failed_modes().max(1);
            let reason = format!("{tried} settings were tried and none was taken");
            return Decision::Over(Err(TuneError::NothingToSet { reason }));
        }
        let ended = Ended { profiles: self.search.used(), stop };
        self.stage = Stage::SecondLooks { ended, made: 0, looked_at: None };
        Decision::Again
    }

    /// Settings near a limit are measured once more, and some that promise more than the choice.
    fn look_again(
        &mut self,
        ended: Ended,
        (made, looked_at): (usize, Option<Setting>),
        after: AfterMeasuring,
        moment: Moment,
    ) -> Decision {
        let verifying = Stage::Verifying { ended, round: 0, before: None };
        if after == AfterMeasuring::GoOn {
            let again = looked_at.filter(|setting| self.search.looks(setting) > 1);
            self.checked.extend(again);
        }
        if after == AfterMeasuring::JobEnded || made >= SECOND_LOOKS {
            self.stage = verifying;
            return Decision::Again;
        }
        if moment.stopped {
            return Decision::Over(Err(self.interrupted()));
        }
        let outlook = self.search.outlook();
        let search = &self.search;
        let next = search.worth_second_look(&outlook).or_else(|| search.worth_check(&outlook));
        match next.or_else(|| search.lower_power_tie(&outlook)) {
            Some(setting) if !self.time_is_up(moment) => {
                self.stage = Stage::SecondLooks { ended, made: made + 1, looked_at: Some(setting) };
                Decision::Measure(setting, Purpose::Verify)
            }
            _ => {
                self.stage = verifying;
                Decision::Again
            }
        }
    }

    /// Measures the choice once more; takes the next one if it fails. `before`: what was measured as the choice last.
    fn verify(
        &mut self,
        ended: Ended,
        (round, before): (usize, Option<Setting>),
        after: AfterMeasuring,
        stopped: bool,
    ) -> Decision {
        if after == AfterMeasuring::JobEnded {
            return self.end_unless_verified(ended);
        }
        self.checked.extend(before);
        if round >= ROUNDS {
            return self.end_unless_verified(ended);
        }
        if stopped {
            return Decision::Over(Err(self.interrupted()));
        }
        let outlook = self.search.outlook();
        let chosen = match outlook.verified.or(outlook.best.ok()) {
            Some(choice) => self.search.space()[choice.index],
            None => return self.end_unless_verified(ended),
        };
        if let Some(before) = before.filter(|before| *before != chosen) {
            self.warnings
                .push(format!("{before} is no longer the choice after a second look; {chosen} is taken"));
        }
        if self.checked.contains(&chosen) {
            // It was chosen, measured once more, and is chosen still.
            return self.over(outlook, ended, true);
        }
        self.stage = Stage::Verifying { ended, round: round + 1, before: Some(chosen) };
        Decision::Measure(chosen, Purpose::Verify)
    }

    fn end_unless_verified(&mut self, ended: Ended) -> Decision {
        let outlook = self.search.outlook();
        let chosen = outlook.verified.map(|choice| self.search.space()[choice.index]);
        let verified = chosen.is_some_and(|chosen| self.checked.contains(&chosen));
        self.over(outlook, ended, verified)
    }

    fn over(&self, outlook: crate::plan::Outlook, ended: Ended, verified: bool) -> Decision {
        let Ended { profiles, stop } = ended;
        let tuned = Tuned::new(&self.search, outlook, &self.records, profiles, stop, verified);
        Decision::Over(Ok(Box::new(tuned)))
    }
}

impl Current {
    fn ask(&self) -> Ask {
        match &self.made {
            Some(record) => Ask::Keep { record: record.clone(), purpose: self.purpose },
            None => self.measuring.ask(),
        }
    }
}
