//! What can be set for a job: a power mode, a batch size, loader's workers; and which of them vary in a space.

use std::fmt;

use footplate_core::PowerMode;
use serde::{Deserialize, Serialize};

/// One point of the space that a tuner searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setting {
    /// Clocks, cores and power limit; what is `None` is no knob.
    pub mode: PowerMode,
    /// Samples in a minibatch, where that is a knob.
    pub batch_size: Option<u64>,
    /// The loader's workers, where that is a knob.
    pub workers: Option<u64>,
}

impl Setting {
    /// A power mode alone.
    pub fn of(mode: PowerMode) -> Self {
        Self { mode, ..Self::default() }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.mode != PowerMode::default() {
            parts.push(self.mode.to_string());
        }
        parts.extend(self.batch_size.map(|n| format!("batch {n}")));
        parts.extend(self.workers.map(|n| format!("{n} {}", if n == 1 { "worker" } else { "workers" })));
        f.pad(&if parts.is_empty() { "no knobs".to_owned() } else { parts.join(", ") })
    }
}

/// A knob, as an index into a [`Point`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Knob {
    /// CPU cores that are online, a count.
    Cores,
    /// Limit of the CPU clock, in hertz.
    CpuClock,
    /// Limit of the GPU clock, in hertz.
    GpuClock,
    /// Limit of the memory clock, in hertz.
    EmcClock,
    /// Power limit of a discrete GPU, in milliwatts.
    PowerLimit,
    /// Samples in a minibatch, a count.
    BatchSize,
    /// Threads of the loader that decode samples, a count.
    Workers,
}

impl Knob {
    /// All of them, in the order of a [`Point`].
    pub const ALL: [Self; 7] = [
        Self::Cores,
        Self::CpuClock,
        Self::GpuClock,
        Self::EmcClock,
        Self::PowerLimit,
        Self::BatchSize,
        Self::Workers,
    ];

    /// Its value in a setting, in its own unit; `None`: the setting does not have it.
    pub fn value(self, setting: &Setting) -> Option<f64> {
        let mode = &setting.mode;
        match self {
            Self::Cores => mode.cpu_cores.map(f64::from),
            Self::CpuClock => mode.cpu_hz.map(|hz| hz.0 as f64),
            Self::GpuClock => mode.gpu_hz.map(|hz| hz.0 as f64),
            Self::EmcClock => mode.emc_hz.map(|hz| hz.0 as f64),
            Self::PowerLimit => mode.gpu_power_limit_mw.map(|mw| mw as f64),
            Self::BatchSize => setting.batch_size.map(|n| n as f64),
            Self::Workers => setting.workers.map(|n| n as f64),
        }
    }

    /// Its name for the user, such as "CPU clock".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cores => "CPU cores",
            Self::CpuClock => "CPU clock",
            Self::GpuClock => "GPU clock",
            Self::EmcClock => "EMC clock",
            Self::PowerLimit => "power limit",
            Self::BatchSize => "batch size",
            Self::Workers => "loader's workers",
        }
    }
}

/// A setting as the predictor sees it: each knob divided by its largest value in the space; 1 where it does not vary.
pub type Point = [f64; Knob::ALL.len()];

/// The knobs that vary in a space, and their ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    least: Point,
    largest: Point,
    varies: [bool; Knob::ALL.len()],
}

impl Knobs {
    /// Knobs that some setting lacks, or that have one value everywhere, do not vary.
    pub fn of(space: &[Setting]) -> Self {
        let mut knobs = Self { least: [1.0; 7], largest: [1.0; 7], varies: [false; 7] };
        for knob in Knob::ALL {
            let values: Option<Vec<f64>> =
                space.iter().map(|setting| knob.value(setting).filter(|v| *v > 0.0)).collect();
            let Some(values) = values.filter(|v| !v.is_empty()) else { continue };
            let largest = values.iter().copied().fold(f64::MIN, f64::max);
            let least = values.iter().copied().fold(f64::MAX, f64::min);
            knobs.largest[knob as usize] = largest;
            knobs.least[knob as usize] = least;
            knobs.varies[knob as usize] = least < largest;
        }
        knobs
    }

    /// Whether a knob varies.
    pub fn varies(&self, knob: Knob) -> bool {
        self.varies[knob as usize]
    }

    /// The knobs that vary.
    pub fn varying(&self) -> impl Iterator<Item = Knob> + '_ {
        Knob::ALL.into_iter().filter(|knob| self.varies(*knob))
    }

    /// A setting as a point.
    pub fn point(&self, setting: &Setting) -> Point {
        let mut point = [1.0; 7];
        for knob in self.varying() {
            if let Some(value) = knob.value(setting) {
                point[knob as usize] = value / self.largest[knob as usize];
            }
        }
        point
    }

    /// The position of a point in the space's range on a logarithmic scale: 0 to 1 for each knob that varies.
    pub fn position(&self, point: &Point) -> Point {
        let mut position = [0.0; 7];
        for knob in self.varying() {
            let i = knob as usize;
            let range = (self.largest[i] / self.least[i]).ln();
            position[i] = 1.0 + point[i].ln() / range;
        }
        position
    }

    /// The largest value of a knob in the space, in its own unit.
    pub fn largest(&self, knob: Knob) -> f64 {
        self.largest[knob as usize]
    }

    /// The smallest value of a knob divided by the largest.
    pub fn least_share(&self, knob: Knob) -> f64 {
        self.least[knob as usize] / self.largest[knob as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::Hertz;

    fn mode(cores: u32, gpu: u64) -> Setting {
        let mode = PowerMode { cpu_cores: Some(cores), gpu_hz: Some(Hertz(gpu)), ..PowerMode::default() };
        Setting::of(mode)
    }

    #[test]
    fn a_knob_that_does_not_vary_drops_out() {
        let space = [mode(2, 100), mode(2, 400), mode(2, 200)];
        let knobs = Knobs::of(&space);
        assert_eq!(knobs.varying().collect::<Vec<_>>(), [Knob::GpuClock]);
        let point = knobs.point(&space[2]);
        assert_eq!(point[Knob::GpuClock as usize], 0.5);
        assert_eq!(point[Knob::Cores as usize], 1.0);
        assert!((knobs.position(&point)[Knob::GpuClock as usize] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_knob_that_one_setting_lacks_drops_out() {
        let knobs = Knobs::of(&[mode(2, 100), mode(1, 400), Setting::default()]);
        assert_eq!(knobs.varying().count(), 0);
        assert_eq!(Knobs::of(&[]).varying().count(), 0);
    }

    #[test]
    fn a_setting_is_told_by_the_knobs_that_it_has() {
        let (bare, full) =
            (Setting::default(), Setting { workers: Some(1), batch_size: Some(16), ..mode(2, 300_000_000) });
        assert_eq!(
            (bare.to_string(), Setting { workers: Some(3), ..bare }.to_string()),
            ("no knobs".into(), "3 workers".into())
        );
        let text = full.to_string();
        assert!(text.starts_with(&full.mode.to_string()) && text.ends_with(", batch 16, 1 worker"), "{text}");
    }

    #[test]
    fn each_knob_reads_its_own_field() {
        let all = Setting {
            mode: PowerMode {
                cpu_cores: Some(4),
                cpu_hz: Some(Hertz(5)),
                gpu_hz: Some(Hertz(6)),
                emc_hz: Some(Hertz(7)),
                gpu_power_limit_mw: Some(8),
            },
            batch_size: Some(9),
            workers: Some(10),
        };
        assert_eq!(
            Knob::ALL.map(|knob| knob.value(&all)),
            [4, 5, 6, 7, 8, 9, 10].map(|v| Some(f64::from(v)))
        );
        assert_eq!(Knob::ALL.map(|knob| knob.value(&Setting::default())), [None; 7]);
    }
}
