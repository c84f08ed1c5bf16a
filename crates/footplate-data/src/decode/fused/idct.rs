//! The inverse cosine transform, with dequantisation: the factorisation of Arai, Agui and Nakajima (1988) in f32,
//! whose scale factors are part of the quantisation table.

use super::entropy::{Block, natural};

/// The scale factors of Arai, Agui and Nakajima: 1, then `√2 cos(kπ/16)`.
const SCALE: [f64; 8] = [
    1.0,
    1.387_039_845_322_147_5,
    1.306_562_964_876_376_5,
    1.175_875_602_419_358_7,
    1.0,
    0.785_694_958_387_102_2,
    0.541_196_100_146_197,
    0.275_899_379_282_943_1,
];

/// Coefficients before this one in zigzag order are in the upper left 4 × 4.
const IN_QUARTER: usize = 10;

/// A quantisation table (in zigzag order) with the transform's scale factors, row by row.
pub(super) fn scaled_table(quant: &[u16; 64]) -> [f32; 64] {
    let mut table = [0.0; 64];
    for (i, step) in quant.iter().enumerate() {
        let place = natural(i);
        let scale = SCALE[place / 8] * SCALE[place % 8] / 8.0;
        table[place] = (f64::from(*step) * scale) as f32;
    }
    table
}

/// The least and the greatest sample in each row of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extremes {
    pub(super) least: [f32; 8],
    pub(super) greatest: [f32; 8],
}

/// A number so large that its sum with a small one has no fraction: adding it rounds to a whole number.
pub(super) const WHOLE: f32 = 12_582_912.0;

/// Eight samples from their frequencies.
#[inline(always)]
fn eight(f: [f32; 8]) -> [f32; 8] {
    const SQRT_2: f32 = std::f32::consts::SQRT_2;
    let (sum04, difference04) = (f[0] + f[4], f[0] - f[4]);
    let sum26 = f[2] + f[6];
    let rotated26 = (f[2] - f[6]) * SQRT_2 - sum26;
    let even = [sum04 + sum26, difference04 + rotated26, difference04 - rotated26, sum04 - sum26];
    odd_part(even, [f[5] + f[3], f[5] - f[3], f[1] + f[7], f[1] - f[7]])
}

/// Eight samples from their frequencies, of which the last four are zero.
#[inline(always)]
fn eight_of_four(f: [f32; 4]) -> [f32; 8] {
    const SQRT_2: f32 = std::f32::consts::SQRT_2;
    let rotated = f[2] * SQRT_2 - f[2];
    let even = [f[0] + f[2], f[0] + rotated, f[0] - rotated, f[0] - f[2]];
    odd_part(even, [f[3], -f[3], f[1], f[1]])
}

#[inline(always)]
fn odd_part(even: [f32; 4], [sum53, difference53, sum17, difference17]: [f32; 4]) -> [f32; 8] {
    const SQRT_2: f32 = std::f32::consts::SQRT_2;
    const TWICE_COS_1_8: f32 = 1.847_759_1;
    const COS_DIFFERENCE: f32 = 1.082_392_2;
    const COS_SUM: f32 = 2.613_126;
    let first = sum17 + sum53;
    let middle = (sum17 - sum53) * SQRT_2;
    let both = (difference53 + difference17) * TWICE_COS_1_8;
    let second = both - difference53 * COS_SUM - first;
    let third = middle - second;
    let fourth = both - difference17 * COS_DIFFERENCE - third;
    [
        even[0] + first,
        even[1] + second,
        even[2] + third,
        even[3] + fourth,
        even[3] - fourth,
        even[2] - third,
        even[1] - second,
        even[0] - first,
    ]
}

/// Rounds a sample as libjpeg stores it: to a whole number of 8 bits, here 0 at mid-gray.
#[inline(always)]
fn rounded(sample: f32) -> f32 {
    let sample = (sample + WHOLE) - WHOLE;
    less(greater(sample, -128.0), 127.0)
}

/// Writes the samples of a block, column by column, and returns the extremes of each row. Only the first `count`
/// coefficients in zigzag order may differ from zero.
#[inline(always)]
pub(super) fn samples(block: &Block, table: &[f32; 64], count: usize, out: &mut [[f32; 8]; 8]) -> Extremes {
    if count <= 1 {
        let sample = rounded(f32::from(block[0]) * table[0]);
        *out = [[sample; 8]; 8];
        return Extremes { least: [sample; 8], greatest: [sample; 8] };
    }
    if count <= IN_QUARTER {
        of_quarter(block, table, out);
    } else {
        of_all(block, table, out);
    }
    extremes(out)
}

#[inline(always)]
fn extremes(samples: &[[f32; 8]; 8]) -> Extremes {
    let (mut least, mut greatest) = (samples[0], samples[0]);
    for column in &samples[1..] {
        for i in 0..8 {
            least[i] = less(least[i], column[i]);
            greatest[i] = greater(greatest[i], column[i]);
        }
    }
    Extremes { least, greatest }
}

#[inline(always)]
pub(super) fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
pub(super) fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn of_all(block: &Block, table: &[f32; 64], out: &mut [[f32; 8]; 8]) {
    let mut half = [[0.0; 8]; 8];
    for column in 0..8 {
        let mut f = [0.0; 8];
        for (row, f) in f.iter_mut().enumerate() {
            *f = f32::from(block[row * 8 + column]) * table[row * 8 + column];
        }
        let samples = eight(f);
        for (row, sample) in samples.into_iter().enumerate() {
            half[row][column] = sample;
        }
    }
    let half = transposed(&half);
    for y in 0..8 {
        let mut f = [0.0; 8];
        for (column, f) in f.iter_mut().enumerate() {
            *f = half[column][y];
        }
        for (x, sample) in eight(f).into_iter().enumerate() {
            out[x][y] = rounded(sample);
        }
    }
}

#[inline(always)]
fn of_quarter(block: &Block, table: &[f32; 64], out: &mut [[f32; 8]; 8]) {
    let mut half = [[0.0; 4]; 8];
    for column in 0..4 {
        let mut f = [0.0; 4];
        for (row, f) in f.iter_mut().enumerate() {
            *f = f32::from(block[row * 8 + column]) * table[row * 8 + column];
        }
        for (row, sample) in eight_of_four(f).into_iter().enumerate() {
            half[row][column] = sample;
        }
    }
    for y in 0..8 {
        for (x, sample) in eight_of_four(half[y]).into_iter().enumerate() {
            out[x][y] = rounded(sample);
        }
    }
}

#[inline(always)]
pub(super) fn transposed(from: &[[f32; 8]; 8]) -> [[f32; 8]; 8] {
    let mut to = [[0.0; 8]; 8];
    for i in 0..8 {
        for j in 0..8 {
            to[j][i] = from[i][j];
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::PI;

    /// The definition (ITU-T T.81, A.3.3), by column.
    fn by_definition(block: &Block, quant: &[u16; 64]) -> [[f64; 8]; 8] {
        let mut steps = [0.0; 64];
        for (i, step) in quant.iter().enumerate() {
            steps[natural(i)] = f64::from(*step);
        }
        let c = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos();
        let mut out = [[0.0; 8]; 8];
        for (x, column) in out.iter_mut().enumerate() {
            for (y, sample) in column.iter_mut().enumerate() {
                let terms = (0..64).map(|i| {
                    let (v, u) = (i / 8, i % 8);
                    c(u) * c(v) * f64::from(block[i]) * steps[i] * cosine(x, u) * cosine(y, v)
                });
                *sample = (terms.sum::<f64>() / 4.0).clamp(-128.0, 127.0);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn samples_are_those_of_the_definition(
            values in prop::collection::vec(-60i16..60, 64),
            steps in prop::collection::vec(1u16..40, 64),
            count in 0usize..65,
        ) {
            let mut block: Block = [0; 256];
            for (i, value) in values.iter().take(count).enumerate() {
                block[natural(i)] = *value;
            }
            let quant: [u16; 64] = steps.try_into().unwrap();
            let mut got = [[0.0; 8]; 8];
            let extremes = samples(&block, &scaled_table(&quant), count, &mut got);
            for y in 0..8 {
                let row = got.map(|column| column[y]);
                prop_assert_eq!(extremes.least[y], row.into_iter().fold(127.0, f32::min));
                prop_assert_eq!(extremes.greatest[y], row.into_iter().fold(-128.0, f32::max));
            }
            let expected = by_definition(&block, &quant);
            for (got, expected) in got.as_flattened().iter().zip(expected.as_flattened()) {
                prop_assert!((f64::from(*got) - expected).abs() < 0.51, "{got} {expected}");
            }
        }
    }
}
