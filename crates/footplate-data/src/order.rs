//! The order of an epoch's samples.

use crate::rng::{SampleKey, SampleRng, mix};

/// Index that no sample has: the order is drawn apart from any sample's pixels.
const ORDER_INDEX: u64 = u64::MAX;
const ROUNDS: usize = 6;

/// A permutation of 0 to `n - 1` as a pure function of (seed, epoch), in constant memory: a Feistel network
/// over the next even number of bits, walked until it gives a number below `n` (Black and Rogaway 2002,
/// "Ciphers with arbitrary finite domains").
#[derive(Clone, Debug)]
pub(crate) struct EpochOrder {
    n: u64,
    half_bits: u32,
    keys: Option<[u64; ROUNDS]>,
}

impl EpochOrder {
    /// The order of one epoch; as it stands where `shuffle` is not set.
    pub(crate) fn new(n: u64, seed: u64, epoch: u32, shuffle: bool) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        let mut rng = SampleRng::new(SampleKey { seed, epoch, index: ORDER_INDEX }, 0);
        let keys = shuffle.then(|| std::array::from_fn(|_| rng.next_u64()));
        Self { n, half_bits, keys }
    }

    /// The sample at `position` (below `n`).
    pub(crate) fn at(&self, position: u64) -> u64 {
        let Some(keys) = &self.keys else { return position };
        let mut value = position;
        // A walk along a cycle of the permutation of all numbers of that many bits; it comes back to a number
        // below n at the latest at its start, and takes less than four steps on average.
        loop {
            value = self.encrypt(value, keys);
            if value < self.n {
                return value;
            }
        }
    }

    fn encrypt(&self, value: u64, keys: &[u64; ROUNDS]) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(n: u64, seed: u64, epoch: u32) -> Vec<u64> {
        let order = EpochOrder::new(n, seed, epoch, true);
        (0..n).map(|i| order.at(i)).collect()
    }

    proptest! {
        #[test]
        fn every_sample_comes_once(n in 1u64..3000, seed: u64, epoch in 0u32..100) {
            let mut seen = all(n, seed, epoch);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seed_and_epoch_give_other_orders() {
        assert_eq!(all(100, 1, 0), all(100, 1, 0));
        assert_ne!(all(100, 1, 0), all(100, 1, 1));
        assert_ne!(all(100, 1, 0), all(100, 2, 0));
        let plain = EpochOrder::new(5, 1, 0, false);
        assert_eq!((0..5).map(|i| plain.at(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    /// Where a sample stands is evenly spread: the mean position of sample 0 over many epochs.
    #[test]
    fn orders_are_not_biased() {
        let n = 1000u64;
        let mean = (0..400).map(|epoch| EpochOrder::new(n, 3, epoch, true).at(0) as f64).sum::<f64>() / 400.0;
        // The mean of 400 even draws has a standard deviation of 14.
        assert!((mean - 499.5).abs() < 72.0, "{mean}");
        let neighbours = all(n, 3, 0).windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        assert!(neighbours < 12, "{neighbours} neighbours stayed together");
    }
}
