//! Crops, resampling, mirroring, colour changes and normalisation against plain implementations of their definitions.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use footplate_data::Normalize;
use footplate_data::augment::{ColorJitter, CropBox, eval_crop, mirror, random_crop};
use footplate_data::rng::{SampleKey, SampleRng};
use footplate_data::transform::{Encoded, PixelSink, Scratch, Transform, TransformMode};
use proptest::prelude::*;

fn rng(index: u64) -> SampleRng {
    SampleRng::new(SampleKey { seed: 9, epoch: 0, index }, 0)
}

/// Pixels with detail at all scales, which follow from their place.
fn picture(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let value = |i: usize| {
        let (x, y, c) = (i / channels % width, i / channels / width, i % channels);
        ((x * 37 + y * 61 + c * 97 + (x / 3) * (y / 5) * 11) % 256) as u8
    };
    (0..width * height * channels).map(value).collect()
}

/// One axis of Pillow's `resize` with a box and the filter BILINEAR: a triangle of the width of an output pixel, at least
/// that of an input pixel, cut at the edges and scaled to a sum of 1. Gives pixels and their weights.
fn weights(from: f64, length: f64, pixels: usize, size: usize, output: usize) -> Vec<(usize, f64)> {
    let scale = length / size as f64;
    let support = scale.max(1.0);
    let centre = from + (output as f64 + 0.5) * scale;
    let (first, last) = ((centre - support + 0.5).max(0.0) as usize, (centre + support + 0.5) as usize);
    let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - centre) / support).abs()).max(0.0);
    let sum: f64 = (first..last.min(pixels)).map(weight).sum();
    (first..last.min(pixels)).map(|pixel| (pixel, weight(pixel) / sum)).collect()
}

/// The crop of an image, resized in f64: each output is a weighted sum of pixels.
fn resized(
    pixels: &[u8],
    (width, height, channels): (usize, usize, usize),
    crop: &CropBox,
    size: usize,
) -> Vec<f64> {
    let across: Vec<_> = (0..size).map(|x| weights(crop.left, crop.width, width, size, x)).collect();
    let down: Vec<_> = (0..size).map(|y| weights(crop.top, crop.height, height, size, y)).collect();
    let mut out = Vec::new();
    for (rows, columns) in down.iter().flat_map(|rows| across.iter().map(move |columns| (rows, columns))) {
        for c in 0..3 {
            let channel = c % channels;
            let at =
                |column: usize, row: usize| f64::from(pixels[(row * width + column) * channels + channel]);
            let in_row =
                |row: usize| columns.iter().map(|(column, weight)| weight * at(*column, row)).sum::<f64>();
            out.push(rows.iter().map(|(row, weight)| weight * in_row(*row)).sum());
        }
    }
    out
}

fn sample(
    transform: &Transform,
    pixels: &[u8],
    (width, height, channels): (usize, usize, usize),
    key: SampleKey,
) -> Vec<u8> {
    let size = transform.image_size as usize;
    let mut out = vec![0; size * size * 3];
    let (width, height, channels) = (width as u32, height as u32, channels as u32);
    let image = Encoded::Raw { pixels, width, height, channels };
    transform.apply(image, key, &mut Scratch::new(), PixelSink::U8Nhwc(&mut out)).unwrap();
    out
}

/// Rounding of the last step, and f32 instead of f64 before it.
fn assert_close(got: &[u8], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 0.51, "value {i}: {got} for {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn validation_samples_are_the_centre_resized_by_definition(
        width in 1usize..60, height in 1usize..60, size in 1u32..24, gray: bool,
    ) {
        let shape = (width, height, if gray { 1 } else { 3 });
        let pixels = picture(width, height, shape.2);
        let transform = Transform::eval(size);
        let TransformMode::Eval { resize_to } = transform.mode else { unreachable!("for validation") };
        let crop = eval_crop(width as u32, height as u32, resize_to, size);
        let got = sample(&transform, &pixels, shape, SampleKey { seed: 0, epoch: 0, index: 0 });
        assert_close(&got, &resized(&pixels, shape, &crop, size as usize));
    }

    /// The crop's stream of random numbers is 1 and that of mirroring 2: runs that were begun before rely on it.
    #[test]
    fn training_samples_are_the_random_crop_resized_and_mirrored_by_definition(
        width in 1usize..60, height in 1usize..60, size in 1u32..24, seed: u64, index in 0u64..1000,
    ) {
        let shape = (width, height, 3);
        let pixels = picture(width, height, 3);
        let transform = Transform::train(size);
        let key = SampleKey { seed, epoch: 3, index };
        let TransformMode::Train { scale, ratio, .. } = transform.mode else { unreachable!("for training") };
        let crop = random_crop(width as u32, height as u32, scale, ratio, &mut SampleRng::new(key, 1));
        let mut expected = resized(&pixels, shape, &crop, size as usize);
        if SampleRng::new(key, 2).below(2) == 1 {
            for row in expected.chunks_exact_mut(size as usize * 3) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        assert_close(&sample(&transform, &pixels, shape, key), &expected);
    }

    /// Torchvision's `Resize` and `CenterCrop` in whole pixels: the crop covers the same part of the image.
    #[test]
    fn the_validation_crop_is_that_of_torchvision(width in 1u32..2000, height in 1u32..2000, size in 1u32..300) {
        let resize_to = size * 8 / 7;
        let (short, long) = (width.min(height), width.max(height));
        let scaled_long = (f64::from(resize_to) * f64::from(long) / f64::from(short)) as u32;
        let (w, h) = if width <= height { (resize_to, scaled_long) } else { (scaled_long, resize_to) };
        // Python's `int(round(x / 2.0))` of the difference: halves go to the even number.
        let offset = |length: u32| {
            let difference = length - size;
            difference / 2 + u32::from(difference % 4 == 3)
        };
        let crop = eval_crop(width, height, resize_to, size);
        let back = |pixels: u32, scaled: u32, full: u32| f64::from(pixels) * f64::from(full) / f64::from(scaled);
        let expected = [back(offset(w), w, width), back(offset(h), h, height), back(size, w, width), back(size, h, height)];
        for (got, expected) in [crop.left, crop.top, crop.width, crop.height].into_iter().zip(expected) {
            prop_assert!((got - expected).abs() < 1e-6, "{crop:?}: {expected}");
        }
    }

    /// The aspect is evenly distributed in the logarithm: `exp(ln r0 + u (ln r1 - ln r0))` with 32 bits of `u`.
    #[test]
    fn the_aspect_of_a_crop_is_evenly_distributed_in_the_logarithm(index: u64, low in 0.2f64..1.0, factor in 1.1f64..6.0) {
        let ratio = [low, low * factor];
        let mut plain = rng(index);
        let area = plain.between(0.25, 0.25);
        let u = (plain.next_u64() >> 32) as f64 / f64::from(1u32 << 16).powi(2);
        let aspect = (ratio[0].ln() + u * (ratio[1].ln() - ratio[0].ln())).exp();
        let side = 100_000u32;
        let target = area * f64::from(side).powi(2);
        let (w, h) = ((target * aspect).sqrt().round(), (target / aspect).sqrt().round());
        prop_assume!(w <= f64::from(side) && h <= f64::from(side));
        let crop = random_crop(side, side, [0.25, 0.25], ratio, &mut rng(index));
        prop_assert!((crop.width - w).abs() <= 1.0 && (crop.height - h).abs() <= 1.0, "{crop:?}: {w} x {h}");
    }

    #[test]
    fn mirroring_twice_changes_nothing(size in 1usize..20) {
        let original = picture(size, size, 3);
        let mut pixels = original.clone();
        mirror(&mut pixels, size);
        let mirrored = |i: usize| (i / 3 / size * size + size - 1 - i / 3 % size) * 3 + i % 3;
        prop_assert!(pixels.iter().enumerate().all(|(i, value)| *value == original[mirrored(i)]));
        mirror(&mut pixels, size);
        prop_assert_eq!(pixels, original);
    }

    /// Each change by the formulas of torchvision's functional API: a blend with black, the mean gray, or the gray.
    #[test]
    fn colour_changes_are_blends_in_a_random_order(
        pixels in prop::collection::vec(any::<[u8; 3]>(), 1..40), index: u64, strengths in any::<[u8; 3]>(),
    ) {
        let [brightness, contrast, saturation] = strengths.map(|s| f32::from(s) / 255.0);
        let mut got: Vec<u8> = pixels.iter().flatten().copied().collect();
        ColorJitter { brightness, contrast, saturation }.apply(&mut got, &mut rng(index));
        let mut plain = rng(index);
        let mut order = [0, 1, 2];
        for i in [2, 1] {
            order.swap(i, plain.below(i as u64 + 1) as usize);
        }
        let gray = |p: [u8; 3]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
        let mut expected = pixels;
        for change in order {
            let strength = [brightness, contrast, saturation][change];
            // Strengths are at most 1 here, so that the lowest factor is not cut off at 0.
            let factor = (1.0 - strength) + (1.0 + strength - (1.0 - strength)) * plain.unit_f32();
            let mean = expected.iter().map(|p| f64::from(gray(*p).round())).sum::<f64>() / expected.len() as f64;
            for pixel in &mut expected {
                let other = [0.0, mean.round() as f32, gray(*pixel)][change];
                *pixel = pixel.map(|p| (other + (f32::from(p) - other) * factor).clamp(0.0, 255.0) as u8);
            }
        }
        prop_assert_eq!(got, expected.concat());
    }

    #[test]
    fn normalisation_is_torchvision_s_to_the_precision_of_f32(pixels in prop::collection::vec(any::<u8>(), 12..13)) {
        let normalize = Normalize { mean: [0.1, 0.5, 0.9], std: [0.2, 0.3, 1.5] };
        let mut out = [0.0; 12];
        normalize.nhwc_u8_to_nchw_f32(&pixels, 2, &mut out);
        for (i, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
            for (c, value) in pixel.iter().enumerate() {
                let exact = (f64::from(*value) / 255.0 - f64::from(normalize.mean[c])) / f64::from(normalize.std[c]);
                prop_assert!((f64::from(out[c * 4 + i]) - exact).abs() < 2e-6, "{exact}");
            }
        }
    }
}

/// A strip that no crop of the wanted aspect fits into gives its largest central part.
#[test]
fn where_no_random_crop_fits_the_centre_is_taken() {
    for (width, height, expected) in [
        (1000, 10, [493.0, 0.0, 13.0, 10.0]),
        (10, 1000, [0.0, 493.0, 10.0, 13.0]),
        (1, 1, [0.0, 0.0, 1.0, 1.0]),
    ] {
        for index in 0..20 {
            let crop = random_crop(width, height, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng(index));
            assert_eq!([crop.left, crop.top, crop.width, crop.height], expected, "{width} x {height}");
        }
    }
}

/// A size above `resize_to` crops the whole shorter side instead of pixels outside of the image.
#[test]
fn a_sample_larger_than_the_resized_image_shows_all_of_its_shorter_side() {
    assert_eq!(eval_crop(40, 20, 10, 20), CropBox { left: 10.0, top: 0.0, width: 20.0, height: 20.0 });
    assert_eq!(eval_crop(20, 40, 10, 20), CropBox { left: 0.0, top: 10.0, width: 20.0, height: 20.0 });
}
