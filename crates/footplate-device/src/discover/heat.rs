//! Thermal zones with their trips, cooling devices and over-current counters.

use serde::Serialize;

use footplate_core::{Celsius, Reading};

use crate::error::reading;
use crate::root::Root;

use super::{Problem, note};

/// A thermal zone. Numbers of zones change with each boot: its type is its name.
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalZone {
    /// Its type, such as `CPU-therm`.
    pub name: String,
    /// Its folder, with `temp` and its trips.
    pub path: String,
    /// The lowest trip at which software throttles.
    pub passive: Option<Celsius>,
    /// The trip at which the machine shuts down.
    pub critical: Option<Celsius>,
}

impl ThermalZone {
    /// Its temperature. An engine that is off is `Unreadable`.
    pub fn temperature(&self, root: &Root) -> Reading<Celsius> {
        let powered = |mc: i64| {
            let without = || Reading::unreadable(format!("{} is without power", self.name));
            celsius(mc).map_or_else(without, Reading::Value)
        };
        reading(root.number::<i64>(&format!("{}/temp", self.path))).and_then(powered)
    }

    /// Whether it is a temperature that says something of the chip: estimates for the fan and the power chip's
    /// constant do not.
    pub fn is_measured(&self) -> bool {
        self.name != "thermal-fan-est" && !self.name.starts_with("PMIC")
    }
}

/// What a zone's number of millidegrees means. `None`: R35 gives -256 °C for an engine without power; a real board is
/// never that cold.
pub(crate) fn celsius(millidegrees: i64) -> Option<Celsius> {
    (millidegrees > -100_000).then(|| Celsius(millidegrees as f64 / 1e3))
}

/// A device that the thermal framework can switch on, such as a fan or a limit of clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoolingDevice {
    /// Its type, which says whether it means throttling on this board.
    pub kind: String,
    /// Its folder, with `cur_state`.
    pub path: String,
}

/// A counter of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Its name, such as `oc1`.
    pub name: String,
    /// The file that holds the count.
    pub path: String,
}

pub(super) fn find(
    root: &Root,
    problems: &mut Vec<Problem>,
) -> (Vec<ThermalZone>, Vec<CoolingDevice>, Vec<Counter>) {
    let mut zones = Vec::new();
    for path in root.matches("/sys/class/thermal/thermal_zone*") {
        if let Some(name) = note(problems, "thermal zone", root.text(&format!("{path}/type"))) {
            let trips = trips(root, &path);
            let lowest = |kind: &str| {
                let of_kind = trips.iter().filter(|(k, mc)| k == kind && *mc > 0).map(|(_, mc)| *mc);
                of_kind.min().map(|mc| Celsius(mc as f64 / 1e3))
            };
            zones.push(ThermalZone { passive: lowest("passive"), critical: lowest("critical"), name, path });
        }
    }
    if zones.is_empty() {
        problems.push(Problem::new("temperatures", "no thermal zones in /sys/class/thermal"));
    }
    let mut cooling = Vec::new();
    for path in root.matches("/sys/class/thermal/cooling_device*") {
        if let Some(kind) = note(problems, "cooling device", root.text(&format!("{path}/type"))) {
            cooling.push(CoolingDevice { kind, path });
        }
    }
    (zones, cooling, over_current(root))
}

fn trips(root: &Root, zone: &str) -> Vec<(String, i64)> {
    let mut trips = Vec::new();
    for path in root.matches(&format!("{zone}/trip_point_*_temp")) {
        let kind = root.text(&path.replace("_temp", "_type"));
        if let (Ok(kind), Ok(mc)) = (kind, root.number::<i64>(&path)) {
            trips.push((kind, mc));
        }
    }
    trips
}

/// `ocK_irq_cnt` (T186, T194) or `ocK_event_cnt` (T234) of the hwmon device `soctherm_oc`.
fn over_current(root: &Root) -> Vec<Counter> {
    let mut counters = Vec::new();
    for hwmon in root.matches("/sys/class/hwmon/hwmon*") {
        if root.text(&format!("{hwmon}/name")).is_ok_and(|name| name == "soctherm_oc") {
            for pattern in ["oc*_irq_cnt", "oc*_event_cnt"] {
                for path in root.matches(&format!("{hwmon}/{pattern}")) {
                    let file = path.rsplit('/').next().unwrap_or_default();
                    let name = file.split('_').next().unwrap_or(file).to_owned();
                    counters.push(Counter { name, path });
                }
            }
        }
    }
    counters
}
