use std::fs;
use std::path::Path;

use super::*;
use crate::batch::PixelLayout;
use crate::dataset::{OpenOptions, open};
use crate::decode::tests::jpeg;
use crate::transform::Transform;

const TIME: Duration = Duration::from_millis(40);
static NEVER: AtomicBool = AtomicBool::new(false);

fn settings(workers: usize, layout: PixelLayout) -> LoaderSettings {
    LoaderSettings { workers, layout, ..LoaderSettings::new(4, Transform::train(16)) }
}

fn dataset(folder: &Path, damaged: bool) -> Arc<Dataset> {
    for class in ["a", "b"] {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..12 {
            let bytes = if damaged { b"no picture".to_vec() } else { jpeg(40, 30) };
            fs::write(folder.join(class).join(format!("{i}.jpg")), bytes).unwrap();
        }
    }
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.2, sequence_length: 4 };
    Arc::new(open(folder, &options).unwrap())
}

#[test]
fn samples_in_memory_are_those_of_the_files_and_outlive_them() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), false);
    let resident = resident(&dataset).unwrap();
    assert_eq!(resident.len(Split::Train), dataset.len(Split::Train));
    drop(folder);
    for (workers, layout) in [(0, PixelLayout::F32Nchw), (2, PixelLayout::U8Nhwc)] {
        let rate = prep(&resident, &settings(workers, layout), TIME, &NEVER).unwrap();
        assert!(rate.items >= 4 && rate.per_s() > Some(0.0) && rate.per_cpu_s() > Some(0.0), "{rate:?}");
    }
}

#[test]
fn a_data_set_without_one_good_sample_gives_no_rate_and_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), true);
    let rate = prep(&resident(&dataset).unwrap(), &settings(1, PixelLayout::F32Nchw), TIME, &NEVER).unwrap();
    assert_eq!((rate.items, rate.per_s(), rate.per_cpu_s()), (0, None, None));
}

#[test]
fn reading_is_measured_warm_and_cold_or_said_not_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), false);
    let found = storage(&dataset, TIME, TIME, &NEVER).unwrap();
    assert!(found.warm.items > 0 && found.warm.bytes_each() > Some(100.0));
    assert_eq!(found.data_bytes, found.warm.bytes / found.warm.items * dataset.len(Split::Train) as u64);
    match found.cold {
        Cold::Measured { one, many } => assert!(one.items > 0 && many.items > 0),
        // Where the temporary folder is in memory.
        Cold::NotMeasured(reason) => assert!(reason.contains("file system"), "{reason}"),
    }
    assert_eq!(evict(&dataset, TIME), Some(1.0));
    let _forgetting = EvictAfterRead::begin(&dataset);
    assert!(prep(&dataset, &settings(1, PixelLayout::F32Nchw), TIME, &NEVER).unwrap().items > 0);
}

#[test]
fn what_is_in_memory_has_nothing_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    fs::write(&path, "she sells sea shells by the sea shore. ".repeat(12)).unwrap();
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.2, sequence_length: 8 };
    let text = Arc::new(open(&path, &options).unwrap());
    assert_eq!(storage(&text, TIME, TIME, &NEVER), None);
    assert_eq!(evict(&text, TIME), None);
    let rate = prep(&resident(&text).unwrap(), &settings(1, PixelLayout::F32Nchw), TIME, &NEVER).unwrap();
    assert!(rate.items > 0);
}

#[test]
fn a_rate_of_nothing_is_unknown_and_not_zero() {
    let nothing = Rate { wall_s: 2.0, cpu_s: 1.0, ..Rate::default() };
    assert_eq!((nothing.per_s(), nothing.per_cpu_s()), (None, None));
    assert_eq!((nothing.cpu_s_each(), nothing.bytes_each()), (None, None));
    let mut rate = Rate { items: 10, bytes: 1000, wall_s: 2.0, cpu_s: 0.0 };
    assert_eq!((rate.per_s(), rate.per_cpu_s()), (Some(5.0), None));
    assert_eq!((rate.cpu_s_each(), rate.bytes_each()), (Some(0.0), Some(100.0)));
    rate.add(&Rate { items: 10, bytes: 500, wall_s: 2.0, cpu_s: 5.0 });
    assert_eq!((rate.per_s(), rate.per_cpu_s(), rate.bytes_each()), (Some(5.0), Some(4.0), Some(75.0)));
}

#[test]
fn the_size_of_the_data_is_estimated_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), true);
    let train = dataset.len(Split::Train) as u64;
    assert_eq!(data_bytes(&dataset), Some(train * b"no picture".len() as u64));
    fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(data_bytes(&dataset), None, "no size can be read any more");
    assert_eq!(resident(&dataset).map(|_| ()), None, "and no sample");
}

#[test]
fn packing_is_of_no_use_for_what_gets_no_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    assert!(resident_indexed(&dataset(folder.path(), true)).is_none());
    let photos = tempfile::tempdir().unwrap();
    let dataset = dataset(photos.path(), false);
    let indexed = resident_indexed(&dataset).unwrap();
    assert_eq!(indexed.len(Split::Train), dataset.len(Split::Train));
    // What is in memory has no storage to gain from.
    assert!(resident_indexed(&indexed).is_none());
    let same = resident(&indexed).unwrap();
    assert!(Arc::ptr_eq(&same, &indexed));
}

#[test]
fn each_round_picks_every_sample_in_an_order_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), true);
    let Dataset::Images(images) = dataset.as_ref() else { panic!("not images") };
    let orders: Vec<Vec<u32>> = (0..2).map(|round| picked(images, round).collect()).collect();
    assert_ne!(orders[0], orders[1]);
    for mut order in orders {
        order.sort_unstable();
        assert_eq!(order, images.split(Split::Train));
    }
}
