//! The token tier: from a text to its statements.
//!
//! One pass over the tokens, which are never collected. What is not understood comes out as [`Kind::Other`], with nothing
//! captured: the caller counts it as a write that was missed.

use std::ops::Range;

use super::cursor::Cursor;
use super::dml::Dml;
use super::hints::Hints;
use super::kind::Kind;
use super::lex::{Backslash, TokenKind};
use super::query::{Facts, Scanner};

/// The statements of one text (a simple query, or what is to be prepared).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Empty ones between semicolons are left out; never empty itself: a text without a statement has one
    /// [`Kind::Empty`].
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// From its first to its last token, without semicolon and the comments around it.
    pub span: Range<usize>,
    pub kind: Kind,
    pub fingerprint: Fingerprint,
    /// The writes in it, inner ones first, in the order of their `insert_at`.
    pub dml: Vec<Dml>,
    pub hints: Hints,
}

/// The same for statements that differ in constants, spelling and the length of lists only; never another from release to
/// release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u128);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Analyses a text under `standard_conforming_strings = on`.
pub fn scan(text: &[u8]) -> Script {
    scan_with(text, Backslash::Plain)
}

/// Analyses a text for a session whose backslashes mean `backslash`.
pub fn scan_with(text: &[u8], backslash: Backslash) -> Script {
    let mut statements = Vec::new();
    each_statement(text, backslash, |statement, _| statements.push(statement));
    Script { statements }
}

/// The normal form of a text (see [`Fingerprint`]), for people; it holds no constant of the client's.
pub fn normalised(text: &[u8]) -> String {
    let mut forms = Vec::new();
    each_statement(text, Backslash::Plain, |_, form| forms.push(String::from_utf8_lossy(form).into_owned()));
    forms.join("; ")
}

/// Calls `found` for each statement with its normal form.
fn each_statement(text: &[u8], backslash: Backslash, mut found: impl FnMut(Statement, &[u8])) {
    let mut scanner = Scanner { cursor: Cursor::new(text, backslash), facts: Facts::default() };
    let mut last = None;
    loop {
        if scanner.cursor.at_end() {
            if scanner.cursor.at(TokenKind::End) {
                break;
            }
            scanner.cursor.skip_semicolon();
            continue;
        }
        if let Some(statement) = last.take() {
            found(statement, scanner.cursor.normal.finish());
        }
        last = Some(scanner.take_statement());
    }
    // tags behind the last semicolon are meant for the last statement
    let trailing = std::mem::take(&mut scanner.cursor.hints);
    let mut statement = last.unwrap_or_else(|| empty(text.len()));
    statement.hints.fill_from(trailing);
    found(statement, scanner.cursor.normal.finish());
}

fn empty(at: usize) -> Statement {
    let fingerprint = Fingerprint(xxhash_rust::xxh3::xxh3_128(b""));
    Statement { span: at..at, kind: Kind::Empty, fingerprint, dml: Vec::new(), hints: Hints::default() }
}

impl Scanner<'_> {
    /// Takes one statement, up to its semicolon.
    fn take_statement(&mut self) -> Statement {
        self.cursor.begin_statement();
        self.facts = Facts::default();
        let start = self.cursor.token.start;
        let kind = self.statement();
        self.cursor.skip_rest();
        let facts = std::mem::take(&mut self.facts);
        let understood = !(facts.confused || self.cursor.broken || self.cursor.depth != 0);
        Statement {
            span: start..self.cursor.prev.end,
            kind: if understood { kind } else { Kind::Other },
            fingerprint: Fingerprint(xxhash_rust::xxh3::xxh3_128(self.cursor.normal.finish())),
            dml: if understood { facts.dml } else { Vec::new() },
            hints: std::mem::take(&mut self.cursor.hints),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::Side;
    use crate::sql::kind::{Isolation, Modes};

    fn kinds(text: &str) -> Vec<Kind> {
        scan(text.as_bytes()).statements.into_iter().map(|statement| statement.kind).collect()
    }

    fn kind(text: &str) -> Kind {
        let mut kinds = kinds(text);
        assert_eq!(kinds.len(), 1, "{text}");
        kinds.remove(0)
    }

    fn labels(text: &str) -> Vec<&'static str> {
        kinds(text).iter().map(Kind::label).collect()
    }

    #[test]
    fn a_text_splits_at_its_semicolons_only() {
        assert_eq!(labels("select ';'; -- ;\n select 2 /* ; */;;"), ["read", "read"]);
        assert_eq!(
            labels("create rule r as on insert to t do (delete from a; delete from b); select 1"),
            ["ddl", "read"]
        );
        let body =
            "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 1";
        assert_eq!(labels(body), ["ddl", "read"]);
        assert_eq!(labels("create procedure begin(); begin; select 1"), ["ddl", "transaction", "read"]);
        assert_eq!(labels(" /* nothing */ ; -- at all"), ["empty"]);
        assert_eq!(labels(""), ["empty"]);
    }

    #[test]
    fn a_span_leaves_out_what_surrounds_the_statement() {
        let text = "/* a */ select 1 /* b */ + 2 -- c\n ; select 3";
        let spans: Vec<&str> = scan(text.as_bytes()).statements.iter().map(|s| &text[s.span.clone()]).collect();
        assert_eq!(spans, ["select 1 /* b */ + 2", "select 3"]);
    }

    #[test]
    fn reads_are_told_from_what_only_looks_like_one() {
        for read in [
            "select 1",
            "(select 1) union (select 2)",
            "((select 1))",
            "values (1)",
            "table t",
            "with a as (select 1), b(x) as materialized (values (2)) select * from a, b",
            "with recursive a as (select 1) cycle x set c using p, b as (table t) select * from a",
            "with recursive a as (select 1) search depth first by x, y set o select * from a",
            "select 1 as into, t.into, x as for from t",
            "select \"for\" from t",
            "select count(update) from t",
            "select substring(a for 3) from t",
            "select * from f() with ordinality as t(a, b)",
            "select * from (with x as (select 1) select * from x) y",
            "select do from set",
        ] {
            assert_eq!(kind(read), Kind::Read, "{read}");
        }
        for lock in ["update", "no key update", "share", "key share", "update skip locked", "share of t nowait"] {
            assert_eq!(kind(&format!("select * from t for {lock}")), Kind::ReadLocking);
            assert_eq!(kind(&format!("select * from (select * from t for {lock}) u")), Kind::ReadLocking);
        }
        assert_eq!(kind("select * into t from u"), Kind::SelectInto { temporary: false });
        assert_eq!(kind("select into temp t from u"), Kind::SelectInto { temporary: true });
        assert_eq!(kind("with a as (select 1) select * into t from a"), Kind::SelectInto { temporary: false });
    }

    #[test]
    fn a_write_in_a_with_clause_is_found_at_any_depth() {
        for write in [
            "with a as (delete from t returning *) select * from a",
            "with a as (select 1), b as (insert into t values (1)) select 1",
            "with a as not materialized (with b as (update t set x = 1 returning x) select * from b) select 1",
            "with a as (with b as (select 1) delete from t) select 1",
            "select * from (with a as (delete from t returning 1) select * from a) x",
            "with a as (merge into t using u on true when matched then delete) table a",
            "with update as (delete from t) select 1",
        ] {
            assert_eq!(kind(write), Kind::WithDml, "{write}");
        }
        assert_eq!(kind("with a as (select 1) insert into t select * from a"), Kind::Insert);
        for both in [
            "with a as (delete from t returning *) select * into temp u from a",
            "create temp table u as with a as (delete from t returning *) select * from a",
        ] {
            let statement = scan(both.as_bytes()).statements.remove(0);
            assert!(statement.dml.len() == 1 && statement.kind != Kind::WithDml, "{both} creates, and it writes");
        }
        assert_eq!(kind("with a as (select 1) delete from t"), Kind::Delete);
    }

    #[test]
    fn what_is_not_understood_may_write() {
        for text in [
            "select (1",
            "select 1)",
            "select 'open",
            "selekt 1",
            "42",
            "(delete from t)",
            "with a (delete from t) select 1",
            "update t",
            "delete t",
            "select 1 \\ 2",
            "\"select\" 1",
            "start replication",
            "create function f() begin atomic select 1;",
        ] {
            let script = scan(text.as_bytes());
            assert_eq!(script.statements[0].kind, Kind::Other, "{text}");
            assert!(script.statements[0].dml.is_empty() && script.statements[0].kind.may_write());
        }
        let deep = format!("{}select 1{}", "with a as (".repeat(100), ") select 1".repeat(100));
        assert_eq!(kind(&deep), Kind::Other);
    }

    #[test]
    fn deep_or_long_texts_are_read_without_recursion() {
        for text in [
            format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("select 1{}", "(with a as (select 1) select ".repeat(100_000)),
            "explain ".repeat(100_000),
            format!("insert into t values (1){}", ", (2)".repeat(100_000)),
        ] {
            assert_eq!(scan(text.as_bytes()).statements.len(), 1);
        }
    }

    #[test]
    fn transactions_say_their_modes() {
        assert_eq!(kind("begin"), Kind::Begin(Modes::default()));
        let modes = Modes { isolation: Some(Isolation::Serializable), read_only: Some(true) };
        assert_eq!(kind("start transaction isolation level serializable, read only, deferrable"), Kind::Begin(modes));
        let modes = Modes { isolation: Some(Isolation::ReadCommitted), read_only: Some(false) };
        assert_eq!(kind("begin work isolation level read uncommitted read write"), Kind::Begin(modes));
        let modes = Modes { isolation: Some(Isolation::RepeatableRead), read_only: None };
        assert_eq!(kind("set transaction isolation level repeatable read"), Kind::SetTransaction(modes));
        let session = "set session characteristics as transaction read only";
        assert_eq!(kind(session), Kind::SetSessionCharacteristics(Modes { isolation: None, read_only: Some(true) }));
        assert_eq!(kind("end and chain"), Kind::Commit { chain: true });
        assert_eq!(kind("commit work and no chain"), Kind::Commit { chain: false });
        assert_eq!(kind("abort transaction"), Kind::Rollback { chain: false });
        assert_eq!(kind("savepoint a"), Kind::Savepoint(10..11));
        assert_eq!(kind("rollback to savepoint a"), Kind::RollbackTo(22..23));
        assert_eq!(kind("rollback to savepoint"), Kind::RollbackTo(12..21));
        assert_eq!(kind("release \"A b\""), Kind::Release(8..13));
        assert_eq!(kind("prepare transaction 'x'"), Kind::PrepareTransaction);
        assert_eq!(kind("commit prepared 'x'"), Kind::CommitPrepared);
        assert_eq!(kind("rollback prepared 'x'"), Kind::RollbackPrepared);
    }

    #[test]
    fn settings_show_name_and_value() {
        let set = |text: &'static str| match kind(text) {
            Kind::Set { local, name, value } => (local, &text[name], &text[value]),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(set("SET pgduet.key = '42';"), (false, "pgduet.key", "'42'"));
        assert_eq!(set("set local search_path to a, \"B\""), (true, "search_path", "a, \"B\""));
        assert_eq!(set("set session time zone 'UTC'"), (false, "time zone", "'UTC'"));
        assert_eq!(set("set names 'utf8'"), (false, "names", "'utf8'"));
        assert_eq!(kind("set local role x"), Kind::SetRole { local: true });
        assert_eq!(kind("set session authorization default"), Kind::SetSessionAuthorization { local: false });
        assert_eq!(kind("set session session authorization x"), Kind::SetSessionAuthorization { local: false });
        assert_eq!(kind("set constraints all deferred"), Kind::SetConstraints);
        assert_eq!(kind("reset all"), Kind::ResetAll);
        assert_eq!(kind("reset time zone"), Kind::Reset(6..15));
        assert_eq!(kind("show pgduet.key"), Kind::Show(5..15));
        assert_eq!(kind("discard all"), Kind::DiscardAll);
        assert_eq!(kind("discard temp"), Kind::Discard);
    }

    #[test]
    fn statements_around_statements_show_the_inner_kind() {
        let inner = |text: &str| match kind(text) {
            Kind::Prepare { inner, .. } | Kind::DeclareCursor { inner, .. } | Kind::CopyTo { inner } => *inner,
            Kind::Explain { inner, .. } => *inner,
            other => other,
        };
        assert_eq!(inner("prepare a (int, text) as update t set x = $1"), Kind::Update);
        assert_eq!(inner("declare c binary no scroll cursor with hold for select 1 for update"), Kind::ReadLocking);
        assert_eq!(inner("copy (delete from t returning *) to stdout"), Kind::Delete);
        assert_eq!(inner("copy (with a as (select 1) select * from a) to stdout"), Kind::Read);
        assert_eq!(inner("copy t (a, b) to stdout"), Kind::Read);
        assert_eq!(inner("explain (costs off) (select 1)"), Kind::Read);
        assert_eq!(inner("explain verbose delete from t"), Kind::Delete);
        assert_eq!(inner("explain create table t as select 1"), Kind::CreateTableAs);
        let hold = |text| matches!(kind(text), Kind::DeclareCursor { hold: true, .. });
        assert!(hold("declare c cursor with hold for select 1") && !hold("declare c cursor without hold for select 1"));
    }

    #[test]
    fn explain_writes_only_when_it_analyzes() {
        for text in [
            "explain analyze delete from t",
            "explain (verbose, analyze) delete from t",
            "explain (analyze on) delete from t",
        ] {
            assert!(kind(text).may_write(), "{text}");
        }
        for text in
            ["explain delete from t", "explain (analyze off, verbose) delete from t", "explain analyze select 1"]
        {
            assert!(!kind(text).may_write(), "{text}");
        }
    }

    #[test]
    fn tables_are_created_for_good_or_for_the_session() {
        assert_eq!(kind("create table t (a int generated always as (b) stored)"), Kind::Ddl);
        assert_eq!(
            kind("create table if not exists s.t (a) with (x) as with y as (select 1) table y"),
            Kind::CreateTableAs
        );
        assert_eq!(kind("create unlogged table t as execute p(1)"), Kind::CreateTableAs);
        for text in [
            "create temp table t as select 1",
            "create or replace temporary view v as select 1",
            "create table pg_temp.t ()",
        ] {
            assert_eq!(kind(text), Kind::CreateTemp, "{text}");
        }
        assert_eq!(kind("truncate table only a, s.b * restart identity cascade").label(), "truncate");
    }

    #[test]
    fn copy_shows_where_it_writes() {
        let text = "copy s.t (a, \"B\") from stdin with (format csv)";
        let Kind::CopyFrom(copy) = kind(text) else { panic!() };
        assert_eq!((copy.target.to_string(), copy.stdin), ("s.t".into(), true));
        assert_eq!((copy.columns, &text[copy.options]), (vec!["a".into(), "B".into()], "with (format csv)"));
        let Kind::CopyFrom(copy) = kind("copy binary t from program 'cat' where a > 1") else { panic!() };
        assert!(!copy.stdin && copy.columns.is_empty());
    }

    #[test]
    fn hints_belong_to_the_statement_they_stand_in() {
        let text = "/* pgduet_key='a' */ select 1; select /*pgduet_key='b'*/ 2; select 3; -- pgduet_route='new'";
        let hints: Vec<Hints> = scan(text.as_bytes()).statements.into_iter().map(|s| s.hints).collect();
        assert_eq!(hints.iter().map(|h| h.key.as_deref()).collect::<Vec<_>>(), [Some("a"), Some("b"), None]);
        assert_eq!(hints.iter().map(|h| h.route).collect::<Vec<_>>(), [None, None, Some(Side::New)]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_analysed_too() {
        assert_eq!(scan(b"select 'caf\xe9' from t").statements[0].kind, Kind::Read);
        assert_eq!(scan(b"delete from caf\xe9").statements[0].kind, Kind::Other, "its name cannot be looked up");
    }
}
