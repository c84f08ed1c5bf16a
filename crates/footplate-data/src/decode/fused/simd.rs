//! Selects between two builds of the decoder's kernels. They are written in plain Rust and compiled a second time for
//! processors with AVX2; that build is used if the processor supports it. Its calls are `unsafe`.
//!
//! Both builds give the same bits: they have the same source, and Rust neither fuses a multiplication with an addition nor
//! reorders floating-point operations. On aarch64, NEON belongs to the baseline.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls of functions with a spec feature, behind a check")
)]

use std::ops::Range;

use super::clipping;
use super::entropy::Damaged;
use super::header::Color;
use super::resample::{self, Axis};
use super::row::{self, McuRow, Strips};
use super::write;

/// The instruction set that kernels are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Simd {
    /// True only if the processor was found to support it: `unsafe` code relies on that.
    avx2: bool,
}

impl Simd {
    /// The baseline of the spec.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    pub(crate) const BASELINE: Self = Self { avx2: false };

    /// The best instruction set that this processor supports.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2")
                && std::arch::is_x86_feature_detected!("lzcnt");
            Self { avx2 }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::BASELINE
    }
}

impl Default for Simd {
    fn default() -> Self {
        Self::detect()
    }
}

macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:path;)*) => {
        impl Simd {
            $($(#[$doc])*
            pub(super) fn $name(self, $($argument: $type),*) $(-> $result)? {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
                    fn fast($($argument: $type),*) $(-> $result)? {
                        $body($($argument),*)
                    }
                    if self.avx2 {
                        // SAFETY: `avx2` says that the processor has these features.
                        return unsafe { fast($($argument),*) };
                    }
                }
                $body($($argument),*)
            })*
        }
    };
}

kernels! {
    /// Calls [`row::decode`] in the build for this instruction set.
    fn decode_row(row: McuRow<'_, '_>) -> Result<(), Damaged> = row::decode;
    /// Calls [`resample::across`] in the build for this instruction set.
    fn across(strip: &[[f32; 8]], axis: &Axis, groups: Range<usize>, out: &mut [f32]) = resample::across;
    /// Calls [`resample::down`] in the build for this instruction set.
    fn down(ring: &resample::Ring, axis: &Axis, y: usize, out: &mut [f32]) = resample::down;
    /// Calls [`write::levels`] in the build for this instruction set.
    fn levels(rows: &mut [Vec<f32>; 3], color: Color, overflow: Option<&[Vec<f32>; 3]>) = write::levels;
    /// Calls [`clipping::mark`] in the build for this instruction set.
    fn mark_overflow(strips: &[Strips; 3], y: usize, geometry: &clipping::ChromaGeometry, marks: &mut Vec<bool>) -> bool = clipping::mark;
    /// Calls [`clipping::block`] in the build for this instruction set.
    fn overflow_of_block(block: &clipping::BlockContext<'_>, out: &mut [[[f32; 8]; 8]; 3]) -> f32 = clipping::block;
    /// Calls [`write::scaled`] in the build for this instruction set.
    fn scaled(from: &[f32], scale: f32, shift: f32, to: &mut [f32]) = write::scaled;
    /// Calls [`write::interleaved`] in the build for this instruction set.
    fn interleaved(rows: [&[f32]; 3], to: &mut [u8]) = write::interleaved;
}
