//! Jetson AGX Thor: T264 with fourteen Neoverse-V3AE, Blackwell.

use super::build::{HARMLESS, THROTTLING, channel, hwmon, zone};
use super::{
    BoardFacts, EmcPaths, Gpu, GpuPaths, Kernel, Module, OverCurrent, PowerGate, Release, SensorChip,
    SensorKind, Soc, TotalRule,
};

pub(super) const FACTS: BoardFacts = BoardFacts {
    id: "thor",
    name: "Jetson AGX Thor",
    soc: Soc::T264,
    compatible: &["p3834"],
    modules: &[Module {
        name: "Jetson T5000",
        parts: &["p3834-0008"],
        memory_gb: 128,
        clusters: &[&[0, 1], &[2, 3], &[4, 5], &[6, 7], &[8, 9], &[10, 11], &[12, 13]],
        gpu: Gpu {
            architecture: "Blackwell",
            cores: 2560,
            tensor_cores: 96,
            tpcs: 0,
            fp16_ratio: 0,
            tensor_flops_per_cycle: 0,
        },
        gpu_max_hz: 1_575_000_000,
        memory_bits: 256,
        emc_max_hz: 4_266_000_000,
    }],
    cpu_order: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    emc_floors_khz: &[],
    total: TotalRule::Rail(&["VIN"]),
    total_note: "VIN is the module's input",
    throttling_cooling: THROTTLING,
    harmless_cooling: HARMLESS,
    releases: &[R38],
    unchecked: &[
        "no clock table is published: the values here are those seen in reports, the machine's own are used",
        "how the CPUs are grouped into frequency domains",
        "trips of the thermal zones, shunts and voltages of the rails, over-current counters",
        "the text of the stock configuration; its modes are known from a third party's report only",
        "whether the GPU's limits take effect through devfreq: published locking goes through the BPMP",
        "peak rates in half precision",
    ],
};

const R38: Release = Release {
    id: "r38",
    module: 0,
    l4t: 38,
    revision: "2.0",
    kernel: Kernel::K6_8,
    model: "NVIDIA Jetson AGX Thor Developer Kit",
    compatible: &["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"],
    cpu_khz: &[972_000, 1_998_000, 2_601_000],
    gpu_hz: &[315_000_000, 1_386_000_000, 1_530_000_000, 1_575_000_000],
    emc_hz: &[2_750_000_000, 4_266_000_000],
    gpu: GpuPaths {
        device: "/sys/devices/platform/gpu-gpc-0",
        devfreq_name: "gpu-gpc-0",
        of_name: "",
        alias: "",
        power: PowerGate::RuntimePm,
        masks: &[],
    },
    emc: EmcPaths::BpmpHalt,
    sensors: SENSORS,
    zones: &[
        zone("cpu-thermal", 0, 0, 0),
        zone("tj-thermal", 0, 0, 0),
        zone("soc012-thermal", 0, 0, 0),
        zone("gpu-thermal", 0, 0, 0),
        zone("soc345-thermal", 0, 0, 0),
    ],
    cooling: &["pwm-fan"],
    over_current: OverCurrent::None,
    stock_modes: &[],
    assumed: &[
        "clock tables: only the values seen",
        "CPUs in pairs",
        "the GPU device's folder",
        "the EMC's paths as on Orin R36",
        "the zones' suffix",
        "the sensor's channel order",
    ],
};

const SENSORS: &[SensorChip] = &[
    hwmon(
        "2-0040",
        &[channel("VDD_GPU", 0, 0), channel("VDD_CPU_SOC_MSS", 0, 0), channel("VIN_SYS_5V0", 0, 5_000)],
    ),
    SensorChip {
        kind: SensorKind::Ina238,
        bus_address: "2-0044",
        channels: &[channel("VIN", 0, 0)],
        samples: 1,
        conversion_us: 1100,
    },
];
