//! Any bytes as a file with any bytes as its index. The first two bytes are the index's length. Where the file can be
//! indexed, the index gets the head and the checksum that make it pass for one of this file.
#![no_main]

use footplate_data::decode::index;
use footplate_data::rng::SampleKey;
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform};
use libfuzzer_sys::fuzz_target;

const SIZE: usize = 24;

fuzz_target!(|data: &[u8]| {
    let Some(([high, low], rest)) = data.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (body, file) = rest.split_at(length);
    let index = match index::build(file) {
        Some(real) => {
            let mut index = real[..12].to_vec();
            index.extend_from_slice(body);
            index.extend(crc32fast::hash(&index).to_le_bytes());
            index
        }
        None => body.to_vec(),
    };
    let transform = Transform { max_pixels: 1 << 18, ..Transform::train(SIZE as u32) };
    let mut scratch = Scratch::new();
    for number in 0..4 {
        let mut out = vec![0; SIZE * SIZE * 3];
        let key = SampleKey { seed: 1, epoch: 0, index: number };
        let image = Encoded::Indexed { file, index: &index };
        let _ = transform.apply(image, key, &mut scratch, PixelSink::U8Nhwc(&mut out));
    }
});
