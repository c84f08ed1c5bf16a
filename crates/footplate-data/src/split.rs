//! The split of a data set into training and validation.

use crate::rng::{SampleKey, SampleRng};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Samples to train on.
    Train,
    /// Samples that are kept apart, to check the network on.
    Validation,
}

/// A number that no epoch has: the split is drawn independently of the order of any epoch.
const SPLIT_EPOCH: u32 = u32::MAX;

/// Splits samples by class: a random `fraction` of each class (rounded) becomes validation. Of a class of two or more
/// samples, at least one is for validation and at least one for training. Returns (training, validation), each in
/// ascending order.
pub(crate) fn stratified(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let (mut members, ends) = by_class(labels, classes);
    // One bit for each sample, and lists of exactly the right length: data sets may have tens of millions of samples.
    let mut chosen = vec![0u64; labels.len().div_ceil(64)];
    let (mut begin, mut total) = (0, 0);
    for (class, end) in ends.into_iter().enumerate() {
        let members = &mut members[begin..end];
        begin = end;
        let mut rng = SampleRng::new(SampleKey { seed, epoch: SPLIT_EPOCH, index: class as u64 }, 0);
        for i in (1..members.len()).rev() {
            members.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let wanted = (members.len() as f64 * fraction).round() as usize;
        let count = match (members.len(), fraction > 0.0) {
            (0 | 1, _) | (_, false) => 0,
            (n, true) => wanted.clamp(1, n - 1),
        };
        for index in &members[..count] {
            chosen[*index as usize / 64] |= 1 << (index % 64);
        }
        total += count;
    }
    drop(members);
    let mut train = Vec::with_capacity(labels.len() - total);
    let mut validation = Vec::with_capacity(total);
    for index in 0..labels.len() as u32 {
        let is_chosen = chosen[index as usize / 64] >> (index % 64) & 1 == 1;
        if is_chosen { validation.push(index) } else { train.push(index) }
    }
    (train, validation)
}

/// The samples' numbers sorted by class and then by number, and the end of each class in that list.
fn by_class(labels: &[u32], classes: usize) -> (Vec<u32>, Vec<usize>) {
    let mut next = vec![0; classes];
    for label in labels {
        next[*label as usize] += 1;
    }
    let mut sum = 0;
    for place in &mut next {
        sum += std::mem::replace(place, sum);
    }
    let mut members = vec![0; labels.len()];
    for (index, label) in labels.iter().enumerate() {
        members[next[*label as usize]] = index as u32;
        next[*label as usize] += 1;
    }
    (members, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_class_is_split_and_no_sample_is_lost(labels in prop::collection::vec(0u32..5, 0..200), fraction in 0.0f64..0.9, seed: u64) {
            let (train, validation) = stratified(&labels, 5, fraction, seed);
            let mut all: Vec<u32> = train.iter().chain(&validation).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len() as u32).collect::<Vec<_>>());
            for class in 0..5 {
                let count = |indices: &[u32]| indices.iter().filter(|i| labels[**i as usize] == class).count();
                let (t, v) = (count(&train), count(&validation));
                prop_assert!(t + v == 0 || t >= 1);
                let wanted = (t + v) as f64 * fraction;
                prop_assert!((v as f64 - wanted).abs() <= 1.0, "{} of {} for {}", v, t + v, wanted);
                if fraction > 0.0 && t + v >= 2 {
                    prop_assert!(v >= 1);
                }
            }
        }
    }

    /// Runs that were begun before go on with the same split.
    #[test]
    fn golden_split() {
        let labels: Vec<u32> = (0..20).map(|i| [0, 1, 1, 2][i % 4]).collect();
        assert_eq!(stratified(&labels, 3, 0.3, 7).1, [0, 3, 5, 7, 8, 10, 17]);
    }

    #[test]
    fn the_seed_decides() {
        let labels = vec![0; 100];
        assert_eq!(stratified(&labels, 1, 0.2, 1), stratified(&labels, 1, 0.2, 1));
        assert_ne!(stratified(&labels, 1, 0.2, 1), stratified(&labels, 1, 0.2, 2));
    }
}
