//! Samples that were left out: each is told once, and too many end the run.

use std::collections::BTreeSet;

use footplate_data::BadSample;

/// Samples that were left out so far.
pub(super) struct BadSamples {
    /// Their indices, those of earlier processes included.
    seen: BTreeSet<u64>,
    /// Those of this process.
    named: Vec<BadSample>,
}

impl BadSamples {
    /// `seen`: indices that an earlier process has noted.
    pub(super) fn new(seen: &[u64]) -> Self {
        Self { seen: seen.iter().copied().collect(), named: Vec::new() }
    }

    /// Notes a sample; `false` if it was noted before.
    pub(super) fn note(&mut self, sample: BadSample) -> bool {
        let new = self.seen.insert(sample.index);
        if new {
            self.named.push(sample);
        }
        new
    }

    /// Whether they are more than the share `limit` of `total` samples.
    pub(super) fn exceed(&self, limit: f64, total: u64) -> bool {
        self.seen.len() as f64 > limit * total as f64
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Their indices, in ascending order.
    pub(super) fn indices(&self) -> Vec<u64> {
        self.seen.iter().copied().collect()
    }

    /// Takes those that this process has noted.
    pub(super) fn take_named(&mut self) -> Vec<BadSample> {
        std::mem::take(&mut self.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(index: u64) -> BadSample {
        BadSample { index, name: format!("{index}.jpg"), reason: "truncated".to_owned() }
    }

    #[test]
    fn a_sample_counts_once_over_all_processes_and_is_named_by_the_one_that_met_it() {
        let mut bad = BadSamples::new(&[7, 3]);
        assert!(!bad.note(sample(3)) && bad.note(sample(5)) && !bad.note(sample(5)));
        assert_eq!((bad.len(), bad.indices()), (3, vec![3, 5, 7]));
        let named = bad.take_named();
        assert_eq!(named.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["5.jpg"]);
        assert!(bad.take_named().is_empty());
        assert_eq!(bad.len(), 3, "what was told still counts");
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let bad = BadSamples::new(&[1, 2]);
        assert!(!bad.exceed(0.02, 100) && bad.exceed(0.02, 99));
        assert!(BadSamples::new(&[1]).exceed(0.0, 100) && !BadSamples::new(&[]).exceed(0.0, 100));
    }
}
