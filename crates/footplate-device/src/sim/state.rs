//! The state of a simulated board and how it moves through time: power, heat, throttling, what sensors saw.

use std::collections::VecDeque;
use std::io;

use footplate_core::random::SplitMix64;

use crate::board::{BoardFacts, Module, Odd, Release};

use super::kernel::{KernelState, errno, fault};
use super::layout::LiveNode;
use super::params::{self, Physics, PowerParts};
use super::physics::{self, Activity, Clocks, PeakRates, StepCost, Work};
use super::sensor::{self, RailFile};
use super::{Fault, SimOptions};

/// Temperature, throttling and noise are brought up to date at least this often.
const STEP_NS: u64 = 50_000_000;
/// How long the past is kept for the sensors: twice the longest averaging seen on a board.
const PAST_NS: u64 = 8_000_000_000;
/// The chip must be this far below the trip before clocks rise again.
const HYSTERESIS_C: f64 = 2.0;
/// Temperature where heat is not simulated.
const FIXED_C: f64 = 50.0;
/// Share of the clock that is left while the over-current limiter acts: assumed.
const HELD_BACK: f64 = 0.93;
/// Above this the CPU governor and the memory have work.
const BUSY: f64 = 0.02;

/// Power over a stretch of time.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start_ns: u64,
    end_ns: u64,
    parts: PowerParts,
}

/// Everything of a simulated board that changes while its time passes.
#[derive(Debug)]
pub(super) struct BoardState {
    release: &'static Release,
    module: &'static Module,
    physics: Physics,
    options: SimOptions,
    pub(super) kernel: KernelState,
    now_ns: u64,
    activity: Activity,
    temperature_c: f64,
    past: VecDeque<Stretch>,
    energy_j: f64,
    over_current: f64,
    cpu_busy_s: f64,
    cpu_idle_s: f64,
    noise: Noise,
    pub(super) faults: Vec<Fault>,
}

impl BoardState {
    pub(super) fn new(
        facts: &'static BoardFacts,
        release: &'static Release,
        physics: Physics,
        options: SimOptions,
    ) -> Self {
        let module = &facts.modules[release.module];
        let mut state = Self {
            release,
            module,
            physics,
            options,
            kernel: KernelState::new(facts, release, module),
            now_ns: 0,
            activity: Activity::default(),
            temperature_c: options.air_c,
            past: VecDeque::new(),
            energy_j: 0.0,
            over_current: 0.0,
            cpu_busy_s: 0.0,
            cpu_idle_s: 0.0,
            noise: Noise(SplitMix64::new(options.seed)),
            faults: Vec::new(),
        };
        let (idle_c, _) = physics::steady(&state.clocks(), &Activity::default(), options.air_c, &physics);
        state.temperature_c = if options.heat { idle_c } else { FIXED_C };
        state
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) fn temperature_c(&self) -> f64 {
        self.temperature_c
    }

    /// Energy drawn since the board was switched on, exactly.
    pub(super) fn energy_j(&self) -> f64 {
        self.energy_j
    }

    /// The clocks that the hardware has now.
    pub(super) fn clocks(&self) -> Clocks {
        let last = |table: &[u64]| table.last().copied().unwrap_or(1) as f64;
        Clocks {
            cores: self.kernel.cores(),
            cores_all: self.module.cores(),
            cpu_hz: self.kernel.cpu_hz(),
            cpu_max_hz: last(self.release.cpu_khz) * 1e3,
            gpu_hz: self.kernel.gpu_hz() as f64,
            gpu_max_hz: last(self.release.gpu_hz),
            gpu_units: self.kernel.gpu_units(),
            emc_hz: self.kernel.emc_hz() as f64,
            emc_max_hz: last(self.release.emc_hz),
            gpu_off: self.kernel.gpu_is_off(),
        }
    }

    /// What the hardware can do at its highest clocks.
    pub(super) fn peak(&self) -> PeakRates {
        let last = |table: &[u64]| table.last().copied().unwrap_or(1);
        PeakRates {
            flops: self.module.fp32_flops(last(self.release.gpu_hz)),
            bandwidth: self.module.bandwidth(last(self.release.emc_hz)),
        }
    }

    /// What a step costs in the present state, once its work has begun.
    pub(super) fn cost(&self, work: &Work) -> StepCost {
        physics::step(work, &self.clocks(), &self.peak(), &self.physics)
    }

    pub(super) fn physics(&self) -> &Physics {
        &self.physics
    }

    /// Sets the power above which the limiter acts.
    pub(super) fn limit_current(&mut self, watts: f64) {
        self.physics.over_current_w = watts;
    }

    /// Says how busy the board is from now on.
    pub(super) fn set_activity(&mut self, activity: Activity) {
        self.activity = activity;
        self.kernel.demand.cpu = activity.cpu;
        self.kernel.demand.gpu = activity.gpu > 0.0;
        self.kernel.demand.memory = activity.memory > BUSY || activity.gpu > 0.0;
    }

    /// The same for a training step: its launching thread keeps one core of the clock's domain busy.
    pub(super) fn set_step_activity(&mut self, activity: Activity) {
        self.set_activity(activity);
        self.kernel.demand.cpu = 1.0;
    }

    /// Lets time pass to `end_ns`.
    pub(super) fn advance_to(&mut self, end_ns: u64) {
        while self.now_ns < end_ns {
            let next = end_ns.min(self.now_ns + STEP_NS);
            self.stretch(next);
        }
    }

    fn stretch(&mut self, end_ns: u64) {
        let clocks = self.clocks();
        let seconds = (end_ns - self.now_ns) as f64 / 1e9;
        let wobble = 1.0 + self.options.power_noise * self.noise.normal();
        let parts = physics::power(&clocks, &self.activity, self.temperature_c, &self.physics);
        let parts = scaled(parts, wobble.max(0.1));
        let watts = parts.total();
        self.energy_j += watts * seconds;
        if self.options.heat {
            let after =
                physics::temperature(self.temperature_c, watts, seconds, self.options.air_c, &self.physics);
            self.temperature_c = after;
            self.throttle();
        }
        // Ten events a second while it lasts; the limiter holds the CPU back a little and no limit shows it.
        let is_over = watts > self.physics.over_current_w;
        self.over_current += if is_over { seconds * 10.0 } else { 0.0 };
        self.kernel.held_back = if is_over { HELD_BACK } else { 1.0 };
        let cores = f64::from(clocks.cores);
        self.cpu_busy_s += seconds * cores * self.activity.cpu;
        self.cpu_idle_s += seconds * cores * (1.0 - self.activity.cpu);
        self.past.push_back(Stretch { start_ns: self.now_ns, end_ns, parts });
        while self.past.front().is_some_and(|old| old.end_ns + PAST_NS < end_ns) {
            self.past.pop_front();
        }
        self.now_ns = end_ns;
    }

    /// The thermal framework: one step of the tables down or up each time it looks.
    fn throttle(&mut self) {
        let trips = self.release.zones.iter().map(|zone| zone.passive_mc).filter(|trip| *trip > 0);
        let Some(trip) = trips.min() else { return };
        let trip = f64::from(trip) / 1e3;
        if self.temperature_c >= trip {
            self.kernel.throttle =
                (self.kernel.throttle + 1).min(self.release.gpu_hz.len().saturating_sub(1));
        } else if self.temperature_c < trip - HYSTERESIS_C {
            self.kernel.throttle = self.kernel.throttle.saturating_sub(1);
        }
    }

    /// Mean power of a share of the parts over a stretch of the past.
    fn mean_w(&self, share: &PowerParts, from_ns: u64, to_ns: u64) -> f64 {
        let (mut energy, mut covered) = (0.0, 0.0);
        for stretch in self.past.iter().rev() {
            if stretch.end_ns <= from_ns {
                break;
            }
            let (start, end) = (stretch.start_ns.max(from_ns), stretch.end_ns.min(to_ns));
            if end > start {
                let width = (end - start) as f64;
                energy += stretch.parts.rail(share) * width;
                covered += width;
            }
        }
        if covered > 0.0 {
            return energy / covered;
        }
        // Nothing is past yet: what it is about to draw.
        physics::power(&self.clocks(), &self.activity, self.temperature_c, &self.physics).rail(share)
    }

    /// The content of a live node, without its newline.
    pub(super) fn read(&self, path: &str, live: LiveNode) -> io::Result<String> {
        match live {
            LiveNode::KernelFile(file) => self.kernel.read(file),
            LiveNode::Rail(chip, channel, file) => self.read_rail(path, chip, channel, file),
            LiveNode::Zone(index) => self.read_zone(index),
            LiveNode::Cooling(index) => Ok(self.cooling_state(self.release.cooling[index]).to_string()),
            // The second is the one for average current.
            LiveNode::OverCurrent(k) => Ok(if k == 2 { self.over_current as u64 } else { 0 }.to_string()),
            LiveNode::Stat => Ok(self.stat()),
        }
    }

    fn read_rail(&self, path: &str, chip: usize, channel: usize, file: RailFile) -> io::Result<String> {
        let (chip, jump, stalled) = (&self.release.sensors[chip], self.jump(path), self.stalled(path));
        let (number, channel) = (channel, &chip.channels[channel]);
        if channel.label == "NC" {
            return Err(fault(errno::ENODATA));
        }
        let now = stalled.map_or(self.now_ns, |since| since.min(self.now_ns));
        let end = sensor::converted_ns(chip, number, now);
        let share = params::rail_share(channel.label);
        let watts = match stalled {
            // Its past may be gone: the value is the one that was kept with the fault.
            Some(_) => self.kept(path),
            None => self.mean_w(&share, end.saturating_sub(sensor::average_ns(chip)), end),
        };
        Ok(sensor::shown(chip, channel, watts * jump, file))
    }

    /// Mean power of the whole board over the past stretch, exactly.
    pub(super) fn mean_total_w(&self, from_ns: u64, to_ns: u64) -> f64 {
        self.mean_w(&PowerParts { cpu: 1.0, gpu: 1.0, soc: 1.0, memory: 1.0, base: 1.0 }, from_ns, to_ns)
    }

    fn jump(&self, path: &str) -> f64 {
        let factor = |fault: &Fault| match fault {
            Fault::SensorJumps { path: at, factor, until_ns } if at == path && self.now_ns < *until_ns => {
                Some(*factor)
            }
            _ => None,
        };
        self.faults.iter().find_map(factor).unwrap_or(1.0)
    }

    fn stalled(&self, path: &str) -> Option<u64> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::SensorStalls { path: at, since_ns, .. } if at == path && self.now_ns >= *since_ns => {
                Some(*since_ns)
            }
            _ => None,
        })
    }

    fn kept(&self, path: &str) -> f64 {
        let kept = |fault: &Fault| match fault {
            Fault::SensorStalls { path: at, watts, .. } if at == path => Some(*watts),
            _ => None,
        };
        self.faults.iter().find_map(kept).unwrap_or(0.0)
    }

    fn read_zone(&self, index: usize) -> io::Result<String> {
        let zone = &self.release.zones[index];
        match zone.odd {
            Odd::Constant(value) => return Ok(value.to_string()),
            Odd::Offline
                if zone.name.to_ascii_lowercase().starts_with("gpu") && !self.kernel.gpu_is_off() => {}
            Odd::Offline if self.release.l4t >= 36 => return Err(fault(errno::EAGAIN)),
            Odd::Offline => return Ok("-256000".to_owned()),
            Odd::No => {}
        }
        // Zones differ by a little; boards by their place.
        let offset = match zone.name {
            name if name.starts_with("Tboard") || name.starts_with("Tdiode") => -0.25,
            name if name.contains("fan-est") => -0.05,
            _ => -0.02 * index as f64 / self.release.zones.len().max(1) as f64,
        };
        let above = self.temperature_c - self.options.air_c;
        let mc = (self.temperature_c + above * offset) * 1e3;
        // Half a degree and less, as the drivers give it.
        Ok(((mc / 31.25).round() * 31.25).round().to_string())
    }

    fn cooling_state(&self, kind: &str) -> usize {
        let throttling = self.kernel.throttle;
        let reached = |trip: f64| usize::from(self.temperature_c >= trip);
        match kind {
            "hot-surface-alert" => reached(70.0),
            "tegra-dram" => reached(70.0),
            "DFLL-cap" => reached(66.0),
            "pwm-fan" => ((self.temperature_c - 45.0) / 5.0).clamp(0.0, 4.0) as usize,
            "cpu-throttle-alert" | "gpu-throttle-alert" => usize::from(throttling > 0),
            "cpu-balanced" | "gpu-balanced" => throttling.min(10),
            kind if kind.starts_with("thermal-cpufreq") || kind.starts_with("thermal-devfreq") => {
                throttling.min(10)
            }
            _ => 0,
        }
    }

    /// `/proc/stat` in hundredths of a second.
    fn stat(&self) -> String {
        let (busy, idle) = ((self.cpu_busy_s * 100.0) as u64, (self.cpu_idle_s * 100.0) as u64);
        format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0")
    }

    /// Writes a live node.
    pub(super) fn write(&mut self, path: &str, live: LiveNode, value: &str) -> io::Result<()> {
        for fault in &self.faults {
            match fault {
                Fault::WriteDenied { path: at } if at == path => return Err(self::fault(errno::EACCES)),
                Fault::DoesNotStick { path: at } if at == path => return Ok(()),
                _ => {}
            }
        }
        match live {
            LiveNode::KernelFile(file) => self.kernel.write(file, value),
            _ => Err(fault(errno::EACCES)),
        }
    }

    /// Puts a fault in its place.
    pub(super) fn inject(&mut self, mut fault: Fault, live: Option<LiveNode>) {
        if let (Fault::SensorStalls { since_ns, watts, .. }, Some(LiveNode::Rail(chip, channel, _))) =
            (&mut fault, live)
        {
            *since_ns = self.now_ns;
            let chip = &self.release.sensors[chip];
            let end = sensor::converted_ns(chip, channel, self.now_ns);
            let share = params::rail_share(chip.channels[channel].label);
            *watts = self.mean_w(&share, end.saturating_sub(sensor::average_ns(chip)), end);
        }
        if let Fault::CoreStaysOff { cpu } = &fault {
            self.kernel.dead_core = Some(*cpu);
        }
        self.faults.push(fault);
    }

    /// A factor around 1 for a step's duration.
    pub(super) fn time_noise(&mut self) -> f64 {
        (1.0 + self.options.time_noise * self.noise.normal()).max(0.2)
    }
}

fn scaled(parts: PowerParts, factor: f64) -> PowerParts {
    PowerParts {
        cpu: parts.cpu * factor,
        gpu: parts.gpu * factor,
        soc: parts.soc * factor,
        memory: parts.memory * factor,
        base: parts.base * factor,
    }
}

/// Repeatable noise.
#[derive(Debug)]
struct Noise(SplitMix64);

impl Noise {
    /// About normal with variance 1: a sum of twelve uniform values.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.0.unit_f64()).sum::<f64>() - 6.0
    }
}
