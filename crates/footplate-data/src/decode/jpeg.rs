//! Decodes JPEG with zune-jpeg in strict mode.
//!
//! CMYK and YCCK become RGB as Pillow does it for files of Adobe's programs, which store inverted values; a CMYK file
//! without Adobe's marker is taken to be inverted too. No decoder notices damage inside the entropy-coded data that still
//! decodes to the right number of blocks.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{DecodeError, ImageInfo, damaged, exif, spread_gray};

/// JPEG's own limit for each side; the number of pixels is checked by the caller.
const SIDE_MAX: usize = 65_535;
/// The most scans of a progressive file, which bounds the time to decode it. Encoders write about ten.
const SCANS_MAX: usize = 100;

fn decoder(bytes: &[u8]) -> JpegDecoder<ZCursor<&[u8]>> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(SIDE_MAX)
        .set_max_height(SIDE_MAX)
        .jpeg_set_max_scans(SCANS_MAX);
    JpegDecoder::new_with_options(ZCursor::new(bytes), options)
}

pub(super) fn info(bytes: &[u8]) -> Result<ImageInfo, DecodeError> {
    let mut decoder = decoder(bytes);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("no dimensions"))?;
    let side = |n: usize| u32::try_from(n).map_err(damaged);
    let orientation = decoder.exif().map_or(1, |raw| exif::orientation(raw));
    Ok(ImageInfo { width: side(width)?, height: side(height)?, orientation })
}

pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if !has_end_marker(bytes) {
        return Err(damaged("truncated: no end marker after the image data"));
    }
    let mut decoder = decoder(bytes);
    decoder.decode_headers().map_err(damaged)?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let colors = if gray { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(colors));
    let size = decoder.output_buffer_size().ok_or_else(|| damaged("no dimensions"))?;
    // The decoder may skip parts of a damaged file; they must not show the previous content of the buffer.
    out.clear();
    out.resize(size, 0);
    decoder.decode_into(out).map_err(damaged)?;
    if gray {
        spread_gray(out, size);
    }
    Ok(())
}

/// Whether an end marker comes after the first scan's header. Decoders fill in what a truncated file lacks, but a truncated
/// photo must not be taken for an intact one.
fn has_end_marker(bytes: &[u8]) -> bool {
    scan_start(bytes).is_some_and(|start| ends_after(bytes, start))
}

/// Whether an end marker comes after `start`. The search starts from the end, where the marker nearly always is.
pub(super) fn ends_after(bytes: &[u8], start: usize) -> bool {
    bytes.get(start..).is_some_and(|data| data.windows(2).rev().any(|pair| pair == [0xff, 0xd9]))
}

/// Offset of the first scan's data. The segments before it are skipped, since a thumbnail inside one has an end marker of
/// its own.
fn scan_start(bytes: &[u8]) -> Option<usize> {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    loop {
        let marker = *bytes.get(at + 1)?;
        if bytes[at] != 0xff {
            return None;
        }
        // Fill bytes, and markers without a length.
        if marker == 0xff || marker == 0x01 || (0xd0..=0xd7).contains(&marker) {
            at += if marker == 0xff { 1 } else { 2 };
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
        at += 2 + length;
        if marker == START_OF_SCAN {
            return (at <= bytes.len()).then_some(at);
        }
    }
}
