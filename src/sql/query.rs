//! Queries, as far as tokens tell: WITH clauses and the writes in them, INTO, row locks.

use super::cursor::Cursor;
use super::dml::Dml;
use super::kind::Kind;
use super::lex::TokenKind;

/// WITH clauses and statements nested deeper than this are not understood.
const MAX_NESTED: usize = 32;

/// What has been seen of one statement.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub dml: Vec<Dml>,
    pub locking: bool,
    /// INTO, and whether it is INTO TEMPORARY.
    pub into: Option<bool>,
    /// Something is not as the grammar wants it: nothing that was read of the statement is to be relied on.
    pub confused: bool,
    pub nested: usize,
}

/// Reads statements one after the other.
pub(super) struct Scanner<'a> {
    pub cursor: Cursor<'a>,
    pub facts: Facts,
}

impl Scanner<'_> {
    /// Runs `read` one level deeper, or gives up.
    pub(super) fn nested(&mut self, read: impl FnOnce(&mut Self)) {
        if self.facts.nested >= MAX_NESTED {
            self.facts.confused = true;
            return;
        }
        self.facts.nested += 1;
        read(self);
        self.facts.nested -= 1;
    }

    /// Takes one token, and the WITH clause of a subquery that it opens.
    #[inline]
    pub(super) fn step(&mut self) {
        let opens = self.cursor.at(TokenKind::OpenParen);
        self.cursor.bump();
        if opens && self.cursor.is("with") {
            self.subquery_with();
        }
    }

    fn subquery_with(&mut self) {
        self.nested(|scanner| {
            scanner.with_clause();
            if let Some(verb) = scanner.verb() {
                scanner.dml(verb, true);
            }
        });
    }

    /// `WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (statement) [SEARCH ...] [CYCLE ...], ...`
    pub(super) fn with_clause(&mut self) {
        self.cursor.bump();
        self.cursor.take("recursive");
        loop {
            if self.common_table().is_none() {
                self.facts.confused = true;
                return;
            }
            if !self.cursor.take_kind(TokenKind::Comma) {
                return;
            }
        }
    }

    fn common_table(&mut self) -> Option<()> {
        let cursor = &mut self.cursor;
        if !cursor.token.kind.is_name() {
            return None;
        }
        cursor.bump();
        if cursor.take("uescape") {
            cursor.bump();
        }
        cursor.skip_parenthesis();
        if !cursor.take("as") {
            return None;
        }
        cursor.take("not");
        cursor.take("materialized");
        self.statement_in_parenthesis()?;
        if self.cursor.is("search") {
            self.skip_to("set", 2);
        }
        if self.cursor.is("cycle") {
            self.skip_to("using", 2);
        }
        Some(())
    }

    /// Takes everything before `word`, and `tokens` more.
    fn skip_to(&mut self, word: &str, tokens: usize) {
        while !self.cursor.at_end() && !self.cursor.is(word) {
            self.cursor.bump();
        }
        (0..tokens).for_each(|_| self.cursor.bump());
    }

    /// `(SELECT ...)` or `(DELETE ... RETURNING ...)`, whose result somebody reads: its kind.
    pub(super) fn statement_in_parenthesis(&mut self) -> Option<Kind> {
        if !self.cursor.take_kind(TokenKind::OpenParen) {
            return None;
        }
        let mut kind = Kind::Other;
        self.nested(|scanner| kind = scanner.query_or_write(true));
        self.cursor.take_kind(TokenKind::CloseParen).then_some(kind)
    }

    /// A query or write with its WITH clause: what PREPARE, EXPLAIN, DECLARE, AS and the top level have in common.
    pub(super) fn query_or_write(&mut self, inner: bool) -> Kind {
        if self.cursor.is("with") {
            self.with_clause();
        }
        match self.verb() {
            Some(verb) => {
                self.dml(verb, inner);
                verb.into()
            }
            None => {
                self.select();
                self.query_kind()
            }
        }
    }

    /// A query from its first word or parenthesis to its end.
    fn select(&mut self) {
        let floor = self.cursor.depth;
        while self.cursor.at(TokenKind::OpenParen) {
            self.step();
        }
        if !self.cursor.is_one_of(&["select", "values", "table"]) {
            self.facts.confused = true;
        }
        while !self.cursor.at_end_of(floor) {
            if self.cursor.at(TokenKind::Word) {
                self.select_word();
            }
            self.step();
        }
    }

    fn select_word(&mut self) {
        let cursor = &self.cursor;
        match cursor.token.end - cursor.token.start {
            3 if cursor.is_keyword("for") => {
                let next = cursor.peek();
                let lock = |word| super::cursor::is_word(next, cursor.text, word);
                self.facts.locking |= ["update", "no", "share", "key"].into_iter().any(lock);
            }
            4 if cursor.is_keyword("into") => {
                let next = cursor.peek();
                let temporary = |word| super::cursor::is_word(next, cursor.text, word);
                self.facts.into = Some(["temp", "temporary", "local", "global"].into_iter().any(temporary));
            }
            _ => {}
        }
    }

    /// What a query is, after it was read.
    fn query_kind(&self) -> Kind {
        let facts = &self.facts;
        match facts.into {
            Some(temporary) => Kind::SelectInto { temporary },
            None if !facts.dml.is_empty() => Kind::WithDml,
            None if facts.locking => Kind::ReadLocking,
            None => Kind::Read,
        }
    }
}
