//! Decides what to measure next: first settings that fill the space, then those that tell most about the promising
//! ones, then those that are expected to improve the choice most under its limits.

mod exploring;
mod improving;
mod outlook;

pub use self::outlook::Outlook;

use crate::goal::Goal;
use crate::predict::{Measurement, Source};
use crate::rng::Rng;
use crate::setting::{Knobs, Setting};

/// Bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// Settings that may be measured, at least 1.
    pub profiles: usize,
    /// Settings that fill the space at the beginning.
    pub starts: usize,
    /// The search ends when the expected improvement of the objective falls below this share of it.
    pub least_gain: f64,
    /// Seed of the draws that pick settings to compare.
    pub seed: u64,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { profiles: 12, starts: 4, least_gain: 0.002, seed: 0 }
    }
}

/// The next step of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// This setting is to be measured.
    Profile(Setting),
    /// The search is over.
    Done(Stop),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No other setting is expected to improve the objective by enough.
    Settled,
    /// As many settings were measured as may be.
    Allowance,
    /// Every setting was measured or left out.
    Exhausted,
    /// No setting has a chance to hold the limits.
    Hopeless,
}

/// The state of a search: its space, its goal, and what was measured.
#[derive(Clone, Debug)]
pub struct Search {
    space: Vec<Setting>,
    knobs: Knobs,
    goal: Goal,
    options: SearchOptions,
    measured: Vec<Measurement>,
    /// What is known of other jobs.
    sources: Vec<Source>,
    /// For each setting of the space: it cannot be set, or it breaks a limit that is not predicted.
    forbidden: Vec<bool>,
    /// Measurements that were there before this search began and are not counted.
    given: usize,
    /// Number of settings that got too hot or throttled.
    retreats: i32,
    rng: Rng,
}

impl Search {
    /// A search in `space`, each setting of which should be there once.
    pub fn new(space: Vec<Setting>, goal: Goal, options: SearchOptions) -> Self {
        let knobs = Knobs::of(&space);
        let forbidden = vec![false; space.len()];
        let rng = Rng::new(options.seed);
        Self {
            space,
            knobs,
            goal,
            options,
            measured: Vec::new(),
            sources: Vec::new(),
            forbidden,
            given: 0,
            retreats: 0,
            rng,
        }
    }

    /// Adds what is known of another job: it is believed as far as it helps to predict what is measured of this one.
    pub fn learn_from(&mut self, source: Source) {
        self.sources.push(source);
    }

    /// Adds a measurement that counts against the allowance.
    pub fn record(&mut self, measurement: Measurement) {
        self.measured.push(measurement);
    }

    /// Adds a measurement that does not count against the allowance.
    pub fn record_uncounted(&mut self, measurement: Measurement) {
        self.given += 1;
        self.measured.push(measurement);
    }

    /// Leaves a setting out: it cannot be set, or it breaks a limit that is not predicted.
    pub fn forbid(&mut self, setting: &Setting) {
        if let Some(index) = self.space.iter().position(|s| s == setting) {
            self.forbidden[index] = true;
        }
    }

    /// Leaves out a setting that got too hot, and all that have every knob at least as high.
    pub fn forbid_from(&mut self, setting: &Setting) {
        let floor = self.knobs.point(setting);
        let (knobs, space) = (&self.knobs, &self.space);
        let is_above = |other: &Setting| {
            let point = knobs.point(other);
            knobs.varying().all(|knob| point[knob as usize] >= floor[knob as usize])
        };
        let out: Vec<bool> = space.iter().map(is_above).collect();
        self.forbidden.iter_mut().zip(out).for_each(|(forbidden, out)| *forbidden |= out);
        self.retreats += 1;
    }

    /// Leaves out all settings for which `is_out` is true.
    pub fn forbid_where(&mut self, is_out: impl Fn(&Setting) -> bool) {
        let out = self.space.iter().map(is_out);
        self.forbidden.iter_mut().zip(out).for_each(|(forbidden, out)| *forbidden |= out);
    }

    /// Whether a setting was left out.
    pub fn is_forbidden(&self, index: usize) -> bool {
        self.forbidden[index]
    }

    /// Replaces the goal, such as by one with tighter limits.
    pub fn set_goal(&mut self, goal: Goal) {
        self.goal = goal;
    }

    /// The goal as it stands: a search may tighten its limits.
    pub fn goal(&self) -> &Goal {
        &self.goal
    }

    /// All settings that can be chosen.
    pub fn space(&self) -> &[Setting] {
        &self.space
    }

    /// The knobs that vary.
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// All measurements, in order.
    pub fn measured(&self) -> &[Measurement] {
        &self.measured
    }

    /// How often a setting was measured.
    pub fn looks(&self, setting: &Setting) -> usize {
        self.measured.iter().filter(|m| m.setting == *setting).count()
    }

    /// Measurements that count against the allowance.
    pub fn used(&self) -> usize {
        self.measured.len() - self.given
    }

    fn is_measured(&self, setting: &Setting) -> bool {
        self.measured.iter().any(|m| m.setting == *setting)
    }

    /// What to measure next. The same seed and measurements give the same answer.
    #[expect(clippy::should_implement_trait, reason = "a search ends with a reason, an iterator without one")]
    pub fn next(&mut self) -> Next {
        let open = self.open();
        if open.is_empty() {
            return Next::Done(Stop::Exhausted);
        }
        if self.used() >= self.options.profiles {
            return Next::Done(Stop::Allowance);
        }
        if self.measured.len() < self.options.starts {
            let index = self.fill_space(&open, self.goal.needs_power());
            return Next::Profile(self.space[index]);
        }
        let outlook = self.outlook();
        let explore_until =
            self.options.starts + self.options.profiles.saturating_sub(self.options.starts) / 3;
        if self.measured.len() < explore_until {
            let index = self.explore(&open, &outlook);
            return Next::Profile(self.space[index]);
        }
        self.most_improving(&open, &outlook)
    }

    /// What to measure next if the whole space is to be known and there is no goal; `None` when the allowance is
    /// used.
    pub fn next_to_explore(&mut self) -> Option<Setting> {
        let open: Vec<usize> = (0..self.space.len()).filter(|i| !self.is_measured(&self.space[*i])).collect();
        if open.is_empty() || self.used() >= self.options.profiles {
            return None;
        }
        if self.measured.len() < self.options.starts {
            let index = self.fill_space(&open, false);
            return Some(self.space[index]);
        }
        let predictor = self.predictor();
        let everywhere: Vec<usize> = (0..self.space.len()).collect();
        let index = self.most_informative(&open, &everywhere, &predictor);
        Some(self.space[index])
    }

    fn open(&self) -> Vec<usize> {
        (0..self.space.len()).filter(|i| !self.forbidden[*i] && !self.is_measured(&self.space[*i])).collect()
    }
}
