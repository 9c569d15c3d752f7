//! Whether a DDL statement is about the session's own relations. What it names as its object tells, not any word in it:
//!   1. a session has a temporary table `z`;
//!   2. it creates a table with a column `z`, or adds one: that table is everybody's, and the other side has to have it.

use std::collections::HashSet;
use std::ops::Range;

use super::cursor::Cursor;
use super::lex::{Backslash, TokenKind};
use super::name::Name;

/// Whose relations a statement names as its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Everybody,
    Session,
    /// Some are the session's: the text without these.
    Mixed(Vec<u8>),
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    temporary: &'a HashSet<String>,
}

/// Kinds of relations, and what stands in front of their names.
const RELATIONS: [&str; 7] = ["table", "view", "sequence", "index", "materialized", "foreign", "type"];
/// Objects that are named with the table they are of.
const OF_A_TABLE: [&str; 4] = ["trigger", "rule", "policy", "constraint"];

pub(super) fn owner(text: &[u8], temporary: &HashSet<String>) -> Owner {
    let mut reader = Reader { cursor: Cursor::new(text, Backslash::Plain), temporary };
    if reader.names_temporary_schema() {
        return Owner::Session;
    }
    reader.cursor = Cursor::new(text, Backslash::Plain);
    let drops = reader.cursor.is("drop");
    let names = reader.objects();
    let own = names.iter().filter(|(name, _)| reader.is_own(name)).count();
    match own {
        0 => Owner::Everybody,
        _ if own == names.len() => Owner::Session,
        _ if drops => Owner::Mixed(reader.without_own(&names)),
        _ => Owner::Everybody,
    }
}

/// Whether CREATE TABLE takes columns from a relation of the session's own, which the other side does not have.
pub(super) fn is_like_own(text: &[u8], temporary: &HashSet<String>) -> bool {
    let mut reader = Reader { cursor: Cursor::new(text, Backslash::Plain), temporary };
    while !reader.cursor.at_end() {
        let like = reader.cursor.is("like") && reader.cursor.depth == 1;
        reader.cursor.bump();
        if like && reader.cursor.name().is_some_and(|name| reader.is_own(&name)) {
            return true;
        }
    }
    false
}

impl Reader<'_> {
    fn is_own(&self, name: &Name) -> bool {
        match &name.schema {
            Some(schema) => schema.starts_with("pg_temp"),
            None => self.temporary.contains(&name.name),
        }
    }

    fn names_temporary_schema(&mut self) -> bool {
        while !self.cursor.at_end() {
            let schema = self.cursor.peek().kind == TokenKind::Dot && self.cursor.token.kind.is_name();
            if schema && self.cursor.name().is_some_and(|name| name.schema.is_some() && self.is_own(&name)) {
                return true;
            }
            if !schema {
                self.cursor.bump();
            }
        }
        false
    }

    fn objects(&mut self) -> Vec<(Name, Range<usize>)> {
        let verb = String::from_utf8_lossy(self.cursor.token.of(self.cursor.text)).to_ascii_lowercase();
        self.cursor.bump();
        match verb.as_str() {
            "create" => self.created_on(),
            "alter" => self.named().into_iter().take(1).collect(),
            "drop" => self.named(),
            "comment" | "security" => {
                self.skip_to("on");
                self.named()
            }
            "grant" | "revoke" => {
                self.skip_to("on");
                let _ = self.cursor.take("table") || self.cursor.take("sequence");
                self.list()
            }
            _ => Vec::new(),
        }
    }

    /// The relation that what is created belongs to; what creates one of its own says itself that it is temporary.
    fn created_on(&mut self) -> Vec<(Name, Range<usize>)> {
        while self.cursor.is_one_of(&["or", "replace", "unique", "constraint", "recursive"]) {
            self.cursor.bump();
        }
        match () {
            () if self.cursor.is_one_of(&["index", "trigger", "policy"]) => self.after("on"),
            () if self.cursor.is("rule") => self.after("to"),
            () if self.cursor.is("statistics") => self.after("from"),
            () if self.cursor.is("view") => self.sources(),
            () if self.cursor.is("function") => self.returned(),
            () => Vec::new(),
        }
    }

    /// After the kind of the object: its name, or that of its table.
    fn named(&mut self) -> Vec<(Name, Range<usize>)> {
        if self.cursor.is_one_of(&OF_A_TABLE) {
            return self.after("on");
        }
        if self.cursor.take("column") {
            let of_table = |(name, span): (Name, _)| Some((Name::bare(name.schema?), span));
            return self.list().into_iter().filter_map(of_table).collect();
        }
        if !self.cursor.is_one_of(&RELATIONS) {
            return Vec::new();
        }
        let two_words = self.cursor.is_one_of(&["materialized", "foreign"]);
        self.cursor.bump();
        if two_words {
            self.cursor.bump();
        }
        self.list()
    }

    fn skip_to(&mut self, word: &str) {
        while !(self.cursor.at_end() || self.cursor.depth == 0 && self.cursor.is(word)) {
            self.cursor.bump();
        }
        self.cursor.bump();
    }

    fn after(&mut self, word: &str) -> Vec<(Name, Range<usize>)> {
        self.skip_to(word);
        self.list().into_iter().take(1).collect()
    }

    /// Names, with commas between them.
    fn list(&mut self) -> Vec<(Name, Range<usize>)> {
        for word in ["concurrently", "if", "exists", "only"] {
            self.cursor.take(word);
        }
        let mut names = Vec::new();
        loop {
            let start = self.cursor.token.start;
            let Some(name) = self.cursor.name() else { return names };
            names.push((name, start..self.cursor.prev.end));
            if !self.cursor.take_kind(TokenKind::Comma) {
                return names;
            }
        }
    }

    /// A function that returns rows of a temporary relation goes with it.
    fn returned(&mut self) -> Vec<(Name, Range<usize>)> {
        self.skip_to("returns");
        self.cursor.take("setof");
        self.list().into_iter().take(1).collect()
    }

    /// What a view reads: one that reads a temporary relation is temporary itself.
    fn sources(&mut self) -> Vec<(Name, Range<usize>)> {
        while !self.cursor.at_end() {
            let source = self.cursor.is_one_of(&["from", "join"]);
            self.cursor.bump();
            if source {
                let named = self.list();
                if named.iter().any(|(name, _)| self.is_own(name)) {
                    return named.into_iter().filter(|(name, _)| self.is_own(name)).collect();
                }
            }
        }
        Vec::new()
    }

    fn without_own(&self, names: &[(Name, Range<usize>)]) -> Vec<u8> {
        let text = self.cursor.text;
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        let kept: Vec<&[u8]> =
            names.iter().filter(|(name, _)| !self.is_own(name)).map(|(_, span)| part(span.clone())).collect();
        let (first, last) = (names.first().map_or(0, |n| n.1.start), names.last().map_or(0, |n| n.1.end));
        [part(0..first), &kept.join(&b", "[..]), part(last..text.len())].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Owner {
        owner(text.as_bytes(), &HashSet::from(["z".to_owned(), "Two".to_owned()]))
    }

    #[test]
    fn a_statement_about_the_sessions_own_relation_is_the_sessions() {
        for text in [
            "drop table z",
            "drop table if exists z, \"Two\" cascade",
            "alter table only z add column a int",
            "ALTER VIEW IF EXISTS z RENAME TO y",
            "create unique index concurrently i on only z (a)",
            "create index on z (a)",
            "create or replace trigger t after update of a on z execute function f()",
            "create rule r as on insert to z do nothing",
            "create view v as select 1 from t join z on true",
            "comment on table z is 'mine'",
            "comment on column z.a is 'mine'",
            "comment on trigger t on z is 'mine'",
            "drop trigger t on z",
            "grant select on table z to somebody",
            "create table pg_temp.other (a int)",
            "drop function pg_temp_3.f()",
            "create or replace function f(int) returns setof z language sql as 'select * from z'",
        ] {
            assert_eq!(of(text), Owner::Session, "{text}");
        }
    }

    #[test]
    fn another_thing_of_the_same_name_does_not_make_it_so() {
        for text in [
            "create table t (z int)",
            "create table if not exists t (a int, z int) inherits (u)",
            "alter table t add column z int",
            "alter table t add column if not exists z int",
            "alter table t rename column a to z",
            "alter table app.z add column a int",
            "create index on t (z)",
            "create index z_i on t (a) where z > 1",
            "create view v as select a as z from t",
            "create function f(z int) returns int language sql as 'select 1'",
            "create trigger z after update of z on t execute function z()",
            "drop schema z",
            "drop function z(z)",
            "drop trigger z on t",
            "comment on column t.z is 'z'",
            "grant select (z) on t to z",
            "revoke all on app.z from z",
        ] {
            assert_eq!(of(text), Owner::Everybody, "{text}");
        }
    }

    #[test]
    fn of_several_that_are_dropped_only_everybodys_are_dropped_there() {
        let others = |text: &str| Owner::Mixed(text.as_bytes().to_vec());
        assert_eq!(of("drop table if exists a, z, b.c cascade"), others("drop table if exists a, b.c cascade"));
        assert_eq!(of("drop table z, a"), others("drop table a"));
    }

    #[test]
    fn columns_may_be_taken_from_the_sessions_own() {
        let own = HashSet::from(["z".to_owned()]);
        assert!(is_like_own(b"create table t (like z including all)", &own));
        assert!(is_like_own(b"create table t (id int, like pg_temp.x)", &own));
        assert!(!is_like_own(b"create table t (like y, z text check (z like z))", &own));
        assert!(!is_like_own(b"create table z (a text)", &own));
    }
}
