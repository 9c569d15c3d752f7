//! From a statement's first words to its kind.

use std::ops::Range;

use super::dml::Verb;
use super::kind::{Copy, Isolation, Kind, Modes};
use super::lex::TokenKind;
use super::query::Scanner;

impl From<Verb> for Kind {
    fn from(verb: Verb) -> Kind {
        match verb {
            Verb::Insert => Kind::Insert,
            Verb::Update => Kind::Update,
            Verb::Delete => Kind::Delete,
            Verb::Merge => Kind::Merge,
        }
    }
}

/// Longest first word that begins a statement ("deallocate", "checkpoint").
const MAX_FIRST_WORD: usize = 10;

impl Scanner<'_> {
    /// Takes one statement.
    pub(super) fn statement(&mut self) -> Kind {
        if self.cursor.at(TokenKind::OpenParen) {
            return self.query_or_write(false);
        }
        let mut lower = [0; MAX_FIRST_WORD];
        let word = self.cursor.token.of(self.cursor.text);
        let Some(first) = lower.get_mut(..word.len()).filter(|_| self.cursor.at(TokenKind::Word)) else {
            return self.unknown();
        };
        first.copy_from_slice(word);
        first.make_ascii_lowercase();
        self.by_first_word(&*first)
    }

    fn by_first_word(&mut self, word: &[u8]) -> Kind {
        match word {
            b"select" | b"insert" | b"update" | b"delete" | b"with" | b"values" | b"table" | b"merge" => {
                self.query_or_write(false)
            }
            b"begin" => self.begin(),
            b"start" => match self.cursor.peek_is("transaction") {
                true => self.begin(),
                false => self.unknown(),
            },
            b"commit" | b"end" => self.commit(),
            b"rollback" | b"abort" => self.rollback(),
            b"savepoint" => self.named(Kind::Savepoint),
            b"release" => self.release(),
            b"set" => self.set(),
            b"reset" => self.reset(),
            b"show" => {
                self.cursor.bump();
                Kind::Show(self.rest())
            }
            b"discard" => match self.cursor.peek_is("all") {
                true => Kind::DiscardAll,
                false => Kind::Discard,
            },
            b"prepare" => self.prepare(),
            b"execute" => self.named(Kind::Execute),
            b"deallocate" => self.deallocate(),
            b"declare" => self.declare(),
            b"close" => {
                self.cursor.bump();
                Kind::Close(self.name_or_all())
            }
            b"copy" => self.copy(),
            b"truncate" => self.truncate(),
            b"create" => self.create(),
            b"explain" => self.explain(),
            _ => simple(word).unwrap_or_else(|| self.unknown()),
        }
    }

    /// A statement that nothing is known of.
    fn unknown(&mut self) -> Kind {
        self.facts.confused = true;
        Kind::Other
    }

    /// Takes all that is left: its span.
    fn rest(&mut self) -> Range<usize> {
        let start = self.cursor.token.start;
        self.cursor.skip_rest();
        start..self.cursor.prev.end.max(start)
    }

    /// Takes a name: its span.
    fn name_span(&mut self) -> Range<usize> {
        let start = self.cursor.token.start;
        if self.cursor.name().is_none() {
            self.facts.confused = true;
        }
        start..self.cursor.prev.end.max(start)
    }

    fn named(&mut self, kind: impl Fn(Range<usize>) -> Kind) -> Kind {
        self.cursor.bump();
        kind(self.name_span())
    }

    fn name_or_all(&mut self) -> Option<Range<usize>> {
        match self.cursor.take("all") {
            true => None,
            false => Some(self.name_span()),
        }
    }

    fn begin(&mut self) -> Kind {
        self.cursor.bump();
        let _ = self.cursor.take("work") || self.cursor.take("transaction");
        Kind::Begin(self.modes())
    }

    /// `ISOLATION LEVEL x`, `READ ONLY`, `READ WRITE`, `[NOT] DEFERRABLE`, with or without commas.
    fn modes(&mut self) -> Modes {
        let mut modes = Modes::default();
        while !self.cursor.at_end() {
            let cursor = &mut self.cursor;
            if cursor.take("isolation") {
                cursor.take("level");
                modes.isolation = self.isolation();
            } else if cursor.take("read") {
                modes.read_only = Some(cursor.is("only"));
                cursor.bump();
            } else {
                cursor.bump();
            }
        }
        modes
    }

    fn isolation(&mut self) -> Option<Isolation> {
        let level = match () {
            () if self.cursor.is("serializable") => Isolation::Serializable,
            () if self.cursor.is("repeatable") => Isolation::RepeatableRead,
            () if self.cursor.is("read") => Isolation::ReadCommitted,
            () => return None,
        };
        self.cursor.bump();
        if level != Isolation::Serializable {
            self.cursor.bump();
        }
        Some(level)
    }

    /// `[WORK | TRANSACTION] [AND [NO] CHAIN]`
    fn chain(&mut self) -> bool {
        let _ = self.cursor.take("work") || self.cursor.take("transaction");
        self.cursor.take("and") && self.cursor.take("chain")
    }

    fn commit(&mut self) -> Kind {
        self.cursor.bump();
        match self.cursor.is("prepared") {
            true => Kind::CommitPrepared,
            false => Kind::Commit { chain: self.chain() },
        }
    }

    fn rollback(&mut self) -> Kind {
        self.cursor.bump();
        if self.cursor.is("prepared") {
            return Kind::RollbackPrepared;
        }
        let chain = self.chain();
        if !self.cursor.take("to") {
            return Kind::Rollback { chain };
        }
        self.skip_savepoint_word();
        Kind::RollbackTo(self.name_span())
    }

    fn release(&mut self) -> Kind {
        self.cursor.bump();
        self.skip_savepoint_word();
        Kind::Release(self.name_span())
    }

    /// The word SAVEPOINT is optional, and may itself be the name.
    fn skip_savepoint_word(&mut self) {
        if self.cursor.is("savepoint") && self.cursor.peek().kind.is_name() {
            self.cursor.bump();
        }
    }

    fn set(&mut self) -> Kind {
        self.cursor.bump();
        let local = self.cursor.take("local");
        if !local
            && self.cursor.is("session")
            && !self.cursor.peek_is("authorization")
            && !self.cursor.peek_is("characteristics")
        {
            self.cursor.bump();
        }
        let cursor = &mut self.cursor;
        match () {
            () if cursor.is("constraints") => Kind::SetConstraints,
            () if cursor.take("transaction") => Kind::SetTransaction(self.modes()),
            () if cursor.is("session") && cursor.peek_is("characteristics") => {
                Kind::SetSessionCharacteristics(self.modes())
            }
            () if cursor.is("session") && cursor.peek_is("authorization") => Kind::SetSessionAuthorization { local },
            () if cursor.is("role") => Kind::SetRole { local },
            () => self.assignment(local),
        }
    }

    /// `name = value`, `name TO value`, and the settings with a syntax of their own.
    fn assignment(&mut self, local: bool) -> Kind {
        let start = self.cursor.token.start;
        let words = match () {
            () if self.cursor.is("time") && self.cursor.peek_is("zone") => 2,
            () if self.cursor.is("xml") && self.cursor.peek_is("option") => 2,
            () if self.cursor.is_one_of(&["names", "catalog", "schema"]) => 1,
            () => 0,
        };
        (0..words).for_each(|_| self.cursor.bump());
        let name = match words {
            0 => self.name_span(),
            _ => start..self.cursor.prev.end,
        };
        if self.cursor.is_operator(b"=") || self.cursor.is("to") {
            self.cursor.bump();
        } else if words == 0 {
            return self.unknown();
        }
        Kind::Set { local, name, value: self.rest() }
    }

    fn reset(&mut self) -> Kind {
        self.cursor.bump();
        match self.cursor.is("all") {
            true => Kind::ResetAll,
            false => Kind::Reset(self.rest()),
        }
    }

    fn prepare(&mut self) -> Kind {
        self.cursor.bump();
        if self.cursor.is("transaction") && self.cursor.peek().kind.is_literal() {
            return Kind::PrepareTransaction;
        }
        let name = self.name_span();
        self.cursor.skip_parenthesis();
        match self.cursor.take("as") {
            true => Kind::Prepare { name, inner: Box::new(self.query_or_write(false)) },
            false => self.unknown(),
        }
    }

    fn deallocate(&mut self) -> Kind {
        self.cursor.bump();
        if self.cursor.is("prepare") && self.cursor.peek().kind.is_name() {
            self.cursor.bump();
        }
        Kind::Deallocate(self.name_or_all())
    }

    fn declare(&mut self) -> Kind {
        self.cursor.bump();
        let name = self.name_span();
        let mut hold = false;
        while !self.cursor.at_end() && !self.cursor.is("for") {
            hold |= self.cursor.is("hold") && self.cursor.prev_is("with");
            self.cursor.bump();
        }
        match self.cursor.take("for") {
            true => Kind::DeclareCursor { name, hold, inner: Box::new(self.query_or_write(false)) },
            false => self.unknown(),
        }
    }

    fn copy(&mut self) -> Kind {
        self.cursor.bump();
        if self.cursor.at(TokenKind::OpenParen) {
            return self.copy_query();
        }
        if self.cursor.is("binary") && self.cursor.peek().kind.is_name() {
            self.cursor.bump();
        }
        let Some(target) = self.cursor.name() else { return self.unknown() };
        let Some(columns) = self.copy_columns() else { return self.unknown() };
        if self.cursor.take("to") {
            return Kind::CopyTo { inner: Box::new(Kind::Read) };
        }
        if !self.cursor.take("from") {
            return self.unknown();
        }
        let stdin = self.cursor.is_one_of(&["stdin", "stdout"]);
        if self.cursor.take("program") || !self.cursor.at_end() {
            self.cursor.bump();
        }
        let options = self.rest();
        Kind::CopyFrom(Box::new(Copy { target, columns, stdin, options }))
    }

    fn copy_query(&mut self) -> Kind {
        match self.statement_in_parenthesis() {
            Some(inner) if self.cursor.is("to") => Kind::CopyTo { inner: Box::new(inner) },
            _ => self.unknown(),
        }
    }

    fn copy_columns(&mut self) -> Option<Vec<String>> {
        let mut columns = Vec::new();
        if self.cursor.take_kind(TokenKind::OpenParen) {
            loop {
                columns.push(self.cursor.identifier()?);
                if !self.cursor.take_kind(TokenKind::Comma) {
                    break;
                }
            }
            if !self.cursor.take_kind(TokenKind::CloseParen) {
                return None;
            }
        }
        Some(columns)
    }

    fn truncate(&mut self) -> Kind {
        self.cursor.bump();
        self.cursor.take("table");
        let mut targets = Vec::new();
        loop {
            self.cursor.take("only");
            let parenthesis = self.cursor.take_kind(TokenKind::OpenParen);
            let Some(target) = self.cursor.name() else { return self.unknown() };
            targets.push(target);
            if parenthesis {
                self.cursor.take_kind(TokenKind::CloseParen);
            }
            if self.cursor.is_operator(b"*") {
                self.cursor.bump();
            }
            if !self.cursor.take_kind(TokenKind::Comma) {
                return Kind::Truncate(targets);
            }
        }
    }

    fn explain(&mut self) -> Kind {
        self.cursor.bump();
        let mut analyze = self.cursor.take("analyze") || self.cursor.take("analyse");
        self.cursor.take("verbose");
        if self.cursor.at(TokenKind::OpenParen) && !self.opens_query() {
            analyze = self.explain_options();
        }
        let mut inner = Kind::Other;
        self.nested(|scanner| inner = scanner.statement());
        Kind::Explain { analyze, inner: Box::new(inner) }
    }

    /// The parenthesis here begins a query, not a list of options.
    fn opens_query(&self) -> bool {
        let next = self.cursor.peek();
        let word = |word| super::cursor::is_word(next, self.cursor.text, word);
        next.kind == TokenKind::OpenParen || ["select", "with", "values", "table"].into_iter().any(word)
    }

    /// `(ANALYZE [value], ...)`. Any value that is not known to be false counts.
    fn explain_options(&mut self) -> bool {
        self.cursor.bump();
        let floor = self.cursor.depth;
        let mut analyze = false;
        while !self.cursor.at_end_of(floor) {
            self.cursor.bump();
            if self.cursor.prev_is("analyze") || self.cursor.prev_is("analyse") {
                analyze = !is_false(self.cursor.token.of(self.cursor.text));
            }
        }
        self.cursor.take_kind(TokenKind::CloseParen);
        analyze
    }

    fn create(&mut self) -> Kind {
        self.cursor.bump();
        let mut temporary = false;
        while self.cursor.is_one_of(&["or", "replace", "global", "local", "temp", "temporary", "unlogged", "recursive"])
        {
            temporary |= self.cursor.is("temp") || self.cursor.is("temporary");
            self.cursor.bump();
        }
        if self.cursor.is("function") || self.cursor.is("procedure") {
            self.routine();
            return Kind::Ddl;
        }
        let table = self.cursor.is("table");
        if !table && !self.cursor.is("view") && !self.cursor.is("sequence") {
            return Kind::Ddl;
        }
        self.cursor.bump();
        if self.cursor.take("if") {
            let _ = self.cursor.take("not") && self.cursor.take("exists");
        }
        temporary |= self.cursor.name().is_some_and(|name| name.schema.is_some_and(|schema| schema == "pg_temp"));
        match (table && self.table_as(), temporary) {
            (_, true) => Kind::CreateTemp,
            (true, _) => Kind::CreateTableAs,
            (false, _) => Kind::Ddl,
        }
    }

    /// Behind `CREATE TABLE name`: whether AS and a query follow, which is then taken.
    fn table_as(&mut self) -> bool {
        while !self.cursor.at_end() {
            if self.cursor.depth == 0 && self.cursor.take("as") {
                if !self.cursor.is("execute") {
                    self.query_or_write(false);
                }
                return true;
            }
            self.cursor.bump();
        }
        false
    }

    /// Behind CREATE FUNCTION: a body of BEGIN ATOMIC ... END holds semicolons, and CASE ... END too.
    fn routine(&mut self) {
        let mut open = 0_usize;
        while !self.cursor.at_end() {
            let cursor = &self.cursor;
            match cursor.token.end - cursor.token.start {
                5 if open == 0 && cursor.is("begin") && cursor.peek_is("atomic") => open = 1,
                4 if open > 0 && cursor.is_keyword("case") => open += 1,
                3 if open > 0 && cursor.is_keyword("end") => open -= 1,
                _ => {}
            }
            self.cursor.in_body = open > 0;
            self.cursor.bump();
        }
        self.facts.confused |= open > 0;
    }
}

/// Statements whose first word says it all.
fn simple(word: &[u8]) -> Option<Kind> {
    Some(match word {
        b"fetch" => Kind::Fetch,
        b"move" => Kind::Move,
        b"do" => Kind::Do,
        b"call" => Kind::Call,
        b"lock" => Kind::Lock,
        b"listen" => Kind::Listen,
        b"notify" => Kind::Notify,
        b"unlisten" => Kind::Unlisten,
        b"vacuum" | b"analyze" | b"analyse" | b"cluster" | b"checkpoint" | b"load" => Kind::Maintenance,
        b"alter" | b"drop" | b"comment" | b"grant" | b"revoke" | b"reindex" | b"refresh" | b"security" | b"import" => {
            Kind::Ddl
        }
        b"reassign" => Kind::Ddl,
        _ => return None,
    })
}

/// How EXPLAIN's options say no.
fn is_false(value: &[u8]) -> bool {
    ["0", "off", "false", "'0'", "'off'", "'false'"].iter().any(|no| value.eq_ignore_ascii_case(no.as_bytes()))
}
