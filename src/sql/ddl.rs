//! What a DDL statement needs besides running: to be run on the other side as well, and perhaps its tables to be carried.
//!
//! A statement of whose kind nothing is known is taken to need both: too much is carried, never too little.

use std::collections::HashSet;

use super::cursor::Cursor;
use super::lex::{Backslash, TokenKind};
use super::owner::{Owner, is_like_own, owner};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ddl {
    /// It concerns the server, or this session alone: nothing of it is the other side's affair.
    Local,
    /// It defines what the other side has to have too.
    Carried {
        /// It may compute data: rows have to be carried as well.
        rows: bool,
        /// The text that the other side runs, in a transaction block, instead of the client's: without the word CONCURRENTLY, for
        /// instance. Where the client's runs in no block, nothing can stand in front of it.
        alone: Option<Vec<u8>>,
    },
    /// It makes a table after a relation of the session's own: the other side cannot run it, but have the same columns.
    Made,
}

/// What stands on a server, not in a database, and holds no data of the user's.
const OF_THE_SERVER: [&str; 5] = ["database", "tablespace", "system", "subscription", "publication"];

/// `temporary`: the session's own relations.
pub fn ddl(text: &[u8], temporary: &HashSet<String>) -> Ddl {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    let verb = word(&cursor);
    cursor.bump();
    let object = word(&cursor);
    let server = OF_THE_SERVER.contains(&object.as_str());
    match verb.as_str() {
        "create" | "drop" | "alter" if server => return Ddl::Local,
        "reindex" => return Ddl::Local,
        "comment" | "security" | "grant" | "revoke" if is_on_the_server(text) => return Ddl::Local,
        _ => {}
    }
    let others = match owner(text, temporary) {
        Owner::Session => return Ddl::Local,
        Owner::Mixed(others) => Some(others),
        Owner::Everybody => None,
    };
    if verb == "create" && matches!(object.as_str(), "table" | "unlogged") && is_like_own(text, temporary) {
        return Ddl::Made;
    }
    let alone = others.or_else(|| concurrently(text).filter(|_| verb != "refresh"));
    let rows = match verb.as_str() {
        "alter" => object == "table" && computes(text),
        "create" | "drop" | "comment" | "grant" | "revoke" | "refresh" | "security" | "reassign" => false,
        _ => true,
    };
    Ddl::Carried { rows, alone }
}

/// What EXPLAIN explains, if that creates something.
pub fn explained(text: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    while !(cursor.at_end() || cursor.depth == 0 && cursor.is("create")) {
        cursor.bump();
    }
    text.get(cursor.token.start..).unwrap_or_default()
}

fn word(cursor: &Cursor<'_>) -> String {
    match cursor.token.kind {
        TokenKind::Word => String::from_utf8_lossy(cursor.token.of(cursor.text)).to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// Whether it is said ON something of the server's.
fn is_on_the_server(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    while !cursor.at_end() {
        let on = cursor.depth == 0 && cursor.is("on");
        cursor.bump();
        if on {
            return cursor.is_one_of(&OF_THE_SERVER);
        }
    }
    false
}

/// A DROP that does without what is not there; `None`: it is no such statement, or is so already.
pub fn if_exists(text: &str) -> Option<String> {
    let mut cursor = Cursor::new(text.as_bytes(), Backslash::Plain);
    if !cursor.take("drop") || cursor.is("owned") {
        return None;
    }
    for _ in 0..words_of_kind(&cursor) {
        cursor.bump();
    }
    let kind_ends = cursor.prev.end;
    let (before, after) = text.split_at_checked(kind_ends).filter(|_| !cursor.is("if"))?;
    Some(format!("{before} IF EXISTS{after}"))
}

/// How many words say what kind of object is dropped.
fn words_of_kind(cursor: &Cursor<'_>) -> usize {
    match word(cursor).as_str() {
        "text" => 3,
        "foreign" if !cursor.peek_is("table") => 3,
        "operator" if !cursor.peek_is("class") && !cursor.peek_is("family") => 1,
        "foreign" | "operator" | "materialized" | "event" | "access" | "user" | "procedural" => 2,
        _ => 1,
    }
}

/// The text without its first word CONCURRENTLY, if it has one.
fn concurrently(text: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    while !cursor.at(TokenKind::End) {
        if cursor.is("concurrently") && cursor.depth == 0 {
            let (start, end) = (cursor.token.start, cursor.token.end);
            let mut without = text.to_vec();
            without.get_mut(start..end)?.fill(b' ');
            return Some(without);
        }
        cursor.bump();
    }
    None
}

/// Whether an ALTER TABLE may give a column values of its own: one that adds a column with a default, or changes a type.
fn computes(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    while !cursor.at(TokenKind::End) {
        let adds = cursor.is_one_of(&["default", "generated", "serial", "bigserial", "smallserial", "using", "type"]);
        let drops = cursor.prev_is("drop") || cursor.prev_is("set");
        if (adds && !drops && cursor.prev.kind != TokenKind::Dot) || cursor.is("expression") {
            return true;
        }
        if cursor.is_one_of(&["serial4", "serial8", "serial2", "attach", "detach", "inherit", "logged", "unlogged"]) {
            return true;
        }
        cursor.bump();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Ddl {
        ddl(text.as_bytes(), &HashSet::from(["mine".to_owned()]))
    }

    fn carried(rows: bool) -> Ddl {
        Ddl::Carried { rows, alone: None }
    }

    #[test]
    fn what_is_the_servers_or_the_sessions_own_stays_where_it_is() {
        assert_eq!(of("alter table app.mine add a int"), carried(false));
        assert_eq!(of("create function f() returns int return 1 set search_path = app, pg_temp"), carried(false));
        for text in [
            "create database x",
            "alter system set a = 1",
            "drop table mine",
            "drop table pg_temp.other",
            "create index on \"mine\" (a)",
            "comment on publication p is 'x'",
            "grant create on tablespace x to y",
            "revoke connect on database d from public",
        ] {
            assert_eq!(of(text), Ddl::Local, "{text}");
        }
    }

    #[test]
    fn rows_are_carried_where_a_statement_may_compute_them() {
        for text in [
            "create table t (a int default random())",
            "drop table t",
            "alter table t add b int",
            "grant all on t to x",
        ] {
            assert_eq!(of(text), carried(false), "{text}");
        }
        for text in ["alter table t drop column a", "alter table t alter a drop default", "alter table t rename a to b"]
        {
            assert_eq!(of(text), carried(false), "{text}");
        }
        for text in
            ["alter table t add b float default random()", "alter table t alter a type text", "import foreign schema s"]
        {
            assert_eq!(of(text), carried(true), "{text}");
        }
    }

    #[test]
    fn a_table_after_the_sessions_own_is_made_by_its_definition() {
        assert_eq!(of("create table t (like mine)"), Ddl::Made);
        assert_eq!(of("create unlogged table t (id int, like mine)"), Ddl::Made);
        assert_eq!(of("create table t (like yours, mine int)"), carried(false));
        let others = Ddl::Carried { rows: false, alone: Some(b"drop table t".to_vec()) };
        assert_eq!(of("drop table mine, t"), others);
    }

    #[test]
    fn what_is_not_there_need_not_be_dropped() {
        for (text, wanted) in [
            ("DROP TABLE a, b", "DROP TABLE IF EXISTS a, b"),
            ("drop materialized view v cascade", "drop materialized view IF EXISTS v cascade"),
            ("drop foreign data wrapper w", "drop foreign data wrapper IF EXISTS w"),
            ("drop foreign table f", "drop foreign table IF EXISTS f"),
            ("drop operator + (int, int)", "drop operator IF EXISTS + (int, int)"),
            ("drop operator class c using btree", "drop operator class IF EXISTS c using btree"),
            ("drop trigger t on a", "drop trigger IF EXISTS t on a"),
        ] {
            assert_eq!(if_exists(text).as_deref(), Some(wanted));
        }
        for text in ["drop table if exists a", "drop owned by x", "create table a (b int)"] {
            assert_eq!(if_exists(text), None);
        }
    }

    #[test]
    fn what_runs_in_no_block_is_run_in_one_on_the_other_side() {
        let without = b"create index              i on t (a)".to_vec();
        let wanted = Ddl::Carried { rows: false, alone: Some(without) };
        assert_eq!(of("create index concurrently i on t (a)"), wanted);
        assert_eq!(of("refresh materialized view concurrently v"), carried(false));
    }
}
