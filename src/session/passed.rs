//! What passes unread, in `old_only`, and has to be known all the same: which statements the client has prepared. The next phase may come at any
//! moment, and captures what they write.
//!
//! 1. A client prepares `s`, and a second time, with another text; PostgreSQL refuses the second.
//! 2. The phase becomes `dual_write`.
//! 3. It executes `s`, and the second text is run.
//!
//! So what a message does to a name is noted with its place, and taken back where the batch has failed at it or before. Statements that SQL
//! deallocates are forgotten: a driver that does so all day long (it keeps the last hundred, say) would reach its bound in the end.

use std::collections::VecDeque;

use super::batch::After;
use super::statements::{Change, Void};
use crate::wire::back;

/// More are not noted in one batch.
const MAX_FORGOTTEN: usize = 1_000;

/// Of one batch that passes unread.
#[derive(Debug, Default)]
pub struct Passed {
    /// Messages that a word of their own answers: Parse and Close.
    sent: u32,
    answered: u32,
    /// Of messages that are not answered yet, with their places.
    changes: VecDeque<(u32, Change)>,
    /// What SQL makes the session forget, once it has succeeded.
    forgets: Vec<After>,
}

impl Passed {
    /// A Parse or Close is sent. `change`: what it does to a statement that has a name; the unnamed one is parsed anew before each use.
    pub fn sent(&mut self, change: Option<Change>) {
        self.changes.extend(change.map(|change| (self.sent, change)));
        self.sent = self.sent.wrapping_add(1);
    }

    /// Statements that SQL deallocates in this batch; those beyond a bound stay known, which does no harm but to take room.
    pub fn forgets(&mut self, what: Vec<After>) {
        let room = MAX_FORGOTTEN.saturating_sub(self.forgets.len());
        self.forgets.extend(what.into_iter().take(room));
    }

    /// A frame of the answer.
    pub fn hears(&mut self, tag: u8) {
        if matches!(tag, back::PARSE_COMPLETE | back::CLOSE_COMPLETE) {
            self.answered = self.answered.wrapping_add(1);
            while self.changes.front().is_some_and(|&(place, _)| place < self.answered) {
                self.changes.pop_front();
            }
        }
    }

    /// The batch is over: changes to take back, the newest first, and what is to be forgotten.
    pub fn end(self, failed: bool) -> (Vec<Change>, Vec<After>) {
        match failed {
            true => (self.changes.into_iter().rev().map(|(_, change)| change).collect(), Vec::new()),
            false => (Vec::new(), self.forgets),
        }
    }
}

/// How what is left of a batch has come to nothing: with the name that it has, both are the same.
pub const VOID: Void = Void::Skipped;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::statements::{Prepared, Statements};
    use super::*;

    #[test]
    fn what_came_to_nothing_is_taken_back_and_what_was_answered_stays() {
        let mut statements = Statements::default();
        let mut put = |name: &[u8], sql: &[u8]| statements.put(Rc::new(Prepared::new(name, sql, &[0, 0])));
        put(b"s", b"SELECT 1");
        let mut passed = Passed::default();
        passed.sent(None);
        passed.sent(Some(put(b"kept", b"SELECT 2")));
        passed.sent(Some(put(b"s", b"SELECT 3")));
        passed.sent(Some(put(b"s", b"SELECT 4")));
        for tag in [back::PARSE_COMPLETE, back::BIND_COMPLETE, back::PARSE_COMPLETE, back::ERROR] {
            passed.hears(tag);
        }
        let (undone, _) = passed.end(true);
        assert_eq!(undone.len(), 2);
        undone.into_iter().for_each(|change| statements.undo(change, VOID));
        let text = |name: &[u8]| statements.get(name).map(|s| String::from_utf8_lossy(&s.sql).into_owned());
        assert_eq!((text(b"kept").as_deref(), text(b"s").as_deref()), (Some("SELECT 2"), Some("SELECT 1")));
    }

    #[test]
    fn what_sql_forgets_is_forgotten_once_it_has_succeeded() {
        for failed in [false, true] {
            let mut passed = Passed::default();
            passed.forgets(vec![After::ForgetStatements]);
            assert_eq!(passed.end(failed).1.is_empty(), failed);
        }
    }
}
