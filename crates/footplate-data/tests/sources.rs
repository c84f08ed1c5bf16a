//! Every source on small data that is made here, whole and damaged.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use footplate_data::transform::{Transform, TransformMode};
use footplate_data::{
    DataError, Dataset, Format, Inputs, LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split,
    open,
};
use jpeg_encoder::{ColorType, Encoder};

fn options() -> OpenOptions {
    OpenOptions { format: None, seed: 1, validation_fraction: 0.25, sequence_length: 8 }
}

fn opened(path: &Path) -> Dataset {
    open(path, &options()).unwrap()
}

fn error(path: &Path) -> String {
    open(path, &options()).unwrap_err().to_string()
}

/// A 16 × 16 JPEG of one gray.
fn jpeg(gray: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 95).encode(&[gray; 768], 16, 16, ColorType::Rgb).unwrap();
    bytes
}

/// All samples of a split as (number, label, first pixel), in order.
fn samples(dataset: Dataset, split: Split, size: u32) -> Vec<(u64, i32, [u8; 3])> {
    let settings = LoaderSettings {
        layout: PixelLayout::U8Nhwc,
        ..LoaderSettings::new(
            3,
            Transform { mode: TransformMode::Eval { resize_to: size }, ..Transform::eval(size) },
        )
    };
    let from = Position { epoch: 0, batch: 0 };
    let mut found = Vec::new();
    for batch in Pipeline::start(Arc::new(dataset), split, settings, from, 1).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.bad, []);
        let Inputs::U8Nhwc { data, .. } = batch.inputs else { panic!("not bytes") };
        for (item, (index, label)) in batch.indices.iter().zip(&batch.labels).enumerate() {
            let at = item * (size * size * 3) as usize;
            found.push((*index, *label, [data[at], data[at + 1], data[at + 2]]));
        }
    }
    found
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn counts(dataset: &Dataset) -> (usize, usize) {
    (dataset.len(Split::Train), dataset.len(Split::Validation))
}

#[test]
fn a_folder_of_classes_is_split_by_itself() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..8 {
        write(root.path(), &format!("b/deep/{i}.JPG"), &jpeg(200));
        write(root.path(), &format!("a/{i}.jpeg"), &jpeg(10));
    }
    write(root.path(), "a/.hidden.jpg", b"");
    write(root.path(), "a/._7.jpeg", b"");
    write(root.path(), "a/notes.txt", b"");
    fs::create_dir(root.path().join("a/folder.jpg")).unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    let dataset = opened(root.path());
    assert_eq!((dataset.format(), counts(&dataset)), (Format::ImageFolder, (12, 4)));
    assert_eq!(dataset.warnings().len(), 2, "{:?}", dataset.warnings());
    let Dataset::Images(images) = &dataset else { panic!("not images") };
    assert_eq!(
        (images.classes(), images.typical_side()),
        (["a".to_owned(), "b".to_owned()].as_slice(), Some(16))
    );
    for (_, label, pixel) in samples(dataset, Split::Validation, 16) {
        assert!(pixel[0].abs_diff([10, 200][label as usize]) < 4);
    }
}

#[test]
fn a_folder_with_a_split_of_its_own_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    for class in ["x", "y"] {
        for i in 0..3 {
            write(root.path(), &format!("train/{class}/{i}.jpg"), &jpeg(1));
        }
        write(root.path(), &format!("val/{class}/0.jpg"), &jpeg(1));
    }
    assert_eq!(counts(&opened(root.path())), (6, 2));
    write(root.path(), "val/z/0.jpg", &jpeg(1));
    assert!(error(root.path()).contains("class `z` is in the validation split only"));
}

#[test]
fn a_loop_of_links_does_not_hang() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1.jpg", &jpeg(1));
    write(root.path(), "b/1.jpg", &jpeg(1));
    std::os::unix::fs::symlink(root.path().join("a"), root.path().join("a/again")).unwrap();
    assert!(counts(&opened(root.path())).0 >= 2);
}

#[test]
fn the_fingerprint_tells_data_sets_apart() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..4 {
        write(root.path(), &format!("a/{i}.jpg"), &jpeg(1));
        write(root.path(), &format!("b/{i}.jpg"), &jpeg(1));
    }
    let first = opened(root.path()).fingerprint();
    assert_eq!(opened(root.path()).fingerprint(), first);
    let other_seed = open(root.path(), &OpenOptions { seed: 2, ..options() }).unwrap().fingerprint();
    fs::rename(root.path().join("a/0.jpg"), root.path().join("a/9.jpg")).unwrap();
    let renamed = opened(root.path()).fingerprint();
    assert!(first != renamed && first != other_seed);
}

/// An idx file: type byte 8, the sizes, the data.
fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_plain_and_gzipped() {
    let root = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..4u8).flat_map(|i| [i * 50; 16]).collect();
    write(root.path(), "train-images-idx3-ubyte.gz", &gzip(&idx(&[4, 4, 4], &pixels)));
    write(root.path(), "train-labels.idx1-ubyte", &idx(&[4], &[0, 1, 2, 1]));
    write(root.path(), "t10k-images-idx3-ubyte", &idx(&[2, 4, 4], &pixels[..32]));
    write(root.path(), "t10k-labels-idx1-ubyte.gz", &gzip(&idx(&[2], &[2, 0])));
    let dataset = opened(root.path());
    assert_eq!((dataset.format(), counts(&dataset)), (Format::Idx, (4, 2)));
    let found = samples(dataset, Split::Train, 4);
    assert_eq!(found, [(0, 0, [0; 3]), (1, 1, [50; 3]), (2, 2, [100; 3]), (3, 1, [150; 3])]);
    assert_eq!(samples(opened(root.path()), Split::Validation, 4)[1], (5, 0, [50; 3]));
}

#[test]
fn idx_files_that_lie_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let images = "train-images-idx3-ubyte";
    write(root.path(), "train-labels-idx1-ubyte", &idx(&[2], &[0, 1]));
    for (bytes, reason) in [
        (idx(&[2, 4, 4], &[0; 31]), "less than the 32 bytes"),
        (idx(&[2, 4, 4], &[0; 33]), "more than the 32 bytes"),
        (idx(&[u32::MAX, u32::MAX, 2], &[]), "too large"),
        (idx(&[2], &[0; 2]), "not an idx file of 3 dimensions"),
        (vec![0, 0], "the header cannot be read"),
        (idx(&[3, 4, 4], &[0; 48]), "2 labels for 3 images"),
    ] {
        write(root.path(), images, &bytes);
        let said = error(root.path());
        assert!(said.contains(reason), "`{reason}` is not in: {said}");
    }
    fs::remove_file(root.path().join("train-labels-idx1-ubyte")).unwrap();
    assert!(error(root.path()).contains("no train-labels-idx1-ubyte beside it"));
}

/// One CIFAR record whose planes are three different constants.
fn cifar_record(labels: &[u8], [r, g, b]: [u8; 3]) -> Vec<u8> {
    [labels, &[r; 1024], &[g; 1024], &[b; 1024]].concat()
}

#[test]
fn cifar_10_and_100() {
    let ten = tempfile::tempdir().unwrap();
    let records = [cifar_record(&[1], [1, 2, 3]), cifar_record(&[0], [4, 5, 6])].concat();
    write(ten.path(), "data_batch_1.bin", &records);
    write(ten.path(), "data_batch_2.bin", &records);
    write(ten.path(), "test_batch.bin", &cifar_record(&[1], [7, 8, 9]));
    write(ten.path(), "batches.meta.txt", b"airplane\nautomobile\n\n");
    let dataset = opened(ten.path());
    assert_eq!((dataset.format(), counts(&dataset)), (Format::Cifar, (4, 1)));
    let Dataset::Images(images) = &dataset else { panic!("not images") };
    assert_eq!(images.classes(), ["airplane", "automobile"]);
    assert_eq!(samples(dataset, Split::Train, 32)[1], (1, 0, [4, 5, 6]));

    let hundred = tempfile::tempdir().unwrap();
    write(
        hundred.path(),
        "train.bin",
        &[cifar_record(&[9, 1], [1; 3]), cifar_record(&[9, 0], [2; 3])].concat(),
    );
    write(hundred.path(), "test.bin", &cifar_record(&[9, 1], [3; 3]));
    assert_eq!(samples(opened(hundred.path()), Split::Train, 32)[0], (0, 1, [1; 3]));
    write(hundred.path(), "train.bin", &[0; 100]);
    assert!(error(hundred.path()).contains("not a whole number of records"));
}

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

#[test]
fn tar_shards_by_folder_file_and_pattern() {
    let root = tempfile::tempdir().unwrap();
    let (dark, light) = (jpeg(10), jpeg(200));
    let shard = tar(&[
        ("a/0.jpg", &dark),
        ("a/0.cls", b"0"),
        ("a/0.json", b"{}"),
        ("a/1.cls", b"1\n"),
        ("a/1.jpg", &light),
    ]);
    write(root.path(), "train-000.tar", &shard);
    write(root.path(), "train-001.tar", &shard);
    write(root.path(), "val-000.tar", &shard);
    let dataset = opened(root.path());
    assert_eq!((dataset.format(), counts(&dataset)), (Format::Tar, (4, 2)));
    for (index, label, pixel) in samples(dataset, Split::Train, 16) {
        assert_eq!(label, index as i32 % 2);
        assert!(pixel[0].abs_diff([10, 200][label as usize]) < 4);
    }
    let pattern = root.path().join("train-{000..001}.tar");
    let dataset = opened(&pattern);
    assert_eq!(dataset.len(Split::Train) + dataset.len(Split::Validation), 4);
    let missing = open(&root.path().join("train-{000..002}.tar"), &options()).unwrap_err();
    assert!(matches!(missing, DataError::Io { path, .. } if path.ends_with("train-002.tar")));
}

#[test]
fn a_tar_that_is_cut_off_keeps_its_whole_samples_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let image = jpeg(10);
    let shard = tar(&[
        ("0.jpg", &image),
        ("0.cls", b"0"),
        ("1.jpg", &image),
        ("1.cls", b"1"),
        ("2.cls", b"0"),
        ("2.jpg", &image),
    ]);
    let path = root.path().join("s.tar");
    // Inside the last image: after its header, before the end of its data.
    let data_blocks = image.len().div_ceil(512);
    let before_last = 512 * (2 * (1 + data_blocks) + 3 * 2);
    fs::write(&path, &shard[..before_last + 512 + 100]).unwrap();
    let dataset = opened(&path);
    assert_eq!(dataset.len(Split::Train) + dataset.len(Split::Validation), 2);
    assert!(dataset.warnings().iter().any(|w| w.contains("cut off")), "{:?}", dataset.warnings());
}

#[test]
fn a_tar_with_samples_that_lack_something_counts_them() {
    let root = tempfile::tempdir().unwrap();
    let image = jpeg(10);
    let members: [(&str, &[u8]); 6] = [
        ("0.jpg", &image),
        ("0.cls", b"0"),
        ("1.jpg", &image),
        ("1.cls", b"1"),
        ("2.jpg", &image),
        ("3.cls", b"many"),
    ];
    write(root.path(), "s.tar", &tar(&members));
    let dataset = opened(&root.path().join("s.tar"));
    assert!(dataset.warnings()[0].contains("1 samples without"), "{:?}", dataset.warnings());
}

#[test]
fn formats_have_names_and_can_be_forced() {
    for format in [Format::ImageFolder, Format::Idx, Format::Cifar, Format::Tar, Format::Text] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "poem", "roses are red, violets are blue, ".repeat(5).as_bytes());
    let path = root.path().join("poem");
    assert!(error(&path).contains("not a known data format"));
    let text = open(&path, &OpenOptions { format: Some(Format::Text), ..options() }).unwrap();
    assert_eq!(text.format(), Format::Text);
}
