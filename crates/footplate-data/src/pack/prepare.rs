//! One sample on its way into a shard: read, checked, and changed only if that was asked for.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder};

use crate::decode::{self, ImageInfo};
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

    /// Reads a sample and decodes it once, to see that it is whole; a reason if it is not.
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
        let info = decode::decode_rgb(&self.read, MAX_PIXELS, &mut self.rgb).map_err(|e| e.to_string())?;
        let jpeg = self.read.starts_with(&[0xff, 0xd8]);
        let changed = self.changed(info, jpeg)?;
        let bytes = if changed { &self.encoded } else { &self.read };
        let checkpoints = if jpeg { decode::index::build(bytes) } else { None };
        Ok(Prepared { ending: if jpeg { "jpg" } else { "png" }, bytes, checkpoints })
    }

    /// Writes the changed image to `encoded`; whether there was anything to change.
    fn changed(&mut self, info: ImageInfo, jpeg: bool) -> Result<bool, String> {
        let shorter = info.width.min(info.height);
        let smaller = self.change.resize.filter(|side| *side < shorter);
        let (width, height) = match smaller {
            Some(side) => {
                let scaled = |length: u32| {
                    let exact = f64::from(length) * f64::from(side) / f64::from(shorter);
                    (exact.round() as u32).max(side)
                };
                (scaled(info.width), scaled(info.height))
            }
            None if jpeg && self.change.quality.is_some() => (info.width, info.height),
            None => return Ok(false),
        };
        let pixels = match smaller {
            Some(_) => {
                self.shrink(info, width, height)?;
                &self.small
            }
            None => &self.rgb,
        };
        if jpeg {
            let quality = self.change.quality.unwrap_or(RESIZED_QUALITY);
            encode_jpeg(pixels, width, height, quality, info.orientation, &mut self.encoded)?;
        } else {
            encode_png(pixels, width, height, 3, &mut self.encoded)?;
        }
        Ok(true)
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
