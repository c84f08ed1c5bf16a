//! Short ways to write the facts down, and lists that most boards share.

use super::release::{Channel, Odd, SensorChip, SensorKind, StockMode, Zone};

/// Cooling devices that mean throttling: the vendor's indicators of a crossed software-throttle trip, and those
/// that step clocks down (docs/boards names the sources).
pub(super) const THROTTLING: &[&str] =
    &["*-throttle-alert", "*-balanced", "tegra_heavy", "thermal-cpufreq-*", "thermal-devfreq-*"];
/// Fans, alerts, and helpers of voltage and memory refresh that are active in normal use.
pub(super) const HARMLESS: &[&str] = &[
    "pwm-fan",
    "hot-surface-alert",
    "DFLL-cap",
    "DFLL-floor",
    "CORE-cap",
    "CORE-floor",
    "gpu-scaling*",
    "gpu-vmax*",
    "tegra-dram",
    "bwmgr-therm-handler",
];

/// `N` clocks from `first` in steps of `step`, of which the last is `last`.
pub(super) const fn steps<const N: usize>(first: u64, step: u64, last: u64) -> [u64; N] {
    let mut table = [last; N];
    let mut k = 0;
    while k + 1 < N {
        table[k] = first + step * k as u64;
        k += 1;
    }
    table
}

pub(super) const fn zone(name: &'static str, passive_mc: i32, hot_mc: i32, critical_mc: i32) -> Zone {
    Zone { name, passive_mc, hot_mc, critical_mc, odd: Odd::No }
}

pub(super) const fn odd_zone(name: &'static str, odd: Odd) -> Zone {
    Zone { name, passive_mc: 0, hot_mc: 0, critical_mc: 0, odd }
}

pub(super) const fn channel(label: &'static str, shunt_mohm: u32, bus_mv: u32) -> Channel {
    Channel { label, shunt_mohm, bus_mv }
}

/// Averaging of R32 on T210: 64 samples of 140 us; on T186 and T194: 512.
pub(super) const fn iio(bus_address: &'static str, samples: u32, channels: &'static [Channel]) -> SensorChip {
    SensorChip { kind: SensorKind::Ina3221Iio, bus_address, channels, samples, conversion_us: 140 }
}

/// The driver's default since R34: one sample of 1.1 ms.
pub(super) const fn hwmon(bus_address: &'static str, channels: &'static [Channel]) -> SensorChip {
    SensorChip { kind: SensorKind::Ina3221Hwmon, bus_address, channels, samples: 1, conversion_us: 1100 }
}

pub(super) const fn mode(id: u32, name: &'static str, cores: &'static [u32]) -> StockMode {
    StockMode {
        id,
        name,
        default: false,
        cores,
        cpu_khz: (0, None),
        gpu_hz: (0, None),
        emc_hz: None,
        tpc_mask: None,
        fbp_mask: None,
    }
}

impl StockMode {
    pub(super) const fn cpu(self, min: u64, max: u64) -> Self {
        Self { cpu_khz: (min, if max == 0 { None } else { Some(max) }), ..self }
    }

    pub(super) const fn gpu(self, min: u64, max: u64) -> Self {
        Self { gpu_hz: (min, if max == 0 { None } else { Some(max) }), ..self }
    }

    pub(super) const fn emc(self, hz: u64) -> Self {
        Self { emc_hz: Some(hz), ..self }
    }

    pub(super) const fn masks(self, tpc: u32, fbp: Option<u32>) -> Self {
        Self { tpc_mask: Some(tpc), fbp_mask: fbp, ..self }
    }

    pub(super) const fn by_default(self) -> Self {
        Self { default: true, ..self }
    }
}
