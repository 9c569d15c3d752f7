//! The analysis of SQL: offsets stay inside and in order, rewriting only inserts, and a write is never taken for a read.

use std::sync::OnceLock;

use pgduet::catalog::{Carry, Column, Exactness, Table, TableKind};
use pgduet::sql::lex::{Backslash, Lexer, Token, TokenKind};
use pgduet::sql::{self, Capture, Kind, Script};

/// Words that begin a statement which is no read, whatever follows.
const WRITES: &[&str] = &[
    "insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "grant", "revoke", "copy", "call",
    "do", "lock", "vacuum", "analyze", "cluster", "reindex", "refresh", "comment", "import", "security", "reassign",
    "execute", "prepare", "begin", "commit", "set", "reset", "notify", "listen", "declare",
];

/// Takes the input for the text of a query.
pub fn analysis(text: &[u8]) {
    for backslash in [Backslash::Plain, Backslash::Escape] {
        tokens_are_in_order(text, backslash);
        let script = sql::scan_with(text, backslash);
        spans_are_in_order(text, &script);
        no_write_is_a_read(text, backslash, &script);
        rewriting_only_inserts(text, &script);
    }
    tiers_agree(text);
    let form = sql::normalised(text);
    assert!(form.len() <= 8 * text.len() + 64, "a normal form of {} bytes of {}", form.len(), text.len());
}

fn tokens_are_in_order(text: &[u8], backslash: Backslash) {
    let mut end = 0;
    for token in Lexer::new(text, backslash) {
        assert!(token.start >= end && token.end > token.start && token.end <= text.len(), "{token:?} after {end}");
        let between = &text[end..token.start];
        assert!(between.iter().all(|byte| b" \t\n\r\x0b\x0c".contains(byte)), "{between:?} belongs to no token");
        end = token.end;
    }
}

fn spans_are_in_order(text: &[u8], script: &Script) {
    assert!(!script.statements.is_empty());
    let mut end = 0;
    for statement in &script.statements {
        let span = &statement.span;
        assert!(span.start >= end && span.end >= span.start && span.end <= text.len(), "{span:?} after {end}");
        let mut at = span.start;
        for dml in &statement.dml {
            assert!(dml.insert_at >= at && dml.insert_at <= span.end, "{} in {span:?} after {at}", dml.insert_at);
            at = dml.insert_at;
            assert!(dml.returning.is_none_or(|at| at >= span.start && at <= span.end));
        }
        end = span.end;
    }
}

/// By the words alone: what a statement begins with, and what each `AS (` of a leading WITH does.
fn no_write_is_a_read(text: &[u8], backslash: Backslash, script: &Script) {
    for statement in script.statements.iter().filter(|s| s.kind == Kind::Read) {
        let tokens: Vec<Token> = Lexer::new(text, backslash)
            .filter(|t| t.start >= statement.span.start && t.end <= statement.span.end && !t.kind.is_comment())
            .collect();
        let word = |at: usize| tokens.get(at).filter(|t| t.kind == TokenKind::Word).map(|t| lower(t.of(text)));
        let first = word(0).unwrap_or_default();
        assert!(!WRITES.contains(&first.as_str()), "taken for a read: {}", String::from_utf8_lossy(text));
        if first != "with" {
            continue;
        }
        for at in 0..tokens.len().saturating_sub(2) {
            let begins = matches!(word(at).as_deref(), Some("as" | "materialized"))
                && tokens[at + 1].kind == TokenKind::OpenParen;
            let verb = word(at + 2).unwrap_or_default();
            let writes =
                begins && matches!(verb.as_str(), "insert" | "delete" | "merge") && is_statement(&verb, word(at + 3));
            assert!(!writes, "taken for a read: {}", String::from_utf8_lossy(text));
        }
    }
}

/// The second word that the grammar wants of such a statement.
fn is_statement(verb: &str, second: Option<String>) -> bool {
    let wanted = if verb == "delete" { "from" } else { "into" };
    second.as_deref() == Some(wanted)
}

fn lower(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_ascii_lowercase()
}

fn rewriting_only_inserts(text: &[u8], script: &Script) {
    for capture in [Capture::Keys, Capture::Row, Capture::Table] {
        let insertions =
            script.statements.iter().flat_map(|s| &s.dml).flat_map(|dml| sql::insertions(dml, table(), capture));
        let rewritten = sql::rewrite(text, insertions.collect());
        let whole = rewritten.text(text);
        let mut rest = &whole[..];
        let mut original = Vec::with_capacity(text.len());
        for insertion in &rewritten.insertions {
            let (before, tail) = rest.split_at(insertion.at - original.len());
            original.extend_from_slice(before);
            rest = &tail[insertion.text.len()..];
        }
        original.extend_from_slice(rest);
        assert_eq!(original, text, "rewriting took something away");
        let positions: Vec<usize> = (1..whole.len().min(300)).map(|p| rewritten.client_position(p)).collect();
        assert!(positions.is_sorted(), "positions go back: {positions:?}");
        assert!(positions.iter().all(|p| *p <= text.len() + 1), "a position beyond the text");
    }
}

/// What the tree tier admits is, to the token tier, one statement and a read.
fn tiers_agree(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if sql::read_shape(text).is_ok() {
        let script = sql::scan(text.as_bytes());
        assert!(script.statements.len() == 1 && script.statements[0].kind == Kind::Read, "no read: {text}");
    }
}

/// A table whose key holds each way of writing a value.
fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let column = |(number, (name, exactness)): (usize, (&str, Exactness))| Column {
            name: name.into(),
            number: number as i16 + 1,
            type_oid: 23,
            array_oid: 1007,
            type_name: "integer".into(),
            not_null: true,
            generated: false,
            exactness,
            carry: Carry::Binary,
        };
        let columns = [("id", Exactness::Plain), ("at", Exactness::Iso), ("f", Exactness::Pinned)];
        Table {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            kind: TableKind::Plain,
            columns: columns.into_iter().enumerate().map(column).collect(),
            key: vec![0, 1, 2],
            mirrored: true,
            by_trigger: false,
            has_user_triggers: false,
            has_rules: false,
            has_heirs: false,
            has_blind_writers: false,
            row_security: false,
        }
    })
}
