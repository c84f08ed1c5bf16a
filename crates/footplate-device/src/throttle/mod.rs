//! Evidence that the machine lowered its clocks by itself: what counts as such on which board.

use crate::discover::Device;
use crate::nvml::{self, GpuSensor};
use crate::tree::Probe;

/// A real clock below this share of the asked one was held back by something that no limit shows.
const REAL_CLOCK_SHARE: f64 = 0.97;
/// Looks in a row that must see a low clock: two reads of a moving clock are not from the same moment.
const LOOKS: u32 = 2;

/// Watches a machine for throttling. Files are kept open.
pub(crate) struct ThrottleWatch {
    cooling: Vec<(String, Box<dyn Probe>)>,
    counters: Vec<(String, Box<dyn Probe>, Option<u64>)>,
    clocks: Vec<ClockPair>,
    gpus: Vec<(String, Box<dyn GpuSensor>)>,
    text: String,
}

struct ClockPair {
    policy: String,
    real: Box<dyn Probe>,
    asked: Box<dyn Probe>,
    low: u32,
}

impl ThrottleWatch {
    /// Opens what counts on this machine. What cannot be read is left out: it is no evidence of anything.
    pub(crate) fn new(device: &Device) -> Self {
        let root = &device.root;
        let cooling = device.cooling.iter().filter(|c| device.facts.throttles(&c.kind));
        let cooling =
            cooling.filter_map(|c| Some((c.kind.clone(), root.open(&format!("{}/cur_state", c.path)).ok()?)));
        let counters = device.over_current.iter();
        let counters = counters.filter_map(|c| Some((c.name.clone(), root.open(&c.path).ok()?, None)));
        let clocks = device.cpu.policies.iter().filter_map(|policy| {
            Some(ClockPair {
                policy: policy.path.rsplit('/').next().unwrap_or_default().to_owned(),
                // Hardware counters; the kernel lets only root read them.
                real: root.open(&format!("{}/cpuinfo_cur_freq", policy.path)).ok()?,
                asked: root.open(&format!("{}/scaling_cur_freq", policy.path)).ok()?,
                low: 0,
            })
        });
        let gpus = device.rails.iter();
        let gpus = gpus.filter_map(|rail| Some((rail.label.clone(), nvml::sensor(&rail.folder)?)));
        Self {
            cooling: cooling.collect(),
            counters: counters.collect(),
            clocks: clocks.collect(),
            gpus: gpus.collect(),
            text: String::new(),
        }
    }

    /// Whether anything can be watched here.
    #[cfg(test)]
    pub(crate) fn sees_something(&self) -> bool {
        !self.cooling.is_empty()
            || !self.counters.is_empty()
            || !self.clocks.is_empty()
            || !self.gpus.is_empty()
    }

    /// What is to be seen now. Events that were counted before the first look are not.
    pub(crate) fn look(&mut self) -> Vec<String> {
        let mut evidence = Vec::new();
        let text = &mut self.text;
        for (kind, file) in &mut self.cooling {
            if number(file.as_mut(), text).is_some_and(|state| state > 0) {
                evidence.push(format!("cooling device {kind} is active"));
            }
        }
        for (name, file, last) in &mut self.counters {
            let Some(now) = number(file.as_mut(), text) else { continue };
            if last.is_some_and(|last| now > last) {
                evidence.push(format!("over-current events ({name})"));
            }
            *last = Some(now);
        }
        for clock in &mut self.clocks {
            let real = number(clock.real.as_mut(), text);
            let asked = number(clock.asked.as_mut(), text);
            let is_low = real.zip(asked).is_some_and(|(r, a)| (r as f64) < a as f64 * REAL_CLOCK_SHARE);
            clock.low = if is_low { clock.low + 1 } else { 0 };
            if clock.low >= LOOKS {
                evidence.push(format!("the real clock of {} is below the asked one", clock.policy));
            }
        }
        for (name, gpu) in &mut self.gpus {
            let reasons = gpu.throttled().unwrap_or_default();
            evidence.extend(reasons.iter().map(|reason| format!("{name}: {reason}")));
        }
        evidence
    }
}

fn number(file: &mut dyn Probe, text: &mut String) -> Option<u64> {
    file.read(text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
