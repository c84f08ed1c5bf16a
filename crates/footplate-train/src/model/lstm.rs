//! A character language model: embedding, LSTM layers (Hochreiter and Schmidhuber 1997), dense layer.

use burn::module::{Initializer, Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Forward, ModelShape, NetInput};

/// One layer. The gates stand in PyTorch's order: input, forget, cell, output.
#[derive(Module, Debug)]
struct LstmLayer {
    /// `[input, 4 · hidden]`
    weight_ih: Param<Tensor<2>>,
    /// `[hidden, 4 · hidden]`
    weight_hh: Param<Tensor<2>>,
    /// `[4 · hidden]`
    bias_ih: Param<Tensor<1>>,
    /// `[4 · hidden]`
    bias_hh: Param<Tensor<1>>,
}

impl LstmLayer {
    fn new(input: usize, hidden: usize, device: &Device) -> Self {
        let bound = 1.0 / (hidden as f64).sqrt();
        let uniform = Initializer::Uniform { min: -bound, max: bound };
        // A forget gate that begins open lets gradients reach back (Jozefowicz et al. 2015).
        let bias: Vec<f32> = (0..4 * hidden).map(|i| f32::from(u8::from(i / hidden == 1))).collect();
        Self {
            weight_ih: uniform.init([input, 4 * hidden], device),
            weight_hh: uniform.init([hidden, 4 * hidden], device),
            bias_ih: Param::from_data(TensorData::new(bias, [4 * hidden]), device),
            bias_hh: Initializer::Zeros.init([4 * hidden], device),
        }
    }

    /// One state `[n, hidden]` for each input `[n, input]`. The state before the first is zero.
    fn forward(&self, inputs: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        let bias = (self.bias_ih.val() + self.bias_hh.val()).unsqueeze::<2>();
        let (weight_ih, weight_hh) = (self.weight_ih.val(), self.weight_hh.val());
        let mut state: Option<(Tensor<2>, Tensor<2>)> = None;
        let mut outputs = Vec::with_capacity(inputs.len());
        for input in inputs {
            // Each step multiplies its own input: slices of one large product would each cost a gradient of
            // that product's full size.
            let mut gates = input.matmul(weight_ih.clone()) + bias.clone();
            if let Some((hidden, _)) = &state {
                gates = gates + hidden.clone().matmul(weight_hh.clone());
            }
            let [input, forget, cell, output] = split_gates(&gates);
            let new = sigmoid(input) * cell.tanh();
            let cell = match state {
                Some((_, cell)) => sigmoid(forget) * cell + new,
                None => new,
            };
            let hidden = sigmoid(output) * cell.clone().tanh();
            outputs.push(hidden.clone());
            state = Some((hidden, cell));
        }
        outputs
    }
}

fn split_gates(gates: &Tensor<2>) -> [Tensor<2>; 4] {
    let hidden = gates.dims()[1] / 4;
    [0, 1, 2, 3].map(|i| gates.clone().narrow(1, i * hidden, hidden))
}

/// Predicts each next character.
#[derive(Module, Debug)]
pub(super) struct CharacterLstm {
    embedding: Embedding,
    layers: Vec<LstmLayer>,
    head: Linear,
}

impl CharacterLstm {
    pub(super) fn new(shape: &ModelShape, device: &Device) -> Self {
        let size = shape.lstm;
        let layer =
            |i: usize| LstmLayer::new(if i == 0 { size.embed } else { size.hidden }, size.hidden, device);
        Self {
            embedding: EmbeddingConfig::new(shape.classes, size.embed).init(device),
            layers: (0..size.layers).map(layer).collect(),
            head: LinearConfig::new(size.hidden, shape.classes).init(device),
        }
    }
}

impl Forward for CharacterLstm {
    fn forward(&self, input: NetInput) -> Tensor<2> {
        let tokens = input.tokens();
        let [items, steps] = tokens.dims();
        let embed = |t: usize| self.embedding.forward(tokens.clone().narrow(1, t, 1)).flatten::<2>(1, 2);
        let inputs: Vec<Tensor<2>> = (0..steps).map(embed).collect();
        let states = self.layers.iter().fold(inputs, |inputs, layer| layer.forward(inputs));
        let states: Tensor<3> = Tensor::stack(states, 1);
        let width = states.dims()[2];
        self.head.forward(states.reshape([items * steps, width]))
    }

    /// The keys of a module with `embedding = nn.Embedding`, `lstm = nn.LSTM`, `head = nn.Linear`.
    fn torch_key(&self, path: &str) -> String {
        match path.split('.').collect::<Vec<_>>().as_slice() {
            ["layers", number, name] => format!("lstm.{name}_l{number}"),
            _ => path.to_owned(),
        }
    }

    const HEAD: &'static str = "head.";
}
