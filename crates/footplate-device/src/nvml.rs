//! Discrete NVIDIA GPUs through NVML: energy, power, use, throttle reasons. Only read here.
//!
//! The library is loaded at run time, once; a machine without it has no such GPUs. Jetsons are left out: their rails
//! say more, and NVML there gives no power.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough over the lifetime of the library"
)]

use std::sync::OnceLock;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::error::NvmlError;

/// The beginning of a folder that is no folder but a GPU.
pub(crate) const SCHEME: &str = "nvml:";

/// Why a GPU gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The library is not installed, or there is no driver.
    #[error("NVML is not there")]
    NoLibrary,
    /// The library refused, in its words.
    #[error("{0}")]
    Refused(String),
}

/// What is read of a GPU.
pub(crate) trait GpuSensor: Send {
    /// Energy since the driver was loaded, in millijoules.
    fn energy_mj(&mut self) -> Result<u64, GpuError>;
    /// The power that it draws now, in milliwatts.
    fn power_mw(&mut self) -> Result<u64, GpuError>;
    /// Share of the time that it was busy, 0 to 1.
    fn usage(&mut self) -> Result<f64, GpuError>;
    /// Why its clocks are lower than asked, in words; empty: they are not.
    fn throttled(&mut self) -> Result<Vec<&'static str>, GpuError>;
}

/// Reasons that are throttling, in words. An idle GPU or a clock that someone set is none.
const REASONS: [(ThrottleReasons, &str); 5] = [
    (ThrottleReasons::SW_POWER_CAP, "power limit"),
    (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat, by software"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat, by hardware"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
];

/// The words for a set of reasons.
fn words(reasons: ThrottleReasons) -> Vec<&'static str> {
    REASONS.iter().filter(|(reason, _)| reasons.contains(*reason)).map(|(_, word)| *word).collect()
}

/// The library, loaded by the first who asks; `None`: it is not there.
pub(crate) fn library() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// A GPU by its number.
#[derive(Clone, Copy, Debug)]
struct NvmlGpu {
    index: u32,
}

impl NvmlGpu {
    fn ask<T>(
        self,
        question: impl FnOnce(&nvml_wrapper::Device<'_>) -> Result<T, NvmlError>,
    ) -> Result<T, GpuError> {
        let refused = |error: NvmlError| GpuError::Refused(error.to_string());
        let nvml = library().ok_or(GpuError::NoLibrary)?;
        let device = nvml.device_by_index(self.index).map_err(refused)?;
        question(&device).map_err(refused)
    }
}

impl GpuSensor for NvmlGpu {
    fn energy_mj(&mut self) -> Result<u64, GpuError> {
        self.ask(|device| device.total_energy_consumption())
    }

    fn power_mw(&mut self) -> Result<u64, GpuError> {
        self.ask(|device| device.power_usage()).map(u64::from)
    }

    fn usage(&mut self) -> Result<f64, GpuError> {
        self.ask(|device| device.utilization_rates()).map(|rates| f64::from(rates.gpu) / 100.0)
    }

    fn throttled(&mut self) -> Result<Vec<&'static str>, GpuError> {
        self.ask(|device| device.current_throttle_reasons()).map(words)
    }
}

/// The GPU behind a rail's folder.
pub(crate) fn sensor(folder: &str) -> Option<Box<dyn GpuSensor>> {
    let index = folder.strip_prefix(SCHEME)?.parse().ok()?;
    Some(Box::new(NvmlGpu { index }))
}

/// Their number and names, or why the library does not tell.
pub(crate) fn names() -> Result<Vec<String>, GpuError> {
    let Some(nvml) = library() else { return Ok(Vec::new()) };
    let count = nvml.device_count().map_err(|e| GpuError::Refused(e.to_string()))?;
    let name = |index| NvmlGpu { index }.ask(|device| device.name()).unwrap_or_else(|_| "GPU".to_owned());
    Ok((0..count).map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_clocks_that_were_set_are_no_throttling() {
        let harmless = ThrottleReasons::GPU_IDLE | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING;
        assert!(words(harmless).is_empty());
        assert_eq!(words(harmless | ThrottleReasons::SW_POWER_CAP), ["power limit"]);
    }

    #[test]
    fn only_a_gpus_folder_has_a_sensor() {
        assert!(sensor("nvml:0").is_some());
        for folder in ["/sys/class/hwmon/hwmon0", "nvml:", "nvml:x", "nvml:-1", "0"] {
            assert!(sensor(folder).is_none(), "{folder}");
        }
    }
}
