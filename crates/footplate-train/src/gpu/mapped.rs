//! Memory that the processor writes and the GPU reads: Vulkan buffers that stay mapped for as long as they live.
//!
//! wgpu's own mapped buffers may not be used by the GPU while they are mapped, so each use would unmap and map one
//! again. These are allocated beside wgpu and handed to it: it then tracks, binds and frees them as its own. What
//! wgpu would do for a buffer of its own is done here: a buffer is written only while no work that reads it is on
//! the queue ([`MappedPool`]), and the memory is coherent, so that submitting work shows the GPU what was written.
#![expect(unsafe_code, reason = "wgpu has no buffers that stay mapped while the GPU reads them")]

use std::any::Any;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;
use burn::tensor::wgpu::wgpu;
use footplate_core::Bytes;
use footplate_data::{BufferProvider, ExternalBuffer};
use wgpu::hal;

use super::Gpu;

/// Kinds of memory that will do, the best first.
const WANTED: [vk::MemoryPropertyFlags; 3] = [
    // Cached by the processor: what writes a sample may also read it back.
    flags(&[VISIBLE, COHERENT, vk::MemoryPropertyFlags::HOST_CACHED, vk::MemoryPropertyFlags::DEVICE_LOCAL]),
    flags(&[VISIBLE, COHERENT, vk::MemoryPropertyFlags::HOST_CACHED]),
    // Every Vulkan device has this kind.
    flags(&[VISIBLE, COHERENT]),
];
const VISIBLE: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::HOST_VISIBLE;
const COHERENT: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::HOST_COHERENT;

const fn flags(each: &[vk::MemoryPropertyFlags]) -> vk::MemoryPropertyFlags {
    let (mut raw, mut i) = (0, 0);
    while i < each.len() {
        raw |= each[i].as_raw();
        i += 1;
    }
    vk::MemoryPropertyFlags::from_raw(raw)
}

/// A buffer in memory that both processors see.
#[derive(Debug)]
pub(crate) struct MappedBuffer {
    buffer: wgpu::Buffer,
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the pointer is to memory that `buffer` keeps allocated and mapped, and that only this value writes.
unsafe impl Send for MappedBuffer {}

impl MappedBuffer {
    /// A buffer of at least `length` bytes, all zero.
    fn new(gpu: &Gpu, length: usize) -> Result<Self, String> {
        // Kernels read whole words.
        let length = length.next_multiple_of(4).max(4);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor {
            label: Some("minibatch"),
            size: length as u64,
            usage,
            mapped_at_creation: false,
        };
        // SAFETY: the handle is only read, and only while the guard lives.
        let device = unsafe { gpu.device.as_hal::<hal::api::Vulkan>() }.ok_or("not a Vulkan device")?;
        let (raw, start) =
            allocate(&device, length as u64).map_err(|e| format!("memory for a minibatch: {e}"))?;
        drop(device);
        // SAFETY: the memory is mapped for `length` bytes and nobody else knows it yet.
        unsafe { start.write_bytes(0, length) };
        // SAFETY: the buffer was made on this device with these uses and this size, and it is initialised.
        let buffer = unsafe { gpu.device.create_buffer_from_hal::<hal::api::Vulkan>(raw, &descriptor) };
        Ok(Self { buffer, start, length })
    }

    /// The buffer as the GPU's.
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped and initialised for `length` bytes, and written only through `&mut self`. The GPU only
        // reads it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`. That no work on the queue reads it is what `MappedPool` sees to.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

/// The size of the largest memory that is the device's own.
pub(super) fn own_memory(device: &wgpu::Device) -> Option<Bytes> {
    // SAFETY: the handle is only read, and only while the guard lives.
    let device = unsafe { device.as_hal::<hal::api::Vulkan>() }?;
    let instance = device.shared_instance().raw_instance();
    // SAFETY: a plain query of Vulkan about a device that lives.
    let properties = unsafe { instance.get_physical_device_memory_properties(device.raw_physical_device()) };
    let heaps = properties.memory_heaps_as_slice().iter();
    let own = heaps.filter(|heap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    own.map(|heap| Bytes(heap.size)).max()
}

/// A Vulkan buffer with its own memory, mapped from now on.
fn allocate(
    device: &hal::vulkan::Device,
    length: u64,
) -> Result<(hal::vulkan::Buffer, NonNull<u8>), vk::Result> {
    let (raw, physical) = (device.raw_device(), device.raw_physical_device());
    let uses = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC;
    let info =
        vk::BufferCreateInfo::default().size(length).usage(uses).sharing_mode(vk::SharingMode::EXCLUSIVE);
    // SAFETY: plain calls of Vulkan on a live device; what is made is destroyed again on each error.
    unsafe {
        let properties =
            device.shared_instance().raw_instance().get_physical_device_memory_properties(physical);
        let buffer = raw.create_buffer(&info, None)?;
        let needs = raw.get_buffer_memory_requirements(buffer);
        let kind = kind_of_memory(&properties, needs.memory_type_bits);
        let made = kind.ok_or(vk::Result::ERROR_FEATURE_NOT_PRESENT).and_then(|kind| {
            let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(kind);
            raw.allocate_memory(&info, None)
        });
        let memory = made.inspect_err(|_| raw.destroy_buffer(buffer, None))?;
        let mapped = raw
            .bind_buffer_memory(buffer, memory, 0)
            .and_then(|()| raw.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()))
            .and_then(|start| NonNull::new(start.cast::<u8>()).ok_or(vk::Result::ERROR_MEMORY_MAP_FAILED));
        let start = mapped.inspect_err(|_| {
            raw.destroy_buffer(buffer, None);
            raw.free_memory(memory, None);
        })?;
        // Freeing the memory, which wgpu does when it drops the buffer, unmaps it.
        Ok((hal::vulkan::Buffer::from_raw_managed(buffer, memory, 0, needs.size), start))
    }
}

/// The best kind of memory among those that `allowed` has a bit for.
fn kind_of_memory(properties: &vk::PhysicalDeviceMemoryProperties, allowed: u32) -> Option<u32> {
    let kinds = properties.memory_types_as_slice();
    WANTED.iter().find_map(|wanted| {
        let fits = |i: usize| allowed & (1 << i) != 0 && kinds[i].property_flags.contains(*wanted);
        (0..kinds.len()).find(|i| fits(*i)).and_then(|i| u32::try_from(i).ok())
    })
}

/// Buffers that go round between the pipeline and the GPU. A buffer is with exactly one of: the free ones, a
/// minibatch ([`LentBuffer`]), the GPU.
#[derive(Debug)]
pub(crate) struct MappedPool {
    gpu: Arc<Gpu>,
    /// Buffers that may exist.
    most: usize,
    state: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    free: Vec<MappedBuffer>,
    made: usize,
}

impl MappedPool {
    /// A pool of up to `most` buffers, which are made when they are first needed.
    pub(crate) fn new(gpu: Arc<Gpu>, most: usize) -> Arc<Self> {
        Arc::new(Self { gpu, most, state: Mutex::default() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Buffers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `length` bytes that nobody reads; `None` if all are in use or no more can be had.
    fn take(&self, length: usize) -> Option<MappedBuffer> {
        let mut state = self.state();
        if let Some(found) = state.free.iter().position(|buffer| buffer.length >= length) {
            return Some(state.free.swap_remove(found));
        }
        if state.made >= self.most {
            return None;
        }
        let buffer = MappedBuffer::new(&self.gpu, length).ok()?;
        state.made += 1;
        Some(buffer)
    }

    /// Takes back a buffer that the GPU has finished with.
    pub(crate) fn give_back(&self, buffer: MappedBuffer) {
        self.state().free.push(buffer);
    }

    /// Buffers that are free, and those that exist.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.free.len(), state.made)
    }
}

/// The pool as the pipeline sees it.
#[derive(Debug)]
pub(crate) struct MappedLender(pub(crate) Arc<MappedPool>);

impl BufferProvider<u8> for MappedLender {
    fn provide(&self, length: usize) -> Option<Box<dyn ExternalBuffer<u8>>> {
        let buffer = self.0.take(length)?;
        Some(Box::new(LentBuffer { buffer: Some(buffer), pool: self.0.clone() }))
    }
}

/// A buffer in the hands of the pipeline. Dropped on any way, it goes back.
#[derive(Debug)]
pub(crate) struct LentBuffer {
    /// `None` once it was taken out.
    buffer: Option<MappedBuffer>,
    pool: Arc<MappedPool>,
}

impl LentBuffer {
    /// The buffer itself, for the GPU to read.
    pub(crate) fn take(mut self) -> Option<(MappedBuffer, Arc<MappedPool>)> {
        self.buffer.take().map(|buffer| (buffer, self.pool.clone()))
    }
}

impl Drop for LentBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give_back(buffer);
        }
    }
}

// SAFETY: the slices are those of one mapped buffer, whose memory neither moves nor is freed while `self` lives. It
// came from the free ones, so no work that reads it is on the queue, and nobody else has it.
unsafe impl ExternalBuffer<u8> for LentBuffer {
    fn elements(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], MappedBuffer::bytes)
    }

    fn elements_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], MappedBuffer::bytes_mut)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
