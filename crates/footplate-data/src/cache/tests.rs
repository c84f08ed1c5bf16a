use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::batch::{Inputs, PixelLayout};
use crate::dataset::{OpenOptions, open};
use crate::decode::tests::jpeg;
use crate::loader::LoaderSettings;
use crate::pipeline::{Pipeline, Position};
use crate::sample::BadSample;
use crate::split::Split;
use crate::transform::Transform;

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for i in 0..40u16 {
        let class =
            root.path().join(if i < 32 { "train" } else { "val" }).join(["a", "b"][usize::from(i) % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{i:02}.jpg")), jpeg(40 + i, 30)).unwrap();
    }
    root
}

fn dataset(root: &Path) -> Arc<Dataset> {
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 4 };
    Arc::new(open(root, &options).unwrap())
}

fn settings(workers: usize, cache: Option<CacheSettings>) -> LoaderSettings {
    LoaderSettings {
        workers,
        cache,
        layout: PixelLayout::U8Nhwc,
        seed: 5,
        ..LoaderSettings::new(5, Transform::train(16))
    }
}

type BatchContents = (Vec<u64>, Vec<u8>, Vec<BadSample>);

/// Three epochs, what the cache did, and what was said.
fn epochs(
    root: &Path,
    workers: usize,
    cache: Option<CacheSettings>,
) -> (Vec<BatchContents>, Option<CacheStats>, Vec<String>) {
    let from = Position { epoch: 0, batch: 0 };
    let mut pipeline =
        Pipeline::start(dataset(root), Split::Train, settings(workers, cache), from, 3).unwrap();
    let mut seen = Vec::new();
    for batch in pipeline.by_ref() {
        let batch = batch.unwrap();
        let Inputs::U8Nhwc { data, .. } = batch.inputs else { panic!("not bytes") };
        seen.push((batch.indices, data.to_vec(), batch.bad));
    }
    (seen, pipeline.cache_stats(), pipeline.take_notices())
}

fn ram(bytes: u64) -> Option<CacheSettings> {
    Some(CacheSettings::Ram { bytes })
}

#[test]
fn pixels_are_the_same_with_and_without_a_cache_of_any_size() {
    let root = folder();
    let (expected, none, _) = epochs(root.path(), 0, None);
    assert_eq!(none, None);
    for workers in [0, 3] {
        for bytes in [100, 2000, 20_000, 1 << 20] {
            let (seen, stats, said) = epochs(root.path(), workers, ram(bytes));
            assert_eq!(seen, expected, "{workers} workers, {bytes} bytes");
            assert_eq!(stats.is_none(), !said.is_empty(), "{said:?}");
            let place = tempfile::tempdir().unwrap();
            let disk = Some(CacheSettings::Disk { folder: place.path().to_owned(), bytes });
            assert_eq!(
                epochs(root.path(), workers, disk.clone()).0,
                expected,
                "{workers} workers, {bytes} bytes"
            );
            assert_eq!(epochs(root.path(), workers, disk).0, expected, "again");
        }
    }
}

#[test]
fn samples_that_fit_are_read_once() {
    let root = folder();
    let (_, stats, said) = epochs(root.path(), 2, ram(1 << 20));
    let stats = stats.unwrap();
    assert_eq!((stats.hits, stats.misses, stats.samples, said.len()), (64, 32, 32, 0));
    assert!(stats.bytes <= stats.bytes_max && stats.hit_bytes == 2 * stats.missed_bytes);
    let place = tempfile::tempdir().unwrap();
    let disk = || Some(CacheSettings::Disk { folder: place.path().to_owned(), bytes: 1 << 20 });
    assert_eq!(epochs(root.path(), 2, disk()).1.unwrap().misses, 32);
    let again = epochs(root.path(), 2, disk()).1.unwrap();
    assert_eq!((again.hits, again.misses), (96, 0));
    // Other runs, with other splits and seeds, use it too.
    let images = dataset(root.path());
    let Dataset::Images(images) = images.as_ref() else { panic!("not images") };
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    assert!(place.path().join(format!("{:016x}.fpc", images.content_fingerprint())).exists());
}

#[test]
fn a_half_that_fits_gives_half_of_the_reads_in_each_epoch() {
    let root = folder();
    let all = epochs(root.path(), 0, ram(1 << 20)).1.unwrap();
    let table = 40 * size_of::<std::sync::OnceLock<Box<[u8]>>>() as u64;
    let half = epochs(root.path(), 0, ram(table + (all.bytes - table) / 2)).1.unwrap();
    assert!((12..=20).contains(&half.samples), "{half:?}");
    assert_eq!(half.hits, 2 * half.samples);
    assert!(half.bytes <= half.bytes_max);
}

#[test]
fn files_that_were_changed_since_are_read_anew() {
    let root = folder();
    let place = tempfile::tempdir().unwrap();
    let disk = || Some(CacheSettings::Disk { folder: place.path().to_owned(), bytes: 1 << 20 });
    epochs(root.path(), 1, disk());
    for i in 0..32u16 {
        let path = root.path().join("train").join(["a", "b"][usize::from(i) % 2]).join(format!("{i:02}.jpg"));
        fs::write(path, jpeg(90, 20 + i)).unwrap();
    }
    let (seen, stats, said) = epochs(root.path(), 1, disk());
    assert_eq!(seen, epochs(root.path(), 1, None).0);
    assert!(said.join("").contains("have changed since they were cached"), "{said:?}");
    assert_eq!(stats.unwrap().misses, 32);
}

#[test]
fn a_cache_that_cannot_be_had_is_told_of_and_the_run_goes_on() {
    let root = folder();
    let file = root.path().join("train/a/00.jpg");
    let disk = Some(CacheSettings::Disk { folder: file.join("cache"), bytes: 1 << 20 });
    let (seen, stats, said) = epochs(root.path(), 1, disk);
    assert_eq!((seen, stats), (epochs(root.path(), 1, None).0, None));
    assert!(said.join("").contains("no cache here"), "{said:?}");
}

#[test]
fn memory_is_in_the_plan() {
    let root = folder();
    let data = dataset(root.path());
    let plain = settings(2, None).planned_bytes(&data);
    assert_eq!(settings(2, ram(5000)).planned_bytes(&data), plain + 5000);
    let disk = Some(CacheSettings::Disk { folder: "x".into(), bytes: 5000 });
    assert_eq!(settings(2, disk).planned_bytes(&data), plain + 40 * 8);
}
