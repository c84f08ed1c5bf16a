//! Randomness as a pure function of what it is for.

/// The place of a sample in a run: all of its randomness follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// Of the run.
    pub seed: u64,
    /// From 0.
    pub epoch: u32,
    /// The sample's number in the data set, from 0.
    pub index: u64,
}

/// A generator for one sample and one purpose: splitmix64 (Steele, Lea and Flood 2014, "Fast splittable
/// pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct SampleRng {
    state: u64,
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// splitmix64's finaliser: a bijection that mixes all bits.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl SampleRng {
    /// The generator for `key`; different `stream`s are for different purposes.
    pub fn new(key: SampleKey, stream: u64) -> Self {
        let parts = [u64::from(key.epoch), key.index, stream];
        let fold = |state: u64, part: u64| mix(state.wrapping_add(GAMMA) ^ mix(part.wrapping_add(GAMMA)));
        Self { state: parts.into_iter().fold(mix(key.seed), fold) }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number from 0 to `n - 1`, each as likely; 0 if `n` is 0 (Lemire 2018, "Fast random integer
    /// generation in an interval").
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

    /// A number of at least 0 and less than 1.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of at least 0 and less than 1.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A number between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit_f64()
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn numbers_below_n_are_evenly_spread() {
        let mut rng = SampleRng::new(SampleKey { seed: 1, epoch: 0, index: 0 }, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 5 * 93), "{counts:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }
}
