//! What an item costs, by all that was measured.

use footplate_data::measure_rates::Cold;
use footplate_data::stall::Costs;

use super::Measured;

/// What an item costs by all that was measured; with all of it read from storage, or none.
pub(super) fn costs(measured: &Measured, from_storage: bool, cores: usize) -> Costs {
    // Figures for each second of CPU time know nothing of other programs; the real run does.
    let crowded = measured.crowded(cores);
    let prep = measured.prep_many.as_ref().unwrap_or(&measured.prep_one);
    let mut costs = Costs {
        compute_s: measured.step.wall_s_each().unwrap_or(0.0),
        compute_cpu_s: measured.step.cpu_s_each().unwrap_or(0.0) * crowded,
        transfer_s: measured.trial.split.transfer_s,
        other_s: measured.trial.split.other_s,
        prep_s: prep.cpu_s_each().unwrap_or(0.0) * crowded,
        fetch_cpu_s: 0.0,
        fetch_wait_s: 0.0,
        storage_per_s: None,
    };
    let Some(storage) = &measured.storage else { return costs };
    costs.fetch_cpu_s = storage.warm.cpu_s_each().unwrap_or(0.0) * crowded;
    if let (true, Cold::Measured { one, many }) = (from_storage, &storage.cold) {
        costs.fetch_cpu_s = one.cpu_s_each().map_or(costs.fetch_cpu_s, |each| each * crowded);
        let waited = one.per_s().map_or(0.0, |rate| 1.0 / rate) - costs.fetch_cpu_s;
        // The pipeline reads ahead: what its workers wait for is less than a read takes.
        let seen = measured.trial.items_per_s().map(|_| measured.trial.fetch_worker_s - costs.fetch_cpu_s);
        costs.fetch_wait_s = waited.min(seen.unwrap_or(f64::INFINITY)).max(0.0);
        costs.storage_per_s = many.per_s();
    }
    costs
}
