//! What the jobs of formulas share: a clock of their own, steps, a sensor without error, measurements.

use std::cell::Cell;

use footplate_core::ports::{Clock, WindowEnergy, WorkStep};
use footplate_core::{Joules, Watts};
use footplate_tune::Setting;
use footplate_tune::predict::Measurement;
use footplate_tune::rng::Rng;

/// A clock that only waiting moves.
#[derive(Default)]
pub(crate) struct SimClock(Cell<u64>);

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }

    fn wait_ns(&self, duration_ns: u64) {
        self.0.set(self.0.get() + duration_ns);
    }
}

/// Steps of `time_s` seconds, of which `stall_s` are waited for data: at least `steps_min` and for `time_min_ns`, at most
/// `steps_max`. They differ by a percent.
pub(crate) fn steps(
    clock: &SimClock,
    (time_s, stall_s): (f64, f64),
    (steps_min, time_min_ns, steps_max): (u32, u64, u32),
) -> Vec<WorkStep> {
    let start = clock.now_ns();
    let mut steps = Vec::new();
    while (steps.len() as u32) < steps_max {
        if steps.len() as u32 >= steps_min && clock.now_ns() - start >= time_min_ns {
            break;
        }
        let share = 1.0 + 0.01 * f64::from(steps.len() as u32 % 3) - 0.01;
        let ns = |seconds: f64| (seconds * share * 1e9) as u64;
        clock.wait_ns(ns(time_s));
        steps.push(WorkStep { end_ns: clock.now_ns(), step_ns: ns(time_s), stall_ns: ns(stall_s), items: 8 });
    }
    steps
}

/// What a sensor tells of a time of steady power.
pub(crate) fn steady(watts: f64, from_ns: u64, to_ns: u64) -> WindowEnergy {
    let joules = watts * (to_ns - from_ns) as f64 / 1e9;
    WindowEnergy {
        energy_j: Joules(joules),
        error_j: Joules(0.01 * joules),
        coverage: 1.0,
        mean_power_w: Watts(watts),
        peak_power_w: Watts(watts),
        samples: 30,
    }
}

pub(crate) fn measured(setting: Setting, (time, power): (f64, f64), error: f64) -> Measurement {
    Measurement {
        setting,
        time_s: Some(time),
        power_w: Some(power),
        time_error: error,
        power_error: error,
        stall_share: None,
    }
}

/// The same with figures that are off by up to one percent.
pub(crate) fn noisy(setting: Setting, (time, power): (f64, f64), rng: &mut Rng) -> Measurement {
    let mut noise = || 1.0 + 0.02 * (rng.below(1000) as f64 / 1000.0 - 0.5);
    measured(setting, (time * noise(), power * noise()), 0.005)
}
