//! What a release of L4T makes of a board: tables as documented, paths, sensors, zones and stock modes.

/// The kernel of a release: what a write means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Linux 4.4, of R28.
    K4_4,
    /// Linux 4.9, of R32.
    K4_9,
    /// 5.10 of R34 and R35.
    K5_10,
    /// Linux 5.15, of R36.
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
    /// The kernel that the release comes with.
    pub kernel: Kernel,
    /// What `/proc/device-tree/model` says.
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
    /// The chips that measure power.
    pub sensors: &'static [SensorChip],
    /// Thermal zones by type, with their trips.
    pub zones: &'static [Zone],
    /// Types of the cooling devices that exist.
    pub cooling: &'static [&'static str],
    /// How events of over-current are counted.
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
    /// The node that takes a clock in Hz.
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

/// One chip that measures power, of one to three channels.
#[derive(Debug, PartialEq)]
pub struct SensorChip {
    /// The driver behind which it is read.
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

/// A thermal zone with its trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The zone's type, such as `CPU-therm`.
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
    /// The release counts none.
    None,
    /// `ocK_irq_cnt`, K from 1 to 6.
    IrqCount,
    /// `ocK_event_cnt`, K from 1 to 3.
    EventCount,
}

/// A mode of the vendor's configuration. `None` in a limit: uncapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockMode {
    /// Its number in the configuration.
    pub id: u32,
    /// Its name in the configuration, such as `MAXN`.
    pub name: &'static str,
    /// Whether it is the default.
    pub default: bool,
    /// The cores that are on, ascending.
    pub cores: &'static [u32],
    /// CPU limits in kHz.
    pub cpu_khz: (u64, Option<u64>),
    /// GPU limits in Hz.
    pub gpu_hz: (u64, Option<u64>),
    /// EMC cap in Hz.
    pub emc_hz: Option<u64>,
    /// Mask of gated TPCs (`TPC_PG_MASK`); `None`: the mode does not say.
    pub tpc_mask: Option<u32>,
    /// Mask of gated FBPs (`FBP_PG_MASK`); `None`: the mode does not say.
    pub fbp_mask: Option<u32>,
}
