//! Jetson Nano, 4 GB and 2 GB: T210 with half of the TX1's GPU.

use super::build::{HARMLESS, THROTTLING, channel, iio, mode, odd_zone, steps, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, SensorChip,
    Soc, StockMode, TotalRule, Zone,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "nano",
    name: "Jetson Nano",
    soc: Soc::T210,
    compatible: &["p3448", "jetson-nano"],
    modules: &[
        Module {
            name: "Jetson Nano 4GB",
            parts: &["p3448-0000", "p3448-0002"],
            memory_gb: 4,
            clusters: &[&[0, 1, 2, 3]],
            gpu: GPU,
            gpu_max_hz: 921_600_000,
            memory_bits: 64,
            emc_max_hz: 1_600_000_000,
        },
        Module {
            name: "Jetson Nano 2GB",
            parts: &["p3448-0003"],
            memory_gb: 2,
            clusters: &[&[0, 1, 2, 3]],
            gpu: GPU,
            gpu_max_hz: 921_600_000,
            memory_bits: 64,
            emc_max_hz: 1_600_000_000,
        },
    ],
    cpu_order: &[0, 1, 2, 3],
    emc_floors_khz: &[(710_400, 665_600), (1_036_800, 1_600_000)],
    total: TotalRule::Rail(&["POM_5V_IN"]),
    total_note: "POM_5V_IN is the module's input: the carrier, its USB ports and the fan are not in it",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[
        R32,
        Release {
            id: "r32-a01",
            revision: "3.1",
            sensors: &[iio(
                "6-0040",
                64,
                &[
                    channel("POM_5V_GPU", 5, 5_000),
                    channel("POM_5V_IN", 5, 5_000),
                    channel("POM_5V_CPU", 5, 5_000),
                ],
            )],
            zones: &[
                zone("AO-therm", 0, 0, 110_000),
                zone("CPU-therm", 97_000, 100_500, 102_000),
                zone("GPU-therm", 97_500, 101_000, 102_500),
                zone("PLL-therm", 0, 0, 0),
                odd_zone("PMIC-Die", Odd::Constant(100_000)),
                zone("thermal-fan-est", 0, 0, 0),
            ],
            compatible: &["nvidia,p3449-0000-a01+p3448-0000-a01", "nvidia,jetson-nano", "nvidia,tegra210"],
            ..R32
        },
        Release {
            id: "r32-2gb",
            module: 1,
            model: "NVIDIA Jetson Nano 2GB Developer Kit",
            compatible: &[
                "nvidia,p3542-0000+p3448-0003",
                "nvidia,jetson-nano-2gb",
                "nvidia,jetson-nano",
                "nvidia,tegra210",
            ],
            stock_modes: &[],
            ..R32
        },
    ],
    unchecked: &[
        "the stock configuration of the 2 GB board was not found",
        "units with early R32.1 report 1428 MHz as the highest CPU clock",
    ],
};

const GPU: Gpu = Gpu {
    architecture: "Maxwell",
    cores: 128,
    tensor_cores: 0,
    tpcs: 1,
    fp16_ratio: 2,
    tensor_flops_per_cycle: 0,
};

const R32: Release = Release {
    id: "r32",
    module: 0,
    l4t: 32,
    revision: "7.1",
    kernel: Kernel::K4_9,
    model: "NVIDIA Jetson Nano Developer Kit",
    compatible: &["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
    cpu_khz: &[
        102_000, 204_000, 307_200, 403_200, 518_400, 614_400, 710_400, 825_600, 921_600, 1_036_800,
        1_132_800, 1_224_000, 1_326_000, 1_428_000, 1_479_000,
    ],
    gpu_hz: &steps::<12>(76_800_000, 76_800_000, 921_600_000),
    emc_hz: &[204_000_000, 1_600_000_000],
    gpu: GpuPaths {
        device: "/sys/devices/57000000.gpu",
        devfreq_name: "57000000.gpu",
        of_name: "gpu",
        alias: "/sys/devices/gpu.0",
        power: PowerGate::Railgate,
        masks: &[],
    },
    emc: EmcPaths::ClkOverride,
    sensors: SENSORS,
    zones: ZONES,
    cooling: &[
        "cpu-balanced",
        "gpu-balanced",
        "tegra_heavy",
        "DFLL-cap",
        "DFLL-floor",
        "tegra-dram",
        "pwm-fan",
    ],
    over_current: OverCurrent::None,
    stock_modes: MODES,
    assumed: &["the list of cooling devices"],
};

const SENSORS: &[SensorChip] = &[iio(
    "6-0040",
    64,
    &[channel("POM_5V_IN", 5, 5_000), channel("POM_5V_GPU", 5, 5_000), channel("POM_5V_CPU", 5, 5_000)],
)];

const ZONES: &[Zone] = &[
    zone("AO-therm", 0, 0, 110_000),
    zone("CPU-therm", 97_000, 100_500, 102_000),
    zone("GPU-therm", 97_500, 101_000, 102_500),
    zone("PLL-therm", 0, 0, 0),
    odd_zone("PMIC-Die", Odd::Constant(50_000)),
    zone("thermal-fan-est", 0, 0, 0),
];

const MODES: &[StockMode] = &[
    mode(0, "MAXN", &[0, 1, 2, 3]).by_default(),
    mode(1, "5W", &[0, 1]).cpu(0, 918_000).gpu(0, 640_000_000).emc(1_600_000_000),
];
