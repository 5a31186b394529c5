//! Durations counted by size, in the plain numbers that the core counts in.

use std::time::Duration;

/// A histogram with fixed buckets. Recording searches a short array and adds twice.
#[derive(Clone, Debug)]
pub struct Histogram<const N: usize> {
    /// Up to and including which duration each bucket reaches, ascending.
    bounds: &'static [Duration; N],
    counts: [u64; N],
    /// Those that are longer than every bound.
    beyond: u64,
    sum: Duration,
}

impl<const N: usize> Histogram<N> {
    /// An empty one. `bounds` have to ascend.
    pub const fn new(bounds: &'static [Duration; N]) -> Self {
        Self { bounds, counts: [0; N], beyond: 0, sum: Duration::ZERO }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        *self.counts.get_mut(bucket).unwrap_or(&mut self.beyond) += 1;
        self.sum += duration;
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// Each bucket's upper bound and count, not added up; the last one has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounded = self.bounds.iter().map(|bound| Some(*bound)).zip(self.counts);
        bounded.chain([(None, self.beyond)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_reaches_it() {
        let mut histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1_000, 1_001, 10_000, 10_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(Some(BOUNDS[0]), 2), (Some(BOUNDS[1]), 2), (None, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_micros(22_002)));
    }
}
