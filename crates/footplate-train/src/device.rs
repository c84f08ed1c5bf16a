//! Which device computes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use footplate_core::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::feed_path::{self, DeviceMemory, FeedChoice, FeedPath};
#[cfg(feature = "vulkan")]
use crate::gpu::Gpu;
use crate::settings::{Precision, TrainSettings};

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
    /// A GPU through CUDA: not supported, and refused with that word.
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
    /// `cpu` or `vulkan`, as `--device` takes it.
    pub name: &'static str,
    /// Why it was chosen, for the user.
    pub reason: String,
    /// How minibatches get there.
    pub feed: FeedPath,
    /// Whether an operation has finished when its call returns.
    pub(crate) synchronous: bool,
    /// The GPU behind it, where the feed can reach it.
    #[cfg(feature = "vulkan")]
    pub(crate) gpu: Option<std::sync::Arc<Gpu>>,
}

impl ChosenDevice {
    /// Burn's backend `flex`, which every machine has. `reason` is shown to the user.
    pub fn cpu(reason: &str) -> Self {
        Self {
            device: Device::flex(),
            name: "cpu",
            reason: reason.to_owned(),
            feed: FeedPath::View,
            synchronous: true,
            #[cfg(feature = "vulkan")]
            gpu: None,
        }
    }

    /// The device, why it was taken, and how minibatches get there where that is not as a matter of course.
    pub fn description(&self) -> String {
        match self.feed {
            FeedPath::View => format!("{} ({})", self.name, self.reason),
            path => format!("{} ({}; feed {})", self.name, self.reason, path.name()),
        }
    }

    /// The device as a network is trained on it.
    pub(crate) fn training(&self, settings: &TrainSettings) -> Device {
        training(&self.device, settings)
    }

    /// Whether a network can be computed in `precision` here.
    pub(crate) fn check_precision(&self, precision: Precision) -> Result<(), TrainError> {
        let reason = match dtype(precision) {
            None => return Ok(()),
            Some(_) if self.synchronous => "the cpu device computes in f32".to_owned(),
            Some(dtype) if !self.device.supports_dtype(dtype) => {
                format!("device `{}` has no such numbers, or its driver does not offer them", self.name)
            }
            Some(_) => return Ok(()),
        };
        Err(TrainError::Setting { setting: "precision", value: precision.to_string(), reason })
    }

    /// The size of the device's memory, if it has one that the processor does not share.
    pub fn own_memory(&self) -> Option<Bytes> {
        #[cfg(feature = "vulkan")]
        if let Some(gpu) = &self.gpu {
            return gpu.own_memory;
        }
        None
    }

    /// This device with the feed that is asked for.
    fn fed(self, choice: FeedChoice) -> Result<Self, TrainError> {
        let feed = feed_path::decide(choice, self.memory())?;
        Ok(Self { feed, ..self })
    }

    /// Whether a driver only plays a GPU: what the processor computes so, the cpu device computes faster.
    fn is_software(&self) -> bool {
        #[cfg(feature = "vulkan")]
        if let Some(gpu) = &self.gpu {
            return gpu.software;
        }
        false
    }

    fn memory(&self) -> DeviceMemory {
        #[cfg(feature = "vulkan")]
        if let Some(gpu) = &self.gpu {
            return if gpu.unified { DeviceMemory::Shared } else { DeviceMemory::Own };
        }
        if self.synchronous { DeviceMemory::Process } else { DeviceMemory::Opaque }
    }
}

/// The numbers of a precision other than single.
pub(crate) fn dtype(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::F16 => Some(FloatDType::F16),
        Precision::Bf16 => Some(FloatDType::BF16),
    }
}

/// A device that keeps what a backward pass needs.
pub(crate) fn training(device: &Device, settings: &TrainSettings) -> Device {
    let device = device.clone().autodiff();
    if settings.checkpoint_activations { device.gradient_checkpointing() } else { device }
}

/// Opens a device, as [`choose`] does. What its kernels' tuning finds is kept below `kernels`, where they are tuned at
/// all (cargo feature `autotune`); `None`: for this process only.
pub fn open(
    choice: DeviceChoice,
    feed: FeedChoice,
    kernels: Option<&Path>,
) -> Result<ChosenDevice, TrainError> {
    #[cfg(feature = "autotune")]
    if let Some(folder) = kernels {
        crate::kernels::keep_in(folder);
    }
    #[cfg(not(feature = "autotune"))]
    let _ = kernels;
    choose(choice, feed)
}

/// Turns a choice into a device that has proved to work by adding two numbers, with the feed that suits it or is
/// asked for.
pub fn choose(choice: DeviceChoice, feed: FeedChoice) -> Result<ChosenDevice, TrainError> {
    let chosen = match choice {
        DeviceChoice::Cpu => ChosenDevice::cpu("asked for"),
        DeviceChoice::Vulkan => vulkan("asked for")?,
        DeviceChoice::Cuda => return Err(cuda()),
        DeviceChoice::Auto => auto(),
    };
    chosen.fed(feed)
}

fn auto() -> ChosenDevice {
    let why_not = match vulkan("the fastest that works here") {
        Ok(chosen) if chosen.is_software() => {
            format!("device `{}`: {} computes on the processor", chosen.name, chosen.reason)
        }
        Ok(chosen) => return chosen,
        Err(error) => error.to_string(),
    };
    ChosenDevice::cpu(&why_not)
}

#[cfg(feature = "vulkan")]
fn vulkan(reason: &str) -> Result<ChosenDevice, TrainError> {
    let failed = |reason| TrainError::Device { device: "vulkan".to_owned(), reason };
    // What is missing in a driver may show itself as a panic inside Burn's runtime.
    let opened = catch_unwind(Gpu::open);
    let gpu = opened.map_err(|_| failed("its driver cannot be used".to_owned()))?.map_err(failed)?;
    let device = gpu.burn.clone();
    let reason = format!("{}; {reason}", gpu.name);
    let chosen = probe("vulkan", &reason, || device)?;
    Ok(ChosenDevice { gpu: Some(gpu), ..chosen })
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_reason: &str) -> Result<ChosenDevice, TrainError> {
    let reason = "this binary was built without it".to_owned();
    Err(TrainError::Device { device: "vulkan".to_owned(), reason })
}

/// Why there is no CUDA is told in docs/devices.md.
fn cuda() -> TrainError {
    let reason = "not supported; NVIDIA's GPUs are reached through Vulkan".to_owned();
    TrainError::Device { device: "cuda".to_owned(), reason }
}

/// Adds two numbers on a device. A driver that is missing shows itself as a panic inside Burn's runtime,
/// which is caught here and told as an error.
#[cfg(feature = "vulkan")]
fn probe(
    name: &'static str,
    reason: &str,
    open: impl FnOnce() -> Device,
) -> Result<ChosenDevice, TrainError> {
    use burn::tensor::Tensor;

    let failed = |reason: &str| TrainError::Device { device: name.to_owned(), reason: reason.to_owned() };
    let attempt = catch_unwind(AssertUnwindSafe(move || {
        let device = open();
        let sum = Tensor::<1>::from_floats([1.0, 2.0], &device).sum().into_data();
        (device, sum.iter::<f32>().next())
    }));
    match attempt {
        Ok((device, Some(sum))) if (sum - 3.0).abs() < 1e-6 => Ok(ChosenDevice {
            device,
            name,
            reason: reason.to_owned(),
            feed: FeedPath::Staged,
            synchronous: false,
            #[cfg(feature = "vulkan")]
            gpu: None,
        }),
        Ok(_) => Err(failed("it computes 1 + 2 wrongly")),
        Err(_) => Err(failed("no driver, or no device that it can use")),
    }
}

/// Does what `device` may fail at in its own way: what a driver cannot do (a lost device, no memory left) may reach its
/// user as a panic of Burn's runtime.
pub(crate) fn guarded<T>(
    device: &ChosenDevice,
    batch_size: usize,
    work: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    if device.synchronous {
        return work();
    }
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for an unknown reason");
        Err(TrainError::of_device(device.name, batch_size, said))
    })
    .map_err(|error| error.on_device(device.name, batch_size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_settings;

    #[test]
    fn every_choice_is_read_as_it_is_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Vulkan, DeviceChoice::Cuda] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "gpu".parse::<DeviceChoice>().unwrap_err();
        assert_eq!(error, "`gpu` is not one of auto, cpu, vulkan, cuda");
    }

    #[test]
    fn what_is_not_supported_says_what_is() {
        let error = choose(DeviceChoice::Cuda, FeedChoice::Auto).unwrap_err().to_string();
        assert_eq!(error, "device `cuda`: not supported; NVIDIA's GPUs are reached through Vulkan");
    }

    #[test]
    fn the_cpu_is_always_there_and_takes_no_way_but_its_own() {
        let cpu = open(DeviceChoice::Cpu, FeedChoice::Auto, None).unwrap();
        assert_eq!((cpu.name, cpu.feed, cpu.own_memory()), ("cpu", FeedPath::View, None));
        assert_eq!(cpu.description(), "cpu (asked for)");
        let error = choose(DeviceChoice::Cpu, FeedChoice::Mapped).unwrap_err().to_string();
        assert!(error.starts_with("--feed mapped: the cpu device takes"), "{error}");
    }

    #[test]
    fn a_way_that_is_not_a_matter_of_course_is_told() {
        let staged = ChosenDevice { feed: FeedPath::Staged, ..ChosenDevice::cpu("for a test") };
        assert_eq!(staged.description(), "cpu (for a test; feed staged)");
    }

    #[test]
    fn the_cpu_computes_in_single_precision_only() {
        let cpu = ChosenDevice::cpu("test");
        assert!(cpu.check_precision(Precision::F32).is_ok());
        for precision in [Precision::F16, Precision::Bf16] {
            let error = cpu.check_precision(precision).unwrap_err().to_string();
            assert_eq!(error, format!("--precision {precision}: the cpu device computes in f32"));
        }
    }

    #[test]
    fn only_training_keeps_what_a_backward_pass_needs() {
        let settings = small_settings("lenet5");
        assert!(ChosenDevice::cpu("test").training(&settings).is_autodiff());
        assert!(!ChosenDevice::cpu("test").device.is_autodiff());
    }

    #[test]
    fn a_panic_of_an_asynchronous_device_is_its_failure() {
        let mut device = ChosenDevice::cpu("test");
        device.synchronous = false;
        let lost = guarded::<()>(&device, 4, || panic!("Caused by:\n  device lost"));
        assert_eq!(lost.unwrap_err().to_string(), "device `cpu` failed: device lost");
        let full = guarded::<()>(&device, 4, || panic!("out of memory"));
        assert!(matches!(full, Err(TrainError::DeviceMemory { batch_size: 4, .. })));
        assert_eq!(guarded(&device, 4, || Ok(7)).unwrap(), 7);
    }
}
