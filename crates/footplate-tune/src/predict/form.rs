//! The physical forms: time of a unit of work and mean power, as functions of the knobs and of few parameters.
//!
//! Every input is a knob's value by its largest in the space, so that a term is what it costs at full clocks.
//! Amounts are logarithms relative to a scale (the median of what was measured). Where the formulas come from:
//! `docs/predictor.md`.

use std::array;

use super::dual::{Dual, PARAMS};
use crate::setting::{Knob, Knobs, Point};

/// Which quantity a form describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// Seconds for a unit of work.
    Time {
        /// The smallest by the largest power limit.
        least_limit: f64,
        /// The smallest by the largest host (cores × clock).
        least_host: f64,
        /// The most workers by the most cores; `None`: not both vary.
        workers_by_cores: Option<f64>,
    },
    /// Mean power, in watts.
    Power {
        /// The largest power limit by the scale.
        limit_by_scale: f64,
        /// How much slower the slowest host is than the fastest.
        slowest: Slowest,
    },
}

/// What is believed of a parameter before any measurement: a normal distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prior {
    pub(crate) mean: f64,
    /// 0: the parameter has no effect with these knobs and stays at its mean.
    pub(crate) sd: f64,
}

/// What a form is a function of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub(crate) point: Point,
    /// Share of the time that host and device are busy, 0 to 1; 1 where the time is not known.
    pub(crate) busy: Busy,
    /// What another workload showed beyond its own form at this point (0: nothing is known).
    pub(crate) hint: f64,
    pub(crate) part: Part,
}

/// Which part of a quantity a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The share of the time that does not wait for the data pipeline.
    Unstalled,
}

/// The largest by the smallest value of the host's knobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slowest {
    pub(crate) clock: f64,
    pub(crate) cores: f64,
}

/// Shares of a unit of work's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Busy {
    pub(crate) host: f64,
    pub(crate) device: f64,
}

mod time {
    pub(super) const FIXED: usize = 0;
    pub(super) const SERIAL: usize = 1;
    pub(super) const PARALLEL: usize = 2;
    pub(super) const GPU: usize = 3;
    pub(super) const MEMORY: usize = 4;
    pub(super) const CPU_POWER: usize = 5;
    pub(super) const CORE_POWER: usize = 6;
    pub(super) const GPU_POWER: usize = 7;
    pub(super) const MEMORY_POWER: usize = 8;
    pub(super) const DEVICE_OVERLAP: usize = 9;
    pub(super) const HOST_OVERLAP: usize = 10;
    pub(super) const FLOOR: usize = 11;
    pub(super) const DEMAND: usize = 12;
    pub(super) const CURVE: usize = 13;
    pub(super) const BATCH_POWER: usize = 14;
    pub(super) const BATCH_DEMAND: usize = 15;
    pub(super) const STOLEN: usize = 16;
    pub(super) const HINT: usize = 17;
}

mod power {
    pub(super) const IDLE: usize = 0;
    pub(super) const CPU: usize = 1;
    pub(super) const GPU: usize = 2;
    pub(super) const MEMORY: usize = 3;
    pub(super) const CPU_CURVE: usize = 4;
    pub(super) const GPU_CURVE: usize = 5;
    pub(super) const MEMORY_CURVE: usize = 6;
    pub(super) const CORE_POWER: usize = 7;
    pub(super) const CPU_SHARE: usize = 8;
    pub(super) const GPU_SHARE: usize = 9;
    pub(super) const CEILING: usize = 10;
    pub(super) const BATCH_POWER: usize = 11;
    pub(super) const STARVED: usize = 12;
    pub(super) const STARVED_CURVE: usize = 13;
    pub(super) const STARVED_CORES: usize = 14;
    pub(super) const HINT: usize = 17;
}

/// The parameter that weighs the hint, in both forms.
pub(crate) const HINT: usize = 17;

impl Form {
    /// What is believed of each parameter with the knobs that vary. `stalls`: whether steps were seen to wait for data.
    pub(crate) fn priors(self, knobs: &Knobs, stalls: bool) -> [Prior; PARAMS] {
        let mut priors = [Prior { mean: 0.0, sd: 0.0 }; PARAMS];
        let mut set = |index: usize, mean: f64, sd: f64| priors[index] = Prior { mean, sd };
        match self {
            Self::Time { .. } => time_priors(knobs, stalls, &mut set),
            Self::Power { .. } => power_priors(knobs, &mut set),
        }
        priors
    }

    /// The parameters as the formulas use them: amounts and exponents positive, shares between 0 and 1. Done once
    /// for all inputs.
    pub(crate) fn prepare(self, p: &[Dual; PARAMS]) -> [Dual; PARAMS] {
        let one = Dual::constant(1.0);
        array::from_fn(|index| match (self, index) {
            (Self::Time { .. }, time::STOLEN | time::FLOOR)
            | (Self::Power { .. }, power::CPU_SHARE | power::GPU_SHARE) => p[index].sigmoid(),
            (Self::Time { .. }, time::DEVICE_OVERLAP | time::HOST_OVERLAP)
            | (Self::Power { .. }, power::CPU_CURVE | power::GPU_CURVE) => one + p[index].exp(),
            (Self::Time { .. }, time::CURVE) => p[index].scale(-1.0).exp(),
            (Self::Time { .. }, time::BATCH_POWER | time::BATCH_DEMAND)
            | (Self::Power { .. }, power::BATCH_POWER)
            | (_, HINT) => p[index],
            _ => p[index].exp(),
        })
    }

    /// Whether a parameter is an amount of work or power, by the scale.
    pub(crate) fn is_amount(self, index: usize) -> bool {
        match self {
            Self::Time { .. } => {
                [time::FIXED, time::SERIAL, time::PARALLEL, time::GPU, time::MEMORY, time::DEMAND]
                    .contains(&index)
            }
            Self::Power { .. } => [power::IDLE, power::CPU, power::GPU, power::MEMORY].contains(&index),
        }
    }

    /// Logarithm of the quantity by its scale, with prepared parameters.
    pub(crate) fn log_value(self, p: &[Dual; PARAMS], input: &Input) -> Dual {
        match self {
            Self::Time { .. } => self.log_time(p, input).0,
            Self::Power { limit_by_scale, slowest } => log_power(p, input, limit_by_scale, slowest),
        }
    }
}

fn any(knobs: &Knobs, of: &[Knob]) -> bool {
    of.iter().any(|knob| knobs.varies(*knob))
}

fn time_priors(knobs: &Knobs, stalls: bool, set: &mut impl FnMut(usize, f64, f64)) {
    let cores = any(knobs, &[Knob::Cores, Knob::Workers]);
    let host = cores || any(knobs, &[Knob::CpuClock, Knob::BatchSize]);
    let limit = knobs.varies(Knob::PowerLimit);
    let gpu = limit || knobs.varies(Knob::GpuClock);
    let memory = knobs.varies(Knob::EmcClock);
    let batch = knobs.varies(Knob::BatchSize);
    let off = -30.0;
    set(time::FIXED, -2.3, 1.5);
    // Without cores to choose the pipeline's rate is a constant of the host's clock: it is told from the rest by its stalls.
    let pipeline = cores || stalls;
    set(time::SERIAL, if host { -2.5 } else { off }, if host { 1.5 } else { 0.0 });
    set(time::PARALLEL, if pipeline { -2.3 } else { off }, if pipeline { 1.5 } else { 0.0 });
    set(time::GPU, if gpu { -1.0 } else { off }, if gpu { 1.0 } else { 0.0 });
    set(time::MEMORY, if memory { -1.8 } else { off }, if memory { 1.2 } else { 0.0 });
    let when = |on: bool, sd: f64| if on { sd } else { 0.0 };
    set(time::CPU_POWER, 0.0, when(knobs.varies(Knob::CpuClock), 0.15));
    set(time::CORE_POWER, 0.0, when(cores, 0.3));
    set(time::GPU_POWER, 0.0, when(gpu, 0.12));
    set(time::MEMORY_POWER, 0.0, when(memory, 0.2));
    set(time::DEVICE_OVERLAP, 0.0, when(gpu && memory, 1.0));
    // A pipeline that works ahead is hidden wholly or not at all.
    let sharp = if stalls { 1.5 } else { 0.0 };
    set(time::HOST_OVERLAP, sharp, when((host || stalls) && (gpu || memory), 1.0));
    set(time::FLOOR, 0.0, when(limit, 1.2));
    set(time::DEMAND, -0.7, when(limit, 0.5));
    set(time::CURVE, 0.7, when(limit, 0.4));
    set(time::STOLEN, -2.0, when(cores || knobs.varies(Knob::CpuClock), 1.5));
    set(time::BATCH_POWER, 0.0, when(batch, 0.05));
    set(time::BATCH_DEMAND, 0.0, when(batch && limit, 0.1));
}

fn power_priors(knobs: &Knobs, set: &mut impl FnMut(usize, f64, f64)) {
    let cores = knobs.varies(Knob::Cores);
    let cpu = cores || knobs.varies(Knob::CpuClock);
    let limit = knobs.varies(Knob::PowerLimit);
    let batch = knobs.varies(Knob::BatchSize);
    let gpu = limit || batch || knobs.varies(Knob::GpuClock);
    let memory = knobs.varies(Knob::EmcClock);
    let off = -30.0;
    let amount = |on: bool, mean: f64| if on { (mean, 1.0) } else { (off, 0.0) };
    let when = |on: bool, sd: f64| if on { sd } else { 0.0 };
    set(power::IDLE, -1.0, 0.8);
    let (mean, sd) = amount(cpu, -1.5);
    set(power::CPU, mean, sd);
    let (mean, sd) = amount(gpu, -0.7);
    set(power::GPU, mean, sd);
    let (mean, sd) = amount(memory, -2.0);
    set(power::MEMORY, mean, sd);
    set(power::CPU_CURVE, 0.5, when(knobs.varies(Knob::CpuClock), 0.3));
    set(power::GPU_CURVE, 0.5, when(knobs.varies(Knob::GpuClock), 0.3));
    set(power::MEMORY_CURVE, 0.0, when(memory, 0.3));
    set(power::CORE_POWER, -0.7, when(cores, 0.7));
    set(power::CPU_SHARE, 0.0, when(cpu, 1.0));
    set(power::GPU_SHARE, 1.0, when(gpu, 1.0));
    set(power::CEILING, 0.0, when(limit, 0.08));
    set(power::BATCH_POWER, 0.0, when(batch, 0.1));
    set(power::STARVED, if cpu { -2.5 } else { off }, when(cpu, 1.5));
    set(power::STARVED_CURVE, 0.9, when(knobs.varies(Knob::CpuClock), 0.3));
    set(power::STARVED_CORES, 0.2, when(cores, 0.4));
}

impl Form {
    /// The time and the shares of it that host and device are busy.
    pub(crate) fn log_time(self, p: &[Dual; PARAMS], input: &Input) -> (Dual, Busy) {
        let (least_limit, least_host, workers_by_cores) = match self {
            Self::Time { least_limit, least_host, workers_by_cores } => {
                (least_limit, least_host, workers_by_cores)
            }
            Self::Power { .. } => (1.0, 1.0, None),
        };
        let x = &input.point;
        let cores = x[Knob::Cores as usize];
        // More workers than cores do no more work.
        let loaders = match workers_by_cores {
            Some(most) => cores.min(most * x[Knob::Workers as usize]) / most.min(1.0),
            None => cores * x[Knob::Workers as usize],
        };
        let [cpu, gpu, emc, limit, batch] =
            [Knob::CpuClock, Knob::GpuClock, Knob::EmcClock, Knob::PowerLimit, Knob::BatchSize]
                .map(|knob| x[knob as usize]);
        let one = Dual::constant(1.0);
        let slowdown = |value: f64, power: Dual| power.exponent_of(1.0 / value);
        let cpu_slow = slowdown(cpu, p[time::CPU_POWER]).scale(1.0 / batch);
        // What the system itself takes of the host's cycles.
        let stolen = p[time::STOLEN].scale(-0.95 * least_host / (cores * cpu));
        let cpu_slow = cpu_slow * (one + stolen).recip();
        let serial = p[time::SERIAL] * cpu_slow;
        let parallel = p[time::PARALLEL] * cpu_slow * slowdown(loaders, p[time::CORE_POWER]);
        let mut gpu_slow = slowdown(gpu, p[time::GPU_POWER]);
        if limit < 1.0 || p[time::DEMAND].d[time::DEMAND] != 0.0 {
            gpu_slow = gpu_slow * limit_slowdown(p, limit, least_limit, batch);
        }
        let work = p[time::BATCH_POWER].exponent_of(batch);
        let compute = p[time::GPU] * gpu_slow * work;
        let memory = p[time::MEMORY] * slowdown(emc, p[time::MEMORY_POWER]);
        let device = compute.overlap(memory, p[time::DEVICE_OVERLAP]);
        let beside = parallel.overlap(device, p[time::HOST_OVERLAP]);
        let own = p[time::FIXED] + serial;
        let total = own + beside;
        let busy = Busy {
            host: ((serial.v + parallel.v) / total.v).min(1.0),
            device: (device.v / total.v).min(1.0),
        };
        let log = match input.part {
            Part::Whole => total.ln() + p[time::HINT].scale(input.hint),
            Part::Unstalled => (own + device).ln() + total.ln().scale(-1.0),
        };
        (log, busy)
    }
}

/// How much a power limit slows the GPU: above its demand not at all; below it the clock falls as a root of the
/// power that is left above a floor.
fn limit_slowdown(p: &[Dual; PARAMS], limit: f64, least_limit: f64, batch: f64) -> Dual {
    let floor = p[time::FLOOR].scale(least_limit * 0.98);
    let left = Dual::constant(limit) + floor.scale(-1.0);
    let demand = p[time::DEMAND] * p[time::BATCH_DEMAND].exponent_of(batch);
    let lack = demand * left.recip();
    // max(1, lack^(1/curve)), with a round corner
    let sharp = 8.0;
    let raised = (lack.ln() * p[time::CURVE].scale(sharp)).exp();
    (Dual::constant(1.0) + raised).powf(1.0 / sharp)
}

fn log_power(p: &[Dual; PARAMS], input: &Input, limit_by_scale: f64, slowest: Slowest) -> Dual {
    let x = &input.point;
    let [cores, cpu, gpu, emc, limit, batch] =
        [Knob::Cores, Knob::CpuClock, Knob::GpuClock, Knob::EmcClock, Knob::PowerLimit, Knob::BatchSize]
            .map(|knob| x[knob as usize]);
    let active = |share: Dual, busy: f64| Dual::constant(1.0) + share.scale(busy - 1.0);
    let curve = |value: f64, power: Dual| power.exponent_of(value);
    let host = p[power::CPU]
        * curve(cpu, p[power::CPU_CURVE])
        * p[power::CORE_POWER].exponent_of(cores)
        * active(p[power::CPU_SHARE], input.busy.host);
    let gpu = p[power::GPU]
        * curve(gpu, p[power::GPU_CURVE])
        * active(p[power::GPU_SHARE], input.busy.device)
        * p[power::BATCH_POWER].exponent_of(batch);
    let memory = p[power::MEMORY] * p[power::MEMORY_CURVE].exponent_of(emc);
    let mut total = p[power::IDLE] + host + gpu + memory;
    if limit < 1.0 || p[power::CEILING].d[power::CEILING] != 0.0 {
        let ceiling = p[power::CEILING].scale(limit * limit_by_scale);
        let sharp = 6.0;
        total = (total.powf(-sharp) + ceiling.powf(-sharp)).powf(-1.0 / sharp);
    }
    if slowest.clock > 1.0 || slowest.cores > 1.0 {
        let by_clock = p[power::STARVED_CURVE].exponent_of(1.0 / (cpu * slowest.clock));
        let by_cores = p[power::STARVED_CORES].exponent_of(1.0 / (cores * slowest.cores));
        let starved = p[power::STARVED] * by_clock * by_cores;
        total = total * (Dual::constant(1.0) + starved).recip();
    }
    total.ln() + p[power::HINT].scale(input.hint)
}
