//! Jetson TX2, TX2i, TX2 4GB and TX2 NX: T186 with two Denver and four A57 cores, Pascal.

use super::build::{HARMLESS, THROTTLING, channel, iio, mode, odd_zone, steps, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, SensorChip,
    Soc, StockMode, TotalRule, Zone,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "tx2",
    name: "Jetson TX2",
    soc: Soc::T186,
    compatible: &["p3310", "p3489", "p3636", "nvidia,quill", "nvidia,storm", "nvidia,lightning"],
    modules: &[
        Module { name: "Jetson TX2", parts: &["p3310-1000"], ..MODULE },
        Module { name: "Jetson TX2 NX", parts: &["p3636-0001"], memory_gb: 4, ..MODULE },
        Module { name: "Jetson TX2i", parts: &["p3489-0000"], ..MODULE },
        Module { name: "Jetson TX2 4GB", parts: &["p3489-0888"], memory_gb: 4, ..MODULE },
    ],
    // The A57 cores first: Denver cores are off in the vendor's default mode.
    cpu_order: &[0, 3, 4, 5, 1, 2],
    emc_floors_khz: &[(499_200, 204_000), (652_800, 408_000), (1_420_800, 665_600), (1_920_000, 1_866_000)],
    total: TotalRule::Rail(&["VDD_IN"]),
    total_note: "VDD_IN is the module's input; the carrier is not in it",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[
        R32,
        Release {
            id: "r32-nx",
            module: 1,
            model: "lanai-3636",
            compatible: &["nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"],
            sensors: &[iio(
                "0-0040",
                512,
                &[
                    channel("VDD_IN", 5, 5_000),
                    channel("VDD_CPU_GPU", 5, 5_000),
                    channel("VDD_SOC", 5, 5_000),
                ],
            )],
            stock_modes: MODES_NX,
            assumed: &[
                "the sensor's bus number (published: i2c@3180000, address 40)",
                "clock tables as on the TX2",
                "the list of cooling devices",
            ],
            ..R32
        },
        Release {
            id: "r28",
            l4t: 28,
            revision: "2.1",
            kernel: Kernel::K4_4,
            gpu_hz: &[
                140_250_000,
                229_500_000,
                318_750_000,
                408_000_000,
                497_250_000,
                586_500_000,
                675_750_000,
                765_000_000,
                854_250_000,
                943_500_000,
                1_032_750_000,
                1_122_000_000,
                1_211_250_000,
                1_300_500_000,
            ],
            stock_modes: &[],
            assumed: &["all but the GPU's table as in R32"],
            ..R32
        },
    ],
    unchecked: &[
        "R32 has two GPU tables (854.25 and 1122, or 828.75 and 1134.75 MHz): the machine's own is used",
        "GPU-therm reads the always-on sensor",
        "memory of the TX2 NX and of the 4 GB module is general knowledge, not from a source named here",
    ],
};

const MODULE: Module = Module {
    name: "Jetson TX2",
    parts: &[],
    memory_gb: 8,
    clusters: &[&[0, 3, 4, 5], &[1, 2]],
    gpu: Gpu {
        architecture: "Pascal",
        cores: 256,
        tensor_cores: 0,
        tpcs: 1,
        fp16_ratio: 2,
        tensor_flops_per_cycle: 0,
    },
    gpu_max_hz: 1_300_500_000,
    memory_bits: 128,
    emc_max_hz: 1_866_000_000,
};

const R32: Release = Release {
    id: "r32",
    module: 0,
    l4t: 32,
    revision: "7.1",
    kernel: Kernel::K4_9,
    model: "quill",
    compatible: &["nvidia,quill", "nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"],
    // The last step, 153600 from 1881600, is the same as the others.
    cpu_khz: &steps::<12>(345_600, 153_600, 2_035_200),
    gpu_hz: &steps::<13>(114_750_000, 102_000_000, 1_300_500_000),
    emc_hz: &[
        40_800_000,
        68_000_000,
        102_000_000,
        204_000_000,
        408_000_000,
        665_600_000,
        800_000_000,
        1_062_400_000,
        1_331_200_000,
        1_600_000_000,
        1_866_000_000,
    ],
    gpu: GpuPaths {
        device: "/sys/devices/17000000.gp10b",
        devfreq_name: "17000000.gp10b",
        of_name: "gp10b",
        alias: "/sys/devices/gpu.0",
        power: PowerGate::Railgate,
        masks: &[],
    },
    emc: EmcPaths::Bpmp,
    sensors: SENSORS,
    zones: ZONES,
    cooling: &["cpu-balanced", "gpu-balanced", "skin-balanced", "emergency-balanced", "pwm-fan"],
    over_current: OverCurrent::IrqCount,
    stock_modes: MODES,
    assumed: &["the list of cooling devices"],
};

const SENSORS: &[SensorChip] = &[
    iio(
        "0-0040",
        512,
        &[
            channel("VDD_SYS_GPU", 10, 19_000),
            channel("VDD_SYS_SOC", 10, 19_000),
            channel("VDD_4V0_WIFI", 10, 4_000),
        ],
    ),
    iio(
        "0-0041",
        512,
        &[
            channel("VDD_IN", 20, 19_000),
            channel("VDD_SYS_CPU", 10, 19_000),
            channel("VDD_SYS_DDR", 10, 19_000),
        ],
    ),
    iio(
        "0-0042",
        512,
        &[
            channel("VDD_MUX", 20, 19_000),
            channel("VDD_5V0_IO_SYS", 5, 5_000),
            channel("VDD_3V3_SYS", 10, 3_300),
        ],
    ),
    iio(
        "0-0043",
        512,
        &[
            channel("VDD_3V3_IO_SLP", 10, 3_300),
            channel("VDD_1V8_IO", 10, 1_800),
            channel("VDD_3V3_SYS_M2", 10, 3_300),
        ],
    ),
];

const ZONES: &[Zone] = &[
    zone("BCPU-therm", 95_500, 0, 100_500),
    zone("MCPU-therm", 95_500, 0, 100_500),
    zone("GPU-therm", 95_500, 0, 100_500),
    zone("PLL-therm", 0, 0, 0),
    zone("AO-therm", 0, 0, 0),
    zone("Tboard_tegra", 0, 0, 107_000),
    zone("Tdiode_tegra", 0, 0, 107_000),
    odd_zone("PMIC-Die", Odd::Constant(50_000)),
    zone("thermal-fan-est", 0, 0, 0),
];

const ALL: &[u32] = &[0, 1, 2, 3, 4, 5];
const ARM: &[u32] = &[0, 3, 4, 5];

const MODES: &[StockMode] = &[
    mode(0, "MAXN", ALL),
    mode(1, "MAXQ", ARM).cpu(0, 1_200_000).gpu(0, 850_000_000).emc(1_331_200_000),
    mode(2, "MAXP_CORE_ALL", ALL).cpu(0, 1_400_000).gpu(0, 1_120_000_000).emc(1_600_000_000),
    mode(3, "MAXP_CORE_ARM", ARM).cpu(0, 2_000_000).gpu(0, 1_120_000_000).emc(1_600_000_000).by_default(),
];

const MODES_NX: &[StockMode] = &[
    mode(0, "MAXN", ALL),
    mode(1, "MAXQ", ARM).cpu(0, 1_200_000).gpu(0, 850_000_000).emc(1_600_000_000),
    mode(2, "MAXP_CORE_ALL", ALL).cpu(0, 1_400_000).gpu(0, 1_120_000_000).emc(1_600_000_000).by_default(),
    mode(3, "MAXP_CORE_ARM", ARM).cpu(0, 2_000_000).gpu(0, 1_120_000_000).emc(1_600_000_000),
];
