//! The samples of one rail within a bound of memory: recent ones one by one, older ones as blocks of energy.

use std::collections::VecDeque;

use footplate_core::energy::{CounterSample, PowerSample, counted_energy, window_energy};
use footplate_core::ports::WindowEnergy;
use footplate_core::{Joules, Reading, Watts};

use crate::rail::{RailModel, RailValue};

/// Samples that are kept one by one: seven minutes at ten a second.
pub(super) const KEPT: usize = 4096;
/// Samples that become one block when that is full.
const BLOCK: usize = 1024;

/// One sample of either kind.
#[derive(Clone, Copy, Debug)]
enum Sample {
    Power(PowerSample),
    Count(CounterSample),
}

impl Sample {
    fn t_ns(&self) -> u64 {
        match self {
            Self::Power(sample) => sample.t_ns,
            Self::Count(sample) => sample.t_ns,
        }
    }
}

/// Energy of a stretch whose samples are gone.
#[derive(Clone, Copy, Debug)]
struct Block {
    from_ns: u64,
    to_ns: u64,
    energy: Option<WindowEnergy>,
}

/// The samples of one rail, and what became of old ones.
#[derive(Debug)]
pub(super) struct Series {
    model: RailModel,
    samples: VecDeque<Sample>,
    blocks: Vec<Block>,
}

impl Series {
    pub(super) fn new(model: RailModel) -> Self {
        Self { model, samples: VecDeque::new(), blocks: Vec::new() }
    }

    pub(super) fn push(&mut self, t_ns: u64, value: RailValue) {
        self.samples.push_back(match value {
            RailValue::Power(power_w) => Sample::Power(PowerSample { t_ns, power_w }),
            RailValue::Count(count) => Sample::Count(CounterSample { t_ns, count }),
        });
        if self.samples.len() > KEPT {
            let (from_ns, to_ns) = (self.start_ns(), self.samples[BLOCK].t_ns());
            let energy = self.of_samples(from_ns, to_ns).value().copied();
            self.blocks.push(Block { from_ns, to_ns, energy });
            self.samples.drain(..BLOCK);
        }
    }

    /// Where the samples that are kept one by one begin.
    fn start_ns(&self) -> u64 {
        let first = self.samples.front().map_or(0, Sample::t_ns);
        self.blocks.last().map_or(first, |block| block.to_ns)
    }

    fn of_samples(&self, from_ns: u64, to_ns: u64) -> Reading<WindowEnergy> {
        // Some beyond both ends: edges need their neighbours.
        let begin = self.samples.partition_point(|s| s.t_ns() < from_ns).saturating_sub(4);
        let near = self.samples.range(begin..);
        match self.model {
            RailModel::Power(sensor) => {
                let samples: Vec<PowerSample> = near
                    .filter_map(|s| match s {
                        Sample::Power(sample) => Some(*sample),
                        Sample::Count(_) => None,
                    })
                    .collect();
                window_energy(&samples, from_ns, to_ns, &sensor)
            }
            RailModel::Counter(counter) => {
                let samples: Vec<CounterSample> = near
                    .filter_map(|s| match s {
                        Sample::Count(sample) => Some(*sample),
                        Sample::Power(_) => None,
                    })
                    .collect();
                counted_energy(&samples, from_ns, to_ns, &counter)
            }
        }
    }

    /// The energy of a window.
    pub(super) fn window(&self, from_ns: u64, to_ns: u64) -> Reading<WindowEnergy> {
        let start = self.start_ns();
        if self.blocks.is_empty() || from_ns >= start {
            return self.of_samples(from_ns, to_ns);
        }
        let mut parts: Vec<(WindowEnergy, f64)> = Vec::new();
        for block in &self.blocks {
            let width = block.to_ns.min(to_ns).saturating_sub(block.from_ns.max(from_ns)) as f64;
            let share = width / (block.to_ns - block.from_ns).max(1) as f64;
            parts.extend(block.energy.filter(|_| width > 0.0).map(|energy| (energy, share)));
        }
        if to_ns > start {
            parts.extend(self.of_samples(start, to_ns).value().map(|energy| (*energy, 1.0)));
        }
        join(&parts, (to_ns.saturating_sub(from_ns)) as f64 / 1e9)
    }

    /// Mean power of the samples after a moment, for the log; `None` without any.
    pub(super) fn mean_since(&self, t_ns: u64) -> Option<Watts> {
        let begin = self.samples.partition_point(|s| s.t_ns() <= t_ns);
        let new: Vec<&Sample> = self.samples.range(begin..).collect();
        match (self.model, new.first(), new.last()) {
            (RailModel::Power(_), Some(_), _) => {
                let powers = new.iter().filter_map(|s| match s {
                    Sample::Power(sample) => Some(sample.power_w),
                    Sample::Count(_) => None,
                });
                Some(Watts(powers.sum::<f64>() / new.len() as f64))
            }
            (RailModel::Counter(_), Some(_), Some(last)) => {
                let before = self.samples.get(begin.checked_sub(1)?)?;
                let energy = self.of_samples(before.t_ns(), last.t_ns());
                energy.value().map(|energy| energy.mean_power_w)
            }
            _ => None,
        }
    }

    /// Bytes that the series takes at most, without its blocks.
    #[cfg(test)]
    pub(super) fn bytes_max() -> usize {
        (KEPT + 1).next_power_of_two() * size_of::<Sample>()
    }
}

/// Puts neighbouring stretches together; each counts with a share of itself.
fn join(parts: &[(WindowEnergy, f64)], length_s: f64) -> Reading<WindowEnergy> {
    let (mut energy, mut error, mut covered, mut samples) = (0.0, 0.0, 0.0, 0.0);
    let mut peak = f64::NEG_INFINITY;
    for (part, share) in parts {
        let seconds = part.energy_j.0 / part.mean_power_w.0;
        energy += part.energy_j.0 * share;
        // A block that is cut: its power may have been anywhere in it.
        error +=
            part.error_j.0 * share + if *share < 1.0 { part.energy_j.0 * share * (1.0 - share) } else { 0.0 };
        covered += if seconds.is_finite() { seconds * share } else { 0.0 };
        samples += f64::from(part.samples) * share;
        peak = peak.max(part.peak_power_w.0);
    }
    if covered <= 0.0 || length_s <= 0.0 {
        return Reading::unreadable("insufficient: no samples in the window");
    }
    Reading::Value(WindowEnergy {
        energy_j: Joules(energy),
        error_j: Joules(error),
        coverage: (covered / length_s).clamp(0.0, 1.0),
        mean_power_w: Watts(energy / covered),
        peak_power_w: Watts(peak),
        samples: samples as u32,
    })
}

/// The sum of rails that are measured apart. One that has no value: neither has the sum.
pub(super) fn sum(rails: &[(String, Reading<WindowEnergy>)]) -> Reading<WindowEnergy> {
    let mut total: Option<WindowEnergy> = None;
    for (name, rail) in rails {
        let rail = match rail {
            Reading::Value(rail) => *rail,
            Reading::Absent => return Reading::Absent,
            Reading::Unreadable { reason } if reason.starts_with("insufficient") => {
                return Reading::unreadable(reason);
            }
            Reading::Unreadable { reason } => {
                return Reading::unreadable(format!("{name}: {reason}"));
            }
        };
        total = Some(total.map_or(rail, |total| WindowEnergy {
            energy_j: Joules(total.energy_j.0 + rail.energy_j.0),
            error_j: Joules(total.error_j.0 + rail.error_j.0),
            coverage: total.coverage.min(rail.coverage),
            mean_power_w: Watts(total.mean_power_w.0 + rail.mean_power_w.0),
            // Not all at the same moment: an upper bound.
            peak_power_w: Watts(total.peak_power_w.0 + rail.peak_power_w.0),
            samples: total.samples.min(rail.samples),
        }));
    }
    total.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::energy::SensorModel;

    #[test]
    fn old_samples_become_blocks_and_no_energy_is_lost() {
        let ms = 1_000_000;
        let sensor = SensorModel {
            interval_ns: 100 * ms,
            refresh_ns: 100 * ms,
            age_ns: 50 * ms,
            average_ns: 100 * ms,
            step_w: 0.0,
            skew_ns: 0,
        };
        let mut series = Series::new(RailModel::Power(sensor));
        let count = 20_000;
        for i in 0..count {
            let watts = if i % 2 == 0 { 8.0 } else { 12.0 };
            series.push(i * 100 * ms, RailValue::Power(watts));
        }
        assert!(series.samples.len() <= KEPT && series.blocks.len() >= 15);
        let whole = *series.window(0, count * 100 * ms).value().unwrap();
        let seconds = count as f64 / 10.0;
        assert!((whole.energy_j.0 / (10.0 * seconds) - 1.0).abs() < 2e-3, "{whole:?}");
        assert!(whole.coverage > 0.999 && whole.peak_power_w == Watts(12.0), "{whole:?}");
        let half = *series.window(0, count * 50 * ms).value().unwrap();
        assert!((half.energy_j.0 / (5.0 * seconds) - 1.0).abs() < 2e-3, "{half:?}");
        assert!(Series::bytes_max() < 300_000);
    }
}
