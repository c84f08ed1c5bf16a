//! Where the time of the last steps went: sums over the last ten seconds or so.

use std::collections::VecDeque;

use footplate_core::record::MinibatchRecord;

/// Steps are added up over periods of at least this time.
const STRETCH_NS: u64 = 1_000_000_000;
/// Number of periods that are kept.
const STRETCHES: usize = 10;

/// Time and work of some steps. The parts add up to `step_ns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Number of steps that were added up.
    pub steps: u64,
    /// Samples trained on in these steps.
    pub items: u64,
    /// Time of these steps in nanoseconds, as all that follows.
    pub step_ns: u64,
    /// Stall attributed to storage.
    pub fetch_ns: u64,
    /// Stall attributed to decode and augmentation.
    pub prep_ns: u64,
    /// Stall for the transfer to the device.
    pub transfer_ns: u64,
    /// Time for forward and backward pass and update.
    pub compute_ns: u64,
    /// Time that belongs to none of the above, such as bookkeeping.
    pub other_ns: u64,
}

impl Work {
    /// The time and work of one step.
    pub fn of(step: &MinibatchRecord) -> Self {
        Self {
            steps: 1,
            items: u64::from(step.items),
            step_ns: step.step_ns,
            fetch_ns: step.fetch_stall_ns(),
            prep_ns: step.prep_stall_ns(),
            transfer_ns: step.transfer_ns,
            compute_ns: step.compute_ns,
            other_ns: step.other_ns(),
        }
    }

    /// Adds the time and work of other steps.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.items += other.items;
        // A damaged clock must not end the view.
        self.step_ns = self.step_ns.saturating_add(other.step_ns);
        self.fetch_ns = self.fetch_ns.saturating_add(other.fetch_ns);
        self.prep_ns = self.prep_ns.saturating_add(other.prep_ns);
        self.transfer_ns = self.transfer_ns.saturating_add(other.transfer_ns);
        self.compute_ns = self.compute_ns.saturating_add(other.compute_ns);
        self.other_ns = self.other_ns.saturating_add(other.other_ns);
    }

    /// Samples per second; `None` without steps.
    pub fn items_per_s(&self) -> Option<f64> {
        (self.step_ns > 0).then(|| self.items as f64 * 1e9 / self.step_ns as f64)
    }

    /// Mean time per step in seconds; `None` without steps.
    pub fn step_s(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.step_ns as f64 / 1e9 / self.steps as f64)
    }

    /// Share of the time spent waiting for data, 0 to 1; `None` without steps.
    pub fn stall_share(&self) -> Option<f64> {
        self.shares().map(|[fetch, prep, transfer, ..]| fetch + prep + transfer)
    }

    /// Shares of fetch, prep, transfer, compute and the rest, 0 to 1 each; `None` without steps.
    pub fn shares(&self) -> Option<[f64; 5]> {
        let parts = [self.fetch_ns, self.prep_ns, self.transfer_ns, self.compute_ns, self.other_ns];
        (self.step_ns > 0).then(|| parts.map(|part| part as f64 / self.step_ns as f64))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    stretches: VecDeque<Work>,
}

impl Recent {
    pub(crate) fn push(&mut self, step: &Work) {
        match self.stretches.back_mut() {
            Some(last) if last.step_ns < STRETCH_NS => last.add(step),
            _ => {
                if self.stretches.len() == STRETCHES {
                    self.stretches.pop_front();
                }
                self.stretches.push_back(*step);
            }
        }
    }

    /// All that is remembered.
    pub(crate) fn sum(&self) -> Work {
        let mut sum = Work::default();
        for stretch in &self.stretches {
            sum.add(stretch);
        }
        sum
    }

    pub(crate) fn clear(&mut self) {
        self.stretches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step_ns: u64, items: u64) -> Work {
        Work { steps: 1, items, step_ns, compute_ns: step_ns, ..Work::default() }
    }

    #[test]
    fn a_change_of_speed_is_seen_after_ten_seconds() {
        let mut recent = Recent::default();
        for _ in 0..500 {
            recent.push(&step(100_000_000, 10));
        }
        assert_eq!(recent.sum().items_per_s(), Some(100.0));
        for _ in 0..10 {
            recent.push(&step(1_000_000_000, 10));
        }
        assert_eq!(recent.sum().items_per_s(), Some(10.0));
        assert_eq!(recent.sum().step_s(), Some(1.0));
    }

    #[test]
    fn nothing_has_no_rates() {
        let none = Recent::default().sum();
        assert_eq!((none.items_per_s(), none.step_s(), none.stall_share()), (None, None, None));
    }
}
