//! Tests of the integration against loads whose energy is known.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn value(reading: &Reading<WindowEnergy>) -> WindowEnergy {
    *reading.value().unwrap_or_else(|| panic!("{reading:?}"))
}

/// A load of even power in pieces: (end, watts); 1 W before and after.
struct Load {
    start_ns: u64,
    pieces: Vec<(u64, f64)>,
}

impl Load {
    fn energy(&self, from: u64, to: u64) -> f64 {
        let mut total = 0.0;
        let mut at = 0;
        let ends = std::iter::once((self.start_ns, 1.0)).chain(self.pieces.iter().copied());
        for (end, watts) in ends.chain([(u64::MAX, 1.0)]) {
            let (a, b) = (at.max(from), end.min(to));
            total += b.saturating_sub(a) as f64 / 1e9 * watts;
            at = end;
        }
        total
    }

    fn end(&self) -> u64 {
        self.pieces.last().unwrap().0
    }

    /// What a sensor of this kind shows when read at `t`: the mean over the window before its last conversion.
    fn shown(&self, t: u64, phase: u64, sensor: &SensorModel) -> f64 {
        let converted = t - (t + sensor.refresh_ns - phase) % sensor.refresh_ns;
        let mean = self.energy(converted - sensor.average_ns, converted) / (sensor.average_ns as f64 / 1e9);
        (mean / sensor.step_w).floor() * sensor.step_w + sensor.step_w / 2.0
    }

    fn samples(&self, phase: u64, sensor: &SensorModel) -> Vec<PowerSample> {
        let last = self.end() + 4 * sensor.interval_ns + sensor.lag_ns();
        (1..)
            .map(|i| i * sensor.interval_ns + 3 * sensor.lag_ns())
            .take_while(|t| *t <= last)
            .map(|t_ns| PowerSample { t_ns, power_w: self.shown(t_ns, phase, sensor) })
            .collect()
    }
}

fn averaging(period_ms: u64) -> SensorModel {
    SensorModel {
        interval_ns: period_ms * MS,
        refresh_ns: period_ms * MS,
        age_ns: period_ms * MS / 2,
        average_ns: period_ms * MS,
        step_w: 0.04,
        skew_ns: 0,
    }
}

/// Pieces of a whole number of periods, the first and last at least four.
fn stepped(sensor: &SensorModel, levels: &[f64], periods: u64) -> Load {
    let start_ns = 10 * sensor.lag_ns() + 12_345;
    let ends = (1..).map(|i| start_ns + i * periods * sensor.interval_ns);
    Load { start_ns, pieces: ends.zip(levels.iter().copied()).collect() }
}

#[test]
fn three_samples_are_needed() {
    let sensor = averaging(54);
    let load = stepped(&sensor, &[5.0], 2);
    let reading = window_energy(&load.samples(0, &sensor), load.start_ns, load.end(), &sensor);
    let Reading::Unreadable { reason } = reading else { panic!("{reading:?}") };
    assert!(reason.starts_with("insufficient: 2 samples"), "{reason}");
    assert!(matches!(window_energy(&[], 0, 1, &sensor), Reading::Unreadable { .. }));
    assert!(matches!(window_energy(&load.samples(0, &sensor), 9, 9, &sensor), Reading::Unreadable { .. }));
}

#[test]
fn a_gap_is_not_covered_and_not_filled() {
    let sensor = averaging(100);
    let load = stepped(&sensor, &[10.0], 40);
    let mut samples = load.samples(0, &sensor);
    let whole = value(&window_energy(&samples, load.start_ns, load.end(), &sensor));
    assert!(whole.coverage > 0.999 && (whole.energy_j.0 - 40.0).abs() < 0.1, "{whole:?}");
    let middle = load.start_ns + 2_000 * MS;
    samples.retain(|s| s.t_ns < middle || s.t_ns > middle + 1_000 * MS);
    let torn = value(&window_energy(&samples, load.start_ns, load.end(), &sensor));
    assert!((torn.coverage - 0.725).abs() < 0.01, "{torn:?}");
    assert!((torn.energy_j.0 - 29.0).abs() < 0.5 && (torn.mean_power_w.0 - 10.0).abs() < 0.05, "{torn:?}");
}

#[test]
fn a_counter_wraps_and_a_reset_is_a_gap() {
    let model = CounterModel {
        interval_ns: 100 * MS,
        unit_j: 1e-6,
        step_j: 61e-6,
        range: Some(999_999),
        refresh_ns: MS,
        power_max_w: 9.0,
    };
    // 2 W: 200,000 counts each read; the count after 999,999 is 0.
    let reads: Vec<CounterSample> =
        (0..=20).map(|i| CounterSample { t_ns: i * 100 * MS, count: (i * 200_000) % 999_999 }).collect();
    let energy = value(&counted_energy(&reads, 0, 2_000 * MS, &model));
    assert!((energy.energy_j.0 - 4.0).abs() < 1e-4, "{energy:?}");
    assert_eq!((energy.coverage, energy.samples), (1.0, 21));
    assert!((energy.peak_power_w.0 - 2.0).abs() < 1e-4);
    let no_wrap = CounterModel { range: None, ..model };
    let torn = value(&counted_energy(&reads, 0, 2_000 * MS, &no_wrap));
    assert!((torn.coverage - 0.8).abs() < 1e-9, "{torn:?}");
    assert!((torn.mean_power_w.0 - 2.0).abs() < 1e-4);
    // Read so seldom that it may have wrapped twice: it tells nothing.
    let seldom: Vec<CounterSample> = reads.iter().step_by(4).copied().collect();
    let seldom = counted_energy(&seldom, 0, 2_000 * MS, &CounterModel { range: Some(999_999), ..model });
    assert!(matches!(seldom, Reading::Unreadable { .. }), "{seldom:?}");
}

proptest! {
    /// What `measure` promises: constant and stepped loads of at least 20 sensor periods within 2 %, whatever
    /// the age of the values, and within the stated error.
    #[test]
    fn stepped_loads_agree(
        levels in proptest::collection::vec(2.0f64..30.0, 1..5),
        period_ms in prop_oneof![Just(7u64), Just(54), Just(430)],
        age in 0.0f64..1.0,
    ) {
        let sensor = averaging(period_ms);
        let load = stepped(&sensor, &levels, 20u64.div_ceil(levels.len() as u64));
        // The reads are at whole numbers of periods.
        let phase = ((1.0 - age) * sensor.refresh_ns as f64) as u64;
        let found = value(&window_energy(&load.samples(phase, &sensor), load.start_ns, load.end(), &sensor));
        let truth = load.energy(load.start_ns, load.end());
        prop_assert!((found.energy_j.0 / truth - 1.0).abs() < 0.02, "{found:?} against {truth}");
        prop_assert!((found.energy_j.0 - truth).abs() <= found.error_j.0 + 1e-9, "{found:?} against {truth}");
        prop_assert!(found.coverage > 0.999);
        let peak = levels.iter().copied().fold(0.0, f64::max);
        prop_assert!(found.peak_power_w.0 <= peak + sensor.step_w);
    }

    /// Neighbouring windows add up to the whole one within their errors.
    #[test]
    fn windows_add_up(levels in proptest::collection::vec(2.0f64..30.0, 30), cut in 8u64..22) {
        let sensor = averaging(54);
        let load = stepped(&sensor, &levels, 1);
        let samples = load.samples(0, &sensor);
        let middle = load.start_ns + cut * sensor.interval_ns;
        let whole = value(&window_energy(&samples, load.start_ns, load.end(), &sensor));
        let a = value(&window_energy(&samples, load.start_ns, middle, &sensor));
        let b = value(&window_energy(&samples, middle, load.end(), &sensor));
        let apart = (a.energy_j.0 + b.energy_j.0 - whole.energy_j.0).abs();
        prop_assert!(apart <= a.error_j.0 + b.error_j.0 + whole.error_j.0);
    }

    /// Whatever the samples are, nothing is negative, coverage is a share, and more coverage is not invented.
    #[test]
    fn any_samples_give_a_sane_energy(
        mut times in proptest::collection::vec(0u64..10_000, 0..60),
        powers in proptest::collection::vec(0.0f64..100.0, 60),
        window in (0u64..10_000, 0u64..10_000),
    ) {
        times.sort_unstable();
        let samples: Vec<PowerSample> =
            times.iter().zip(powers).map(|(t, power_w)| PowerSample { t_ns: t * MS, power_w }).collect();
        if let Reading::Value(e) = window_energy(&samples, window.0 * MS, window.1 * MS, &averaging(54)) {
            prop_assert!(e.energy_j.0 >= 0.0 && e.error_j.0 >= 0.0 && (0.0..=1.0).contains(&e.coverage));
            prop_assert!(e.mean_power_w.0 <= e.peak_power_w.0 + 1e-9);
            prop_assert!(e.mean_power_w.0.is_finite() && e.samples >= 3);
        }
    }
}
