//! A power mode on the command line: knobs by name, clocks with their unit.

use clap::Args;
use footplate_core::{Hertz, PowerMode, Watts, quantity};
use footplate_device::Device;

use crate::failure::{Failure, Kind};

/// A clock that is asked for may be this far from an entry of the table.
const NEAR: f64 = 0.02;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct WantedMode {
    /// CPU cores that are on
    #[arg(long, value_name = "N", help_heading = "Mode")]
    pub(crate) cpu_cores: Option<u32>,

    /// CPU clock, such as 1190.4MHz
    #[arg(long, value_name = "CLOCK", help_heading = "Mode")]
    pub(crate) cpu_clock: Option<Hertz>,

    /// GPU clock
    #[arg(long, value_name = "CLOCK", help_heading = "Mode")]
    pub(crate) gpu_clock: Option<Hertz>,

    /// Memory controller's clock
    #[arg(long, value_name = "CLOCK", help_heading = "Mode")]
    pub(crate) emc_clock: Option<Hertz>,

    /// Power limit of discrete NVIDIA GPUs, such as 250W; needs --allow-gpu-settings
    #[arg(long, value_name = "POWER", value_parser = quantity::power_limit, help_heading = "Mode")]
    pub(crate) gpu_power_limit: Option<Watts>,
}

/// A discrete GPU may serve others too.
const NEEDS_WORD: &str = "the GPU is set only with --allow-gpu-settings";

impl WantedMode {
    /// The mode, each clock an entry of its table.
    pub(crate) fn resolve(&self, device: &Device) -> Result<PowerMode, Failure> {
        let tables = device.tables();
        if let Some(cores) = self.cpu_cores
            && !tables.cpu_cores.contains(&cores)
        {
            let message = match tables.cpu_cores.last() {
                Some(most) => format!("{cores} cores cannot be had: there are 1 to {most}"),
                None => "cores cannot be switched on this machine".to_owned(),
            };
            return Err(Failure::new(Kind::Usage, message));
        }
        if self.gpu_clock.is_some() && tables.gpu_hz.is_empty() && !device.gpu_clocks.is_empty() {
            return Err(Failure::new(Kind::Usage, NEEDS_WORD));
        }
        Ok(PowerMode {
            cpu_cores: self.cpu_cores,
            cpu_hz: entry("CPU", self.cpu_clock, &tables.cpu_hz)?,
            gpu_hz: entry("GPU", self.gpu_clock, &tables.gpu_hz)?,
            emc_hz: entry("EMC", self.emc_clock, &tables.emc_hz)?,
            gpu_power_limit_mw: self.limit(device)?,
        })
    }

    fn limit(&self, device: &Device) -> Result<Option<u64>, Failure> {
        let Some(Watts(watts)) = self.gpu_power_limit else { return Ok(None) };
        let table = device.tables().gpu_power_limit_mw;
        let mw = (watts * 1e3).round() as u64;
        match (table.first(), table.last()) {
            (Some(min), Some(max)) if (*min..=*max).contains(&mw) => Ok(Some(mw)),
            (Some(min), Some(max)) => {
                let message = format!("the GPU takes limits from {} to {} W", min / 1000, max / 1000);
                Err(Failure::new(Kind::Usage, message))
            }
            _ if device.gpu_limits.is_empty() => {
                Err(Failure::new(Kind::Usage, "this machine has no discrete GPU whose power can be limited"))
            }
            _ => Err(Failure::new(Kind::Usage, NEEDS_WORD)),
        }
    }
}

/// The entry of the table that was meant.
fn entry(name: &str, clock: Option<Hertz>, table: &[Hertz]) -> Result<Option<Hertz>, Failure> {
    let Some(Hertz(hz)) = clock else { return Ok(None) };
    let Some(nearest) = table.iter().min_by_key(|entry| entry.0.abs_diff(hz)) else {
        return Err(Failure::new(Kind::Usage, format!("the {name}'s clock cannot be set on this machine")));
    };
    if nearest.0.abs_diff(hz) as f64 > NEAR * hz as f64 {
        let all: Vec<String> = table.iter().map(|hz| (hz.0 as f64 / 1e6).to_string()).collect();
        return Err(Failure::new(Kind::Usage, format!("the {name} has no clock near {}", Hertz(hz)))
            .hint(format!("its clocks in MHz are {}", all.join(" "))));
    }
    Ok(Some(*nearest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_means_the_entry_near_it() {
        let table = [Hertz(306_000_000), Hertz(408_000_000)];
        assert_eq!(entry("GPU", Some(Hertz(407_000_000)), &table).ok(), Some(Some(Hertz(408_000_000))));
        assert!(entry("GPU", Some(Hertz(350_000_000)), &table).is_err());
        assert!(entry("GPU", Some(Hertz(350_000_000)), &[]).is_err());
    }
}
