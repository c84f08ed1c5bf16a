//! Samples of small JPEG files against those that Pillow (libjpeg-turbo) makes; `tests/jpeg/make.py` made both.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use footplate_data::decode::index;
use footplate_data::rng::SampleKey;
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform};

const SIZE: usize = 24;

fn files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jpeg");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let jpegs = entries.filter(|path| path.extension().is_some_and(|e| e == "jpg"));
    let mut files: Vec<_> =
        jpegs.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect();
    files.sort();
    assert_eq!(files.len(), 10);
    files
}

fn sample(image: Encoded<'_>) -> Vec<u8> {
    let mut pixels = vec![0; SIZE * SIZE * 3];
    let key = SampleKey { seed: 0, epoch: 0, index: 0 };
    let transform = Transform::eval(SIZE as u32);
    transform.apply(image, key, &mut Scratch::new(), PixelSink::U8Nhwc(&mut pixels)).unwrap();
    pixels
}

/// Mean and greatest difference in levels.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (sum as f64 / a.len() as f64, differences.max().unwrap())
}

#[test]
fn samples_are_those_of_pillow() {
    for (name, path) in files() {
        let got = sample(Encoded::File(&fs::read(&path).unwrap()));
        let (mean, largest) = difference(&got, &fs::read(path.with_extension("rgb")).unwrap());
        assert!(mean <= 0.6 && largest <= 12, "{name}: mean {mean:.3}, largest {largest}");
    }
}

#[test]
fn an_index_changes_no_pixel_and_files_of_other_kinds_have_none() {
    for (name, path) in files() {
        let file = fs::read(&path).unwrap();
        let index = index::build(&file);
        assert_eq!(index.is_none(), name == "progressive" || name == "cmyk", "{name}");
        let index = index.unwrap_or_default();
        let indexed = sample(Encoded::Indexed { file: &file, index: &index });
        assert_eq!(indexed, sample(Encoded::File(&file)), "{name}");
    }
}

/// The indexes in the folder were made by `make_index.py` after the format's description.
#[test]
fn the_format_of_an_index_stays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jpeg");
    for name in ["420", "restart", "gray"] {
        let file = fs::read(folder.join(name).with_extension("jpg")).unwrap();
        let index = index::build(&file).unwrap();
        let golden = folder.join(name).with_extension("index");
        assert_eq!(index, fs::read(golden).unwrap(), "{name}");
    }
}

#[test]
fn an_index_that_is_damaged_or_of_another_file_is_not_used() {
    let all: Vec<Vec<u8>> = files().iter().map(|(_, path)| fs::read(path).unwrap()).collect();
    let plain = sample(Encoded::File(&all[0]));
    let index = index::build(&all[0]).unwrap();
    for i in 0..index.len() {
        let mut damaged = index.clone();
        damaged[i] ^= 0x11;
        assert_eq!(sample(Encoded::Indexed { file: &all[0], index: &damaged }), plain);
        assert_eq!(sample(Encoded::Indexed { file: &all[0], index: &index[..i] }), plain);
    }
    let other = index::build(&all[1]).unwrap();
    assert_eq!(sample(Encoded::Indexed { file: &all[0], index: &other }), plain);
}

#[test]
fn a_truncated_file_is_an_error_and_has_no_index() {
    let (_, path) = &files()[0];
    let file = fs::read(path).unwrap();
    for cut in 0..file.len() - 2 {
        assert!(index::build(&file[..cut]).is_none());
        let mut pixels = vec![0; SIZE * SIZE * 3];
        let key = SampleKey { seed: 0, epoch: 0, index: 0 };
        let transform = Transform::eval(SIZE as u32);
        let out = PixelSink::U8Nhwc(&mut pixels);
        assert!(transform.apply(Encoded::File(&file[..cut]), key, &mut Scratch::new(), out).is_err());
    }
}
