//! Images per CPU second of the decoder, by way and layout: `decode_bench FOLDER [ROUNDS] [WAY]`.
//!
//! The work: bytes in memory, decode, random resized crop to 224, flip, and what the layout asks for. The ways take
//! turns in each round; the medians are printed. `WAY` runs that one only, for a profiler.
#![expect(clippy::disallowed_methods, reason = "a tool for developers takes arguments, files and times")]
#![expect(clippy::unwrap_used, reason = "a tool for developers ends at the first surprise")]
#![expect(clippy::print_stdout, reason = "it prints its result")]

use std::fs;
use std::path::Path;
use std::time::Instant;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use footplate_data::Normalize;
use footplate_data::augment::{mirror, random_crop};
use footplate_data::decode::checkpoint_cache::CheckpointCache;
use footplate_data::decode::{decode_rgb, index};
use footplate_data::rng::{SampleKey, SampleRng};
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform};
use half::f16;

const SIZE: usize = 224;
const VALUES: usize = SIZE * SIZE * 3;
const WAYS: [&str; 8] = [
    "library, f32",
    "plain, f32",
    "plain, f16",
    "plain, u8",
    "known, f32",
    "indexed, f32",
    "indexed, f16",
    "indexed, u8",
];

/// Everything that a round needs.
struct Bench {
    files: Vec<(Vec<u8>, Vec<u8>)>,
    scratch: Scratch,
    checkpoints: CheckpointCache,
    rgb: Vec<u8>,
    small: Vec<u8>,
    resizer: Resizer,
    floats: Vec<f32>,
    halves: Vec<f16>,
    bytes: Vec<u8>,
}

fn collect(folder: &Path, files: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files);
        } else {
            let file = fs::read(path).unwrap();
            let index = index::build(&file).unwrap_or_default();
            files.push((file, index));
        }
    }
}

/// Nanoseconds that this thread has run.
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

impl Bench {
    fn image(&mut self, way: &str, i: usize, key: SampleKey) {
        let (file, index) = &self.files[i];
        let transform = Transform::train(SIZE as u32);
        let normalize = &Normalize::IMAGENET;
        let (source, layout) = way.split_once(", ").unwrap();
        if source == "library" {
            return self.library(i, key);
        }
        let image = if source == "indexed" { Encoded::Indexed { file, index } } else { Encoded::File(file) };
        let out = match layout {
            "f32" => PixelSink::F32Nchw { out: &mut self.floats, normalize },
            "f16" => PixelSink::F16Nchw { out: &mut self.halves, normalize },
            _ => PixelSink::U8Nhwc(&mut self.bytes),
        };
        let memory = (source == "known").then_some(&self.checkpoints);
        transform.apply_cached(image, key, memory, &mut self.scratch, out).unwrap();
    }

    /// The whole image by the library, then resized: what is done with files that the crop decoder does not speak.
    fn library(&mut self, i: usize, key: SampleKey) {
        let info = decode_rgb(&self.files[i].0, u64::MAX, &mut self.rgb).unwrap();
        let mut rng = SampleRng::new(key, 1);
        let crop = random_crop(info.width, info.height, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        let source = TypedImageRef::<U8x3>::from_buffer(info.width, info.height, &self.rgb).unwrap();
        let size = SIZE as u32;
        let mut target = TypedImage::<U8x3>::from_buffer(size, size, &mut self.small).unwrap();
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(crop.left, crop.top, crop.width, crop.height)
            .use_alpha(false);
        self.resizer.resize_typed(&source, &mut target, &options).unwrap();
        if key.index.is_multiple_of(2) {
            mirror(&mut self.small, SIZE);
        }
        Normalize::IMAGENET.nhwc_u8_to_nchw_f32(&self.small, SIZE, &mut self.floats);
    }

    /// Images per CPU second.
    fn round(&mut self, way: &str, epoch: u32) -> f64 {
        let begun = cpu_ns();
        for i in 0..self.files.len() {
            self.image(way, i, SampleKey { seed: 7, epoch, index: i as u64 });
        }
        self.files.len() as f64 / ((cpu_ns() - begun) as f64 / 1e9)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds: usize = arguments.get(2).map_or(7, |n| n.parse().unwrap());
    let ways: Vec<&str> = match arguments.get(3) {
        Some(way) => vec![way.as_str()],
        None => WAYS.to_vec(),
    };
    let mut files = Vec::new();
    collect(Path::new(&arguments[1]), &mut files);
    let begun = Instant::now();
    let sizes: Vec<usize> =
        files.iter().filter_map(|(file, _)| index::build(file)).map(|i| i.len()).collect();
    println!(
        "{} files, {} of them indexed: {} bytes of index each, {:.0} files indexed in a second",
        files.len(),
        sizes.len(),
        sizes.iter().sum::<usize>() / sizes.len().max(1),
        files.len() as f64 / begun.elapsed().as_secs_f64(),
    );
    let mut bench = Bench {
        files,
        scratch: Scratch::new(),
        checkpoints: CheckpointCache::new(16 << 20),
        rgb: Vec::new(),
        small: vec![0; VALUES],
        resizer: Resizer::new(),
        floats: vec![0.0; VALUES],
        halves: vec![f16::ZERO; VALUES],
        bytes: vec![0; VALUES],
    };
    let mut results = vec![Vec::new(); ways.len()];
    if ways.contains(&"known, f32") {
        // Files are known from earlier epochs.
        for epoch in 100..104 {
            bench.round("known, f32", epoch);
        }
    }
    for epoch in 0..rounds as u32 {
        for (way, results) in ways.iter().zip(&mut results) {
            results.push(bench.round(way, epoch));
        }
    }
    let medians: Vec<f64> = results
        .iter_mut()
        .map(|results| {
            results.sort_by(f64::total_cmp);
            results[results.len() / 2]
        })
        .collect();
    for (way, median) in ways.iter().zip(&medians) {
        println!(
            "{way:14} {median:7.0} images per CPU second, {:5.0} µs each, {:.2} x",
            1e6 / median,
            median / medians[0]
        );
    }
}
