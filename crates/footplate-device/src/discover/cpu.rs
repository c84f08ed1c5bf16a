//! The CPU's knobs: cores that can be switched, and frequency domains with their tables.

use crate::board::BoardFacts;
use crate::error::DeviceError;
use crate::parse;
use crate::root::{Root, content};

use super::{Problem, note};

const CPUS: &str = "/sys/devices/system/cpu";

/// The cores that can be switched, and the clocks of the CPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuKnob {
    /// CPUs that are there, in the order in which they come online.
    pub order: Vec<u32>,
    /// Those whose `online` file exists; the others are always on.
    pub switchable: Vec<u32>,
    /// Frequency domains, by the number of their first CPU.
    pub policies: Vec<Policy>,
}

/// A frequency domain: CPUs that share a clock (a cpufreq policy).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its folder, with `scaling_min_freq` and `scaling_max_freq`.
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

pub(super) fn find(root: &Root, facts: &BoardFacts, problems: &mut Vec<Problem>) -> CpuKnob {
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
