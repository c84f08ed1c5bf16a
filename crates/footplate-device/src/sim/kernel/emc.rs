//! The memory controller's files: what governs its clock, its cap and its lock.

use std::io;

use crate::board::EmcPaths;

use super::values::{at_least, at_most, first, last, number, truth};
use super::{EmcFile, KernelState, UNCAPPED, errno, fault};

impl KernelState {
    /// The EMC clock in Hz.
    pub(in crate::sim) fn emc_hz(&self) -> u64 {
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
    pub(super) fn emc_floor(&self) -> u64 {
        let khz = (0..self.policies.len()).map(|policy| self.policy_khz(policy)).max().unwrap_or(0);
        let floors = self.facts.emc_floors_khz.iter();
        let floor = floors.filter(|(cpu, _)| *cpu <= khz).map(|(_, emc)| emc * 1000).max().unwrap_or(0);
        at_least(self.release.emc_hz, floor)
    }

    pub(super) fn read_emc(&self, file: EmcFile) -> String {
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

    pub(super) fn write_emc(&mut self, file: EmcFile, text: &str) -> io::Result<()> {
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
