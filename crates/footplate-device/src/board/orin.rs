//! What all modules with T234 (Orin) share: floors of the EMC, zones, cooling devices.

use super::build::zone;
use super::release::{Odd, Zone};

/// The same for all modules with T234; what lies between the two is not published.
pub(super) const EMC_FLOORS: &[(u64, u64)] = &[(1_267_200, 408_000), (1_907_200, 1_600_000)];

/// Software throttling at 99 °C, the firmware's at 101, shutdown at 104.5; the same on all modules with T234.
const fn orin_zone(name: &'static str) -> Zone {
    zone(name, 99_000, 101_000, 104_500)
}

pub(super) const ZONES_R35: &[Zone] = &[
    orin_zone("CPU-therm"),
    Zone { odd: Odd::Offline, ..orin_zone("GPU-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV0-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV1-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV2-therm") },
    orin_zone("SOC0-therm"),
    orin_zone("SOC1-therm"),
    orin_zone("SOC2-therm"),
    orin_zone("tj-therm"),
    zone("Tboard_tegra", 0, 0, 107_000),
    zone("Tdiode_tegra", 0, 0, 107_000),
];

pub(super) const ZONES_R36: &[Zone] = &[
    orin_zone("cpu-thermal"),
    orin_zone("gpu-thermal"),
    Zone { odd: Odd::Offline, ..orin_zone("cv0-thermal") },
    Zone { odd: Odd::Offline, ..orin_zone("cv1-thermal") },
    Zone { odd: Odd::Offline, ..orin_zone("cv2-thermal") },
    orin_zone("soc0-thermal"),
    orin_zone("soc1-thermal"),
    orin_zone("soc2-thermal"),
    orin_zone("tj-thermal"),
];

pub(super) const COOLING_R35: &[&str] = &[
    "thermal-cpufreq-0",
    "thermal-cpufreq-1",
    "thermal-cpufreq-2",
    "thermal-devfreq-0",
    "cpu-throttle-alert",
    "gpu-throttle-alert",
    "cv0-throttle-alert",
    "cv1-throttle-alert",
    "cv2-throttle-alert",
    "soc0-throttle-alert",
    "soc1-throttle-alert",
    "soc2-throttle-alert",
    "hot-surface-alert",
    "pwm-fan",
];

pub(super) const COOLING_R36: &[&str] =
    &["thermal-cpufreq-0", "thermal-cpufreq-1", "thermal-cpufreq-2", "thermal-devfreq-0", "pwm-fan"];
