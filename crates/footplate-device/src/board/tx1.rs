//! Jetson TX1: T210, four A57, Maxwell.

use super::build::{HARMLESS, THROTTLING, channel, iio, odd_zone, steps, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, Odd, OverCurrent, PowerGate, Release, SensorChip,
    Soc, TotalRule, Zone,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "tx1",
    name: "Jetson TX1",
    soc: Soc::T210,
    compatible: &["p2180", "jetson-cv"],
    modules: &[Module {
        name: "Jetson TX1",
        parts: &["p2180-1000"],
        memory_gb: 4,
        clusters: &[&[0, 1, 2, 3]],
        gpu: Gpu {
            architecture: "Maxwell",
            cores: 256,
            tensor_cores: 0,
            tpcs: 1,
            fp16_ratio: 2,
            tensor_flops_per_cycle: 0,
        },
        gpu_max_hz: 998_400_000,
        memory_bits: 64,
        emc_max_hz: 1_600_000_000,
    }],
    cpu_order: &[0, 1, 2, 3],
    emc_floors_khz: &[(102_000, 68_000), (1_428_000, 1_331_200), (1_632_000, 1_600_000)],
    total: TotalRule::Rail(&["VDD_IN"]),
    total_note: "VDD_IN is the module's input; VDD_MUX of the p2597 carrier includes the module and the carrier",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[
        Release {
            id: "r32",
            l4t: 32,
            revision: "7.1",
            kernel: Kernel::K4_9,
            assumed: &["the two carrier sensors' numbering", "the list of cooling devices"],
            ..R28
        },
        R28,
    ],
    unchecked: &[
        "no copy of the stock nvpmodel configuration was found: presets are read from the machine or there are none",
        "the EMC floors between 102 and 1428 MHz of CPU clock are not known",
        "the power sensor's node is disabled on modules below FAB 300: then there is no total",
    ],
};

const R28: Release = Release {
    id: "r28",
    module: 0,
    l4t: 28,
    revision: "2.1",
    kernel: Kernel::K4_4,
    model: "jetson_tx1",
    compatible: &["nvidia,p2597-0000+p2180-1000", "nvidia,jetson-cv", "nvidia,tegra210"],
    cpu_khz: &[
        102_000, 204_000, 306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000,
        1_122_000, 1_224_000, 1_326_000, 1_428_000, 1_555_000, 1_632_000, 1_734_000,
    ],
    gpu_hz: &steps::<13>(76_800_000, 76_800_000, 998_400_000),
    emc_hz: &[
        40_800_000,
        68_000_000,
        102_000_000,
        204_000_000,
        408_000_000,
        665_600_000,
        800_000_000,
        1_065_600_000,
        1_331_200_000,
        1_600_000_000,
    ],
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
    cooling: &["cpu-balanced", "gpu-balanced", "tegra_heavy", "DFLL-cap", "DFLL-floor", "pwm-fan"],
    over_current: OverCurrent::None,
    stock_modes: &[],
    assumed: &["trips as in R32", "the EMC cap's node as in R32", "the list of cooling devices"],
};

const SENSORS: &[SensorChip] = &[
    iio(
        "1-0040",
        64,
        &[channel("VDD_IN", 20, 19_000), channel("VDD_GPU", 10, 19_000), channel("VDD_CPU", 10, 19_000)],
    ),
    iio(
        "1-0042",
        64,
        &[
            channel("VDD_MUX", 20, 19_000),
            channel("VDD_5V_IO_SYS", 5, 5_000),
            channel("VDD_3V3_SYS", 10, 3_300),
        ],
    ),
    iio(
        "1-0043",
        64,
        &[
            channel("VDD_3V3_IO", 10, 3_300),
            channel("VDD_1V8_IO", 10, 1_800),
            channel("VDD_M2_IN", 10, 3_300),
        ],
    ),
];

const ZONES: &[Zone] = &[
    zone("AO-therm", 0, 0, 110_000),
    zone("CPU-therm", 97_000, 100_500, 102_000),
    zone("GPU-therm", 97_500, 101_000, 102_500),
    zone("PLL-therm", 0, 0, 0),
    odd_zone("PMIC-Die", Odd::Constant(100_000)),
    zone("Tdiode_tegra", 0, 0, 0),
    zone("Tboard_tegra", 0, 0, 0),
    zone("thermal-fan-est", 0, 0, 0),
];
