//! How long it takes, and how much memory, to open shards of many samples: `many_samples FOLDER [SAMPLES]
//! [SPLIT(own|automatic)]`. Makes side indices of made-up samples in FOLDER (28 bytes a sample) with empty
//! sparse tars beside them, opens them as a data set, and prints time and memory.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool for developers takes arguments, files and times"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use footplate_data::{OpenOptions, Split, open};

const PER_SHARD: u32 = 2_500;
const CLASSES: u32 = 1_000;
const IMAGE_BYTES: u32 = 106_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = Path::new(&arguments[1]);
    let samples: u32 = arguments.get(2).map_or(10_000_000, |text| text.parse().unwrap());
    let own = arguments.get(3).is_none_or(|text| text == "own");
    fs::create_dir_all(folder).unwrap();
    for shard in 0..samples / PER_SHARD {
        let split = if !own {
            "data"
        } else if shard % 100 == 99 {
            "val"
        } else {
            "train"
        };
        write(folder, &format!("{split}-{shard:05}"), shard);
    }
    let before = memory("VmRSS");
    let begun = Instant::now();
    let options = OpenOptions { format: None, seed: 0, validation_fraction: 0.02, sequence_length: 1 };
    let dataset = open(folder, &options).unwrap();
    let opened = begun.elapsed().as_secs_f64();
    let fingerprint = dataset.fingerprint();
    println!("{}", dataset.description());
    println!(
        "opened in {opened:.2} s, fingerprint {fingerprint:016x} after {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    println!("memory {before} before, {} after, {} at most", memory("VmRSS"), memory("VmHWM"));
    println!("{} warnings, {} for training", dataset.warnings().len(), dataset.len(Split::Train));
}

/// A side index as docs/shards.md describes it, and a tar of the right size without anything in it.
fn write(folder: &Path, name: &str, shard: u32) {
    let blocks = 3 + IMAGE_BYTES.div_ceil(512);
    let tar_size = u64::from(PER_SHARD * blocks + 2) * 512;
    let mut body = Vec::new();
    for n in 0..PER_SHARD {
        let number = shard * PER_SHARD + n;
        let crc = crc32fast::hash(&number.to_le_bytes());
        for word in [n * blocks + 3, IMAGE_BYTES, crc % CLASSES, crc, !crc, 0] {
            body.extend(word.to_le_bytes());
        }
    }
    let records = body.len();
    for class in 0..CLASSES {
        let name = format!("class {class}");
        body.extend((name.len() as u32).to_le_bytes());
        body.extend(name.bytes());
    }
    let mut head = b"FPINDEX\0".to_vec();
    head.extend([1, PER_SHARD].iter().flat_map(|n| n.to_le_bytes()));
    head.extend([tar_size, 0].iter().flat_map(|n| n.to_le_bytes()));
    let words = [CLASSES, (body.len() - records) as u32, 0, PER_SHARD, crc32fast::hash(&body), 0, 0];
    head.extend(words.iter().flat_map(|n| n.to_le_bytes()));
    head.extend(crc32fast::hash(&head).to_le_bytes());
    fs::write(folder.join(format!("{name}.fpi")), [head, body].concat()).unwrap();
    File::create(folder.join(format!("{name}.tar"))).unwrap().set_len(tar_size).unwrap();
}

/// A line of this process's status.
fn memory(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    format!("{} MB", kib * 1024 / 1_000_000)
}
