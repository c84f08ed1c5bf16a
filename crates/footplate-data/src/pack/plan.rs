//! Decides which sample goes into which shard: a pure function of the data and the options.

use super::prepare::Preparer;
use super::{PackError, PackOptions};
use crate::order::EpochOrder;
use crate::source::SourceContents;

/// The most shards of a split: names have five digits.
const SHARDS_MAX: u64 = 100_000;
/// Samples whose sizes are looked up to learn the typical size.
const SIZE_SAMPLES: u64 = 256;
/// Samples that are changed to learn the typical size of changed ones.
const CHANGED_SAMPLES: u64 = 24;
/// Bytes that a sample takes in a tar besides its image: two headers, the block of its class, and half a block of padding on
/// average.
const OVERHEAD_BYTES: u64 = 3 * 512 + 256;
/// The greatest size of a shard that is accepted.
const SHARD_BYTES_MAX: u64 = 1 << 40;

/// All shards that are to be made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shards: Vec<ShardPlan>,
    /// A checksum of the source and the options.
    pub(super) origin: u64,
    pub(super) samples: u64,
    seed: u64,
}

/// One shard: the positions `from` to `to` in the order of its split. Its `Debug` output is part of [`Plan::origin`], so that
/// fields must keep their names and order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardPlan {
    pub(super) name: String,
    /// Number of the first sample of its split, and the number of samples in the split.
    split: (u64, u64),
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Plan {
    pub(super) fn new(contents: &SourceContents, options: &PackOptions) -> Result<Self, PackError> {
        let target = options.shard_bytes;
        if target == 0 || target > SHARD_BYTES_MAX {
            return Err(PackError::Option("a shard has 1 byte to 1 TiB".to_owned()));
        }
        let samples = contents.labels.len() as u64;
        let each = typical_bytes(contents, options);
        let splits = match contents.validation_from {
            Some(from) => vec![("train", (0, from as u64)), ("val", (from as u64, samples - from as u64))],
            None => vec![("data", (0, samples))],
        };
        let mut shards = Vec::new();
        for (name, split) in splits {
            let count = (split.1 * each).div_ceil(target).clamp(1, split.1.max(1));
            if count > SHARDS_MAX {
                let message =
                    format!("{count} shards are more than {SHARDS_MAX}: choose a larger shard size");
                return Err(PackError::Option(message));
            }
            shards.extend((0..count).map(|number| ShardPlan {
                name: format!("{name}-{number:05}"),
                split,
                from: number * split.1 / count,
                to: (number + 1) * split.1 / count,
            }));
        }
        let origin = origin(contents, options, &shards);
        Ok(Self { shards, origin, samples, seed: options.seed })
    }

    /// The numbers of the samples of a shard, in the shard's order.
    pub(super) fn samples(&self, shard: &ShardPlan) -> impl Iterator<Item = usize> {
        let (first, count) = shard.split;
        let order = EpochOrder::new(count, self.seed, 0, true);
        (shard.from..shard.to).map(move |place| (first + order.at(place)) as usize)
    }
}

impl ShardPlan {
    pub(super) fn len(&self) -> u64 {
        self.to - self.from
    }
}

/// Bytes that a sample takes in a tar: the mean of some samples that are spread over the data.
fn typical_bytes(contents: &SourceContents, options: &PackOptions) -> u64 {
    let samples = contents.labels.len() as u64;
    let as_it_is = options.change.is_none() && contents.store.size(0).is_some();
    let looked_at = samples.min(if as_it_is { SIZE_SAMPLES } else { CHANGED_SAMPLES });
    let mut preparer = Preparer::new(options.change);
    let mut sizes = Vec::new();
    for number in 0..looked_at {
        let index = (number * samples / looked_at) as usize;
        let size = match as_it_is {
            true => contents.store.size(index),
            false => preparer.prepare(&contents.store, index).ok().map(|made| made.bytes.len() as u64),
        };
        sizes.extend(size);
    }
    sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1) + OVERHEAD_BYTES
}

/// A checksum of the samples, classes and options. It is stored in each index, so that it must not change.
fn origin(contents: &SourceContents, options: &PackOptions, shards: &[ShardPlan]) -> u64 {
    let mut crcs = [crc32fast::Hasher::new(), crc32fast::Hasher::new()];
    for (index, label) in contents.labels.iter().enumerate() {
        crcs[0].update(&label.to_le_bytes());
        crcs[0].update(&contents.store.identity(index).to_le_bytes());
    }
    for class in &contents.classes {
        crcs[1].update(class.as_bytes());
        crcs[1].update(b"\0");
    }
    crcs[1].update(format!("{} {:?} {}", options.seed, options.change, shards.len()).as_bytes());
    if let Some(last) = shards.last() {
        crcs[1].update(format!("{last:?}").as_bytes());
    }
    let [samples, rest] = crcs.map(crc32fast::Hasher::finalize);
    u64::from(samples) << 32 | u64::from(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pack::ImageChange;
    use crate::source::Form;
    use crate::source::Store;
    use crate::source::memory::{MemorySample, MemoryStore};

    fn contents(samples: usize, bytes: usize, validation_from: Option<usize>) -> SourceContents {
        let sample =
            |n: usize| MemorySample { name: n.to_string(), form: Form::File, bytes: vec![n as u8; bytes] };
        SourceContents {
            store: Store::Memory(MemoryStore { samples: (0..samples).map(sample).collect() }),
            labels: (0..samples as u32).map(|n| n % 3).collect(),
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            validation_from,
            warnings: Vec::new(),
        }
    }

    fn options(shard_bytes: u64) -> PackOptions {
        PackOptions {
            format: None,
            seed: 4,
            shard_bytes,
            change: ImageChange::default(),
            max_bad_fraction: 0.0,
            threads: 1,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Every sample is in one shard, in that of its split, and no shard is much larger than it should be.
        #[test]
        fn every_sample_is_in_one_shard_of_its_split(
            samples in 1usize..200, validation in 0usize..200, bytes in 1usize..3000, shard_kib in 1u64..100,
        ) {
            let validation_from = (validation < samples).then_some(validation);
            let plan = Plan::new(&contents(samples, bytes, validation_from), &options(shard_kib << 10)).unwrap();
            let mut seen = vec![0; samples];
            for shard in &plan.shards {
                let numbers: Vec<usize> = plan.samples(shard).collect();
                prop_assert_eq!(numbers.len() as u64, shard.len());
                let each = bytes as u64 + OVERHEAD_BYTES;
                prop_assert!(shard.len() <= (shard_kib << 10) / each + 1, "{} of {} bytes", shard.len(), each);
                for number in numbers {
                    seen[number] += 1;
                    let is_validation = validation_from.is_some_and(|from| number >= from);
                    let name = if validation_from.is_none() { "data-" } else if is_validation { "val-" } else { "train-" };
                    prop_assert!(shard.name.starts_with(name));
                }
            }
            prop_assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        }
    }

    #[test]
    fn the_origin_tells_data_and_options_apart() {
        let origin =
            |contents: &SourceContents, options: &PackOptions| Plan::new(contents, options).unwrap().origin;
        let (whole, plain) = (contents(9, 50, None), options(4000));
        let same = origin(&whole, &plain);
        assert_eq!(origin(&contents(9, 50, None), &options(4000)), same);
        let change = ImageChange { resize: Some(8), quality: None };
        for (other, options) in [
            (contents(10, 50, None), options(4000)),
            (contents(9, 51, None), options(4000)),
            (contents(9, 50, Some(6)), options(4000)),
            (SourceContents { labels: vec![0; 9], ..contents(9, 50, None) }, options(4000)),
            (SourceContents { classes: vec!["x".to_owned(); 3], ..contents(9, 50, None) }, options(4000)),
            (contents(9, 50, None), PackOptions { seed: 5, ..options(4000) }),
            (contents(9, 50, None), options(2000)),
            (contents(9, 50, None), PackOptions { change, ..options(4000) }),
        ] {
            assert_ne!(origin(&other, &options), same);
        }
    }

    /// Shards that were made before are continued: their origin must be computed as it was.
    #[test]
    fn golden_origin() {
        let plan = Plan::new(&contents(9, 50, Some(6)), &options(4000)).unwrap();
        let names: Vec<&str> = plan.shards.iter().map(|shard| shard.name.as_str()).collect();
        assert_eq!(names, ["train-00000", "train-00001", "train-00002", "val-00000", "val-00001"]);
        assert_eq!(plan.origin, 0xe55d_eb6c_5c2c_48fb);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for (shard_bytes, message) in
            [(0, "a shard has 1 byte to 1 TiB"), ((1 << 40) + 1, "a shard has 1 byte to 1 TiB")]
        {
            let error = Plan::new(&contents(9, 50, None), &options(shard_bytes)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        // More shards than names have digits for.
        let error = Plan::new(&contents(120_000, 0, None), &options(1)).unwrap_err().to_string();
        assert_eq!(error, "120000 shards are more than 100000: choose a larger shard size");
    }
}
