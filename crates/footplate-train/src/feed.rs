//! From a host minibatch to tensors on the device: the seam behind which the way to the device is decided.
//!
//! On the cpu device the pipeline's f32 buffer becomes the tensor's own storage: nothing is copied. A GPU
//! asks the pipeline for u8 pixels and normalises there; that path comes with its own issue, and until then a
//! GPU gets the same f32 batch through the backend's upload.

use burn::tensor::{Device, Int, Tensor, TensorData};
use footplate_data::{HostBatch, Inputs, Normalize, PixelLayout};

use crate::model::NetInput;

/// One minibatch on the device.
pub(crate) struct DeviceBatch {
    pub(crate) input: NetInput,
    /// True classes, one for each row of the model's scores: `[rows]`.
    pub(crate) targets: Tensor<1, Int>,
    /// Rows of scores that the model will give.
    pub(crate) rows: usize,
}

/// Hands host minibatches to one device.
pub(crate) struct Feed {
    device: Device,
    normalize: Normalize,
}

impl Feed {
    pub(crate) fn new(device: Device, normalize: Normalize) -> Self {
        Self { device, normalize }
    }

    /// The form in which the pipeline should write pixels for this device.
    pub(crate) fn layout() -> PixelLayout {
        PixelLayout::F32Nchw
    }

    /// Takes a minibatch to the device. It must hold at least one item.
    pub(crate) fn upload(&self, batch: HostBatch) -> DeviceBatch {
        let items = batch.items;
        match batch.inputs {
            Inputs::F32Nchw { data, shape } => {
                let images = Tensor::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(images, batch.labels)
            }
            Inputs::F16Nchw { data, shape } => {
                let images = Tensor::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(images, batch.labels)
            }
            Inputs::U8Nhwc { data, shape } => {
                let pixels = Tensor::<4>::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(self.normalized(pixels), batch.labels)
            }
            Inputs::Tokens { data, shape: [_, length] } => self.tokens(&data, items, length),
        }
    }

    fn images(&self, images: Tensor<4>, labels: Vec<i32>) -> DeviceBatch {
        let rows = labels.len();
        let targets = Tensor::from_data(TensorData::new(labels, [rows]), &self.device);
        DeviceBatch { input: NetInput::Images(images), targets, rows }
    }

    /// `[n, h, w, 3]` of 0 to 255 to normalised `[n, 3, h, w]`.
    fn normalized(&self, pixels: Tensor<4>) -> Tensor<4> {
        let channel = |values: [f32; 3]| Tensor::<1>::from_floats(values, &self.device).reshape([1, 1, 1, 3]);
        let scaled = pixels.div_scalar(255.0);
        ((scaled - channel(self.normalize.mean)) / channel(self.normalize.std)).permute([0, 3, 1, 2])
    }

    /// A window of `length` characters gives `length - 1` predictions: each character's next one.
    fn tokens(&self, data: &[i32], items: usize, length: usize) -> DeviceBatch {
        let steps = length - 1;
        let rows = items * steps;
        let windows = || data.chunks_exact(length).take(items);
        let inputs: Vec<i32> = windows().flat_map(|w| &w[..steps]).copied().collect();
        let targets: Vec<i32> = windows().flat_map(|w| &w[1..]).copied().collect();
        let input = Tensor::from_data(TensorData::new(inputs, [items, steps]), &self.device);
        let targets = Tensor::from_data(TensorData::new(targets, [rows]), &self.device);
        DeviceBatch { input: NetInput::Tokens(input), targets, rows }
    }
}
