//! From a host minibatch to tensors on the device: the one place that decides its way.
//!
//! On the cpu device the pipeline's f32 buffer becomes the tensor's own storage. A GPU gets bytes, which its first
//! kernel turns into the model's input: from where the decoders wrote them if both share one memory, else from a
//! copy in the GPU's own. Whatever the way, the network sees the same numbers.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use footplate_data::{HostBatch, Inputs, LoaderSettings, Normalize, PixelLayout};
use serde::Deserialize;

use crate::device::{self, ChosenDevice};
use crate::error::TrainError;
#[cfg(feature = "vulkan")]
use crate::gpu;
use crate::model::NetInput;
use crate::settings::Precision;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedChoice {
    /// What suits the device.
    #[default]
    Auto,
    /// The GPU reads what the decoders wrote.
    Mapped,
    /// The GPU reads a copy in its own memory.
    Staged,
    /// The decoders' buffer is the tensor; on the cpu.
    View,
}

impl FromStr for FeedChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "mapped" => Ok(Self::Mapped),
            "staged" => Ok(Self::Staged),
            "view" => Ok(Self::View),
            other => Err(format!("`{other}` is not one of auto, mapped, staged, view")),
        }
    }
}

impl fmt::Display for FeedChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Mapped => "mapped",
            Self::Staged => "staged",
            Self::View => "view",
        })
    }
}

/// Whose memory a device computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceMemory {
    /// The process's own.
    Process,
    /// One that the processor and a GPU share, and that both can address at once.
    #[cfg_attr(
        not(any(feature = "vulkan", test)),
        expect(dead_code, reason = "known of Vulkan devices only")
    )]
    Shared,
    /// A GPU's own, and one beside it that both can address.
    #[cfg_attr(
        not(any(feature = "vulkan", test)),
        expect(dead_code, reason = "known of Vulkan devices only")
    )]
    Own,
    /// A GPU's, reached through Burn only.
    Opaque,
}

/// The way of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedWay {
    /// See [`FeedChoice::View`].
    View,
    /// See [`FeedChoice::Mapped`].
    Mapped,
    /// See [`FeedChoice::Staged`].
    Staged,
}

impl FeedWay {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Mapped => "mapped",
            Self::Staged => "staged",
        }
    }
}

/// Decides.
pub(crate) fn decide(choice: FeedChoice, memory: DeviceMemory) -> Result<FeedWay, TrainError> {
    let refuse = |reason: &str| {
        Err(TrainError::Setting { setting: "feed", value: choice.to_string(), reason: reason.to_owned() })
    };
    match (choice, memory) {
        (FeedChoice::Auto | FeedChoice::View, DeviceMemory::Process) => Ok(FeedWay::View),
        (FeedChoice::Auto, DeviceMemory::Shared) => Ok(FeedWay::Mapped),
        (FeedChoice::Auto | FeedChoice::Staged, DeviceMemory::Own | DeviceMemory::Opaque) => {
            Ok(FeedWay::Staged)
        }
        // A GPU with its own memory can read the other too: slowly, but it can be asked for.
        (FeedChoice::Mapped, DeviceMemory::Shared | DeviceMemory::Own) => Ok(FeedWay::Mapped),
        (FeedChoice::Staged, DeviceMemory::Shared) => Ok(FeedWay::Staged),
        (FeedChoice::Mapped, DeviceMemory::Opaque) => refuse("this device's memory cannot be mapped here"),
        (FeedChoice::Mapped | FeedChoice::Staged, DeviceMemory::Process) => {
            refuse("the cpu device takes the decoders' buffer as it is: auto or view")
        }
        (FeedChoice::View, _) => refuse("only the cpu device takes the decoders' buffer as it is"),
    }
}

/// One minibatch on the device.
pub(crate) struct DeviceBatch {
    pub(crate) input: NetInput,
    /// True classes, one for each row of the model's scores: `[rows]`.
    pub(crate) targets: Tensor<1, Int>,
    /// Rows of scores that the model will give.
    pub(crate) rows: usize,
    /// Bytes of inputs that were copied on the way.
    pub(crate) copied_bytes: u64,
    /// How long the first kernel takes, where the device can tell.
    pub(crate) ingest: IngestTime,
}

/// The time of the kernel that makes the model's input.
#[derive(Clone, Default)]
pub(crate) struct IngestTime {
    #[cfg(feature = "vulkan")]
    on_gpu: Option<gpu::IngestTime>,
}

impl IngestTime {
    /// Nanoseconds, once the device has finished; `None` before, and where it does not tell.
    pub(crate) fn ns(&self) -> Option<u64> {
        #[cfg(feature = "vulkan")]
        let ns = self.on_gpu.as_ref().and_then(gpu::IngestTime::ns);
        #[cfg(not(feature = "vulkan"))]
        let ns = None;
        ns
    }
}

/// Hands host minibatches to one device.
pub(crate) struct Feed {
    device: Device,
    normalize: Normalize,
    way: FeedWay,
    /// Of images, where it is not f32.
    dtype: Option<FloatDType>,
    #[cfg(feature = "vulkan")]
    gpu: Option<GpuFeed>,
}

#[cfg(feature = "vulkan")]
struct GpuFeed {
    gpu: std::sync::Arc<gpu::Gpu>,
    ingest: gpu::Ingest,
}

#[cfg(feature = "vulkan")]
impl GpuFeed {
    fn new(gpu: std::sync::Arc<gpu::Gpu>, normalize: &Normalize, way: FeedWay, precision: Precision) -> Self {
        // A kernel writes no bf16: Burn makes them of f32.
        let numbers = if precision == Precision::F16 { gpu::Numbers::F16 } else { gpu::Numbers::F32 };
        Self { ingest: gpu::Ingest::new(gpu.clone(), normalize, way == FeedWay::Staged, numbers), gpu }
    }

    /// Whether a kernel can address the tensor of so many pixels.
    fn check(&self, [items, height, width, _]: [usize; 4]) -> Result<(), TrainError> {
        let most = self.gpu.largest_tensor();
        let each = 3 * self.ingest.bytes_per_number() * height as u64 * width as u64;
        if items as u64 * each <= most.0 {
            return Ok(());
        }
        Err(TrainError::DeviceMemory {
            device: "vulkan".to_owned(),
            batch_size: items,
            largest_batch: usize::try_from(most.0 / each.max(1)).ok(),
            reason: format!("its kernels address tensors of at most {most}"),
        })
    }
}

impl Feed {
    /// `device`: the chosen one, as the network has it that the tensors are for; it is computed in `precision`.
    pub(crate) fn new(
        chosen: &ChosenDevice,
        device: Device,
        normalize: Normalize,
        precision: Precision,
    ) -> Self {
        Self {
            device,
            way: chosen.feed,
            dtype: device::dtype(precision),
            #[cfg(feature = "vulkan")]
            gpu: chosen.gpu.clone().map(|gpu| GpuFeed::new(gpu, &normalize, chosen.feed, precision)),
            normalize,
        }
    }

    /// How the pipeline should make minibatches for this feed.
    pub(crate) fn loader(&self, settings: LoaderSettings) -> LoaderSettings {
        let layout = layout(self.way);
        #[cfg(feature = "vulkan")]
        if let Some(feed) = &self.gpu {
            // Those made ahead, the one in the loop's hands, and those that the GPU may be reading.
            let most = settings.prefetch_batches + 1 + gpu::IN_FLIGHT;
            let pool = gpu::MappedPool::new(feed.gpu.clone(), most);
            let buffer_provider: std::sync::Arc<dyn footplate_data::BufferProvider<u8>> =
                std::sync::Arc::new(gpu::MappedLender(pool));
            return LoaderSettings { layout, buffer_provider: Some(buffer_provider), ..settings };
        }
        LoaderSettings { layout, ..settings }
    }

    /// Takes a minibatch to the device. It must hold at least one item.
    pub(crate) fn upload(&self, batch: HostBatch) -> Result<DeviceBatch, TrainError> {
        let items = batch.items;
        Ok(match batch.inputs {
            Inputs::F32Nchw { data, shape } => {
                let copied = self.copied(data.len() * 4);
                let images = Tensor::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(images, batch.labels, copied)
            }
            Inputs::F16Nchw { data, shape } => {
                let copied = self.copied(data.len() * 2);
                let images = Tensor::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(images, batch.labels, copied)
            }
            #[cfg(feature = "vulkan")]
            Inputs::U8Nhwc { data, shape } if self.gpu.is_some() => {
                self.ingested(data, shape, batch.labels)?
            }
            Inputs::U8Nhwc { data, shape } => {
                // Burn widens the bytes before they go.
                let copied = data.len() as u64 + self.copied(data.len() * 4);
                let pixels = Tensor::<4>::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(self.normalized(pixels), batch.labels, copied)
            }
            Inputs::Tokens { data, shape: [_, length] } => self.tokens(&data, items, length),
        })
    }

    /// Bytes that a tensor's upload through Burn copies.
    fn copied(&self, bytes: usize) -> u64 {
        if self.way == FeedWay::View { 0 } else { bytes as u64 }
    }

    #[cfg(feature = "vulkan")]
    fn ingested(
        &self,
        data: footplate_data::Pooled<u8>,
        shape: [usize; 4],
        labels: Vec<i32>,
    ) -> Result<DeviceBatch, TrainError> {
        let failed = |reason: String| TrainError::DeviceFailed { device: "vulkan".to_owned(), reason };
        let Some(feed) = &self.gpu else { return Err(failed("it is not open".to_owned())) };
        feed.check(shape)?;
        let ingested = match data.into_external() {
            Ok(lent) => match lent.downcast::<gpu::LentBuffer>() {
                Ok(lent) => feed.ingest.lent(*lent, shape, &self.device),
                Err(_) => Err("a minibatch in memory of another kind".to_owned()),
            },
            Err(own) => feed.ingest.foreign(&own, shape, &self.device),
        };
        let ingested = ingested.map_err(failed)?;
        let batch = self.images(ingested.images, labels, ingested.copied);
        Ok(DeviceBatch { ingest: IngestTime { on_gpu: ingested.time }, ..batch })
    }

    fn images(&self, images: Tensor<4>, labels: Vec<i32>, copied_bytes: u64) -> DeviceBatch {
        let rows = labels.len();
        let targets = Tensor::from_data(TensorData::new(labels, [rows]), &self.device);
        let images = match self.dtype {
            Some(dtype) => images.cast(dtype),
            None => images,
        };
        let input = NetInput::Images(images);
        DeviceBatch { input, targets, rows, copied_bytes, ingest: IngestTime::default() }
    }

    /// `[n, h, w, 3]` of 0 to 255 to normalised `[n, 3, h, w]`, by the formula of the decoders.
    fn normalized(&self, pixels: Tensor<4>) -> Tensor<4> {
        let of = |pick: fn((f32, f32)) -> f32| {
            let values = [0, 1, 2].map(|channel| pick(self.normalize.scale_shift(channel)));
            Tensor::<1>::from_floats(values, &self.device).reshape([1, 1, 1, 3])
        };
        (pixels * of(|(scale, _)| scale) - of(|(_, shift)| shift)).permute([0, 3, 1, 2])
    }

    /// A window of `length` characters gives `length - 1` predictions: each character's next one.
    fn tokens(&self, data: &[i32], items: usize, length: usize) -> DeviceBatch {
        let steps = length - 1;
        let rows = items * steps;
        let windows = || data.chunks_exact(length).take(items);
        let inputs: Vec<i32> = windows().flat_map(|w| &w[..steps]).copied().collect();
        let targets: Vec<i32> = windows().flat_map(|w| &w[1..]).copied().collect();
        // Each window is taken apart, and what it gives goes the way of any small tensor.
        let copied_bytes = 4 * rows as u64 + self.copied(4 * rows);
        let input = Tensor::from_data(TensorData::new(inputs, [items, steps]), &self.device);
        let targets = Tensor::from_data(TensorData::new(targets, [rows]), &self.device);
        let input = NetInput::Tokens(input);
        DeviceBatch { input, targets, rows, copied_bytes, ingest: IngestTime::default() }
    }
}

/// The form in which the pipeline should write pixels.
pub(crate) fn layout(way: FeedWay) -> PixelLayout {
    match way {
        FeedWay::View => PixelLayout::F32Nchw,
        FeedWay::Mapped | FeedWay::Staged => PixelLayout::U8Nhwc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_follows_from_the_memory_unless_it_is_asked_for() {
        use DeviceMemory::{Opaque, Own, Process, Shared};
        let auto = |memory| decide(FeedChoice::Auto, memory).unwrap();
        assert_eq!(
            [Process, Shared, Own, Opaque].map(auto),
            [FeedWay::View, FeedWay::Mapped, FeedWay::Staged, FeedWay::Staged]
        );
        assert_eq!(decide(FeedChoice::Staged, Shared).unwrap(), FeedWay::Staged);
        assert_eq!(decide(FeedChoice::Mapped, Own).unwrap(), FeedWay::Mapped);
        for (choice, memory) in [
            (FeedChoice::View, Shared),
            (FeedChoice::Mapped, Process),
            (FeedChoice::Staged, Process),
            (FeedChoice::Mapped, Opaque),
        ] {
            let error = decide(choice, memory).unwrap_err().to_string();
            assert!(error.starts_with(&format!("feed = {choice}: ")), "{error}");
        }
    }
}
