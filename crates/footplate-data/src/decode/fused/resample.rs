//! Antialiased bilinear resampling along each axis, as Pillow's `resize` with a box does it. Components of lower resolution
//! are resampled directly to the sample: their weights contain libjpeg's smooth upsampling.

use std::ops::Range;

use super::idct::transposed;

/// Number of outputs that are computed together.
pub(super) const LANES: usize = 8;

/// How samples of a component geometry in the image along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upsampling {
    /// One sample for each pixel.
    None,
    /// Two pixels for each sample; a pixel is 3/4 of its nearest sample and 1/4 of the next nearest.
    Smooth,
    /// So many pixels with the value of each sample.
    Repeat(usize),
}

impl Upsampling {
    /// The range of samples that pixels `from..to` depend on.
    fn reach(self, from: usize, to: usize, samples: usize) -> (usize, usize) {
        let (first, last) = match self {
            Self::None => (from, to - 1),
            Self::Smooth => (from.div_ceil(2).saturating_sub(1), to / 2),
            Self::Repeat(n) => (from / n, (to - 1) / n),
        };
        (first.min(samples - 1), last.min(samples - 1) + 1)
    }

    /// The samples that a pixel depends on, with their weights.
    pub(super) fn shares(self, pixel: usize, samples: usize) -> [(usize, f64); 2] {
        let last = samples - 1;
        match self {
            Self::None => [(pixel.min(last), 1.0), (0, 0.0)],
            Self::Repeat(n) => [((pixel / n).min(last), 1.0), (0, 0.0)],
            Self::Smooth => {
                let near = (pixel / 2).min(last);
                let next =
                    if pixel.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) };
                [(near, 0.75), (next, 0.25)]
            }
        }
    }
}

/// A part of an image along one axis, and the length that it is resampled to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Beginning of the part, in pixels.
    pub(super) from: f64,
    /// Its length in pixels.
    pub(super) length: f64,
    /// The image's length in pixels.
    pub(super) pixels: usize,
    /// The number of outputs.
    pub(super) size: usize,
    /// Whether the outputs are in reverse order.
    pub(super) reversed: bool,
}

impl Span {
    /// The range of pixels that output `i` depends on, and the centre of its filter.
    fn window(&self, i: usize) -> (usize, usize, f64) {
        let scale = self.length / self.size as f64;
        let support = scale.max(1.0);
        let i = if self.reversed { self.size - 1 - i } else { i };
        let centre = self.from + (i as f64 + 0.5) * scale;
        let from = ((centre - support + 0.5) as usize).min(self.pixels - 1);
        let to = ((centre + support + 0.5) as usize).clamp(from + 1, self.pixels);
        (from, to, centre)
    }
}

/// The weights of samples in each output along one axis.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// Number of weights of an output.
    pub(super) taps: usize,
    /// The first sample of each output.
    pub(super) starts: Vec<u32>,
    /// After the last sample of each output.
    pub(super) ends: Vec<u32>,
    /// `taps` weights for each output; those after its last sample are zero.
    pub(super) weights: Vec<f32>,
    /// The first sample of all outputs.
    pub(super) first: usize,
    /// After the last sample of all outputs.
    pub(super) end: usize,
    pixels: Vec<f64>,
}

impl Axis {
    /// Computes the weights for a component that has `samples` along this axis.
    pub(super) fn set(&mut self, span: &Span, upsampling: Upsampling, samples: usize) {
        let padded = span.size.next_multiple_of(LANES);
        self.starts.clear();
        self.ends.clear();
        (self.first, self.end, self.taps) = (usize::MAX, 0, 1);
        for i in 0..span.size {
            let (from, to, _) = span.window(i);
            let (start, end) = upsampling.reach(from, to, samples);
            self.starts.push(start as u32);
            self.ends.push(end as u32);
            self.taps = self.taps.max(end - start);
            self.first = self.first.min(start);
            self.end = self.end.max(end);
        }
        self.starts.resize(padded, self.first as u32);
        self.weights.clear();
        self.weights.resize(padded * self.taps, 0.0);
        for i in 0..span.size {
            self.weigh(i, span, upsampling, samples);
        }
    }

    /// The groups of [`LANES`] outputs that depend on these samples.
    pub(super) fn groups(&self, samples: &Range<usize>) -> Range<usize> {
        let concerned =
            |start: &u32| (*start as usize) < samples.end && *start as usize + self.taps > samples.start;
        let first = self.starts.iter().position(concerned).unwrap_or(0);
        let last = self.starts.iter().rposition(concerned).unwrap_or(0);
        first / LANES..last / LANES + 1
    }

    /// All groups of outputs.
    pub(super) fn all_groups(&self) -> Range<usize> {
        0..self.starts.len() / LANES
    }

    fn weigh(&mut self, i: usize, span: &Span, upsampling: Upsampling, samples: usize) {
        let (from, to, centre) = span.window(i);
        let inverse = 1.0 / (span.length / span.size as f64).max(1.0);
        let triangle = |pixel: usize| (1.0 - ((pixel as f64 - centre + 0.5) * inverse).abs()).max(0.0);
        self.pixels.resize((to - from).max(self.pixels.len()), 0.0);
        for (place, pixel) in self.pixels.iter_mut().zip(from..to) {
            *place = triangle(pixel);
        }
        let pixels = &self.pixels[..to - from];
        let sum: f64 = pixels.iter().sum();
        let normal = if sum > 0.0 { 1.0 / sum } else { 0.0 };
        let start = self.starts[i] as usize;
        let weights = &mut self.weights[i * self.taps..(i + 1) * self.taps];
        if upsampling == Upsampling::None {
            for (weight, pixel) in weights.iter_mut().zip(pixels) {
                *weight = (pixel * normal) as f32;
            }
            return;
        }
        for (pixel, weight) in (from..to).zip(pixels) {
            for (sample, share) in upsampling.shares(pixel, samples) {
                if let Some(sum) = sample.checked_sub(start).and_then(|place| weights.get_mut(place)) {
                    *sum += (weight * normal * share) as f32;
                }
            }
        }
    }
}

/// The last rows of a component, resampled across, in a ring buffer: row `r` is at `r % capacity`.
#[derive(Debug, Default)]
pub(super) struct Ring {
    data: Vec<f32>,
    stride: usize,
    /// A power of two, at least 8.
    capacity: usize,
}

impl Ring {
    /// Makes room for at least `rows` rows of `stride` values.
    pub(super) fn set(&mut self, stride: usize, rows: usize) {
        self.stride = stride;
        self.capacity = rows.next_power_of_two().max(LANES);
        self.data.resize(stride * self.capacity, 0.0);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    fn row(&self, number: usize) -> &[f32] {
        let place = number & (self.capacity - 1);
        &self.data[place * self.stride..(place + 1) * self.stride]
    }

    /// The eight rows from row `number` on, which must be a multiple of eight.
    pub(super) fn eight_rows(&mut self, number: usize) -> &mut [f32] {
        let place = number & (self.capacity - 1);
        &mut self.data[place * self.stride..(place + LANES) * self.stride]
    }
}

/// Resamples a strip of eight rows across, to eight rows with a value for each start of the axis. Starts are counted from the
/// strip's first column. Only the given groups of [`LANES`] outputs are computed.
#[inline(always)]
pub(super) fn across(strip: &[[f32; 8]], axis: &Axis, groups: Range<usize>, out: &mut [f32]) {
    match axis.taps {
        1 => across_taps::<1>(strip, axis, groups, out),
        2 => across_taps::<2>(strip, axis, groups, out),
        3 => across_taps::<3>(strip, axis, groups, out),
        4 => across_taps::<4>(strip, axis, groups, out),
        5 => across_taps::<5>(strip, axis, groups, out),
        6 => across_taps::<6>(strip, axis, groups, out),
        _ => across_any(strip, axis, groups, out),
    }
}

#[inline(always)]
fn across_taps<const T: usize>(strip: &[[f32; 8]], axis: &Axis, groups: Range<usize>, out: &mut [f32]) {
    let weights = axis.weights.as_chunks::<T>().0.as_chunks::<LANES>().0;
    let starts = axis.starts.as_chunks::<LANES>().0;
    for group in groups {
        let (Some(starts), Some(weights)) = (starts.get(group), weights.get(group)) else { return };
        let mut sums = [[0.0; 8]; LANES];
        for ((sum, start), weights) in sums.iter_mut().zip(starts).zip(weights) {
            let Some(columns) = strip.get(*start as usize..).and_then(<[_]>::first_chunk::<T>) else {
                continue;
            };
            for (weight, column) in weights.iter().zip(columns) {
                for (sum, sample) in sum.iter_mut().zip(column) {
                    *sum += weight * sample;
                }
            }
        }
        store(&sums, group, out, axis.starts.len());
    }
}

#[inline(always)]
fn across_any(strip: &[[f32; 8]], axis: &Axis, groups: Range<usize>, out: &mut [f32]) {
    for group in groups {
        let Some(starts) = axis.starts.as_chunks::<LANES>().0.get(group) else { return };
        let mut sums = [[0.0; 8]; LANES];
        for (i, (sum, start)) in sums.iter_mut().zip(starts).enumerate() {
            let first = (group * LANES + i) * axis.taps;
            let weights = &axis.weights[first..first + axis.taps];
            let columns = strip.get(*start as usize..).unwrap_or_default();
            for (weight, column) in weights.iter().zip(columns) {
                for (sum, sample) in sum.iter_mut().zip(column) {
                    *sum += weight * sample;
                }
            }
        }
        store(&sums, group, out, axis.starts.len());
    }
}

/// Stores eight columns of eight sums in eight rows.
#[inline(always)]
fn store(sums: &[[f32; 8]; LANES], group: usize, out: &mut [f32], stride: usize) {
    let rows = transposed(sums);
    for (to, row) in out.chunks_exact_mut(stride).zip(&rows) {
        to[group * LANES..(group + 1) * LANES].copy_from_slice(row);
    }
}

/// Resamples down: computes output row `y` from the rows in the ring.
#[inline(always)]
pub(super) fn down(ring: &Ring, axis: &Axis, y: usize, out: &mut [f32]) {
    match axis.taps {
        1 => down_taps::<1>(ring, axis, y, out),
        2 => down_taps::<2>(ring, axis, y, out),
        3 => down_taps::<3>(ring, axis, y, out),
        4 => down_taps::<4>(ring, axis, y, out),
        5 => down_taps::<5>(ring, axis, y, out),
        6 => down_taps::<6>(ring, axis, y, out),
        _ => down_any(ring, axis, y, out),
    }
}

#[inline(always)]
fn down_taps<const T: usize>(ring: &Ring, axis: &Axis, y: usize, out: &mut [f32]) {
    let start = axis.starts[y] as usize;
    let Some(weights) = axis.weights.as_chunks::<T>().0.get(y) else { return };
    let mut rows: [&[[f32; 8]]; T] = [&[]; T];
    for (k, row) in rows.iter_mut().enumerate() {
        *row = ring.row(start + k).as_chunks::<8>().0;
    }
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut sum = [0.0; 8];
        for (weight, row) in weights.iter().zip(&rows) {
            let Some(row) = row.get(i) else { return };
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        *out = sum;
    }
}

#[inline(always)]
fn down_any(ring: &Ring, axis: &Axis, y: usize, out: &mut [f32]) {
    let start = axis.starts[y] as usize;
    out.fill(0.0);
    for (k, weight) in axis.weights[y * axis.taps..(y + 1) * axis.taps].iter().enumerate() {
        for (sum, value) in out.iter_mut().zip(ring.row(start + k)) {
            *sum += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(
        from: f64,
        length: f64,
        pixels: usize,
        size: usize,
        reversed: bool,
        upsampling: Upsampling,
    ) -> Axis {
        let samples = match upsampling {
            Upsampling::None => pixels,
            Upsampling::Smooth => pixels.div_ceil(2),
            Upsampling::Repeat(n) => pixels.div_ceil(n),
        };
        let mut axis = Axis::default();
        axis.set(&Span { from, length, pixels, size, reversed }, upsampling, samples);
        axis
    }

    /// The weights of an output by sample.
    fn weights(axis: &Axis, output: usize) -> Vec<(usize, f32)> {
        let weights = &axis.weights[output * axis.taps..(output + 1) * axis.taps];
        (axis.starts[output] as usize..)
            .zip(weights.iter().copied())
            .filter(|(_, weight)| *weight != 0.0)
            .collect()
    }

    fn upsamplings() -> impl Strategy<Value = Upsampling> {
        prop_oneof![
            Just(Upsampling::None),
            Just(Upsampling::Smooth),
            Just(Upsampling::Repeat(2)),
            Just(Upsampling::Repeat(4))
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// An image of one value stays one: the weights of each output sum to 1, on samples that are there.
        #[test]
        fn weights_sum_to_one(
            pixels in 1usize..200, at in 0.0f64..1.0, share in 0.02f64..1.0, size in 1usize..60, reversed: bool,
            upsampling in upsamplings(),
        ) {
            let length = pixels as f64 * share;
            let axis = axis((pixels as f64 - length) * at, length, pixels, size, reversed, upsampling);
            for output in 0..size {
                let weights = weights(&axis, output);
                let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
                prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
                let inside = |(sample, weight): &(usize, f32)| {
                    *weight > 0.0 && *sample < axis.ends[output] as usize && *sample >= axis.first
                };
                prop_assert!(weights.iter().all(inside));
                prop_assert!(axis.ends[output] as usize <= axis.end && axis.end <= pixels);
            }
        }

        /// The last output of a reversed axis is the first of one that is not.
        #[test]
        fn a_reversed_axis_has_the_same_weights_from_behind(pixels in 1usize..100, size in 1usize..40) {
            let [plain, reversed] =
                [false, true].map(|reversed| axis(0.0, pixels as f64, pixels, size, reversed, Upsampling::None));
            for output in 0..size {
                prop_assert_eq!(weights(&plain, output), weights(&reversed, size - 1 - output));
            }
        }

        /// A row is where it was put until its place in the ring is taken by a later one.
        #[test]
        fn a_ring_holds_the_last_rows(rows in 1usize..40, last in 0usize..20) {
            let mut ring = Ring::default();
            ring.set(3, rows);
            prop_assert!(ring.capacity() >= rows && ring.capacity().is_power_of_two());
            for group in 0..=last {
                for (i, row) in ring.eight_rows(group * 8).chunks_exact_mut(3).enumerate() {
                    row.fill((group * 8 + i) as f32);
                }
            }
            let end = (last + 1) * 8;
            for row in end.saturating_sub(ring.capacity())..end {
                prop_assert_eq!(ring.row(row), [row as f32; 3]);
            }
        }
    }

    #[test]
    fn smooth_chroma_is_three_quarters_of_the_nearest_sample() {
        let shares = |pixel| Upsampling::Smooth.shares(pixel, 4);
        assert_eq!(shares(0), [(0, 0.75), (0, 0.25)]);
        assert_eq!(shares(3), [(1, 0.75), (2, 0.25)]);
        assert_eq!(shares(4), [(2, 0.75), (1, 0.25)]);
        assert_eq!(shares(7), [(3, 0.75), (3, 0.25)]);
        assert_eq!(Upsampling::Repeat(4).shares(9, 3)[0], (2, 1.0));
        // One pixel for each output: each is made of the samples above, and of no other.
        let axis = axis(0.0, 8.0, 8, 8, false, Upsampling::Smooth);
        assert_eq!(weights(&axis, 3), [(1, 0.75), (2, 0.25)]);
        assert_eq!(weights(&axis, 0), [(0, 1.0)]);
    }

    #[test]
    fn the_groups_of_outputs_that_depend_on_samples_are_found() {
        let axis = axis(0.0, 40.0, 40, 40, false, Upsampling::None);
        assert_eq!(axis.all_groups(), 0..5);
        assert_eq!(axis.groups(&(0..1)), 0..1);
        assert_eq!(axis.groups(&(39..40)).end, 5);
        let middle = axis.groups(&(17..20));
        assert!(middle.contains(&2) && middle.len() <= 2, "{middle:?}");
    }
}
