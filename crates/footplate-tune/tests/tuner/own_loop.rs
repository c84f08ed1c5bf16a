//! A loop that knows no port: it answers a tuner by hand.

use footplate_core::ports::{Applied, WindowReading, WorkError, WorkStep};
use footplate_core::{PowerMode, Reading};
use footplate_tune::Setting;
use footplate_tune::predict::Prediction;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{Answer, Ask, Purpose, TuneError, TuneOptions, Tuner};

use crate::common::steady;
use crate::formula::{truth, under};
use crate::settings::few;

pub(crate) fn tuner() -> Tuner {
    Tuner::new(few(), under(9.0), TuneOptions::default())
}

/// Long enough for a tune, a few looks at the job, and two new plans.
pub(crate) const STEPS: u64 = 4000;
/// When the machine ages: well after the choice.
pub(crate) const AGES_NS: u64 = 120_000_000_000;

/// A loop that owns its machine and its job, and knows no port.
#[derive(Clone)]
pub(crate) struct OwnLoop {
    pub(crate) mode: PowerMode,
    pub(crate) now_ns: u64,
    pub(crate) steps_left: u64,
    /// From this moment on the machine draws a quarter more.
    pub(crate) ages_at_ns: u64,
    pub(crate) records: Vec<(ProfileRecord, Purpose)>,
    /// The last choice, what was expected of it, and the measurements up to it.
    pub(crate) choice: Option<(Setting, Prediction, usize)>,
    pub(crate) chosen: u32,
    pub(crate) warnings: Vec<String>,
}

impl OwnLoop {
    pub(crate) fn new(steps_left: u64) -> Self {
        Self {
            mode: few()[0].mode,
            now_ns: 0,
            steps_left,
            ages_at_ns: u64::MAX,
            records: Vec::new(),
            choice: None,
            chosen: 0,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn steps(&mut self, min: u32, time_min_ns: u64) -> Answer {
        let step_ns = (truth(&self.mode).0 * 1e9) as u64;
        let count = u64::from(min).max(time_min_ns.div_ceil(step_ns)).min(self.steps_left);
        self.steps_left -= count;
        let step = |_| {
            self.now_ns += step_ns;
            WorkStep { end_ns: self.now_ns, step_ns, stall_ns: 0, items: 8 }
        };
        let steps: Vec<WorkStep> = (0..count).map(step).collect();
        Answer::Steps(if steps.is_empty() { Err(WorkError::Finished) } else { Ok(steps) })
    }

    pub(crate) fn window(&self, from_ns: u64, to_ns: u64) -> WindowReading {
        let factor = if to_ns > self.ages_at_ns { 1.25 } else { 1.0 };
        WindowReading {
            total: Reading::Value(steady(factor * truth(&self.mode).1, from_ns, to_ns)),
            rails: Vec::new(),
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        }
    }

    pub(crate) fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Apply { mode, .. } => {
                self.mode = *mode;
                return Answer::Applied(Ok(Applied { asked: *mode, got: *mode, warnings: Vec::new() }));
            }
            Ask::Steps { min, time_min_ns, .. } => return self.steps(*min, *time_min_ns),
            Ask::Train { steps_min, time_min_ns } => return self.steps(*steps_min, *time_min_ns),
            Ask::Window { from_ns, to_ns } => return Answer::Window(self.window(*from_ns, *to_ns)),
            Ask::Wait { ns } => self.now_ns += ns,
            Ask::Keep { record, purpose } => self.records.push(((**record).clone(), *purpose)),
            Ask::Chosen { tuned, .. } => {
                let choice = tuned.choice().map(|c| (c.setting, c.prediction, self.records.len()));
                self.choice = choice.or(self.choice);
                self.chosen += 1;
            }
            Ask::Warn(message) => self.warnings.push(message.clone()),
            Ask::SetWorkers(_) | Ask::Done(_) => {}
        }
        Answer::Done
    }

    /// Follows a tuner to its end; `before_each` sees the loop before each ask is answered.
    pub(crate) fn follow(
        &mut self,
        tuner: &mut Tuner,
        mut before_each: impl FnMut(&Self, &Ask),
    ) -> Result<(), TuneError> {
        loop {
            let ask = tuner.next(self.now_ns);
            before_each(self, &ask);
            if let Ask::Done(result) = ask {
                return result;
            }
            let answer = self.answer(&ask);
            assert_eq!(tuner.answer(answer), Ok(()));
        }
    }

    pub(crate) fn choice(&self) -> Option<Setting> {
        self.choice.map(|choice| choice.0)
    }
}
