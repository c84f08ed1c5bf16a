//! How a kernel of L4T treats its control files: what a write means, what it refuses, what a read shows.
//!
//! The rules differ between kernels 4.4/4.9 (R28, R32) and 5.10 and later (R34 on). They were taken from
//! descriptions of the kernels' sources; `docs/boards/simulated.md` lists them, and what is left out.

use std::io;

use crate::board::{BoardFacts, EmcPaths, Kernel, Module, PowerGate, Release, Soc, StockMode};

/// Stores that the kernel refuses with EBUSY after a core was switched, where it does so at all.
const BUSY_STORES: u32 = 2;
/// What an uncapped clock shows as its cap.
const UNCAPPED: u64 = u64::MAX;

/// Error numbers that control files give.
pub(super) mod errno {
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

/// A control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Knob {
    /// `cpuN/online`.
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

/// The knobs' state.
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

    /// Cores online.
    pub(super) fn cores(&self) -> u32 {
        self.online.iter().filter(|on| **on).count() as u32
    }

    /// Clock of a policy in kHz, as its governor sets it.
    fn policy_khz(&self, policy: usize) -> u64 {
        let limits = self.policy_limits(policy);
        let table = self.release.cpu_khz;
        let wanted = match self.governors[policy].as_str() {
            "performance" => limits.max,
            "powersave" => limits.min,
            // schedutil asks for a quarter more than what is used.
            _ => (limits.max as f64 * (self.demand.cpu * 1.25).min(1.0)) as u64,
        };
        at_most(table, wanted.clamp(limits.min, limits.max)).max(at_least(table, limits.min).min(limits.max))
    }

    /// Limits of a policy after the thermal framework.
    fn policy_limits(&self, policy: usize) -> Limits {
        let asked = self.policies[policy];
        let max = asked.max.min(throttled(self.release.cpu_khz, self.throttle));
        Limits { min: asked.min.min(max), max }
    }

    /// Mean CPU clock of the cores online, in Hz.
    pub(super) fn cpu_hz(&self) -> f64 {
        let mut sum = 0.0;
        for (policy, cluster) in self.module.clusters.iter().enumerate() {
            let on = cluster.iter().filter(|cpu| self.online[**cpu as usize]).count();
            sum += on as f64 * self.policy_khz(policy) as f64 * 1e3 * self.held_back;
        }
        sum / f64::from(self.cores().max(1))
    }

    /// Whether the GPU is powered down: no work, and nothing that keeps it on.
    pub(super) fn gpu_is_off(&self) -> bool {
        let kept_on = match self.release.gpu.power {
            PowerGate::Railgate => !self.railgate,
            PowerGate::RuntimePm => self.runtime_on,
        };
        !self.demand.gpu && !kept_on
    }

    fn gpu_limits(&self) -> Limits {
        let asked = self.gpu;
        let max = asked.max.min(throttled(self.release.gpu_hz, self.throttle));
        // The maximum wins on 5.10 and later; before, it cannot come to a conflict but by heat.
        Limits { min: asked.min.min(max), max }
    }

    /// The GPU's clock while it is powered. nvgpu rounds a request up to the next entry of the table.
    pub(super) fn gpu_hz(&self) -> u64 {
        let limits = self.gpu_limits();
        let wanted =
            if self.demand.gpu || self.gpu_governor == "performance" { limits.max } else { limits.min };
        at_least(self.release.gpu_hz, wanted)
    }

    /// Share of the module's TPCs that are not gated.
    pub(super) fn gpu_units(&self) -> f64 {
        let index = self.release.gpu.masks.iter().position(|name| *name == "tpc_pg_mask");
        let (Some(index), tpcs) = (index, self.module.gpu.tpcs) else { return 1.0 };
        let all = if self.facts.soc == Soc::T234 { 8 } else { tpcs };
        let gated = u64::from((self.masks[index] & ((1 << all) - 1)).count_ones());
        if tpcs == 0 { 1.0 } else { (all.saturating_sub(gated) as f64 / tpcs as f64).min(1.0) }
    }

    /// The EMC clock in Hz.
    pub(super) fn emc_hz(&self) -> u64 {
        let table = self.release.emc_hz;
        let cap = at_most(table, self.emc_cap);
        let floor = self.emc_floor().min(cap);
        let holds = self.emc_locked || self.emc_state;
        match self.release.emc {
            EmcPaths::None => last(table).max(1),
            // Without the halt the bandwidth manager goes on asking for more where the CPUs do.
            EmcPaths::BpmpHalt if holds && !self.emc_halt => {
                at_least(table, self.emc_rate).min(cap).max(floor)
            }
            _ if holds => at_least(table, self.emc_rate).min(cap),
            _ if self.demand.memory => cap,
            _ => floor,
        }
    }

    /// What the CPU clocks ask of the EMC.
    fn emc_floor(&self) -> u64 {
        let khz = (0..self.policies.len()).map(|policy| self.policy_khz(policy)).max().unwrap_or(0);
        let floors = self.facts.emc_floors_khz.iter();
        let floor = floors.filter(|(cpu, _)| *cpu <= khz).map(|(_, emc)| emc * 1000).max().unwrap_or(0);
        at_least(self.release.emc_hz, floor)
    }

    /// What a read of a control file shows, without its newline.
    pub(super) fn read(&self, knob: Knob) -> io::Result<String> {
        Ok(match knob {
            Knob::Online(cpu) => u8::from(self.online[cpu as usize]).to_string(),
            Knob::Mask(offline) => {
                let cpus = (0..self.online.len() as u32).filter(|cpu| self.online[*cpu as usize] != offline);
                ranges(&cpus.collect::<Vec<_>>())
            }
            Knob::Policy(policy, file) => self.read_policy(policy, file),
            Knob::Gpu(file) => self.read_gpu(file),
            Knob::Emc(file) => self.read_emc(file),
        })
    }

    fn read_policy(&self, policy: usize, file: PolicyFile) -> String {
        // 4.9 shows what was asked unless heat clips it; 5.10 the effective range: here that comes to the same.
        let limits = self.policy_limits(policy);
        match file {
            PolicyFile::Min => limits.min.to_string(),
            PolicyFile::Max => limits.max.to_string(),
            PolicyFile::Current => self.policy_khz(policy).to_string(),
            PolicyFile::Real => ((self.policy_khz(policy) as f64 * self.held_back) as u64).to_string(),
            PolicyFile::Governor => self.governors[policy].clone(),
            PolicyFile::SetSpeed => "<unsupported>".to_owned(),
            PolicyFile::Affected => {
                let on = self.module.clusters[policy].iter().filter(|cpu| self.online[**cpu as usize]);
                on.map(u32::to_string).collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn read_gpu(&self, file: GpuFile) -> String {
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

    fn read_emc(&self, file: EmcFile) -> String {
        let table = self.release.emc_hz;
        let is_capped = self.emc_cap != UNCAPPED;
        match file {
            EmcFile::Rate => self.emc_hz().to_string(),
            EmcFile::MinRate => first(table).to_string(),
            EmcFile::MaxRate => last(table).to_string(),
            EmcFile::Locked => u8::from(self.emc_locked).to_string(),
            EmcFile::State | EmcFile::OverrideState => u8::from(self.emc_state).to_string(),
            EmcFile::Halt => u8::from(self.emc_halt).to_string(),
            EmcFile::OverrideRate => self.emc_rate.to_string(),
            // Since R36 a read gives the cap in effect; before, the number that was written.
            EmcFile::Cap if self.release.l4t >= 36 => at_most(table, self.emc_cap).to_string(),
            EmcFile::Cap => if is_capped { self.emc_cap } else { 0 }.to_string(),
        }
    }

    /// Writes a control file.
    pub(super) fn write(&mut self, knob: Knob, text: &str) -> io::Result<()> {
        let text = text.trim();
        match knob {
            Knob::Online(cpu) => self.switch(cpu, truth(text)?),
            Knob::Mask(_) => Err(fault(errno::EACCES)),
            Knob::Policy(policy, file) => self.write_policy(policy, file, text),
            Knob::Gpu(file) => self.write_gpu(file, text),
            Knob::Emc(file) => self.write_emc(file, text),
        }
    }

    fn switch(&mut self, cpu: u32, on: bool) -> io::Result<()> {
        let index = cpu as usize;
        if self.online[index] == on {
            return Ok(());
        }
        if on && self.dead_core == Some(cpu) {
            return Err(fault(errno::EIO));
        }
        // The last core, and the one that the vendor says must stay on.
        if !on && self.cores() == 1 {
            return Err(fault(errno::EBUSY));
        }
        if !on && cpu == 0 {
            return Err(fault(errno::EPERM));
        }
        let policy = self.module.clusters.iter().position(|cluster| cluster.contains(&cpu));
        if let Some(policy) = policy.filter(|_| on) {
            let cluster = self.module.clusters[policy];
            if cluster.iter().all(|other| !self.online[*other as usize]) {
                // The policy comes up anew, with its defaults.
                self.policies[policy] =
                    Limits { min: first(self.release.cpu_khz), max: last(self.release.cpu_khz) };
            }
        }
        self.online[index] = on;
        if !self.is_old() {
            self.busy_stores = BUSY_STORES;
        }
        Ok(())
    }

    fn write_policy(&mut self, policy: usize, file: PolicyFile, text: &str) -> io::Result<()> {
        let cluster = self.module.clusters[policy];
        if cluster.iter().all(|cpu| !self.online[*cpu as usize]) {
            return Err(fault(errno::EINVAL));
        }
        if self.busy_stores > 0 {
            self.busy_stores -= 1;
            return Err(fault(errno::EBUSY));
        }
        let table = self.release.cpu_khz;
        let value = |text: &str| number(text).map(|khz| khz.clamp(first(table), last(table)));
        let limits = &mut self.policies[policy];
        let is_old = self.release.kernel <= Kernel::K4_9;
        match file {
            PolicyFile::Min => {
                let khz = value(text)?;
                if is_old && khz > limits.max {
                    return Err(fault(errno::EINVAL));
                }
                limits.min = khz;
            }
            PolicyFile::Max => {
                let khz = value(text)?;
                if is_old && khz < limits.min {
                    return Err(fault(errno::EINVAL));
                }
                limits.max = khz;
            }
            PolicyFile::Governor => match text {
                "schedutil" | "performance" | "powersave" | "ondemand" | "conservative" => {
                    self.governors[policy] = text.to_owned();
                }
                _ => return Err(fault(errno::EINVAL)),
            },
            // Only with the governor `userspace`, which these boards have not set.
            PolicyFile::SetSpeed => return Err(fault(errno::EINVAL)),
            PolicyFile::Current | PolicyFile::Real | PolicyFile::Affected => {
                return Err(fault(errno::EACCES));
            }
        }
        Ok(())
    }

    fn write_gpu(&mut self, file: GpuFile, text: &str) -> io::Result<()> {
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

    fn write_emc(&mut self, file: EmcFile, text: &str) -> io::Result<()> {
        match file {
            EmcFile::Rate | EmcFile::OverrideRate => self.emc_rate = number(text)?,
            EmcFile::Locked => self.emc_locked = truth(text)?,
            EmcFile::State | EmcFile::OverrideState => self.emc_state = truth(text)?,
            EmcFile::Halt => self.emc_halt = truth(text)?,
            EmcFile::Cap => {
                let uncapped = self.release.emc_cap().is_some_and(|cap| cap.uncapped == text);
                let asked = if uncapped { UNCAPPED } else { number(text)? };
                self.emc_cap = if asked == 0 { UNCAPPED } else { asked };
            }
            EmcFile::MinRate | EmcFile::MaxRate => return Err(fault(errno::EACCES)),
        }
        Ok(())
    }
}

/// The stock mode that a simulated board boots in: the unlimited one where there is one, else the default.
pub(super) fn boot_mode(release: &Release) -> Option<&'static StockMode> {
    let modes: &'static [StockMode] = release.stock_modes;
    let unlimited = |mode: &&StockMode| mode.name.starts_with("MAXN");
    modes.iter().find(unlimited).or_else(|| modes.iter().find(|mode| mode.default)).or(modes.first())
}

/// A stock mode's limits on a table.
fn limits(table: &[u64], mode: Option<(u64, Option<u64>)>) -> Limits {
    let (min, max) = mode.unwrap_or((0, None));
    let max = max.map_or(last(table), |max| at_most(table, max));
    Limits { min: at_least(table, min).min(max), max }
}

fn first(table: &[u64]) -> u64 {
    table.first().copied().unwrap_or(0)
}

fn last(table: &[u64]) -> u64 {
    table.last().copied().unwrap_or(0)
}

/// The largest entry that is not above `value`, or the first.
fn at_most(table: &[u64], value: u64) -> u64 {
    table.iter().rev().find(|entry| **entry <= value).copied().unwrap_or(first(table))
}

/// The smallest entry that is not below `value`, or the last.
fn at_least(table: &[u64], value: u64) -> u64 {
    table.iter().find(|entry| **entry >= value).copied().unwrap_or(last(table))
}

/// The entry that many steps below the highest.
fn throttled(table: &[u64], steps: usize) -> u64 {
    table.iter().rev().nth(steps.min(table.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| fault(errno::EINVAL))
}

/// The kernel's `strtobool`.
fn truth(text: &str) -> io::Result<bool> {
    match text.as_bytes() {
        [b'1' | b'y' | b'Y', ..] | [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'0' | b'n' | b'N', ..] | [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(fault(errno::EINVAL)),
    }
}

/// CPU numbers as the kernel lists them: `0,3-5`.
pub(super) fn ranges(cpus: &[u32]) -> String {
    let runs = cpus.chunk_by(|a, b| *b == a + 1);
    let shown = |run: &[u32]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(shown).collect::<Vec<_>>().join(",")
}
