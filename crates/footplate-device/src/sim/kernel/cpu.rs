//! Cores and the files of cpufreq policies.

use std::io;

use crate::board::Kernel;

use super::values::{at_least, at_most, first, last, number, throttled};
use super::{BUSY_STORES, KernelState, Limits, PolicyFile, errno, fault};

impl KernelState {
    /// Clock of a policy in kHz, as its governor sets it.
    pub(super) fn policy_khz(&self, policy: usize) -> u64 {
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
    pub(super) fn policy_limits(&self, policy: usize) -> Limits {
        let asked = self.policies[policy];
        let max = asked.max.min(throttled(self.release.cpu_khz, self.throttle));
        Limits { min: asked.min.min(max), max }
    }

    /// Mean CPU clock of the cores online, in Hz.
    pub(in crate::sim) fn cpu_hz(&self) -> f64 {
        let mut sum = 0.0;
        for (policy, cluster) in self.module.clusters.iter().enumerate() {
            let on = cluster.iter().filter(|cpu| self.online[**cpu as usize]).count();
            sum += on as f64 * self.policy_khz(policy) as f64 * 1e3 * self.held_back;
        }
        sum / f64::from(self.cores().max(1))
    }

    pub(super) fn read_policy(&self, policy: usize, file: PolicyFile) -> String {
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

    pub(super) fn switch(&mut self, cpu: u32, on: bool) -> io::Result<()> {
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

    pub(super) fn write_policy(&mut self, policy: usize, file: PolicyFile, text: &str) -> io::Result<()> {
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
}
