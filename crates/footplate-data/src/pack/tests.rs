use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicI64;

use super::*;
use crate::dataset::{self, Dataset, OpenOptions, open};
use crate::decode::tests::{jpeg, png};
use crate::source::Form;
use crate::split::Split;

/// Three classes with a split of their own: JPEGs of many sizes and a PNG; `damaged` files that are no images.
fn photos(damaged: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: String, bytes: &[u8]| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for i in 0..30u16 {
        let class = ["cat", "dog", "über"][usize::from(i) % 3];
        let split = if i < 24 { "train" } else { "val" };
        write(format!("{split}/{class}/photo.{i}.jpg"), &jpeg(16 + i, 24));
    }
    let gray = png(5, 4, ::png::ColorType::Grayscale, ::png::BitDepth::Eight, &[9; 20]);
    write("train/cat/a png.JPG".to_owned(), &gray);
    for i in 0..damaged {
        write(format!("train/dog/bad{i}.jpg"), b"no image");
    }
    root
}

fn options() -> PackOptions {
    PackOptions {
        format: None,
        seed: 3,
        shard_bytes: 12_000,
        change: ImageChange::default(),
        max_bad_fraction: 0.0,
        threads: 3,
    }
}

static GO_ON: AtomicBool = AtomicBool::new(false);

fn packed_with(source: &Path, to: &Path, options: &PackOptions) -> Result<Packed, PackError> {
    pack(source, to, options, JobControl { stop: &GO_ON, progress: &|_, _| {} })
}

fn packed(source: &Path, to: &Path) -> Packed {
    packed_with(source, to, &options()).unwrap()
}

fn verified(path: &Path) -> Verified {
    verify(path, 2, JobControl { stop: &GO_ON, progress: &|_, _| {} }).unwrap()
}

fn opened(path: &Path) -> dataset::ImageDataset {
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 4 };
    let Dataset::Images(images) = open(path, &options).unwrap() else { panic!("not images") };
    images
}

/// Each sample of a split as (class, file), sorted.
fn contents(path: &Path, split: Split) -> Vec<(String, Vec<u8>)> {
    let images = opened(path);
    let mut all: Vec<_> = images
        .split(split)
        .iter()
        .map(|index| {
            let mut bytes = Vec::new();
            if let Form::Indexed { file_len } = images.store.read(*index as usize, &mut bytes).unwrap() {
                bytes.truncate(file_len);
            }
            (images.classes()[images.labels[*index as usize] as usize].clone(), bytes)
        })
        .collect();
    all.sort();
    all
}

/// Names and bytes of all files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn shards_hold_the_files_as_they_were_with_classes_and_split() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    let report = packed(source.path(), to.path());
    assert_eq!((report.samples, report.left_out.len(), report.kept), (31, 0, 0));
    assert!(report.shards > 3, "{} shards", report.shards);
    assert_eq!(report.with_checkpoints, 30, "all but the PNG");
    for split in [Split::Train, Split::Validation] {
        assert_eq!(contents(to.path(), split), contents(source.path(), split));
    }
    assert_eq!(opened(to.path()).classes(), ["cat", "dog", "über"]);
    assert_eq!(fs::read_to_string(to.path().join("classes.txt")).unwrap(), "cat\ndog\nüber\n");
    let found = verified(to.path());
    assert_eq!((found.samples, found.shards, found.problems), (31, report.shards, vec![]));
}

#[test]
fn shards_are_the_same_at_any_number_of_threads_and_mix_the_classes() {
    let source = photos(0);
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    packed_with(source.path(), one.path(), &PackOptions { threads: 1, ..options() }).unwrap();
    packed_with(source.path(), many.path(), &PackOptions { threads: 7, ..options() }).unwrap();
    assert_eq!(files(one.path()), files(many.path()));
    let images = opened(one.path());
    let first: std::collections::BTreeSet<u32> = images.labels[..8].iter().copied().collect();
    assert_eq!(first.len(), 3, "the first samples are of few classes: {:?}", images.labels);
}

#[test]
fn any_tar_program_can_read_a_shard() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    packed(source.path(), to.path());
    let mut archive = ::tar::Archive::new(fs::File::open(to.path().join("train-00000.tar")).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    for pair in names.chunks(2) {
        let (key, ending) = pair[0].split_once('.').unwrap();
        assert_eq!(ending, "cls");
        assert!([format!("{key}.jpg"), format!("{key}.png")].contains(&pair[1]), "{pair:?}");
    }
    // The kind is told by the bytes, and a dot in a name does not end the key.
    assert!(names.iter().any(|name| name.contains("-photo_")), "{names:?}");
}

#[test]
fn damaged_images_are_listed_and_left_out_up_to_a_limit() {
    let (source, to) = (photos(2), tempfile::tempdir().unwrap());
    let refused = packed_with(source.path(), to.path(), &options()).unwrap_err();
    assert!(matches!(refused, PackError::Data(DataError::TooManyBad { .. })), "{refused}");
    let lenient = PackOptions { max_bad_fraction: 0.1, ..options() };
    let report = packed_with(source.path(), to.path(), &lenient).unwrap();
    assert_eq!(report.samples, 31);
    let names = |report: &Packed| -> Vec<String> {
        report.left_out.iter().map(|sample| sample.name.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report), ["bad0.jpg", "bad1.jpg"]);
    assert!(report.left_out.iter().any(|sample| sample.reason.contains("not a JPEG")));
    // They are known again when all shards are kept.
    let again = packed_with(source.path(), to.path(), &lenient).unwrap();
    assert_eq!((again.kept, names(&again)), (report.shards, names(&report)));
}

#[test]
fn a_packing_that_was_interrupted_goes_on_and_gives_the_same() {
    let source = photos(0);
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    packed(source.path(), whole.path());
    let stop = AtomicBool::new(false);
    let progress = |done: u64, _: u64| stop.store(done >= 17, Ordering::Relaxed);
    let one = PackOptions { threads: 1, ..options() };
    let stopped = pack(source.path(), broken.path(), &one, JobControl { stop: &stop, progress: &progress });
    assert!(matches!(stopped, Err(PackError::Stopped)));
    assert!(crate::pack_marker::is_incomplete(broken.path()));
    let images = opened(broken.path());
    assert!(images.warnings.iter().any(|w| w.contains("has not finished")), "{:?}", images.warnings);
    // What a process leaves that is killed while it writes, and between a tar and its index.
    fs::write(broken.path().join(".train-00001.tar.1.partial"), "half").unwrap();
    fs::remove_file(broken.path().join("train-00000.fpi")).unwrap();
    let report = packed(source.path(), broken.path());
    assert!(report.kept >= 1 && report.kept < report.shards, "{} kept", report.kept);
    assert_eq!(files(broken.path()), files(whole.path()));
}

#[test]
fn a_folder_of_others_is_not_touched() {
    let source = photos(0);
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("train-00000.tar"), "mine").unwrap();
    let error = packed_with(source.path(), to.path(), &options()).unwrap_err();
    assert!(matches!(&error, PackError::Foreign { found, .. } if found == "train-00000.tar"), "{error}");
    assert_eq!(files(to.path()).len(), 1);
    let to = tempfile::tempdir().unwrap();
    packed(source.path(), to.path());
    let before = files(to.path());
    for other in [
        PackOptions { seed: 4, ..options() },
        PackOptions { change: ImageChange { resize: Some(8), quality: None }, ..options() },
        PackOptions { shard_bytes: 30_000, ..options() },
    ] {
        let error = packed_with(source.path(), to.path(), &other).unwrap_err();
        assert!(matches!(error, PackError::OtherPack { .. }), "{error}");
    }
    assert_eq!(files(to.path()), before);
    let inside = source.path().join("train/shards");
    assert!(matches!(packed_with(source.path(), &inside, &options()), Err(PackError::Inside { .. })));
    symlink(source.path(), to.path().join("link")).unwrap();
    let linked = to.path().join("link/new/deep");
    assert!(matches!(packed_with(source.path(), &linked, &options()), Err(PackError::Inside { .. })));
}

#[test]
fn two_at_once_do_not_mix() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    let lock = fs::File::open(to.path()).unwrap();
    lock.lock().unwrap();
    assert!(matches!(packed_with(source.path(), to.path(), &options()), Err(PackError::Busy { .. })));
    assert_eq!(files(to.path()), []);
}

/// A disk with so much space.
struct Small(AtomicI64);

struct Limited<'a>(&'a mut dyn Write, &'a AtomicI64);

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.fetch_sub(bytes.len() as i64, Ordering::Relaxed) < bytes.len() as i64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl FileWriter for Small {
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        whole::write(path, |file| fill(&mut Limited(file, &self.0)))
    }
}

/// At every space that is not enough, the disk is full, nothing half is left, and with more space it goes on.
#[test]
fn a_full_disk_leaves_no_half_files() {
    let source = photos(0);
    let whole = tempfile::tempdir().unwrap();
    packed(source.path(), whole.path());
    let expected = files(whole.path());
    let needed: usize = expected.iter().map(|(_, bytes)| bytes.len()).sum();
    for space in [0, 100, 1000, needed / 3, needed / 2, needed - 30] {
        let to = tempfile::tempdir().unwrap();
        let watch = JobControl { stop: &GO_ON, progress: &|_, _| {} };
        let disk = Small(AtomicI64::new(space as i64));
        let full = pack_to(&disk, source.path(), to.path(), &options(), watch).unwrap_err();
        let is_full = |e: &PackError| matches!(e, PackError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull);
        assert!(is_full(&full), "{space}: {full}");
        for (name, bytes) in files(to.path()) {
            let same = expected.iter().any(|(n, b)| *n == name && *b == bytes);
            assert!(same || name == "pack.toml", "{space}: {name} is not whole");
        }
        packed(source.path(), to.path());
        assert_eq!(files(to.path()), expected, "{space}");
    }
}

#[test]
fn pixels_are_packed_without_loss() {
    let (source, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let images: Vec<u8> = (0..6 * 12u32).map(|i| (i * 37 % 251) as u8).collect();
    let write = |name: &str, head: &[u8], data: &[u8]| {
        fs::write(source.path().join(name), [head, data].concat()).unwrap();
    };
    write("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 3, 0, 0, 0, 4], &images);
    write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 6], &[0, 1, 0, 1, 2, 2]);
    assert_eq!(packed(source.path(), to.path()).samples, 6);
    let set = opened(to.path());
    assert_eq!(set.classes(), ["0", "1", "2"]);
    let mut found: Vec<(u32, Vec<u8>)> = (0..6)
        .map(|index| {
            let (mut bytes, mut rgb) = (Vec::new(), Vec::new());
            set.store.read(index, &mut bytes).unwrap();
            crate::decode::decode_rgb(&bytes, 100, &mut rgb).unwrap();
            (set.labels[index], rgb.chunks(3).map(|p| p[0]).collect())
        })
        .collect();
    found.sort();
    let mut expected: Vec<(u32, Vec<u8>)> =
        [0, 1, 0, 1, 2, 2].into_iter().zip(images.chunks(12).map(<[u8]>::to_vec)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn images_are_made_smaller_only_if_asked_and_only_if_larger() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    let change = ImageChange { resize: Some(20), quality: Some(80) };
    packed_with(source.path(), to.path(), &PackOptions { change, ..options() }).unwrap();
    let sides = |path: &Path| -> Vec<(u32, u32)> {
        contents(path, Split::Train)
            .iter()
            .map(|(_, bytes)| crate::decode::image_info(bytes).unwrap())
            .map(|info| (info.width, info.height))
            .collect()
    };
    assert!(sides(source.path()).iter().any(|(w, h)| *w.min(h) > 20));
    let small = sides(to.path());
    assert!(small.iter().all(|(w, h)| *w.min(h) <= 20), "{small:?}");
    // 39 × 24 becomes 33 × 20; 5 × 4 stays.
    assert!(small.contains(&(33, 20)) && small.contains(&(5, 4)), "{small:?}");
    let bad = PackOptions { change: ImageChange { resize: None, quality: Some(0) }, ..options() };
    assert!(matches!(packed_with(source.path(), to.path(), &bad), Err(PackError::Option(_))));
}

#[test]
fn a_smaller_image_keeps_its_orientation() {
    let source = tempfile::tempdir().unwrap();
    for (class, orientation) in [("a", 6u8), ("b", 1)] {
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
        encoder.add_app_segment(1, [exif.as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]].concat()).unwrap();
        encoder.encode(&[100; 40 * 30 * 3], 40, 30, jpeg_encoder::ColorType::Rgb).unwrap();
        fs::create_dir(source.path().join(class)).unwrap();
        fs::write(source.path().join(class).join("1.jpg"), bytes).unwrap();
    }
    let to = tempfile::tempdir().unwrap();
    let change = ImageChange { resize: Some(15), quality: None };
    packed_with(source.path(), to.path(), &PackOptions { change, ..options() }).unwrap();
    let infos: Vec<_> = contents(to.path(), Split::Train)
        .iter()
        .map(|(_, bytes)| crate::decode::image_info(bytes).unwrap())
        .map(|info| (info.width, info.height, info.orientation))
        .collect();
    assert_eq!(infos, [(20, 15, 6), (20, 15, 1)]);
}

#[test]
fn a_check_finds_what_has_changed() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    packed(source.path(), to.path());
    let tar = to.path().join("train-00000.tar");
    let whole = fs::read(&tar).unwrap();
    let problem = |bytes: &[u8]| {
        fs::write(&tar, bytes).unwrap();
        verified(to.path()).problems.join("; ")
    };
    // Inside the first image: after a header, its class, and its own header.
    let mut flipped = whole.clone();
    flipped[3 * 512 + 60] ^= 1;
    assert!(problem(&flipped).contains("its bytes have changed"));
    let mut renamed = whole.clone();
    renamed[512] = b'2' - (renamed[512] - b'0');
    assert!(renamed == whole || problem(&renamed).contains("its place, size or class"));
    assert!(problem(&whole[..whole.len() - 512]).contains("of a file of"));
    assert_eq!(problem(&whole), "");
    fs::remove_file(to.path().join("val-00000.fpi")).unwrap();
    assert!(verified(to.path()).problems.join("; ").contains("no side index"));
}

/// Without its index, with a damaged one, or with one of another tar, a shard is read by its headers: the same
/// samples in the same order, and a warning.
#[test]
fn a_shard_without_a_good_index_is_read_by_its_headers() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    packed(source.path(), to.path());
    let (expected, print) = (contents(to.path(), Split::Train), opened(to.path()));
    let index = to.path().join("train-00001.fpi");
    let whole = fs::read(&index).unwrap();
    let mut damaged = whole.clone();
    damaged[70] ^= 1;
    // Of a tar of another size.
    let size = |name: &str| to.path().join(name).metadata().unwrap().len();
    assert_ne!(size("val-00000.tar"), size("train-00001.tar"));
    let other = fs::read(to.path().join("val-00000.fpi")).unwrap();
    for (bytes, reason) in [
        (None, "no side index"),
        (Some(&damaged[..]), "damaged"),
        (Some(&whole[..40]), "cut off"),
        (Some(&other[..]), "is of a file of"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&index, bytes).unwrap(),
            None => fs::remove_file(&index).unwrap(),
        }
        let set = opened(to.path());
        assert!(set.warnings.iter().any(|w| w.contains(reason)), "{reason}: {:?}", set.warnings);
        assert_eq!(set.labels, print.labels);
        assert_eq!(contents(to.path(), Split::Train), expected, "{reason}");
        let classes = set.classes().to_vec();
        assert_eq!(classes, print.classes());
    }
    // A data set that never had an index gives no warning, and takes its names from classes.txt.
    for file in files(to.path()) {
        if file.0.ends_with(".fpi") {
            let _ = fs::remove_file(to.path().join(file.0));
        }
    }
    let set = opened(to.path());
    assert_eq!((set.warnings.len(), set.classes()), (0, print.classes()));
}

/// An index of another tar of the same size is noticed when the shard is read.
#[test]
fn an_index_of_a_tar_of_the_same_size_is_noticed() {
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    packed(source.path(), to.path());
    let tar = to.path().join("train-00000.tar");
    let mut bytes = fs::read(&tar).unwrap();
    let mut buffer = Vec::new();
    assert!(opened(to.path()).store.read(0, &mut buffer).is_ok());
    // All but the first header moves.
    bytes[512..].rotate_left(1024);
    fs::write(&tar, bytes).unwrap();
    let error = opened(to.path()).store.read(0, &mut buffer).unwrap_err().to_string();
    assert!(error.contains("was changed, or is not the one of its index"), "{error}");
}

#[test]
fn shards_and_plain_tars_can_be_packed_again() {
    let (source, once, twice) = (photos(0), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    packed(source.path(), once.path());
    for file in files(once.path()) {
        if file.0.contains("00001") && file.0.ends_with(".fpi") {
            fs::remove_file(once.path().join(file.0)).unwrap();
        }
    }
    let report = packed_with(once.path(), twice.path(), &PackOptions { seed: 9, ..options() }).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("no side index")), "{:?}", report.warnings);
    for split in [Split::Train, Split::Validation] {
        assert_eq!(contents(twice.path(), split), contents(source.path(), split));
    }
    assert_eq!(opened(twice.path()).classes(), opened(source.path()).classes());
    assert_eq!(verified(twice.path()).problems, Vec::<String>::new());
}

#[test]
fn colour_pixels_keep_their_class_names() {
    let (source, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let record =
        |label: u8, [r, g, b]: [u8; 3]| [vec![label], vec![r; 1024], vec![g; 1024], vec![b; 1024]].concat();
    let batch = [record(0, [1, 2, 3]), record(1, [4, 5, 6])].concat();
    fs::write(source.path().join("data_batch_1.bin"), batch).unwrap();
    fs::write(source.path().join("test_batch.bin"), record(1, [7, 8, 9])).unwrap();
    fs::write(source.path().join("batches.meta.txt"), "airplane\nautomobile\n").unwrap();
    packed(source.path(), to.path());
    let set = opened(to.path());
    assert_eq!(set.classes(), ["airplane", "automobile"]);
    assert_eq!((set.split(Split::Train).len(), set.split(Split::Validation).len()), (2, 1));
    for index in 0..3 {
        let (mut bytes, mut rgb) = (Vec::new(), Vec::new());
        set.store.read(index, &mut bytes).unwrap();
        crate::decode::decode_rgb(&bytes, 1024, &mut rgb).unwrap();
        let expected: &[[u8; 3]] = if index == 2 { &[[7, 8, 9]] } else { &[[1, 2, 3], [4, 5, 6]] };
        assert!(expected.contains(&[rgb[0], rgb[1], rgb[2]]), "{:?}", &rgb[..3]);
    }
}

/// Whatever the crop, checkpoints change nothing but the time.
#[test]
fn pixels_are_the_same_with_and_without_checkpoints() {
    use crate::rng::SampleKey;
    use crate::transform::{Encoded, PixelSink, Scratch, Transform};
    let (source, to) = (photos(0), tempfile::tempdir().unwrap());
    packed(source.path(), to.path());
    let set = opened(to.path());
    let (mut scratch, mut bytes, mut with) = (Scratch::new(), Vec::new(), 0);
    let mut pixels = |image: Encoded<'_>, index: usize| {
        let key = SampleKey { seed: 1, epoch: 2, index: index as u64 };
        let mut out = vec![0; 12 * 12 * 3];
        Transform::train(12).apply(image, key, &mut scratch, PixelSink::U8Nhwc(&mut out)).unwrap();
        out
    };
    for index in 0..set.labels.len() {
        let form = set.store.read(index, &mut bytes).unwrap();
        if let Form::Indexed { file_len } = form {
            with += 1;
            assert_eq!(pixels(form.encoded(&bytes), index), pixels(Encoded::File(&bytes[..file_len]), index));
        }
    }
    assert_eq!(with, 30);
}
