//! A thread that asks the system to read ahead what the workers will need soon, so that reading and decoding overlap. The
//! data goes to the page cache; nothing is held here.

use std::sync::PoisonError;

use super::Shared;
use super::maker::BatchMaker;
use crate::dataset::Dataset;
use crate::order::Order;

/// How many samples to be ahead of the workers where each sample is a file of its own.
const AHEAD_SAMPLES: u64 = 64;
/// The workers' progress is checked again after so many samples at the latest.
const STEP_SAMPLES: u64 = 8;

pub(super) struct Readahead {
    /// Number of samples of the sequence that were asked for.
    asked: u64,
    /// How many samples to be ahead of the workers.
    ahead: u64,
    epoch: Option<(u32, Order)>,
    /// Samples of a range that are not in the cache.
    missing: Vec<u32>,
    scratch: Vec<u8>,
}

impl BatchMaker {
    /// Whether reading ahead makes sense: the samples are in files.
    pub(super) fn reads_ahead(&self) -> bool {
        matches!(self.dataset.as_ref(), Dataset::Images(images) if images.store.is_on_disk())
    }
}

impl Readahead {
    pub(super) fn new(maker: &BatchMaker) -> Self {
        Self {
            asked: 0,
            ahead: maker.visit.window().max(AHEAD_SAMPLES),
            epoch: None,
            missing: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Reads ahead until the end of the sequence, or until the pipeline is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        let end = shared.maker.position(shared.total);
        while self.asked < end {
            let mut queue = shared.lock();
            loop {
                if queue.closed || queue.died {
                    return;
                }
                let position = queue.position(&shared.maker);
                // The workers are reading what was missed already.
                self.asked = self.asked.max(position);
                if self.asked + STEP_SAMPLES <= position + self.ahead || self.asked < self.ahead {
                    break;
                }
                queue = shared.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            drop(queue);
            for _ in 0..STEP_SAMPLES {
                if self.asked < end {
                    self.ask(&shared.maker);
                }
            }
        }
    }

    /// Asks for the next range of samples.
    fn ask(&mut self, maker: &BatchMaker) {
        let (epoch, place) = maker.place(self.asked);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, maker.order(epoch)));
        }
        let (Some((_, order)), Dataset::Images(images)) = (&self.epoch, maker.dataset.as_ref()) else {
            return;
        };
        let (runs, next) = order.runs_at(place);
        let split = images.split(maker.split);
        for (first, count) in runs {
            let run = &split[first as usize..(first + count) as usize];
            self.missing.clear();
            self.missing.extend(run.iter().filter(|index| !maker.cache.holds(**index as usize)));
            images.store.advise(&self.missing, &mut self.scratch);
        }
        self.asked += next - place;
    }
}
