//! When the same trouble is worth another line in the log.

use std::time::{Duration, Instant};

/// The same text again, at most once in this time.
const AGAIN: Duration = Duration::from_secs(60);

/// What was last complained of. Pure, but for the time that it is told.
#[derive(Debug, Default)]
pub struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    /// Whether to log this now: it is new, or a minute has passed.
    pub fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let is_due = match &self.last {
            Some((last, at)) => last != text || now.duration_since(*at) >= AGAIN,
            None => true,
        };
        if is_due {
            self.last = Some((text.to_owned(), now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_logged_once_a_minute_and_another_at_once() {
        let mut complaint = Complaint::default();
        let start = Instant::now();
        let mut at = |text: &str, seconds: u64| complaint.is_due(text, start + Duration::from_secs(seconds));
        assert!(at("refused", 0));
        assert!(!at("refused", 59));
        assert!(at("refused", 60));
        assert!(at("starting up", 61));
        assert!(!at("starting up", 62));
        assert!(at("refused", 63));
    }
}
