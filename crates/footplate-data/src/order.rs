//! The order of an epoch's samples.

use footplate_core::random::mix;

use crate::rng::{SampleKey, SampleRng};

/// A number that no sample has: the order is drawn independently of any sample's pixels.
const ORDER_INDEX: u64 = u64::MAX;
/// Rounds of the Feistel network.
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
    /// The order of one epoch; the identity if `shuffle` is false.
    pub(crate) fn new(n: u64, seed: u64, epoch: u32, shuffle: bool) -> Self {
        if shuffle {
            return Self::keyed(n, seed, epoch, 0);
        }
        Self { n, half_bits: 0, keys: None }
    }

    /// One of several shuffles of the same epoch.
    fn keyed(n: u64, seed: u64, epoch: u32, stream: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        let mut rng = SampleRng::new(SampleKey { seed, epoch, index: ORDER_INDEX }, stream);
        let keys = Some(std::array::from_fn(|_| rng.next_u64()));
        Self { n, half_bits, keys }
    }

    /// The sample at `position` (below `n`).
    pub(crate) fn at(&self, position: u64) -> u64 {
        let Some(keys) = &self.keys else { return position };
        let mut value = position;
        // A walk along a cycle of the permutation of all numbers of that many bits: it reaches a number below n at the
        // latest when it is back at its start, and takes less than four steps on average.
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

/// In which order the samples of a source are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// In the order of the source.
    AsStored,
    /// Evenly shuffled: each read is at a random place.
    Anywhere,
    /// Shuffled so that reads stay in blocks of `block` samples that follow each other in the source.
    Blocks {
        /// Samples in a block, 1 or more.
        block: u64,
    },
}

impl Visit {
    /// The number of samples that are shuffled with each other; 0 if that is all of them or none.
    pub(crate) fn window(self) -> u64 {
        match self {
            Self::AsStored | Self::Anywhere => 0,
            Self::Blocks { block } => block * WINDOW_BLOCKS,
        }
    }
}

/// Blocks whose samples are shuffled with each other. 64 blocks of 1 MiB are 64 MiB: little enough for the page cache of
/// the smallest board, and enough that the samples of a minibatch come from all over the data.
const WINDOW_BLOCKS: u64 = 64;

/// The order of one epoch: a pure function of (number of samples, seed, epoch, how to visit), in constant
/// memory.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// In the order of the source, or evenly shuffled.
    Even(EpochOrder),
    /// Shuffled in windows of shuffled blocks.
    Windows(WindowOrder),
}

impl Order {
    pub(crate) fn new(n: u64, seed: u64, epoch: u32, visit: Visit) -> Self {
        match visit {
            Visit::AsStored => Self::Even(EpochOrder::new(n, seed, epoch, false)),
            Visit::Blocks { block } if n > block * WINDOW_BLOCKS => {
                Self::Windows(WindowOrder::new(n, seed, epoch, block))
            }
            Visit::Anywhere | Visit::Blocks { .. } => Self::Even(EpochOrder::new(n, seed, epoch, true)),
        }
    }

    /// The sample at `position` (below `n`).
    pub(crate) fn at(&self, position: u64) -> u64 {
        match self {
            Self::Even(order) => order.at(position),
            Self::Windows(order) => order.at(position),
        }
    }

    /// For readahead: what positions from `position` on need first, as at most two ranges `(first, count)` of the source,
    /// and the position from which on to ask again. In an even order a range is one sample.
    pub(crate) fn runs_at(&self, position: u64) -> ([(u64, u64); 2], u64) {
        match self {
            Self::Even(order) => ([(order.at(position), 1), (0, 0)], position + 1),
            Self::Windows(order) => order.runs_at(position),
        }
    }
}

/// The samples are rotated by a random number, so that the cuts between blocks lie elsewhere in each epoch, and cut into
/// blocks of equal size. The blocks are shuffled; then the samples of each [`WINDOW_BLOCKS`] blocks are shuffled with
/// each other.
#[derive(Clone, Debug)]
pub(crate) struct WindowOrder {
    n: u64,
    block: u64,
    seed: u64,
    epoch: u32,
    rotated_by: u64,
    blocks: EpochOrder,
}

impl WindowOrder {
    fn new(n: u64, seed: u64, epoch: u32, block: u64) -> Self {
        let mut rng = SampleRng::new(SampleKey { seed, epoch, index: ORDER_INDEX }, 1);
        let rotated_by = rng.below(n);
        Self { n, block, seed, epoch, rotated_by, blocks: EpochOrder::new(n / block, seed, epoch, true) }
    }

    fn at(&self, position: u64) -> u64 {
        let window = position / (self.block * WINDOW_BLOCKS);
        let first = window * self.block * WINDOW_BLOCKS;
        let size = (self.block * WINDOW_BLOCKS).min(self.n - first);
        let inner = EpochOrder::keyed(size, self.seed, self.epoch, 2 + window);
        self.stored(first + inner.at(position - first))
    }

    /// The sample at a place of the sequence in which blocks are shuffled, and samples within them are not.
    fn stored(&self, place: u64) -> u64 {
        let (number, offset) = (place / self.block, place % self.block);
        let full = self.n / self.block;
        let block = if number < full { self.blocks.at(number) } else { full };
        (block * self.block + offset + self.rotated_by) % self.n
    }

    fn runs_at(&self, position: u64) -> ([(u64, u64); 2], u64) {
        let number = position / self.block;
        let count = self.block.min(self.n - number * self.block);
        let first = self.stored(number * self.block);
        // A block that wraps around the end of the data is two ranges.
        let before_end = count.min(self.n - first);
        ([(first, before_end), (0, count - before_end)], (number + 1) * self.block)
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

    fn windows(n: u64, seed: u64, epoch: u32, block: u64) -> Vec<u64> {
        let order = Order::new(n, seed, epoch, Visit::Blocks { block });
        (0..n).map(|i| order.at(i)).collect()
    }

    proptest! {
        #[test]
        fn every_sample_comes_once_in_windows_too(n in 1u64..5000, block in 1u64..20, seed: u64, epoch in 0u32..100) {
            let mut seen = windows(n, seed, epoch, block);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }

        /// What readahead asks for before a window begins is just what the window then needs.
        #[test]
        fn runs_cover_the_windows(n in 1u64..5000, block in 1u64..20, seed: u64) {
            let order = Order::new(n, seed, 3, Visit::Blocks { block });
            let mut asked = vec![];
            let mut position = 0;
            while position < n {
                let (runs, next) = order.runs_at(position);
                prop_assert!(next > position);
                asked.extend(runs.iter().flat_map(|(first, count)| *first..*first + *count));
                position = next;
            }
            let window = if n > block * WINDOW_BLOCKS { block * WINDOW_BLOCKS } else { 1 };
            for first in (0..n).step_by(window as usize) {
                let range = first as usize..(first + window).min(n) as usize;
                let mut wanted = asked[range.clone()].to_vec();
                let mut needed: Vec<u64> = range.map(|i| order.at(i as u64)).collect();
                wanted.sort_unstable();
                needed.sort_unstable();
                prop_assert_eq!(wanted, needed);
            }
        }
    }

    /// The quality of the shuffle in windows, as docs/data.md tells it: how many of a minibatch's 32 samples
    /// share a block with another one (an even shuffle of 100,000 samples has next to none), and how far apart
    /// in the epoch two neighbours of the source end up in different epochs.
    #[test]
    fn a_minibatch_comes_from_all_over_the_data() {
        let (n, block) = (100_000u64, 10);
        let order = windows(n, 5, 0, block);
        let blocks_of = |batch: &[u64]| {
            let mut blocks: Vec<u64> = batch.iter().map(|sample| sample / block).collect();
            blocks.sort_unstable();
            blocks.dedup();
            blocks.len()
        };
        let distinct = order.chunks_exact(32).map(blocks_of).sum::<usize>() as f64 / (n / 32) as f64;
        // 32 draws from 64 blocks (each cut in two by the turn) reach 25 to 31 different ones.
        assert!((25.0..32.0).contains(&distinct), "{distinct}");
        let mean = order.iter().take(32 * 20).map(|s| *s as f64).sum::<f64>() / (32.0 * 20.0);
        // 64 blocks spread evenly: the mean of 64 even draws has a standard deviation of 3,600.
        assert!((mean - 50_000.0).abs() < 18_000.0, "{mean}");
        let other = windows(n, 5, 1, block);
        let same_window = |order: &[u64], a: u64, b: u64| {
            let place = |s: u64| order.iter().position(|x| *x == s).unwrap() / 640;
            place(a) == place(b)
        };
        let together = (0..40).filter(|i| same_window(&other, order[*i], order[*i + 40])).count();
        assert!(together < 10, "{together} of 40 pairs of one window met again in the next epoch");
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

    /// Runs that were begun before go on in the same order.
    #[test]
    fn golden_orders() {
        assert_eq!(all(8, 1, 0), [6, 1, 7, 4, 2, 5, 0, 3]);
        let order = windows(200, 1, 2, 3);
        assert_eq!(order[..8], [167, 109, 107, 48, 67, 44, 145, 152]);
    }

    #[test]
    fn few_samples_are_shuffled_evenly_whatever_the_source() {
        let visit = Visit::Blocks { block: 3 };
        assert!(matches!(Order::new(192, 1, 0, visit), Order::Even(_)));
        assert!(matches!(Order::new(193, 1, 0, visit), Order::Windows(_)));
        assert_eq!([Visit::AsStored, Visit::Anywhere, visit].map(Visit::window), [0, 0, 192]);
        let stored = Order::new(5, 1, 0, Visit::AsStored);
        assert_eq!((0..5).map(|i| stored.at(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(stored.runs_at(3), ([(3, 1), (0, 0)], 4));
    }
}
