//! How fast the pipeline makes minibatches: `loader_bench DATA [--batch 32] [--workers 1] [--layout f32|f16|u8]
//! [--size 224] [--epochs 5 | --seconds S] [--warmup 16] [--prefetch 4]` prints one line of JSON.
//!
//! The figures are of the minibatches after the first `--warmup` ones, in the middle of the stream: the pipeline would go
//! on after the last one counted, so that what was made ahead before counts neither for nor against it.
#![expect(clippy::disallowed_methods, reason = "a tool for developers takes arguments, files and times")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for developers ends at the first surprise"
)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footplate_data::transform::Transform;
use footplate_data::{LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split, open};

/// Linux counts a process's time for its users in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

struct Options {
    data: String,
    flags: HashMap<String, String>,
}

impl Options {
    fn parse() -> Self {
        let mut arguments = std::env::args().skip(1);
        let data =
            arguments.next().unwrap_or_else(|| panic!("see the head of this example for its arguments"));
        let mut flags = HashMap::new();
        while let Some(flag) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| panic!("{flag} needs a value"));
            flags.insert(flag, value);
        }
        Self { data, flags }
    }

    fn number(&self, flag: &str, default: f64) -> f64 {
        self.flags.get(flag).map_or(default, |text| text.parse().unwrap())
    }

    fn layout(&self) -> PixelLayout {
        match self.flags.get("--layout").map_or("f32", String::as_str) {
            "f32" => PixelLayout::F32Nchw,
            "f16" => PixelLayout::F16Nchw,
            "u8" => PixelLayout::U8Nhwc,
            other => panic!("--layout {other} is not known"),
        }
    }

    fn settings(&self) -> LoaderSettings {
        LoaderSettings {
            workers: self.number("--workers", 1.0) as usize,
            prefetch_batches: self.number("--prefetch", 4.0) as usize,
            layout: self.layout(),
            seed: 1,
            ..LoaderSettings::new(
                self.number("--batch", 32.0) as usize,
                Transform::train(self.number("--size", 224.0) as u32),
            )
        }
    }
}

/// Processor time of all threads, in seconds.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn peak_rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

fn main() {
    let options = Options::parse();
    let how = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 64 };
    let dataset = Arc::new(open(Path::new(&options.data), &how).unwrap());
    let wanted = match options.flags.contains_key("--seconds") {
        true => u64::MAX,
        false => dataset.len(Split::Train) as u64 * options.number("--epochs", 5.0) as u64,
    };
    let limit = Duration::from_secs_f64(options.number("--seconds", 3600.0));
    let settings = options.settings();
    let from = Position { epoch: 0, batch: 0 };
    let mut pipeline = Pipeline::start(dataset, Split::Train, settings, from, u32::MAX).unwrap();
    let mut bad = 0;
    let mut images_of_next = || {
        let batch = pipeline.next().unwrap().unwrap();
        bad += batch.bad.len();
        batch.items as u64
    };
    for _ in 0..options.number("--warmup", 16.0) as u64 {
        images_of_next();
    }
    let (begun, cpu_before) = (Instant::now(), cpu_seconds());
    let mut images = 0;
    while images < wanted && begun.elapsed() < limit {
        images += images_of_next();
    }
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    let peak_rss_bytes = peak_rss_bytes();
    println!(
        r#"{{"images": {images}, "bad": {bad}, "wall_s": {wall_s:.4}, "cpu_s": {cpu_s:.2}, "peak_rss_bytes": {peak_rss_bytes}}}"#
    );
}
