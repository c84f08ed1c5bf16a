//! Tars of other programs, and tars and indices that are damaged in any way: samples are right or left out, never wrong,
//! and nothing panics.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use footplate_data::pack::{ImageChange, JobControl, PackOptions, pack};
use footplate_data::transform::{Transform, TransformMode};
use footplate_data::{
    DataError, Dataset, Inputs, LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split, open,
};
use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

const SIDE: u32 = 8;

/// A small JPEG of one gray, by which it is recognised again.
fn jpeg(gray: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 95).encode(&[gray; 192], SIDE as u16, SIDE as u16, ColorType::Rgb).unwrap();
    bytes
}

/// A tar as GNU tar writes it: long names in members of their own.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn opened(path: &Path) -> Result<Dataset, DataError> {
    open(path, &OpenOptions { validation_fraction: 0.0, ..OpenOptions::default() })
}

/// The label and gray of each sample, and the number of bad ones.
fn samples(path: &Path) -> (BTreeMap<u64, (i32, u8)>, usize) {
    let whole = Transform { mode: TransformMode::Eval { resize_to: SIDE }, ..Transform::eval(SIDE) };
    let settings =
        LoaderSettings { workers: 0, layout: PixelLayout::U8Nhwc, ..LoaderSettings::new(4, whole) };
    let from = Position { epoch: 0, batch: 0 };
    let (mut found, mut bad) = (BTreeMap::new(), 0);
    for batch in Pipeline::start(Arc::new(opened(path).unwrap()), Split::Train, settings, from, 1).unwrap() {
        let batch = batch.unwrap();
        bad += batch.bad.len();
        let Inputs::U8Nhwc { data, .. } = &batch.inputs else { panic!("not bytes") };
        for ((index, label), pixels) in batch.indices.iter().zip(&batch.labels).zip(data.chunks_exact(192)) {
            found.insert(*index, (*label, pixels[0]));
        }
    }
    (found, bad)
}

#[test]
fn members_of_many_kinds_are_read_or_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let long = "folder/".repeat(30) + "image";
    let (long_image, long_class) = (format!("{long}.jpg"), format!("{long}.cls"));
    let [dark, light] = [jpeg(20), jpeg(220)];
    let shard = tar(&[
        // The class before or after the image, with white space; other members of the sample are passed over.
        ("a/0.cls", b" 0 \n"),
        ("a/0.jpg", &dark),
        ("a/0.seg.png", b"a mask"),
        ("a/0.json", b"{}"),
        ("b.folder/1.jpeg", &light),
        ("b.folder/1.cls", b"1"),
        // A name of more than 100 bytes.
        (&long_image, &dark),
        (&long_class, b"0"),
        // Too long for a class number.
        ("c/3.jpg", &dark),
        ("c/3.cls", &[b'1'; 40]),
        ("README", b"no sample"),
    ]);
    let path = root.path().join("s.tar");
    fs::write(&path, shard).unwrap();
    let dataset = opened(&path).unwrap();
    assert_eq!((dataset.len(Split::Train), dataset.warnings().len()), (3, 1), "{:?}", dataset.warnings());
    assert!(dataset.warnings()[0].contains("1 samples without an image or a class number are left out"));
    let (found, bad) = samples(&path);
    assert_eq!((found.len(), bad), (3, 0), "a mask is no image of a sample");
    for (index, (label, gray)) in [(0, (0, 20)), (1, (1, 220)), (2, (0, 20))] {
        assert!(found[&index].0 == label && found[&index].1.abs_diff(gray) < 4, "{found:?}");
    }
}

#[test]
fn class_names_come_from_a_file_beside_the_shards_or_above_them() {
    let root = tempfile::tempdir().unwrap();
    let shard = tar(&[("0.jpg", &jpeg(1)), ("0.cls", b"0"), ("1.jpg", &jpeg(2)), ("1.cls", b"2")]);
    fs::create_dir_all(root.path().join("train")).unwrap();
    fs::write(root.path().join("train/a.tar"), shard).unwrap();
    let classes = || {
        let Dataset::Images(images) = opened(root.path()).unwrap() else { panic!("not images") };
        images.classes().to_vec()
    };
    assert_eq!(classes(), ["0", "1", "2"]);
    fs::write(root.path().join("classes.txt"), "ant\n\nbee  \n").unwrap();
    assert_eq!(classes(), ["ant", "bee", "2"], "a class without a name has its number");
    fs::write(root.path().join("train/classes.txt"), "cat\ndog\neel\nfox\n").unwrap();
    assert_eq!(classes(), ["cat", "dog", "eel", "fox"], "the nearer file counts");
}

#[test]
fn files_that_are_no_tars_are_errors_alone_and_warnings_among_others() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("b.tar");
    fs::write(&path, [b'x'; 2000]).unwrap();
    assert!(opened(&path).unwrap_err().to_string().contains("not a tar archive"));
    fs::write(&path, b"").unwrap();
    assert!(matches!(opened(&path), Err(DataError::Empty { .. })));
    let shard = tar(&[("0.jpg", &jpeg(1)), ("0.cls", b"0"), ("1.jpg", &jpeg(2)), ("1.cls", b"1")]);
    fs::write(root.path().join("a.tar"), shard).unwrap();
    fs::write(&path, [b'x'; 2000]).unwrap();
    let dataset = opened(root.path()).unwrap();
    assert_eq!(dataset.len(Split::Train), 2);
    assert!(dataset.warnings()[0].ends_with("it is left out"), "{:?}", dataset.warnings());
}

/// Six samples whose gray is 40 times their number, half of each class.
fn numbered() -> Vec<u8> {
    let files: Vec<(String, Vec<u8>)> = (0..6u8)
        .flat_map(|n| [(format!("{n}.jpg"), jpeg(n * 40)), (format!("{n}.cls"), vec![b'0' + n % 2])])
        .collect();
    let members: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar(&members)
}

/// The files of one shard with an index, packed once from a folder of images.
static PACKED: LazyLock<Vec<(OsString, Vec<u8>)>> = LazyLock::new(|| {
    let (source, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..6u8 {
        let folder = source.path().join(["even", "odd"][usize::from(n % 2)]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{n}.jpg")), jpeg(n * 40)).unwrap();
    }
    let options = PackOptions {
        format: None,
        seed: 1,
        shard_bytes: 1 << 20,
        change: ImageChange::default(),
        max_bad_fraction: 0.0,
        threads: 1,
    };
    let go_on = AtomicBool::new(false);
    let control = JobControl { stop: &go_on, progress: &|_, _| {} };
    assert_eq!(pack(source.path(), to.path(), &options, control).unwrap().shards, 1);
    let entries = fs::read_dir(to.path()).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
});

fn packed() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in PACKED.iter() {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    root
}

fn with_ending(folder: &Path, ending: &str) -> PathBuf {
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|e| e == ending)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever byte is changed and wherever it is cut: samples of headers that are still good are the right ones.
    #[test]
    fn a_damaged_tar_gives_right_samples_or_none(at in 0usize..20_000, value: u8, cut in 0usize..20_000) {
        let mut bytes = numbered();
        let (at, length) = (at % bytes.len(), bytes.len() - cut % 8000.min(bytes.len()));
        bytes[at] = value;
        bytes.truncate(length);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s.tar");
        fs::write(&path, bytes).unwrap();
        // One class may be all that is left: an error, as it would be of a whole tar.
        let Ok(dataset) = opened(&path) else { return Ok(()) };
        let count = dataset.len(Split::Train);
        let (found, bad) = samples(&path);
        prop_assert!(count <= 6 && found.len() + bad == count);
        // A byte inside of an image may change that one; all others are as they were.
        let is_one = |gray: u8| (0..6u8).any(|n| gray.abs_diff(n * 40) < 4);
        prop_assert!(found.values().filter(|(_, gray)| !is_one(*gray)).count() <= 1, "{:?}", found);
    }

    /// A changed byte of an index costs at most its own use: samples, labels and fingerprint stay.
    #[test]
    fn a_damaged_index_changes_no_sample(at in 0usize..10_000, flip in 1u8.., longer: bool) {
        let root = packed();
        let (expected, fingerprint) = (samples(root.path()), opened(root.path()).unwrap().fingerprint());
        prop_assert_eq!((expected.0.len(), expected.1), (6, 0));
        let path = with_ending(root.path(), "fpi");
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if longer {
            bytes.push(0);
        }
        fs::write(&path, bytes).unwrap();
        prop_assert_eq!(opened(root.path()).unwrap().fingerprint(), fingerprint);
        prop_assert_eq!(samples(root.path()), expected);
    }
}

#[test]
fn a_set_in_which_one_index_is_missing_is_read_with_a_warning_and_the_same_samples() {
    let root = packed();
    let plain = numbered();
    fs::write(root.path().join("zz.tar"), plain).unwrap();
    let dataset = opened(root.path()).unwrap();
    assert_eq!(dataset.len(Split::Train), 12);
    let warning = &dataset.warnings()[0];
    assert!(warning.contains("zz.tar") && warning.contains("no side index"), "{warning}");
    // Where no shard has an index, that is nothing to tell.
    fs::remove_file(with_ending(root.path(), "fpi")).unwrap();
    assert_eq!(opened(root.path()).unwrap().warnings(), [""; 0]);
    let (found, bad) = samples(root.path());
    let grays: Vec<u8> = found.values().map(|(_, gray)| (gray + 20) / 40).collect();
    assert_eq!((grays[6..].to_vec(), bad), (vec![0, 1, 2, 3, 4, 5], 0));
}

#[test]
fn indices_that_name_other_classes_do_not_belong_together() {
    let (root, other) = (packed(), packed());
    let index = fs::read(with_ending(other.path(), "fpi")).unwrap();
    // The same length of names, and good checksums again: the body's first, then the head's.
    let mut index = index;
    let at = index.windows(4).position(|word| word == b"even").unwrap();
    index[at..at + 4].copy_from_slice(b"nine");
    let samples = u32::from_le_bytes(index[12..16].try_into().unwrap()) as usize;
    let names = u32::from_le_bytes(index[36..40].try_into().unwrap()) as usize;
    let body = crc32fast::hash(&index[64..64 + 24 * samples + names]);
    index[48..52].copy_from_slice(&body.to_le_bytes());
    let head = crc32fast::hash(&index[..60]);
    index[60..64].copy_from_slice(&head.to_le_bytes());
    fs::copy(with_ending(other.path(), "tar"), root.path().join("zz.tar")).unwrap();
    fs::write(root.path().join("zz.fpi"), index).unwrap();
    let error = opened(root.path()).unwrap_err().to_string();
    assert!(error.contains("zz.tar") && error.contains("its class names are not those of"), "{error}");
}
