//! Jetson Orin Nano, 8 and 4 GB: T234 with six A78AE, Ampere.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, mode, steps};
use super::orin;
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, OverCurrent, PowerGate, Release, Soc, TotalRule,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "orin-nano",
    name: "Jetson Orin Nano",
    soc: Soc::T234,
    compatible: &["p3767-0003", "p3767-0004", "p3767-0005"],
    modules: &[
        Module {
            name: "Jetson Orin Nano 8GB",
            parts: &["p3767-0005", "p3767-0003"],
            memory_gb: 8,
            clusters: &[&[0, 1, 2, 3], &[4, 5]],
            gpu: Gpu {
                architecture: "Ampere",
                cores: 1024,
                tensor_cores: 32,
                tpcs: 4,
                fp16_ratio: 0,
                tensor_flops_per_cycle: 512,
            },
            gpu_max_hz: 1_020_000_000,
            memory_bits: 128,
            emc_max_hz: 3_199_000_000,
        },
        Module {
            name: "Jetson Orin Nano 4GB",
            parts: &["p3767-0004"],
            memory_gb: 4,
            clusters: &[&[0, 1, 2, 3], &[4, 5]],
            gpu: Gpu {
                architecture: "Ampere",
                cores: 512,
                tensor_cores: 16,
                tpcs: 2,
                fp16_ratio: 0,
                tensor_flops_per_cycle: 512,
            },
            gpu_max_hz: 1_020_000_000,
            memory_bits: 64,
            emc_max_hz: 3_199_000_000,
        },
    ],
    cpu_order: &[0, 1, 2, 3, 4, 5],
    emc_floors_khz: orin::EMC_FLOORS,
    total: TotalRule::Rail(&["VDD_IN"]),
    total_note: "VDD_IN is the module's input, about three quarters of what the board takes from its jack",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[R36, R35],
    unchecked: &[
        "the CPU's table of R35 between 115.2 and 1510.4 MHz",
        "whether R36 still has the throttle-alert cooling devices",
        "one board with R36.4.4 showed 512 samples in its power sensor where the driver's default is 1",
    ],
};

const R36: Release = Release {
    id: "r36",
    module: 0,
    l4t: 36,
    revision: "4.7",
    kernel: Kernel::K5_15,
    model: "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    compatible: &["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    cpu_khz: &steps::<22>(115_200, 76_800, 1_728_000),
    gpu_hz: &steps::<8>(306_000_000, 102_000_000, 1_020_000_000),
    emc_hz: &[204_000_000, 665_600_000, 2_133_000_000, 3_199_000_000],
    gpu: GpuPaths {
        device: "/sys/devices/platform/bus@0/17000000.gpu",
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
    stock_modes: &[
        mode(0, "15W", SIX)
            .cpu(729_600, 1_497_600)
            .gpu(0, 612_000_000)
            .emc(2_133_000_000)
            .masks(240, Some(2)),
        mode(1, "25W", SIX)
            .cpu(729_600, 1_344_000)
            .gpu(0, 918_000_000)
            .emc(3_199_000_000)
            .masks(240, Some(2))
            .by_default(),
        mode(2, "MAXN_SUPER", SIX).cpu(729_600, 0).masks(240, Some(2)),
    ],
    assumed: &["the list of cooling devices"],
};

const R35: Release = Release {
    id: "r35",
    l4t: 35,
    revision: "4.1",
    kernel: Kernel::K5_10,
    model: "NVIDIA Orin Nano Developer Kit",
    compatible: &[
        "nvidia,p3768-0000+p3767-0005",
        "nvidia,p3767-0005",
        "nvidia,p3768-0000+p3767-0003",
        "nvidia,p3767-0003",
        "nvidia,tegra234",
        "nvidia,tegra23x",
    ],
    cpu_khz: &steps::<20>(115_200, 76_800, 1_510_400),
    gpu_hz: &steps::<5>(306_000_000, 102_000_000, 624_750_000),
    emc_hz: &[204_000_000, 665_600_000, 2_133_000_000],
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
    stock_modes: &[
        mode(0, "15W", SIX).cpu(729_600, 0).masks(240, Some(2)).by_default(),
        mode(1, "7W", &[0, 1, 2, 3])
            .cpu(729_600, 960_000)
            .gpu(0, 408_000_000)
            .emc(2_133_000_000)
            .masks(252, Some(2)),
    ],
    assumed: &["the CPU's table", "the EMC's table ends at 2133 MHz, its published maximum"],
    ..R36
};

const SIX: &[u32] = &[0, 1, 2, 3, 4, 5];
const CHANNELS: &[super::Channel] =
    &[channel("VDD_IN", 5, 5_000), channel("VDD_CPU_GPU_CV", 5, 5_000), channel("VDD_SOC", 5, 5_000)];
