//! Which device computes.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The best that works on this machine.
    Auto,
    /// Burn's pure-Rust backend `flex`.
    Cpu,
    /// A GPU through Vulkan; needs the cargo feature `vulkan`.
    Vulkan,
    /// A GPU through CUDA; needs the cargo feature `cuda`.
    Cuda,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "vulkan" => Ok(Self::Vulkan),
            "cuda" => Ok(Self::Cuda),
            other => Err(format!("`{other}` is not one of auto, cpu, vulkan, cuda")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Vulkan => "vulkan",
            Self::Cuda => "cuda",
        })
    }
}

/// A device that works, and why it is this one.
#[derive(Clone, Debug)]
pub struct ChosenDevice {
    pub(crate) device: Device,
    /// `cpu`, `vulkan` or `cuda`.
    pub name: &'static str,
    /// Why it was chosen, for the user.
    pub reason: String,
    /// Whether an operation has finished when its call returns.
    pub(crate) synchronous: bool,
}

impl ChosenDevice {
    /// The cpu device.
    pub fn cpu(reason: &str) -> Self {
        Self { device: Device::flex(), name: "cpu", reason: reason.to_owned(), synchronous: true }
    }
}

/// Turns a choice into a device that has proved to work by adding two numbers.
pub fn choose(choice: DeviceChoice) -> Result<ChosenDevice, TrainError> {
    match choice {
        DeviceChoice::Cpu => Ok(ChosenDevice::cpu("asked for")),
        DeviceChoice::Vulkan => vulkan("asked for"),
        DeviceChoice::Cuda => cuda("asked for"),
        DeviceChoice::Auto => Ok(auto()),
    }
}

fn auto() -> ChosenDevice {
    let mut reasons = Vec::new();
    for candidate in [cuda, vulkan] {
        match candidate("the fastest that works here") {
            Ok(chosen) => return chosen,
            Err(error) => reasons.push(error.to_string()),
        }
    }
    ChosenDevice::cpu(&reasons.join("; "))
}

#[cfg(feature = "vulkan")]
fn vulkan(reason: &str) -> Result<ChosenDevice, TrainError> {
    probe("vulkan", reason, || Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_reason: &str) -> Result<ChosenDevice, TrainError> {
    Err(not_built("vulkan"))
}

#[cfg(feature = "cuda")]
fn cuda(reason: &str) -> Result<ChosenDevice, TrainError> {
    probe("cuda", reason, || Device::cuda(0))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_reason: &str) -> Result<ChosenDevice, TrainError> {
    Err(not_built("cuda"))
}

#[cfg(not(all(feature = "vulkan", feature = "cuda")))]
fn not_built(name: &str) -> TrainError {
    TrainError::Device { device: name.to_owned(), reason: "this binary was built without it".to_owned() }
}

/// Adds two numbers on a device. A driver that is missing shows itself as a panic inside Burn's runtime,
/// which is caught here and told as an error.
#[cfg(any(feature = "vulkan", feature = "cuda"))]
fn probe(
    name: &'static str,
    reason: &str,
    open: impl FnOnce() -> Device + std::panic::UnwindSafe,
) -> Result<ChosenDevice, TrainError> {
    use burn::tensor::Tensor;

    let failed = |reason: &str| TrainError::Device { device: name.to_owned(), reason: reason.to_owned() };
    let attempt = std::panic::catch_unwind(move || {
        let device = open();
        let sum = Tensor::<1>::from_floats([1.0, 2.0], &device).sum().into_data();
        (device, sum.iter::<f32>().next())
    });
    match attempt {
        Ok((device, Some(sum))) if (sum - 3.0).abs() < 1e-6 => {
            Ok(ChosenDevice { device, name, reason: reason.to_owned(), synchronous: false })
        }
        Ok(_) => Err(failed("it computes 1 + 2 wrongly")),
        Err(_) => Err(failed("no driver, or no device that it can use")),
    }
}
