//! How long answers took: counts by time, in buckets of an eighth of a power of two, from a microsecond to a minute and more. A quantile
//! is off by 6 % at most; two spreads add up, bucket by bucket, on every instance and in the database.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u32 = 8;
const POWERS: u32 = 27;
/// Buckets of a [`Spread`].
pub const BUCKETS: usize = (STEPS * POWERS) as usize;

/// See the module's text. No buckets before a first answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(Vec<u64>);

impl Spread {
    pub fn add(&mut self, took: Duration) {
        self.0.resize(BUCKETS, 0);
        if let Some(count) = self.0.get_mut(bucket(took)) {
            *count += 1;
        }
    }

    pub fn merge(&mut self, other: &Spread) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }

    /// Answers counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What was added since it was `earlier`.
    pub fn since(&self, earlier: &Spread) -> Spread {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Spread(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    /// Milliseconds; 0 without answers.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = ((self.total() as f64) * quantile).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return middle_micros(at) / 1000.0;
            }
        }
        0.0
    }

    /// For the database.
    pub fn counts(&self) -> Vec<i64> {
        self.0.iter().map(|&count| count as i64).collect()
    }

    /// From the database.
    pub fn from_counts(counts: &[i64]) -> Self {
        Spread(counts.iter().take(BUCKETS).map(|&count| count.max(0) as u64).collect())
    }
}

fn bucket(took: Duration) -> usize {
    let micros = (took.as_micros().min(u128::from(u32::MAX)) as u64).max(1);
    let power = micros.ilog2();
    let step = ((micros << 3) >> power) as u32 - STEPS;
    ((power * STEPS + step) as usize).min(BUCKETS - 1)
}

fn middle_micros(at: usize) -> f64 {
    let (power, step) = (at as u32 / STEPS, at as u32 % STEPS);
    f64::from(1_u32 << power) * (1.0 + (f64::from(step) + 0.5) / f64::from(STEPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_what_was_added() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile_ms(0.5), 0.0);
        (1..=1000).for_each(|ms| spread.add(Duration::from_millis(ms)));
        for (quantile, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (0.0, 1.0)] {
            let found = spread.quantile_ms(quantile);
            assert!((found - expected).abs() <= expected * 0.07, "{found} for {expected}");
        }
        let mut twice = spread.clone();
        twice.merge(&spread);
        assert_eq!(twice.quantile_ms(0.5), spread.quantile_ms(0.5));
        assert_eq!(Spread::from_counts(&twice.counts()), twice);
    }

    #[test]
    fn any_duration_has_a_bucket() {
        for took in [Duration::ZERO, Duration::from_micros(1), Duration::from_secs(3600), Duration::MAX] {
            assert!(bucket(took) < BUCKETS);
        }
    }
}
