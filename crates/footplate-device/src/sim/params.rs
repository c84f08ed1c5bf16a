//! What a simulated board's physics need to know, board by board.
//!
//! Where a figure was published it is cited: `[ts]` is a line of tegrastats from that board that its owner put
//! on the web, `[vgg]` a public measurement of a TX2 (VGG19 at each GPU and EMC clock), `[nv]` the vendor's power
//! budgets of the stock modes. The rest is chosen so that these come out, and is listed in
//! `docs/boards/simulated.md` as assumed. No figure of a simulated board is a measurement.

/// Watts of the parts that a board's power is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PowerParts {
    /// CPU clusters, all of them.
    pub cpu: f64,
    /// The GPU with its caches.
    pub gpu: f64,
    /// The rest of the chip: memory controller, fabric, always-on parts.
    pub soc: f64,
    /// Memory chips, beside the controller.
    pub memory: f64,
    /// Regulators, carrier parts on the rail, what never changes.
    pub base: f64,
}

impl PowerParts {
    pub(super) fn total(&self) -> f64 {
        self.cpu + self.gpu + self.soc + self.memory + self.base
    }

    /// What a rail with these shares carries.
    pub(super) fn rail(&self, share: &PowerParts) -> f64 {
        self.cpu * share.cpu
            + self.gpu * share.gpu
            + self.soc * share.soc
            + self.memory * share.memory
            + self.base * share.base
    }
}

/// What the formulas of time, power and heat need to know of a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Physics {
    /// Work in one CPU cycle, by that of a Cortex-A78AE.
    pub cpu_per_cycle: f64,
    /// Share of the GPU's peak operations that training reaches.
    pub gpu_share: f64,
    /// Share of the memory's peak bandwidth that it reaches.
    pub memory_share: f64,
    /// Dynamic power at the highest clocks with everything busy.
    pub busy: PowerParts,
    /// Leakage at 50 °C and the highest voltage.
    pub leak: PowerParts,
    /// What is drawn at the lowest clocks without work, besides leakage.
    pub idle: PowerParts,
    /// Voltage at the lowest clock by that at the highest.
    pub voltage_low: f64,
    /// Kelvin for each watt, from the chip to the air.
    pub heat_k_per_w: f64,
    /// Joules for each kelvin.
    pub heat_j_per_k: f64,
    /// The board counts over-current events above this.
    pub over_current_w: f64,
}

const fn parts(cpu: f64, gpu: f64, soc: f64, memory: f64, base: f64) -> PowerParts {
    PowerParts { cpu, gpu, soc, memory, base }
}

/// What most boards have in common.
const COMMON: Physics = Physics {
    cpu_per_cycle: 1.0,
    gpu_share: 0.45,
    memory_share: 0.75,
    busy: parts(0.0, 0.0, 0.0, 0.0, 0.0),
    leak: parts(0.0, 0.0, 0.0, 0.0, 0.0),
    idle: parts(0.0, 0.0, 0.0, 0.0, 0.0),
    voltage_low: 0.62,
    heat_k_per_w: 1.0,
    heat_j_per_k: 60.0,
    over_current_w: f64::INFINITY,
};

const BOARDS: [(&str, Physics); 9] = [
    // [ts] idle: VDD_IN 2.5 W, VDD_CPU 0.08, VDD_GPU 0.02. Public image-classification runs: 1.0 to 16.4 W.
    (
        "tx1",
        Physics {
            cpu_per_cycle: 0.45,
            busy: parts(4.6, 6.0, 0.9, 1.6, 0.0),
            leak: parts(0.25, 0.30, 0.10, 0.0, 0.0),
            idle: parts(0.03, 0.01, 0.45, 0.30, 1.5),
            heat_k_per_w: 2.6,
            over_current_w: 18.0,
            ..COMMON
        },
    ),
    // [ts] idle: VDD_IN 1.98, CPU 0.23, GPU 0.15, SOC 0.53, DDR 0.29; busy: 14.0, 2.2, 6.9, 1.4. [vgg] 4.0 W
    // (114 MHz, EMC 1062) to 16.2 W (1300, 1866).
    (
        "tx2",
        Physics {
            cpu_per_cycle: 0.55,
            busy: parts(4.8, 8.0, 1.6, 2.9, 0.0),
            leak: parts(0.35, 0.45, 0.15, 0.0, 0.0),
            idle: parts(0.06, 0.02, 0.35, 0.25, 0.78),
            heat_k_per_w: 2.4,
            over_current_w: 20.0,
            ..COMMON
        },
    ),
    // [ts] idle: POM_5V_IN 0.93 W, CPU 0.1, GPU 0. [nv] 5 W and 10 W.
    (
        "nano",
        Physics {
            cpu_per_cycle: 0.45,
            busy: parts(3.2, 3.6, 0.7, 1.2, 0.0),
            leak: parts(0.15, 0.15, 0.05, 0.0, 0.0),
            idle: parts(0.03, 0.0, 0.22, 0.15, 0.38),
            heat_k_per_w: 4.2,
            over_current_w: 14.0,
            ..COMMON
        },
    ),
    // [ts] lightly loaded: VDD_IN 3.9 W, VDD_CPU_GPU_CV 1.3, VDD_SOC 1.0. [nv] 10 to 20 W.
    (
        "xavier-nx",
        Physics {
            cpu_per_cycle: 0.75,
            busy: parts(5.4, 8.6, 1.7, 2.2, 0.0),
            leak: parts(0.45, 0.65, 0.20, 0.0, 0.0),
            idle: parts(0.40, 0.10, 0.80, 0.50, 1.3),
            heat_k_per_w: 2.3,
            heat_j_per_k: 90.0,
            over_current_w: 25.0,
            ..COMMON
        },
    ),
    // [ts] GPU 1.16 W, CPU 0.39, SOC 2.5, VDDRQ 0.19, SYS5V 2.7. [nv] 10 to 30 W, and MAXN above.
    (
        "agx-xavier",
        Physics {
            cpu_per_cycle: 0.75,
            busy: parts(12.5, 18.0, 3.2, 3.8, 0.0),
            leak: parts(0.7, 1.2, 0.4, 0.0, 0.0),
            idle: parts(0.10, 0.25, 2.0, 0.18, 2.6),
            heat_k_per_w: 1.1,
            heat_j_per_k: 320.0,
            over_current_w: 60.0,
            ..COMMON
        },
    ),
    // [ts] idle: VDD_IN 4.76 W, VDD_CPU_GPU_CV 0.52, VDD_SOC 1.43. [nv] 7 to 25 W.
    (
        "orin-nano",
        Physics {
            busy: parts(4.8, 10.5, 1.9, 2.8, 0.0),
            leak: parts(0.35, 0.60, 0.20, 0.0, 0.0),
            idle: parts(0.12, 0.05, 1.2, 0.55, 1.9),
            heat_k_per_w: 1.9,
            heat_j_per_k: 110.0,
            over_current_w: 30.0,
            ..COMMON
        },
    ),
    // [nv] 10 to 40 W; a carrier's maker measured 17 W in the mode named 25W.
    (
        "orin-nx",
        Physics {
            busy: parts(8.0, 15.0, 2.6, 3.6, 0.0),
            leak: parts(0.50, 0.90, 0.25, 0.0, 0.0),
            idle: parts(0.15, 0.06, 1.3, 0.60, 2.1),
            heat_k_per_w: 1.5,
            heat_j_per_k: 110.0,
            over_current_w: 45.0,
            ..COMMON
        },
    ),
    // [ts] idle: VDD_GPU_SOC 2.4 W, VDD_CPU_CV 0.8, VIN_SYS_5V0 3.5, of it VDDQ 0.3; CPUs busy: VDD_CPU_CV 14.3.
    // [nv] 15 to 60 W.
    (
        "agx-orin",
        Physics {
            busy: parts(13.2, 27.0, 4.0, 6.0, 0.0),
            leak: parts(0.90, 1.8, 0.40, 0.0, 0.0),
            idle: parts(0.40, 0.20, 1.7, 0.35, 3.0),
            heat_k_per_w: 0.75,
            heat_j_per_k: 400.0,
            over_current_w: 75.0,
            ..COMMON
        },
    ),
    // [ts] idle: VIN 19.8 W, VDD_GPU 2.0, VDD_CPU_SOC_MSS 5.9, VIN_SYS_5V0 5.6; busy: VIN 124.5.
    (
        "thor",
        Physics {
            cpu_per_cycle: 1.7,
            busy: parts(24.0, 62.0, 6.0, 12.0, 0.0),
            leak: parts(1.6, 3.2, 0.6, 0.0, 0.0),
            idle: parts(1.2, 0.9, 3.6, 1.4, 10.6),
            heat_k_per_w: 0.42,
            heat_j_per_k: 700.0,
            over_current_w: 150.0,
            ..COMMON
        },
    ),
];

/// The physics of a board by its name.
pub(super) fn physics(board: &str) -> Option<Physics> {
    BOARDS.iter().find(|(name, _)| *name == board).map(|(_, physics)| *physics)
}

/// What a rail carries, by its label. Rails that carry nothing of a simulated board (cameras, wireless) are 0.
pub(super) fn rail_share(label: &str) -> PowerParts {
    match label {
        "VDD_IN" | "POM_5V_IN" | "VDD_MUX" | "VIN" => parts(1.0, 1.0, 1.0, 1.0, 1.0),
        "VDD_GPU" | "VDD_SYS_GPU" | "POM_5V_GPU" | "GPU" => parts(0.0, 1.0, 0.0, 0.0, 0.0),
        "VDD_CPU" | "VDD_SYS_CPU" | "POM_5V_CPU" | "CPU" | "VDD_CPU_CV" => parts(1.0, 0.0, 0.0, 0.0, 0.0),
        "VDD_SYS_SOC" | "VDD_SOC" | "SOC" => parts(0.0, 0.0, 1.0, 0.0, 0.0),
        "VDD_SYS_DDR" | "VDDRQ" | "VDDQ_VDD2_1V8AO" => parts(0.0, 0.0, 0.0, 1.0, 0.0),
        "VDD_CPU_GPU_CV" | "VDD_CPU_GPU" => parts(1.0, 1.0, 0.0, 0.0, 0.0),
        "VDD_GPU_SOC" => parts(0.0, 1.0, 1.0, 0.0, 0.0),
        "VDD_CPU_SOC_MSS" => parts(1.0, 0.0, 1.0, 0.0, 0.0),
        "SYS5V" => parts(0.0, 0.0, 0.0, 0.0, 1.0),
        // The AGX Orin's feeds the memory too; Thor's has about half of what is left.
        "VIN_SYS_5V0" => parts(0.0, 0.0, 0.0, 1.0, 1.0),
        _ => PowerParts::default(),
    }
}
