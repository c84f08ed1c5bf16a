//! Jetson AGX Orin, 64 and 32 GB: T234 with twelve or eight A78AE, Ampere.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, mode, steps};
use super::orin;
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, OverCurrent, PowerGate, Release, SensorChip, Soc,
    StockMode, TotalRule,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "agx-orin",
    name: "Jetson AGX Orin",
    soc: Soc::T234,
    compatible: &["p3701"],
    modules: &[
        Module {
            name: "Jetson AGX Orin 64GB",
            parts: &["p3701-0005", "p3701-0000", "p3701-0008"],
            memory_gb: 64,
            clusters: &[&[0, 1, 2, 3], &[4, 5, 6, 7], &[8, 9, 10, 11]],
            gpu: Gpu { cores: 2048, tensor_cores: 64, tpcs: 8, ..GPU },
            gpu_max_hz: 1_300_500_000,
            memory_bits: 256,
            emc_max_hz: 3_199_000_000,
        },
        Module {
            name: "Jetson AGX Orin 32GB",
            parts: &["p3701-0004"],
            memory_gb: 32,
            clusters: &[&[0, 1, 2, 3], &[4, 5, 6, 7]],
            gpu: GPU,
            gpu_max_hz: 930_750_000,
            memory_bits: 256,
            emc_max_hz: 3_199_000_000,
        },
    ],
    cpu_order: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    emc_floors_khz: orin::EMC_FLOORS,
    // VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0 and must not be added.
    total: TotalRule::Sum(&["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]),
    total_note: "no rail measures the input: the sum of the three is 10 to 15 % below the wall",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[R36, R35],
    unchecked: &[
        "early developer kits (p3701-0000) have 32 GB: the memory is read from the machine",
        "whether R36 still has the throttle-alert cooling devices",
        "releases of R35 differ in the GPU's table (from 114.75 or from 306 MHz): the machine's own is used",
    ],
};

const GPU: Gpu = Gpu {
    architecture: "Ampere",
    cores: 1792,
    tensor_cores: 56,
    tpcs: 7,
    fp16_ratio: 0,
    tensor_flops_per_cycle: 512,
};

const R36: Release = Release {
    id: "r36",
    l4t: 36,
    revision: "4.3",
    kernel: Kernel::K5_15,
    model: "NVIDIA Jetson AGX Orin Developer Kit",
    compatible: &["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"],
    gpu_hz: &steps::<11>(306_000_000, 102_000_000, 1_300_500_000),
    gpu: GpuPaths {
        device: "/sys/devices/platform/bus@0/17000000.gpu",
        devfreq_name: "17000000.gpu",
        of_name: "gpu",
        alias: "/sys/devices/platform/gpu.0",
        power: PowerGate::RuntimePm,
        masks: &["tpc_pg_mask", "fbp_pg_mask"],
    },
    zones: orin::ZONES_R36,
    cooling: orin::COOLING_R36,
    assumed: &["the list of cooling devices"],
    ..R35
};

const R35: Release = Release {
    id: "r35",
    module: 0,
    l4t: 35,
    revision: "1.0",
    kernel: Kernel::K5_10,
    model: "Jetson AGX Orin Developer Kit",
    compatible: &["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234", "nvidia,tegra23x"],
    cpu_khz: &steps::<29>(115_200, 76_800, 2_201_600),
    gpu_hz: &steps::<13>(114_750_000, 102_000_000, 1_300_500_000),
    emc_hz: &[204_000_000, 665_600_000, 2_133_000_000, 3_199_000_000],
    gpu: GpuPaths {
        device: "/sys/devices/17000000.ga10b",
        devfreq_name: "17000000.ga10b",
        of_name: "ga10b",
        alias: "/sys/devices/platform/gpu.0",
        power: PowerGate::Railgate,
        masks: &["tpc_pg_mask", "fbp_pg_mask"],
    },
    emc: EmcPaths::BpmpHalt,
    sensors: SENSORS,
    zones: orin::ZONES_R35,
    cooling: orin::COOLING_R35,
    over_current: OverCurrent::EventCount,
    stock_modes: MODES,
    assumed: &[],
};

const SENSORS: &[SensorChip] = &[
    hwmon(
        "1-0040",
        &[
            channel("VDD_GPU_SOC", 2, 19_900),
            channel("VDD_CPU_CV", 2, 19_900),
            channel("VIN_SYS_5V0", 2, 5_000),
        ],
    ),
    hwmon("1-0041", &[channel("NC", 2, 0), channel("VDDQ_VDD2_1V8AO", 2, 5_000), channel("NC", 2, 0)]),
];

const FOUR: &[u32] = &[0, 1, 2, 3];
const EIGHT: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7];
const ALL: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const MIN: u64 = 729_600;

const MODES: &[StockMode] = &[
    mode(0, "MAXN", ALL).cpu(MIN, 0).masks(0, None),
    mode(1, "MODE_15W", FOUR).cpu(MIN, 1_113_600).gpu(0, 408_000_000).emc(2_133_000_000).masks(248, None),
    mode(2, "MODE_30W", EIGHT).cpu(MIN, 1_728_000).gpu(0, 612_000_000).masks(240, None).by_default(),
    mode(3, "MODE_50W", ALL).cpu(MIN, 1_497_600).gpu(0, 816_000_000).masks(0, None),
];
