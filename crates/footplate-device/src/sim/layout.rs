//! The tree of files of a simulated board: which nodes there are, who may read them, and which of them live.

use std::collections::BTreeMap;

use crate::board::{
    BoardFacts, EmcPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, SensorChip, SensorKind, Soc,
    conf,
};
use crate::memory_tree::{MemoryTree, Node};

use super::kernel::{self, EmcFile, GpuFile, KernelFile, PolicyFile};
use super::sensor::RailFile;

const CPU: &str = "/sys/devices/system/cpu";
/// The first hwmon and iio numbers of sensors: real boards have others before them.
const FIRST_HWMON: usize = 2;

/// A node whose content is made when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LiveNode {
    /// A control file with the kernel's rules behind it.
    KernelFile(KernelFile),
    /// A rail's reading: chip, channel, file.
    Rail(usize, usize, RailFile),
    /// A thermal zone's temperature.
    Zone(usize),
    /// A cooling device's state.
    Cooling(usize),
    /// A counter of over-current events.
    OverCurrent(u32),
    /// `/proc/stat`: busy and idle time of the cores.
    Stat,
}

/// The nodes of a board, and those of them whose content is made when they are read.
pub(super) struct Layout {
    pub(super) tree: MemoryTree,
    pub(super) live: BTreeMap<String, LiveNode>,
}

impl Layout {
    fn fixed(&mut self, path: &str, text: &str) {
        self.tree.file(path, text, 0o444);
    }

    fn live(&mut self, path: &str, mode: u32, live: LiveNode) {
        self.tree.file(path, "", mode);
        self.live.insert(path.to_owned(), live);
    }

    fn kernel(&mut self, path: &str, mode: u32, file: KernelFile) {
        self.live(path, mode, LiveNode::KernelFile(file));
    }

    fn link(&mut self, path: &str, target: &str) {
        self.tree.insert(path, Node::Link(target.to_owned()));
    }
}

/// The nodes of a board as `root` or anyone else sees them.
pub(super) fn layout(facts: &BoardFacts, release: &Release, module: &Module, root: bool) -> Layout {
    let mut layout = Layout { tree: MemoryTree::new().seen_by_root(root), live: BTreeMap::new() };
    identity(&mut layout, facts, release, module);
    cpus(&mut layout, release, module);
    gpu(&mut layout, release);
    emc(&mut layout, facts, release);
    for (index, chip) in release.sensors.iter().enumerate() {
        sensor(&mut layout, release, index, chip);
    }
    heat(&mut layout, release);
    over_current(&mut layout, release);
    layout
}

fn identity(layout: &mut Layout, facts: &BoardFacts, release: &Release, module: &Module) {
    let nul = |text: &str| Node::File { bytes: format!("{text}\0").into_bytes(), mode: 0o444 };
    layout.tree.insert("/proc/device-tree/model", nul(release.model));
    layout.tree.insert("/proc/device-tree/compatible", nul(&release.compatible.join("\0")));
    layout.fixed("/etc/nv_tegra_release", &release.release_line(facts.id));
    let version = match release.kernel {
        Kernel::K4_4 => "4.4.38-tegra",
        Kernel::K4_9 => "4.9.253-tegra",
        Kernel::K5_10 => "5.10.104-tegra",
        Kernel::K5_15 => "5.15.148-tegra",
        Kernel::K6_8 => "6.8.12-tegra",
    };
    layout.fixed("/proc/sys/kernel/osrelease", version);
    // The carve-outs of the chip take some of what the module is sold with.
    let kib = module.memory_gb * 1024 * 1024;
    let free = kib / 10 * 7;
    layout.fixed(
        "/proc/meminfo",
        &format!(
            "MemTotal:       {} kB\nMemFree:        {free} kB\nMemAvailable:   {free} kB",
            kib / 100 * 96
        ),
    );
    let disk = if matches!(facts.soc, Soc::T210 | Soc::T186 | Soc::T194) { "mmcblk0" } else { "nvme0n1" };
    let part = format!("{disk}p1");
    layout.fixed("/proc/mounts", &format!("/dev/{part} / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0"));
    layout.fixed(&format!("/sys/class/block/{disk}/queue/rotational"), "0");
    layout.fixed(&format!("/sys/class/block/{disk}/size"), "124735488");
    layout.link(&format!("/sys/block/{disk}"), &format!("/sys/class/block/{disk}"));
    if disk == "mmcblk0" {
        let kind = if facts.id == "nano" { "SD" } else { "MMC" };
        layout.fixed(&format!("/sys/class/block/{disk}/device/type"), kind);
    }
    if let Some(text) = conf::stock_conf(facts, release) {
        layout.fixed(conf::CONF_PATH, text.trim_end_matches('\n'));
        let id = kernel::boot_mode(release).map_or(0, |mode| mode.id);
        layout.fixed("/var/lib/nvpmodel/status", &format!("pmode:{id:04}"));
    }
    layout.live("/proc/stat", 0o444, LiveNode::Stat);
}

fn cpus(layout: &mut Layout, release: &Release, module: &Module) {
    let all = crate::parse::show_cpu_list(&(0..module.cores()).collect::<Vec<_>>());
    layout.fixed(&format!("{CPU}/present"), &all);
    layout.fixed(&format!("{CPU}/possible"), &all);
    layout.kernel(&format!("{CPU}/online"), 0o444, KernelFile::Mask(false));
    layout.kernel(&format!("{CPU}/offline"), 0o444, KernelFile::Mask(true));
    for cpu in 0..module.cores() {
        // 4.9 marks every core as removable, later kernels only those that are.
        if cpu > 0 || release.kernel <= Kernel::K4_9 {
            layout.kernel(&format!("{CPU}/cpu{cpu}/online"), 0o644, KernelFile::Online(cpu));
        }
    }
    let table = table(release.cpu_khz);
    for (index, cluster) in module.clusters.iter().enumerate() {
        let folder = format!("{CPU}/cpufreq/policy{}", cluster[0]);
        let related = cluster.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        layout.fixed(&format!("{folder}/related_cpus"), &related);
        layout.fixed(&format!("{folder}/scaling_available_frequencies"), &table);
        layout.fixed(
            &format!("{folder}/scaling_available_governors"),
            "conservative ondemand userspace powersave performance schedutil ",
        );
        let end = |index: usize| release.cpu_khz.get(index).copied().unwrap_or(0).to_string();
        layout.fixed(&format!("{folder}/cpuinfo_min_freq"), &end(0));
        layout.fixed(&format!("{folder}/cpuinfo_max_freq"), &end(release.cpu_khz.len().saturating_sub(1)));
        let files = [
            ("scaling_min_freq", 0o644, PolicyFile::Min),
            ("scaling_max_freq", 0o644, PolicyFile::Max),
            ("scaling_cur_freq", 0o444, PolicyFile::Current),
            ("cpuinfo_cur_freq", 0o400, PolicyFile::Real),
            ("scaling_governor", 0o644, PolicyFile::Governor),
            ("scaling_setspeed", 0o644, PolicyFile::SetSpeed),
            ("affected_cpus", 0o444, PolicyFile::Affected),
        ];
        for (name, mode, file) in files {
            layout.kernel(&format!("{folder}/{name}"), mode, KernelFile::Policy(index, file));
        }
        for cpu in *cluster {
            layout.link(&format!("{CPU}/cpu{cpu}/cpufreq"), &folder);
        }
    }
}

fn gpu(layout: &mut Layout, release: &Release) {
    if release.gpu_hz.is_empty() {
        return;
    }
    let paths = &release.gpu;
    let (device, class) = (paths.device, format!("/sys/class/devfreq/{}", paths.devfreq_name));
    let folder = format!("{device}/devfreq/{}", paths.devfreq_name);
    layout.link(&class, &folder);
    if !paths.of_name.is_empty() {
        layout.link(&format!("{folder}/device"), device);
        layout.fixed(&format!("{device}/of_node/name"), paths.of_name);
    }
    if !paths.alias.is_empty() {
        layout.link(paths.alias, device);
    }
    layout.link(&format!("{device}/devfreq_dev"), &folder);
    layout.fixed(&format!("{folder}/available_frequencies"), &table(release.gpu_hz));
    layout.fixed(&format!("{folder}/available_governors"), "performance userspace nvhost_podgov");
    layout.fixed(&format!("{folder}/polling_interval"), "25");
    let files = [
        ("min_freq", 0o644, GpuFile::Min),
        ("max_freq", 0o644, GpuFile::Max),
        ("cur_freq", 0o444, GpuFile::Current),
        ("target_freq", 0o444, GpuFile::Target),
        ("governor", 0o644, GpuFile::Governor),
    ];
    for (name, mode, file) in files {
        layout.kernel(&format!("{folder}/{name}"), mode, KernelFile::Gpu(file));
    }
    layout.kernel(&format!("{device}/load"), 0o444, KernelFile::Gpu(GpuFile::Load));
    match paths.power {
        PowerGate::Railgate => {
            layout.kernel(
                &format!("{device}/railgate_enable"),
                0o644,
                KernelFile::Gpu(GpuFile::RailgateEnable),
            );
            layout.kernel(&format!("{device}/is_railgated"), 0o444, KernelFile::Gpu(GpuFile::IsRailgated));
        }
        PowerGate::RuntimePm => {
            layout.kernel(&format!("{device}/power/control"), 0o644, KernelFile::Gpu(GpuFile::PowerControl));
        }
    }
    for (index, name) in paths.masks.iter().enumerate() {
        layout.kernel(&format!("{device}/{name}"), 0o644, KernelFile::Gpu(GpuFile::Mask(index)));
    }
}

fn emc(layout: &mut Layout, facts: &BoardFacts, release: &Release) {
    let debug = "/sys/kernel/debug";
    let mut file = |path: String, mode: u32, file: EmcFile| layout.kernel(&path, mode, KernelFile::Emc(file));
    match release.emc {
        EmcPaths::None => return,
        EmcPaths::ClkOverride => {
            file(format!("{debug}/clk/override.emc/clk_rate"), 0o400, EmcFile::Rate);
            file(format!("{debug}/clk/override.emc/clk_update_rate"), 0o600, EmcFile::OverrideRate);
            file(format!("{debug}/clk/override.emc/clk_state"), 0o600, EmcFile::OverrideState);
            file(format!("{debug}/tegra_bwmgr/emc_rate"), 0o400, EmcFile::Rate);
            file(format!("{debug}/tegra_bwmgr/emc_min_rate"), 0o400, EmcFile::MinRate);
            file(format!("{debug}/tegra_bwmgr/emc_max_rate"), 0o400, EmcFile::MaxRate);
        }
        EmcPaths::Bpmp | EmcPaths::BpmpHalt => {
            let clock = format!("{debug}/bpmp/debug/clk/emc");
            file(format!("{clock}/rate"), 0o600, EmcFile::Rate);
            file(format!("{clock}/min_rate"), 0o400, EmcFile::MinRate);
            file(format!("{clock}/max_rate"), 0o400, EmcFile::MaxRate);
            file(format!("{clock}/mrq_rate_locked"), 0o600, EmcFile::Locked);
            file(format!("{clock}/state"), 0o600, EmcFile::State);
        }
    }
    if release.emc == EmcPaths::BpmpHalt {
        file(format!("{debug}/bpmp/debug/bwmgr/bwmgr_halt"), 0o600, EmcFile::Halt);
    }
    if let Some(cap) = release.emc_cap() {
        let mode = if release.l4t >= 36 { 0o664 } else { 0o660 };
        file(cap.path.to_owned(), mode, EmcFile::Cap);
    }
    emc_table(layout, facts, release, debug);
}

/// Where a release tells which EMC clocks there are.
fn emc_table(layout: &mut Layout, facts: &BoardFacts, release: &Release, debug: &str) {
    for (index, hz) in release.emc_hz.iter().enumerate() {
        let khz = hz / 1000;
        match facts.soc {
            Soc::T210 => {
                let bytes = u32::try_from(khz).unwrap_or(u32::MAX).to_be_bytes().to_vec();
                let path = format!("/proc/device-tree/emc-table@{index}/clock-frequency");
                layout.tree.insert(&path, Node::File { bytes, mode: 0o444 });
            }
            Soc::T186 | Soc::T194 => {
                layout.tree.insert(&format!("{debug}/bpmp/debug/emc/tables/regular/{khz}"), Node::Folder);
            }
            _ => {}
        }
    }
    if release.emc == EmcPaths::BpmpHalt {
        let lines = release.emc_hz.iter().map(|hz| format!("{} {hz} 0", hz / 1000)).collect::<Vec<_>>();
        layout.tree.file(&format!("{debug}/bpmp/debug/clk/emc/dvfs"), &lines.join("\n"), 0o400);
    } else if release.emc == EmcPaths::Bpmp {
        let rates = release.emc_hz.iter().map(|hz| (hz / 1000).to_string()).collect::<Vec<_>>();
        layout.tree.file(&format!("{debug}/bpmp/debug/emc/possible_rates"), &rates.join(" "), 0o400);
    }
}

fn sensor(layout: &mut Layout, release: &Release, index: usize, chip: &SensorChip) {
    let bus = chip.bus_address.split('-').next().unwrap_or("0");
    let device = format!("/sys/devices/platform/sim-i2c/i2c-{bus}/{}", chip.bus_address);
    let mode = release.sensor_mode();
    let driver = match chip.kind {
        SensorKind::Ina3221Iio => "ina3221x",
        SensorKind::Ina3221Hwmon => "ina3221",
        SensorKind::Ina238 => "ina238",
    };
    layout.link(&format!("/sys/bus/i2c/drivers/{driver}/{}", chip.bus_address), &device);
    if chip.kind == SensorKind::Ina3221Iio {
        let folder = format!("{device}/iio:device{index}");
        layout.link(&format!("/sys/bus/iio/devices/iio:device{index}"), &folder);
        layout.fixed(&format!("{folder}/name"), "ina3221x");
        for (k, channel) in chip.channels.iter().enumerate() {
            layout.tree.file(&format!("{folder}/rail_name_{k}"), channel.label, mode);
            let files = [
                (format!("in_power{k}_input"), RailFile::IioPower),
                (format!("in_current{k}_input"), RailFile::Current),
                (format!("in_voltage{k}_input"), RailFile::Voltage),
                (format!("ui_input_{k}"), RailFile::Both),
            ];
            for (name, file) in files {
                layout.live(&format!("{folder}/{name}"), mode, LiveNode::Rail(index, k, file));
            }
        }
        layout.tree.file(&format!("{folder}/running_mode"), "1", mode);
        return;
    }
    let number = FIRST_HWMON + index;
    let folder = format!("{device}/hwmon/hwmon{number}");
    layout.link(&format!("/sys/class/hwmon/hwmon{number}"), &folder);
    layout.link(&format!("{folder}/device"), &device);
    layout.fixed(&format!("{folder}/name"), driver);
    layout.tree.file(&format!("{folder}/samples"), &chip.samples.to_string(), mode | 0o200);
    // The driver's figure does not multiply by the samples: for one sample it is the period, in whole ms.
    let interval = (chip.conversion_us * 2 * chip.channels.len() as u32).div_ceil(1000);
    layout.tree.file(&format!("{folder}/update_interval"), &interval.to_string(), mode | 0o200);
    for (k, channel) in chip.channels.iter().enumerate() {
        let number = k + 1;
        let file = |name: &str, file: RailFile| (format!("{folder}/{name}"), LiveNode::Rail(index, k, file));
        let mut files = vec![
            file(&format!("in{number}_input"), RailFile::Voltage),
            file(&format!("curr{number}_input"), RailFile::Current),
        ];
        if chip.kind == SensorKind::Ina238 {
            files.push(file(&format!("power{number}_input"), RailFile::Microwatts));
        } else {
            layout.tree.file(&format!("{folder}/in{number}_label"), channel.label, mode);
            let enabled = if channel.label == "NC" { "0" } else { "1" };
            layout.tree.file(&format!("{folder}/in{number}_enable"), enabled, mode | 0o200);
            let shunt = super::sensor::shunt_mohm(channel) * 1000.0;
            layout.tree.file(
                &format!("{folder}/shunt{number}_resistor"),
                &format!("{shunt:.0}"),
                mode | 0o200,
            );
        }
        for (path, live) in files {
            layout.live(&path, mode, live);
        }
    }
}

fn heat(layout: &mut Layout, release: &Release) {
    for (index, zone) in release.zones.iter().enumerate() {
        let folder = format!("/sys/class/thermal/thermal_zone{index}");
        layout.fixed(&format!("{folder}/type"), zone.name);
        layout.fixed(&format!("{folder}/mode"), "enabled");
        layout.live(&format!("{folder}/temp"), 0o444, LiveNode::Zone(index));
        if matches!(zone.odd, Odd::Constant(_)) {
            continue;
        }
        let trips = [("passive", zone.passive_mc), ("hot", zone.hot_mc), ("critical", zone.critical_mc)];
        for (k, (kind, temp)) in trips.into_iter().filter(|(_, temp)| *temp != 0).enumerate() {
            layout.fixed(&format!("{folder}/trip_point_{k}_type"), kind);
            layout.fixed(&format!("{folder}/trip_point_{k}_temp"), &temp.to_string());
        }
    }
    for (index, kind) in release.cooling.iter().enumerate() {
        let folder = format!("/sys/class/thermal/cooling_device{index}");
        layout.fixed(&format!("{folder}/type"), kind);
        layout.fixed(&format!("{folder}/max_state"), if kind.ends_with("-alert") { "1" } else { "10" });
        layout.live(&format!("{folder}/cur_state"), 0o644, LiveNode::Cooling(index));
    }
}

fn over_current(layout: &mut Layout, release: &Release) {
    let (count, suffix) = match release.over_current {
        OverCurrent::None => return,
        OverCurrent::IrqCount => (6, "irq_cnt"),
        OverCurrent::EventCount => (3, "event_cnt"),
    };
    let number = FIRST_HWMON + release.sensors.len();
    let folder = format!("/sys/devices/platform/soctherm-oc-event/hwmon/hwmon{number}");
    layout.link(&format!("/sys/class/hwmon/hwmon{number}"), &folder);
    layout.fixed(&format!("{folder}/name"), "soctherm_oc");
    for k in 1..=count {
        layout.live(&format!("{folder}/oc{k}_{suffix}"), 0o444, LiveNode::OverCurrent(k));
    }
}

/// A table as the kernel prints it: ascending, with a blank after each value.
fn table(values: &[u64]) -> String {
    values.iter().map(|value| format!("{value} ")).collect()
}
