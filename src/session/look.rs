//! A statement that changes tables out of sight (a function, a rule, a COPY, DDL) runs between two looks at the server's own counters of
//! the transaction, in that transaction; the second one journals what has changed. The race that is excluded:
//!
//! 1. the statement commits, by itself;
//! 2. the proxy is killed, or its connection breaks;
//! 3. the second look never comes: rows that nobody knows of.
//!
//! So both looks are in the statement's own transaction. Inside a block any message is. An implicit transaction ends with the Sync, so the looks stand
//! in front of it; a simple query that is one statement is sent as the messages that it stands for, and one that is several has the looks between
//! them as statements. The word that the client's statement has succeeded is kept back until the second look has too.

use std::rc::Rc;

use bytes::BytesMut;

use crate::routing::Opaque;
use crate::sql::Ddl;
use crate::wire::{Writer, front};

/// pgduet's own statement and portal, which exist for as long as a look lasts.
const NAME: &[u8] = b"pgduet_look";
/// In a READ ONLY transaction nothing can have changed, and nothing could be noted.
const WRITABLE: &[u8] = b" WHERE pg_catalog.current_setting('transaction_read_only') = 'off'";
const BEFORE: &[u8] = b"SELECT pgduet.capture_before()";
const CHANGED: &[u8] = b"pgduet.capture_changed()";
/// Without a transaction id nothing was written: the client waits for no secondary.
const WROTE: &[u8] = b", pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL";

/// What is asked of the primary around one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The second look waits for the end of the client's data.
    pub copies_in: bool,
    /// It has to stay a simple query: it answers otherwise in the extended protocol.
    pub inline: bool,
    /// Only inside a transaction block: elsewhere the statement may end its own transaction, and must be alone.
    pub in_block: bool,
    /// It needs a first look, to tell its changes from those that came before it.
    pub first: bool,
    /// The second look.
    pub after: Rc<[u8]>,
}

impl Look {
    pub fn rows() -> Look {
        Look {
            copies_in: false,
            inline: false,
            in_block: false,
            first: true,
            after: [b"SELECT ", CHANGED, WROTE, WRITABLE].concat().into(),
        }
    }

    /// `statement`: its own text.
    pub fn new(opaque: &Opaque, statement: &[u8]) -> Look {
        match opaque {
            Opaque::Rows(_) | Opaque::Statement(Ddl::Local) => Look::rows(),
            Opaque::RowsInline(_) => Look { inline: true, ..Look::rows() },
            Opaque::RowsInBlock(_) => Look { in_block: true, ..Look::rows() },
            Opaque::CopyIn => Look { copies_in: true, ..Look::rows() },
            Opaque::Made | Opaque::Statement(Ddl::Made) => Look::statement(b'a', statement, true),
            Opaque::Statement(Ddl::Carried { rows, alone: None }) => Look::statement(b'd', statement, *rows),
            // Nothing may run in front of it, in its transaction.
            Opaque::Statement(Ddl::Carried { alone: Some(text), .. }) => {
                Look { first: false, ..Look::statement(b'd', text, false) }
            }
        }
    }

    fn statement(kind: u8, text: &[u8], rows: bool) -> Look {
        let mut after = b"SELECT pgduet.capture_statement('".to_vec();
        after.push(kind);
        after.extend_from_slice(b"', ");
        put_literal(text, &mut after);
        after.extend_from_slice(b"), ");
        after.extend_from_slice(if rows { CHANGED } else { b"NULL" });
        after.extend_from_slice(WROTE);
        after.extend_from_slice(WRITABLE);
        Look { copies_in: false, inline: false, in_block: false, first: rows, after: after.into() }
    }

    /// The first look.
    pub fn before() -> Vec<u8> {
        [BEFORE, WRITABLE].concat()
    }

    /// Its text can be put into another one.
    pub fn is_readable(&self) -> bool {
        std::str::from_utf8(&self.after).is_ok()
    }

    /// What is put into a text of several statements in front of this one, and behind it.
    pub fn texts(&self) -> (Option<String>, Option<String>) {
        let text = |sql: &[u8]| String::from_utf8(sql.to_vec()).ok();
        let before = self.first.then(Look::before).and_then(|sql| Some(text(&sql)? + ";"));
        (before, text(&self.after).map(|after| format!(";{after}")))
    }
}

/// A literal in the client's own encoding, in which ASCII is ASCII.
fn put_literal(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"E'");
    for &byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// Writes the messages of one look; their answers are [`ANSWERS`].
pub fn put(out: &mut BytesMut, sql: &[u8]) {
    // What a failed look has left is in the way.
    Writer::close_statement(out, NAME);
    Writer::parse(out, NAME, sql, &[0, 0]);
    put_bind(out, NAME, NAME);
    Writer::execute(out, NAME, 0);
    Writer::close_portal(out, NAME);
    Writer::close_statement(out, NAME);
}

/// A Bind without parameters, all of whose results are text.
pub fn put_bind(out: &mut BytesMut, portal: &[u8], statement: &[u8]) {
    Writer::begin(out, front::BIND).cstr(portal).cstr(statement).u16(0).u16(0).u16(0).end();
}

/// What comes back of pgduet's own messages; the client sees none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// A message that is answered by one without content.
    Small,
    /// The same, but it carries the client's own query: its error is the query's.
    Query,
    /// A statement of pgduet's; `wrote`: it has said that the transaction has written.
    Look { wrote: bool },
}

pub const LOOK: Own = Own::Look { wrote: false };
pub const ANSWERS: [Own; 6] = [Own::Small, Own::Small, Own::Small, LOOK, Own::Small, Own::Small];

/// Whether the last column of a DataRow says true.
pub fn says_true(row: &[u8]) -> bool {
    row.ends_with(b"\0\0\0\x01t")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(rows: bool, alone: Option<&[u8]>) -> Opaque {
        Opaque::Statement(Ddl::Carried { rows, alone: alone.map(<[u8]>::to_vec) })
    }

    #[test]
    fn a_statement_is_quoted_whatever_the_settings_are() {
        let look = Look::new(&carried(false, None), br"comment on table t is 'a\b'");
        let text = String::from_utf8_lossy(&look.after).into_owned();
        assert!(
            text.starts_with(r"SELECT pgduet.capture_statement('d', E'comment on table t is ''a\\b'''), NULL, "),
            "{text}"
        );
        assert!(!look.first);
    }

    #[test]
    fn nothing_runs_in_front_of_what_runs_alone() {
        let look = Look::new(&carried(true, Some(b"create index i on t (a)")), b"create index concurrently i on t (a)");
        assert!(!look.first && String::from_utf8_lossy(&look.after).contains("E'create index i on t (a)'"));
    }

    #[test]
    fn a_row_tells_by_its_last_column() {
        assert!(says_true(b"D\0\0\0\x0f\0\x02\xff\xff\xff\xff\0\0\0\x01t"));
        assert!(!says_true(b"D\0\0\0\x0f\0\x02\xff\xff\xff\xff\0\0\0\x01f"));
    }
}
