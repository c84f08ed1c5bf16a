//! Facts of the boards: identity, tables as documented, paths of each L4T release, rails, trips and limits.
//!
//! One file of facts for each board. They identify a machine, give the rules that it does not tell itself (which
//! rails make its total, what counts as throttling), and are what simulated boards are built from. Tables that
//! the machine tells are read from it and never taken from here.

mod agx_orin;
mod agx_xavier;
pub mod conf;
mod generic;
mod nano;
mod orin_nano;
mod orin_nx;
mod thor;
mod tx1;
mod tx2;
mod xavier_nx;

pub use generic::GENERIC;

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
    /// Tegra X1.
    T210,
    /// Tegra X2.
    T186,
    /// Xavier.
    T194,
    /// Orin.
    T234,
    /// Thor.
    T264,
    /// Not a Tegra.
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
    /// The GPU.
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
    /// CUDA cores.
    pub cores: u64,
    /// Tensor cores.
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
    /// Nothing measures it.
    None,
}

/// The kernel of a release: what a write means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// 4.4 of R28.
    K4_4,
    /// 4.9 of R32.
    K4_9,
    /// 5.10 of R34 and R35.
    K5_10,
    /// 5.15 of R36.
    K5_15,
    /// 6.8 of R38 and R39.
    K6_8,
}

impl Kernel {
    /// Whether a minimum above the maximum is refused (EINVAL); later kernels let the maximum win.
    pub fn refuses_min_above_max(self) -> bool {
        self <= Self::K4_9
    }
}

/// One release of L4T on one board.
#[derive(Debug, PartialEq)]
pub struct Release {
    /// The name in `--sim BOARD@RELEASE` and of fixtures, such as `r35`.
    pub id: &'static str,
    /// Which of the board's modules it is described with.
    pub module: usize,
    /// The number behind the R.
    pub l4t: u32,
    /// The revision, such as `7.2`.
    pub revision: &'static str,
    /// The kernel.
    pub kernel: Kernel,
    /// `/proc/device-tree/model`.
    pub model: &'static str,
    /// `/proc/device-tree/compatible`, in its order.
    pub compatible: &'static [&'static str],
    /// CPU clocks in kHz, ascending, as reported for all clusters.
    pub cpu_khz: &'static [u64],
    /// GPU clocks in Hz, ascending.
    pub gpu_hz: &'static [u64],
    /// EMC clocks in Hz, ascending.
    pub emc_hz: &'static [u64],
    /// Where the GPU's controls are.
    pub gpu: GpuPaths,
    /// How the EMC is controlled.
    pub emc: EmcPaths,
    /// Power sensors.
    pub sensors: &'static [SensorChip],
    /// Thermal zones by type, with their trips.
    pub zones: &'static [Zone],
    /// Types of the cooling devices that exist.
    pub cooling: &'static [&'static str],
    /// Over-current events.
    pub over_current: OverCurrent,
    /// nvpmodel's configuration; empty: not known.
    pub stock_modes: &'static [StockMode],
    /// What of the above is assumed and not from a published source.
    pub assumed: &'static [&'static str],
}

/// Where a GPU's controls are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuPaths {
    /// The device's real folder, with `load`, `railgate_enable` and `power/control`.
    pub device: &'static str,
    /// The devfreq folder as the class lists it, below `device` in `devfreq/` unless it stands alone.
    pub devfreq_name: &'static str,
    /// `of_node/name` of the device; empty: the class entry has none.
    pub of_name: &'static str,
    /// The alias that tools use, such as `/sys/devices/gpu.0`; empty: none.
    pub alias: &'static str,
    /// What keeps the GPU powered.
    pub power: PowerGate,
    /// Masks of gated units in the device's folder (`tpc_pg_mask`, `fbp_pg_mask`).
    pub masks: &'static [&'static str],
}

impl GpuPaths {
    /// The real devfreq folder.
    pub fn devfreq_path(&self) -> String {
        if self.of_name.is_empty() {
            return format!("/sys/class/devfreq/{}", self.devfreq_name);
        }
        format!("{}/devfreq/{}", self.device, self.devfreq_name)
    }
}

/// How a GPU is kept from being powered down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerGate {
    /// `railgate_enable`: 0 keeps it on (R28 to R35).
    Railgate,
    /// `power/control`: `on` keeps it on (R36 and later).
    RuntimePm,
}

/// How the EMC clock is read, limited and locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmcPaths {
    /// T210: `clk/override.emc` and `tegra_bwmgr` in debugfs.
    ClkOverride,
    /// T186 and T194: BPMP's `clk/emc` with `mrq_rate_locked`.
    Bpmp,
    /// T234 and T264: the same, and `bwmgr_halt` besides.
    BpmpHalt,
    /// It has no such clock.
    None,
}

/// Where a cap on the EMC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmcCap {
    /// The node.
    pub path: &'static str,
    /// What means no cap.
    pub uncapped: &'static str,
}

impl Release {
    /// The cap of this release: a node moved with R36, and `no cap` is written differently since.
    pub fn emc_cap(&self) -> Option<EmcCap> {
        match self.emc {
            EmcPaths::None => None,
            _ if self.l4t >= 36 => Some(EmcCap { path: "/sys/kernel/nvpmodel_clk_cap/emc", uncapped: "-1" }),
            _ => Some(EmcCap { path: "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", uncapped: "0" }),
        }
    }

    /// The first line of `/etc/nv_tegra_release`; the build number is left out as zeros.
    pub fn release_line(&self, board: &str) -> String {
        format!(
            "# R{} (release), REVISION: {}, GCID: 0, BOARD: {board}, EABI: aarch64, DATE: unknown",
            self.l4t, self.revision
        )
    }

    /// Permission bits of power readings: open up to R32.4, root's from R32.5 to R35, open again since R36.
    pub fn sensor_mode(&self) -> u32 {
        let revision: f32 = self.revision.parse().unwrap_or(0.0);
        match self.l4t {
            32 if revision >= 5.0 => 0o400,
            33..=35 => 0o400,
            _ => 0o444,
        }
    }
}

/// The kind of a power sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorKind {
    /// INA3221 behind the vendor's iio driver (up to R32).
    Ina3221Iio,
    /// INA3221 behind the kernel's hwmon driver (since R34).
    Ina3221Hwmon,
    /// INA238 behind hwmon, with a power reading in microwatts.
    Ina238,
}

/// One sensor chip.
#[derive(Debug, PartialEq)]
pub struct SensorChip {
    /// Its driver.
    pub kind: SensorKind,
    /// Bus and address as in the driver's folder, such as `1-0040`.
    pub bus_address: &'static str,
    /// Its channels, in order.
    pub channels: &'static [Channel],
    /// Samples averaged in the chip.
    pub samples: u32,
    /// Conversion of the bus and of the shunt voltage, each, in microseconds.
    pub conversion_us: u32,
}

/// One channel of a sensor chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its label; `NC`: not connected.
    pub label: &'static str,
    /// The shunt in milliohms; 0: not known.
    pub shunt_mohm: u32,
    /// The rail's nominal voltage in millivolts; 0: not known.
    pub bus_mv: u32,
}

/// A thermal zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its type.
    pub name: &'static str,
    /// Software throttling starts here, in millidegrees; 0: no such trip.
    pub passive_mc: i32,
    /// The hardware throttles here; 0: no such trip.
    pub hot_mc: i32,
    /// The board shuts down here; 0: no such trip.
    pub critical_mc: i32,
    /// What it reads when it is not a temperature.
    pub odd: Odd,
}

/// How a zone may read other than a temperature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// It is a plain zone.
    No,
    /// Its engine is off: EAGAIN (R36), or -256 °C (R35).
    Offline,
    /// A constant that is no measurement.
    Constant(i32),
}

/// Counters of over-current events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverCurrent {
    /// None.
    None,
    /// `ocK_irq_cnt`, K from 1 to 6.
    IrqCount,
    /// `ocK_event_cnt`, K from 1 to 3.
    EventCount,
}

/// A mode of the vendor's configuration. `None` in a limit: uncapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockMode {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// Whether it is the default.
    pub default: bool,
    /// Cores online.
    pub cores: &'static [u32],
    /// CPU limits in kHz.
    pub cpu_khz: (u64, Option<u64>),
    /// GPU limits in Hz.
    pub gpu_hz: (u64, Option<u64>),
    /// EMC cap in Hz.
    pub emc_hz: Option<u64>,
    /// `TPC_PG_MASK`.
    pub tpc_mask: Option<u32>,
    /// `FBP_PG_MASK`.
    pub fbp_mask: Option<u32>,
}

/// All boards, in the order in which they are tried. The generic machine comes last and is not among them.
pub const BOARDS: [&BoardFacts; 9] = [
    &tx1::FACTS,
    &tx2::FACTS,
    &nano::FACTS,
    &xavier_nx::FACTS,
    &agx_xavier::FACTS,
    &orin_nano::FACTS,
    &orin_nx::FACTS,
    &agx_orin::FACTS,
    &thor::FACTS,
];

/// Whether a cooling device's type fits a pattern of the facts, in which `*` stands for anything.
pub fn matches_kind(pattern: &str, kind: &str) -> bool {
    crate::root::matches_name(pattern, kind)
}

/// A board by its name in commands.
pub fn by_id(id: &str) -> Option<&'static BoardFacts> {
    BOARDS.into_iter().find(|board| board.id == id)
}

/// The board and module that a device tree's `compatible` list means. Where a module is made to behave as
/// another (`-as-`), the emulated one counts.
pub fn by_compatible(entries: &[&str]) -> Option<(&'static BoardFacts, Option<&'static Module>)> {
    let effective = |entry: &str| entry.rsplit("-as-").next().unwrap_or(entry).to_owned();
    let entries: Vec<String> = entries.iter().map(|entry| effective(entry)).collect();
    let of_entry = |entry: &String| {
        BOARDS.into_iter().find(|board| board.compatible.iter().any(|part| entry.contains(part)))
    };
    let board = entries.iter().find_map(of_entry)?;
    // The first entry is the most specific one: it decides where several parts are listed together.
    let module = entries
        .iter()
        .find_map(|entry| board.modules.iter().find(|m| m.parts.iter().any(|part| entry.contains(part))));
    Some((board, module))
}

impl BoardFacts {
    /// A release by its name; the newest for `None`.
    pub fn release(&self, id: Option<&str>) -> Option<&'static Release> {
        let releases: &'static [Release] = self.releases;
        match id {
            Some(id) => releases.iter().find(|release| release.id == id),
            None => releases.first(),
        }
    }
}

/// Cooling devices that mean throttling: the vendor's indicators of a crossed software-throttle trip, and those
/// that step clocks down (boards.md section 5 of the sources named in docs/boards).
const THROTTLING: &[&str] =
    &["*-throttle-alert", "*-balanced", "tegra_heavy", "thermal-cpufreq-*", "thermal-devfreq-*"];
/// Fans, alerts, and helpers of voltage and memory refresh that are active in normal use.
const HARMLESS: &[&str] = &[
    "pwm-fan",
    "hot-surface-alert",
    "DFLL-cap",
    "DFLL-floor",
    "CORE-cap",
    "CORE-floor",
    "gpu-scaling*",
    "gpu-vmax*",
    "tegra-dram",
    "bwmgr-therm-handler",
];

/// `N` clocks from `first` in steps of `step`, of which the last is `last`.
const fn steps<const N: usize>(first: u64, step: u64, last: u64) -> [u64; N] {
    let mut table = [last; N];
    let mut k = 0;
    while k + 1 < N {
        table[k] = first + step * k as u64;
        k += 1;
    }
    table
}

const fn zone(name: &'static str, passive_mc: i32, hot_mc: i32, critical_mc: i32) -> Zone {
    Zone { name, passive_mc, hot_mc, critical_mc, odd: Odd::No }
}

const fn odd_zone(name: &'static str, odd: Odd) -> Zone {
    Zone { name, passive_mc: 0, hot_mc: 0, critical_mc: 0, odd }
}

const fn channel(label: &'static str, shunt_mohm: u32, bus_mv: u32) -> Channel {
    Channel { label, shunt_mohm, bus_mv }
}

/// Averaging of R32 on T210: 64 samples of 140 us; on T186 and T194: 512.
const fn iio(bus_address: &'static str, samples: u32, channels: &'static [Channel]) -> SensorChip {
    SensorChip { kind: SensorKind::Ina3221Iio, bus_address, channels, samples, conversion_us: 140 }
}

/// The driver's default since R34: one sample of 1.1 ms.
const fn hwmon(bus_address: &'static str, channels: &'static [Channel]) -> SensorChip {
    SensorChip { kind: SensorKind::Ina3221Hwmon, bus_address, channels, samples: 1, conversion_us: 1100 }
}

const fn mode(id: u32, name: &'static str, cores: &'static [u32]) -> StockMode {
    StockMode {
        id,
        name,
        default: false,
        cores,
        cpu_khz: (0, None),
        gpu_hz: (0, None),
        emc_hz: None,
        tpc_mask: None,
        fbp_mask: None,
    }
}

impl StockMode {
    const fn cpu(self, min: u64, max: u64) -> Self {
        Self { cpu_khz: (min, if max == 0 { None } else { Some(max) }), ..self }
    }

    const fn gpu(self, min: u64, max: u64) -> Self {
        Self { gpu_hz: (min, if max == 0 { None } else { Some(max) }), ..self }
    }

    const fn emc(self, hz: u64) -> Self {
        Self { emc_hz: Some(hz), ..self }
    }

    const fn masks(self, tpc: u32, fbp: Option<u32>) -> Self {
        Self { tpc_mask: Some(tpc), fbp_mask: fbp, ..self }
    }

    const fn by_default(self) -> Self {
        Self { default: true, ..self }
    }
}

/// The same for all modules with T234; what lies between the two is not published.
const ORIN_EMC_FLOORS: &[(u64, u64)] = &[(1_267_200, 408_000), (1_907_200, 1_600_000)];

/// Software throttling at 99 °C, the firmware's at 101, shutdown at 104.5; the same on all modules with T234.
const fn orin_zone(name: &'static str) -> Zone {
    zone(name, 99_000, 101_000, 104_500)
}

const ORIN_ZONES_R35: &[Zone] = &[
    orin_zone("CPU-therm"),
    Zone { odd: Odd::Offline, ..orin_zone("GPU-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV0-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV1-therm") },
    Zone { odd: Odd::Offline, ..orin_zone("CV2-therm") },
    orin_zone("SOC0-therm"),
    orin_zone("SOC1-therm"),
    orin_zone("SOC2-therm"),
    orin_zone("tj-therm"),
    zone("Tboard_tegra", 0, 0, 107_000),
    zone("Tdiode_tegra", 0, 0, 107_000),
];

const ORIN_ZONES_R36: &[Zone] = &[
    orin_zone("cpu-thermal"),
    orin_zone("gpu-thermal"),
    Zone { odd: Odd::Offline, ..orin_zone("cv0-thermal") },
    Zone { odd: Odd::Offline, ..orin_zone("cv1-thermal") },
    Zone { odd: Odd::Offline, ..orin_zone("cv2-thermal") },
    orin_zone("soc0-thermal"),
    orin_zone("soc1-thermal"),
    orin_zone("soc2-thermal"),
    orin_zone("tj-thermal"),
];

const ORIN_COOLING_R35: &[&str] = &[
    "thermal-cpufreq-0",
    "thermal-cpufreq-1",
    "thermal-cpufreq-2",
    "thermal-devfreq-0",
    "cpu-throttle-alert",
    "gpu-throttle-alert",
    "cv0-throttle-alert",
    "cv1-throttle-alert",
    "cv2-throttle-alert",
    "soc0-throttle-alert",
    "soc1-throttle-alert",
    "soc2-throttle-alert",
    "hot-surface-alert",
    "pwm-fan",
];

const ORIN_COOLING_R36: &[&str] =
    &["thermal-cpufreq-0", "thermal-cpufreq-1", "thermal-cpufreq-2", "thermal-devfreq-0", "pwm-fan"];
