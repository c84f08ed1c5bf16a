//! Decodes PNG with the `png` crate. Alpha is ignored and of 16 bits the upper 8 are used, as Pillow's `convert("RGB")` does
//! for colour images.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::{DecodeError, ImageInfo, damaged, spread_gray};

/// Bytes that the decoder may allocate besides the pixels (chunks, inflate state).
const LIMIT_BYTES: usize = 64 << 20;

fn decoder(bytes: &[u8]) -> Decoder<Cursor<&[u8]>> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: LIMIT_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder
}

pub(super) fn info(bytes: &[u8]) -> Result<ImageInfo, DecodeError> {
    let mut decoder = decoder(bytes);
    let header = decoder.read_header_info().map_err(damaged)?;
    // PNG has a chunk eXIf for an orientation, which viewers and Pillow's loader ignore.
    Ok(ImageInfo { width: header.width, height: header.height, orientation: 1 })
}

pub(super) fn decode(bytes: &[u8], info: &ImageInfo, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut reader = decoder(bytes).read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or_else(|| damaged("too large"))?;
    out.clear();
    out.resize(size, 0);
    reader.next_frame(out).map_err(damaged)?;
    let (color, _) = reader.output_color_type();
    let count = info.width as usize * info.height as usize;
    match color {
        ColorType::Rgb => {}
        ColorType::Grayscale => spread_gray(out, count),
        ColorType::GrayscaleAlpha => {
            keep_first(out, 2, 1);
            spread_gray(out, count);
        }
        ColorType::Rgba => keep_first(out, 4, 3),
        ColorType::Indexed => return Err(damaged("a palette that is not there")),
    }
    Ok(())
}

/// Keeps the first `kept` bytes of each group of `group`, in place.
fn keep_first(pixels: &mut Vec<u8>, group: usize, kept: usize) {
    let count = pixels.len() / group;
    for i in 0..count {
        pixels.copy_within(i * group..i * group + kept, i * kept);
    }
    pixels.truncate(count * kept);
}
