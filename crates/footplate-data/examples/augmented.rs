//! The pixels that a training run sees, for training with another tool:
//! `augmented DATA SIZE EPOCHS SEED (train|eval) OUT` writes `OUT.u8` (`[EPOCHS * samples, SIZE, SIZE, 3]`, in the order
//! in which they would be trained on) and `OUT.labels` (a byte each). `eval` takes the images in their order.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool for developers takes arguments, files and times"
)]
#![expect(clippy::unwrap_used, reason = "a tool for developers ends at the first surprise")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use footplate_data::transform::Transform;
use footplate_data::{Inputs, LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split, open};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, data, size, epochs, seed, mode, out] = arguments.as_slice() else {
        panic!("see the head of this example for its arguments");
    };
    let (size, epochs, seed) = (size.parse().unwrap(), epochs.parse().unwrap(), seed.parse().unwrap());
    let train = mode == "train";
    let how = OpenOptions { format: None, seed, validation_fraction: 0.0, sequence_length: 64 };
    let dataset = Arc::new(open(Path::new(data), &how).unwrap());
    let settings = LoaderSettings {
        layout: PixelLayout::U8Nhwc,
        seed,
        ..LoaderSettings::new(64, if train { Transform::train(size) } else { Transform::eval(size) })
    };
    let from = Position { epoch: 0, batch: 0 };
    let mut pixels = BufWriter::new(File::create(format!("{out}.u8")).unwrap());
    let mut labels = BufWriter::new(File::create(format!("{out}.labels")).unwrap());
    for batch in Pipeline::start(dataset, Split::Train, settings, from, epochs).unwrap() {
        let batch = batch.unwrap();
        assert!(batch.bad.is_empty(), "{:?}", batch.bad);
        let Inputs::U8Nhwc { data, .. } = &batch.inputs else { panic!("not pixels") };
        pixels.write_all(data).unwrap();
        labels
            .write_all(&batch.labels.iter().map(|label| u8::try_from(*label).unwrap()).collect::<Vec<_>>())
            .unwrap();
    }
    pixels.flush().unwrap();
    labels.flush().unwrap();
}
