//! Draws from a seed that was given: the same seed, the same plan.

use footplate_core::random::{GAMMA, SplitMix64};

/// Draws of samples, by [`SplitMix64`].
#[derive(Clone, Debug)]
pub struct Rng(SplitMix64);

impl Rng {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed.wrapping_mul(GAMMA) ^ 0x5851_f42d_4c95_7f2d))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// `count` different numbers below `bound`, in random order; all of them if there are fewer.
    pub fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for i in 0..count {
            let other = i + self.below(bound - i);
            all.swap(i, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans that are drawn from a seed stay the same.
    #[test]
    fn golden_numbers() {
        let mut rng = Rng::new(3);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0x0be4_b7c7_abe9_cea7, 0xa709_d8bc_5912_391e]);
    }

    #[test]
    fn a_sample_holds_each_number_once_and_depends_on_the_seed() {
        let drawn = Rng::new(3).sample(100, 30);
        let mut sorted = drawn.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 30);
        assert_eq!(drawn, Rng::new(3).sample(100, 30));
        assert_ne!(drawn, Rng::new(4).sample(100, 30));
        assert_eq!(Rng::new(0).sample(4, 9).len(), 4);
    }
}
