//! Where the time of a training job goes, and what would change it: a model of rates. It measures nothing.
//!
//! All costs are seconds for one item (an image, or a window of text). `docs/stalls.md` says where each figure comes from
//! and derives the formulas.

use serde::Serialize;

/// Changes with a smaller relative gain are not recommended.
pub const LEAST_GAIN: f64 = 0.03;
/// A number of workers is as good as the best if its rate is lower by at most this share.
const AS_GOOD: f64 = 0.01;
/// The most workers for each core that are considered.
const WORKERS_PER_CORE: usize = 2;
/// Bisection steps for the rate: their error is far below that of any measurement.
const HALVINGS: usize = 60;

/// What one item costs, by stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Forward, backward and update while nothing else runs, in seconds.
    pub compute_s: f64,
    /// CPU time of forward, backward and update, summed over all threads, in seconds.
    pub compute_cpu_s: f64,
    /// Time that the training loop waits for the copy to the device, in seconds.
    pub transfer_s: f64,
    /// The training loop's own work, in seconds.
    pub other_s: f64,
    /// CPU time of a worker to decode, augment and collate, in seconds.
    pub prep_s: f64,
    /// CPU time of a worker to read an item from the page cache, in seconds.
    pub fetch_cpu_s: f64,
    /// Time that a worker waits for storage, in seconds; 0 where the data is in memory.
    pub fetch_wait_s: f64,
    /// Items per second that the storage gives at most; `None` if it sets no limit.
    pub storage_per_s: Option<f64>,
}

/// A training step as three parts: waiting for a device, work for one core, and work that all cores share (Amdahl 1967,
/// "Validity of the single processor approach to achieving large scale computing capabilities").
#[derive(Clone, Copy, Debug)]
struct Step {
    waiting_s: f64,
    serial_s: f64,
    parallel_s: f64,
}

impl Step {
    /// From the wall and the CPU time that were measured while `cores` cores were free.
    fn of(wall_s: f64, cpu_s: f64, cores: f64) -> Self {
        if cpu_s <= wall_s || cores <= 1.0 {
            let serial_s = cpu_s.min(wall_s);
            return Self { waiting_s: wall_s - serial_s, serial_s, parallel_s: 0.0 };
        }
        let parallel_s = ((cpu_s - wall_s) * cores / (cores - 1.0)).min(wall_s * cores);
        Self { waiting_s: 0.0, serial_s: (wall_s - parallel_s / cores).max(0.0), parallel_s }
    }

    /// Its wall time in seconds if it has `cores` cores on average.
    fn wall_s(&self, cores: f64) -> f64 {
        self.waiting_s + self.serial_s / cores.min(1.0) + self.parallel_s / cores
    }
}

impl Costs {
    /// CPU time of a worker for one item, in seconds.
    pub fn worker_s(&self) -> f64 {
        self.prep_s + self.fetch_cpu_s
    }

    /// Items per second of the training loop if it never waited for minibatches, and making them took no CPU time.
    pub fn loop_per_s(&self) -> f64 {
        1.0 / (self.compute_s + self.transfer_s + self.other_s)
    }

    /// Items per second of the whole job.
    ///
    /// With workers, it is the largest rate that four things allow: the loop, on the cores that the workers leave it; the
    /// workers, each of which takes its time for an item; the cores, which must do all the work; and the storage. Without
    /// workers, everything happens in turn.
    pub fn rate(&self, workers: usize, cores: usize) -> f64 {
        let all = cores.max(1) as f64;
        let each = self.worker_s() + self.fetch_wait_s;
        if workers == 0 {
            let in_turn = 1.0 / (1.0 / self.loop_per_s() + each);
            return self.storage_per_s.map_or(in_turn, |storage| storage.min(in_turn));
        }
        let step = Step::of(self.compute_s, self.compute_cpu_s, all);
        let fits = |rate: f64| {
            let left = all - rate * self.worker_s();
            left > 0.0 && rate * (step.wall_s(left) + self.transfer_s + self.other_s) <= 1.0
        };
        let (mut low, mut high) = (0.0, self.loop_per_s());
        if fits(high) {
            low = high;
        } else if high.is_infinite() {
            // The loop takes no time: the cores alone decide.
            low = all / self.worker_s();
        } else {
            for _ in 0..HALVINGS {
                let middle = (low + high) / 2.0;
                if fits(middle) { low = middle } else { high = middle }
            }
        }
        let by_workers = workers as f64 / each;
        let by_storage = self.storage_per_s.unwrap_or(f64::INFINITY);
        low.min(by_workers).min(by_storage)
    }

    /// The costs if one stage took no time.
    pub fn without(&self, stage: Stage) -> Self {
        match stage {
            Stage::Compute => Self { compute_s: 0.0, compute_cpu_s: 0.0, other_s: 0.0, ..*self },
            Stage::Prep => Self { prep_s: 0.0, ..*self },
            Stage::Fetch => Self { fetch_cpu_s: 0.0, fetch_wait_s: 0.0, storage_per_s: None, ..*self },
            Stage::Transfer => Self { transfer_s: 0.0, ..*self },
        }
    }

    /// The costs if a share of the items, 0 to 1, is read from memory instead of storage.
    #[must_use]
    pub fn with_hits(&self, share: f64) -> Self {
        let missed = (1.0 - share).max(0.0);
        let storage_per_s = match self.storage_per_s {
            Some(rate) if missed > 0.0 => Some(rate / missed),
            _ => None,
        };
        Self { fetch_wait_s: self.fetch_wait_s * missed, storage_per_s, ..*self }
    }
}

/// A stage that each item passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Forward, backward and update on the device that trains.
    Compute,
    /// Decoding, augmentation and collation by the workers.
    Prep,
    /// Reading files from storage or memory.
    Fetch,
    /// The copy of a minibatch to the device.
    Transfer,
}

/// All stages, in the order in which they are printed.
pub const STAGES: [Stage; 4] = [Stage::Compute, Stage::Prep, Stage::Fetch, Stage::Transfer];

/// The stage that limits a job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bottleneck {
    /// The stage.
    pub stage: Stage,
    /// How many times faster the job would be if the stage took no time; infinite if nothing else takes time.
    pub gain_if_free: f64,
}

/// The stage without which the job would be fastest. Of several that limit the job alike, the one that costs most.
pub fn bottleneck(costs: &Costs, workers: usize, cores: usize) -> Bottleneck {
    let rate = costs.rate(workers, cores);
    let gain = |stage: Stage| costs.without(stage).rate(workers, cores) / rate;
    let alone = |stage: Stage| match stage {
        Stage::Compute => costs.compute_s + costs.other_s,
        Stage::Prep => costs.prep_s / workers.clamp(1, cores.max(1)) as f64,
        Stage::Fetch => costs.storage_per_s.map_or(costs.fetch_cpu_s, |rate| 1.0 / rate),
        Stage::Transfer => costs.transfer_s,
    };
    let mut best = (Stage::Compute, gain(Stage::Compute));
    for stage in [Stage::Prep, Stage::Fetch, Stage::Transfer] {
        let this = gain(stage);
        let alike = (this - best.1).abs() <= 1e-9 * this;
        if this > best.1 && !alike || alike && alone(stage) > alone(best.0) {
            best = (stage, this);
        }
    }
    Bottleneck { stage: best.0, gain_if_free: best.1 }
}

/// Where the time of one item went in a real run, in seconds. The parts add up to the time of a step, divided by its
/// items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TimeBreakdown {
    /// The time that the step takes while nothing else runs.
    pub compute_s: f64,
    /// The additional time of the step because workers used the same cores.
    pub slowed_s: f64,
    /// Waiting for minibatches, attributed to decoding, augmentation and collation.
    pub prep_stall_s: f64,
    /// Waiting for minibatches, attributed to reading.
    pub fetch_stall_s: f64,
    /// Waiting for the copy to the device.
    pub transfer_s: f64,
    /// The training loop's own work.
    pub other_s: f64,
}

impl TimeBreakdown {
    /// The time of one item: the sum of all parts.
    pub fn total_s(&self) -> f64 {
        self.compute_s + self.slowed_s + self.stall_s() + self.other_s
    }

    /// The time that the training loop waited: for minibatches, and for the copy to the device.
    pub fn stall_s(&self) -> f64 {
        self.prep_stall_s + self.fetch_stall_s + self.transfer_s
    }

    /// The share of the time that the training loop waited, 0 to 1; `None` if the total is zero.
    pub fn stall_fraction(&self) -> Option<f64> {
        (self.total_s() > 0.0).then(|| self.stall_s() / self.total_s())
    }

    /// Divides the compute time into `alone_s`, which the step takes while nothing else runs, and the rest.
    #[must_use]
    pub fn against(self, alone_s: f64) -> Self {
        let real = self.compute_s + self.slowed_s;
        let compute_s = real.min(alone_s);
        Self { compute_s, slowed_s: real - compute_s, ..self }
    }
}

/// The share of reads that are hits in a page cache that holds the share *c* of the data set, if each epoch reads every item
/// once in a new random order and the least recently used item is evicted: `c + (1 - c) ln(1 - c)` (derived in
/// `docs/stalls.md`).
pub fn lru_hits(share: f64) -> f64 {
    let (c, missed) = (share.clamp(0.0, 1.0), 1.0 - share.clamp(0.0, 1.0));
    if missed == 0.0 { 1.0 } else { (c + missed * missed.ln()).max(0.0) }
}

/// The page cache holds a data set that is smaller than this share of the free memory; the loader's own cache may take the
/// same share.
pub const FITS: f64 = 0.8;
/// Smaller caches are not recommended.
const CACHE_MIN: u64 = 16 << 20;

/// The size of a cache in memory for a data set of `data_bytes`, where `free` bytes are left. `None` if the page cache holds
/// all of the data, or if too little is free. If it does not, a cache of our own is better than the page cache, which would
/// evict just what is needed next.
pub fn cache_size(data_bytes: u64, free: u64) -> Option<u64> {
    let most = (free as f64 * FITS) as u64;
    (data_bytes > most && most >= CACHE_MIN).then_some(most)
}

/// A change of a job that may make it faster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Another number of workers.
    Workers {
        /// Threads that make minibatches.
        workers: usize,
    },
    /// Pixels are copied to the device as bytes and normalised there.
    PixelsU8,
    /// The data set in shards with an index of entropy checkpoints.
    IndexedShards,
    /// A fixed part of the data set is kept in memory.
    Cache {
        /// Its size in bytes.
        bytes: u64,
    },
    /// Storage that is as fast as memory.
    FasterStorage {
        /// Items per second that the storage must give for the whole gain.
        items_per_s: f64,
    },
    /// Smaller images as the input of the model.
    ImageSize {
        /// Their side in pixels.
        pixels: u32,
    },
    /// Another number of samples in a minibatch.
    BatchSize {
        /// The number of samples.
        samples: usize,
    },
    /// A lower clock of the device that trains, which slows nothing down while it waits for data.
    GpuClock {
        /// The share of the clock at which it just keeps up with its data, 0 to 1.
        enough: f64,
    },
}

impl Change {
    /// Whether training would give a different network.
    pub fn changes_training(&self) -> bool {
        matches!(self, Self::ImageSize { .. } | Self::BatchSize { .. })
    }
}

/// A job as it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// The costs of one item.
    pub costs: Costs,
    /// Threads that make minibatches; 0 if the training loop makes them.
    pub workers: usize,
    /// CPU cores that the process may use.
    pub cores: usize,
    /// Items per second of the real run, if there was one.
    pub measured_per_s: Option<f64>,
}

/// A job after a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The change.
    pub change: Change,
    /// The costs of one item after it.
    pub costs: Costs,
    /// Threads that make minibatches after it.
    pub workers: usize,
}

/// A change that makes the job faster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Items per second after it. An estimate.
    pub predicted_per_s: f64,
    /// The relative gain: the rate after it over the rate before, less 1.
    pub gain: f64,
    /// Whether training would give a different network.
    pub changes_training: bool,
}

impl Situation {
    /// Items per second by the model alone.
    pub fn modelled_per_s(&self) -> f64 {
        self.costs.rate(self.workers, self.cores)
    }

    /// Items per second before any change: as measured, or else by the model.
    pub fn present_per_s(&self) -> f64 {
        self.measured_per_s.unwrap_or_else(|| self.modelled_per_s())
    }

    /// Items per second after a change: the measured rate, times the ratio of the model's rates after and before it. So the
    /// model's error in the present situation cancels out. The prediction never exceeds what the loop alone or the storage
    /// allow, unless more was measured.
    pub fn predicted_per_s(&self, candidate: &Candidate) -> f64 {
        let model = candidate.costs.rate(candidate.workers, self.cores);
        let Some(measured) = self.measured_per_s else { return model };
        let moved = measured * model / self.modelled_per_s();
        let storage = candidate.costs.storage_per_s.unwrap_or(f64::INFINITY);
        moved.min(candidate.costs.loop_per_s().min(storage).max(measured))
    }

    /// The best number of workers: the smallest one that is as good as the best.
    pub fn best_workers(&self, workers_max: usize) -> Candidate {
        let most = (self.cores * WORKERS_PER_CORE).max(self.workers).min(workers_max.max(1));
        let rate = |workers: usize| self.costs.rate(workers, self.cores);
        let best = (0..=most).map(rate).fold(0.0, f64::max);
        let workers = (0..=most).find(|w| rate(*w) >= best * (1.0 - AS_GOOD)).unwrap_or(self.workers);
        Candidate { change: Change::Workers { workers }, costs: self.costs, workers }
    }

    /// Storage as fast as memory, and the rate that it must give.
    pub fn faster_storage(&self) -> Candidate {
        let costs = Costs { fetch_wait_s: 0.0, storage_per_s: None, ..self.costs };
        let items_per_s = costs.rate(self.workers, self.cores);
        Candidate { change: Change::FasterStorage { items_per_s }, costs, workers: self.workers }
    }

    /// A cache that holds `bytes` of a data set of `data_bytes` and evicts nothing. `uncached` are the costs if every item
    /// came from storage.
    pub fn cached(&self, uncached: &Costs, bytes: u64, data_bytes: u64) -> Candidate {
        let share = (bytes as f64 / data_bytes.max(1) as f64).min(1.0);
        Candidate { change: Change::Cache { bytes }, costs: uncached.with_hits(share), workers: self.workers }
    }

    /// The lower clock at which the device still keeps up with its data; `None` if it has no time to spare.
    pub fn gpu_clock(&self) -> Option<Change> {
        let busy = self.present_per_s() * (self.costs.compute_s + self.costs.transfer_s + self.costs.other_s);
        (busy < 1.0 - LEAST_GAIN).then_some(Change::GpuClock { enough: busy.max(0.0) })
    }

    /// Those of `candidates` that make the job faster, the best first. Those that change what is learnt come last.
    pub fn rank(&self, candidates: &[Candidate]) -> Vec<Recommendation> {
        let present = self.present_per_s();
        let mut ranked: Vec<Recommendation> = candidates
            .iter()
            .map(|candidate| {
                let predicted_per_s = self.predicted_per_s(candidate);
                let change = match candidate.change {
                    Change::FasterStorage { .. } => Change::FasterStorage { items_per_s: predicted_per_s },
                    other => other,
                };
                Recommendation {
                    change,
                    predicted_per_s,
                    gain: predicted_per_s / present - 1.0,
                    changes_training: candidate.change.changes_training(),
                }
            })
            .filter(|r| r.gain.is_finite() && r.gain >= LEAST_GAIN)
            .collect();
        ranked.sort_by(|a, b| {
            a.changes_training.cmp(&b.changes_training).then(b.predicted_per_s.total_cmp(&a.predicted_per_s))
        });
        ranked
    }
}

#[cfg(test)]
mod tests;
