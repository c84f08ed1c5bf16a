//! Data that changes while a pipeline reads it: a bad sample with a name at worst, never a wrong picture from a
//! shard, a panic or a hang.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests make and change files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use footplate_data::pack::{ImageChange, JobControl, PackOptions, pack};
use footplate_data::transform::Transform;
use footplate_data::{
    BadSample, Inputs, LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split, open,
};
use jpeg_encoder::{ColorType, Encoder};

const SIDE: usize = 32;
const IMAGES: usize = 24;

/// A JPEG of noise-like stripes that differ for each number.
fn jpeg(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels: Vec<u8> =
        (0..SIDE * SIDE * 3).map(|i| (i / 3 % SIDE * (number + 1) * 7 % 256) as u8).collect();
    Encoder::new(&mut bytes, 90).encode(&pixels, SIDE as u16, SIDE as u16, ColorType::Rgb).unwrap();
    bytes
}

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..IMAGES {
        let class = root.path().join("train").join(["a", "b"][number % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{number:02}.jpg")), jpeg(number)).unwrap();
    }
    root
}

fn shards(source: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let options = PackOptions {
        format: None,
        seed: 1,
        shard_bytes: 20_000,
        change: ImageChange::default(),
        max_bad_fraction: 0.0,
        threads: 1,
    };
    let stop = AtomicBool::new(false);
    pack(source, to.path(), &options, JobControl { stop: &stop, progress: &|_, _| {} }).unwrap();
    to
}

fn settings(workers: usize) -> LoaderSettings {
    LoaderSettings {
        workers,
        prefetch_batches: 2,
        layout: PixelLayout::U8Nhwc,
        shuffle: true,
        seed: 5,
        ..LoaderSettings::new(4, Transform::eval(SIDE as u32))
    }
}

/// One epoch, with `change` done after the data set was opened and two minibatches were taken. Gives the pixels
/// of each good sample, and the bad ones.
fn epochs(root: &Path, workers: usize, change: impl FnOnce()) -> (BTreeMap<u64, Vec<u8>>, Vec<BadSample>) {
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 1 };
    let dataset = Arc::new(open(root, &options).unwrap());
    let from = Position { epoch: 0, batch: 0 };
    let mut pipeline = Pipeline::start(dataset, Split::Train, settings(workers), from, 3).unwrap();
    for _ in 0..2 {
        assert_eq!(pipeline.next().unwrap().unwrap().bad, []);
    }
    change();
    let (mut good, mut bad) = (BTreeMap::new(), Vec::new());
    for batch in pipeline {
        let batch = batch.unwrap();
        if batch.epoch < 2 {
            continue;
        }
        let Inputs::U8Nhwc { data, .. } = batch.inputs else { panic!("not bytes") };
        for (index, pixels) in batch.indices.iter().zip(data.chunks(SIDE * SIDE * 3)) {
            good.insert(*index, pixels.to_vec());
        }
        bad.extend(batch.bad);
    }
    assert_eq!(good.len() + bad.len(), IMAGES);
    (good, bad)
}

fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == ending));
    found.sort();
    found
}

fn image(root: &Path, number: usize) -> PathBuf {
    root.join("train").join(["a", "b"][number % 2]).join(format!("{number:02}.jpg"))
}

#[test]
fn files_that_vanish_shrink_grow_or_become_something_else() {
    for workers in [0, 2] {
        let root = folder();
        let (before, _) = epochs(root.path(), workers, || {});
        let (after, bad) = epochs(root.path(), workers, || {
            fs::remove_file(image(root.path(), 0)).unwrap();
            let whole = jpeg(1);
            fs::write(image(root.path(), 1), &whole[..whole.len() / 2]).unwrap();
            // More bytes after the end of an image change nothing.
            fs::write(image(root.path(), 2), [jpeg(2), vec![0; 5000]].concat()).unwrap();
            fs::remove_file(image(root.path(), 3)).unwrap();
            fs::create_dir(image(root.path(), 3)).unwrap();
            // Another image in its place is trained on as it is.
            fs::write(image(root.path(), 4), jpeg(77)).unwrap();
            fs::remove_file(image(root.path(), 5)).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                image(root.path(), 5),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        });
        let mut names: Vec<&str> = bad.iter().map(|b| &b.name[b.name.len() - 6..b.name.len() - 4]).collect();
        names.sort_unstable();
        assert_eq!(names, ["00", "01", "03", "05"], "{bad:?}");
        let changed: Vec<&u64> = after.iter().filter(|(i, p)| before[i] != **p).map(|(i, _)| i).collect();
        assert_eq!(changed.len(), 1, "only the image that was replaced differs");
    }
}

#[test]
fn shards_that_vanish_are_read_on() {
    let source = folder();
    let root = shards(source.path());
    let (before, _) = epochs(root.path(), 2, || {});
    // The files stay open: what is removed or replaced is still there for who reads it.
    let (after, bad) = epochs(root.path(), 2, || {
        for path in files(root.path(), "tar") {
            fs::remove_file(&path).unwrap();
            fs::write(path, "something else").unwrap();
        }
    });
    // A shard that was not opened yet is gone.
    for sample in &bad {
        assert!(sample.reason.contains("cannot be read"), "{sample:?}");
    }
    assert!(after.iter().all(|(index, pixels)| before[index] == *pixels));
}

/// With an index (by checksum) and without (by header).
#[test]
fn shards_that_are_written_to_give_no_wrong_pictures() {
    let source = folder();
    for indexed in [true, false] {
        let fresh = || {
            let root = shards(source.path());
            if !indexed {
                files(root.path(), "fpi").iter().for_each(|path| fs::remove_file(path).unwrap());
            }
            root
        };
        let root = fresh();
        let (before, _) = epochs(root.path(), 2, || {});
        let (after, bad) = epochs(root.path(), 2, || {
            for path in files(root.path(), "tar") {
                let longer = [fs::read(&path).unwrap(), vec![0; 4096]].concat();
                fs::write(path, longer).unwrap();
            }
        });
        assert_eq!((after, bad), (before.clone(), vec![]), "a longer tar has the same samples");
        let root = fresh();
        let (after, bad) = epochs(root.path(), 2, || {
            let path = &files(root.path(), "tar")[0];
            let mut bytes = fs::read(path).unwrap();
            bytes.rotate_left(512);
            fs::write(path, bytes).unwrap();
            // Another time than before, however coarse the clock of the file system is.
            File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        });
        assert!(!bad.is_empty());
        assert!(bad.iter().all(|b| b.reason.contains("was changed")), "{bad:?}");
        assert!(after.iter().all(|(index, pixels)| before[index] == *pixels), "indexed: {indexed}");
        let root = fresh();
        let (after, bad) = epochs(root.path(), 2, || {
            let path = &files(root.path(), "tar")[0];
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        });
        assert!(!bad.is_empty() && !after.is_empty(), "{} bad, {} good", bad.len(), after.len());
        assert!(after.iter().all(|(index, pixels)| before[index] == *pixels), "indexed: {indexed}");
    }
}
