//! Random numbers from a seed: the same seed gives the same numbers on every machine.
//!
//! The generator is splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"). It is small
//! and fast, passes BigCrush, and any 64 bits are a good state, so that a state can be computed from what the numbers are
//! for: a seed, an epoch, the number of a sample.

/// splitmix64's increment: 2^64 divided by the golden ratio, made odd.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// splitmix64's finaliser: a bijection of 64 bits in which each bit of `value` changes about half of the result.
///
/// ```
/// assert_eq!(footplate_core::random::mix(footplate_core::random::GAMMA), 0xe220_a839_7b1d_cdaf);
/// ```
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The generator splitmix64.
///
/// ```
/// use footplate_core::random::SplitMix64;
///
/// let (mut first, mut second) = (SplitMix64::new(7), SplitMix64::new(7));
/// assert_eq!(first.next_u64(), second.next_u64());
/// assert!(first.below(6) < 6);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator with this state.
    pub const fn new(state: u64) -> Self {
        Self { state }
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number from 0 to `n - 1`, each equally likely; 0 if `n` is 0 (Lemire 2018, "Fast random integer generation in an
    /// interval"). It may draw more than once.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number from 0 to below 1, a multiple of 2^-53.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from 0 to below 1, a multiple of 2^-24.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first numbers of the authors' C program for the states 0 and 1234567.
    #[test]
    fn numbers_are_those_of_the_published_algorithm() {
        let first = |state, count| {
            let mut generator = SplitMix64::new(state);
            (0..count).map(|_| generator.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(first(0, 3), [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
        assert_eq!(
            first(1_234_567, 3),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn numbers_below_n_are_evenly_spread() {
        let mut generator = SplitMix64::new(1);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[generator.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 5 * 93), "{counts:?}");
        assert_eq!((generator.below(0), generator.below(1)), (0, 0));
    }

    proptest! {
        #[test]
        fn numbers_stay_in_their_range(state: u64, n in 1u64..) {
            let mut generator = SplitMix64::new(state);
            prop_assert!(generator.below(n) < n);
            prop_assert!((0.0..1.0).contains(&generator.unit_f64()));
            prop_assert!((0.0..1.0).contains(&generator.unit_f32()));
        }
    }
}
