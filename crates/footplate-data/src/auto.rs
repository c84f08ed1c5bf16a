//! Chooses the number of workers and how far ahead the pipeline works, by what the consumer waits for: a state machine
//! without a clock of its own.
//!
//! More workers are tried while the consumer waits and the amount of work asks for them; fewer while it does not wait and
//! fewer would suffice. Each change is a trial: one that did not help is undone, and not tried again until the rates
//! themselves have changed. So it comes to rest.

/// What a pipeline can choose about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineSize {
    /// Threads that make minibatches, at least 1.
    pub workers: usize,
    /// Minibatches that are made ahead of the consumer, at least 1.
    pub depth: usize,
}

/// The most workers and the greatest depth that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) workers: usize,
    pub(crate) depth: usize,
}

/// Times of one minibatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    /// How long the consumer waited for it.
    pub(crate) wait_ns: u64,
    /// How long the consumer was busy before that, since the previous minibatch.
    pub(crate) busy_ns: u64,
    /// The time that workers spent on it, summed over the workers.
    pub(crate) work_ns: u64,
}

/// A window of measurements has at least this many minibatches.
const WINDOW_BATCHES: u32 = 8;
/// A window lasts at least so long.
const WINDOW_NS: u64 = 300_000_000;
/// From this share of its time on, the consumer is said to wait.
const STALLED: f64 = 0.02;
/// Below this share of its time, the consumer is said not to wait.
const SMOOTH: f64 = 0.005;
/// A smaller relative change of the time per minibatch is taken for noise.
const GAIN: f64 = 0.01;
/// Rates that differ by this factor have changed.
const OTHER: f64 = 1.3;
/// Windows without waiting before fewer workers are tried.
const PATIENCE: u32 = 4;
/// The depth at the start: one minibatch being taken, one ready, one being made.
const DEPTH_START: usize = 3;

/// Mean times of a minibatch over a window, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    wait: f64,
    busy: f64,
    work: f64,
}

impl Rates {
    fn interval(&self) -> f64 {
        self.wait + self.busy
    }

    fn stall(&self) -> f64 {
        self.wait / self.interval().max(1.0)
    }

    fn differ(&self, other: &Self) -> bool {
        let far = |a: f64, b: f64| a > b * OTHER || b > a * OTHER;
        far(self.busy, other.busy) || far(self.work, other.work)
    }
}

/// A change that has to show what it is good for.
#[derive(Clone, Copy, Debug)]
struct Trial {
    before: PipelineSize,
    interval_before: f64,
    /// The next window is skipped: it still has minibatches from before the change.
    settling: bool,
}

/// Chooses workers and depth.
#[derive(Debug)]
pub(crate) struct AutoLoader {
    limits: Limits,
    size: PipelineSize,
    /// Bounds that trials have found: with fewer workers the consumer waits, more do not help.
    floor: usize,
    ceiling: PipelineSize,
    batches: u32,
    sums: [u64; 3],
    trial: Option<Trial>,
    smooth_windows: u32,
    /// The rates at the last decision.
    known: Option<Rates>,
}

impl AutoLoader {
    pub(crate) fn new(workers: usize, limits: Limits) -> Self {
        let limits = Limits { workers: limits.workers.max(1), depth: limits.depth.max(1) };
        Self {
            size: PipelineSize {
                workers: workers.clamp(1, limits.workers),
                depth: DEPTH_START.min(limits.depth),
            },
            floor: 1,
            ceiling: PipelineSize { workers: limits.workers, depth: limits.depth },
            limits,
            batches: 0,
            sums: [0; 3],
            trial: None,
            smooth_windows: 0,
            known: None,
        }
    }

    pub(crate) fn size(&self) -> PipelineSize {
        self.size
    }

    /// Records one minibatch; returns the new size if it changes.
    pub(crate) fn observe(&mut self, observation: Observation) -> Option<PipelineSize> {
        self.batches += 1;
        for (sum, value) in
            self.sums.iter_mut().zip([observation.wait_ns, observation.busy_ns, observation.work_ns])
        {
            *sum = sum.saturating_add(value);
        }
        if self.batches < WINDOW_BATCHES || self.sums[0].saturating_add(self.sums[1]) < WINDOW_NS {
            return None;
        }
        let [wait, busy, work] = self.sums.map(|sum| sum as f64 / f64::from(self.batches));
        (self.batches, self.sums) = (0, [0; 3]);
        let before = self.size;
        self.decide(Rates { wait, busy, work });
        (self.size != before).then_some(self.size)
    }

    fn decide(&mut self, rates: Rates) {
        if let Some(trial) = &mut self.trial {
            if std::mem::take(&mut trial.settling) {
                return;
            }
            let trial = *trial;
            self.trial = None;
            if self.judge(trial, &rates) {
                return;
            }
        }
        if self.known.is_some_and(|known| known.differ(&rates)) {
            self.floor = 1;
            self.ceiling = PipelineSize { workers: self.limits.workers, depth: self.limits.depth };
        }
        self.known = Some(rates);
        let wanted = self.wanted(&rates);
        if wanted != self.size {
            self.trial = Some(Trial { before: self.size, interval_before: rates.interval(), settling: true });
            self.size = wanted;
        }
    }

    /// Undoes a change that did not help, and tells whether it did.
    fn judge(&mut self, trial: Trial, rates: &Rates) -> bool {
        let Trial { before, interval_before, .. } = trial;
        let now = self.size;
        let grew = now.workers > before.workers || now.depth > before.depth;
        let back = if grew {
            rates.interval() > interval_before * (1.0 - GAIN)
        } else {
            rates.stall() > STALLED && rates.interval() > interval_before * (1.0 + GAIN)
        };
        if !back {
            return false;
        }
        if now.workers > before.workers {
            self.ceiling.workers = before.workers;
        } else if now.depth > before.depth {
            self.ceiling.depth = before.depth;
        } else {
            self.floor = before.workers;
        }
        self.size = before;
        true
    }

    /// The size for these rates; the present one if they give no reason for another.
    fn wanted(&mut self, rates: &Rates) -> PipelineSize {
        // Little's law (1961): so many workers are busy at once if the consumer never waits.
        let needed = |margin: f64| (rates.work / rates.busy.max(1.0) * margin).ceil().max(1.0) as usize;
        let PipelineSize { workers, depth } = self.size;
        if rates.stall() > STALLED {
            self.smooth_windows = 0;
            if needed(1.05) > workers && workers < self.ceiling.workers {
                let more = needed(1.05).min(2 * workers).min(self.ceiling.workers);
                return PipelineSize { workers: more, depth };
            }
            if depth < self.ceiling.depth {
                return PipelineSize { workers, depth: depth + 1 };
            }
        } else if rates.stall() < SMOOTH {
            self.smooth_windows += 1;
            let fewer = needed(1.3).max(self.floor);
            if self.smooth_windows >= PATIENCE && fewer < workers {
                self.smooth_windows = 0;
                return PipelineSize { workers: fewer, depth };
            }
        }
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A machine with so many cores: workers slow each other down beyond that.
    fn play(auto: &mut AutoLoader, windows: usize, busy_ns: f64, work_ns: f64, cores: f64) -> usize {
        let mut changes = 0;
        for _ in 0..windows * WINDOW_BATCHES as usize {
            let workers = auto.size().workers as f64;
            let interval = (work_ns / workers.min(cores)).max(busy_ns);
            let observation = Observation {
                wait_ns: (interval - busy_ns) as u64,
                busy_ns: busy_ns as u64,
                work_ns: (work_ns * (workers / cores).max(1.0)) as u64,
            };
            changes += usize::from(auto.observe(observation).is_some());
        }
        changes
    }

    const LIMITS: Limits = Limits { workers: 16, depth: 6 };

    #[test]
    fn a_prep_bound_job_gets_the_workers_that_it_needs_and_no_more() {
        let mut auto = AutoLoader::new(1, LIMITS);
        play(&mut auto, 30, 50e6, 220e6, 16.0);
        assert_eq!(auto.size().workers, 5);
        let mut auto = AutoLoader::new(1, LIMITS);
        play(&mut auto, 60, 50e6, 2000e6, 4.0);
        assert!((4..=8).contains(&auto.size().workers), "{:?}", auto.size());
    }

    #[test]
    fn a_compute_bound_job_gives_workers_back() {
        let mut auto = AutoLoader::new(12, LIMITS);
        play(&mut auto, 30, 100e6, 110e6, 12.0);
        assert_eq!(auto.size().workers, 2);
    }

    #[test]
    fn other_rates_are_looked_at_anew() {
        let mut auto = AutoLoader::new(2, LIMITS);
        play(&mut auto, 30, 100e6, 110e6, 12.0);
        assert_eq!(auto.size().workers, 2);
        // The CPU was throttled to a third: three times the work.
        play(&mut auto, 30, 100e6, 330e6, 12.0);
        assert_eq!(auto.size().workers, 4);
    }

    #[test]
    fn too_few_minibatches_decide_nothing() {
        let mut auto = AutoLoader::new(1, LIMITS);
        for _ in 0..WINDOW_BATCHES - 1 {
            let observation = Observation { wait_ns: 1 << 40, busy_ns: 1, work_ns: 1 << 41 };
            assert_eq!(auto.observe(observation), None);
        }
    }

    proptest! {
        /// At steady rates it comes to rest, within its limits.
        #[test]
        fn it_comes_to_rest(start in 1usize..16, busy in 1e6f64..1e9, work in 1e6f64..1e10, cores in 1f64..16.0) {
            let mut auto = AutoLoader::new(start, LIMITS);
            play(&mut auto, 100, busy, work, cores);
            let rest = auto.size();
            prop_assert!(rest.workers <= LIMITS.workers && rest.depth <= LIMITS.depth);
            prop_assert_eq!(play(&mut auto, 200, busy, work, cores), 0, "{:?}", rest);
            // And what it rests at is nearly as good as the best.
            let interval = |workers: f64| (work / workers.min(cores)).max(busy);
            prop_assert!(interval(rest.workers as f64) <= interval(16.0) * 1.08, "{:?}", rest);
        }

        /// Whatever it sees, it stays within its limits.
        #[test]
        fn it_stays_within_its_limits(observation in prop::collection::vec((0u64..1 << 34, 0u64..1 << 34, 0u64..1 << 36), 1..400)) {
            let mut auto = AutoLoader::new(3, LIMITS);
            for (wait_ns, busy_ns, work_ns) in observation {
                auto.observe(Observation { wait_ns, busy_ns, work_ns });
                let now = auto.size();
                prop_assert!((1..=LIMITS.workers).contains(&now.workers) && (1..=LIMITS.depth).contains(&now.depth));
            }
        }
    }
}
