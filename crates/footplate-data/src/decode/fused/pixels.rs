//! Resamples decoded pixels to a sample, by the same arithmetic as for the components of a JPEG file.

use super::header::Color;
use super::resample::{Axis, LANES, Ring, Span, Upsampling};
use super::simd::Simd;
use super::write::Writer;
use super::{CropSpec, Refused};
use crate::augment::CropBox;
use crate::pixel_sink::PixelSink;

/// A decoded image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'p> {
    /// `height * width * channels` bytes, row by row.
    pub(crate) pixels: &'p [u8],
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1 (gray) or 3 (RGB).
    pub(crate) channels: usize,
}

/// Buffers of one thread, which are used again for each image.
#[derive(Debug, Default)]
pub(super) struct Planes {
    across: Axis,
    down: Axis,
    /// Eight rows of each channel, column by column.
    strips: [Vec<[f32; 8]>; 3],
    rings: [Ring; 3],
    rows: [Vec<f32>; 3],
}

impl Planes {
    /// Writes the part of a picture that `spec` asks for to `out`, which must have the right length.
    pub(super) fn sample(
        &mut self,
        simd: Simd,
        picture: &Picture<'_>,
        spec: &CropSpec,
        out: PixelSink<'_>,
    ) -> Result<(), Refused> {
        let Picture { pixels, width, height, channels } = *picture;
        if width == 0 || height == 0 || pixels.len() != width * height * channels {
            return Err(Refused);
        }
        let color = match channels {
            1 => Color::Gray,
            3 => Color::Rgb,
            _ => return Err(Refused),
        };
        self.set(picture, spec);
        let mut writer = Writer::new(out, spec.size, color, simd);
        let mut next = 0;
        for block_row in self.down.first / 8..self.down.end.div_ceil(8) {
            self.load(picture, block_row);
            for (strip, ring) in self.strips.iter().zip(&mut self.rings).take(channels) {
                simd.across(strip, &self.across, self.across.all_groups(), ring.eight_rows(block_row * 8));
            }
            let there = (block_row + 1) * 8;
            while next < spec.size && self.down.ends[next] as usize <= there {
                for (ring, row) in self.rings.iter().zip(&mut self.rows).take(channels) {
                    simd.down(ring, &self.down, next, row);
                }
                let y = if spec.upside_down { spec.size - 1 - next } else { next };
                writer.row(y, &mut self.rows, None);
                next += 1;
            }
        }
        if next == spec.size { Ok(()) } else { Err(Refused) }
    }

    fn set(&mut self, picture: &Picture<'_>, spec: &CropSpec) {
        let CropBox { left, top, width, height } = spec.crop;
        let size = spec.size;
        let span = |from, length, pixels, reversed| Span { from, length, pixels, size, reversed };
        self.across.set(&span(left, width, picture.width, spec.mirrored), Upsampling::None, picture.width);
        self.down.set(&span(top, height, picture.height, false), Upsampling::None, picture.height);
        let first = self.across.first as u32;
        self.across.starts.iter_mut().for_each(|start| *start = start.saturating_sub(first));
        let columns = self.across.end - self.across.first + self.across.taps;
        let stride = size.next_multiple_of(LANES);
        for c in 0..picture.channels {
            self.strips[c].resize(columns, [0.0; 8]);
            self.rings[c].set(stride, self.down.taps + 16);
        }
        // The writer accesses all three rows, whatever the number of channels.
        self.rows.iter_mut().for_each(|row| row.resize(stride, 0.0));
    }

    /// Loads eight rows of the picture as columns, with values that are 0 at mid-gray. Rows below the picture have no
    /// weight.
    fn load(&mut self, picture: &Picture<'_>, block_row: usize) {
        let Picture { pixels, width, height, channels } = *picture;
        let columns = self.across.first..self.across.end;
        for (y, row) in (block_row * 8..height).take(8).enumerate() {
            let row =
                &pixels[(row * width + columns.start) * channels..(row * width + columns.end) * channels];
            if channels == 1 {
                for (column, value) in self.strips[0].iter_mut().zip(row) {
                    column[y] = f32::from(*value) - 128.0;
                }
                continue;
            }
            let [red, green, blue] = &mut self.strips;
            let columns = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
            for (((red, green), blue), pixel) in columns.zip(row.as_chunks::<3>().0) {
                [red[y], green[y], blue[y]] = pixel.map(|value| f32::from(value) - 128.0);
            }
        }
    }
}
