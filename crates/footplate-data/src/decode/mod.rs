//! Decodes JPEG and PNG files to RGB pixels. The kind of a file is recognised by its first bytes, not by its name.

pub mod checkpoint_cache;
mod exif;
pub(crate) mod fused;
pub mod index;
mod jpeg;
mod png;

use thiserror::Error;

/// Why an image could not be decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The file is empty.
    #[error("empty file")]
    Empty,
    /// The file is neither a JPEG nor a PNG.
    #[error("not a JPEG or PNG image: it begins with {begins:02x?}")]
    NotAnImage {
        /// Its first four bytes.
        begins: Vec<u8>,
    },
    /// Its header says that it has more pixels than are allowed.
    #[error("{width} x {height} pixels are more than the limit of {limit} pixels")]
    TooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The allowed number of pixels.
        limit: u64,
    },
    /// It is truncated, corrupt, or of a kind that the decoder does not support.
    #[error("damaged or unsupported: {reason}")]
    Damaged {
        /// The decoder's message.
        reason: String,
    },
}

/// What the header of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Width in pixels, as stored.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    /// EXIF orientation, 1 (upright) to 8.
    pub orientation: u8,
}

impl ImageInfo {
    /// Width and height of the upright image in pixels.
    pub fn upright(&self) -> (u32, u32) {
        if self.orientation >= 5 { (self.height, self.width) } else { (self.width, self.height) }
    }
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jpeg,
    Png,
}

fn kind_of(bytes: &[u8]) -> Result<Kind, DecodeError> {
    match bytes {
        [] => Err(DecodeError::Empty),
        [0xff, 0xd8, 0xff, ..] => Ok(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(Kind::Png),
        other => Err(DecodeError::NotAnImage { begins: other.iter().take(4).copied().collect() }),
    }
}

/// Reads the header of an image.
///
/// # Errors
/// [`DecodeError`] if it is no image, or its header is damaged.
pub fn image_info(bytes: &[u8]) -> Result<ImageInfo, DecodeError> {
    match kind_of(bytes)? {
        Kind::Jpeg => jpeg::info(bytes),
        Kind::Png => png::info(bytes),
    }
}

/// The header of a file that the crop decoder supports; `None` for other kinds, and for a file without an end marker.
pub(crate) fn fused_header(bytes: &[u8]) -> Option<fused::Header<'_>> {
    let header = fused::Header::parse(bytes)?;
    jpeg::ends_after(bytes, header.scan_start()).then_some(header)
}

/// Decodes an image to RGB: `height * width * 3` bytes, row by row, in `out`, which is resized.
///
/// # Errors
/// [`DecodeError`] if it is no image, damaged, or has more than `max_pixels` pixels; nothing is allocated for the latter.
pub fn decode_rgb(bytes: &[u8], max_pixels: u64, out: &mut Vec<u8>) -> Result<ImageInfo, DecodeError> {
    let kind = kind_of(bytes)?;
    let info = image_info(bytes)?;
    let (width, height) = (u64::from(info.width), u64::from(info.height));
    if width * height > max_pixels {
        return Err(DecodeError::TooLarge { width, height, limit: max_pixels });
    }
    if width == 0 || height == 0 {
        return Err(damaged("an image without pixels"));
    }
    match kind {
        Kind::Jpeg => jpeg::decode(bytes, out)?,
        Kind::Png => png::decode(bytes, &info, out)?,
    }
    if out.len() as u64 != width * height * 3 {
        return Err(damaged("the decoder gave another number of pixels than the header"));
    }
    Ok(info)
}

fn damaged(reason: impl std::fmt::Display) -> DecodeError {
    DecodeError::Damaged { reason: reason.to_string() }
}

/// Turns `count` gray bytes at the front of `pixels` into RGB pixels, in place.
fn spread_gray(pixels: &mut Vec<u8>, count: usize) {
    pixels.resize(count * 3, 0);
    for i in (0..count).rev() {
        let gray = pixels[i];
        pixels[i * 3..i * 3 + 3].fill(gray);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
    use proptest::prelude::*;

    const LIMIT: u64 = 1 << 20;

    /// A smooth picture, so that JPEG keeps it nearly as it is.
    pub(crate) fn picture(width: usize, height: usize) -> Vec<u8> {
        let pixel = |i: usize| {
            let (x, y) = (i % width, i / width);
            [(x * 255 / width) as u8, (y * 255 / height) as u8, 128]
        };
        (0..width * height).flat_map(pixel).collect()
    }

    pub(crate) fn jpeg(width: u16, height: u16) -> Vec<u8> {
        jpeg_with(width, height, |_| {})
    }

    /// A picture with detail, and with colours at the edge of what 8 bits hold.
    pub(crate) fn noisy_picture(width: usize, height: usize) -> Vec<u8> {
        let pixel = |i: usize| {
            let (x, y) = (i % width, i / width);
            let noise = footplate_core::random::mix(i as u64) % 24;
            let square = if (x / 7 + y / 6) % 2 == 0 { 225 } else { 5 };
            [
                (x * 5 % 200 + noise as usize) as u8,
                (y * 230 / height + noise as usize) as u8,
                square + noise as u8,
            ]
        };
        (0..width * height).flat_map(pixel).collect()
    }

    pub(crate) fn jpeg_with(
        width: u16,
        height: u16,
        set: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 95);
        encoder.set_sampling_factor(SamplingFactor::F_1_1);
        set(&mut encoder);
        let pixels = picture(width.into(), height.into());
        encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
        bytes
    }

    pub(crate) fn png(
        width: u32,
        height: u32,
        color: ::png::ColorType,
        depth: ::png::BitDepth,
        data: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ::png::ColorType::Indexed {
            encoder.set_palette(vec![10, 20, 30, 200, 100, 50]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![7; 3];
        decode_rgb(bytes, LIMIT, &mut out).map(|_| out)
    }

    fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    #[test]
    fn jpegs_of_all_samplings_and_progressive_ones_give_their_pixels() {
        use SamplingFactor::{F_1_1, F_1_2, F_2_1, F_2_2};
        for (width, height) in [(64, 48), (1, 1), (1, 33), (17, 3)] {
            for factor in [F_1_1, F_2_1, F_1_2, F_2_2] {
                for progressive in [false, true] {
                    let bytes = jpeg_with(width, height, |e| {
                        e.set_sampling_factor(factor);
                        e.set_progressive(progressive);
                    });
                    let difference =
                        largest_difference(&decoded(&bytes).unwrap(), &picture(width.into(), height.into()));
                    assert!(difference < 40, "{width}x{height} {factor:?} {progressive}: {difference}");
                }
            }
        }
        assert!(largest_difference(&decoded(&jpeg(64, 48)).unwrap(), &picture(64, 48)) < 6);
    }

    #[test]
    fn a_gray_jpeg_gives_three_equal_channels() {
        let mut bytes = Vec::new();
        let gray: Vec<u8> = (0..64).map(|i| i * 3).collect();
        Encoder::new(&mut bytes, 100).encode(&gray, 8, 8, ColorType::Luma).unwrap();
        let rgb: Vec<u8> = gray.iter().flat_map(|g| [*g; 3]).collect();
        assert!(largest_difference(&decoded(&bytes).unwrap(), &rgb) < 4);
    }

    /// An inverted CMYK JPEG as Adobe's programs write it: red is `c * k / 255` of the stored values.
    #[test]
    fn cmyk_becomes_what_pillow_makes_of_it() {
        for color in [ColorType::Cmyk, ColorType::CmykAsYcck] {
            let mut bytes = Vec::new();
            let pixels: Vec<u8> = [40u8, 200, 120, 30].repeat(64);
            Encoder::new(&mut bytes, 100).encode(&pixels, 8, 8, color).unwrap();
            // jpeg-encoder stores 255 - value: red is (255 - c) * (255 - k) / 255.
            let expected = [40u32, 200, 120].map(|c| ((255 - c) * (255 - 30) / 255) as u8);
            let got = decoded(&bytes).unwrap();
            assert!(largest_difference(&got, &expected.repeat(64)) < 6, "{color:?}: {:?}", &got[..3]);
        }
    }

    #[test]
    fn pngs_of_all_kinds_give_rgb() {
        use ::png::{BitDepth, ColorType};
        let cases = [
            (ColorType::Rgb, BitDepth::Eight, vec![1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
            (ColorType::Rgba, BitDepth::Eight, vec![1, 2, 3, 0, 4, 5, 6, 128], [1, 2, 3, 4, 5, 6]),
            (ColorType::Grayscale, BitDepth::Eight, vec![9, 200], [9, 9, 9, 200, 200, 200]),
            (ColorType::GrayscaleAlpha, BitDepth::Eight, vec![9, 0, 200, 255], [9, 9, 9, 200, 200, 200]),
            (ColorType::Grayscale, BitDepth::One, vec![0b0100_0000], [0, 0, 0, 255, 255, 255]),
            (ColorType::Indexed, BitDepth::Eight, vec![0, 1], [10, 20, 30, 200, 100, 50]),
            (ColorType::Indexed, BitDepth::One, vec![0b1000_0000], [200, 100, 50, 10, 20, 30]),
            (ColorType::Grayscale, BitDepth::Sixteen, vec![9, 255, 200, 1], [9, 9, 9, 200, 200, 200]),
            (ColorType::Rgb, BitDepth::Sixteen, vec![1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9], [1, 2, 3, 4, 5, 6]),
        ];
        for (color, depth, data, expected) in cases {
            assert_eq!(decoded(&png(2, 1, color, depth, &data)).unwrap(), expected, "{color:?} {depth:?}");
        }
    }

    #[test]
    fn what_is_not_an_image_is_named() {
        assert_eq!(decoded(b""), Err(DecodeError::Empty));
        assert!(matches!(decoded(b"hello, I am text"), Err(DecodeError::NotAnImage { .. })));
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut bytes = jpeg(16, 16);
        let sof = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        bytes[sof + 5..sof + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
        let error = decoded(&bytes).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { width: 20_000, height: 20_000, limit: LIMIT });
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_an_error() {
        for bytes in [jpeg(40, 24), jpeg_with(40, 24, |e| e.set_progressive(true))] {
            // Without its last two bytes (the end marker) all pixels are still there.
            for cut in 0..bytes.len() - 2 {
                assert!(decoded(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn a_png_cut_anywhere_before_its_end_chunk_is_an_error() {
        let bytes = png(8, 8, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &picture(8, 8));
        // The last 12 bytes are the IEND chunk.
        for cut in 0..bytes.len() - 12 {
            assert!(decoded(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn altered_images_never_panic(which in 0usize..3, changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..12)) {
            let mut bytes = match which {
                0 => jpeg(40, 24),
                1 => jpeg_with(40, 24, |e| e.set_progressive(true)),
                _ => png(8, 8, ::png::ColorType::Rgb, ::png::BitDepth::Eight, &picture(8, 8)),
            };
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = decoded(&bytes);
        }
    }
}
