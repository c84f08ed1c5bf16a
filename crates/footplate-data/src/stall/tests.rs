//! The model on rates whose answer is known, and its laws on any rates.

use proptest::prelude::*;

use super::*;

/// A job on a GPU: the step costs the cpu little.
const GPU: Costs = Costs {
    compute_s: 1e-3,
    compute_cpu_s: 0.1e-3,
    transfer_s: 0.0,
    other_s: 0.0,
    prep_s: 2e-3,
    fetch_cpu_s: 0.1e-3,
    fetch_wait_s: 0.0,
    storage_per_s: None,
};

fn situation(costs: Costs, workers: usize, cores: usize) -> Situation {
    Situation { costs, workers, cores, measured_per_s: None }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

#[test]
fn a_step_of_another_device_is_hidden_behind_enough_workers() {
    assert!(close(GPU.rate(1, 8), 1.0 / 2.1e-3));
    assert!(close(GPU.rate(2, 8), 2.0 / 2.1e-3));
    assert!(close(GPU.rate(3, 8), 1000.0));
    assert!(close(GPU.rate(0, 8), 1.0 / 3.1e-3));
}

#[test]
fn on_the_cpu_compute_and_prep_share_the_cores() {
    // Compute that uses two cores fully for 1 ms, and prep of 2 ms: 4 ms of work for two cores.
    let costs = Costs { compute_s: 1e-3, compute_cpu_s: 2e-3, fetch_cpu_s: 0.0, ..GPU };
    assert!(close(costs.rate(2, 2), 500.0));
    // Serial compute leaves the other core to one worker, whose work is what takes longer.
    let serial = Costs { compute_s: 1e-3, compute_cpu_s: 1e-3, fetch_cpu_s: 0.0, ..GPU };
    assert!(close(serial.rate(1, 2), 500.0));
    assert!(close(serial.rate(2, 2), 2.0 / 3e-3));
    assert!(close(serial.rate(2, 1), 1.0 / 3e-3));
}

#[test]
fn the_slowest_stage_is_named() {
    let slow_prep = situation(GPU, 1, 8);
    assert_eq!(bottleneck(&GPU, slow_prep.workers, 8).stage, Stage::Prep);
    assert_eq!(bottleneck(&GPU, 4, 8).stage, Stage::Compute);
    let slow_card = Costs { storage_per_s: Some(200.0), fetch_wait_s: 4e-3, ..GPU };
    let found = bottleneck(&slow_card, 4, 8);
    assert_eq!(found.stage, Stage::Fetch);
    assert!(close(found.gain_if_free, 5.0), "{found:?}");
    let slow_bus = Costs { transfer_s: 9e-3, ..GPU };
    assert_eq!(bottleneck(&slow_bus, 4, 8).stage, Stage::Transfer);
    // A small network on the same core as the decoder, and a large one.
    let cpu = Costs { compute_s: 0.3e-3, compute_cpu_s: 0.3e-3, ..GPU };
    assert_eq!(bottleneck(&cpu, 1, 1).stage, Stage::Prep);
    let large = Costs { compute_s: 50e-3, compute_cpu_s: 50e-3, ..GPU };
    assert_eq!(bottleneck(&large, 1, 1).stage, Stage::Compute);
}

#[test]
fn without_a_slow_stage_there_is_nothing_to_recommend() {
    let job = situation(GPU, 3, 8);
    assert_eq!(job.rank(&[job.best_workers(64), job.faster_storage()]), []);
    assert_eq!(job.gpu_clock(), None);
}

#[test]
fn more_workers_are_recommended_as_far_as_they_help() {
    let job = Situation { measured_per_s: Some(450.0), ..situation(GPU, 1, 8) };
    let ranked = job.rank(&[job.faster_storage(), job.best_workers(64)]);
    assert_eq!(ranked.len(), 1);
    assert_eq!(ranked[0].change, Change::Workers { workers: 3 });
    // 450 measured where the model says 476: the same share is missing after the change.
    assert!(close(ranked[0].predicted_per_s, 450.0 * 1000.0 * 2.1e-3), "{ranked:?}");
    assert_eq!(job.gpu_clock(), Some(Change::GpuClock { enough: 0.45 }));
}

#[test]
fn a_slow_card_wants_a_cache_or_another_card() {
    let uncached = Costs { storage_per_s: Some(200.0), fetch_wait_s: 4e-3, ..GPU };
    // The page cache holds half of the data, of which LRU makes 15 %.
    let hits = lru_hits(0.5);
    assert!((hits - 0.153).abs() < 1e-3);
    let job = situation(uncached.with_hits(hits), 6, 8);
    assert!(close(job.modelled_per_s(), 200.0 / (1.0 - hits)));
    let ranked = job.rank(&[job.best_workers(64), job.cached(&uncached, 50, 100), job.faster_storage()]);
    let changes: Vec<Change> = ranked.iter().map(|r| r.change).collect();
    assert_eq!(changes, [Change::FasterStorage { items_per_s: 1000.0 }, Change::Cache { bytes: 50 }]);
    assert!(close(ranked[1].predicted_per_s, 400.0));
}

#[test]
fn what_changes_the_training_comes_last() {
    let job = situation(GPU, 1, 8);
    let smaller = Candidate {
        change: Change::ImageSize { pixels: 96 },
        costs: Costs { compute_s: 0.1e-3, prep_s: 0.1e-3, ..GPU },
        workers: 1,
    };
    let ranked = job.rank(&[smaller, job.best_workers(64)]);
    assert_eq!(ranked[0].change, Change::Workers { workers: 3 });
    assert!(ranked[1].changes_training && ranked[1].predicted_per_s > ranked[0].predicted_per_s);
}

#[test]
fn the_parts_of_a_real_step_are_told_apart() {
    let real =
        TimeBreakdown { compute_s: 3.0, prep_stall_s: 2.0, fetch_stall_s: 1.0, ..TimeBreakdown::default() };
    let split = real.against(1.0);
    assert_eq!((split.compute_s, split.slowed_s, split.total_s()), (1.0, 2.0, 6.0));
    assert_eq!(split.stall_fraction(), Some(0.5));
    assert_eq!(TimeBreakdown::default().stall_fraction(), None);
}

/// A cache that forgets the least recently used, as the page cache is thought to be, on real permutations.
#[test]
fn the_formula_for_lru_is_what_a_simulation_gives() {
    let (n, kept) = (2000u64, 1000usize);
    let (mut last_use, mut clock, mut hits) = (std::collections::BTreeMap::new(), 0u64, 0u64);
    let mut by_age = std::collections::BTreeMap::new();
    for epoch in 0..11 {
        let order = crate::order::EpochOrder::new(n, 5, epoch, true);
        for place in 0..n {
            let item = order.at(place);
            clock += 1;
            if let Some(age) = last_use.insert(item, clock) {
                hits += u64::from(epoch > 0);
                by_age.remove(&age);
            }
            by_age.insert(clock, item);
            if by_age.len() > kept {
                let (_, oldest) = by_age.pop_first().unwrap();
                last_use.remove(&oldest);
            }
        }
    }
    let simulated = hits as f64 / (10 * n) as f64;
    assert!((simulated - lru_hits(0.5)).abs() < 0.01, "{simulated}");
}

fn costs() -> impl Strategy<Value = Costs> {
    let second = || 1e-6f64..1e-1;
    let storage = prop::option::of(1.0f64..1e5);
    (second(), 0.1f64..8.0, second(), second(), second(), second(), storage).prop_map(
        |(compute_s, parallel, transfer_s, prep_s, fetch_cpu_s, fetch_wait_s, storage_per_s)| Costs {
            compute_s,
            compute_cpu_s: compute_s * parallel,
            transfer_s,
            other_s: 0.0,
            prep_s,
            fetch_cpu_s,
            fetch_wait_s,
            storage_per_s,
        },
    )
}

proptest! {
    #[test]
    fn a_rate_keeps_within_all_bounds(costs in costs(), workers in 0usize..20, cores in 1usize..16) {
        let rate = costs.rate(workers, cores);
        let slack = 1.0 + 1e-9;
        prop_assert!(rate.is_finite() && rate > 0.0);
        prop_assert!(rate <= costs.loop_per_s() * slack);
        prop_assert!(rate <= costs.storage_per_s.unwrap_or(f64::INFINITY) * slack);
        prop_assert!(rate * costs.worker_s() <= cores as f64 * slack);
        if workers > 0 {
            prop_assert!(rate * (costs.worker_s() + costs.fetch_wait_s) <= workers as f64 * slack);
        }
    }

    #[test]
    fn a_cheaper_stage_never_slows_the_job(costs in costs(), workers in 0usize..20, cores in 1usize..16) {
        let rate = costs.rate(workers, cores);
        for stage in STAGES {
            prop_assert!(costs.without(stage).rate(workers, cores) >= rate * (1.0 - 1e-9), "{stage:?}");
        }
        prop_assert!(costs.with_hits(0.5).rate(workers, cores) >= rate * (1.0 - 1e-9));
        prop_assert!(bottleneck(&costs, workers, cores).gain_if_free >= 1.0 - 1e-9);
    }

    #[test]
    fn recommendations_help_and_are_in_order(
        costs in costs(), workers in 0usize..20, cores in 1usize..16, share in 0.3f64..1.2,
    ) {
        let model = costs.rate(workers, cores);
        let job = Situation { costs, workers, cores, measured_per_s: Some(model * share) };
        let candidates = [job.best_workers(64), job.faster_storage(), job.cached(&costs, 30, 100)];
        let ranked = job.rank(&candidates);
        for r in &ranked {
            prop_assert!(r.gain >= LEAST_GAIN && r.predicted_per_s.is_finite());
        }
        for pair in ranked.windows(2) {
            prop_assert!(pair[0].predicted_per_s >= pair[1].predicted_per_s);
        }
        let same = Candidate { change: Change::PixelsU8, costs, workers };
        prop_assert!(close(job.predicted_per_s(&same), model * share));
    }

    #[test]
    fn lru_serves_less_than_its_share(share in 0.0f64..1.0) {
        let hits = lru_hits(share);
        prop_assert!((0.0..=share).contains(&hits));
    }
}

#[test]
fn a_cache_is_for_what_the_page_cache_cannot_hold() {
    const GIB: u64 = 1 << 30;
    assert_eq!(cache_size(GIB, 2 * GIB), None);
    assert_eq!(cache_size(10 * GIB, 5 * GIB), Some(4 * GIB));
    assert_eq!(cache_size(10 * GIB, 1 << 20), None);
}
