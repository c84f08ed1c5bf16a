//! From what a person asks for ("4 cores, about 612 MHz") to a power mode of a device's own tables.

use footplate_core::{Hertz, PowerMode, Watts};

use crate::discover::Device;
use crate::settable::NEEDS_WORD;

/// A clock that is asked for may be this share of itself away from an entry of the table.
const NEAR: f64 = 0.02;

/// What is asked for, knob by knob; `None`: left alone.
///
/// ```
/// use footplate_core::Hertz;
/// use footplate_device::sim::{SimBoard, SimOptions};
/// use footplate_device::wanted::WantedMode;
/// use footplate_device::Device;
///
/// let board = SimBoard::new("orin-nano", SimOptions::default())?;
/// let device = Device::discover(board.root());
/// let wanted = WantedMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(612_000_000)), ..WantedMode::default() };
/// let mode = wanted.resolve(&device)?;
/// assert_eq!(mode.to_string(), "4 cores, GPU 612 MHz");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WantedMode {
    /// CPU cores that are on.
    pub cpu_cores: Option<u32>,
    /// About what clock the CPU may have at most.
    pub cpu_hz: Option<Hertz>,
    /// About what clock the GPU may have at most.
    pub gpu_hz: Option<Hertz>,
    /// About what clock the memory controller has.
    pub emc_hz: Option<Hertz>,
    /// Power limit of each discrete GPU.
    pub gpu_power_limit: Option<Watts>,
}

/// A clock that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKnob {
    /// The clock of the CPU's cores, in all clusters.
    Cpu,
    /// The clock of the chip's own GPU, or of discrete ones.
    Gpu,
    /// The clock of the memory controller (EMC).
    Emc,
}

impl std::fmt::Display for ClockKnob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Emc => "EMC",
        })
    }
}

/// Why a machine cannot have what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// There are not so many cores, or none was asked for.
    #[error("{asked} cores cannot be had: there are 1 to {most}")]
    Cores {
        /// The number that was asked for.
        asked: u32,
        /// The most that can be on.
        most: u32,
    },
    /// Cores cannot be switched.
    #[error("cores cannot be switched on this machine")]
    NoCores,
    /// A discrete GPU may serve others too, and the user did not allow to set it.
    #[error("{NEEDS_WORD}")]
    NotAllowed,
    /// The clock has no table here.
    #[error("the {knob}'s clock cannot be set on this machine")]
    NoClock {
        /// Whose clock was asked for.
        knob: ClockKnob,
    },
    /// No entry of the table is within 2 % of what was asked for.
    #[error("the {knob} has no clock near {asked}")]
    NoneNear {
        /// Whose clock was asked for.
        knob: ClockKnob,
        /// What was asked for.
        asked: Hertz,
        /// What there is, in ascending order.
        table: Vec<Hertz>,
    },
    /// The limit is outside of what the GPU takes.
    #[error("the GPU takes limits from {min_w} to {max_w} W")]
    Limit {
        /// The least, in watts.
        min_w: u64,
        /// The most, in watts.
        max_w: u64,
    },
    /// There is no GPU with a limit.
    #[error("this machine has no discrete GPU whose power can be limited")]
    NoLimit,
}

impl WantedMode {
    /// The mode that was meant: each clock is an entry of the device's table, at most 2 % from what was asked.
    pub fn resolve(&self, device: &Device) -> Result<PowerMode, WantedError> {
        let tables = device.tables();
        if let Some(asked) = self.cpu_cores
            && !tables.cpu_cores.contains(&asked)
        {
            let most = tables.cpu_cores.last();
            return Err(most.map_or(WantedError::NoCores, |most| WantedError::Cores { asked, most: *most }));
        }
        if self.gpu_hz.is_some() && tables.gpu_hz.is_empty() && !device.gpu_clocks.is_empty() {
            return Err(WantedError::NotAllowed);
        }
        Ok(PowerMode {
            cpu_cores: self.cpu_cores,
            cpu_hz: entry(ClockKnob::Cpu, self.cpu_hz, &tables.cpu_hz)?,
            gpu_hz: entry(ClockKnob::Gpu, self.gpu_hz, &tables.gpu_hz)?,
            emc_hz: entry(ClockKnob::Emc, self.emc_hz, &tables.emc_hz)?,
            gpu_power_limit_mw: self.limit_mw(device, &tables.gpu_power_limit_mw)?,
        })
    }

    fn limit_mw(&self, device: &Device, table: &[u64]) -> Result<Option<u64>, WantedError> {
        let Some(Watts(watts)) = self.gpu_power_limit else { return Ok(None) };
        let mw = (watts * 1e3).round() as u64;
        match (table.first(), table.last()) {
            (Some(min), Some(max)) if (*min..=*max).contains(&mw) => Ok(Some(mw)),
            (Some(min), Some(max)) => Err(WantedError::Limit { min_w: min / 1000, max_w: max / 1000 }),
            _ if device.gpu_limits.is_empty() => Err(WantedError::NoLimit),
            _ => Err(WantedError::NotAllowed),
        }
    }
}

/// The entry of the table that was meant.
fn entry(knob: ClockKnob, asked: Option<Hertz>, table: &[Hertz]) -> Result<Option<Hertz>, WantedError> {
    let Some(asked) = asked else { return Ok(None) };
    let away = |entry: &Hertz| entry.0.abs_diff(asked.0);
    let nearest = table.iter().copied().min_by_key(away).ok_or(WantedError::NoClock { knob })?;
    if away(&nearest) as f64 > NEAR * asked.0 as f64 {
        return Err(WantedError::NoneNear { knob, asked, table: table.to_vec() });
    }
    Ok(Some(nearest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{SimBoard, SimOptions};

    fn device(board: &str) -> Device {
        Device::discover(SimBoard::new(board, SimOptions::default()).unwrap().root())
    }

    #[test]
    fn a_clock_means_the_entry_near_it() {
        let table = [Hertz(306_000_000), Hertz(408_000_000)];
        let near = |mhz: u64| entry(ClockKnob::Gpu, Some(Hertz(mhz * 1_000_000)), &table);
        assert_eq!(near(407), Ok(Some(Hertz(408_000_000))));
        assert_eq!(near(300), Ok(Some(Hertz(306_000_000))), "2 % below the lowest");
        let none =
            WantedError::NoneNear { knob: ClockKnob::Gpu, asked: Hertz(350_000_000), table: table.to_vec() };
        assert_eq!(near(350), Err(none));
        assert_eq!(near(416), Ok(Some(Hertz(408_000_000))));
        assert!(near(417).is_err(), "9 MHz are more than 2 % of 417");
        assert_eq!(entry(ClockKnob::Emc, None, &table), Ok(None), "nothing asked, nothing set");
        assert_eq!(
            entry(ClockKnob::Emc, Some(Hertz(1)), &[]),
            Err(WantedError::NoClock { knob: ClockKnob::Emc })
        );
    }

    #[test]
    fn what_a_board_cannot_have_is_told_with_what_it_has() {
        let tx2 = device("tx2");
        let cores = |n| WantedMode { cpu_cores: Some(n), ..WantedMode::default() }.resolve(&tx2);
        assert_eq!(cores(2).unwrap().cpu_cores, Some(2));
        assert_eq!(cores(7).unwrap_err().to_string(), "7 cores cannot be had: there are 1 to 6");
        assert_eq!(cores(0).unwrap_err(), WantedError::Cores { asked: 0, most: 6 });
        let limit = WantedMode { gpu_power_limit: Some(Watts(100.0)), ..WantedMode::default() };
        assert_eq!(limit.resolve(&tx2), Err(WantedError::NoLimit));
    }

    #[test]
    fn every_entry_of_every_table_means_itself() {
        for board in SimBoard::names() {
            let device = device(board);
            let tables = device.tables();
            for hz in &tables.gpu_hz {
                let wanted = WantedMode { gpu_hz: Some(*hz), ..WantedMode::default() };
                assert_eq!(wanted.resolve(&device).unwrap().gpu_hz, Some(*hz), "{board}");
            }
            for hz in &tables.cpu_hz {
                let wanted = WantedMode { cpu_hz: Some(*hz), ..WantedMode::default() };
                assert_eq!(wanted.resolve(&device).unwrap().cpu_hz, Some(*hz), "{board}");
            }
        }
    }
}
