//! Prepares a sample for a shard: it is read, checked, and changed if the options say so.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder};

use crate::decode::{self, DecodeError, ImageInfo};
use crate::source::{Form, Store};

/// Images with more pixels are refused, as by default in training.
const MAX_PIXELS: u64 = 100_000_000;
/// The quality of JPEGs that are shrunk, unless the options give one.
const RESIZED_QUALITY: u8 = 90;
/// The longest side of a JPEG in pixels.
const SIDE_MAX: u32 = 65_535;

/// Changes of images while they are packed; by default none, so that the files' bytes are kept. Its `Debug` output is part of
/// the shards' origin, so that fields must keep their names and order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageChange {
    /// Images whose shorter side is longer are shrunk to this shorter side, in pixels.
    pub resize: Option<u32>,
    /// JPEGs are encoded again with this quality, 1 to 100.
    pub quality: Option<u8>,
}

impl ImageChange {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the ranges of the options.
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

/// A sample that is ready for a shard.
pub(super) struct Prepared<'a> {
    /// The ending of its file name: `jpg` or `png`.
    pub(super) ending: &'static str,
    pub(super) bytes: &'a [u8],
    /// The index for the decoder; `None` for kinds of files that have none.
    pub(super) checkpoints: Option<Vec<u8>>,
}

/// Buffers of one thread, which are used again for each sample.
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

    /// Reads a sample and checks that it is intact.
    ///
    /// # Errors
    /// The reason for which it is left out.
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
            // Making checkpoints reads all of the image's data, so that an image that has them is intact.
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

    /// Width and height of the changed image; `None` if it is kept.
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

    /// Encodes the decoded image in this size, to `encoded`.
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
        // Typed: the call that takes any type of pixels compiles the kernels of all of them.
        let from = TypedImageRef::<U8x3>::from_buffer(info.width, info.height, &self.rgb);
        let from = from.map_err(|e| failed(&e))?;
        self.small.resize(width as usize * height as usize * 3, 0);
        let to = TypedImage::<U8x3>::from_buffer(width, height, &mut self.small);
        let mut to = to.map_err(|e| failed(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        self.resizer.resize_typed(&from, &mut to, &options).map_err(|e| failed(&e))
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

/// An EXIF segment with an orientation only: a little-endian TIFF header and one entry (tag 0x0112, type SHORT, one value).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::{jpeg, picture};
    use crate::source::memory::{MemorySample, MemoryStore};

    fn store(form: Form, bytes: Vec<u8>) -> Store {
        Store::Memory(MemoryStore { samples: vec![MemorySample { name: "one".to_owned(), form, bytes }] })
    }

    /// Ending, size of the image, and whether it got checkpoints.
    fn prepared(
        change: ImageChange,
        form: Form,
        bytes: Vec<u8>,
    ) -> Result<(&'static str, (u32, u32), bool), String> {
        let mut preparer = Preparer::new(change);
        let made = preparer.prepare(&store(form, bytes), 0)?;
        let info = decode::image_info(made.bytes).map_err(|e| e.to_string())?;
        Ok((made.ending, (info.width, info.height), made.checkpoints.is_some()))
    }

    #[test]
    fn options_out_of_their_range_are_named() {
        let error = |resize, quality| ImageChange { resize, quality }.check().unwrap_err();
        assert_eq!(error(Some(0), None), "resize: a shorter side has 1 to 65535 pixels");
        assert_eq!(error(Some(65_536), None), "resize: a shorter side has 1 to 65535 pixels");
        assert_eq!(error(None, Some(0)), "quality: 1 to 100");
        assert_eq!(error(Some(7), Some(101)), "quality: 1 to 100");
        assert_eq!(ImageChange { resize: Some(1), quality: Some(100) }.check(), Ok(()));
    }

    #[test]
    fn a_shorter_side_is_shrunk_and_never_enlarged() {
        // The last tells whether there are checkpoints: a file that is encoded again has a scan for each component, which
        // the crop decoder does not support.
        for (size, resize, expected, checkpoints) in [
            ((60, 40), 20, (30, 20), false),
            ((40, 60), 20, (20, 30), false),
            // The longer side is rounded.
            ((50, 30), 20, (33, 20), false),
            ((40, 40), 40, (40, 40), true),
            ((40, 30), 50, (40, 30), true),
        ] {
            let change = ImageChange { resize: Some(resize), quality: None };
            assert_eq!(
                prepared(change, Form::File, jpeg(size.0, size.1)),
                Ok(("jpg", expected, checkpoints)),
                "{size:?}"
            );
        }
    }

    #[test]
    fn pixels_become_a_png_and_stay_one() {
        let raw = Form::Raw { width: 6, height: 4, channels: 3 };
        let none = ImageChange::default();
        assert_eq!(prepared(none, raw, picture(6, 4)), Ok(("png", (6, 4), false)));
        let both = ImageChange { resize: Some(2), quality: Some(50) };
        assert_eq!(prepared(both, raw, picture(6, 4)), Ok(("png", (3, 2), false)));
    }

    #[test]
    fn a_lower_quality_makes_a_smaller_file_of_the_same_size() {
        let length = |quality| {
            let mut preparer = Preparer::new(ImageChange { resize: None, quality });
            preparer.prepare(&store(Form::File, jpeg(64, 64)), 0).unwrap().bytes.len()
        };
        assert!(length(Some(20)) < length(Some(95)) && length(None) == jpeg(64, 64).len());
    }

    #[test]
    fn what_is_no_image_is_left_out_with_a_reason() {
        let none = ImageChange::default();
        for (bytes, reason) in [
            (b"text".to_vec(), "not a JPEG or PNG image"),
            (Vec::new(), "empty file"),
            (jpeg(30, 30)[..300].to_vec(), "damaged or unsupported"),
        ] {
            let error = prepared(none, Form::File, bytes).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
        // An index that came with the file is made anew.
        let file = jpeg(16, 16);
        let with_index = [file.as_slice(), b"an old index"].concat();
        assert_eq!(
            prepared(none, Form::Indexed { file_len: file.len() }, with_index),
            Ok(("jpg", (16, 16), true))
        );
    }
}
