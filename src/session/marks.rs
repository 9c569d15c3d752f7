//! What the session has to know of statements that it sends.

use super::Session;
use super::batch::After;
use super::resolved::{Mark, Resolved};
use super::tally::Class;
use super::transaction::Control;
use crate::routing::Opaque;

impl Session {
    /// Remembers what the session has to know of statements that are sent, and counts uncaptured writes.
    /// `watched`: nothing that it writes stays unseen, or it cannot write where it runs.
    pub(super) fn mark(&mut self, resolved: &Resolved, sql: &[u8], watched: bool) {
        for part in &resolved.parts {
            let unwatched = part.opaque.filter(|_| !watched && !part.watched).map(Opaque::reason);
            if let Some(reason) = part.uncaptured.or(unwatched).filter(|_| self.executed(part).is_none()) {
                self.worker.context.count_uncaptured(part.fingerprint, sql, reason);
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
                }
                Mark::Reading(reading) => self.names.reading = *reading,
                Mark::Temporary(name) => self.names.temporary.extend(name.clone()),
            }
        }
    }
}
