//! Discrete NVIDIA GPUs through NVML: energy, power, use, throttle reasons. Only read here.
//!
//! The library is loaded at run time, once; a machine without it simply has no such GPUs. Jetsons are left out:
//! their rails say more, and NVML there gives no power.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general enough over the lifetime of the library"
)]

use std::sync::OnceLock;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::error::NvmlError;

use crate::discover::{Problem, RailKind, RailSource};

/// The beginning of a folder that is no folder but a GPU.
pub(crate) const SCHEME: &str = "nvml:";

/// What is read of a GPU.
pub trait GpuSensor: Send {
    /// Energy since the driver was loaded, in millijoules.
    fn energy_mj(&mut self) -> Result<u64, String>;
    /// Power, in milliwatts.
    fn power_mw(&mut self) -> Result<u64, String>;
    /// Share of the time that it was busy, 0 to 1.
    fn usage(&mut self) -> Result<f64, String>;
    /// Why its clocks are lower than asked, in words; empty: they are not.
    fn throttled(&mut self) -> Result<Vec<&'static str>, String>;
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

pub(crate) fn library() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// A GPU by its number.
#[derive(Clone, Copy, Debug)]
struct Gpu {
    index: u32,
}

impl Gpu {
    fn ask<T>(
        self,
        question: impl FnOnce(&nvml_wrapper::Device<'_>) -> Result<T, NvmlError>,
    ) -> Result<T, String> {
        let nvml = library().ok_or("NVML is not there")?;
        let device = nvml.device_by_index(self.index).map_err(|e| e.to_string())?;
        question(&device).map_err(|e| e.to_string())
    }
}

impl GpuSensor for Gpu {
    fn energy_mj(&mut self) -> Result<u64, String> {
        self.ask(|device| device.total_energy_consumption())
    }

    fn power_mw(&mut self) -> Result<u64, String> {
        self.ask(|device| device.power_usage()).map(u64::from)
    }

    fn usage(&mut self) -> Result<f64, String> {
        self.ask(|device| device.utilization_rates()).map(|rates| f64::from(rates.gpu) / 100.0)
    }

    fn throttled(&mut self) -> Result<Vec<&'static str>, String> {
        self.ask(|device| device.current_throttle_reasons()).map(words)
    }
}

/// The GPU behind a rail's folder.
pub(crate) fn sensor(folder: &str) -> Option<Box<dyn GpuSensor>> {
    let index = folder.strip_prefix(SCHEME)?.parse().ok()?;
    Some(Box::new(Gpu { index }))
}

/// The rails of all GPUs: their energy counter where there is one (Volta and later), else their power.
pub(crate) fn find(problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let Some(nvml) = library() else { return Vec::new() };
    let count = match nvml.device_count() {
        Ok(count) => count,
        Err(error) => {
            problems.push(Problem::new("power of NVIDIA GPUs", error.to_string()));
            return Vec::new();
        }
    };
    let mut rails = Vec::new();
    for index in 0..count {
        let name = Gpu { index }.ask(|device| device.name()).unwrap_or_else(|_| "GPU".to_owned());
        match source(&mut Gpu { index }, index, &name) {
            Ok(rail) => rails.push(rail),
            Err(cause) => problems.push(Problem::new(format!("power of {name}"), cause)),
        }
    }
    rails
}

fn source(gpu: &mut dyn GpuSensor, index: u32, name: &str) -> Result<RailSource, String> {
    let kind = match gpu.energy_mj() {
        Ok(_) => RailKind::NvmlEnergy,
        Err(_) => {
            gpu.power_mw()?;
            RailKind::NvmlPower
        }
    };
    Ok(RailSource {
        label: format!("gpu-{index} {name}"),
        kind,
        folder: format!("{SCHEME}{index}"),
        channel: index,
        volts: None,
        amps: None,
        watts: None,
        energy: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        energy: Result<u64, String>,
        power: Result<u64, String>,
    }

    impl GpuSensor for Fake {
        fn energy_mj(&mut self) -> Result<u64, String> {
            self.energy.clone()
        }

        fn power_mw(&mut self) -> Result<u64, String> {
            self.power.clone()
        }

        fn usage(&mut self) -> Result<f64, String> {
            Ok(0.5)
        }

        fn throttled(&mut self) -> Result<Vec<&'static str>, String> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_gpu_without_a_counter_gives_its_power_and_one_without_either_is_a_problem() {
        let no = || Err::<u64, _>("not supported".to_owned());
        let kind = |energy, power| source(&mut Fake { energy, power }, 0, "Test").map(|rail| rail.kind);
        assert_eq!(kind(Ok(1), Ok(1)), Ok(RailKind::NvmlEnergy));
        assert_eq!(kind(no(), Ok(1)), Ok(RailKind::NvmlPower));
        assert_eq!(kind(no(), no()), Err("not supported".to_owned()));
    }

    #[test]
    fn idle_and_clocks_that_were_set_are_no_throttling() {
        let harmless = ThrottleReasons::GPU_IDLE | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING;
        assert!(words(harmless).is_empty());
        assert_eq!(words(harmless | ThrottleReasons::SW_POWER_CAP), ["power limit"]);
    }

    #[test]
    fn a_machine_without_the_library_has_no_gpus() {
        // Where these tests run on a machine with such a GPU, its rails are read instead.
        let mut problems = Vec::new();
        let rails = find(&mut problems);
        assert!(rails.iter().all(|rail| sensor(&rail.folder).is_some()));
        assert!(sensor("/sys/class/hwmon/hwmon0").is_none());
    }
}
