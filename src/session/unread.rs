//! Statements that the analysis does not know. Most are a slip of somebody who types, and refused by the server; those must not worry the
//! operator, for whom one uncaptured write is one too many. So such a statement counts once it has succeeded, and where the session ends
//! without having heard how it went.

use std::rc::Rc;

use super::Session;
use super::batch::{After, Run, Step};
use crate::side::Side;
use crate::sql::Fingerprint;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub fingerprint: Fingerprint,
    /// As it is shown: no constant of the client's.
    pub shown: Rc<str>,
    pub reason: &'static str,
}

impl Session {
    /// It has succeeded, or may have. On the secondary there is nothing to be captured.
    pub(super) fn count_unread(&self, side: Side, unread: &Unread) {
        if side == self.primary() {
            let Unread { fingerprint, shown, reason } = unread;
            self.worker.context.count_uncaptured(*fingerprint, shown.as_bytes(), reason);
        }
    }

    /// The session ends: what it was not told of.
    pub(super) fn count_unheard(&self) {
        for side in Side::BOTH {
            let batches = self.peers.get(side).iter().flat_map(|peer| &peer.batches).filter(|batch| !batch.failed);
            for step in batches.flat_map(|batch| &batch.steps) {
                if let Step::Run(Run { after: After::Unread(unread), .. }) = step {
                    self.count_unread(side, unread);
                }
            }
        }
    }
}
