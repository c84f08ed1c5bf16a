//! Parsers of what control files hold: text in, values out. Reading them is done elsewhere.

/// Items that a list of numbers may have: CPUs or clocks of one machine.
const NUMBERS_MAX: usize = 4096;

/// The kernel's list format, such as `0,3-5`; ascending, each once. `None` for anything else.
pub fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || (last - first) as usize >= NUMBERS_MAX || cpus.len() >= NUMBERS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// CPUs in the kernel's list format.
pub fn show_cpu_list(cpus: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => parts.push((*cpu, *cpu)),
        }
    }
    let show = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

/// Numbers between white space, ascending, each once. `None` if anything else is among them.
pub fn numbers(text: &str) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for word in text.split_whitespace() {
        if numbers.len() >= NUMBERS_MAX {
            return None;
        }
        numbers.push(word.trim_end_matches('\0').parse().ok()?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// The EMC's clocks in Hz from BPMP's `clk/emc/dvfs`: the second column, in kHz or Hz. Lines without a number
/// there are headings.
pub fn emc_dvfs(text: &str) -> Vec<u64> {
    let second = |line: &str| line.split_whitespace().nth(1)?.trim_end_matches(',').parse().ok();
    clocks(text.lines().filter_map(second))
}

/// The EMC's clocks in Hz from the names of the folders in `emc/tables/regular`, which are kHz.
pub fn emc_folders(names: &[String]) -> Vec<u64> {
    clocks(names.iter().filter_map(|name| name.parse().ok()))
}

/// Values below ten million are kHz: no EMC runs slower than 10 MHz or faster than 10 GHz.
fn clocks(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let hz = |value: u64| if value < 10_000_000 { value.saturating_mul(1000) } else { value };
    let mut table: Vec<u64> = values.filter(|v| *v > 0).map(hz).take(NUMBERS_MAX).collect();
    table.sort_unstable();
    table.dedup();
    table
}

/// Strings that end with NUL, as the device tree has them.
pub fn nul_list(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// A release of L4T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L4t {
    /// The number behind the R.
    pub major: u32,
    /// The revision, such as `7.1`.
    pub revision: String,
}

impl std::fmt::Display for L4t {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("R{}.{}", self.major, self.revision))
    }
}

impl L4t {
    /// The first line of `/etc/nv_tegra_release`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix('#')?.trim();
        let major = line.strip_prefix('R')?.split_whitespace().next()?.parse().ok()?;
        let revision = line.split_once("REVISION:")?.1.split(',').next()?.trim().to_owned();
        Some(Self { major, revision })
    }

    /// The JetPack that brings it.
    pub fn jetpack(&self) -> Option<u32> {
        match self.major {
            28 => Some(3),
            32 => Some(4),
            34 | 35 => Some(5),
            36 => Some(6),
            38 | 39 => Some(7),
            _ => None,
        }
    }
}

/// A field of `/proc/meminfo` in bytes.
pub fn meminfo(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_read_and_print_the_same() {
        assert_eq!(cpu_list("0,3-5\n"), Some(vec![0, 3, 4, 5]));
        assert_eq!(cpu_list(""), Some(vec![]));
        for bad in ["a", "3-1", "0-99999999", "-1", "1-"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
        for text in ["0", "0-3", "0,3-5", "1-2,7"] {
            assert_eq!(show_cpu_list(&cpu_list(text).unwrap_or_default()), text);
        }
    }

    #[test]
    fn tables_are_sorted_and_a_foreign_word_spoils_them() {
        assert_eq!(numbers("345600 499200 \n"), Some(vec![345_600, 499_200]));
        assert_eq!(numbers("2 1 2"), Some(vec![1, 2]));
        assert_eq!(numbers("102000 <unknown>"), None);
        assert_eq!(emc_dvfs("table:\n0 204000 600\n1 665600000 650\n"), [204_000_000, 665_600_000]);
        assert_eq!(
            emc_folders(&["1600000".into(), "204000".into(), "x".into()]),
            [204_000_000, 1_600_000_000]
        );
    }

    #[test]
    fn a_release_is_its_first_line() {
        let line = "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: Sat";
        let l4t = L4t::parse(line);
        assert_eq!(l4t.as_ref().map(ToString::to_string), Some("R32.7.1".to_owned()));
        assert_eq!(l4t.and_then(|l| l.jetpack()), Some(4));
        assert_eq!(L4t::parse("R32"), None);
        assert_eq!(L4t::parse("# R (release), REVISION: 1"), None);
    }

    /// Texts as kernels of these boards and of PCs print them.
    #[test]
    fn what_kernels_print_is_read() {
        for (text, cpus) in [
            ("0-7,16-23\n", (0..8).chain(16..24).collect::<Vec<u32>>()),
            ("0\n", vec![0]),
            ("\n", vec![]),
            ("5,1,1-3\n", vec![1, 2, 3, 5]),
            (" 0-1 \n", vec![0, 1]),
        ] {
            assert_eq!(cpu_list(text), Some(cpus), "{text:?}");
        }
        for bad in ["0-", "-", "0:3", "0-3-5", "4294967296", "0x1", "all"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
        assert_eq!(show_cpu_list(&[]), "");
        assert_eq!(numbers("76800000 153600000\0"), Some(vec![76_800_000, 153_600_000]));
        assert_eq!(numbers(""), Some(vec![]));
        assert_eq!(numbers("-1"), None);
        assert_eq!(numbers("18446744073709551616"), None, "more than 64 bits");
    }

    #[test]
    fn the_emc_s_table_is_read_in_both_of_its_units() {
        let khz = "FREQ       VOLT\n   0     204000   575000\n   1    3199000   700000\n";
        assert_eq!(emc_dvfs(khz), [204_000_000, 3_199_000_000]);
        assert_eq!(emc_dvfs("0, 204000000, 575\n"), [204_000_000], "Hz, with commas");
        assert_eq!(emc_dvfs("one two three\n\n0 0 0\n"), [0_u64; 0], "no clock is zero");
        let names = ["204000", "3199000", "665600", "..", "", "-5"].map(str::to_owned);
        assert_eq!(emc_folders(&names), [204_000_000, 665_600_000, 3_199_000_000]);
    }

    #[test]
    fn release_lines_of_every_generation_are_read() {
        for (text, shown, jetpack) in [
            (
                "# R28 (release), REVISION: 2.1, GCID: 11272647, BOARD: t186ref, EABI: aarch64",
                "R28.2.1",
                Some(3),
            ),
            (
                "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64\n",
                "R35.4.1",
                Some(5),
            ),
            (
                "# R36 (release), REVISION: 4.7, GCID: 0, BOARD: generic, EABI: aarch64\nmore\n",
                "R36.4.7",
                Some(6),
            ),
            ("# R38 (release), REVISION: 2.0, GCID: 0", "R38.2.0", Some(7)),
            ("# R40 (release), REVISION: 0.0", "R40.0.0", None),
        ] {
            let l4t = L4t::parse(text).unwrap();
            assert_eq!((l4t.to_string().as_str(), l4t.jetpack()), (shown, jetpack));
        }
        for bad in
            ["", "#", "# Rx (release), REVISION: 1.0", "# R32 (release)", "R32 (release), REVISION: 1.0"]
        {
            assert_eq!(L4t::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn other_small_formats() {
        assert_eq!(nul_list(b"nvidia,quill\0nvidia,tegra186\0"), ["nvidia,quill", "nvidia,tegra186"]);
        assert_eq!(meminfo("MemTotal:    4059292 kB\n", "MemTotal"), Some(4_059_292 * 1024));
        assert_eq!(meminfo("MemTotal: many\n", "MemTotal"), None);
        assert_eq!(meminfo("MemTotalX: 1 kB\nMemTotal:\t2 kB\n", "MemTotal"), Some(2048), "the whole name");
        assert_eq!(meminfo("MemTotal: 1 MB\n", "MemTotal"), None);
        assert_eq!(meminfo("MemTotal: 18446744073709551615 kB\n", "MemTotal"), None, "it does not wrap");
        assert_eq!(nul_list(b"\0\0 a \0"), ["a"]);
        assert_eq!(nul_list(b""), [""; 0]);
    }
}
