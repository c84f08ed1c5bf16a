//! How busy CPU and GPU are: the kernel's counts of busy time, and nvgpu's load.

use std::collections::VecDeque;

use footplate_core::Reading;

use crate::discover::Device;
use crate::nvml::{self, GpuSensor};
use crate::tree::Probe;

/// Samples that are kept; beyond it every second one goes, so that a long window has both its ends.
const KEPT: usize = 4096;
/// An end of a window takes the nearest sample up to this far away.
const NEAR_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct UsageSample {
    t_ns: u64,
    /// Busy and all time of the cores online, in the kernel's ticks.
    cpu: Option<(u64, u64)>,
    /// The GPU's load, 0 to 1.
    gpu: Option<f64>,
}

/// Watches the use of CPU and GPU.
pub(super) struct Usage {
    cpu: Option<Box<dyn Probe>>,
    gpu: Option<Box<dyn Probe>>,
    nvml: Option<Box<dyn GpuSensor>>,
    samples: VecDeque<UsageSample>,
    text: String,
}

impl Usage {
    pub(super) fn new(device: &Device) -> Self {
        let load = |gpu: &crate::discover::GpuKnob| device.root.open(&format!("{}/load", gpu.device)).ok();
        Self {
            cpu: device.root.open("/proc/stat").ok(),
            gpu: device.gpu.as_ref().and_then(load),
            nvml: device.rails.iter().find_map(|rail| nvml::sensor(&rail.folder)),
            samples: VecDeque::new(),
            text: String::new(),
        }
    }

    pub(super) fn look(&mut self, t_ns: u64) {
        let text = &mut self.text;
        let mut read = |file: &mut Option<Box<dyn Probe>>| -> Option<String> {
            file.as_mut()?.read(text).ok()?;
            Some(text.clone())
        };
        let cpu = read(&mut self.cpu).and_then(|text| ticks(&text));
        let load = read(&mut self.gpu).and_then(|text| text.trim().parse::<f64>().ok());
        let of_nvml = self.nvml.as_mut().and_then(|gpu| gpu.usage().ok());
        self.samples.push_back(UsageSample { t_ns, cpu, gpu: load.map(|load| load / 1e3).or(of_nvml) });
        if self.samples.len() > KEPT {
            self.samples = self.samples.iter().copied().step_by(2).collect();
        }
    }

    /// CPU and GPU in a window.
    pub(super) fn between(&self, from_ns: u64, to_ns: u64) -> (Reading<f64>, Reading<f64>) {
        (self.cpu_between(from_ns, to_ns), self.gpu_between(from_ns, to_ns))
    }

    fn cpu_between(&self, from_ns: u64, to_ns: u64) -> Reading<f64> {
        if self.cpu.is_none() {
            return Reading::Absent;
        }
        let nearest = |t_ns: u64| {
            let near = self.samples.iter().filter(|s| s.t_ns.abs_diff(t_ns) <= NEAR_NS);
            near.min_by_key(|s| s.t_ns.abs_diff(t_ns)).and_then(|s| s.cpu)
        };
        let share = nearest(from_ns).zip(nearest(to_ns)).and_then(|(a, b)| {
            let all = b.1.checked_sub(a.1).filter(|all| *all > 0)?;
            Some(b.0.checked_sub(a.0)? as f64 / all as f64)
        });
        share.map_or_else(short, Reading::Value)
    }

    fn gpu_between(&self, from_ns: u64, to_ns: u64) -> Reading<f64> {
        if self.gpu.is_none() && self.nvml.is_none() {
            return Reading::Absent;
        }
        let inside = self.samples.iter().filter(|s| (from_ns..=to_ns).contains(&s.t_ns));
        let loads: Vec<f64> = inside.filter_map(|s| s.gpu).collect();
        footplate_core::stats::mean(&loads).map_or_else(short, Reading::Value)
    }
}

fn short() -> Reading<f64> {
    Reading::unreadable("insufficient: the window is shorter than two looks")
}

/// Busy and all ticks of the first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let (idle, waiting) = (fields.get(3)?, fields.get(4).unwrap_or(&0));
    let all: u64 = fields.iter().sum();
    Some((all.checked_sub(idle + waiting)?, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_count_waiting_as_idle() {
        let text = "cpu  100 5 45 800 50 0 0 0 7 0\ncpu0 1 2 3 4\n";
        assert_eq!(ticks(text), Some((150, 1000)));
        assert_eq!(ticks("intr 5\n"), None);
        assert_eq!(ticks("cpu  1 2\n"), None);
    }
}
