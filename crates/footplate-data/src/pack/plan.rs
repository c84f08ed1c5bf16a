//! Which sample goes into which shard: a pure function of the data and the options.

use super::prepare::Preparer;
use super::{PackError, PackOptions};
use crate::order::EpochOrder;
use crate::source::SourceContents;

/// Five digits in a shard's name.
const SHARDS_MAX: u64 = 100_000;
/// Samples that are looked at to learn their typical size.
const SIZE_SAMPLES: u64 = 256;
/// Samples that are made to learn what a change does to their size.
const CHANGED_SAMPLES: u64 = 24;
/// What a sample takes in a tar besides its image: two headers, the class's block, and half a block on average.
const OVERHEAD_BYTES: u64 = 3 * 512 + 256;
/// Larger shards are refused.
const SHARD_BYTES_MAX: u64 = 1 << 40;

/// Everything that is to be made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shards: Vec<ShardPlan>,
    /// Tells this data with these options from others.
    pub(super) origin: u64,
    pub(super) samples: u64,
    seed: u64,
}

/// One shard: places `from` to `to` in the order of its split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardPlan {
    pub(super) name: String,
    /// The first sample of its split, and how many the split has.
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

    /// The samples of a shard, in the order in which they stand in it.
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

/// Bytes that a sample takes in a tar, from some of them spread over the data.
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
