//! Jetson AGX Xavier, 16, 32 and 64 GB: T194, four pairs of Carmel cores, Volta.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, iio, mode, odd_zone, steps, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, SensorChip,
    Soc, StockMode, TotalRule, Zone,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "agx-xavier",
    name: "Jetson AGX Xavier",
    soc: Soc::T194,
    compatible: &["p2888", "nvidia,galen"],
    modules: &[
        Module {
            name: "Jetson AGX Xavier 32GB",
            parts: &["p2888-0004", "p2888-0003"],
            memory_gb: 32,
            ..MODULE
        },
        Module { name: "Jetson AGX Xavier 16GB", parts: &["p2888-0001"], memory_gb: 16, ..MODULE },
        Module { name: "Jetson AGX Xavier 64GB", parts: &["p2888-0005"], memory_gb: 64, ..MODULE },
        Module { name: "Jetson AGX Xavier Industrial", parts: &["p2888-0008"], memory_gb: 32, ..MODULE },
    ],
    cpu_order: &[0, 1, 2, 3, 4, 5, 6, 7],
    emc_floors_khz: &[
        (1_267_200, 408_000),
        (1_574_400, 665_000),
        (1_881_600, 800_000),
        (2_112_000, 2_133_000),
    ],
    total: TotalRule::Sum(&["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]),
    total_note: "no rail measures the input: the sum of the six is 10 to 15 % below the wall",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[R35, R32],
    unchecked: &["which part number of the 32 GB module stands in which unit's compatible list"],
};

const MODULE: Module = Module {
    name: "",
    parts: &[],
    memory_gb: 32,
    clusters: &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]],
    gpu: Gpu {
        architecture: "Volta",
        cores: 512,
        tensor_cores: 64,
        tpcs: 4,
        fp16_ratio: 2,
        tensor_flops_per_cycle: 128,
    },
    gpu_max_hz: 1_377_000_000,
    memory_bits: 256,
    emc_max_hz: 2_133_000_000,
};

const R32: Release = Release {
    id: "r32",
    module: 0,
    l4t: 32,
    revision: "7.1",
    kernel: Kernel::K4_9,
    model: "Jetson-AGX",
    compatible: &["nvidia,galen", "nvidia,jetson-xavier", "nvidia,p2822-0000+p2888-0004", "nvidia,tegra194"],
    cpu_khz: &steps::<29>(115_200, 76_800, 2_265_600),
    gpu_hz: &[
        114_750_000,
        216_750_000,
        318_750_000,
        420_750_000,
        522_750_000,
        624_750_000,
        675_750_000,
        828_750_000,
        905_250_000,
        1_032_750_000,
        1_198_500_000,
        1_236_750_000,
        1_338_750_000,
        1_377_000_000,
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
        2_133_000_000,
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
    sensors: &[iio("1-0040", 512, FIRST), iio("1-0041", 512, SECOND)],
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
    stock_modes: MODES_R32,
    assumed: &[],
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
    sensors: HWMON,
    cooling: &[
        "thermal-cpufreq-0",
        "thermal-cpufreq-1",
        "thermal-cpufreq-2",
        "thermal-cpufreq-3",
        "thermal-devfreq-0",
        "cpu-throttle-alert",
        "gpu-throttle-alert",
        "aux-throttle-alert",
        "hot-surface-alert",
        "pwm-fan",
    ],
    stock_modes: MODES_R35,
    assumed: &["model and compatible as in R32", "clock tables as in R32"],
    ..R32
};

const FIRST: &[super::Channel] =
    &[channel("GPU", 5, 19_000), channel("CPU", 5, 19_000), channel("SOC", 5, 19_000)];
const SECOND: &[super::Channel] =
    &[channel("CV", 5, 19_000), channel("VDDRQ", 5, 19_000), channel("SYS5V", 5, 19_000)];
const HWMON: &[SensorChip] = &[hwmon("1-0040", FIRST), hwmon("1-0041", SECOND)];

const ZONES: &[Zone] = &[
    zone("CPU-therm", 90_000, 0, 95_500),
    zone("GPU-therm", 92_500, 0, 98_000),
    zone("AUX-therm", 89_000, 0, 94_500),
    zone("AO-therm", 0, 0, 0),
    odd_zone("PMIC-Die", Odd::Constant(50_000)),
    zone("Tboard_tegra", 0, 0, 0),
    zone("Tdiode_tegra", 0, 0, 0),
    zone("thermal-fan-est", 0, 0, 0),
];

const MODES_R32: &[StockMode] = &modes(318_750_000, 2);
const MODES_R35: &[StockMode] = &modes(0, 7);

/// R35 has the same modes as R32, with a lower minimum of the GPU clock and another default.
const fn modes(gpu_min: u64, default: usize) -> [StockMode; 8] {
    const M: u64 = 1_000_000;
    let two: &[u32] = &[0, 1];
    let four: &[u32] = &[0, 1, 2, 3];
    let six: &[u32] = &[0, 1, 2, 3, 4, 5];
    let all: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7];
    let cpu = 1_200_000;
    let mut modes = [
        mode(0, "MAXN", all).cpu(cpu, 0).gpu(gpu_min, 0).masks(0, None),
        mode(1, "MODE_10W", two).cpu(cpu, cpu).gpu(gpu_min, 520 * M).emc(1_065_600_000).masks(5, None),
        mode(2, "MODE_15W", four).cpu(cpu, cpu).gpu(gpu_min, 670 * M).emc(1_331_200_000).masks(0, None),
        mode(3, "MODE_30W_ALL", all).cpu(cpu, cpu).gpu(gpu_min, 900 * M).emc(1600 * M).masks(0, None),
        mode(4, "MODE_30W_6CORE", six).cpu(cpu, 1_450_000).gpu(gpu_min, 900 * M).emc(1600 * M).masks(0, None),
        mode(5, "MODE_30W_4CORE", four)
            .cpu(cpu, 1_780_000)
            .gpu(gpu_min, 900 * M)
            .emc(1600 * M)
            .masks(0, None),
        mode(6, "MODE_30W_2CORE", two).cpu(cpu, 2_100_000).gpu(gpu_min, 900 * M).emc(1600 * M).masks(0, None),
        mode(7, "MODE_15W_DESKTOP", four)
            .cpu(cpu, 2_188_800)
            .gpu(318_750_000, 670 * M)
            .emc(1_331_200_000)
            .masks(0, None),
    ];
    modes[default] = modes[default].by_default();
    modes
}
