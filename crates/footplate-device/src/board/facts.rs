//! What is known of a board whatever its release: identity, modules, the rule of its total, what counts as throttling.

use crate::tree::fits;

use super::release::Release;

/// Everything that is known of one board.
#[derive(Debug, PartialEq)]
pub struct BoardFacts {
    /// The name in commands and files, such as `agx-orin`.
    pub id: &'static str,
    /// The name in words.
    pub name: &'static str,
    /// The system on chip.
    pub soc: Soc,
    /// Parts of entries of `/proc/device-tree/compatible` that mean this board.
    pub compatible: &'static [&'static str],
    /// Modules that come under this name; the first is the one that a simulated board has.
    pub modules: &'static [Module],
    /// The order in which cores come online: the first is never switched off.
    pub cpu_order: &'static [u32],
    /// CPU clock in kHz from which the EMC has at least the other clock in kHz, where nothing locks it.
    pub emc_floors_khz: &'static [(u64, u64)],
    /// Which rails make up the board's total power.
    pub total: TotalRule,
    /// What the total leaves out, in words for the user.
    pub total_note: &'static str,
    /// Types of cooling devices that mean throttling when `cur_state` is not 0; `*` stands for anything.
    pub throttling_cooling: &'static [&'static str],
    /// Types that are active in normal use and are no throttling; `*` stands for anything.
    pub harmless_cooling: &'static [&'static str],
    /// How the board runs under each release of L4T that is described; the newest first.
    pub releases: &'static [Release],
    /// What could not be found out, in words.
    pub unchecked: &'static [&'static str],
}

/// A system on chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soc {
    /// Tegra X1, of the TX1 and the Nano.
    T210,
    /// Tegra X2, of the TX2.
    T186,
    /// Xavier, of the Xavier NX and the AGX Xavier.
    T194,
    /// Orin, of the Orin Nano, the Orin NX and the AGX Orin.
    T234,
    /// Thor, of the AGX Thor.
    T264,
    /// A machine without a Tegra.
    Other,
}

impl Soc {
    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::T210 => "T210",
            Self::T186 => "T186",
            Self::T194 => "T194",
            Self::T234 => "T234",
            Self::T264 => "T264",
            Self::Other => "",
        }
    }
}

/// A module: the part that carries the chip and the memory.
#[derive(Debug, PartialEq)]
pub struct Module {
    /// Its name in words.
    pub name: &'static str,
    /// Part numbers as they stand in `compatible`.
    pub parts: &'static [&'static str],
    /// Memory as sold, in GB of 2^30 bytes.
    pub memory_gb: u64,
    /// CPUs of each frequency domain (cpufreq policy); a policy is named after its first CPU.
    pub clusters: &'static [&'static [u32]],
    /// The GPU's units as the module is sold.
    pub gpu: Gpu,
    /// The highest GPU clock, in Hz.
    pub gpu_max_hz: u64,
    /// Width of the memory bus in bits.
    pub memory_bits: u64,
    /// The highest EMC clock, in Hz.
    pub emc_max_hz: u64,
}

/// A GPU's units, all of them powered. Modes that gate TPCs have less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its generation, such as `Ampere`.
    pub architecture: &'static str,
    /// CUDA cores, all together.
    pub cores: u64,
    /// Tensor cores; 0: it has none.
    pub tensor_cores: u64,
    /// Texture processing clusters; 0: not known.
    pub tpcs: u64,
    /// Half-precision operations of the CUDA cores by single-precision ones; 0: not known.
    pub fp16_ratio: u64,
    /// Dense half-precision operations of one tensor core in one cycle; 0: none or not known.
    pub tensor_flops_per_cycle: u64,
}

impl Module {
    /// Number of CPU cores.
    pub fn cores(&self) -> u32 {
        self.clusters.iter().map(|cluster| cluster.len() as u32).sum()
    }

    /// Peak single-precision operations a second at a GPU clock: two for each core and cycle.
    pub fn fp32_flops(&self, gpu_hz: u64) -> f64 {
        (self.gpu.cores * 2 * gpu_hz) as f64
    }

    /// Peak half-precision operations a second: the tensor cores' where it has some, dense. `None`: not known.
    pub fn fp16_flops(&self, gpu_hz: u64) -> Option<f64> {
        let per_cycle = match (self.gpu.tensor_cores * self.gpu.tensor_flops_per_cycle, self.gpu.fp16_ratio) {
            (0, 0) => return None,
            (0, ratio) => self.gpu.cores * 2 * ratio,
            (tensor, _) => tensor,
        };
        Some((per_cycle * gpu_hz) as f64)
    }

    /// Peak memory bandwidth in bytes a second at an EMC clock: two transfers in each cycle.
    pub fn bandwidth(&self, emc_hz: u64) -> f64 {
        (self.memory_bits / 8 * 2 * emc_hz) as f64
    }
}

/// Which rails make up the board's total power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalRule {
    /// The first of these that is there.
    Rail(&'static [&'static str]),
    /// The sum of all of these; one missing: no total.
    Sum(&'static [&'static str]),
    /// No rail measures the whole board.
    None,
}

impl BoardFacts {
    /// Whether a cooling device of this type means that the machine lowered its clocks by itself.
    pub fn throttles(&self, kind: &str) -> bool {
        let fits = |patterns: &[&str]| patterns.iter().any(|pattern| fits(pattern, kind));
        fits(self.throttling_cooling) && !fits(self.harmless_cooling)
    }

    /// A release by its name; the newest for `None`.
    pub fn release(&self, id: Option<&str>) -> Option<&'static Release> {
        let releases: &'static [Release] = self.releases;
        match id {
            Some(id) => releases.iter().find(|release| release.id == id),
            None => releases.first(),
        }
    }
}
