//! Asks the system to read what the workers will need soon, so that storage and decoding overlap. What is
//! read goes to the page cache; nothing is held here.

use std::sync::PoisonError;

use super::Shared;
use super::maker::BatchMaker;
use crate::dataset::Dataset;
use crate::order::Order;

/// Samples that are asked for before the one that is worked on, where each lies somewhere else.
const AHEAD_SAMPLES: u64 = 64;
/// The workers' progress is looked at again after so many samples at the latest.
const STEP_SAMPLES: u64 = 8;

pub(super) struct Readahead {
    /// Samples of the sequence that were asked for.
    asked: u64,
    /// How far to be ahead, in samples.
    ahead: u64,
    epoch: Option<(u32, Order)>,
    /// Samples of a run that no cache has.
    missing: Vec<u32>,
    scratch: Vec<u8>,
}

impl BatchMaker {
    /// Whether asking ahead makes sense: there are files to be read.
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

    /// Until the pipeline is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        let end = shared.maker.position(shared.total);
        while self.asked < end {
            let mut queue = shared.lock();
            loop {
                if queue.closed || queue.died {
                    return;
                }
                let position = queue.position(&shared.maker);
                // What was missed is being read by the workers already.
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

    /// Asks for the next run of samples.
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
