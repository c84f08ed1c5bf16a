//! The knobs: CPUs and their policies, the GPU's devfreq folder, the memory controller's nodes.

use footplate_core::{Hertz, Reading};

use crate::board::{BoardFacts, EmcPaths, Soc};
use crate::error::{DeviceError, told};
use crate::knob::clock::MHZ;
use crate::nvml_tree;
use crate::parse;
use crate::root::{Root, content};

use super::{Identity, Problem, hertz_of, note};

const CPUS: &str = "/sys/devices/system/cpu";

/// The CPU's knobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuKnob {
    /// CPUs that are there, in the order in which they come online.
    pub order: Vec<u32>,
    /// Those whose `online` file exists; the others are always on.
    pub switchable: Vec<u32>,
    /// Frequency domains.
    pub policies: Vec<Policy>,
}

/// A frequency domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its folder.
    pub path: String,
    /// Its CPUs, on and off.
    pub cpus: Vec<u32>,
    /// Its clocks in kHz, ascending.
    pub table_khz: Vec<u64>,
}

impl CpuKnob {
    /// CPUs that can be on, in the order in which they come online.
    pub fn usable(&self) -> &[u32] {
        &self.order
    }

    /// Whether cores can be switched at all.
    pub fn can_switch(&self) -> bool {
        !self.switchable.is_empty()
    }

    /// The CPUs that are on with `count` cores, ascending: first those that cannot be switched off.
    pub fn first(&self, count: u32) -> Vec<u32> {
        let fixed = self.order.iter().filter(|cpu| !self.switchable.contains(cpu));
        let free = self.order.iter().filter(|cpu| self.switchable.contains(cpu));
        let mut cpus: Vec<u32> = fixed.chain(free).take(count as usize).copied().collect();
        cpus.sort_unstable();
        cpus
    }

    /// The file that switches a CPU.
    pub fn online_path(cpu: u32) -> String {
        format!("{CPUS}/cpu{cpu}/online")
    }

    /// All clocks of all policies in kHz.
    pub fn table_khz(&self) -> Vec<u64> {
        let mut table: Vec<u64> = self.policies.iter().flat_map(|p| p.table_khz.iter().copied()).collect();
        table.sort_unstable();
        table.dedup();
        table
    }
}

impl Policy {
    /// The largest clock that is not above `khz`, or the smallest that there is.
    pub fn at_most(&self, khz: u64) -> Option<u64> {
        self.table_khz.iter().rev().find(|v| **v <= khz).or(self.table_khz.first()).copied()
    }
}

pub(super) fn cpu(root: &Root, facts: &BoardFacts, problems: &mut Vec<Problem>) -> CpuKnob {
    let present = format!("{CPUS}/present");
    let cpus = note(problems, "CPU", root.text(&present)).and_then(|text| {
        let cpus = parse::cpu_list(&text);
        if cpus.is_none() {
            problems.push(Problem::new("CPU", content(&present, &text, "a list of CPUs").to_string()));
        }
        cpus
    });
    let cpus = cpus.unwrap_or_else(|| cpu_folders(root));
    if cpus.is_empty() {
        problems.push(Problem::new("CPU", format!("no CPUs in {CPUS}")));
        return CpuKnob::default();
    }
    let switchable: Vec<u32> =
        cpus.iter().copied().filter(|cpu| *cpu != 0 && root.exists(&CpuKnob::online_path(*cpu))).collect();
    if switchable.is_empty() && cpus.len() > 1 {
        problems.push(Problem::new("CPU cores", "no core can be switched off: none has an `online` file"));
    }
    let known = |cpu: &u32| facts.cpu_order.iter().position(|c| c == cpu).unwrap_or(*cpu as usize + 1000);
    let mut order = cpus;
    order.sort_by_key(known);
    CpuKnob { order, switchable, policies: policies(root, problems) }
}

fn cpu_folders(root: &Root) -> Vec<u32> {
    let names = root.list(CPUS).unwrap_or_default();
    names.iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect()
}

fn policies(root: &Root, problems: &mut Vec<Problem>) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut without_table = Vec::new();
    let mut folders = root.matches(&format!("{CPUS}/cpufreq/policy*"));
    folders.sort_by_key(|path| number_at_end(path));
    for path in folders {
        let Some(cpus) = related(root, &path, problems) else { continue };
        match table(root, &path) {
            Ok(table_khz) => policies.push(Policy { path, cpus, table_khz }),
            Err(error) => without_table.push((path, cpus, error)),
        }
    }
    // A policy whose CPUs are off may not tell its table: it has that of the others, as all known boards do.
    for (path, cpus, error) in without_table {
        let table_khz: Vec<u64> = policies.first().map(|p: &Policy| p.table_khz.clone()).unwrap_or_default();
        let cause = match table_khz.is_empty() {
            true => error.to_string(),
            false => format!("{error}; the first policy's table is taken for it"),
        };
        problems.push(Problem::new("CPU clock", cause));
        policies.push(Policy { path, cpus, table_khz });
    }
    policies.retain(|policy| !policy.table_khz.is_empty());
    policies.sort_by_key(|policy| number_at_end(&policy.path));
    if policies.is_empty() {
        problems.push(Problem::new("CPU clock", format!("no cpufreq policy in {CPUS}/cpufreq")));
    }
    policies
}

fn number_at_end(path: &str) -> u64 {
    let digits = path.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

fn related(root: &Root, policy: &str, problems: &mut Vec<Problem>) -> Option<Vec<u32>> {
    let path = format!("{policy}/related_cpus");
    let text = note(problems, "CPU clock", root.text(&path))?;
    // Here the kernel separates with spaces: `0 3 4 5`.
    let cpus = parse::numbers(&text).map(|cpus| cpus.into_iter().map(|cpu| cpu as u32).collect());
    let cpus: Option<Vec<u32>> = cpus.or_else(|| parse::cpu_list(&text));
    if cpus.is_none() {
        problems.push(Problem::new("CPU clock", content(&path, &text, "CPUs").to_string()));
    }
    cpus.filter(|cpus| !cpus.is_empty())
}

/// The table, or for drivers without one (Intel's, AMD's) steps of a tenth of the range: any value is allowed.
fn table(root: &Root, policy: &str) -> Result<Vec<u64>, DeviceError> {
    let path = format!("{policy}/scaling_available_frequencies");
    match root.text(&path) {
        Ok(text) => match parse::numbers(&text) {
            Some(table) if !table.is_empty() => return Ok(table),
            _ => return Err(content(&path, &text, "clocks in kHz")),
        },
        Err(error) if !error.is_absent() => return Err(error),
        Err(_) => {}
    }
    let min: u64 = root.number(&format!("{policy}/cpuinfo_min_freq"))?;
    let max: u64 = root.number(&format!("{policy}/cpuinfo_max_freq"))?;
    let mut table: Vec<u64> = (0..=10).map(|k| min + max.saturating_sub(min) * k / 10).collect();
    table.dedup();
    Ok(table)
}

/// What keeps a GPU powered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSwitch {
    /// The node.
    pub path: String,
    /// What keeps it on.
    pub on: &'static str,
    /// What lets it power down by itself.
    pub auto: &'static str,
}

/// A mask of units that are gated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Its file's name, such as `tpc_pg_mask`.
    pub name: String,
    /// The node.
    pub path: String,
}

/// The GPU of the chip.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuKnob {
    /// Its devfreq folder.
    pub path: String,
    /// Its device's folder.
    pub device: String,
    /// Its clocks in Hz, ascending.
    pub table_hz: Vec<u64>,
    /// What keeps it powered, if there is something.
    pub power: Option<PowerSwitch>,
    /// Masks of gated units.
    pub masks: Vec<Mask>,
}

/// Folders for kernels whose devfreq class cannot be listed.
const GPU_FOLDERS: [&str; 7] = [
    "/sys/devices/57000000.gpu/devfreq/57000000.gpu",
    "/sys/devices/17000000.gp10b/devfreq/17000000.gp10b",
    "/sys/devices/17000000.gv11b/devfreq/17000000.gv11b",
    "/sys/devices/platform/17000000.gv11b/devfreq/17000000.gv11b",
    "/sys/devices/17000000.ga10b/devfreq/17000000.ga10b",
    "/sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b",
    "/sys/devices/platform/17000000.gpu/devfreq/17000000.gpu",
];

pub(super) fn gpu(root: &Root, facts: &BoardFacts, problems: &mut Vec<Problem>) -> Option<GpuKnob> {
    let Some(path) = gpu_folder(root) else {
        if facts.soc != Soc::Other {
            problems.push(Problem::new("GPU clock", "no GPU among /sys/class/devfreq"));
        }
        return None;
    };
    let file = format!("{path}/available_frequencies");
    let table_hz = match root.text(&file) {
        Ok(text) => parse::numbers(&text).unwrap_or_else(|| {
            problems.push(Problem::new("GPU clock", content(&file, &text, "clocks in Hz").to_string()));
            Vec::new()
        }),
        Err(error) => {
            problems.push(Problem::new("GPU clock", error.to_string()));
            Vec::new()
        }
    };
    let device = format!("{path}/device");
    let railgate = format!("{device}/railgate_enable");
    let control = format!("{device}/power/control");
    let power = if root.exists(&railgate) {
        Some(PowerSwitch { path: railgate, on: "0", auto: "1" })
    } else if root.exists(&control) {
        Some(PowerSwitch { path: control, on: "on", auto: "auto" })
    } else {
        None
    };
    let masks = ["tpc_pg_mask", "fbp_pg_mask", "gpc_pg_mask"]
        .map(|name| Mask { name: name.to_owned(), path: format!("{device}/{name}") })
        .into_iter()
        .filter(|mask| root.exists(&mask.path))
        .collect();
    Some(GpuKnob { path, device, table_hz, power, masks })
}

fn gpu_folder(root: &Root) -> Option<String> {
    let entries = root.matches("/sys/class/devfreq/*");
    let of_name = |path: &&String| {
        let name = root.text(&format!("{path}/device/of_node/name")).unwrap_or_default();
        matches!(name.as_str(), "gpu" | "gp10b" | "gv11b" | "ga10b")
    };
    let by_own_name = |path: &&String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let tail = name.rsplit('.').next().unwrap_or_default();
        name.starts_with("gpu-gpc-") || name != tail && matches!(tail, "gpu" | "gp10b" | "gv11b" | "ga10b")
    };
    let in_class = entries.iter().find(of_name).or_else(|| entries.iter().find(by_own_name));
    in_class.cloned().or_else(|| GPU_FOLDERS.into_iter().find(|path| root.exists(path)).map(str::to_owned))
}

/// How the memory controller's clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmcControl {
    /// T210: `clk/override.emc`.
    ClkOverride,
    /// T186 and T194: `bpmp/debug/clk/emc`.
    Bpmp,
    /// T234 and later: the same, with `bwmgr_halt`.
    BpmpHalt,
}

/// The memory controller's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct EmcKnob {
    /// How it is set.
    pub control: EmcControl,
    /// Its clocks in Hz, ascending.
    pub table_hz: Vec<u64>,
    /// Whether the table was read from the machine; else it is the published one.
    pub table_is_read: bool,
    /// Whether the nodes that lock it can be reached; else there is at most the cap.
    pub can_lock: bool,
    /// The cap's node and what means no cap.
    pub cap: Option<(String, &'static str)>,
}

const DEBUG: &str = "/sys/kernel/debug";

impl EmcKnob {
    /// The folder of the lock's nodes.
    pub fn folder(&self) -> &'static str {
        match self.control {
            EmcControl::ClkOverride => "/sys/kernel/debug/clk/override.emc",
            EmcControl::Bpmp | EmcControl::BpmpHalt => "/sys/kernel/debug/bpmp/debug/clk/emc",
        }
    }

    /// The node that gives the present clock.
    pub fn rate_path(&self) -> String {
        match self.control {
            EmcControl::ClkOverride => format!("{}/clk_rate", self.folder()),
            EmcControl::Bpmp | EmcControl::BpmpHalt => format!("{}/rate", self.folder()),
        }
    }

    /// The present clock.
    pub fn present(&self, root: &Root) -> Reading<Hertz> {
        hertz_of(root, &self.rate_path(), 1)
    }
}

/// The node that stops the bandwidth manager.
pub const BWMGR_HALT: &str = "/sys/kernel/debug/bpmp/debug/bwmgr/bwmgr_halt";

pub(super) fn emc(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    problems: &mut Vec<Problem>,
) -> Option<EmcKnob> {
    if facts.soc == Soc::Other {
        return None;
    }
    // On R28 and R32 the BPMP's tree appears after one read of its mount node.
    let _ = root.text(&format!("{DEBUG}/bpmp/mount"));
    let control = match facts.soc {
        Soc::T210 => EmcControl::ClkOverride,
        Soc::T186 | Soc::T194 => EmcControl::Bpmp,
        Soc::T234 | Soc::T264 | Soc::Other => EmcControl::BpmpHalt,
    };
    let caps =
        [("/sys/kernel/nvpmodel_clk_cap/emc", "-1"), ("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", "0")];
    let cap =
        caps.into_iter().find(|(path, _)| root.exists(path)).map(|(path, none)| (path.to_owned(), none));
    let mut knob = EmcKnob { control, table_hz: Vec::new(), table_is_read: false, can_lock: false, cap };
    let lock = match control {
        EmcControl::ClkOverride => format!("{}/clk_state", knob.folder()),
        _ => format!("{}/mrq_rate_locked", knob.folder()),
    };
    knob.can_lock = match root.tree().exists(&lock) {
        Ok(true) => true,
        Ok(false) if !root.exists(DEBUG) || root.list(DEBUG).is_ok_and(|names| names.is_empty()) => {
            problems
                .push(Problem::new("EMC clock", format!("{DEBUG} is empty: mount -t debugfs none {DEBUG}")));
            false
        }
        Ok(false) => {
            problems.push(Problem::new("EMC clock", format!("there is no {lock}")));
            false
        }
        // Root can: plans hold the lock's writes, which are refused to this user.
        Err(error) => {
            let cause = format!("cannot look into {DEBUG}: {}; root sees it", told(&error));
            problems.push(Problem::new("EMC clock", cause));
            error.kind() == std::io::ErrorKind::PermissionDenied
        }
    };
    if root.exists(&lock) && control == EmcControl::BpmpHalt && !root.exists(BWMGR_HALT) {
        problems.push(Problem::new("EMC clock", format!("there is no {BWMGR_HALT}: the lock may not hold")));
        knob.control = EmcControl::Bpmp;
    }
    if !knob.can_lock && knob.cap.is_none() && !root.exists(&knob.rate_path()) {
        return None;
    }
    emc_table(root, facts, identity, &mut knob, problems);
    Some(knob)
}

fn emc_table(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    knob: &mut EmcKnob,
    problems: &mut Vec<Problem>,
) {
    let tables = root.list(&format!("{DEBUG}/bpmp/debug/emc/tables/regular")).unwrap_or_default();
    let mut table = parse::emc_folders(&tables);
    if table.is_empty() && knob.control == EmcControl::BpmpHalt {
        let dvfs = root.text(&format!("{}/dvfs", knob.folder())).unwrap_or_default();
        table = parse::emc_dvfs(&dvfs);
    }
    knob.table_is_read = !table.is_empty();
    if table.is_empty() {
        let major = identity.l4t.as_ref().map(|l4t| l4t.major);
        let of_release = facts.releases.iter().find(|release| Some(release.l4t) == major);
        let release = of_release.or(facts.releases.first()).filter(|r| r.emc != EmcPaths::None);
        table = release.map(|release| release.emc_hz.to_vec()).unwrap_or_default();
        let cause = "its table cannot be read here: the published one is taken";
        problems.push(Problem::new("EMC clock", cause));
    }
    if let Ok(max) = root.number::<u64>(&limit_path(knob, "max")) {
        table.retain(|hz| *hz <= max);
    }
    if let Ok(min) = root.number::<u64>(&limit_path(knob, "min")) {
        table.retain(|hz| *hz >= min);
    }
    knob.table_hz = table;
}

fn limit_path(knob: &EmcKnob, which: &str) -> String {
    match knob.control {
        EmcControl::ClkOverride => format!("{DEBUG}/tegra_bwmgr/emc_{which}_rate"),
        EmcControl::Bpmp | EmcControl::BpmpHalt => format!("{}/{which}_rate", knob.folder()),
    }
}

/// The power limit of a discrete GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuLimit {
    /// The node, in milliwatts.
    pub path: String,
    /// The least that it takes.
    pub min_mw: u64,
    /// The most.
    pub max_mw: u64,
}

/// Limits that can be read; without their range they cannot be set.
pub(super) fn gpu_limits(root: &Root, facts: &BoardFacts) -> Vec<GpuLimit> {
    if facts.soc != Soc::Other {
        return Vec::new();
    }
    let limit = |path: String| {
        let gpu = path.strip_suffix(nvml_tree::LIMIT)?;
        let min_mw = root.number(&format!("{gpu}{}", nvml_tree::LIMIT_MIN)).ok()?;
        let max_mw = root.number(&format!("{gpu}{}", nvml_tree::LIMIT_MAX)).ok()?;
        (min_mw <= max_mw).then_some(GpuLimit { path, min_mw, max_mw })
    };
    let pattern = format!("{}/*/{}", nvml_tree::FOLDER, nvml_tree::LIMIT);
    root.matches(&pattern).into_iter().filter_map(limit).collect()
}

/// Limits to choose among: multiples of 25 W (5 W for small GPUs) that every GPU takes, and the ends.
pub(super) fn limit_table(limits: &[GpuLimit]) -> Vec<u64> {
    let (Some(min), Some(max)) =
        (limits.iter().map(|l| l.min_mw).max(), limits.iter().map(|l| l.max_mw).min())
    else {
        return Vec::new();
    };
    let step = if max.saturating_sub(min) >= 100_000 { 25_000 } else { 5_000 };
    let mut table: Vec<u64> = (min.div_ceil(step)..=max / step).map(|k| k * step).collect();
    table.extend([min, max]);
    table.retain(|mw| (min..=max).contains(mw));
    table.sort_unstable();
    table.dedup();
    table
}

/// The application clock of a discrete GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuClock {
    /// The node, in MHz.
    pub path: String,
    /// The node of the clock that it runs at, in MHz.
    pub now_path: String,
    /// The clocks that it takes, ascending, in Hz.
    pub table_hz: Vec<u64>,
}

impl GpuClock {
    /// The highest clock that is not above `hz`, or the lowest of all.
    pub fn at_most(&self, hz: u64) -> Option<u64> {
        self.table_hz.iter().rev().find(|entry| **entry <= hz).or(self.table_hz.first()).copied()
    }
}

/// Clocks that can be read; without a table they cannot be set.
pub(super) fn gpu_clocks(root: &Root, facts: &BoardFacts) -> Vec<GpuClock> {
    if facts.soc != Soc::Other {
        return Vec::new();
    }
    let clock = |path: String| {
        let gpu = path.strip_suffix(nvml_tree::CLOCK)?.to_owned();
        let table = root.text(&format!("{gpu}{}", nvml_tree::CLOCKS)).ok()?;
        let table_hz: Vec<u64> =
            table.split_whitespace().filter_map(|mhz| mhz.parse::<u64>().ok()?.checked_mul(MHZ)).collect();
        let now_path = format!("{gpu}{}", nvml_tree::CLOCK_NOW);
        (!table_hz.is_empty() && table_hz.is_sorted()).then_some(GpuClock { path, now_path, table_hz })
    };
    let pattern = format!("{}/*/{}", nvml_tree::FOLDER, nvml_tree::CLOCK);
    let readable = |path: &String| root.number::<u64>(path).is_ok();
    root.matches(&pattern).into_iter().filter(readable).filter_map(clock).collect()
}

/// The clocks that every GPU takes.
pub(super) fn clock_table(clocks: &[GpuClock]) -> Vec<u64> {
    let Some((first, others)) = clocks.split_first() else { return Vec::new() };
    let everywhere = |hz: &&u64| others.iter().all(|other| other.table_hz.contains(*hz));
    first.table_hz.iter().filter(everywhere).copied().collect()
}
