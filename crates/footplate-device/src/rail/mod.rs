//! Rails read as power: files that are kept open, and what is known of the sensor behind them.

mod timing;

use std::io;

use footplate_core::energy::{CounterModel, SensorModel};
use footplate_core::{Reading, Watts};

use crate::discover::{Device, RailKind, RailSource};
use crate::error::{DeviceError, told};
use crate::nvml::{self, GpuSensor};
use crate::root::Root;
use crate::tree::Probe;

pub use crate::nvml::GpuError;
pub use timing::{Timing, timing};

/// What a rail gives: power, or a count of energy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RailValue {
    /// Power at this moment, in watts.
    Power(f64),
    /// Counts of the counter's unit.
    Count(u64),
}

/// How the energy of a rail is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RailModel {
    /// By integrating samples of power.
    Power(SensorModel),
    /// By the difference of two counts.
    Counter(CounterModel),
}

/// Why a rail gave no value.
#[derive(Debug, thiserror::Error)]
pub enum RailError {
    /// The system refused. A chip that is busy is asked again.
    #[error("{}", told(.0))]
    System(#[from] io::Error),
    /// A file holds something else than a number.
    #[error("{0:?} is not a number")]
    NotANumber(String),
    /// A battery's sensor shows what charges it.
    #[error("the battery is not being discharged: {0}")]
    NotDischarging(String),
    /// A fault of the sensor: no rail has this power, in watts.
    #[error("{0:.1} W is more than the sensor can show: not taken")]
    Implausible(f64),
    /// A discrete GPU did not answer.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// More than this is no power of a rail of any of these machines: a reading above it is a fault.
const PLAUSIBLE_W: f64 = 2000.0;

enum RailFiles {
    /// One file of power in this many watts a unit.
    Power(Box<dyn Probe>, f64),
    /// Voltage and current, their product in this many watts a unit.
    Product(Box<dyn Probe>, Box<dyn Probe>, f64),
    /// A counter of energy in one file.
    Count(Box<dyn Probe>),
    /// A GPU, and whether its counter is read.
    Gpu(Box<dyn GpuSensor>, bool),
}

/// A rail whose files are open.
pub struct RailReader {
    files: RailFiles,
    /// For a battery: whether it is being discharged.
    status: Option<Box<dyn Probe>>,
    limit_w: f64,
    text: String,
}

impl RailReader {
    /// Opens a rail's files. `limit_w`: what its sensor can show at most; more is a fault of the sensor.
    pub fn open(root: &Root, rail: &RailSource, limit_w: Option<f64>) -> Result<Self, DeviceError> {
        let open = |path: &Option<String>| path.as_deref().map(|path| root.open(path)).transpose();
        let (milli, micro) = (1e-3, 1e-6);
        let files = match rail.kind {
            RailKind::Ina3221Iio => match (open(&rail.watts)?, open(&rail.volts)?, open(&rail.amps)?) {
                (Some(power), _, _) => Some(RailFiles::Power(power, milli)),
                (None, Some(volts), Some(amps)) => Some(RailFiles::Product(volts, amps, milli * milli)),
                _ => None,
            },
            RailKind::Ina3221Hwmon => open(&rail.volts)?
                .zip(open(&rail.amps)?)
                .map(|(v, a)| RailFiles::Product(v, a, milli * milli)),
            RailKind::Ina238 | RailKind::Hwmon => {
                open(&rail.watts)?.map(|power| RailFiles::Power(power, micro))
            }
            RailKind::NvmlEnergy => nvml::sensor(&rail.folder).map(|gpu| RailFiles::Gpu(gpu, true)),
            RailKind::NvmlPower => nvml::sensor(&rail.folder).map(|gpu| RailFiles::Gpu(gpu, false)),
            RailKind::Rapl => open(&rail.energy)?.map(RailFiles::Count),
            RailKind::Battery => match open(&rail.watts)? {
                Some(power) => Some(RailFiles::Power(power, micro)),
                None => open(&rail.volts)?
                    .zip(open(&rail.amps)?)
                    .map(|(v, a)| RailFiles::Product(v, a, micro * micro)),
            },
        };
        let files =
            files.ok_or_else(|| DeviceError::Other(format!("{}: no file gives its power", rail.label)))?;
        let status = match rail.kind {
            RailKind::Battery => root.open(&format!("{}/status", rail.folder)).ok(),
            _ => None,
        };
        Ok(Self { files, status, limit_w: limit_w.unwrap_or(PLAUSIBLE_W), text: String::new() })
    }

    /// Reads the sensor once: its power now, or its count.
    pub fn read(&mut self) -> Result<RailValue, RailError> {
        if let Some(status) = &mut self.status {
            status.read(&mut self.text)?;
            if self.text.trim() != "Discharging" {
                return Err(RailError::NotDischarging(self.text.trim().to_owned()));
            }
        }
        let watts = match &mut self.files {
            RailFiles::Count(file) => return number(file.as_mut(), &mut self.text).map(RailValue::Count),
            RailFiles::Gpu(gpu, true) => return Ok(RailValue::Count(gpu.energy_mj()?)),
            RailFiles::Gpu(gpu, false) => gpu.power_mw()? as f64 / 1e3,
            RailFiles::Power(file, unit) => signed(file.as_mut(), &mut self.text)? * *unit,
            RailFiles::Product(volts, amps, unit) => {
                // Some batteries give their current with a sign.
                let volts = signed(volts.as_mut(), &mut self.text)?;
                volts * signed(amps.as_mut(), &mut self.text)?.abs() * *unit
            }
        };
        // Near nothing a sensor's offset can make a small negative value: it is shown as it is.
        if watts.abs() > self.limit_w {
            return Err(RailError::Implausible(watts));
        }
        Ok(RailValue::Power(watts))
    }
}

fn signed(file: &mut dyn Probe, buffer: &mut String) -> Result<f64, RailError> {
    parsed::<i64>(file, buffer).map(|value| value as f64)
}

fn number(file: &mut dyn Probe, buffer: &mut String) -> Result<u64, RailError> {
    parsed(file, buffer)
}

fn parsed<T: std::str::FromStr>(file: &mut dyn Probe, buffer: &mut String) -> Result<T, RailError> {
    file.read(buffer)?;
    let text = buffer.trim();
    text.parse().map_err(|_| RailError::NotANumber(text.to_owned()))
}

/// A rail's power now, for a list of rails. A counter tells no power in one reading.
pub fn power_now(device: &Device, rail: &RailSource) -> Reading<Watts> {
    let limit = timing(device, rail).limit_w;
    let mut reader = match RailReader::open(&device.root, rail, limit) {
        Ok(reader) => reader,
        Err(error) => return error.into_reading(),
    };
    Reading::from(reader.read()).and_then(|value| match value {
        RailValue::Power(watts) => Reading::Value(Watts(watts)),
        RailValue::Count(_) => Reading::unreadable("a counter of energy: power needs two readings"),
    })
}
