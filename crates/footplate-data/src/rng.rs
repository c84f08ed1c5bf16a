//! Random numbers as a pure function of the sample that they are for.

use footplate_core::random::{GAMMA, SplitMix64, mix};

/// Identifies a sample in a run; all of its randomness follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The sample's number in the data set, from 0.
    pub index: u64,
}

/// A generator for one sample and one purpose: [splitmix64](SplitMix64), whose first state follows from the key.
#[derive(Clone, Debug)]
pub struct SampleRng(SplitMix64);

impl SampleRng {
    /// The generator for `key`; different `stream`s are for different purposes.
    pub fn new(key: SampleKey, stream: u64) -> Self {
        let parts = [u64::from(key.epoch), key.index, stream];
        let fold = |state: u64, part: u64| mix(state.wrapping_add(GAMMA) ^ mix(part.wrapping_add(GAMMA)));
        Self(SplitMix64::new(parts.into_iter().fold(mix(key.seed), fold)))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `n - 1`, each equally likely; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    /// A number from 0 to below 1.
    pub fn unit_f64(&mut self) -> f64 {
        self.0.unit_f64()
    }

    /// A number from 0 to below 1.
    pub fn unit_f32(&mut self) -> f32 {
        self.0.unit_f32()
    }

    /// A number from `low` to below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(seed: u64, epoch: u32, index: u64, stream: u64) -> u64 {
        SampleRng::new(SampleKey { seed, epoch, index }, stream).next_u64()
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let all = [
            first(1, 2, 3, 4),
            first(2, 2, 3, 4),
            first(1, 3, 3, 4),
            first(1, 2, 4, 4),
            first(1, 2, 3, 5),
            first(1, 3, 2, 4),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    /// Runs that were begun before go on with the same order and pixels.
    #[test]
    fn golden_numbers() {
        let mut rng = SampleRng::new(SampleKey { seed: 1, epoch: 2, index: 3 }, 4);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0xece5_58f9_595e_92bb, 0x6120_39a3_3def_accc]);
        assert_eq!((rng.below(1000), rng.between(2.0, 4.0)), (345, 3.827919609838321));
    }

    proptest! {
        #[test]
        fn a_number_between_two_lies_between_them(seed: u64, low in -1e6f64..1e6, width in 0f64..1e6) {
            let number = SampleRng::new(SampleKey { seed, epoch: 0, index: 0 }, 0).between(low, low + width);
            prop_assert!((low..=low + width).contains(&number));
        }
    }
}
