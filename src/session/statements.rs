//! The client's prepared statements, as it knows them, and what stands under their names on each backend.
//!
//! The race it excludes:
//!   1. a client prepares `INSERT ...` in `old_only`, uncaptured;
//!   2. the phase becomes `dual_write`;
//!   3. the client binds and executes it: a write that nobody captured.
//!
//! So a statement is kept as the client's own text, and each use first makes sure that the backend has it in the form that the policy asks for
//! now; if not, it is closed and parsed again in front of that use.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::BytesMut;

use super::resolved::Resolved;
use crate::catalog::shape::Shape;
use crate::routing::Why;
use crate::side::{BySide, Side};
use crate::sql::Rewritten;
use crate::wire::{Writer, front};

/// What keeping one statement or portal takes beside its own bytes, about.
const KEPT: usize = 512;

/// What a backend has under a statement's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// The client's own text.
    Own,
    /// The client's text with these insertions.
    Captured(Rc<Rewritten>),
}

impl Form {
    pub fn rewritten(&self) -> Option<&Rewritten> {
        match self {
            Form::Own => None,
            Form::Captured(rewritten) => Some(rewritten),
        }
    }
}

/// Writes a Parse of the client's text, rewritten or as it is.
pub fn put_parse(out: &mut BytesMut, name: &[u8], sql: &[u8], rewritten: Option<&Rewritten>, types: &[u8]) {
    let Some(rewritten) = rewritten else { return Writer::parse(out, name, sql, types) };
    let mut parse = Writer::begin(out, front::PARSE);
    parse.cstr(name).cstr_of(sql.len() + rewritten.added(), rewritten.pieces(sql)).bytes(types).end();
}

/// The same as a simple query.
pub fn put_query(out: &mut BytesMut, sql: &[u8], rewritten: &Rewritten) {
    Writer::begin(out, front::QUERY).cstr_of(sql.len() + rewritten.added(), rewritten.pieces(sql)).end();
}

/// One prepared statement of the client's.
#[derive(Debug)]
pub struct Prepared {
    pub name: Vec<u8>,
    /// The client's own text.
    pub sql: Rc<[u8]>,
    /// Parameter types as the client gave them: count and oids.
    pub types: Vec<u8>,
    there: RefCell<BySide<Option<Form>>>,
    resolved: RefCell<Option<Rc<Resolved>>>,
    /// As so many bytes it is counted while it stands under its name.
    counted: Cell<usize>,
    /// The shape of its answer that the client was told.
    told: OnceCell<Shape>,
    /// Why its reads stay on the primary, under the policy of that generation.
    stays: Cell<Option<(u64, Why)>>,
    /// Its Parse has come to nothing: what stands under its name instead.
    instead: OnceCell<Option<Rc<Prepared>>>,
}

/// What a message does to the statement under a name, for as long as it may come to nothing.
#[derive(Debug)]
pub struct Change {
    name: Vec<u8>,
    /// Stands there if the message succeeds; nothing, if that is a Close.
    now: Option<Rc<Prepared>>,
    before: Option<Rc<Prepared>>,
}

/// How a message has come to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    Failed,
    /// Another has failed before it.
    Skipped,
}

impl Prepared {
    pub fn new(name: &[u8], sql: &[u8], types: &[u8]) -> Self {
        Prepared {
            name: name.to_vec(),
            sql: sql.into(),
            types: types.to_vec(),
            there: RefCell::default(),
            resolved: RefCell::new(None),
            counted: Cell::new(0),
            told: OnceCell::new(),
            stays: Cell::new(None),
            instead: OnceCell::new(),
        }
    }

    /// The statement, unless it came to nothing.
    fn standing(mut self: Rc<Self>) -> Option<Rc<Self>> {
        while let Some(instead) = self.instead.get() {
            self = Rc::clone(instead.as_ref()?);
        }
        Some(self)
    }

    /// What it means under the policy of this generation; `resolve` is asked once per generation.
    pub fn resolved(&self, generation: u64, resolve: impl FnOnce(&[u8]) -> Resolved) -> Rc<Resolved> {
        if let Some(known) = self.resolved.borrow().as_ref().filter(|r| r.generation == generation) {
            return Rc::clone(known);
        }
        let resolved = Rc::new(resolve(&self.sql));
        *self.resolved.borrow_mut() = Some(Rc::clone(&resolved));
        resolved
    }

    /// See [`told`](super::told).
    pub fn told(&self) -> Option<&Shape> {
        self.told.get()
    }

    /// The client is told the shape of its answer. The first word counts: PostgreSQL lets no later one be another.
    pub fn tell(&self, shape: Shape) {
        let _ = self.told.set(shape);
    }

    /// Why its reads stay on the primary under the policy of this generation, by the shape of their answer; a change of the schema is a new one.
    pub fn stays(&self, generation: u64) -> Option<Why> {
        self.stays.get().filter(|(known, _)| *known == generation).map(|(_, why)| why)
    }

    pub fn stay(&self, generation: u64, why: Why) {
        self.stays.set(Some((generation, why)));
    }

    /// What keeping it takes, about: bytes.
    fn size(&self) -> usize {
        let meaning = self.resolved.borrow().as_ref().map_or(0, |resolved| resolved.size());
        KEPT + 2 * self.name.len() + self.sql.len() + self.types.len() + meaning
    }

    /// What it meant when it was last looked at.
    pub fn meaning(&self) -> Option<Rc<Resolved>> {
        self.resolved.borrow().clone()
    }

    pub fn there(&self, side: Side) -> Option<Form> {
        self.there.borrow().get(side).clone()
    }

    pub fn set_there(&self, side: Side, form: Option<Form>) {
        *self.there.borrow_mut().get_mut(side) = form;
    }
}

/// By name; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub struct Statements {
    by_name: HashMap<Vec<u8>, Rc<Prepared>>,
    /// Portals by name, with what they were bound from.
    portals: HashMap<Vec<u8>, Rc<Prepared>>,
    statement_bytes: usize,
    portal_bytes: usize,
}

impl Statements {
    pub fn get(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        self.by_name.get(name)
    }

    /// What keeping them all takes, about: bytes. A client decides how many there are; its session has a bound.
    pub fn bytes(&self) -> usize {
        self.statement_bytes + self.portal_bytes
    }

    /// Puts a statement under its name.
    pub fn put(&mut self, statement: Rc<Prepared>) -> Change {
        statement.counted.set(statement.size());
        self.statement_bytes += statement.counted.get();
        let name = statement.name.clone();
        let before = self.by_name.insert(name.clone(), Rc::clone(&statement));
        self.statement_bytes -= before.as_ref().map_or(0, |before| before.counted.get());
        Change { name, now: Some(statement), before }
    }

    pub fn close(&mut self, name: &[u8]) -> Change {
        Change { name: name.to_vec(), now: None, before: self.remove(name) }
    }

    /// Takes a change back, unless a message that was sent behind it has made another one meanwhile.
    pub fn undo(&mut self, Change { name, now, before }: Change, void: Void) {
        // A Parse of the unnamed one destroys its former before it fails.
        let destroyed = name.is_empty() && void == Void::Failed;
        let before = before.filter(|_| !destroyed).and_then(Prepared::standing);
        if let Some(now) = &now {
            let _ = now.instead.set(before.clone());
        }
        let is_last = match (&now, self.by_name.get(&name)) {
            (Some(now), Some(there)) => Rc::ptr_eq(now, there),
            (now, there) => now.is_none() && there.is_none(),
        };
        match before.filter(|_| is_last) {
            Some(before) => drop(self.put(before)),
            None if is_last => drop(self.remove(&name)),
            None => {}
        }
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<Rc<Prepared>> {
        let removed = self.by_name.remove(name);
        self.statement_bytes -= removed.as_ref().map_or(0, |removed| removed.counted.get());
        removed
    }

    /// The backend's connection is gone, and with it all that was prepared there.
    pub fn lost(&mut self, side: Side) {
        self.by_name.values().for_each(|s| s.set_there(side, None));
    }

    /// The client's simple query destroys the unnamed statement and the unnamed portal.
    pub fn unnamed_gone(&mut self) {
        self.remove(b"");
        self.close_portal(b"");
    }

    /// A simple query on this side has destroyed what stood under the empty name there.
    pub fn unnamed_lost(&mut self, side: Side) {
        if let Some(unnamed) = self.by_name.get(&b""[..]) {
            unnamed.set_there(side, None);
        }
    }

    /// Those that a backend has in another form than the client's own.
    pub fn rewritten(&self, side: Side) -> Vec<Rc<Prepared>> {
        let is_rewritten = |s: &&Rc<Prepared>| matches!(s.there(side), Some(Form::Captured(_)));
        self.by_name.values().filter(is_rewritten).cloned().collect()
    }

    /// Names may mean other tables from here on.
    pub fn forget_meanings(&self) {
        self.by_name.values().for_each(|s| *s.resolved.borrow_mut() = None);
    }

    pub fn clear(&mut self) {
        self.by_name.clear();
        self.statement_bytes = 0;
    }

    pub fn bind(&mut self, portal: &[u8], statement: Rc<Prepared>) {
        match self.portals.get_mut(portal) {
            Some(place) => *place = statement,
            None => {
                self.portal_bytes += KEPT + portal.len();
                self.portals.insert(portal.to_vec(), statement);
            }
        }
    }

    pub fn portal(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        self.portals.get(name)
    }

    pub fn close_portal(&mut self, name: &[u8]) {
        if self.portals.remove(name).is_some() {
            self.portal_bytes -= KEPT + name.len();
        }
    }

    /// Portals do not outlive their transaction.
    pub fn close_portals(&mut self) {
        self.portals.clear();
        self.portal_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_and_uncounted() {
        let mut statements = Statements::default();
        let prepared = |name: &[u8], sql: &[u8]| Rc::new(Prepared::new(name, sql, &[0, 0]));
        let first = statements.put(prepared(b"a", b"SELECT 1"));
        let one = statements.bytes();
        let second = statements.put(prepared(b"a", b"SELECT 1, 2, 3"));
        assert!(statements.bytes() > one && statements.bytes() < 2 * one);
        statements.undo(second, Void::Failed);
        assert_eq!(statements.bytes(), one);
        statements.bind(b"p", prepared(b"a", b""));
        statements.bind(b"p", prepared(b"a", b""));
        statements.bind(b"q", prepared(b"a", b""));
        statements.close_portal(b"q");
        statements.close_portal(b"none");
        assert!(statements.bytes() > one);
        statements.close_portals();
        assert_eq!(statements.bytes(), one);
        statements.undo(first, Void::Failed);
        statements.remove(b"a");
        assert_eq!(statements.bytes(), 0);
        statements.put(prepared(b"", b"SELECT 1"));
        statements.clear();
        assert_eq!(statements.bytes(), 0);
    }

    fn prepared(name: &[u8], sql: &[u8]) -> Rc<Prepared> {
        Rc::new(Prepared::new(name, sql, &[0, 0]))
    }

    fn text(statements: &Statements, name: &[u8]) -> Option<String> {
        statements.get(name).map(|there| String::from_utf8_lossy(&there.sql).into_owned())
    }

    #[test]
    fn what_a_later_batch_has_prepared_stays_when_an_earlier_one_fails() {
        for name in [&b"s"[..], b""] {
            let mut statements = Statements::default();
            let failed = statements.put(prepared(name, b"SELECT nowhere"));
            statements.put(prepared(name, b"SELECT 1"));
            statements.undo(failed, Void::Failed);
            assert_eq!(text(&statements, name).as_deref(), Some("SELECT 1"));
        }
    }

    #[test]
    fn what_never_was_is_not_put_back() {
        let mut statements = Statements::default();
        let stands = statements.put(prepared(b"s", b"SELECT 1"));
        let first = statements.put(prepared(b"s", b"SELECT 2"));
        let second = statements.put(prepared(b"s", b"SELECT 3"));
        statements.undo(first, Void::Failed);
        statements.undo(second, Void::Failed);
        assert_eq!(text(&statements, b"s").as_deref(), Some("SELECT 1"));
        statements.undo(stands, Void::Skipped);
        assert_eq!(text(&statements, b"s"), None);
    }

    #[test]
    fn a_close_that_was_skipped_has_closed_nothing() {
        let mut statements = Statements::default();
        statements.put(prepared(b"s", b"SELECT 1"));
        let close = statements.close(b"s");
        assert_eq!(text(&statements, b"s"), None);
        statements.undo(close, Void::Skipped);
        assert_eq!(text(&statements, b"s").as_deref(), Some("SELECT 1"));
    }

    #[test]
    fn a_skipped_parse_leaves_the_unnamed_statement_and_a_failed_one_does_not() {
        for (void, left) in [(Void::Skipped, Some("SELECT 1")), (Void::Failed, None)] {
            let mut statements = Statements::default();
            statements.put(prepared(b"", b"SELECT 1"));
            let parse = statements.put(prepared(b"", b"SELECT 2"));
            statements.undo(parse, void);
            assert_eq!(text(&statements, b"").as_deref(), left);
        }
    }
}
