//! A device's present state as plain data: what `footplate device` shows and what a discovery's golden files hold.

use serde::Serialize;

use footplate_core::power_mode::KnobTables;
use footplate_core::{Bytes, Celsius, Hertz, Reading};

use crate::discover::{Device, MHZ, Problem, RailSource, Total, hertz_of};
use crate::knob::{Snapshot, cpu, gpu};
use crate::preset::Presets;

/// What there is and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The board's name in words.
    pub board: String,
    /// Its name in commands.
    pub board_id: String,
    /// The module's name in words, where it is known.
    pub module: Option<String>,
    /// The system on chip.
    pub soc: Option<String>,
    /// What the machine calls itself.
    pub model: Option<String>,
    /// The release of L4T.
    pub l4t: Option<String>,
    /// The JetPack of that release.
    pub jetpack: Option<u32>,
    /// The kernel's release, such as `4.9.253-tegra`.
    pub kernel: Option<String>,
    /// Memory that Linux sees.
    pub memory_bytes: Option<Bytes>,
    /// The knobs that the machine has, settable or not.
    pub knobs: Vec<KnobReport>,
    /// Where power can be read.
    pub rails: Vec<RailSource>,
    /// What makes up the total.
    pub total: Option<Total>,
    /// The thermal zones with their present temperatures.
    pub temperatures: Vec<ZoneReport>,
    /// Cooling devices that mean throttling and are active.
    pub throttled: Vec<String>,
    /// Counters of over-current events that are not zero.
    pub over_current: Vec<(String, u64)>,
    /// The preset that nvpmodel says is active.
    pub preset: Option<String>,
    /// Names of all presets.
    pub presets: Vec<String>,
    /// Peak rates at the highest clocks.
    pub peak: Option<Peak>,
    /// What is missing or odd.
    pub problems: Vec<Problem>,
    /// Nodes that only root can write or read.
    pub needs_root: Vec<String>,
    /// Whether this is a simulated board.
    pub simulated: bool,
}

/// A knob with its table and its present value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnobReport {
    /// `cpu_cores`, `cpu_hz`, `gpu_hz` or `emc_hz`.
    pub name: &'static str,
    /// What it can be set to, ascending; clocks in Hz.
    pub table: Vec<u64>,
    /// Its present value: cores on, the upper limit of a clock, the EMC's clock.
    pub present: Reading<u64>,
    /// The clock that it runs at now, below its limit.
    pub current_hz: Reading<Hertz>,
    /// Whether this user can write it.
    pub writable: bool,
    /// Why it cannot be written.
    pub not_writable_because: Option<String>,
}

/// A thermal zone now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZoneReport {
    /// The zone's type.
    pub name: String,
    /// Its temperature; an engine that is off is unreadable.
    pub celsius: Reading<Celsius>,
    /// Degrees up to the software's throttling.
    pub to_throttling: Option<f64>,
}

/// Peak rates of the module at its highest clocks, from its units: what no program reaches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Single-precision operations a second.
    pub fp32_flops: f64,
    /// Half-precision operations a second, dense, of the tensor cores where it has some.
    pub fp16_flops: Option<f64>,
    /// Bytes a second from memory.
    pub memory_bytes_per_s: f64,
}

impl Report {
    /// Reads the present state of a device.
    pub fn read(device: &Device) -> Self {
        let mut problems = device.problems.clone();
        let presets = Presets::read(device, &mut problems);
        let knobs = knobs(device);
        let mut needs_root: Vec<String> =
            knobs.iter().filter(|knob| !knob.writable).map(|knob| format!("set {}", knob.name)).collect();
        let root_rails = device.rails.iter().filter(|rail| !readable(device, rail)).map(|r| r.label.clone());
        needs_root.extend(root_rails.map(|label| format!("read {label}")));
        Self {
            board: device.facts.name.to_owned(),
            board_id: device.facts.id.to_owned(),
            module: device.module.map(|module| module.name.to_owned()),
            soc: Some(device.facts.soc.name().to_owned()).filter(|name| !name.is_empty()),
            model: device.identity.model.value().cloned(),
            l4t: device.identity.l4t.as_ref().map(ToString::to_string),
            jetpack: device.identity.l4t.as_ref().and_then(crate::parse::L4t::jetpack),
            kernel: device.identity.kernel.value().cloned(),
            memory_bytes: device.identity.memory.value().copied(),
            knobs,
            rails: device.rails.clone(),
            total: device.total.clone(),
            temperatures: temperatures(device),
            throttled: throttled(device),
            over_current: over_current(device),
            preset: presets.active.clone(),
            presets: presets.modes.iter().map(|mode| mode.name.clone()).collect(),
            peak: peak(device),
            problems,
            needs_root,
            simulated: device.root.is_simulated(),
        }
    }
}

/// Reads every node that a report shows: for a capture.
pub(crate) fn read_all(device: &Device) {
    let _ = Report::read(device);
    let _ = Snapshot::read(&device.root, device);
    for rail in &device.rails {
        for path in [&rail.volts, &rail.amps, &rail.watts, &rail.energy].into_iter().flatten() {
            let _ = device.root.text(path);
        }
        for name in ["samples", "update_interval", "polling_delay_0", "max_energy_range_uj", "status"] {
            let _ = device.root.text(&format!("{}/{name}", rail.folder));
        }
    }
}

fn readable(device: &Device, rail: &RailSource) -> bool {
    let paths = [&rail.volts, &rail.amps, &rail.watts, &rail.energy].into_iter().flatten();
    paths.map(|path| device.root.text(path)).all(|result| !result.is_err_and(|error| error.is_permission()))
}

fn knobs(device: &Device) -> Vec<KnobReport> {
    let KnobTables { cpu_cores, cpu_hz, gpu_hz, emc_hz, .. } = device.tables();
    let now = Snapshot::read(&device.root, device);
    let present = crate::control::present_mode(device, &now);
    let clocks = |table: Vec<Hertz>| table.into_iter().map(|hz| hz.0).collect::<Vec<_>>();
    let mut knobs = Vec::new();
    let mut add = |name, table: Vec<u64>, present: Reading<u64>, current_hz, nodes: Vec<String>| {
        if table.is_empty() {
            return;
        }
        // A policy without an online CPU answers "busy": that is no want of rights.
        let is_refused = |error: &crate::DeviceError| error.is_permission() || error.is_absent();
        let refusal = nodes.iter().find_map(|path| device.root.writable(path).err().filter(is_refused));
        let writable = refusal.is_none() && !nodes.is_empty();
        let not_writable_because = refusal.map(|error| error.to_string());
        knobs.push(KnobReport { name, table, present, current_hz, writable, not_writable_because });
    };
    let reading = |value: Option<u64>| Reading::from(value);
    let switches =
        device.cpu.switchable.iter().map(|cpu| crate::discover::CpuKnob::online_path(*cpu)).collect();
    let cores = cpu_cores.into_iter().map(u64::from).collect();
    add("cpu_cores", cores, reading(present.cpu_cores.map(u64::from)), Reading::Absent, switches);
    let limits = cpu::nodes(&device.cpu).into_iter().filter(|path| path.contains("/cpufreq/")).collect();
    let current = device.cpu.policies.first().map_or(Reading::Absent, |policy| {
        hertz_of(&device.root, &format!("{}/scaling_cur_freq", policy.path), 1000)
    });
    add("cpu_hz", clocks(cpu_hz), reading(present.cpu_hz.map(|hz| hz.0)), current, limits);
    if let Some(knob) = &device.gpu {
        let current = hertz_of(&device.root, &format!("{}/cur_freq", knob.path), 1);
        add("gpu_hz", clocks(gpu_hz), reading(present.gpu_hz.map(|hz| hz.0)), current, gpu::nodes(knob));
    }
    if let (None, Some(first)) = (&device.gpu, device.gpu_clocks.first()) {
        let table = device.gpu_clocks.iter().flat_map(|clock| clock.table_hz.clone()).collect();
        let asked = number_of(&hertz_of(&device.root, &first.path, MHZ));
        let current = hertz_of(&device.root, &first.now_path, MHZ);
        let nodes = device.gpu_clocks.iter().map(|clock| clock.path.clone()).collect();
        add("gpu_hz", table, asked, current, nodes);
    }
    if let Some(knob) = &device.emc {
        let current = knob.present(&device.root);
        let present = number_of(&current);
        let nodes = if knob.can_lock {
            vec![knob.rate_path().replace("clk_rate", "clk_update_rate")]
        } else {
            knob.cap.iter().map(|(path, _)| path.clone()).collect()
        };
        add("emc_hz", clocks(emc_hz), present, current, nodes);
    }
    knobs
}

fn number_of(clock: &Reading<Hertz>) -> Reading<u64> {
    clock.as_ref().map(|hz| hz.0)
}

fn temperatures(device: &Device) -> Vec<ZoneReport> {
    let report = |zone: &crate::discover::ThermalZone| {
        let celsius = zone.temperature(&device.root);
        let to_throttling = match (&celsius, zone.passive) {
            (Reading::Value(now), Some(trip)) => Some(trip.0 - now.0),
            _ => None,
        };
        ZoneReport { name: zone.name.clone(), celsius, to_throttling }
    };
    device.zones.iter().filter(|zone| zone.is_measured()).map(report).collect()
}

fn throttled(device: &Device) -> Vec<String> {
    let is_active = |path: &str| device.root.number::<u64>(&format!("{path}/cur_state")).is_ok_and(|n| n > 0);
    let active = device
        .cooling
        .iter()
        .filter(|cooling| device.facts.throttles(&cooling.kind) && is_active(&cooling.path));
    active.map(|cooling| cooling.kind.clone()).collect()
}

fn over_current(device: &Device) -> Vec<(String, u64)> {
    let value = |counter: &crate::discover::Counter| {
        let count = device.root.number::<u64>(&counter.path).ok()?;
        (count > 0).then(|| (counter.name.clone(), count))
    };
    device.over_current.iter().filter_map(value).collect()
}

fn peak(device: &Device) -> Option<Peak> {
    let module = device.module?;
    let gpu_hz = device.gpu.as_ref()?.table_hz.last().copied()?;
    let emc_hz =
        device.emc.as_ref().and_then(|emc| emc.table_hz.last().copied()).unwrap_or(module.emc_max_hz);
    Some(Peak {
        fp32_flops: module.fp32_flops(gpu_hz),
        fp16_flops: module.fp16_flops(gpu_hz),
        memory_bytes_per_s: module.bandwidth(emc_hz),
    })
}
