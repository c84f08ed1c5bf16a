//! From a host minibatch to tensors on the device: the one place that decides its way.
//!
//! On the cpu device the pipeline's f32 buffer becomes the tensor's own storage. A GPU gets bytes, which its first
//! kernel turns into the model's input: from where the decoders wrote them if both share one memory, else from a
//! copy in the GPU's own. Whatever the way, the network sees the same numbers.

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use footplate_data::{HostBatch, Inputs, LoaderSettings, Normalize};

use crate::device::{self, ChosenDevice};
use crate::error::TrainError;
use crate::feed_path::{FeedPath, layout};
#[cfg(feature = "vulkan")]
use crate::gpu;
use crate::network::NetInput;
use crate::settings::Precision;

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
    path: FeedPath,
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
    fn new(
        gpu: std::sync::Arc<gpu::Gpu>,
        normalize: &Normalize,
        path: FeedPath,
        precision: Precision,
    ) -> Self {
        // A kernel writes no bf16: Burn makes them of f32.
        let numbers = if precision == Precision::F16 { gpu::Numbers::F16 } else { gpu::Numbers::F32 };
        Self { ingest: gpu::Ingest::new(gpu.clone(), normalize, path == FeedPath::Staged, numbers), gpu }
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
            path: chosen.feed,
            dtype: device::dtype(precision),
            #[cfg(feature = "vulkan")]
            gpu: chosen.gpu.clone().map(|gpu| GpuFeed::new(gpu, &normalize, chosen.feed, precision)),
            normalize,
        }
    }

    /// How the pipeline should make minibatches for this feed.
    pub(crate) fn loader(&self, settings: LoaderSettings) -> LoaderSettings {
        let layout = layout(self.path);
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
        if self.path == FeedPath::View { 0 } else { bytes as u64 }
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

#[cfg(test)]
mod tests {
    use footplate_data::StageTimes;

    use super::*;

    /// A minibatch of so many items; its labels are their numbers.
    fn batch(items: usize, inputs: Inputs) -> HostBatch {
        HostBatch {
            seq: 0,
            epoch: 0,
            batch: 0,
            items,
            inputs,
            labels: (0..).take(items).collect(),
            indices: Vec::new(),
            bad: Vec::new(),
            times: StageTimes::default(),
        }
    }

    fn feed(path: FeedPath) -> Feed {
        let chosen = ChosenDevice { feed: path, ..ChosenDevice::cpu("test") };
        Feed::new(&chosen, Device::flex(), Normalize::IMAGENET, Precision::F32)
    }

    fn images(batch: DeviceBatch) -> Vec<f32> {
        batch.input.images().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn numbers_of_the_decoders_are_the_tensor_and_nothing_is_copied_on_the_cpu() {
        let values: Vec<f32> = (0..24u8).map(f32::from).collect();
        let inputs = || Inputs::F32Nchw { data: values.clone().into(), shape: [2, 3, 2, 2] };
        let up = feed(FeedPath::View).upload(batch(2, inputs())).unwrap();
        assert_eq!((up.rows, up.copied_bytes, up.ingest.ns()), (2, 0, None));
        assert_eq!(up.targets.clone().into_data().iter::<i64>().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(images(up), values);
        let copied = feed(FeedPath::Staged).upload(batch(2, inputs())).unwrap().copied_bytes;
        assert_eq!(copied, 24 * 4);
    }

    /// Bytes become the numbers that the decoders would have written: byte · scale - shift, channels first.
    #[test]
    fn bytes_are_normalised_by_the_formula_of_the_decoders() {
        let bytes: Vec<u8> = vec![0, 128, 255, 10, 20, 30];
        let inputs = Inputs::U8Nhwc { data: bytes.into(), shape: [1, 1, 2, 3] };
        let got = images(feed(FeedPath::View).upload(batch(1, inputs)).unwrap());
        let pixel = |value: f32, channel| {
            let (scale, shift) = Normalize::IMAGENET.scale_shift(channel);
            value * scale - shift
        };
        let expected =
            [pixel(0.0, 0), pixel(10.0, 0), pixel(128.0, 1), pixel(20.0, 1), pixel(255.0, 2), pixel(30.0, 2)];
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
    }

    #[test]
    fn a_window_predicts_each_next_character() {
        let inputs = Inputs::Tokens { data: vec![5, 6, 7, 8, 1, 2, 3, 4].into(), shape: [2, 4] };
        let up = feed(FeedPath::View).upload(batch(2, inputs)).unwrap();
        assert_eq!((up.rows, up.copied_bytes), (6, 24));
        assert_eq!(up.targets.into_data().iter::<i64>().collect::<Vec<_>>(), [6, 7, 8, 2, 3, 4]);
        let tokens = up.input.tokens();
        assert_eq!(tokens.dims(), [2, 3]);
        assert_eq!(tokens.into_data().iter::<i64>().collect::<Vec<_>>(), [5, 6, 7, 1, 2, 3]);
    }

    #[test]
    fn a_network_of_half_precision_gets_images_of_half_precision() {
        let feed =
            Feed::new(&ChosenDevice::cpu("test"), Device::flex(), Normalize::IMAGENET, Precision::Bf16);
        let inputs = Inputs::F32Nchw { data: vec![1.0; 12].into(), shape: [1, 3, 2, 2] };
        let images = feed.upload(batch(1, inputs)).unwrap().input.images();
        assert_eq!(images.dtype(), burn::tensor::DType::BF16);
    }

    #[test]
    fn the_pipeline_makes_what_the_path_takes() {
        use footplate_data::PixelLayout::{F32Nchw, U8Nhwc};
        let layouts = [FeedPath::View, FeedPath::Mapped, FeedPath::Staged].map(layout);
        assert_eq!(layouts, [F32Nchw, U8Nhwc, U8Nhwc]);
    }
}
