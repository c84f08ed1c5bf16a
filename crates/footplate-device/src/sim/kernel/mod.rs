//! How a kernel of L4T treats its control files: what a write means, what it refuses, what a read shows.
//!
//! The rules differ between kernels 4.4/4.9 (R28, R32) and 5.10 and later (R34 on). They were taken from
//! descriptions of the kernels' sources; `docs/boards/simulated.md` lists them, and what is left out.

mod cpu;
mod emc;
mod gpu;
mod values;

use std::io;

use crate::board::{BoardFacts, Kernel, Module, Release, StockMode};
use crate::parse::show_cpu_list;

use self::values::{last, limits, truth};

/// Stores that the kernel refuses with EBUSY after a core was switched, where it does so at all.
const BUSY_STORES: u32 = 2;
/// What an uncapped clock shows as its cap.
const UNCAPPED: u64 = u64::MAX;

/// Error numbers that control files give.
pub(in crate::sim) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const EIO: i32 = 5;
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const ENODEV: i32 = 19;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ENODATA: i32 = 61;
}

/// An error of the kernel.
pub(super) fn fault(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// A control file whose reads and writes follow the kernel's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KernelFile {
    /// `cpuN/online`, by the CPU's number.
    Online(u32),
    /// `cpu/online`, and with `true` `cpu/offline`.
    Mask(bool),
    /// A file of the cpufreq policy with this index.
    Policy(usize, PolicyFile),
    /// A file of the GPU.
    Gpu(GpuFile),
    /// A file of the memory controller's clock.
    Emc(EmcFile),
}

/// Files of a cpufreq policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PolicyFile {
    Min,
    Max,
    Current,
    Real,
    Governor,
    SetSpeed,
    Affected,
}

/// Files of the GPU's devfreq folder and of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GpuFile {
    Min,
    Max,
    Current,
    Target,
    Governor,
    Load,
    RailgateEnable,
    IsRailgated,
    PowerControl,
    Mask(usize),
}

/// Files of the memory controller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EmcFile {
    Rate,
    MinRate,
    MaxRate,
    Locked,
    State,
    Halt,
    Cap,
    OverrideRate,
    OverrideState,
}

/// How much the machine is asked to do: decides which clocks the governors choose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Share of the cores' time, for the CPU governor.
    pub(super) cpu: f64,
    /// Whether the GPU has work.
    pub(super) gpu: bool,
    /// Whether memory has more than background traffic.
    pub(super) memory: bool,
}

/// Clock limits in the kernel's own unit: kHz for a CPU policy, Hz for the GPU.
#[derive(Clone, Copy, Debug)]
struct Limits {
    min: u64,
    max: u64,
}

/// What the kernel holds of all control files.
#[derive(Debug)]
pub(super) struct KernelState {
    facts: &'static BoardFacts,
    release: &'static Release,
    module: &'static Module,
    pub(super) online: Vec<bool>,
    policies: Vec<Limits>,
    governors: Vec<String>,
    gpu: Limits,
    gpu_governor: String,
    railgate: bool,
    runtime_on: bool,
    masks: Vec<u32>,
    emc_rate: u64,
    emc_locked: bool,
    emc_state: bool,
    emc_halt: bool,
    emc_cap: u64,
    busy_stores: u32,
    pub(super) demand: Demand,
    /// Steps of the tables that the thermal framework has taken off the highest clocks.
    pub(super) throttle: usize,
    /// Share of the asked CPU clock that the over-current limiter lets through.
    pub(super) held_back: f64,
    /// Core that does not come back, by injection.
    pub(super) dead_core: Option<u32>,
}

impl KernelState {
    /// The state after boot, in the mode of [`boot_mode`].
    pub(super) fn new(
        facts: &'static BoardFacts,
        release: &'static Release,
        module: &'static Module,
    ) -> Self {
        let mode = boot_mode(release);
        let mask = |name: &&str| match *name {
            "tpc_pg_mask" => mode.and_then(|mode| mode.tpc_mask).unwrap_or(0),
            "fbp_pg_mask" => mode.and_then(|mode| mode.fbp_mask).unwrap_or(0),
            _ => 0,
        };
        let is_on = |cpu: u32| mode.is_none_or(|mode| mode.cores.contains(&cpu));
        let cpu = limits(release.cpu_khz, mode.map(|mode| mode.cpu_khz));
        Self {
            facts,
            release,
            module,
            online: (0..module.cores()).map(is_on).collect(),
            policies: module.clusters.iter().map(|_| cpu).collect(),
            governors: module.clusters.iter().map(|_| "schedutil".to_owned()).collect(),
            gpu: limits(release.gpu_hz, mode.map(|mode| mode.gpu_hz)),
            gpu_governor: "nvhost_podgov".to_owned(),
            railgate: true,
            runtime_on: false,
            masks: release.gpu.masks.iter().map(mask).collect(),
            emc_rate: last(release.emc_hz),
            emc_locked: false,
            emc_state: false,
            emc_halt: false,
            emc_cap: mode.and_then(|mode| mode.emc_hz).unwrap_or(UNCAPPED),
            busy_stores: 0,
            demand: Demand::default(),
            throttle: 0,
            held_back: 1.0,
            dead_core: None,
        }
    }

    fn is_old(&self) -> bool {
        self.release.kernel <= Kernel::K4_9
    }

    /// Number of cores that are on.
    pub(super) fn cores(&self) -> u32 {
        self.online.iter().filter(|on| **on).count() as u32
    }

    /// What a read of a control file shows, without its newline.
    pub(super) fn read(&self, file: KernelFile) -> io::Result<String> {
        Ok(match file {
            KernelFile::Online(cpu) => u8::from(self.online[cpu as usize]).to_string(),
            KernelFile::Mask(offline) => {
                let cpus = (0..self.online.len() as u32).filter(|cpu| self.online[*cpu as usize] != offline);
                show_cpu_list(&cpus.collect::<Vec<_>>())
            }
            KernelFile::Policy(policy, file) => self.read_policy(policy, file),
            KernelFile::Gpu(file) => self.read_gpu(file),
            KernelFile::Emc(file) => self.read_emc(file),
        })
    }

    /// Writes a control file.
    pub(super) fn write(&mut self, file: KernelFile, text: &str) -> io::Result<()> {
        let text = text.trim();
        match file {
            KernelFile::Online(cpu) => self.switch(cpu, truth(text)?),
            KernelFile::Mask(_) => Err(fault(errno::EACCES)),
            KernelFile::Policy(policy, file) => self.write_policy(policy, file, text),
            KernelFile::Gpu(file) => self.write_gpu(file, text),
            KernelFile::Emc(file) => self.write_emc(file, text),
        }
    }
}

/// The stock mode that a simulated board boots in: the unlimited one where there is one, else the default.
pub(super) fn boot_mode(release: &Release) -> Option<&'static StockMode> {
    let modes: &'static [StockMode] = release.stock_modes;
    let unlimited = |mode: &&StockMode| mode.name.starts_with("MAXN");
    modes.iter().find(unlimited).or_else(|| modes.iter().find(|mode| mode.default)).or(modes.first())
}
