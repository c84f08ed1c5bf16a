//! Any bytes as an image file: no crash, no hang, bounded memory; and neither its index nor
//! its checkpoints change a pixel.
#![no_main]

use footplate_data::Normalize;
use footplate_data::decode::index;
use footplate_data::decode::checkpoint_cache::CheckpointCache;
use footplate_data::rng::SampleKey;
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform};
use half::f16;
use libfuzzer_sys::fuzz_target;

const SIZE: usize = 40;
const VALUES: usize = SIZE * SIZE * 3;

fuzz_target!(|data: &[u8]| {
    let transform = Transform { max_pixels: 1 << 18, ..Transform::train(SIZE as u32) };
    let mut scratch = Scratch::new();
    let index = index::build(data);
    let normalize = &Normalize::IMAGENET;
    let memory = Some(&CheckpointCache::new(1 << 20));
    for epoch in 0..3 {
        let key = SampleKey { seed: 1, epoch, index: 7 };
        let mut bytes = vec![0; VALUES];
        let result = transform.apply(Encoded::File(data), key, &mut scratch, PixelSink::U8Nhwc(&mut bytes));
        if let Some(index) = &index {
            let mut again = vec![0; VALUES];
            let image = Encoded::Indexed { file: data, index };
            let second = transform.apply(image, key, &mut scratch, PixelSink::U8Nhwc(&mut again));
            assert_eq!(result.is_ok(), second.is_ok());
            assert!(result.is_err() || bytes == again, "the index changes pixels");
        }
        let mut again = vec![0; VALUES];
        let out = PixelSink::U8Nhwc(&mut again);
        let third = transform.apply_cached(Encoded::File(data), key, memory, &mut scratch, out);
        assert_eq!(result.is_ok(), third.is_ok());
        assert!(result.is_err() || bytes == again, "the checkpoints change pixels");
        let mut floats = vec![0.0; VALUES];
        let out = PixelSink::F32Nchw { out: &mut floats, normalize };
        assert_eq!(transform.apply(Encoded::File(data), key, &mut scratch, out).is_ok(), result.is_ok());
        let mut halves = vec![f16::ZERO; VALUES];
        let out = PixelSink::F16Nchw { out: &mut halves, normalize };
        assert_eq!(transform.apply(Encoded::File(data), key, &mut scratch, out).is_ok(), result.is_ok());
    }
});
