//! What a DDL statement needs besides running: to be run on the other side as well, and perhaps its tables to be carried.
//!
//! A statement of whose kind nothing is known is taken to need both: too much is carried, never too little.

use std::collections::HashSet;

use super::cursor::Cursor;
use super::lex::{Backslash, TokenKind};
use super::name::identifier;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ddl {
    /// It concerns the server, or this session alone: nothing of it is the other side's affair.
    Local,
    /// It defines what the other side has to have too.
    Carried {
        /// It may compute data: rows have to be carried as well.
        rows: bool,
        /// It runs in no transaction block. The text is what the other side runs, in one: without the word CONCURRENTLY.
        alone: Option<Vec<u8>>,
    },
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
        "comment" | "security" => cursor.skip_rest(),
        _ => {}
    }
    if names_any(text, temporary) {
        return Ddl::Local;
    }
    let alone = concurrently(text).filter(|_| verb != "refresh");
    let rows = match verb.as_str() {
        "alter" => object == "table" && computes(text),
        "create" | "drop" | "comment" | "grant" | "revoke" | "refresh" | "security" | "reassign" => false,
        _ => true,
    };
    Ddl::Carried { rows, alone }
}

fn word(cursor: &Cursor<'_>) -> String {
    match cursor.token.kind {
        TokenKind::Word => String::from_utf8_lossy(cursor.token.of(cursor.text)).to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// Whether a name stands in it that is the session's own: without a schema, or in the temporary one.
fn names_any(text: &[u8], names: &HashSet<String>) -> bool {
    let mut cursor = Cursor::new(text, Backslash::Plain);
    while !cursor.at(TokenKind::End) {
        if let Some(name) = identifier(cursor.token, text, '\\') {
            let (of_a_schema, is_schema) = (cursor.prev.kind == TokenKind::Dot, cursor.peek().kind == TokenKind::Dot);
            if (!of_a_schema && names.contains(&name)) || (is_schema && name.starts_with("pg_temp")) {
                return true;
            }
        }
        cursor.bump();
    }
    false
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
    fn what_runs_in_no_block_is_run_in_one_on_the_other_side() {
        let without = b"create index              i on t (a)".to_vec();
        let wanted = Ddl::Carried { rows: false, alone: Some(without) };
        assert_eq!(of("create index concurrently i on t (a)"), wanted);
        assert_eq!(of("refresh materialized view concurrently v"), carried(false));
    }
}
