//! The GPU that Burn computes on through Vulkan, as the feed sees it: the same device and queue, memory that both
//! processors address, and the kernel that makes the model's input from bytes.

mod ingest;
mod mapped;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuBackend, WgpuSetup, wgpu};
use footplate_core::Bytes;

pub(crate) use ingest::{IN_FLIGHT, Ingest, IngestTime, Numbers};
pub(crate) use mapped::{LentBuffer, MappedLender, MappedPool};

#[cfg(feature = "autotune")]
use crate::kernels;

/// The GPU of this process. A second one would need a second Burn runtime, which nothing here asks for.
static OPENED: Mutex<Option<Arc<Gpu>>> = Mutex::new(None);

/// A GPU, with the handles that Burn's runtime uses.
pub(crate) struct Gpu {
    /// The device as Burn has it.
    pub(crate) burn: Device,
    /// Burn's runtime submits to the same queue: what is submitted first is done first.
    pub(crate) queue: wgpu::Queue,
    pub(crate) device: wgpu::Device,
    /// As the driver names it.
    pub(crate) name: String,
    /// Whether the processor and the GPU share one memory.
    pub(crate) unified: bool,
    /// The size of its memory, if it has its own.
    pub(crate) own_memory: Option<Bytes>,
    /// Whether it is no GPU: a driver that computes on the processor (Mesa's lavapipe).
    pub(crate) software: bool,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.name)
            .field("unified", &self.unified)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// The GPU of this process, opened by the first who asks.
    pub(crate) fn open() -> Result<Arc<Self>, String> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = opened.as_ref() {
            return Ok(gpu.clone());
        }
        #[cfg(feature = "autotune")]
        kernels::prepare();
        let options = Device::wgpu_options().graphics_api(WgpuBackend::Vulkan);
        let (burn, setup) = options.init_with_setup().map_err(|e| e.to_string())?;
        let gpu = Arc::new(Self::new(burn, setup));
        #[cfg(feature = "autotune")]
        kernels::activate(&gpu.name);
        *opened = Some(gpu.clone());
        Ok(gpu)
    }

    fn new(burn: Device, setup: WgpuSetup) -> Self {
        let info = setup.adapter.get_info();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let unified = software || info.device_type == wgpu::DeviceType::IntegratedGpu;
        let own_memory = if unified { None } else { mapped::own_memory(&setup.device) };
        let name = if info.driver_info.is_empty() {
            info.name
        } else {
            format!("{}, {} {}", info.name, info.driver, info.driver_info)
        };
        Self { burn, queue: setup.queue, device: setup.device, name, unified, own_memory, software }
    }

    /// The largest tensor that a kernel can address.
    pub(crate) fn largest_tensor(&self) -> Bytes {
        let limits = self.device.limits();
        Bytes(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size))
    }

    /// Runs callbacks of work that is done, without waiting.
    pub(crate) fn poll(&self) {
        // An error would be a wrong submission's number or a time limit, and a poll has neither.
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// Waits until the GPU has done what was submitted up to `index`.
    pub(crate) fn wait_for(&self, index: wgpu::SubmissionIndex) {
        // On a lost device this returns at once, and the loss is found when something is read.
        let _ = self.device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None });
    }
}
