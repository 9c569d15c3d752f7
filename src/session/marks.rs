//! What the session has to know of statements that it sends.

use super::Session;
use super::batch::After;
use super::resolved::{Mark, Resolved, UNREADABLE, contains};
use super::tally::Class;
use super::transaction::{Control, Status};

impl Session {
    /// Nothing is under way any more: what was changed of the schema is committed, or never will be.
    pub(super) fn announce_definition(&mut self) {
        if self.names.defining && self.names.defined.is_none() && self.transaction.status == Status::Idle {
            self.names.defined = Some(self.worker.context.schema_changes.made());
        }
    }

    /// The catalogs know of the session's own change, so that they can be gone by again.
    pub(super) fn end_definition(&mut self) {
        if self.names.defined.is_some_and(|number| self.worker.context.schema_changes.knows(number)) {
            (self.names.defining, self.names.rules, self.names.defined) = (false, false, None);
            self.statements.forget_meanings();
        }
    }

    /// Remembers what the session has to know of statements that are sent, and counts uncaptured writes.
    /// `elsewhere`: they run on the secondary, where nothing is to be captured.
    pub(super) fn mark(&mut self, resolved: &Resolved, sql: &[u8], elsewhere: bool) {
        for part in &resolved.parts {
            let told_later = matches!(part.after, After::Unread(_));
            if let Some(reason) = self.uncaptured(resolved, part).filter(|_| !elsewhere && !told_later) {
                let shown = if resolved.readable { sql } else { UNREADABLE.as_bytes() };
                self.worker.context.count_uncaptured(part.fingerprint, shown, reason);
            }
            if matches!(part.after, After::Ddl) {
                (self.names.defining, self.names.defined) = (true, None);
                self.names.rules |= contains(sql, b"rule");
                self.statements.forget_meanings();
            }
            if part.cursor_writes && !self.names.cursor_writes {
                self.names.cursor_writes = true;
                self.statements.forget_meanings();
            }
            // What pins the session may go by a DROP, CLOSE or unlock, and at a transaction's end.
            let may_free = part.class == Class::Other && !matches!(part.after, After::Control(Control::Begin(_)));
            if part.mark != Mark::Nothing || (may_free && self.baggage.is_fixed()) {
                self.baggage.unsettle();
            }
            match &part.mark {
                Mark::Nothing | Mark::Unsettles => {}
                Mark::Custom(name) => self.baggage.note_custom(name),
                Mark::SearchPath => {
                    self.names.own_search_path = true;
                    self.names.path = None;
                    self.statements.forget_meanings();
                }
                Mark::Reading(reading) => self.names.reading = *reading,
                Mark::Temporary(name) => self.names.temporary.extend(name.clone()),
            }
        }
    }
}
