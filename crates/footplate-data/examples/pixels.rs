//! The pixels of one sample, for comparison with Pillow: `pixels IMAGE SIZE EXIF(apply|ignore) WHICH OUT.rgb`.
//!
//! `WHICH` is `eval`, or `train` or `indexed` and a number, as in `train:3`: a training sample, in the second case
//! by the file's index. For these the crop is written to `OUT.rgb.crop`: left, top, width, height, mirrored.
#![expect(clippy::disallowed_methods, reason = "a tool for developers takes arguments, files and times")]
#![expect(clippy::unwrap_used, reason = "a tool for developers ends at the first surprise")]

use std::fs;

use footplate_data::augment::random_crop;
use footplate_data::decode::{image_info, index};
use footplate_data::rng::{SampleKey, SampleRng};
use footplate_data::transform::{Encoded, ExifPolicy, PixelSink, Scratch, Transform};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, image, size, exif, which, out_path] = arguments.as_slice() else {
        panic!("see the head of this example for its arguments");
    };
    let size: u32 = size.parse().unwrap();
    let exif = if exif == "apply" { ExifPolicy::Apply } else { ExifPolicy::Ignore };
    let (mode, number) = which.split_once(':').unwrap_or((which, "0"));
    let transform = if mode == "eval" { Transform::eval(size) } else { Transform::train(size) };
    let transform = Transform { exif, ..transform };
    let mut pixels = vec![0; (size * size * 3) as usize];
    let key = SampleKey { seed: 0, epoch: 0, index: number.parse().unwrap() };
    let file = fs::read(image).unwrap();
    let index = index::build(&file).unwrap_or_default();
    let encoded = if mode == "indexed" {
        Encoded::Indexed { file: &file, index: &index }
    } else {
        Encoded::File(&file)
    };
    transform.apply(encoded, key, &mut Scratch::new(), PixelSink::U8Nhwc(&mut pixels)).unwrap();
    fs::write(out_path, pixels).unwrap();
    if mode != "eval" {
        let info = image_info(&file).unwrap();
        let (width, height) =
            if exif == ExifPolicy::Apply { info.upright() } else { (info.width, info.height) };
        let mut rng = SampleRng::new(key, 1);
        let crop = random_crop(width, height, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        let mirrored = SampleRng::new(key, 2).below(2);
        let line = format!("{} {} {} {} {mirrored}", crop.left, crop.top, crop.width, crop.height);
        fs::write(format!("{out_path}.crop"), line).unwrap();
    }
}
