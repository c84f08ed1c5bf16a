//! What the way of a minibatch to a GPU costs: for `examples/feed.rs`.

use burn::tensor::{Tensor, TensorData};
use footplate_core::ports::Clock;
use footplate_data::cpu_time::process_cpu_s;
use footplate_data::{BufferProvider, Normalize};

use crate::device::{self, DeviceChoice};
use crate::error::TrainError;
use crate::feed_path::FeedChoice;
use crate::gpu::{IN_FLIGHT, Ingest, LentBuffer, MappedLender, MappedPool, Numbers};

/// A form of minibatches and their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Normalised by the processor, and the numbers copied by Burn's upload.
    StagedF32,
    /// Bytes, copied to the GPU's memory and read there.
    StagedU8,
    /// Bytes, read where they were decoded.
    MappedU8,
}

/// What a minibatch cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// From the decoded minibatch to the finished tensor on the GPU, each round, in seconds.
    pub wall_s: Vec<f64>,
    /// CPU time of the process for a round, in seconds. On a driver that computes on the processor the kernel's work
    /// is in it.
    pub cpu_s: f64,
    /// Bytes copied for a minibatch.
    pub copied_bytes: u64,
    /// The kernel's time by the GPU's clock, in seconds, where it tells.
    pub kernel_s: Option<f64>,
}

/// The Vulkan device's name.
pub fn device_name() -> Result<String, TrainError> {
    device::choose(DeviceChoice::Vulkan, FeedChoice::Auto).map(|device| device.reason)
}

/// Takes `rounds` minibatches of `items` images of `side` pixels to the Vulkan device, each to its end. Some warm up.
pub fn measure(
    form: Form,
    (items, side): (usize, usize),
    rounds: usize,
    clock: &dyn Clock,
) -> Result<Cost, TrainError> {
    let device = device::choose(DeviceChoice::Vulkan, FeedChoice::Auto)?;
    let failed = |reason: String| TrainError::DeviceFailed { device: "vulkan".to_owned(), reason };
    let Some(gpu) = device.gpu.clone() else { return Err(failed("it is not open".to_owned())) };
    let length = items * side * side * 3;
    let most = gpu.largest_tensor();
    if 4 * length as u64 > most.0 {
        return Err(TrainError::DeviceMemory {
            device: "vulkan".to_owned(),
            batch_size: items,
            largest_batch: usize::try_from(most.0).ok().map(|most| most / (length * 4 / items.max(1)).max(1)),
            reason: format!("its kernels address tensors of at most {most}"),
        });
    }
    let pool = MappedPool::new(gpu.clone(), IN_FLIGHT + 1);
    let ingest = Ingest::new(gpu, &Normalize::IMAGENET, form == Form::StagedU8, Numbers::F32);
    let pixels: Vec<u8> = (0..length).map(|i| (i % 255) as u8).collect();
    let mut cost = Cost::default();
    let mut cpu_s = 0.0;
    let warm_up = 2;
    for round in 0..rounds + warm_up {
        // Where the decoders would have written the pixels.
        let lent = if form == Form::StagedF32 { None } else { MappedLender(pool.clone()).provide(length) };
        let (begun_ns, cpu_began_s) = (clock.now_ns(), process_cpu_s());
        let (tensor, copied, kernel) = match (form, lent) {
            (Form::StagedF32, _) => {
                let data = TensorData::new(normalized(&pixels, side), [items, 3, side, side]);
                (Tensor::<4>::from_data(data, &device.device), 4 * length as u64, None)
            }
            (_, Some(lent)) => {
                let lent = lent.into_any().downcast::<LentBuffer>();
                let lent = lent.map_err(|_| failed("memory of another kind".to_owned()))?;
                let shape = [items, side, side, 3];
                let done = ingest.lent(*lent, shape, &device.device).map_err(failed)?;
                (done.images, done.copied, done.time)
            }
            (_, None) => return Err(failed("no memory for a minibatch".to_owned())),
        };
        device.device.sync().map_err(|e| failed(e.to_string()))?;
        if round >= warm_up {
            cost.wall_s.push((clock.now_ns() - begun_ns) as f64 / 1e9);
            cpu_s += process_cpu_s() - cpu_began_s;
            cost.copied_bytes = copied;
            cost.kernel_s = kernel.and_then(|time| time.ns()).map(|ns| ns as f64 / 1e9);
        }
        drop(tensor);
    }
    cost.cpu_s = cpu_s / rounds.max(1) as f64;
    Ok(cost)
}

/// `[n, h, w, 3]` to normalised `[n, 3, h, w]`, as a loader does that hands numbers over.
fn normalized(pixels: &[u8], side: usize) -> Vec<f32> {
    let plane = (side * side).max(1);
    let mut numbers = vec![0.0; pixels.len()];
    for (from, to) in pixels.chunks_exact(3 * plane).zip(numbers.chunks_exact_mut(3 * plane)) {
        for (channel, to) in to.chunks_exact_mut(plane).enumerate() {
            let (scale, shift) = Normalize::IMAGENET.scale_shift(channel);
            for (to, from) in to.iter_mut().zip(from.as_chunks::<3>().0) {
                *to = f32::from(from[channel]) * scale - shift;
            }
        }
    }
    numbers
}
