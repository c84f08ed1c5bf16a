//! The GPU's files: limits, power and masks of gated units.

use std::io;

use crate::board::{PowerGate, Soc};

use super::values::{at_least, first, last, number, throttled, truth};
use super::{GpuFile, KernelState, Limits, errno, fault};

impl KernelState {
    /// Whether the GPU is powered down: no work, and nothing that keeps it on.
    pub(in crate::sim) fn gpu_is_off(&self) -> bool {
        let kept_on = match self.release.gpu.power {
            PowerGate::Railgate => !self.railgate,
            PowerGate::RuntimePm => self.runtime_on,
        };
        !self.demand.gpu && !kept_on
    }

    pub(super) fn gpu_limits(&self) -> Limits {
        let asked = self.gpu;
        let max = asked.max.min(throttled(self.release.gpu_hz, self.throttle));
        // The maximum wins on 5.10 and later; before, it cannot come to a conflict but by heat.
        Limits { min: asked.min.min(max), max }
    }

    /// The GPU's clock while it is powered. nvgpu rounds a request up to the next entry of the table.
    pub(in crate::sim) fn gpu_hz(&self) -> u64 {
        let limits = self.gpu_limits();
        let wanted =
            if self.demand.gpu || self.gpu_governor == "performance" { limits.max } else { limits.min };
        at_least(self.release.gpu_hz, wanted)
    }

    /// Share of the module's TPCs that are not gated.
    pub(in crate::sim) fn gpu_units(&self) -> f64 {
        let index = self.release.gpu.masks.iter().position(|name| *name == "tpc_pg_mask");
        let (Some(index), tpcs) = (index, self.module.gpu.tpcs) else { return 1.0 };
        let all = if self.facts.soc == Soc::T234 { 8 } else { tpcs };
        let gated = u64::from((self.masks[index] & ((1 << all) - 1)).count_ones());
        if tpcs == 0 { 1.0 } else { (all.saturating_sub(gated) as f64 / tpcs as f64).min(1.0) }
    }

    pub(super) fn read_gpu(&self, file: GpuFile) -> String {
        let limits = if self.is_old() { self.gpu } else { self.gpu_limits() };
        match file {
            GpuFile::Min => limits.min.to_string(),
            GpuFile::Max => limits.max.to_string(),
            GpuFile::Current | GpuFile::Target if self.gpu_is_off() => "0".to_owned(),
            GpuFile::Current | GpuFile::Target => self.gpu_hz().to_string(),
            GpuFile::Governor => self.gpu_governor.clone(),
            GpuFile::Load => if self.demand.gpu { "990" } else { "0" }.to_owned(),
            GpuFile::RailgateEnable => u8::from(self.railgate).to_string(),
            GpuFile::IsRailgated => if self.gpu_is_off() { "yes" } else { "no" }.to_owned(),
            GpuFile::PowerControl => if self.runtime_on { "on" } else { "auto" }.to_owned(),
            GpuFile::Mask(index) => self.masks[index].to_string(),
        }
    }

    pub(super) fn write_gpu(&mut self, file: GpuFile, text: &str) -> io::Result<()> {
        let table = self.release.gpu_hz;
        let is_old = self.is_old();
        match file {
            GpuFile::Min => {
                let hz = number(text)?;
                if is_old && hz > self.gpu.max {
                    return Err(fault(errno::EINVAL));
                }
                // In the unit of the later kernels, kHz, a minimum loses its last digits.
                self.gpu.min = if is_old { hz } else { hz / 1000 * 1000 }.max(first(table));
            }
            GpuFile::Max => {
                let hz = number(text)?;
                if is_old && hz < self.gpu.min {
                    return Err(fault(errno::EINVAL));
                }
                let hz = if hz == 0 && !is_old { last(table) } else { hz };
                let hz = if is_old { hz } else { hz.div_ceil(1000) * 1000 };
                self.gpu.max = hz.clamp(first(table), last(table));
            }
            GpuFile::Governor => match text {
                "nvhost_podgov" | "performance" | "userspace" | "simple_ondemand" => {
                    self.gpu_governor = text.to_owned();
                }
                _ => return Err(fault(errno::EINVAL)),
            },
            GpuFile::RailgateEnable => self.railgate = truth(text)?,
            GpuFile::PowerControl => match text {
                "on" => self.runtime_on = true,
                "auto" => self.runtime_on = false,
                _ => return Err(fault(errno::EINVAL)),
            },
            GpuFile::Mask(index) => {
                let mask: u32 = number(text)?.try_into().map_err(|_| fault(errno::EINVAL))?;
                if mask != self.masks[index] {
                    // Something has used the GPU since boot: its golden context is there.
                    return Err(fault(if is_old { errno::ENODEV } else { errno::EBUSY }));
                }
            }
            _ => return Err(fault(errno::EACCES)),
        }
        Ok(())
    }
}
