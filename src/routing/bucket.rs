//! The one stable hash. It is the same on every instance, platform and release: changing it would move sessions.

use super::Percent;

/// Buckets are numbered 0..BUCKETS, one for each hundredth of a percent.
pub const BUCKETS: u16 = 10_000;

/// The bucket a routing key hashes to.
pub fn bucket(key: &str) -> u16 {
    (xxhash_rust::xxh3::xxh3_64(key.as_bytes()) % u64::from(BUCKETS)) as u16
}

impl Percent {
    /// Buckets open from 0 up, so a higher percentage only ever adds some.
    pub fn opens(self, bucket: u16) -> bool {
        bucket < self.hundredths()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(bucket(""), 3_138);
        assert_eq!(bucket("42"), 5_473);
    }

    #[test]
    fn raising_the_percentage_closes_no_bucket() {
        for b in [0, 1, 99, 100, 2500, 9_999] {
            let opened_at = (0..=10_000).find(|&p| Percent::from_hundredths(p).opens(b));
            let Some(opened_at) = opened_at else { panic!("bucket {b} never opens") };
            assert!((opened_at..=10_000).all(|p| Percent::from_hundredths(p).opens(b)));
        }
    }
}
