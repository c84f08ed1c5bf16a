//! The automatic split into training and validation.

use crate::rng::{SampleKey, SampleRng};

/// Epoch number that no run has: the split is drawn apart from the order of any epoch.
const SPLIT_EPOCH: u32 = u32::MAX;

/// Splits samples by class, so that each class gives `fraction` of its samples (rounded) to validation. A
/// class of two or more gives at least one and keeps at least one. Returns (training, validation), each in
/// ascending order.
pub(crate) fn stratified(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); classes];
    for (index, label) in labels.iter().enumerate() {
        members[*label as usize].push(index as u32);
    }
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (class, mut members) in members.into_iter().enumerate() {
        let mut rng = SampleRng::new(SampleKey { seed, epoch: SPLIT_EPOCH, index: class as u64 }, 0);
        for i in (1..members.len()).rev() {
            members.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let wanted = (members.len() as f64 * fraction).round() as usize;
        let count = match (members.len(), fraction > 0.0) {
            (0 | 1, _) | (_, false) => 0,
            (n, true) => wanted.clamp(1, n - 1),
        };
        validation.extend_from_slice(&members[..count]);
        train.extend_from_slice(&members[count..]);
    }
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
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

    #[test]
    fn the_seed_decides() {
        let labels = vec![0; 100];
        assert_eq!(stratified(&labels, 1, 0.2, 1), stratified(&labels, 1, 0.2, 1));
        assert_ne!(stratified(&labels, 1, 0.2, 1), stratified(&labels, 1, 0.2, 2));
    }
}
