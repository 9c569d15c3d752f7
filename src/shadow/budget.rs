//! How often one statement is compared: so many times a second, so that a frequent one leaves room for the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sql::Fingerprint;

/// See the module's text.
#[derive(Debug)]
pub struct Budget {
    per_second: u32,
    bound: usize,
    spent: Mutex<HashMap<Fingerprint, (Instant, u32)>>,
}

impl Budget {
    /// `per_second`: 0 for no budget. `bound`: statements that are followed at once.
    pub fn new(per_second: u32, bound: usize) -> Self {
        Budget { per_second, bound, spent: Mutex::default() }
    }

    /// Takes one comparison out of the statement's budget for the second that has begun.
    pub fn admits(&self, fingerprint: Fingerprint, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= self.bound && !spent.contains_key(&fingerprint) {
            spent.retain(|_, (since, _)| now.duration_since(*since) < Duration::from_secs(1));
        }
        let (since, count) = spent.entry(fingerprint).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_has_its_own_budget_for_each_second() {
        let budget = Budget::new(2, 10);
        let start = Instant::now();
        let admitted = |n: u128, seconds: u64| budget.admits(Fingerprint(n), start + Duration::from_secs(seconds));
        assert_eq!([admitted(1, 0), admitted(1, 0), admitted(1, 0), admitted(2, 0)], [true, true, false, true]);
        assert!(admitted(1, 1));
        assert!((0..100).all(|_| Budget::new(0, 1).admits(Fingerprint(1), start)));
    }
}
