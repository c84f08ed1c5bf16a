//! From a host minibatch to tensors on the device: the seam behind which the way to the device is decided.
//!
//! On the cpu device the pipeline's f32 buffer becomes the tensor's own storage: nothing is copied. A GPU gets the
//! same f32 batch through the backend's upload; reading bytes where they were decoded comes with its own issue.

use burn::tensor::{Device, Int, Tensor, TensorData};
use footplate_data::{HostBatch, Inputs, Normalize, PixelLayout};

use crate::device::ChosenDevice;
use crate::model::NetInput;

/// One minibatch on the device.
pub(crate) struct DeviceBatch {
    pub(crate) input: NetInput,
    /// True classes, one for each row of the model's scores: `[rows]`.
    pub(crate) targets: Tensor<1, Int>,
    /// Rows of scores that the model will give.
    pub(crate) rows: usize,
    /// Bytes of inputs that were copied on the way.
    pub(crate) copied_bytes: u64,
}

/// Hands host minibatches to one device.
pub(crate) struct Feed {
    device: Device,
    normalize: Normalize,
    /// Whether a tensor is made of the very buffer that it is given.
    in_place: bool,
}

impl Feed {
    /// `training`: the tensors are for a network that is trained.
    pub(crate) fn new(chosen: &ChosenDevice, training: bool, normalize: Normalize) -> Self {
        let device = chosen.device.clone();
        Self {
            device: if training { device.autodiff() } else { device },
            normalize,
            in_place: chosen.synchronous,
        }
    }

    /// The form in which the pipeline should write pixels.
    pub(crate) fn layout() -> PixelLayout {
        PixelLayout::F32Nchw
    }

    /// Takes a minibatch to the device. It must hold at least one item.
    pub(crate) fn upload(&self, batch: HostBatch) -> DeviceBatch {
        let items = batch.items;
        match batch.inputs {
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
            Inputs::U8Nhwc { data, shape } => {
                // Burn widens the bytes before they go.
                let copied = data.len() as u64 + self.copied(data.len() * 4);
                let pixels = Tensor::<4>::from_data(TensorData::new(data.into_vec(), shape), &self.device);
                self.images(self.normalized(pixels), batch.labels, copied)
            }
            Inputs::Tokens { data, shape: [_, length] } => self.tokens(&data, items, length),
        }
    }

    /// Bytes that a tensor's upload through Burn copies.
    fn copied(&self, bytes: usize) -> u64 {
        if self.in_place { 0 } else { bytes as u64 }
    }

    fn images(&self, images: Tensor<4>, labels: Vec<i32>, copied_bytes: u64) -> DeviceBatch {
        let rows = labels.len();
        let targets = Tensor::from_data(TensorData::new(labels, [rows]), &self.device);
        let input = NetInput::Images(images);
        DeviceBatch { input, targets, rows, copied_bytes }
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
        DeviceBatch { input, targets, rows, copied_bytes }
    }
}

#[cfg(test)]
mod tests {
    use footplate_data::StageTimes;

    use super::*;

    fn batch(inputs: Inputs) -> HostBatch {
        HostBatch {
            seq: 0,
            epoch: 0,
            batch: 0,
            items: 2,
            inputs,
            labels: vec![1, 0],
            indices: vec![0, 1],
            bad: Vec::new(),
            times: StageTimes::default(),
        }
    }

    /// Bytes that the device normalises give the very numbers that the decoders write.
    #[test]
    fn bytes_and_numbers_of_the_same_pixels_give_the_same_input() {
        let side = 5;
        let pixels: Vec<u8> = (0..2 * side * side * 3).map(|i| (i * 37 % 256) as u8).collect();
        let normalize = Normalize::IMAGENET;
        let mut numbers = vec![0.0; pixels.len()];
        let image = side * side * 3;
        for (from, to) in pixels.chunks_exact(image).zip(numbers.chunks_exact_mut(image)) {
            normalize.nhwc_u8_to_nchw_f32(from, side, to);
        }
        let device = ChosenDevice::cpu("test");
        let fed = |inputs| {
            let batch = Feed::new(&device, false, normalize).upload(batch(inputs));
            let NetInput::Images(images) = batch.input else { panic!("images") };
            (images.into_data().try_to_vec::<f32>().unwrap(), batch.copied_bytes)
        };
        let length = pixels.len() as u64;
        let view = fed(Inputs::F32Nchw { data: numbers.clone().into(), shape: [2, 3, side, side] });
        let bytes = fed(Inputs::U8Nhwc { data: pixels.into(), shape: [2, side, side, 3] });
        assert_eq!(view, (numbers.clone(), 0));
        assert_eq!(bytes, (numbers, length));
    }
}
