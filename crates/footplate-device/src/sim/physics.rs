//! Time of a step and power of a board, from clocks and work: pure formulas.
//!
//! A step has host work (cycles), device work (operations) and memory traffic (bytes). Each takes time in
//! proportion to one clock; the slower of operations and traffic decides the device's time (a roofline, rounded
//! where the two are near each other). Loading the next minibatch runs beside it on the cores.

use super::params::{Physics, PowerParts};

/// Clocks and what is powered, as the hardware has them at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clocks {
    pub cores: u32,
    /// All cores of the board.
    pub cores_all: u32,
    /// CPU clock, and the highest one.
    pub cpu_hz: f64,
    /// The highest CPU clock.
    pub cpu_max_hz: f64,
    /// The GPU's clock while it is powered.
    pub gpu_hz: f64,
    /// The highest GPU clock.
    pub gpu_max_hz: f64,
    /// Share of the GPU's units that are not gated.
    pub gpu_units: f64,
    /// The clock of the memory controller.
    pub emc_hz: f64,
    /// The highest EMC clock.
    pub emc_max_hz: f64,
    /// Whether the GPU is powered down.
    pub gpu_off: bool,
}

/// What the hardware can do at its highest clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PeakRates {
    /// Operations a second of the whole GPU.
    pub flops: f64,
    /// Bytes a second of the memory.
    pub bandwidth: f64,
}

/// How busy the parts are, each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Share of the online cores' time.
    pub cpu: f64,
    /// Share of the GPU's power budget that is used.
    pub gpu: f64,
    /// Share of the memory's bandwidth at its present clock.
    pub memory: f64,
}

/// The work of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    /// Host cycles to load and prepare a minibatch (of an A78AE), spread over the cores.
    pub load_cycles: f64,
    /// Host cycles of one core that the device waits for (launches, bookkeeping).
    pub launch_cycles: f64,
    /// Operations on the device.
    pub flops: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
    /// Threads of the loader; 0: the thread of the step loads; `None`: as many as there are cores.
    pub loaders: Option<u32>,
}

/// What a step comes to at given clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StepCost {
    /// Its duration in seconds.
    pub time_s: f64,
    /// The part of it that waits for data.
    pub stall_s: f64,
    /// How busy the parts are over it.
    pub activity: Activity,
}

/// How sharp the corner of the roofline is: the exponent of a p-norm.
const CORNER: f64 = 3.0;
/// A loader on n cores is at most this share of n times as fast: the last core also runs everything else.
const LOADER_SCALING: f64 = 0.9;

/// Duration and activity of a step.
pub(super) fn step(work: &Work, clocks: &Clocks, peak: &PeakRates, physics: &Physics) -> StepCost {
    let cycles_per_s = clocks.cpu_hz * physics.cpu_per_cycle;
    let cores = f64::from(clocks.cores.max(1));
    let loaders = work.loaders.map_or(cores, |n| f64::from(n).clamp(1.0, cores));
    let load = work.load_cycles / (cycles_per_s * (1.0 + (loaders - 1.0) * LOADER_SCALING));
    let launch = work.launch_cycles / cycles_per_s;
    let flops_per_s = peak.flops * clocks.gpu_units * clocks.gpu_hz / clocks.gpu_max_hz * physics.gpu_share;
    let bytes_per_s = peak.bandwidth * clocks.emc_hz / clocks.emc_max_hz * physics.memory_share;
    let (compute, traffic) = (work.flops / flops_per_s, work.bytes / bytes_per_s);
    let device = (compute.powf(CORNER) + traffic.powf(CORNER)).powf(1.0 / CORNER);
    let busy = device + launch;
    // Without a thread of its own, loading comes before each step.
    let time_s = if work.loaders == Some(0) { busy + load } else { busy.max(load) };
    let core_s = (work.load_cycles + work.launch_cycles) / cycles_per_s;
    // A GPU that waits for memory draws less than one that computes.
    let gpu = device / time_s * (0.4 + 0.6 * compute / device.max(f64::MIN_POSITIVE));
    StepCost {
        time_s,
        stall_s: time_s - busy,
        activity: Activity {
            cpu: (core_s / (cores * time_s)).clamp(0.0, 1.0),
            gpu: gpu.clamp(0.0, 1.0),
            memory: (traffic * physics.memory_share / time_s).clamp(0.0, 1.0),
        },
    }
}

/// Voltage at a clock by that at the highest: flat below 30 %, then straight.
fn voltage(clock: f64, low: f64) -> f64 {
    low + (1.0 - low) * ((clock - 0.3) / 0.7).clamp(0.0, 1.0)
}

/// Power of each part at a temperature of the chip.
pub(super) fn power(
    clocks: &Clocks,
    activity: &Activity,
    temperature_c: f64,
    physics: &Physics,
) -> PowerParts {
    let heat = ((temperature_c - 50.0) / 45.0).exp();
    let scale = |clock: f64| {
        let v = voltage(clock, physics.voltage_low);
        (clock * v * v, v * heat)
    };
    let cores = f64::from(clocks.cores) / f64::from(clocks.cores_all.max(1));
    let (cpu, cpu_leak) = scale(clocks.cpu_hz / clocks.cpu_max_hz);
    let (gpu, gpu_leak) = scale(clocks.gpu_hz / clocks.gpu_max_hz);
    let emc = clocks.emc_hz / clocks.emc_max_hz;
    let Physics { busy, leak, idle, .. } = physics;
    let gpu_on = if clocks.gpu_off { 0.0 } else { 1.0 };
    PowerParts {
        cpu: cores * (busy.cpu * activity.cpu * cpu + leak.cpu * cpu_leak + idle.cpu * (0.3 + 0.7 * cpu)),
        gpu: gpu_on
            * (busy.gpu * clocks.gpu_units * activity.gpu * gpu
                + leak.gpu * gpu_leak
                + idle.gpu * (0.3 + 0.7 * gpu)),
        soc: idle.soc + leak.soc * heat + busy.soc * emc * (0.4 + 0.6 * activity.memory),
        // Clocking costs even without traffic; traffic costs by the byte.
        memory: idle.memory + busy.memory * emc * (0.25 + 0.75 * activity.memory),
        base: idle.base,
    }
}

/// The temperature after `seconds` at a constant power: one heat capacity, one resistance to the air.
pub(super) fn temperature(start_c: f64, power_w: f64, seconds: f64, air_c: f64, physics: &Physics) -> f64 {
    let end = air_c + power_w * physics.heat_k_per_w;
    end + (start_c - end) * (-seconds / (physics.heat_k_per_w * physics.heat_j_per_k)).exp()
}

/// The temperature and power at which neither changes any more. Leakage grows with temperature, so this is
/// looked for step by step.
pub(super) fn steady(
    clocks: &Clocks,
    activity: &Activity,
    air_c: f64,
    physics: &Physics,
) -> (f64, PowerParts) {
    let mut temperature = air_c;
    for _ in 0..60 {
        let power = power(clocks, activity, temperature, physics).total();
        // No board lives above this; its own throttling comes long before.
        temperature = (air_c + power * physics.heat_k_per_w).min(125.0);
    }
    (temperature, power(clocks, activity, temperature, physics))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::params;
    use super::*;
    use crate::board::BOARDS;

    fn tx2(gpu_hz: f64, emc_hz: f64) -> Clocks {
        Clocks {
            cores: 6,
            cores_all: 6,
            cpu_hz: 2.0352e9,
            cpu_max_hz: 2.0352e9,
            gpu_hz,
            gpu_max_hz: 1.3005e9,
            gpu_units: 1.0,
            emc_hz,
            emc_max_hz: 1.866e9,
            gpu_off: false,
        }
    }

    const PEAK: PeakRates = PeakRates { flops: 6.7e11, bandwidth: 5.97e10 };
    const VGG: Work =
        Work { load_cycles: 1e6, launch_cycles: 1e6, flops: 3.9e10, bytes: 3.0e9, loaders: None };

    #[test]
    fn loader_threads_beyond_the_cores_do_not_help_and_without_any_loading_is_stall() {
        let physics = params::physics("tx2").unwrap();
        let with = |loaders| {
            let work = Work { load_cycles: 2e9, loaders, ..VGG };
            step(&work, &tx2(1300e6, 1866e6), &PEAK, &physics)
        };
        let [none, one, two, six, many, cores] =
            [Some(0), Some(1), Some(2), Some(6), Some(99), None].map(with);
        assert!(none.time_s > one.time_s && one.time_s > two.time_s && two.time_s > six.time_s);
        assert_eq!((six, many), (cores, cores));
        assert!(
            (none.stall_s - one.time_s).abs() < 1e-9,
            "one thread and the step's own load at the same rate"
        );
    }

    /// The public VGG19 measurement of a TX2: the model is near it at the corners.
    #[test]
    fn the_tx2_is_near_a_public_measurement() {
        let physics = params::physics("tx2").unwrap();
        for (gpu_hz, emc_hz, measured) in [
            (114e6, 1062e6, 4.03),
            (624e6, 1062e6, 6.69),
            (1300e6, 1062e6, 11.56),
            (1236e6, 1866e6, 15.28),
            (1300e6, 1866e6, 16.21),
        ] {
            let clocks = tx2(gpu_hz, emc_hz);
            let cost = step(&VGG, &clocks, &PEAK, &physics);
            let power = power(&clocks, &cost.activity, 50.0, &physics).total();
            let ratio = power / measured;
            assert!((0.7..1.3).contains(&ratio), "{gpu_hz} {emc_hz}: {power:.2} W against {measured} W");
        }
    }

    #[test]
    fn each_clock_decides_where_it_is_the_bottleneck() {
        let physics = params::physics("tx2").unwrap();
        let time = |work: &Work, clocks: &Clocks| step(work, clocks, &PEAK, &physics).time_s;
        let full = tx2(1.3005e9, 1.866e9);
        let compute = Work { load_cycles: 0.0, launch_cycles: 0.0, flops: 1e12, bytes: 1e6, loaders: None };
        let traffic = Work { flops: 1e6, bytes: 1e11, ..compute };
        let loading = Work { load_cycles: 1e11, ..compute };
        let half_gpu = Clocks { gpu_hz: full.gpu_hz / 2.0, ..full };
        let half_emc = Clocks { emc_hz: full.emc_hz / 2.0, ..full };
        let half_cpu = Clocks { cpu_hz: full.cpu_hz / 2.0, ..full };
        assert!((time(&compute, &half_gpu) / time(&compute, &full) - 2.0).abs() < 1e-6);
        assert!((time(&compute, &half_emc) / time(&compute, &full) - 1.0).abs() < 1e-6);
        assert!((time(&traffic, &half_emc) / time(&traffic, &full) - 2.0).abs() < 1e-6);
        assert!((time(&loading, &half_cpu) / time(&loading, &full) - 2.0).abs() < 1e-6);
        let cost = step(&loading, &full, &PEAK, &physics);
        assert!(cost.stall_s > 0.7 * cost.time_s && cost.activity.cpu > 0.8);
    }

    #[test]
    fn idle_boards_draw_what_was_published() {
        for (board, watts) in [
            ("tx1", 2.5),
            ("tx2", 1.98),
            ("nano", 0.93),
            ("xavier-nx", 3.3),
            ("agx-xavier", 6.9),
            ("orin-nano", 4.76),
            ("agx-orin", 6.7),
            ("thor", 19.8),
        ] {
            let physics = params::physics(board).unwrap();
            let clocks = Clocks { cpu_hz: 2e8, gpu_hz: 1.3e8, emc_hz: 2e8, gpu_off: true, ..tx2(0.0, 0.0) };
            let (_, power) = steady(&clocks, &Activity::default(), 25.0, &physics);
            let ratio = power.total() / watts;
            assert!((0.75..1.25).contains(&ratio), "{board}: {:.2} W against {watts} W", power.total());
        }
    }

    fn share() -> impl Strategy<Value = f64> {
        0.05f64..1.0
    }

    /// Any board at any clocks, with any of its units.
    fn at(cpu: f64, gpu: f64, emc: f64) -> Clocks {
        let full = tx2(1.3005e9, 1.866e9);
        Clocks { cpu_hz: full.cpu_hz * cpu, gpu_hz: full.gpu_hz * gpu, emc_hz: full.emc_hz * emc, ..full }
    }

    proptest! {
        /// No clock that is raised makes a step longer, on any board, and the time is never nothing.
        #[test]
        fn a_step_is_not_longer_at_a_higher_clock(
            board in 0usize..BOARDS.len(),
            low in (share(), share(), share()),
            raise in (1.0f64..3.0, 1.0f64..3.0, 1.0f64..3.0),
            load_cycles in 0.0f64..1e10,
            flops in 1e6f64..1e12,
            bytes in 1e3f64..1e11,
        ) {
            let physics = params::physics(BOARDS[board].id).unwrap();
            let work = Work { load_cycles, launch_cycles: 1e6, flops, bytes, loaders: None };
            let slow = step(&work, &at(low.0, low.1, low.2), &PEAK, &physics);
            let fast = at(low.0 * raise.0, low.1 * raise.1, low.2 * raise.2);
            let fast = step(&work, &fast, &PEAK, &physics);
            prop_assert!(fast.time_s > 0.0 && fast.time_s <= slow.time_s * (1.0 + 1e-9));
            prop_assert!(fast.stall_s >= 0.0 && fast.stall_s < fast.time_s);
            for activity in [fast.activity.cpu, fast.activity.gpu, fast.activity.memory] {
                prop_assert!((0.0..=1.0).contains(&activity));
            }
        }

        /// At the same activity no clock that is raised, and no degree, lowers any part of the power.
        #[test]
        fn power_grows_with_each_clock_and_with_heat(
            board in 0usize..BOARDS.len(),
            low in (share(), share(), share()),
            raise in (1.0f64..2.0, 1.0f64..2.0, 1.0f64..2.0),
            busy in (0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0),
            chip_c in 20.0f64..90.0,
            warmer in 0.0f64..15.0,
        ) {
            let physics = params::physics(BOARDS[board].id).unwrap();
            let activity = Activity { cpu: busy.0, gpu: busy.1, memory: busy.2 };
            let of = |clocks: &Clocks, c: f64| power(clocks, &activity, c, &physics);
            let slow = at(low.0, low.1, low.2);
            let fast = at((low.0 * raise.0).min(1.0), (low.1 * raise.1).min(1.0), (low.2 * raise.2).min(1.0));
            let (below, above) = (of(&slow, chip_c), of(&fast, chip_c + warmer));
            for (a, b) in [
                (below.cpu, above.cpu),
                (below.gpu, above.gpu),
                (below.soc, above.soc),
                (below.memory, above.memory),
                (below.base, above.base),
            ] {
                prop_assert!(a >= 0.0 && b >= a - 1e-12, "{below:?} {above:?}");
            }
            let off = Clocks { gpu_off: true, ..slow };
            prop_assert!(of(&off, chip_c).gpu == 0.0 && of(&off, chip_c).total() <= below.total());
        }

        /// It does not matter into how many pieces a stretch of time is cut, nor from where the end is reached.
        #[test]
        fn temperature_is_the_same_in_one_step_or_two_and_never_beyond_its_end(
            start_c in -20.0f64..110.0,
            power_w in 0.0f64..120.0,
            first_s in 0.0f64..1e4,
            second_s in 0.0f64..1e4,
        ) {
            let physics = params::physics("agx-orin").unwrap();
            let after = |c: f64, s: f64| temperature(c, power_w, s, 25.0, &physics);
            let (whole, halves) = (after(start_c, first_s + second_s), after(after(start_c, first_s), second_s));
            prop_assert!((whole - halves).abs() < 1e-6);
            let end = 25.0 + power_w * physics.heat_k_per_w;
            prop_assert!(whole >= start_c.min(end) - 1e-9 && whole <= start_c.max(end) + 1e-9);
        }
    }

    #[test]
    fn temperature_tends_to_the_steady_one() {
        let physics = params::physics("nano").unwrap();
        let clocks = tx2(1.3005e9, 1.866e9);
        let activity = Activity { cpu: 0.5, gpu: 0.5, memory: 0.5 };
        let (steady_c, parts) = steady(&clocks, &activity, 25.0, &physics);
        let after = temperature(25.0, parts.total(), 1e5, 25.0, &physics);
        assert!((after - steady_c).abs() < 0.01);
        let half = temperature(25.0, 5.0, 1.0, 25.0, &physics);
        assert!(half > 25.0 && half < 25.2);
    }
}
