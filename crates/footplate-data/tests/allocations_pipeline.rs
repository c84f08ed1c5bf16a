//! What the pipeline takes from the heap once it runs: nothing for a sample, a few small lists for a minibatch.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(unsafe_code, reason = "a counting allocator, in this test only")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use footplate_data::transform::Transform;
use footplate_data::{Dataset, LoaderSettings, OpenOptions, Pipeline, PixelLayout, Position, Split, open};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: all is done by the system's allocator; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

fn folder(root: &Path) {
    for i in 0..16u16 {
        let class = root.join(if i % 2 == 0 { "a" } else { "b" });
        fs::create_dir_all(&class).unwrap();
        let (width, height) = (90 + i, 120);
        let pixels: Vec<u8> =
            (0..usize::from(width) * usize::from(height) * 3).map(|n| (n * 7 % 251) as u8).collect();
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, 85);
        encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        fs::write(class.join(format!("{i:02}.jpg")), bytes).unwrap();
    }
}

/// Allocations in a later epoch, by the number of samples in a minibatch.
fn allocations_of_an_epoch(dataset: &Arc<Dataset>, batch_size: usize, layout: PixelLayout) -> u64 {
    let settings = LoaderSettings {
        prefetch_batches: 2,
        layout,
        seed: 1,
        ..LoaderSettings::new(batch_size, Transform::train(64))
    };
    let from = Position { epoch: 0, batch: 0 };
    let mut pipeline = Pipeline::start(dataset.clone(), Split::Train, settings, from, 40).unwrap();
    let batches = pipeline.batches_per_epoch() as usize;
    // The buffers have grown to what the largest crops need.
    pipeline.by_ref().take(batches * 30).for_each(drop);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    pipeline.by_ref().take(batches * 8).for_each(drop);
    (ALLOCATIONS.load(Ordering::Relaxed) - before) / 8
}

#[test]
fn a_sample_costs_no_allocation() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    let options = OpenOptions { format: None, seed: 1, validation_fraction: 0.0, sequence_length: 4 };
    let dataset = Arc::new(open(root.path(), &options).unwrap());
    for layout in [PixelLayout::U8Nhwc, PixelLayout::F32Nchw, PixelLayout::F16Nchw] {
        let one_batch = allocations_of_an_epoch(&dataset, 16, layout);
        let four_batches = allocations_of_an_epoch(&dataset, 4, layout);
        // Lists of labels, indices and the like: the same number whatever the minibatch's size.
        assert!(one_batch <= 14, "{layout:?}: {one_batch} allocations for a minibatch of 16 samples");
        assert!(four_batches <= 4 * 14, "{layout:?}: {four_batches} for four minibatches of 4 samples");
    }
}
