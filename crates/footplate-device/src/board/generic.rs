//! A machine that is none of the boards: it has the knobs that Linux gives any machine.

use super::{BoardFacts, Soc, TotalRule};

/// The generic machine. RAPL and batteries give rails, none of them is the whole machine by rule.
pub const GENERIC: BoardFacts = BoardFacts {
    id: "generic",
    name: "generic Linux machine",
    soc: Soc::Other,
    compatible: &[],
    modules: &[],
    cpu_order: &[],
    emc_floors_khz: &[],
    total: TotalRule::Rail(&["psys", "battery"]),
    total_note: "RAPL's psys or the battery's discharge where they exist; a package's power is not the machine's",
    throttling_cooling: &["Processor", "thermal-cpufreq-*", "thermal-devfreq-*", "intel_powerclamp"],
    harmless_cooling: &["Fan", "pwm-fan", "LCD"],
    releases: &[],
    unchecked: &[],
};
