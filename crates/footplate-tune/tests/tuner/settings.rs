//! A small space.

use footplate_core::{Hertz, PowerMode};
use footplate_tune::Setting;

/// A few modes: their searches are quick.
pub(crate) fn few() -> Vec<Setting> {
    let mut few = Vec::new();
    for cores in [1, 2, 4] {
        for gpu in 2..=10 {
            few.push(Setting::of(PowerMode {
                cpu_cores: Some(cores),
                cpu_hz: Some(Hertz(1_600_000_000)),
                gpu_hz: Some(Hertz(gpu * 100_000_000)),
                emc_hz: Some(Hertz(1_600_000_000)),
                gpu_power_limit_mw: None,
            }));
        }
    }
    few
}
