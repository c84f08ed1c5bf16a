//! Jetson Xavier NX, 8 and 16 GB: T194 with three pairs of Carmel cores, Volta.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, iio, mode, odd_zone, steps, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, Soc,
    StockMode, TotalRule, Zone,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "xavier-nx",
    name: "Jetson Xavier NX",
    soc: Soc::T194,
    compatible: &["p3668"],
    modules: &[
        Module { name: "Jetson Xavier NX", parts: &["p3668-0000", "p3668-0001"], ..MODULE },
        Module { name: "Jetson Xavier NX 16GB", parts: &["p3668-0003"], memory_gb: 16, ..MODULE },
    ],
    cpu_order: &[0, 1, 2, 3, 4, 5],
    emc_floors_khz: &[(1_881_600, 800_000), (1_907_200, 1_600_000)],
    total: TotalRule::Rail(&["VDD_IN"]),
    total_note: "VDD_IN is the module's input: the carrier, an NVMe disk and the fan are not in it",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[R35, R32],
    unchecked: &[
        "the CPU's table has not been seen: 76.8 MHz steps up to 1881.6 and then 1907.2 MHz are assumed",
        "the EMC's table has not been seen: the AGX Xavier's up to 1866 MHz is assumed",
    ],
};

const MODULE: Module = Module {
    name: "",
    parts: &[],
    memory_gb: 8,
    clusters: &[&[0, 1], &[2, 3], &[4, 5]],
    gpu: Gpu {
        architecture: "Volta",
        cores: 384,
        tensor_cores: 48,
        tpcs: 3,
        fp16_ratio: 2,
        tensor_flops_per_cycle: 128,
    },
    gpu_max_hz: 1_109_250_000,
    memory_bits: 128,
    emc_max_hz: 1_866_000_000,
};

const R32: Release = Release {
    id: "r32",
    module: 0,
    l4t: 32,
    revision: "7.1",
    kernel: Kernel::K4_9,
    model: "NVIDIA Jetson Xavier NX Developer Kit",
    compatible: &["nvidia,p3449-0000+p3668-0000", "nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"],
    cpu_khz: &steps::<25>(115_200, 76_800, 1_907_200),
    gpu_hz: &[
        114_750_000,
        204_000_000,
        306_000_000,
        408_000_000,
        510_000_000,
        599_250_000,
        701_250_000,
        752_250_000,
        803_250_000,
        854_250_000,
        905_250_000,
        956_250_000,
        1_007_250_000,
        1_058_250_000,
        1_109_250_000,
    ],
    emc_hz: &[
        204_000_000,
        408_000_000,
        665_600_000,
        800_000_000,
        1_065_600_000,
        1_331_200_000,
        1_600_000_000,
        1_866_000_000,
    ],
    gpu: GpuPaths {
        device: "/sys/devices/17000000.gv11b",
        devfreq_name: "17000000.gv11b",
        of_name: "gv11b",
        alias: "/sys/devices/gpu.0",
        power: PowerGate::Railgate,
        masks: &["tpc_pg_mask"],
    },
    emc: EmcPaths::Bpmp,
    sensors: &[iio("7-0040", 512, CHANNELS)],
    zones: ZONES,
    cooling: &[
        "cpu-balanced",
        "gpu-balanced",
        "aux-balanced",
        "skin-balanced",
        "emergency-balanced",
        "cpu-throttle-alert",
        "gpu-throttle-alert",
        "aux-throttle-alert",
        "bwmgr-therm-handler",
        "pwm-fan",
    ],
    over_current: OverCurrent::IrqCount,
    stock_modes: MODES,
    assumed: &["the CPU's and the EMC's table"],
};

const R35: Release = Release {
    id: "r35",
    l4t: 35,
    revision: "4.1",
    kernel: Kernel::K5_10,
    gpu: GpuPaths {
        device: "/sys/devices/platform/17000000.gv11b",
        devfreq_name: "17000000.gv11b",
        of_name: "gv11b",
        alias: "/sys/devices/gpu.0",
        power: PowerGate::Railgate,
        masks: &["tpc_pg_mask"],
    },
    sensors: &[hwmon("7-0040", CHANNELS)],
    cooling: &[
        "thermal-cpufreq-0",
        "thermal-cpufreq-1",
        "thermal-cpufreq-2",
        "thermal-devfreq-0",
        "cpu-throttle-alert",
        "gpu-throttle-alert",
        "aux-throttle-alert",
        "hot-surface-alert",
        "pwm-fan",
    ],
    assumed: &["the CPU's and the EMC's table", "the GPU's table as in R32"],
    ..R32
};

const CHANNELS: &[super::Channel] =
    &[channel("VDD_IN", 5, 5_000), channel("VDD_CPU_GPU_CV", 5, 5_000), channel("VDD_SOC", 5, 5_000)];

const ZONES: &[Zone] = &[
    zone("CPU-therm", 90_500, 0, 96_000),
    zone("GPU-therm", 91_500, 0, 97_000),
    zone("AUX-therm", 90_000, 0, 95_500),
    zone("AO-therm", 0, 0, 0),
    odd_zone("PMIC-Die", Odd::Constant(50_000)),
    zone("thermal-fan-est", 0, 0, 0),
];

const TWO: &[u32] = &[0, 1];
const FOUR: &[u32] = &[0, 1, 2, 3];
const SIX: &[u32] = &[0, 1, 2, 3, 4, 5];
const MIN: u64 = 1_190_400;
const G15: u64 = 1_109_250_000;
const G10: u64 = 803_250_000;
const E15: u64 = 1_600_000_000;
const E20: u64 = 1_866_000_000;

const MODES: &[StockMode] = &[
    mode(0, "MODE_15W_2CORE", TWO).cpu(MIN, 1_907_200).gpu(0, G15).emc(E15).masks(1, None),
    mode(1, "MODE_15W_4CORE", FOUR).cpu(MIN, 1_420_800).gpu(0, G15).emc(E15).masks(1, None),
    mode(2, "MODE_15W_6CORE", SIX).cpu(MIN, 1_420_800).gpu(0, G15).emc(E15).masks(1, None),
    mode(3, "MODE_10W_2CORE", TWO).cpu(MIN, 1_497_600).gpu(0, G10).emc(E15).masks(1, None),
    mode(4, "MODE_10W_4CORE", FOUR).cpu(MIN, 1_190_400).gpu(0, G10).emc(E15).masks(1, None),
    mode(5, "MODE_10W_DESKTOP", FOUR)
        .cpu(MIN, 1_907_200)
        .gpu(0, 510_000_000)
        .emc(E15)
        .masks(1, None)
        .by_default(),
    mode(6, "MODE_20W_2CORE", TWO).cpu(MIN, 1_907_200).gpu(0, G15).emc(E20).masks(1, None),
    mode(7, "MODE_20W_4CORE", FOUR).cpu(MIN, 1_420_800).gpu(0, G15).emc(E20).masks(1, None),
    mode(8, "MODE_20W_6CORE", SIX).cpu(MIN, 1_420_800).gpu(0, G15).emc(E20).masks(1, None),
];
