//! The books of touches: `captured = applied + superseded + queued + parked + discarded`, whoever speaks first.
//!
//! Sessions say what they have captured when they read a commit's answer, the link says what it has carried. Three things can go wrong with
//! plain sums, and lag would lie by each:
//!   1. the link is faster: a touch is carried before its session has read the answer. It is counted *ahead*, and the session's
//!      announcement takes it from there;
//!   2. the answer never came (the connection broke, the commit had happened): nobody will announce it. After [`GRACE`] what is ahead counts
//!      as *lost*, so that it hides nothing of a later queue;
//!   3. the announcement came all the same, after the grace: once everything announced is carried and something seems to be queued, it is
//!      that, and counts as superseded by its own first count.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How long a session may need to read the answer to a commit that the link has carried already.
pub const GRACE: Duration = Duration::from_secs(10);

/// Touches, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Counted by the sessions at commit; those that the server itself captured, by the link.
    pub captured: u64,
    pub applied: u64,
    /// Coalesced with another touch of the same key in the same cycle.
    pub superseded: u64,
    /// Committed on the primary, not yet on the secondary.
    pub queued: u64,
    pub parked: u64,
    pub discarded: u64,
}

/// What one applied cycle did with the touches it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub applied: u64,
    pub superseded: u64,
    pub parked: u64,
    /// Of tables that are not mirrored, or no longer there.
    pub discarded: u64,
    /// How many of all these no session announces: the server itself captured them.
    pub unannounced: u64,
}

impl Carried {
    fn touches(self) -> u64 {
        self.applied + self.superseded + self.parked + self.discarded
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Books {
    counts: Counts,
    /// Carried, and not yet announced; since when there have been any.
    ahead: u64,
    since: Option<Instant>,
    lost: u64,
    /// Queued touches that no session announces, as last seen in the journal; counted as captured while they are there.
    surveyed: u64,
}

impl Books {
    pub fn counts(&self) -> Counts {
        let Counts { captured, queued, .. } = self.counts;
        Counts { captured: captured + self.surveyed, queued: queued + self.surveyed, ..self.counts }
    }

    /// Queued touches that sessions have announced.
    pub fn waiting(&self) -> u64 {
        self.counts.queued
    }

    /// Totals as they are durable.
    pub fn restate(&mut self, counts: Counts) {
        *self = Books { counts, surveyed: self.surveyed, ..Books::default() };
    }

    /// A session has learnt that so many touches were committed.
    pub fn announced(&mut self, touches: u64, now: Instant) {
        self.forget_the_lost(now);
        let known = touches.min(self.ahead);
        self.lead(self.ahead - known, now);
        self.counts.captured += touches - known;
        self.counts.queued += touches - known;
    }

    /// A cycle is applied. `all_announced`: with it everything that was announced is.
    pub fn carried(&mut self, carried: Carried, all_announced: bool, now: Instant) {
        self.forget_the_lost(now);
        let counts = &mut self.counts;
        counts.applied += carried.applied;
        counts.superseded += carried.superseded;
        counts.parked += carried.parked;
        counts.discarded += carried.discarded;
        counts.captured += carried.unannounced;
        self.surveyed = self.surveyed.saturating_sub(carried.unannounced);
        self.leave(carried.touches().saturating_sub(carried.unannounced), now);
        if all_announced {
            let late = self.counts.queued.min(self.lost);
            self.lost -= late;
            self.counts.queued -= late;
            self.counts.superseded += late;
        }
    }

    /// Queued touches are given up.
    pub fn discarded(&mut self, touches: u64, now: Instant) {
        self.counts.discarded += touches;
        let surveyed = self.surveyed.min(touches);
        self.counts.captured += surveyed;
        self.surveyed -= surveyed;
        self.leave(touches - surveyed, now);
    }

    /// Parked entries went back into the queue.
    pub fn retried(&mut self, entries: u64) {
        self.counts.parked = self.counts.parked.saturating_sub(entries);
        self.counts.queued += entries;
    }

    /// Parked entries were given up.
    pub fn given_up(&mut self, entries: u64) {
        self.counts.parked = self.counts.parked.saturating_sub(entries);
        self.counts.discarded += entries;
    }

    /// So many touches that no session announces wait in the journal.
    pub fn surveyed(&mut self, touches: u64) {
        self.surveyed = touches;
    }

    /// So many touches have left the queue. What was not in it was captured all the same.
    fn leave(&mut self, touches: u64, now: Instant) {
        let missing = touches.saturating_sub(self.counts.queued);
        self.counts.queued -= touches - missing;
        self.counts.captured += missing;
        self.lead(self.ahead + missing, now);
    }

    fn lead(&mut self, ahead: u64, now: Instant) {
        self.ahead = ahead;
        self.since = if ahead == 0 { None } else { self.since.or(Some(now)) };
    }

    fn forget_the_lost(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > GRACE) {
            self.lost += self.ahead;
            self.lead(0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(touches: u64) -> Carried {
        Carried { applied: touches, ..Carried::default() }
    }

    fn sum_holds(books: &Books) {
        let c = books.counts();
        assert_eq!(c.captured, c.applied + c.superseded + c.queued + c.parked + c.discarded, "{books:?}");
    }

    fn figures(books: &Books) -> (u64, u64) {
        sum_holds(books);
        (books.counts().captured, books.counts().queued)
    }

    #[test]
    fn a_link_that_is_faster_than_the_session_leaves_nothing_queued() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.carried(applied(3), true, now);
        assert_eq!(figures(&books), (3, 0));
        books.announced(2, now);
        assert_eq!(figures(&books), (3, 0));
        books.announced(2, now);
        assert_eq!(figures(&books), (4, 1));
        books.carried(applied(1), true, now);
        assert_eq!(figures(&books), (4, 0));
    }

    #[test]
    fn a_commit_whose_answer_was_lost_hides_nothing_of_a_later_queue() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.carried(applied(3), true, now);
        let later = now + GRACE + Duration::from_secs(1);
        books.announced(5, later);
        assert_eq!(figures(&books), (8, 5));
    }

    #[test]
    fn an_announcement_after_the_grace_leaves_nothing_queued() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.carried(applied(3), true, now);
        let later = now + GRACE + Duration::from_secs(1);
        books.announced(3, later);
        books.carried(Carried::default(), true, later);
        assert_eq!(figures(&books), (6, 0));
        assert_eq!(books.counts().superseded, 3);
    }

    #[test]
    fn a_touch_that_was_never_carried_stays_queued() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.announced(2, now);
        books.carried(applied(1), true, now);
        assert_eq!(figures(&books), (2, 1));
    }

    #[test]
    fn what_the_server_captured_is_queued_from_the_survey_on_and_counted_once() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.surveyed(4);
        assert_eq!(figures(&books), (4, 4));
        books.carried(Carried { applied: 3, unannounced: 3, ..Carried::default() }, true, now);
        assert_eq!(figures(&books), (4, 1));
        books.carried(Carried { applied: 2, unannounced: 2, ..Carried::default() }, true, now);
        assert_eq!(figures(&books), (5, 0));
    }

    #[test]
    fn parked_and_discarded_touches_keep_the_sum() {
        let (mut books, now) = (Books::default(), Instant::now());
        books.announced(5, now);
        books.surveyed(2);
        books.carried(Carried { applied: 1, parked: 2, ..Carried::default() }, true, now);
        books.retried(1);
        books.given_up(1);
        books.discarded(5, now);
        assert_eq!(figures(&books), (7, 0));
    }
}
