//! What is known of the sensor behind a rail: how often it has a new value, over what it averages, its steps.

use footplate_core::energy::{CounterModel, SensorModel};

use crate::board::{Release, SensorChip, SensorKind, Soc};
use crate::discover::{Device, RailKind, RailSource};
use crate::root::Root;

use super::RailModel;

/// One conversion of voltage and current with the driver's default since R34, in microseconds.
const HWMON_PAIR_US: u64 = 2 * 1100;
/// The same behind the vendor's driver up to R32.
const IIO_PAIR_US: u64 = 2 * 140;
/// Reading one register takes about this long on the bus.
const REGISTER_NS: u64 = 550_000;
/// The shunt voltage's unit and the largest that an INA3221 measures, in volts.
const SHUNT_LSB_V: f64 = 40e-6;
const SHUNT_MAX_V: f64 = 0.1638;
/// RAPL: the counter moves about each millisecond, in units of 61 microjoules on most processors.
const RAPL_REFRESH_NS: u64 = 1_000_000;
const RAPL_STEP_J: f64 = 61e-6;
/// No processor package draws more.
const RAPL_MAX_W: f64 = 2000.0;
/// Gauges of batteries and other hwmon devices: assumed, they do not tell.
const GAUGE_NS: u64 = 2_000_000_000;
const HWMON_NS: u64 = 100_000_000;
const NVML_NS: u64 = 100_000_000;

/// What is known of a rail's sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Time between two new values.
    pub period_ns: u64,
    /// Time over which one value is the mean.
    pub average_ns: u64,
    /// Smallest step of its power, where known.
    pub step_w: Option<f64>,
    /// The most that the sensor can show, where known.
    pub limit_w: Option<f64>,
    /// Registers read for one value.
    registers: u64,
    /// The counter's largest count.
    range: Option<u64>,
    is_counter: bool,
    /// Energy of one count.
    unit_j: f64,
    /// What of this was assumed because the machine does not tell; empty: nothing.
    pub assumed: String,
}

impl Timing {
    /// How the energy is found when the rail is read each `interval_ns`.
    pub fn model(&self, interval_ns: u64) -> RailModel {
        if self.is_counter {
            return RailModel::Counter(CounterModel {
                interval_ns,
                unit_j: self.unit_j,
                step_j: self.unit_j.max(RAPL_STEP_J),
                range: self.range,
                refresh_ns: self.period_ns,
                power_max_w: RAPL_MAX_W,
            });
        }
        RailModel::Power(SensorModel {
            interval_ns,
            refresh_ns: self.period_ns,
            age_ns: self.period_ns / 2,
            average_ns: self.average_ns,
            step_w: self.step_w.unwrap_or(0.0),
            skew_ns: (self.registers - 1) * REGISTER_NS,
        })
    }
}

/// What is known of a rail's sensor.
pub fn timing(device: &Device, rail: &RailSource) -> Timing {
    let plain = Timing {
        period_ns: HWMON_NS,
        average_ns: 0,
        step_w: None,
        limit_w: None,
        registers: 1,
        range: None,
        is_counter: false,
        unit_j: 1e-6,
        assumed: String::new(),
    };
    match rail.kind {
        RailKind::Ina3221Iio => iio(device, rail, &plain),
        RailKind::Ina3221Hwmon => hwmon(&device.root, rail, &plain),
        // Bus voltage, shunt voltage and temperature in turn, at the chip's default of 1.05 ms each.
        RailKind::Ina238 => Timing {
            period_ns: 3_156_000,
            average_ns: 1_052_000,
            assumed: "the chip's default conversion time".to_owned(),
            ..plain
        },
        RailKind::Hwmon => {
            let interval =
                device.root.number::<u64>(&format!("{}/power{}_average_interval", rail.folder, rail.channel));
            match interval {
                Ok(ms) => Timing { period_ns: ms * 1_000_000, average_ns: ms * 1_000_000, ..plain },
                Err(_) => Timing { assumed: "a new value each 100 ms".to_owned(), ..plain },
            }
        }
        RailKind::Rapl => Timing {
            period_ns: RAPL_REFRESH_NS,
            range: device.root.number(&format!("{}/max_energy_range_uj", rail.folder)).ok(),
            is_counter: true,
            ..plain
        },
        RailKind::NvmlEnergy => Timing {
            period_ns: NVML_NS,
            is_counter: true,
            unit_j: 1e-3,
            assumed: "the counter moves each 100 ms".to_owned(),
            ..plain
        },
        RailKind::NvmlPower => {
            Timing { period_ns: NVML_NS, assumed: "a new value each 100 ms".to_owned(), ..plain }
        }
        RailKind::Battery => Timing {
            period_ns: GAUGE_NS,
            average_ns: GAUGE_NS,
            assumed: "a new value each 2 s".to_owned(),
            ..plain
        },
    }
}

/// The vendor's driver does not tell its averaging: it is that of the board's release.
fn iio(device: &Device, rail: &RailSource, plain: &Timing) -> Timing {
    let chip = published(device, rail);
    let samples = chip.map_or(if device.facts.soc == Soc::T210 { 64 } else { 512 }, |chip| chip.samples);
    let pair_us = chip.map_or(IIO_PAIR_US, |chip| 2 * u64::from(chip.conversion_us));
    let channels = chip.map_or(3, connected) as u64;
    let period_ns = channels * u64::from(samples) * pair_us * 1000;
    let channel = chip.and_then(|chip| chip.channels.iter().find(|channel| channel.label == rail.label));
    let shunt = channel.filter(|channel| channel.shunt_mohm > 0).map(|c| f64::from(c.shunt_mohm) / 1e3);
    let volts = volts(&device.root, rail);
    Timing {
        period_ns,
        average_ns: if samples > 1 { period_ns } else { pair_us * 1000 },
        step_w: shunt.zip(volts).map(|(ohm, volts)| SHUNT_LSB_V / ohm * volts),
        limit_w: shunt.zip(volts).map(|(ohm, volts)| SHUNT_MAX_V / ohm * volts * 1.05),
        assumed: format!("{samples} samples, as the release configures the chip"),
        ..plain.clone()
    }
}

/// The kernel's driver tells samples and shunt; the conversion time is its default.
fn hwmon(root: &Root, rail: &RailSource, plain: &Timing) -> Timing {
    let folder = &rail.folder;
    let samples: u64 = root.number(&format!("{folder}/samples")).unwrap_or(1).max(1);
    let is_enabled = |k: &u32| {
        let label = root.text(&format!("{folder}/in{k}_label"));
        let enabled = root.text(&format!("{folder}/in{k}_enable"));
        label.is_ok_and(|label| label != "NC") && enabled.map_or(true, |text| text != "0")
    };
    let channels = (1..=3).filter(is_enabled).count().max(1) as u64;
    let period_ns = channels * samples * HWMON_PAIR_US * 1000;
    let ohm = root.number::<u64>(&format!("{folder}/shunt{}_resistor", rail.channel)).ok();
    let ohm = ohm.filter(|micro| *micro > 0).map(|micro| micro as f64 / 1e6);
    let volts = volts(root, rail);
    Timing {
        period_ns,
        average_ns: if samples > 1 { period_ns } else { HWMON_PAIR_US * 1000 },
        step_w: ohm.zip(volts).map(|(ohm, volts)| SHUNT_LSB_V / ohm * volts),
        limit_w: ohm.zip(volts).map(|(ohm, volts)| SHUNT_MAX_V / ohm * volts * 1.05),
        registers: 2,
        assumed: "the driver's default conversion time of 1.1 ms".to_owned(),
        ..plain.clone()
    }
}

/// The rail's voltage now.
fn volts(root: &Root, rail: &RailSource) -> Option<f64> {
    let mv: u64 = root.number(rail.volts.as_deref()?).ok()?;
    (mv > 0).then_some(mv as f64 / 1e3)
}

fn connected(chip: &SensorChip) -> usize {
    chip.channels.iter().filter(|channel| channel.label != "NC").count().max(1)
}

/// The facts of the chip at this rail's bus and address under the machine's release.
fn published(device: &Device, rail: &RailSource) -> Option<&'static SensorChip> {
    let major = device.identity.l4t.as_ref()?.major;
    let releases: &'static [Release] = device.facts.releases;
    let release = releases.iter().find(|release| release.l4t == major)?;
    release.sensors.iter().find(|chip| {
        chip.kind == SensorKind::Ina3221Iio && rail.folder.split('/').any(|part| part == chip.bus_address)
    })
}
