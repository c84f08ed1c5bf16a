//! One sample on its way into a shard: read, checked, and changed only if that was asked for.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder};

use crate::decode::{self, DecodeError, ImageInfo};
use crate::source::{Form, Store};

/// Images with more pixels are refused, as by [`crate::transform::Transform`].
const MAX_PIXELS: u64 = 100_000_000;
/// Of JPEGs that are made smaller, unless another is asked for.
const RESIZED_QUALITY: u8 = 90;
/// JPEG's limit.
const SIDE_MAX: u32 = 65_535;

/// What is done to images while they are packed. By default nothing: the files' bytes are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageChange {
    /// Images with a longer shorter side are made smaller, to this shorter side in pixels.
    pub resize: Option<u32>,
    /// JPEGs are encoded anew with this quality, 1 to 100.
    pub quality: Option<u8>,
}

impl ImageChange {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.resize.is_some_and(|side| side == 0 || side > SIDE_MAX) {
            return Err(format!("resize: a shorter side has 1 to {SIDE_MAX} pixels"));
        }
        if self.quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
            return Err("quality: 1 to 100".to_owned());
        }
        Ok(())
    }
}

/// A sample as it goes into a shard.
pub(super) struct Prepared<'a> {
    /// Of its file: `jpg` or `png`.
    pub(super) ending: &'static str,
    pub(super) bytes: &'a [u8],
    /// The decoder's checkpoints.
    pub(super) checkpoints: Option<Vec<u8>>,
}

/// One thread's buffers.
pub(super) struct Preparer {
    change: ImageChange,
    read: Vec<u8>,
    encoded: Vec<u8>,
    rgb: Vec<u8>,
    small: Vec<u8>,
    resizer: Resizer,
}

impl Preparer {
    pub(super) fn new(change: ImageChange) -> Self {
        Self {
            change,
            read: Vec::new(),
            encoded: Vec::new(),
            rgb: Vec::new(),
            small: Vec::new(),
            resizer: Resizer::new(),
        }
    }

    /// Reads a sample and sees that it is whole; a reason if it is not.
    pub(super) fn prepare(&mut self, store: &Store, index: usize) -> Result<Prepared<'_>, String> {
        let form = store.read(index, &mut self.read).map_err(|e| format!("cannot be read: {e}"))?;
        match form {
            Form::File => {}
            Form::Indexed { file_len } => self.read.truncate(file_len),
            Form::Raw { width, height, channels } => {
                encode_png(&self.read, width, height, channels, &mut self.encoded)?;
                std::mem::swap(&mut self.read, &mut self.encoded);
            }
        }
        let damaged = |e: DecodeError| e.to_string();
        let info = decode::image_info(&self.read).map_err(damaged)?;
        let jpeg = self.read.starts_with(&[0xff, 0xd8]);
        let size = self.new_size(info, jpeg);
        let ending = if jpeg { "jpg" } else { "png" };
        if jpeg && size.is_none() && u64::from(info.width) * u64::from(info.height) <= MAX_PIXELS {
            // To make checkpoints is to read all of the image's data: what has them is whole.
            if let Some(checkpoints) = decode::index::build(&self.read) {
                return Ok(Prepared { ending, bytes: &self.read, checkpoints: Some(checkpoints) });
            }
        }
        decode::decode_rgb(&self.read, MAX_PIXELS, &mut self.rgb).map_err(damaged)?;
        let Some(size) = size else {
            return Ok(Prepared { ending, bytes: &self.read, checkpoints: None });
        };
        self.change(info, size, jpeg)?;
        let checkpoints = if jpeg { decode::index::build(&self.encoded) } else { None };
        Ok(Prepared { ending, bytes: &self.encoded, checkpoints })
    }

    /// Width and height of an image that is to be changed.
    fn new_size(&self, info: ImageInfo, jpeg: bool) -> Option<(u32, u32)> {
        let shorter = info.width.min(info.height);
        match self.change.resize.filter(|side| *side < shorter) {
            Some(side) => {
                let scaled = |length: u32| {
                    let exact = f64::from(length) * f64::from(side) / f64::from(shorter);
                    (exact.round() as u32).max(side)
                };
                Some((scaled(info.width), scaled(info.height)))
            }
            None => (jpeg && self.change.quality.is_some()).then_some((info.width, info.height)),
        }
    }

    /// Writes the decoded image to `encoded`, of this size.
    fn change(&mut self, info: ImageInfo, (width, height): (u32, u32), jpeg: bool) -> Result<(), String> {
        let pixels = if (width, height) == (info.width, info.height) {
            &self.rgb
        } else {
            self.shrink(info, width, height)?;
            &self.small
        };
        if jpeg {
            let quality = self.change.quality.unwrap_or(RESIZED_QUALITY);
            encode_jpeg(pixels, width, height, quality, info.orientation, &mut self.encoded)
        } else {
            encode_png(pixels, width, height, 3, &mut self.encoded)
        }
    }

    fn shrink(&mut self, info: ImageInfo, width: u32, height: u32) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot be resized: {e}");
        let from =
            ImageRef::new(info.width, info.height, &self.rgb, PixelType::U8x3).map_err(|e| failed(&e))?;
        self.small.resize(width as usize * height as usize * 3, 0);
        let mut to =
            Image::from_slice_u8(width, height, &mut self.small, PixelType::U8x3).map_err(|e| failed(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        self.resizer.resize(&from, &mut to, &options).map_err(|e| failed(&e))
    }
}

fn encode_jpeg(
    rgb: &[u8],
    width: u32,
    height: u32,
    quality: u8,
    orientation: u8,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let side = |length: u32| u16::try_from(length).map_err(|_| "too large for a JPEG".to_owned());
    let failed = |e: jpeg_encoder::EncodingError| format!("cannot be encoded: {e}");
    out.clear();
    let mut encoder = Encoder::new(out, quality);
    encoder.set_optimized_huffman_tables(true);
    if orientation > 1 {
        encoder.add_app_segment(1, exif(orientation)).map_err(failed)?;
    }
    encoder.encode(rgb, side(width)?, side(height)?, ColorType::Rgb).map_err(failed)
}

/// An EXIF segment with an orientation and nothing else: a little-endian TIFF head and one entry (tag 0x0112,
/// type SHORT, one value).
fn exif(orientation: u8) -> Vec<u8> {
    const HEAD: &[u8] = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0";
    [HEAD, &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat()
}

fn encode_png(
    pixels: &[u8],
    width: u32,
    height: u32,
    channels: u32,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let failed = |e: png::EncodingError| format!("cannot be encoded: {e}");
    out.clear();
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)
}
