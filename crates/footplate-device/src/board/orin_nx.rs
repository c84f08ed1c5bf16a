//! Jetson Orin NX, 16 and 8 GB: T234 with eight or six A78AE, Ampere.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, mode, steps};
use super::orin;
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, OverCurrent, PowerGate, Release, Soc, StockMode,
    TotalRule,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "orin-nx",
    name: "Jetson Orin NX",
    soc: Soc::T234,
    compatible: &["p3767-0000", "p3767-0001"],
    modules: &[
        Module {
            name: "Jetson Orin NX 16GB",
            parts: &["p3767-0000"],
            memory_gb: 16,
            clusters: &[&[0, 1, 2, 3], &[4, 5, 6, 7]],
            gpu: GPU,
            gpu_max_hz: 918_000_000,
            memory_bits: 128,
            emc_max_hz: 3_199_000_000,
        },
        Module {
            name: "Jetson Orin NX 8GB",
            parts: &["p3767-0001"],
            memory_gb: 8,
            clusters: &[&[0, 1, 2, 3], &[4, 5]],
            gpu: GPU,
            gpu_max_hz: 765_000_000,
            memory_bits: 128,
            emc_max_hz: 3_199_000_000,
        },
    ],
    cpu_order: &[0, 1, 2, 3, 4, 5, 6, 7],
    emc_floors_khz: orin::EMC_FLOORS,
    total: TotalRule::Rail(&["VDD_IN"]),
    total_note: "VDD_IN is the module's input, about three quarters of what the board takes from its jack",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[
        R36,
        Release {
            id: "r36-super",
            compatible: &["nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234"],
            gpu_hz: &steps::<10>(306_000_000, 102_000_000, 1_173_000_000),
            stock_modes: SUPER,
            ..R36
        },
        R35,
    ],
    unchecked: &[
        "the CPU's table below 1958.4 MHz",
        "whether R36 still has the throttle-alert cooling devices",
        "a carrier of another maker changes the board's first entry in compatible; the module's part decides",
    ],
};

const GPU: Gpu = Gpu {
    architecture: "Ampere",
    cores: 1024,
    tensor_cores: 32,
    tpcs: 4,
    fp16_ratio: 0,
    tensor_flops_per_cycle: 512,
};

const R36: Release = Release {
    id: "r36",
    module: 0,
    l4t: 36,
    revision: "4.3",
    kernel: Kernel::K5_15,
    model: "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
    compatible: &["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"],
    cpu_khz: &steps::<26>(115_200, 76_800, 1_984_000),
    gpu_hz: &steps::<7>(306_000_000, 102_000_000, 918_000_000),
    emc_hz: &[204_000_000, 665_600_000, 2_133_000_000, 3_199_000_000],
    gpu: GpuPaths {
        device: "/sys/devices/platform/17000000.gpu",
        devfreq_name: "17000000.gpu",
        of_name: "gpu",
        alias: "/sys/devices/platform/gpu.0",
        power: PowerGate::RuntimePm,
        masks: &["tpc_pg_mask", "fbp_pg_mask"],
    },
    emc: EmcPaths::BpmpHalt,
    sensors: &[hwmon("1-0040", CHANNELS)],
    zones: orin::ZONES_R36,
    cooling: orin::COOLING_R36,
    over_current: OverCurrent::EventCount,
    stock_modes: MODES,
    assumed: &["the CPU's table", "the list of cooling devices", "the model's text"],
};

const R35: Release = Release {
    id: "r35",
    l4t: 35,
    revision: "4.1",
    kernel: Kernel::K5_10,
    model: "NVIDIA Orin NX Developer Kit",
    compatible: &["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234", "nvidia,tegra23x"],
    gpu: GpuPaths {
        device: "/sys/devices/platform/17000000.ga10b",
        devfreq_name: "17000000.ga10b",
        of_name: "ga10b",
        alias: "/sys/devices/platform/gpu.0",
        power: PowerGate::Railgate,
        masks: &["tpc_pg_mask", "fbp_pg_mask"],
    },
    zones: orin::ZONES_R35,
    cooling: orin::COOLING_R35,
    assumed: &["the CPU's table"],
    ..R36
};

const CHANNELS: &[super::Channel] =
    &[channel("VDD_IN", 5, 5_000), channel("VDD_CPU_GPU_CV", 5, 5_000), channel("VDD_SOC", 5, 5_000)];
const FOUR: &[u32] = &[0, 1, 2, 3];
const ALL: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7];
const MIN: u64 = 729_600;

const MODES: &[StockMode] = &[
    mode(0, "MAXN", ALL).cpu(MIN, 0).masks(240, Some(2)),
    mode(1, "10W", FOUR).cpu(MIN, 1_190_400).gpu(0, 612_000_000).emc(2_133_000_000).masks(252, Some(2)),
    mode(2, "15W", FOUR).cpu(MIN, 1_651_200).gpu(0, 612_000_000).masks(252, Some(2)).by_default(),
    mode(3, "25W", ALL).cpu(MIN, 1_497_600).gpu(0, 408_000_000).masks(240, Some(2)),
];

const SUPER: &[StockMode] = &[
    mode(0, "MAXN_SUPER", ALL).cpu(MIN, 0).masks(240, Some(2)),
    mode(1, "10W", FOUR).cpu(MIN, 1_190_400).gpu(0, 612_000_000).emc(2_133_000_000).masks(252, Some(2)),
    mode(2, "15W", FOUR).cpu(MIN, 1_420_800).gpu(0, 612_000_000).masks(252, Some(2)),
    mode(3, "25W", ALL).cpu(MIN, 1_497_600).gpu(0, 408_000_000).masks(240, Some(2)),
    mode(4, "40W", ALL).cpu(MIN, 1_497_600).gpu(0, 1_173_000_000).masks(240, Some(2)).by_default(),
];
