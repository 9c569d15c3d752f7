//! Statements that may write anything: COPY FROM, TRUNCATE, DO, EXECUTE, MERGE, calls of the user's own functions, writes to views, to tables
//! with triggers or rules, to tables that nobody knows yet.
//!
//! What such a statement touches is not in its answer. The server knows it, though: two looks at its own counters, one before the
//! statement and one after it, in the same transaction, say which tables changed, and the second look journals them as touched.
//!
//! The race it excludes:
//!   1. the statement commits, on its own, as the client sent it;
//!   2. the proxy dies before it has asked what was changed;
//!   3. nobody ever learns of it.
//!
//! So the looks are part of the statement's own transaction. In the simple protocol they stand in its text, which thereby becomes one
//! implicit transaction; in the extended protocol they are messages around its Execute, in front of the Sync that commits. The
//! client sees neither, and is told of the statement's success only when the second look has been taken.
//!
//! What may end its own transaction (CALL, a DO block that commits) must be alone outside of a transaction block: there it stays uncaptured.

use super::Session;
use super::batch::{Heard, Run, Step};
use super::transaction::Touches;
use crate::routing::{Cut, Opaque};
use crate::wire::{Writer, front};

/// In front of a statement, in a text.
pub const BEFORE: &str = "SELECT pgduet.capture_before();";
/// Behind it. The line's end closes a comment that the client left open.
pub const AFTER: &str = "\n;SELECT pgduet.capture_changed()";

const LOOK_BEFORE: &[u8] = b"SELECT pgduet.capture_before()";
const LOOK_AFTER: &[u8] = b"SELECT pgduet.capture_changed()";
/// The name of the statement and the portal of a look: the client's unnamed ones stay as they are.
const NAME: &[u8] = b"pgduet_look";

/// Whether the looks can be taken around a statement. `open`: it stands inside a transaction block.
pub fn can_be_watched(opaque: Opaque, open: bool, extended: bool) -> bool {
    match opaque {
        Opaque::Anywhere(_) => true,
        Opaque::InBlock(_) => open,
        // Nothing but its data may follow the Execute of a COPY.
        Opaque::Copy(_) => !extended,
    }
}

/// The runs of a watched statement, in the order of their answers.
pub fn watched(run: Run) -> [Run; 3] {
    let reports_commit = run.reports_commit;
    [
        look(Heard::Never),
        Run { heard: Heard::Later, reports_commit: false, touches: Touches::None, ..run },
        Run { reports_commit, touches: Touches::Rows(0), ..look(Heard::Instead) },
    ]
}

fn look(heard: Heard) -> Run {
    Run { cut: Cut::Rows, heard, ..Run::plain() }
}

impl Session {
    /// The look in front of an Execute.
    pub(super) fn look_before(&mut self) {
        self.send_look(LOOK_BEFORE, look(Heard::Never));
    }

    /// The look behind it.
    pub(super) fn look_after(&mut self) {
        self.send_look(LOOK_AFTER, Run { touches: Touches::Rows(0), ..look(Heard::Instead) });
    }

    fn send_look(&mut self, sql: &[u8], run: Run) {
        let Some(peer) = self.peers.get_mut(self.active) else { return };
        let out = &mut peer.channel.outbound;
        Writer::parse(out, NAME, sql, &[0, 0]);
        Writer::begin(out, front::BIND).cstr(NAME).cstr(NAME).u16(0).u16(0).u16(0).end();
        Writer::execute(out, NAME, 0);
        Writer::close_portal(out, NAME);
        Writer::close_statement(out, NAME);
        // ParseComplete, BindComplete, the run, and two CloseCompletes.
        let silent = || Step::Close { injected: true };
        for step in [silent(), silent(), Step::Run(run), silent(), silent()] {
            self.batch(|b| b.steps.push_back(step));
        }
    }
}
