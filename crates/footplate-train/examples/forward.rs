//! One evaluation of a network on given weights and input, for comparison with PyTorch:
//! `forward MODEL CLASSES WEIGHTS.safetensors INPUT.f32 SHAPE LOGITS.f32 [WEIGHTS_OUT.safetensors]`.
//! Inputs and logits are raw little-endian f32 (tokens: whole numbers as f32).
#![expect(clippy::unwrap_used, reason = "a tool for developers ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "a tool for developers reads its arguments and files")]

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use footplate_train::model::{self, ModelShape, NetInput, Task};
use footplate_train::settings::LstmSize;
use footplate_train::weights;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, classes, weights_in, input, shape, output, rest @ ..] = arguments.as_slice() else {
        panic!("see the head of this example for its arguments");
    };
    let shape: Vec<usize> = shape.split('x').map(|n| n.parse().unwrap()).collect();
    let bytes = fs::read(input).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let device = Device::flex();
    let entry = model::find(name).unwrap();
    let size = LstmSize { embed: 16, hidden: 32, layers: 2 };
    let image_size = shape.last().copied().unwrap();
    let model_shape = ModelShape { classes: classes.parse().unwrap(), image_size, lstm: size };
    let mut net = (entry.build)(&model_shape, &device);
    let report = weights::load_safetensors(net.as_mut(), Path::new(weights_in)).unwrap();
    assert!(report.replaced_head.is_none() && report.ignored.is_empty(), "{report:?}");
    let input = match entry.task {
        Task::Images => NetInput::Images(Tensor::from_data(TensorData::new(values, shape), &device)),
        Task::CharacterLm => {
            let tokens: Vec<i32> = values.iter().map(|v| *v as i32).collect();
            NetInput::Tokens(Tensor::<2, Int>::from_data(TensorData::new(tokens, shape), &device))
        }
    };
    let logits = net.forward(input).into_data().try_to_vec::<f32>().unwrap();
    fs::write(output, logits.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    if let [back] = rest {
        weights::save_safetensors(net.as_ref(), Path::new(back)).unwrap();
    }
}
