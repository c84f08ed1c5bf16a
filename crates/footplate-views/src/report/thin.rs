//! A series of any length in bounded memory: neighbours are merged as it grows.

/// Most buckets of a series. A chart is seldom wider than 800 pixels.
const BUCKETS_MAX: usize = 400;

/// Values that fell into one stretch of the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket<const K: usize> {
    count: u64,
    sum_x: f64,
    sum: [f64; K],
    min: [f64; K],
    max: [f64; K],
    /// A measurement failed here.
    gap: bool,
}

impl<const K: usize> Bucket<K> {
    const EMPTY: Self = Self {
        count: 0,
        sum_x: 0.0,
        sum: [0.0; K],
        min: [f64::INFINITY; K],
        max: [f64::NEG_INFINITY; K],
        gap: false,
    };

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_x += other.sum_x;
        for k in 0..K {
            self.sum[k] += other.sum[k];
            self.min[k] = self.min[k].min(other.min[k]);
            self.max[k] = self.max[k].max(other.max[k]);
        }
        self.gap |= other.gap;
    }
}

/// A point of a thinned series: the mean and the extremes of the values that were merged into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point<const K: usize> {
    /// Mean of the values' positions on the axis.
    pub(crate) x: f64,
    pub(crate) mean: [f64; K],
    pub(crate) min: [f64; K],
    pub(crate) max: [f64; K],
    /// Number of values that were merged; at least 1.
    pub(crate) count: u64,
    /// Whether a measurement failed since the point before, so that no line joins the two.
    pub(crate) after_gap: bool,
}

/// `K` quantities that are measured together, over an axis that begins at 0.
#[derive(Clone, Debug)]
pub(crate) struct Thin<const K: usize> {
    width: f64,
    buckets: Vec<Bucket<K>>,
}

impl<const K: usize> Thin<K> {
    /// A series that keeps points apart that are at least `width` apart.
    pub(crate) fn new(width: f64) -> Self {
        Self { width, buckets: Vec::new() }
    }

    /// Adds values. Values that are not finite are left out; a warning reports a loss that diverged.
    pub(crate) fn push(&mut self, x: f64, values: [f64; K]) {
        if !x.is_finite() || values.iter().any(|v| !v.is_finite()) {
            return;
        }
        let bucket = self.bucket(x);
        bucket.merge(&Bucket { count: 1, sum_x: x, sum: values, min: values, max: values, gap: false });
    }

    /// Notes that a measurement failed here.
    pub(crate) fn gap(&mut self, x: f64) {
        if x.is_finite() {
            self.bucket(x).gap = true;
        }
    }

    /// Forgets everything from `x` on: a resumed run repeats these steps.
    pub(crate) fn forget_from(&mut self, x: f64) {
        let keep = (x.max(0.0) / self.width).ceil() as usize;
        self.buckets.truncate(keep);
    }

    fn bucket(&mut self, x: f64) -> &mut Bucket<K> {
        let x = x.max(0.0);
        while x / self.width >= BUCKETS_MAX as f64 {
            self.width *= 2.0;
            let halves = self.buckets.chunks(2).map(|pair| {
                let mut merged = pair[0];
                pair.get(1).inspect(|second| merged.merge(second));
                merged
            });
            self.buckets = halves.collect();
        }
        let index = (x / self.width) as usize;
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, Bucket::EMPTY);
        }
        &mut self.buckets[index]
    }

    /// The points to draw, in order of `x`.
    pub(crate) fn points(&self) -> Vec<Point<K>> {
        let mut after_gap = false;
        let mut points = Vec::new();
        for bucket in &self.buckets {
            if bucket.count == 0 {
                after_gap |= bucket.gap;
                continue;
            }
            let n = bucket.count as f64;
            points.push(Point {
                x: bucket.sum_x / n,
                mean: bucket.sum.map(|sum| sum / n),
                min: bucket.min,
                max: bucket.max,
                count: bucket.count,
                after_gap: std::mem::take(&mut after_gap),
            });
        }
        points
    }

    /// Smallest, mean and largest value of everything that was added; `None`: nothing was.
    pub(crate) fn range(&self, k: usize) -> Option<(f64, f64, f64)> {
        let mut all = Bucket::EMPTY;
        self.buckets.iter().for_each(|bucket| all.merge(bucket));
        (all.count > 0).then(|| (all.min[k], all.sum[k] / all.count as f64, all.max[k]))
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_series_stays_bounded_and_keeps_count_mean_and_extremes(
            values in proptest::collection::vec((0.0f64..1e5, -50.0f64..50.0), 1..3000),
        ) {
            let mut thin = Thin::<1>::new(0.01);
            for (x, y) in &values {
                thin.push(*x, [*y]);
            }
            let points = thin.points();
            prop_assert!(points.len() <= BUCKETS_MAX);
            prop_assert_eq!(points.iter().map(|p| p.count).sum::<u64>(), values.len() as u64);
            let (min, mean, max) = thin.range(0).unwrap();
            let least = values.iter().map(|v| v.1).fold(f64::INFINITY, f64::min);
            let most = values.iter().map(|v| v.1).fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!((min, max), (least, most));
            let expected = values.iter().map(|v| v.1).sum::<f64>() / values.len() as f64;
            prop_assert!((mean - expected).abs() < 1e-9);
            prop_assert!(points.is_sorted_by(|a, b| a.x <= b.x));
        }
    }

    proptest! {
        /// How often a series had to be thinned must not change what is known of a point in time.
        #[test]
        fn a_resume_forgets_what_it_repeats_and_nothing_before(
            count in 1u32..2000, from in 0u32..2000,
        ) {
            let mut thin = Thin::<1>::new(1.0);
            (0..count).for_each(|step| thin.push(f64::from(step), [f64::from(step)]));
            let width = thin.width;
            thin.forget_from(f64::from(from));
            let kept = thin.points().iter().map(|point| point.count).sum::<u64>();
            let before = u64::from(from.min(count));
            // The bucket in which the resume begins is kept whole.
            prop_assert!(kept >= before && kept < before + width as u64, "{kept} of {before}, {width}");
        }

        #[test]
        fn a_gap_that_is_wider_than_a_bucket_survives_all_merging(at in 1u32..1999, count in 2000u32..4000) {
            let mut thin = Thin::<1>::new(1.0);
            (0..at).for_each(|step| thin.push(f64::from(step), [1.0]));
            (at..at + 50).for_each(|step| thin.gap(f64::from(step)));
            (at + 50..count).for_each(|step| thin.push(f64::from(step), [1.0]));
            prop_assert_eq!(thin.points().iter().filter(|point| point.after_gap).count(), 1);
        }
    }

    #[test]
    fn what_is_not_finite_is_no_value_and_no_gap() {
        let mut thin = Thin::<2>::new(1.0);
        for (x, values) in [(f64::NAN, [1.0, 1.0]), (0.0, [1.0, f64::NAN]), (f64::INFINITY, [1.0, 1.0])] {
            thin.push(x, values);
        }
        thin.gap(f64::NAN);
        assert!(thin.is_empty() && thin.range(0).is_none());
    }

    #[test]
    fn a_short_series_is_kept_as_it_is() {
        let mut thin = Thin::<2>::new(1.0);
        for step in 0..10 {
            thin.push(f64::from(step), [f64::from(step), 1.0]);
        }
        let xs: Vec<f64> = thin.points().iter().map(|p| p.x).collect();
        assert_eq!(xs, (0..10).map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_gap_breaks_the_line_and_nothing_else_does() {
        let mut thin = Thin::<1>::new(1.0);
        thin.push(0.0, [1.0]);
        thin.push(5.0, [1.0]);
        thin.gap(6.0);
        thin.push(7.0, [1.0]);
        thin.push(8.0, [f64::NAN]);
        let breaks: Vec<bool> = thin.points().iter().map(|p| p.after_gap).collect();
        assert_eq!(breaks, [false, false, true]);
    }

    #[test]
    fn steps_that_are_done_again_are_forgotten() {
        let mut thin = Thin::<1>::new(1.0);
        (0..10).for_each(|step| thin.push(f64::from(step), [1.0]));
        thin.forget_from(4.0);
        assert_eq!(thin.points().len(), 4);
    }
}
