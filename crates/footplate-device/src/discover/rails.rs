//! Where power can be read: chips behind iio and hwmon, RAPL and batteries. Reading them is not done here.

use serde::Serialize;

use crate::board::{BoardFacts, SensorKind, Soc};
use crate::root::{Root, Source};

use super::{Identity, Problem, note};

/// How a rail is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RailKind {
    /// INA3221 behind the vendor's iio driver: mV and mA, in one file together where there is `ui_input_C`.
    Ina3221Iio,
    /// INA3221 behind hwmon: mV and mA.
    Ina3221Hwmon,
    /// INA238 behind hwmon: microwatts.
    Ina238,
    /// Another hwmon device with a power reading in microwatts.
    Hwmon,
    /// A RAPL counter of microjoules that wraps.
    Rapl,
    /// A discrete GPU's counter of millijoules through NVML; `folder` is `nvml:INDEX`.
    NvmlEnergy,
    /// A discrete GPU's power through NVML.
    NvmlPower,
    /// A battery's discharge: microwatts, or microvolts and microamperes.
    Battery,
}

/// One rail: which files give its power.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RailSource {
    /// The rail's label, such as `VDD_IN`.
    pub label: String,
    /// How it is read.
    pub kind: RailKind,
    /// The folder of its chip.
    pub folder: String,
    /// The channel as the files number it; 0 where there is only one.
    pub channel: u32,
    /// The file of its voltage, in mV (µV for a battery).
    pub volts: Option<String>,
    /// The file of its current, in mA (µA for a battery).
    pub amps: Option<String>,
    /// The file of its power, in the unit of its kind.
    pub watts: Option<String>,
    /// The file of its energy counter, in µJ.
    pub energy: Option<String>,
}

pub(super) fn find(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    problems: &mut Vec<Problem>,
) -> Vec<RailSource> {
    let mut rails = iio(root, problems);
    rails.extend(ina3221(root, problems));
    rails.extend(other_hwmon(root, facts, identity, problems));
    rails.extend(rapl(root, problems));
    rails.extend(batteries(root, problems));
    if *root.source() == Source::System && facts.soc == Soc::Other {
        rails.extend(super::nvidia::find(problems));
    }
    if rails.is_empty() {
        problems.push(Problem::new("power", "no power sensor was found: time is measured, energy is not"));
    }
    rails
}

/// Not connected: R35 names such channels so.
fn is_connected(label: &str) -> bool {
    !label.is_empty() && label != "NC"
}

fn iio(root: &Root, problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let mut rails = Vec::new();
    for part in ["iio:device*", "iio_device"] {
        for folder in root.matches(&format!("/sys/bus/i2c/drivers/ina3221x/*-00*/{part}")) {
            for channel in 0..3 {
                let name = format!("{folder}/rail_name_{channel}");
                let Some(label) = note(problems, "power sensor", root.text(&name)) else { continue };
                if !is_connected(&label) {
                    continue;
                }
                let file = |what: &str| existing(root, format!("{folder}/in_{what}{channel}_input"));
                rails.push(RailSource {
                    label,
                    kind: RailKind::Ina3221Iio,
                    channel,
                    volts: file("voltage"),
                    amps: file("current"),
                    watts: file("power"),
                    energy: None,
                    folder: folder.clone(),
                });
            }
        }
    }
    rails
}

fn existing(root: &Root, path: String) -> Option<String> {
    root.exists(&path).then_some(path)
}

fn ina3221(root: &Root, problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let mut rails = Vec::new();
    for folder in root.matches("/sys/bus/i2c/drivers/ina3221/*-00*/hwmon/hwmon*") {
        for channel in 1..=3 {
            let Some(label) =
                note(problems, "power sensor", root.text(&format!("{folder}/in{channel}_label")))
            else {
                continue;
            };
            if !is_connected(&label) {
                continue;
            }
            rails.push(RailSource {
                label,
                kind: RailKind::Ina3221Hwmon,
                channel,
                volts: existing(root, format!("{folder}/in{channel}_input")),
                amps: existing(root, format!("{folder}/curr{channel}_input")),
                watts: None,
                energy: None,
                folder: folder.clone(),
            });
        }
    }
    rails
}

fn other_hwmon(
    root: &Root,
    facts: &BoardFacts,
    identity: &Identity,
    problems: &mut Vec<Problem>,
) -> Vec<RailSource> {
    let mut rails = Vec::new();
    for folder in root.matches("/sys/class/hwmon/hwmon*") {
        let Some(name) = note(problems, "hwmon", root.text(&format!("{folder}/name"))) else { continue };
        if name.starts_with("ina3221") {
            continue;
        }
        for channel in 1..=8 {
            let input = format!("{folder}/power{channel}_input");
            let average = format!("{folder}/power{channel}_average");
            let Some(watts) = existing(root, input).or_else(|| existing(root, average)) else { continue };
            let own = root.text(&format!("{folder}/power{channel}_label")).ok();
            let known = published_label(root, facts, identity, &folder);
            let is_ina238 = name == "ina238";
            let label = own.or(known).unwrap_or_else(|| match channel {
                1 => name.clone(),
                n => format!("{name}-{n}"),
            });
            rails.push(RailSource {
                label,
                kind: if is_ina238 { RailKind::Ina238 } else { RailKind::Hwmon },
                channel,
                volts: existing(root, format!("{folder}/in1_input")).filter(|_| is_ina238),
                amps: existing(root, format!("{folder}/curr1_input")).filter(|_| is_ina238),
                watts: Some(watts),
                energy: None,
                folder: folder.clone(),
            });
        }
    }
    rails
}

/// The label that is published for a chip at this bus and address, where the chip itself names none.
fn published_label(root: &Root, facts: &BoardFacts, identity: &Identity, hwmon: &str) -> Option<String> {
    let device = root.link(&format!("{hwmon}/device")).ok()?;
    let address = device.rsplit('/').next()?;
    let major = identity.l4t.as_ref()?.major;
    let release = facts.releases.iter().find(|release| release.l4t == major).or(facts.releases.first())?;
    let chip =
        release.sensors.iter().find(|chip| chip.kind == SensorKind::Ina238 && chip.bus_address == address)?;
    Some(chip.channels.first()?.label.to_owned())
}

fn rapl(root: &Root, problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let mut rails = Vec::new();
    for folder in root.matches("/sys/class/powercap/intel-rapl:*") {
        let Some(name) = note(problems, "RAPL", root.text(&format!("{folder}/name"))) else { continue };
        // A domain inside a package (`intel-rapl:0:1`) is told apart by its package.
        let zone = folder.rsplit('/').next().unwrap_or_default();
        let label = match zone.split(':').collect::<Vec<_>>()[..] {
            [_, package, _] => format!("package-{package}/{name}"),
            _ => name,
        };
        rails.push(RailSource {
            label,
            kind: RailKind::Rapl,
            channel: 0,
            volts: None,
            amps: None,
            watts: None,
            energy: existing(root, format!("{folder}/energy_uj")),
            folder,
        });
    }
    rails
}

fn batteries(root: &Root, problems: &mut Vec<Problem>) -> Vec<RailSource> {
    let mut rails = Vec::new();
    for folder in root.matches("/sys/class/power_supply/*") {
        // Supplies of USB ports are no rails.
        let kind = note(problems, "battery", root.text(&format!("{folder}/type")));
        let scope = root.text(&format!("{folder}/scope")).ok();
        if kind.as_deref() != Some("Battery") || scope.as_deref() == Some("Device") {
            continue;
        }
        let number = rails.len();
        rails.push(RailSource {
            label: if number == 0 { "battery".to_owned() } else { format!("battery-{number}") },
            kind: RailKind::Battery,
            channel: 0,
            volts: existing(root, format!("{folder}/voltage_now")),
            amps: existing(root, format!("{folder}/current_now")),
            watts: existing(root, format!("{folder}/power_now")),
            energy: None,
            folder,
        });
    }
    rails
}
