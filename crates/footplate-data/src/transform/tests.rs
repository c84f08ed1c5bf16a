use super::*;
use crate::decode::fused::tests::resize;
use crate::decode::tests::{jpeg, picture};

const KEY: SampleKey = SampleKey { seed: 1, epoch: 2, index: 3 };

fn sample(transform: &Transform, image: Encoded<'_>, key: SampleKey) -> Vec<u8> {
    let size = transform.image_size as usize;
    let mut out = vec![0; size * size * 3];
    transform.apply(image, key, &mut Scratch::new(), PixelSink::U8Nhwc(&mut out)).unwrap();
    out
}

#[test]
fn an_image_of_the_size_wanted_stays_as_it_is() {
    let pixels = picture(16, 16);
    let raw = Encoded::Raw { pixels: &pixels, width: 16, height: 16, channels: 3 };
    let transform = Transform { mode: TransformMode::Eval { resize_to: 16 }, ..Transform::eval(16) };
    assert_eq!(sample(&transform, raw, KEY), pixels);
}

#[test]
fn a_training_sample_follows_from_its_key_alone() {
    let bytes = jpeg(90, 60);
    let transform = Transform::train(32);
    let mut scratch = Scratch::new();
    let mut again = vec![0; 32 * 32 * 3];
    // A scratch that has seen another image makes no difference.
    transform.apply(Encoded::File(&jpeg(200, 10)), KEY, &mut scratch, PixelSink::U8Nhwc(&mut again)).unwrap();
    transform.apply(Encoded::File(&bytes), KEY, &mut scratch, PixelSink::U8Nhwc(&mut again)).unwrap();
    let first = sample(&transform, Encoded::File(&bytes), KEY);
    assert_eq!(first, again);
    let other = sample(&transform, Encoded::File(&bytes), SampleKey { epoch: 3, ..KEY });
    assert_ne!(first, other);
}

/// A file that a fuzzer made: its image data breaks off, and the library leaves the rest as it is.
#[test]
fn a_damaged_file_shows_nothing_of_the_image_before() {
    let damaged = Encoded::File(include_bytes!("../../tests/damaged/breaks_off.jpg"));
    let transform = Transform { mode: TransformMode::Eval { resize_to: 40 }, ..Transform::eval(40) };
    let expected = sample(&transform, damaged, KEY);
    let mut scratch = Scratch { rgb: vec![200; 1 << 16], ..Scratch::new() };
    let mut got = vec![0; expected.len()];
    transform.apply(damaged, KEY, &mut scratch, PixelSink::U8Nhwc(&mut got)).unwrap();
    assert!(got == expected, "what was in the buffer before shows");
}

/// Stores an upright picture as a camera with each orientation would, and compares the samples.
#[test]
fn every_orientation_is_turned_upright() {
    let (width, height) = (24u32, 16u32);
    let upright = picture(width as usize, height as usize);
    let at = |x: u32, y: u32| {
        let i = ((y * width + x) * 3) as usize;
        [upright[i], upright[i + 1], upright[i + 2]]
    };
    let (right, below) = (width - 1, height - 1);
    for orientation in 1..=8u8 {
        let swapped = orientation >= 5;
        let (w, h) = if swapped { (height, width) } else { (width, height) };
        // The upright pixel that a camera stores at (x, y), by the table of EXIF 2.3.
        let stored = |x: u32, y: u32| match orientation {
            1 => at(x, y),
            2 => at(right - x, y),
            3 => at(right - x, below - y),
            4 => at(x, below - y),
            5 => at(y, x),
            6 => at(right - y, x),
            7 => at(right - y, below - x),
            _ => at(y, below - x),
        };
        let pixels: Vec<u8> = (0..w * h).flat_map(|i| stored(i % w, i / w)).collect();
        let info = ImageInfo { width: w, height: h, orientation };
        let transform = Transform::eval(8);
        let (up_w, up_h) = info.upright();
        assert_eq!((up_w, up_h), (width, height));
        let crop = transform.crop(up_w, up_h, KEY);
        let mut got = resize(&pixels, (w, h), as_stored(crop, &info), 8);
        turn_upright(&mut got, 8, orientation, &mut Vec::new());
        let raw = Encoded::Raw { pixels: &upright, width, height, channels: 3 };
        let expected = sample(&transform, raw, KEY);
        let difference = got.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(difference <= Some(1), "orientation {orientation}: {difference:?}");
    }
}

#[test]
fn raw_pixels_of_a_wrong_length_are_an_error() {
    let raw = Encoded::Raw { pixels: &[1, 2, 3], width: 2, height: 2, channels: 1 };
    let mut out = vec![0; 3 * 4 * 4];
    let result = Transform::eval(4).apply(raw, KEY, &mut Scratch::new(), PixelSink::U8Nhwc(&mut out));
    assert!(matches!(result, Err(DecodeError::Damaged { .. })));
}
