//! Data sets that a program has in memory, and memory that a program lends to the pipeline.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(unsafe_code, reason = "a buffer of the program's own, as a device would have it")]

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use footplate_data::transform::{Transform, TransformMode};
use footplate_data::{
    BufferProvider, DataError, Dataset, ExternalBuffer, Format, HostBatch, ImageData, Inputs, LoaderSettings,
    MemoryImage, OpenOptions, Pipeline, PixelLayout, Position, Split,
};
use jpeg_encoder::{ColorType, Encoder};

const SIDE: u32 = 16;

/// The JPEG of one gray.
fn jpeg(gray: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = SIDE as u16;
    Encoder::new(&mut bytes, 95).encode(&[gray; 768], side, side, ColorType::Rgb).unwrap();
    bytes
}

/// Images of one gray each: files and pixels in turn, of two classes.
fn images(count: u8) -> Vec<MemoryImage> {
    let image = |n: u8| {
        let gray = n * 10;
        let pixels = vec![gray; (SIDE * SIDE * 3) as usize];
        let data = match n % 2 {
            0 => ImageData::File(jpeg(gray)),
            _ => ImageData::Pixels { pixels, width: SIDE, height: SIDE, channels: 3 },
        };
        MemoryImage { name: format!("image {n}"), label: u32::from(n / 2 % 2), data }
    };
    (0..count).map(image).collect()
}

fn classes() -> Vec<String> {
    ["dark", "light"].map(str::to_owned).to_vec()
}

fn dataset(count: u8) -> Arc<Dataset> {
    let options = OpenOptions { validation_fraction: 0.25, ..OpenOptions::default() };
    Arc::new(Dataset::from_images(classes(), images(count), &options).unwrap())
}

fn settings(batch_size: usize) -> LoaderSettings {
    let whole = Transform { mode: TransformMode::Eval { resize_to: SIDE }, ..Transform::eval(SIDE) };
    LoaderSettings { layout: PixelLayout::U8Nhwc, ..LoaderSettings::new(batch_size, whole) }
}

const START: Position = Position { epoch: 0, batch: 0 };

fn batches(dataset: &Arc<Dataset>, split: Split, settings: LoaderSettings) -> Vec<HostBatch> {
    Pipeline::start(dataset.clone(), split, settings, START, 1).unwrap().map(Result::unwrap).collect()
}

#[test]
fn files_and_pixels_in_memory_become_minibatches() {
    let dataset = dataset(16);
    assert_eq!((dataset.format(), dataset.format().to_string().as_str()), (Format::Memory, "memory"));
    assert_eq!((dataset.len(Split::Train), dataset.len(Split::Validation)), (12, 4));
    let mut seen = Vec::new();
    for split in [Split::Train, Split::Validation] {
        for batch in batches(&dataset, split, settings(5)) {
            let Inputs::U8Nhwc { data, shape } = &batch.inputs else { panic!("not bytes") };
            assert_eq!(*shape, [batch.items, SIDE as usize, SIDE as usize, 3]);
            for ((index, label), pixels) in
                batch.indices.iter().zip(&batch.labels).zip(data.chunks_exact(768))
            {
                assert_eq!(*label as u64, index / 2 % 2);
                assert!(pixels.iter().all(|value| value.abs_diff(*index as u8 * 10) <= 3), "image {index}");
                seen.push(*index);
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..16).collect::<Vec<_>>());
}

#[test]
fn a_damaged_file_in_memory_is_left_out_by_its_name() {
    let mut all = images(8);
    all[2].data = ImageData::File(b"no image".to_vec());
    let options = OpenOptions { validation_fraction: 0.0, ..OpenOptions::default() };
    let dataset = Arc::new(Dataset::from_images(classes(), all, &options).unwrap());
    let batches = batches(&dataset, Split::Train, settings(8));
    assert_eq!((batches[0].items, batches[0].bad.len()), (7, 1));
    assert_eq!((batches[0].bad[0].index, batches[0].bad[0].name.as_str()), (2, "image 2"));
    assert!(batches[0].bad[0].reason.starts_with("not a JPEG or PNG image"));
}

#[test]
fn the_fingerprint_tells_other_images_labels_and_splits_apart() {
    let fingerprint = |change: &dyn Fn(&mut Vec<MemoryImage>), seed| {
        let mut all = images(12);
        change(&mut all);
        let options = OpenOptions { seed, ..OpenOptions::default() };
        Dataset::from_images(classes(), all, &options).unwrap().fingerprint()
    };
    let same = fingerprint(&|_| {}, 1);
    assert_eq!(fingerprint(&|_| {}, 1), same);
    assert_ne!(fingerprint(&|all| all[3].label = 0, 1), same);
    assert_ne!(fingerprint(&|all| all[0].data = ImageData::File(jpeg(99)), 1), same);
    assert_ne!(fingerprint(&|all| all.swap(0, 1), 1), same);
    assert_ne!(fingerprint(&|_| {}, 2), same);
}

#[test]
fn memory_that_cannot_be_trained_on_says_why() {
    let from = |classes: &[&str], images| {
        let classes = classes.iter().map(|name| (*name).to_owned()).collect();
        Dataset::from_images(classes, images, &OpenOptions::default()).unwrap_err()
    };
    assert!(matches!(from(&["only"], vec![]), DataError::TooFewClasses { found: 1, .. }));
    assert!(matches!(from(&["a", "b"], vec![]), DataError::Empty { .. }));
    let error = from(&["a", "b"], vec![MemoryImage { label: 2, ..images(1)[0].clone() }]);
    assert_eq!(error.to_string(), "image 0: its class is number 2 of 2, counted from 0");
}

#[test]
fn a_text_in_memory_becomes_windows_of_tokens() {
    let text = "abcdefgh".repeat(20);
    let options = OpenOptions { sequence_length: 10, validation_fraction: 0.25, ..OpenOptions::default() };
    let dataset = Arc::new(Dataset::from_text(&text, &options).unwrap());
    assert_eq!((dataset.len(Split::Train), dataset.len(Split::Validation)), (10, 3));
    let validation = batches(&dataset, Split::Validation, LoaderSettings { shuffle: false, ..settings(3) });
    let Inputs::Tokens { data, shape } = &validation[0].inputs else { panic!("not tokens") };
    assert_eq!((*shape, validation[0].labels.len()), ([3, 11], 0));
    // The last 40 of 160 characters begin with an `a`; a window begins with the last character of the one before.
    let expected: Vec<i32> = (0..3).flat_map(|window| (0..11).map(move |i| (window * 10 + i) % 8)).collect();
    assert_eq!(data[..], expected);
    for (text, reason) in
        [("ab", "2 characters are too few"), ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "only one different")]
    {
        let error =
            Dataset::from_text(text, &OpenOptions { sequence_length: 4, ..options }).unwrap_err().to_string();
        assert!(error.starts_with("data in memory: ") && error.contains(reason), "{error}");
    }
}

/// A provider of two buffers, which counts the requests that it could not serve.
#[derive(Debug, Default)]
struct TwoBuffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    refused: AtomicUsize,
}

#[derive(Debug)]
struct Lent {
    memory: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
}

// SAFETY: a vector's heap block, which stays where it is until the value is dropped.
unsafe impl ExternalBuffer<u8> for Lent {
    fn elements(&self) -> &[u8] {
        &self.memory
    }

    fn elements_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lock().unwrap().push(std::mem::take(&mut self.memory));
    }
}

impl BufferProvider<u8> for TwoBuffers {
    fn provide(&self, length: usize) -> Option<Box<dyn ExternalBuffer<u8>>> {
        let memory = self.free.lock().unwrap().pop().filter(|memory| memory.len() >= length);
        let Some(memory) = memory else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Box::new(Lent { memory, home: self.free.clone() }))
    }
}

#[test]
fn samples_are_written_to_memory_of_the_program_as_far_as_there_is_some() {
    let dataset = dataset(16);
    for workers in [0, 3] {
        let plain = batches(&dataset, Split::Train, LoaderSettings { workers, ..settings(2) });
        let provider = Arc::new(TwoBuffers::default());
        provider.free.lock().unwrap().extend([vec![0; 2 * 768], vec![0; 2 * 768]]);
        let lending = LoaderSettings { workers, buffer_provider: Some(provider.clone()), ..settings(2) };
        let (mut external, mut own) = (0, 0);
        for (batch, expected) in batches(&dataset, Split::Train, lending).into_iter().zip(&plain) {
            let (Inputs::U8Nhwc { data, .. }, Inputs::U8Nhwc { data: expected, .. }) =
                (batch.inputs, &expected.inputs)
            else {
                panic!("not bytes")
            };
            assert_eq!(data[..], expected[..]);
            match data.into_external() {
                Ok(memory) => {
                    assert!(memory.downcast::<Lent>().is_ok());
                    external += 1;
                }
                Err(_) => own += 1,
            }
        }
        // All minibatches were kept until the end: the first two have the two buffers.
        assert_eq!((external, own, provider.refused.load(Ordering::Relaxed)), (2, 4, 4), "{workers} workers");
        assert_eq!(provider.free.lock().unwrap().len(), 2, "both went back");
    }
}
