//! Rails of discrete NVIDIA GPUs.

use crate::nvml::{GpuError, GpuSensor, SCHEME, names, sensor};

use super::{Problem, RailKind, RailSource};

/// The rails of all GPUs: their energy counter where there is one (Volta and later), else their power.
pub(super) fn find(problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let names = names().unwrap_or_else(|error| {
        problems.push(Problem::new("power of NVIDIA GPUs", error.to_string()));
        Vec::new()
    });
    let mut rails = Vec::new();
    for (index, name) in (0..).zip(&names) {
        let Some(mut gpu) = sensor(&format!("{SCHEME}{index}")) else { continue };
        match source(gpu.as_mut(), index, name) {
            Ok(rail) => rails.push(rail),
            Err(cause) => problems.push(Problem::new(format!("power of {name}"), cause.to_string())),
        }
    }
    rails
}

fn source(gpu: &mut dyn GpuSensor, index: u32, name: &str) -> Result<RailSource, GpuError> {
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
        energy: Result<u64, GpuError>,
        power: Result<u64, GpuError>,
    }

    impl GpuSensor for Fake {
        fn energy_mj(&mut self) -> Result<u64, GpuError> {
            self.energy.clone()
        }

        fn power_mw(&mut self) -> Result<u64, GpuError> {
            self.power.clone()
        }

        fn usage(&mut self) -> Result<f64, GpuError> {
            Ok(0.5)
        }

        fn throttled(&mut self) -> Result<Vec<&'static str>, GpuError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_gpu_without_a_counter_gives_its_power_and_one_without_either_is_a_problem() {
        let no = || Err::<u64, _>(GpuError::Refused("not supported".to_owned()));
        let kind = |energy, power| source(&mut Fake { energy, power }, 0, "Test").map(|rail| rail.kind);
        assert_eq!(kind(Ok(1), Ok(1)), Ok(RailKind::NvmlEnergy));
        assert_eq!(kind(no(), Ok(1)), Ok(RailKind::NvmlPower));
        assert_eq!(kind(no(), no()), Err(GpuError::Refused("not supported".to_owned())));
    }

    #[test]
    fn a_machine_without_the_library_has_no_gpus() {
        // Where these tests run on a machine with such a GPU, its rails are read instead.
        let mut problems = Vec::new();
        let rails = find(&mut problems);
        assert!(rails.iter().all(|rail| sensor(&rail.folder).is_some()));
    }
}
