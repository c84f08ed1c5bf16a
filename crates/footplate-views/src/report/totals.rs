//! Sums over a log.

use footplate_core::record::{MinibatchRecord, RunEnd};
use footplate_core::{Bytes, Joules, Reading};

/// Adds a time to a sum: a damaged clock must not end the report.
pub(crate) fn add(sum_ns: &mut u64, ns: u64) {
    *sum_ns = sum_ns.saturating_add(ns);
}

/// The time of all processes together, from the first record of each to its last, in seconds.
pub(crate) fn wall_s(processes: &[Process]) -> f64 {
    processes.iter().fold(0u64, |sum, process| sum.saturating_add(process.wall_ns)) as f64 / 1e9
}

/// Sums over steps, in nanoseconds unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) steps: u64,
    pub(crate) items: u64,
    pub(crate) step_ns: u64,
    pub(crate) fetch_stall_ns: u64,
    pub(crate) prep_stall_ns: u64,
    pub(crate) transfer_ns: u64,
    pub(crate) compute_ns: u64,
    pub(crate) other_ns: u64,
    /// Time of the loader's workers, which run beside the loop.
    pub(crate) worker_fetch_ns: u64,
    pub(crate) worker_prep_ns: u64,
    /// Time of the loop spent copying state for checkpoints; part of `other_ns`.
    pub(crate) snapshot_ns: u64,
    pub(crate) validation_ns: u64,
}

impl Totals {
    pub(crate) fn step(&mut self, minibatch: &MinibatchRecord) {
        self.steps += 1;
        self.items += u64::from(minibatch.items);
        add(&mut self.step_ns, minibatch.step_ns);
        add(&mut self.fetch_stall_ns, minibatch.fetch_stall_ns());
        add(&mut self.prep_stall_ns, minibatch.prep_stall_ns());
        add(&mut self.transfer_ns, minibatch.transfer_ns);
        add(&mut self.compute_ns, minibatch.compute_ns);
        add(&mut self.other_ns, minibatch.other_ns());
        add(&mut self.worker_fetch_ns, minibatch.fetch_ns);
        add(&mut self.worker_prep_ns, minibatch.prep_ns);
    }

    /// All the time spent waiting for data.
    pub(crate) fn stall_ns(&self) -> u64 {
        self.fetch_stall_ns.saturating_add(self.prep_stall_ns).saturating_add(self.transfer_ns)
    }

    /// A sum as a share of the training time, 0 to 1.
    pub(crate) fn share(&self, ns: u64) -> Option<f64> {
        (self.step_ns > 0).then(|| ns as f64 / self.step_ns as f64)
    }

    /// A sum divided by the steps, in seconds.
    pub(crate) fn per_step_s(&self, ns: u64) -> Option<f64> {
        (self.steps > 0).then(|| ns as f64 / self.steps as f64 / 1e9)
    }
}

/// Steps while the machine slowed itself down, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Throttling {
    /// Since the last power record: how these count is not known yet.
    open: (u64, u64),
    /// Steps and their nanoseconds.
    pub(crate) slowed: (u64, u64),
    pub(crate) free: (u64, u64),
    pub(crate) slowed_ns: u64,
    pub(crate) watched_ns: u64,
    /// Modes that were set since: with another mode, steps cannot be compared.
    pub(crate) modes: u64,
}

impl Throttling {
    pub(crate) fn step(&mut self, step_ns: u64) {
        self.open = (self.open.0 + 1, self.open.1.saturating_add(step_ns));
    }

    /// From here on the machine is in another mode: steps before cannot be compared with those after.
    pub(crate) fn begin_mode(&mut self) {
        (self.open, self.slowed, self.free, self.modes) = Default::default();
    }

    /// A power record tells of the time since the one before.
    pub(crate) fn window(&mut self, span_ns: u64, throttled: bool) {
        let open = std::mem::take(&mut self.open);
        let side = if throttled { &mut self.slowed } else { &mut self.free };
        *side = (side.0 + open.0, side.1.saturating_add(open.1));
        add(&mut self.watched_ns, span_ns);
        if throttled {
            add(&mut self.slowed_ns, span_ns);
        }
    }

    /// Mean seconds of a step, throttled and not; `None` unless there are enough of both.
    pub(crate) fn means_s(&self) -> Option<(f64, f64)> {
        const ENOUGH: u64 = 10;
        let mean = |(steps, ns): (u64, u64)| (steps >= ENOUGH).then(|| ns as f64 / steps as f64 / 1e9);
        mean(self.slowed).zip(mean(self.free))
    }
}

/// One process of a run: a run that was resumed has several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// From its first record to its last.
    pub(crate) wall_ns: u64,
    pub(crate) end: Option<RunEnd>,
    /// What its power records add up to, and the time that they tell of.
    pub(crate) power_j: f64,
    pub(crate) power_ns: u64,
}

impl Process {
    /// Takes the figures of the process after it: what it has is then said of both.
    pub(crate) fn absorb(&mut self, next: &Self) {
        add(&mut self.wall_ns, next.wall_ns);
        self.power_j += next.power_j;
        add(&mut self.power_ns, next.power_ns);
        self.end = None;
    }

    fn energy(&self) -> Reading<Energy> {
        match self.end.as_ref().map(|end| &end.energy_j) {
            Some(Reading::Value(Joules(joules))) => {
                Reading::Value(Energy { joules: *joules, added_up_ns: 0 })
            }
            Some(Reading::Unreadable { reason }) => Reading::unreadable(reason),
            Some(Reading::Absent) | None if self.power_ns == 0 => Reading::Absent,
            // The process has no end, or its end has no energy: there are only its power records.
            _ => Reading::Value(Energy { joules: self.power_j, added_up_ns: self.power_ns }),
        }
    }
}

/// The energy of a run, from all of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Energy {
    pub(crate) joules: f64,
    /// Time whose energy was added up from power records, because the log lacks a measured one.
    pub(crate) added_up_ns: u64,
}

impl Energy {
    /// Of all processes together; one without a figure leaves the whole without.
    pub(crate) fn of(processes: &[Process]) -> Reading<Self> {
        let none = if processes.is_empty() { Reading::Absent } else { Reading::Value(Self::default()) };
        processes.iter().fold(none, |sum, process| {
            sum.and_then(|sum| {
                process.energy().map(|energy| Self {
                    joules: sum.joules + energy.joules,
                    added_up_ns: sum.added_up_ns.saturating_add(energy.added_up_ns),
                })
            })
        })
    }
}

/// The largest memory that any process of the run told.
pub(crate) fn peak_memory(processes: &[Process]) -> Reading<Bytes> {
    let mut ends = processes.iter().filter_map(|p| p.end.as_ref()).map(|end| &end.peak_memory_bytes);
    let most = ends.clone().filter_map(Reading::value).max();
    most.map_or_else(|| ends.next_back().cloned().unwrap_or(Reading::Absent), |bytes| Reading::Value(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(energy_j: Option<Reading<Joules>>, power: (f64, u64)) -> Process {
        let end = energy_j.map(|energy_j| RunEnd {
            t_ns: 1,
            status: footplate_core::record::RunStatus::Completed,
            steps: 1,
            bad_samples: 0,
            dropped_records: 0,
            peak_memory_bytes: Reading::Absent,
            energy_j,
        });
        Process { wall_ns: 1, end, power_j: power.0, power_ns: power.1 }
    }

    #[test]
    fn energies_of_processes_add_up_and_a_missing_one_is_not_zero() {
        let known = process(Some(Reading::Value(Joules(10.0))), (9.0, 5));
        let torn = process(None, (4.0, 7));
        assert_eq!(
            Energy::of(&[known.clone(), torn]),
            Reading::Value(Energy { joules: 14.0, added_up_ns: 7 })
        );
        assert_eq!(Energy::of(&[known.clone(), process(Some(Reading::Absent), (0.0, 0))]), Reading::Absent);
        let failed = process(Some(Reading::unreadable("denied")), (0.0, 0));
        assert_eq!(Energy::of(&[known, failed]), Reading::unreadable("denied"));
        assert_eq!(Energy::of(&[]), Reading::Absent);
    }

    #[test]
    fn steps_count_as_throttled_by_the_record_that_covers_them() {
        let mut throttling = Throttling::default();
        (0..10).for_each(|_| throttling.step(1_000_000_000));
        throttling.window(10, false);
        assert_eq!(throttling.means_s(), None);
        (0..10).for_each(|_| throttling.step(2_000_000_000));
        throttling.window(30, true);
        assert_eq!(throttling.means_s(), Some((2.0, 1.0)));
        assert_eq!((throttling.slowed_ns, throttling.watched_ns), (30, 40));
    }

    #[test]
    fn the_peak_of_memory_is_the_largest_of_all_processes() {
        let with_memory = |peak_memory_bytes: Reading<Bytes>| {
            let mut process = process(Some(Reading::Absent), (0.0, 0));
            process.end.iter_mut().for_each(|end| end.peak_memory_bytes = peak_memory_bytes.clone());
            process
        };
        let bytes = |count| Reading::Value(Bytes(count));
        let peak = |readings: &[Reading<Bytes>]| {
            peak_memory(&readings.iter().cloned().map(with_memory).collect::<Vec<_>>())
        };
        assert_eq!(peak(&[bytes(5), bytes(7), Reading::Absent]), bytes(7));
        assert_eq!(peak(&[bytes(0), Reading::unreadable("denied")]), bytes(0));
        assert_eq!(peak(&[Reading::Absent, Reading::unreadable("denied")]), Reading::unreadable("denied"));
        assert_eq!(peak(&[]), Reading::Absent);
    }

    #[test]
    fn two_processes_that_become_one_keep_their_sums_and_lose_their_end() {
        let mut first = process(Some(Reading::Value(Joules(10.0))), (3.0, 4));
        first.absorb(&process(None, (5.0, 6)));
        assert_eq!((first.power_j, first.power_ns, wall_s(&[first.clone()])), (8.0, 10, 2e-9));
        assert_eq!(first.energy(), Reading::Value(Energy { joules: 8.0, added_up_ns: 10 }));
    }

    proptest! {
        /// The parts of a step never exceed it, whatever the loader says of its workers.
        #[test]
        fn the_waits_are_the_stall(steps in prop::collection::vec(prop::array::uniform5(0u64..1_000_000), 1..40)) {
            let mut totals = Totals::default();
            let mut stalls = 0;
            for [fetch_ns, prep_ns, transfer_ns, stall_ns, compute_ns] in steps {
                let (stall_ns, step_ns) = (stall_ns + transfer_ns, stall_ns + transfer_ns + compute_ns);
                let minibatch = crate::testing::minibatch(0, step_ns);
                totals.step(&MinibatchRecord { fetch_ns, prep_ns, transfer_ns, stall_ns, compute_ns, step_ns, ..minibatch });
                // Without a worker's time on it, a wait is attributed to prep.
                stalls += stall_ns;
            }
            prop_assert_eq!(totals.stall_ns(), stalls);
            prop_assert_eq!(totals.stall_ns() + totals.compute_ns + totals.other_ns, totals.step_ns);
        }
    }
}
