//! Once its buffers have grown, a worker makes samples without allocating.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use footplate_data::Normalize;
use footplate_data::augment::ColorJitter;
use footplate_data::decode::index;
use footplate_data::rng::SampleKey;
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform, TransformMode};
use half::f16;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SIZE: usize = 32;
const VALUES: usize = SIZE * SIZE * 3;

#[test]
fn samples_are_made_without_allocating() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jpeg");
    let names = ["444", "422", "420", "gray", "restart", "optimised", "rgb"];
    let mut files: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(folder.join(format!("{name}.jpg"))).unwrap()).collect();
    // One that must be turned by a quarter.
    let mut turned = files[0][..2].to_vec();
    turned
        .extend(b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    turned.extend(&files[0][2..]);
    files.push(turned);
    let indexes: Vec<Vec<u8>> = files.iter().map(|file| index::build(file).unwrap()).collect();
    let plain = Transform::train(SIZE as u32);
    let TransformMode::Train { scale, ratio, flip, .. } = plain.mode else { unreachable!() };
    let jitter = Some(ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4 });
    let mode = TransformMode::Train { scale, ratio, flip, jitter };
    let transforms = [plain.clone(), Transform { mode, ..plain }, Transform::eval(SIZE as u32)];
    let mut scratch = Scratch::new();
    let (mut bytes, mut floats, mut halves) = (vec![0; VALUES], vec![0.0; VALUES], vec![f16::ZERO; VALUES]);
    let normalize = &Normalize::IMAGENET;
    let mut round = |epoch: u32| {
        let before = ALLOCATIONS.get();
        for transform in &transforms {
            for (i, (file, index)) in files.iter().zip(&indexes).enumerate() {
                let key = SampleKey { seed: 1, epoch, index: i as u64 };
                for image in [Encoded::File(file), Encoded::Indexed { file, index }] {
                    let out = PixelSink::U8Nhwc(&mut bytes);
                    transform.apply(image, key, &mut scratch, out).unwrap();
                    let out = PixelSink::F32Nchw { out: &mut floats, normalize };
                    transform.apply(image, key, &mut scratch, out).unwrap();
                    let out = PixelSink::F16Nchw { out: &mut halves, normalize };
                    transform.apply(image, key, &mut scratch, out).unwrap();
                }
            }
        }
        ALLOCATIONS.get() - before
    };
    assert!((0..30).map(&mut round).sum::<u64>() > 0, "the allocator does not count");
    // The same crops as before: all buffers have their sizes.
    assert_eq!((0..30).map(&mut round).sum::<u64>(), 0);
}
