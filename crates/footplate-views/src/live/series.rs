//! A curve of bounded size: a long run costs no more memory than a short one, and no peak is lost.

/// Neighbouring points of a curve, joined into one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Smallest x of the points that were joined.
    pub from: f64,
    /// Largest x of the points that were joined.
    pub to: f64,
    /// Smallest y of the points that were joined.
    pub min: f64,
    /// Largest y of the points that were joined.
    pub max: f64,
    /// Sum of the points' y.
    pub sum: f64,
    /// Number of points that were joined; at least 1.
    pub count: u64,
}

impl Bucket {
    fn of(x: f64, y: f64) -> Self {
        Self { from: x, to: x, min: y, max: y, sum: y, count: 1 }
    }

    fn join(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    /// Mean y of the points.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The x half-way between the first and the last point.
    pub fn middle(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }
}

/// Points in the order of their x, in at most a given number of buckets. When they are full, neighbours are joined
/// and from then on a bucket takes twice as many points.
#[derive(Clone, Debug)]
pub struct Series {
    buckets: Vec<Bucket>,
    capacity: usize,
    per_bucket: u64,
}

impl Series {
    /// A curve of at most `capacity` buckets, an even number of two or more.
    pub fn new(capacity: usize) -> Self {
        Self { buckets: Vec::new(), capacity: capacity.max(2).next_multiple_of(2), per_bucket: 1 }
    }

    /// Adds a point. Points that are not finite are left out.
    pub fn push(&mut self, x: f64, y: f64) {
        if !x.is_finite() || !y.is_finite() {
            return;
        }
        let point = Bucket::of(x, y);
        if let Some(last) = self.buckets.last_mut()
            && last.count < self.per_bucket
        {
            last.join(&point);
            return;
        }
        if self.buckets.len() == self.capacity {
            self.halve();
            self.push(x, y);
            return;
        }
        self.buckets.push(point);
    }

    fn halve(&mut self) {
        let joined = self.buckets.chunks(2).map(|pair| {
            let mut bucket = pair[0];
            if let Some(second) = pair.get(1) {
                bucket.join(second);
            }
            bucket
        });
        self.buckets = joined.collect();
        self.per_bucket *= 2;
    }

    /// Forgets all points from `x` on: a resumed run repeats some steps.
    pub fn cut_from(&mut self, x: f64) {
        self.buckets.retain(|bucket| bucket.from < x);
    }

    /// The joined points, in order of x.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_value_is_lost_and_the_size_is_bounded(values in prop::collection::vec(-1e3f64..1e3, 1..3000)) {
            let mut series = Series::new(64);
            for (x, y) in values.iter().enumerate() {
                series.push(x as f64, *y);
            }
            prop_assert!(series.buckets().len() <= 64);
            let count: u64 = series.buckets().iter().map(|b| b.count).sum();
            prop_assert_eq!(count, values.len() as u64);
            let max = series.buckets().iter().map(|b| b.max).fold(f64::MIN, f64::max);
            prop_assert_eq!(max, values.iter().copied().fold(f64::MIN, f64::max));
            let mean = series.buckets().iter().map(|b| b.sum).sum::<f64>() / count as f64;
            prop_assert!((mean - values.iter().sum::<f64>() / count as f64).abs() < 1e-6);
            prop_assert!(series.buckets().is_sorted_by(|a, b| a.to < b.from));
        }
    }

    #[test]
    fn what_is_not_a_number_is_no_point() {
        let mut series = Series::new(4);
        series.push(0.0, f64::NAN);
        series.push(1.0, f64::INFINITY);
        assert!(series.buckets().is_empty());
    }

    #[test]
    fn a_resume_takes_back_what_it_does_again() {
        let mut series = Series::new(4);
        for x in 0..4 {
            series.push(f64::from(x), 1.0);
        }
        series.cut_from(2.0);
        assert_eq!(series.buckets().len(), 2);
    }
}
