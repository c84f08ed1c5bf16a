use super::*;
use crate::augment::Normalize;
use crate::decode::index::{self, CheckpointRecorder, Checkpoints};
use crate::decode::tests::{jpeg_with, noisy_picture};
use crate::decode::{decode_rgb, fused_header};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;

/// Those that `jpeg-encoder` writes as one scan.
const SAMPLINGS: [SamplingFactor; 4] =
    [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_1_2, SamplingFactor::F_2_2];

/// Antialiased bilinear resampling by a library, to compare with.
pub(crate) fn resize(rgb: &[u8], (width, height): (u32, u32), crop: CropBox, size: usize) -> Vec<u8> {
    let mut out = vec![0; size * size * 3];
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, rgb).unwrap();
    let mut spec = TypedImage::<U8x3>::from_buffer(size as u32, size as u32, &mut out).unwrap();
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(crop.left, crop.top, crop.width, crop.height)
        .use_alpha(false);
    Resizer::new().resize_typed(&source, &mut spec, &options).unwrap();
    drop(spec);
    out
}

fn spec(crop: [f64; 4], size: usize) -> CropSpec {
    let [left, top, width, height] = crop;
    CropSpec { crop: CropBox { left, top, width, height }, size, mirrored: false, upside_down: false }
}

fn sample(decoder: &mut Decoder, bytes: &[u8], index: Option<&[u8]>, spec: &CropSpec) -> Option<Vec<u8>> {
    let header = fused_header(bytes)?;
    let checkpoints = match index {
        Some(index) => Some(Checkpoints::new(index, bytes, &header)?),
        None => None,
    };
    let mut out = vec![0; spec.size * spec.size * 3];
    decoder.sample(bytes, &header, (checkpoints, None), spec, PixelSink::U8Nhwc(&mut out)).ok()?;
    Some(out)
}

fn encoded(width: u16, height: u16, quality: u8, sampling: SamplingFactor, restart: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(sampling);
    encoder.set_restart_interval(restart);
    let pixels = noisy_picture(width.into(), height.into());
    encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
    bytes
}

/// Valid images with a crop: everything that geometry depends on.
fn cases() -> impl Strategy<Value = (Vec<u8>, CropSpec)> {
    let image = (1u16..90, 1u16..90, 20u8..100, 0usize..4, prop_oneof![Just(0u16), 1u16..20]);
    let crop = (0.0..1.0f64, 0.0..1.0f64, 0.02..1.0f64, 0.02..1.0f64);
    (image, crop, 1usize..70, any::<bool>(), any::<bool>()).prop_map(
        |(image, crop, size, mirrored, upside_down)| {
            let (width, height, quality, sampling, restart) = image;
            let bytes = encoded(width, height, quality, SAMPLINGS[sampling], restart);
            let (w, h) = (f64::from(width) * crop.2, f64::from(height) * crop.3);
            let (left, top) = ((f64::from(width) - w) * crop.0, (f64::from(height) - h) * crop.1);
            (bytes, CropSpec { mirrored, upside_down, ..spec([left, top, w, h], size) })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The kernels for this processor, those of the baseline, and an index: all give the same bytes.
    #[test]
    fn no_pixel_depends_on_the_processor_or_on_an_index((bytes, spec) in cases()) {
        let expected = sample(&mut Decoder::with(Simd::BASELINE), &bytes, None, &spec);
        prop_assert!(expected.is_some());
        prop_assert_eq!(&sample(&mut Decoder::default(), &bytes, None, &spec), &expected);
        let index = index::build(&bytes).unwrap();
        prop_assert_eq!(&sample(&mut Decoder::default(), &bytes, Some(&index), &spec), &expected);
    }

    /// What crops before have found makes no difference, and it is what an index says.
    #[test]
    fn no_pixel_depends_on_what_is_remembered(
        (bytes, spec) in cases(),
        others in prop::collection::vec((0.0..0.9f64, 0.1..1.0f64), 1..5),
    ) {
        let header = fused_header(&bytes).unwrap();
        let index = index::build(&bytes).unwrap();
        let (mut decoder, mut known, mut found) = (Decoder::default(), Vec::new(), Vec::new());
        let height = f64::from(header.info().height);
        let others = others.into_iter().map(|(top, rest)| {
            let crop = CropBox { top: top * height, height: rest * (1.0 - top) * height, ..spec.crop };
            CropSpec { crop, ..spec }
        });
        for spec in others.chain([spec]) {
            let expected = sample(&mut Decoder::default(), &bytes, None, &spec).unwrap();
            let places = Checkpoints::of_rows(&known, &bytes, &header);
            let recorder = CheckpointRecorder::after(&known, &bytes, &header, &mut found);
            let mut out = vec![0; expected.len()];
            let places = (Some(places), Some(recorder));
            decoder.sample(&bytes, &header, places, &spec, PixelSink::U8Nhwc(&mut out)).unwrap();
            prop_assert_eq!(out, expected);
            known.extend_from_slice(&found);
            prop_assert!(index[12..].starts_with(&known), "{known:?} {index:?}");
        }
    }

    /// Mirroring is exact, and a decoder that has seen other images makes no difference.
    #[test]
    fn mirrored_samples_are_mirrored((bytes, spec) in cases(), (other, other_target) in cases()) {
        let plain = CropSpec { mirrored: false, upside_down: false, ..spec };
        let mut decoder = Decoder::default();
        sample(&mut decoder, &other, None, &other_target).unwrap();
        let expected = sample(&mut Decoder::default(), &bytes, None, &plain).unwrap();
        let got = sample(&mut decoder, &bytes, None, &spec).unwrap();
        let last = spec.size - 1;
        for (i, pixel) in got.as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = (i % spec.size, i / spec.size);
            let x = if spec.mirrored { last - x } else { x };
            let y = if spec.upside_down { last - y } else { y };
            prop_assert_eq!(pixel, &expected.as_chunks::<3>().0[y * spec.size + x]);
        }
    }

    #[test]
    fn altered_files_and_indexes_never_panic(
        (mut bytes, spec) in cases(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_index in any::<bool>(),
    ) {
        let mut index = index::build(&bytes).unwrap();
        for (at, value) in changes {
            if in_index {
                let inner = index.len() - 4;
                index[12..inner][at.index(inner - 12)] = value;
                let checksum = crc32fast::hash(&index[..inner]).to_le_bytes();
                index[inner..].copy_from_slice(&checksum);
            } else {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let _ = sample(&mut Decoder::default(), &bytes, Some(&index), &spec);
        let _ = sample(&mut Decoder::default(), &bytes, None, &spec);
        let _ = index::build(&bytes);
    }
}

/// The library decodes the whole image, which is then resized: the same geometry, and nearly the same pixels.
#[test]
fn samples_are_nearly_those_of_the_library() {
    for (width, height, size) in [(64, 48, 24), (37, 91, 40), (200, 150, 12), (16, 16, 50), (9, 9, 9)] {
        for (sampling, limit) in SAMPLINGS.into_iter().zip([0.6, 1.2, 1.2, 1.2]) {
            let bytes = encoded(width, height, 90, sampling, 0);
            let mut rgb = Vec::new();
            let info = decode_rgb(&bytes, 1 << 20, &mut rgb).unwrap();
            let (w, h) = (f64::from(width), f64::from(height));
            let spec = spec([w * 0.2, h * 0.1, w * 0.7, h * 0.8], size);
            let expected = resize(&rgb, (info.width, info.height), spec.crop, size);
            let got = sample(&mut Decoder::default(), &bytes, None, &spec).unwrap();
            let sum: f64 = got.iter().zip(&expected).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
            let mean = sum / got.len() as f64;
            assert!(mean < limit, "{width} x {height} to {size}, {sampling:?}: {mean:.3}");
        }
    }
}

#[test]
fn all_layouts_hold_the_same_pixels() {
    let bytes = encoded(50, 40, 90, SamplingFactor::F_2_2, 0);
    let spec = spec([3.0, 2.0, 40.0, 35.0], 20);
    let header = fused_header(&bytes).unwrap();
    let levels = sample(&mut Decoder::default(), &bytes, None, &spec).unwrap();
    let normalize = &Normalize::IMAGENET;
    let (mut floats, mut expected) = (vec![0.0; 1200], vec![0.0; 1200]);
    let mut halves = vec![half::f16::ZERO; 1200];
    let mut decoder = Decoder::default();
    let out = PixelSink::F32Nchw { out: &mut floats, normalize };
    decoder.sample(&bytes, &header, (None, None), &spec, out).unwrap();
    let out = PixelSink::F16Nchw { out: &mut halves, normalize };
    decoder.sample(&bytes, &header, (None, None), &spec, out).unwrap();
    normalize.nhwc_u8_to_nchw_f32(&levels, 20, &mut expected);
    assert_eq!(floats, expected);
    let rounded: Vec<half::f16> = expected.iter().map(|x| half::f16::from_f32(*x)).collect();
    assert_eq!(halves, rounded);
}

#[test]
fn only_baseline_files_are_spoken() {
    assert!(fused_header(&jpeg_with(20, 20, |_| {})).is_some());
    assert!(fused_header(&jpeg_with(20, 20, |e| e.set_progressive(true))).is_none());
    let mut cmyk = Vec::new();
    Encoder::new(&mut cmyk, 90).encode(&[7; 256], 8, 8, ColorType::Cmyk).unwrap();
    assert!(fused_header(&cmyk).is_none());
    let bytes = jpeg_with(20, 20, |_| {});
    for cut in 0..bytes.len() - 1 {
        assert!(fused_header(&bytes[..cut]).is_none());
    }
}

#[test]
fn pixels_are_resampled_as_the_library_does() {
    let mut decoder = Decoder::default();
    for (width, height, size) in
        [(64, 48, 24), (37, 91, 40), (28, 28, 28), (9, 9, 30), (1, 5, 4), (300, 200, 16)]
    {
        let rgb = noisy_picture(width, height);
        let (w, h) = (width as f64, height as f64);
        for crop in
            [[0.0, 0.0, w, h], [w * 0.21, h * 0.13, w * 0.7, h * 0.8], [w * 0.5, 0.0, w * 0.5, h * 0.1]]
        {
            let spec = spec(crop, size);
            let picture = Picture { pixels: &rgb, width, height, channels: 3 };
            let mut got = vec![0; size * size * 3];
            decoder.resample(&picture, &spec, PixelSink::U8Nhwc(&mut got)).unwrap();
            let expected = resize(&rgb, (width as u32, height as u32), spec.crop, size);
            let far = got.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far <= Some(1), "{width} x {height} to {size}, {crop:?}: {far:?}");

            let turned = CropSpec { mirrored: true, upside_down: true, ..spec };
            let mut other = vec![0; size * size * 3];
            decoder.resample(&picture, &turned, PixelSink::U8Nhwc(&mut other)).unwrap();
            let back: Vec<u8> = other.as_chunks::<3>().0.iter().rev().flatten().copied().collect();
            assert_eq!(back, got);
        }
    }
}

#[test]
fn gray_pixels_are_gray_in_colour_too() {
    let gray: Vec<u8> = (0..20 * 12).map(|i| (i * 7 % 256) as u8).collect();
    let rgb: Vec<u8> = gray.iter().flat_map(|value| [*value; 3]).collect();
    let spec = spec([2.5, 1.0, 14.0, 10.0], 9);
    let sample = |pixels: &[u8], channels| {
        let mut out = vec![0; 9 * 9 * 3];
        let picture = Picture { pixels, width: 20, height: 12, channels };
        Decoder::default().resample(&picture, &spec, PixelSink::U8Nhwc(&mut out)).unwrap();
        out
    };
    assert_eq!(sample(&gray, 1), sample(&rgb, 3));
    let short = Picture { pixels: &gray[1..], width: 20, height: 12, channels: 1 };
    let mut out = vec![0; 9 * 9 * 3];
    assert_eq!(Decoder::default().resample(&short, &spec, PixelSink::U8Nhwc(&mut out)), Err(Refused));
}
