//! The pixels of one validation sample, for comparison with Pillow: `pixels IMAGE SIZE EXIF(apply|ignore) OUT.rgb`.
#![expect(clippy::unwrap_used, reason = "a tool for developers ends at the first surprise")]

use std::fs;

use footplate_data::rng::SampleKey;
use footplate_data::transform::{Encoded, ExifPolicy, Output, Scratch, Transform};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, image, size, exif, out_path] = arguments.as_slice() else {
        panic!("see the head of this example for its arguments");
    };
    let size: u32 = size.parse().unwrap();
    let exif = if exif == "apply" { ExifPolicy::Apply } else { ExifPolicy::Ignore };
    let transform = Transform { exif, ..Transform::eval(size) };
    let mut pixels = vec![0; (size * size * 3) as usize];
    let key = SampleKey { seed: 0, epoch: 0, index: 0 };
    let file = fs::read(image).unwrap();
    let out = Output::U8Nhwc(&mut pixels);
    transform.apply(Encoded::File(&file), key, &mut Scratch::new(), out).unwrap();
    fs::write(out_path, pixels).unwrap();
}
