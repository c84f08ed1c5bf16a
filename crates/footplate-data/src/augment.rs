//! Crop geometry, mirroring, colour changes and normalisation: pure functions of pixels and random numbers.

use crate::rng::SampleRng;

/// A rectangle in an image, in pixels; its edges may lie between two pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropBox {
    /// Distance from the image's left edge, in pixels.
    pub left: f64,
    /// Distance from the image's upper edge, in pixels.
    pub top: f64,
    /// In pixels, more than 0.
    pub width: f64,
    /// In pixels, more than 0.
    pub height: f64,
}

/// Random crops that are tried before the centre is taken (torchvision's number).
const CROP_TRIES: u32 = 10;

/// A random crop with an area in the range `scale` (as shares of the image's area, evenly distributed) and an aspect in
/// the range `ratio` (width over height, evenly distributed in the logarithm): the algorithm of torchvision's
/// `RandomResizedCrop.get_params`, after Szegedy et al. 2014, "Going deeper with convolutions".
pub fn random_crop(
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut SampleRng,
) -> CropBox {
    let area = f64::from(width) * f64::from(height);
    for _ in 0..CROP_TRIES {
        let target = area * rng.between(scale[0], scale[1]);
        let aspect = log_between(ratio, rng);
        let w = (target * aspect).sqrt().round();
        let h = (target / aspect).sqrt().round();
        if w >= 1.0 && h >= 1.0 && w <= f64::from(width) && h <= f64::from(height) {
            let top = rng.below(u64::from(height) - h as u64 + 1) as f64;
            let left = rng.below(u64::from(width) - w as u64 + 1) as f64;
            return CropBox { left, top, width: w, height: h };
        }
    }
    central_crop(width, height, ratio)
}

/// The largest central crop whose aspect is within `ratio`.
fn central_crop(width: u32, height: u32, ratio: [f64; 2]) -> CropBox {
    let (full_w, full_h) = (f64::from(width), f64::from(height));
    let aspect = full_w / full_h;
    let (w, h) = if aspect < ratio[0] {
        (full_w, (full_w / ratio[0]).round().max(1.0))
    } else if aspect > ratio[1] {
        ((full_h * ratio[1]).round().max(1.0), full_h)
    } else {
        (full_w, full_h)
    };
    CropBox { left: ((full_w - w) / 2.0).floor(), top: ((full_h - h) / 2.0).floor(), width: w, height: h }
}

/// A random number in the range `ratio`, evenly distributed in the logarithm.
///
/// It is computed without a logarithm, whose last bit differs between machines, by repeated square roots, which
/// IEEE 754 rounds the same everywhere.
fn log_between(ratio: [f64; 2], rng: &mut SampleRng) -> f64 {
    let span = ratio[1] / ratio[0];
    // span^u for u = 0.b1 b2 b3 … in binary is the product of the span's 2^i-th roots where bit i is set.
    let bits = rng.next_u64();
    let mut factor = 1.0;
    let mut root = span;
    for i in 0..32 {
        root = root.sqrt();
        if bits >> (63 - i) & 1 == 1 {
            factor *= root;
        }
    }
    ratio[0] * factor
}

/// The part of an image that remains if its shorter side is resized to `resize_to` and `size` × `size` pixels are cropped
/// at the centre, in the coordinates of the image before resizing (torchvision's `Resize` and `CenterCrop`).
pub fn eval_crop(width: u32, height: u32, resize_to: u32, size: u32) -> CropBox {
    let (w, h) = (f64::from(width), f64::from(height));
    let resize_to = f64::from(resize_to.max(size));
    // torchvision truncates the longer side.
    let (scaled_w, scaled_h) = if width <= height {
        (resize_to, (resize_to * h / w).floor())
    } else {
        ((resize_to * w / h).floor(), resize_to)
    };
    let offset = |scaled: f64| half_to_even((scaled - f64::from(size)) / 2.0);
    let (per_x, per_y) = (w / scaled_w, h / scaled_h);
    CropBox {
        left: offset(scaled_w) * per_x,
        top: offset(scaled_h) * per_y,
        width: f64::from(size) * per_x,
        height: f64::from(size) * per_y,
    }
}

/// Rounds as Python's `round`, which torchvision uses: halves to the even neighbour.
fn half_to_even(x: f64) -> f64 {
    x.round_ties_even()
}

/// Mirrors an image of `size` × `size` RGB pixels left to right, in place.
pub fn mirror(pixels: &mut [u8], size: usize) {
    for row in pixels.chunks_exact_mut(size * 3) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

/// Strengths of random colour changes, 0 or more. Each factor is drawn evenly from `1 - strength` (not below 0) to
/// `1 + strength`, and the changes are made in random order (torchvision's `ColorJitter`, without hue).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorJitter {
    /// Scales all channels.
    pub brightness: f32,
    /// Scales the distance from the mean gray of the image.
    pub contrast: f32,
    /// Scales the distance from each pixel's gray.
    pub saturation: f32,
}

/// A pixel's gray by the weights of ITU-R BT.601, as Pillow's conversion to gray uses them.
fn gray([r, g, b]: [u8; 3]) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

fn blend(value: u8, other: f32, factor: f32) -> u8 {
    (other + (f32::from(value) - other) * factor).clamp(0.0, 255.0) as u8
}

impl ColorJitter {
    /// Changes RGB pixels in place.
    pub fn apply(&self, pixels: &mut [u8], rng: &mut SampleRng) {
        let mut order = [0u8, 1, 2];
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        for which in order {
            let strength = [self.brightness, self.contrast, self.saturation][usize::from(which)];
            let low = (1.0 - strength).max(0.0);
            let factor = low + (1.0 + strength - low) * rng.unit_f32();
            match which {
                0 => pixels.iter_mut().for_each(|p| *p = blend(*p, 0.0, factor)),
                1 => {
                    let mean = mean_gray(pixels);
                    pixels.iter_mut().for_each(|p| *p = blend(*p, mean, factor));
                }
                _ => {
                    for pixel in pixels.as_chunks_mut::<3>().0 {
                        let gray = gray(*pixel);
                        *pixel = pixel.map(|p| blend(p, gray, factor));
                    }
                }
            }
        }
    }
}

fn mean_gray(pixels: &[u8]) -> f32 {
    let (pixels, _) = pixels.as_chunks::<3>();
    // Summed in f64: the order of an f32 sum would matter.
    let sum: f64 = pixels.iter().map(|pixel| f64::from(gray(*pixel).round())).sum();
    (sum / pixels.len().max(1) as f64).round() as f32
}

/// The scaling of pixels to the input of a network: `(value / 255 - mean) / std`, by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// Mean of each channel, of values from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of values from 0 to 1.
    pub std: [f32; 3],
}

impl Normalize {
    /// ImageNet's mean and deviation, with which torchvision's weights were trained.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// `(scale, shift)` of a channel: a byte is normalised to `byte * scale - shift`, each step rounded to f32.
    pub fn scale_shift(&self, channel: usize) -> (f32, f32) {
        (1.0 / (255.0 * self.std[channel]), self.mean[channel] / self.std[channel])
    }

    /// Converts one image of `size * size` RGB pixels to three planes of `size * size` normalised numbers each.
    pub fn nhwc_u8_to_nchw_f32(&self, image: &[u8], size: usize, out: &mut [f32]) {
        let area = size * size;
        for (channel, plane) in out.chunks_exact_mut(area).enumerate().take(3) {
            let (scale, shift) = self.scale_shift(channel);
            for (value, pixel) in plane.iter_mut().zip(image.as_chunks::<3>().0) {
                *value = f32::from(pixel[channel]) * scale - shift;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SampleKey;
    use proptest::prelude::*;

    fn rng(index: u64) -> SampleRng {
        SampleRng::new(SampleKey { seed: 1, epoch: 0, index }, 0)
    }

    proptest! {
        #[test]
        fn a_random_crop_lies_in_the_image(width in 1u32..3000, height in 1u32..3000, index in 0u64..100) {
            let crop = random_crop(width, height, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut rng(index));
            prop_assert!(crop.left >= 0.0 && crop.top >= 0.0 && crop.width >= 1.0 && crop.height >= 1.0);
            prop_assert!(crop.left + crop.width <= f64::from(width));
            prop_assert!(crop.top + crop.height <= f64::from(height));
        }

        #[test]
        fn the_crop_for_validation_lies_in_the_image(width in 1u32..3000, height in 1u32..3000, size in 1u32..300) {
            let crop = eval_crop(width, height, size * 8 / 7, size);
            prop_assert!(crop.left >= 0.0 && crop.top >= 0.0);
            prop_assert!(crop.left + crop.width <= f64::from(width) + 1e-6);
            prop_assert!(crop.top + crop.height <= f64::from(height) + 1e-6);
        }
    }

    #[test]
    fn crops_have_the_area_and_aspect_that_were_asked_for() {
        let crops: Vec<CropBox> =
            (0..2000).map(|i| random_crop(1000, 1000, [0.25, 0.5], [0.75, 4.0 / 3.0], &mut rng(i))).collect();
        let areas: Vec<f64> = crops.iter().map(|c| c.width * c.height / 1e6).collect();
        assert!(areas.iter().all(|a| (0.24..0.51).contains(a)));
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!((mean - 0.375).abs() < 0.01, "{mean}");
        let wide = crops.iter().filter(|c| c.width > c.height).count();
        assert!((900..1100).contains(&wide), "{wide}");
        assert!(crops.iter().all(|c| (0.74..1.35).contains(&(c.width / c.height))));
    }

    #[test]
    fn a_strip_gives_its_centre() {
        let crop = random_crop(1000, 10, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng(0));
        assert_eq!(crop, CropBox { left: 493.0, top: 0.0, width: 13.0, height: 10.0 });
    }

    #[test]
    fn validation_shows_the_centre() {
        let crop = eval_crop(512, 256, 256, 224);
        assert_eq!(crop, CropBox { left: 144.0, top: 16.0, width: 224.0, height: 224.0 });
    }

    #[test]
    fn mirroring_swaps_left_and_right() {
        let mut pixels = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        mirror(&mut pixels, 2);
        assert_eq!(pixels, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
    }

    #[test]
    fn jitter_of_strength_zero_changes_nothing_and_of_one_does() {
        let original: Vec<u8> = (0..48).map(|i| i * 5).collect();
        let changed = |strength: f32| {
            let mut pixels = original.clone();
            let jitter = ColorJitter { brightness: strength, contrast: strength, saturation: strength };
            jitter.apply(&mut pixels, &mut rng(3));
            pixels
        };
        assert_eq!(changed(0.0), original);
        assert_ne!(changed(1.0), original);
    }

    #[test]
    fn normalised_pixels_stand_by_channel() {
        let mut out = [0.0; 3 * 4];
        let mut image = [0u8; 12];
        image[5] = 255;
        Normalize::IMAGENET.nhwc_u8_to_nchw_f32(&image, 2, &mut out);
        assert!((out[9] - (1.0 - 0.406) / 0.225).abs() < 1e-5);
        assert!((out[0] + 0.485 / 0.229).abs() < 1e-5);
    }
}
