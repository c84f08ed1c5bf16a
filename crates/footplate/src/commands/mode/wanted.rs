//! A power mode on the command line: knobs by name, clocks with their unit.

use clap::Args;
use footplate_core::{Hertz, PowerMode, Watts, quantity};
use footplate_device::Device;
use footplate_device::wanted::{self, WantedError};

use crate::failure::{Failure, Kind};

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

impl WantedMode {
    /// The mode, each clock an entry of its table.
    pub(crate) fn resolve(&self, device: &Device) -> Result<PowerMode, Failure> {
        let wanted = wanted::WantedMode {
            cpu_cores: self.cpu_cores,
            cpu_hz: self.cpu_clock,
            gpu_hz: self.gpu_clock,
            emc_hz: self.emc_clock,
            gpu_power_limit: self.gpu_power_limit,
        };
        wanted.resolve(device).map_err(|error| {
            let failure = Failure::new(Kind::Usage, error.to_string());
            let WantedError::NoneNear { table, .. } = error else { return failure };
            let all: Vec<String> = table.iter().map(|hz| (hz.0 as f64 / 1e6).to_string()).collect();
            failure.hint(format!("its clocks in MHz are {}", all.join(" ")))
        })
    }
}
