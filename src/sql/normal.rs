//! The normal form of a statement: what stays the same when only its constants, its spelling or the length of its lists
//! differ. A fingerprint is the hash of it.
//!
//! Constants and parameters become `?` (a sign in front of one goes with it), words are lower-cased, comments and white
//! space dropped, and in `IN (...)`, `VALUES (...), (...)` and `ARRAY[...]` an item that repeats the one before is left out.
//! Otherwise the text would lex to the same tokens, so statements that differ in anything else differ here: casts, quoting of
//! names and the operator `?` (written `\?`) included.

use super::lex::{Token, TokenKind};

/// Lists nested deeper than this are not shortened.
const MAX_LISTS: usize = 4;

/// Builds one normal form at a time, token by token, in a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Normaliser {
    out: Vec<u8>,
    last: Last,
    /// Where the last token begins in `out`.
    last_start: usize,
    /// What stood before the signs in prefix position, to go back to if a constant follows.
    sign: Option<(usize, Last)>,
    depth: usize,
    lists: [List; MAX_LISTS],
    open_lists: usize,
}

/// What the last token was, as far as the next one's spacing and meaning depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Word,
    /// A constant, a quoted name or a closing bracket: a value may end here.
    Value,
    /// Something that the next token follows without a space.
    Tight,
    Other,
}

/// A list that may be shortened.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    /// Brackets open where its commas stand.
    depth: usize,
    /// Rows of VALUES: it has no bracket of its own.
    rows: bool,
    item: usize,
    previous: Option<(usize, usize)>,
}

impl Normaliser {
    pub fn clear(&mut self, capacity: usize) {
        self.out.clear();
        self.out.reserve(capacity);
        (self.last, self.last_start, self.sign, self.depth, self.open_lists) = (Last::Nothing, 0, None, 0, 0);
    }

    /// The normal form so far. Closes lists that are still open.
    pub fn finish(&mut self) -> &[u8] {
        while self.open_lists > 0 {
            self.close_list();
        }
        &self.out
    }

    #[inline]
    pub fn push(&mut self, token: Token, text: &[u8]) {
        if self.open_lists > 0 {
            self.before(token.kind);
        }
        let sign = self.sign.take();
        match token.kind {
            TokenKind::Word => self.push_word(token.of(text)),
            kind if kind.is_literal() || kind == TokenKind::Unterminated => self.push_constant(sign),
            TokenKind::Operator => self.push_operator(token.of(text), sign),
            TokenKind::OpenParen => self.open(b'('),
            TokenKind::OpenBracket => self.open(b'['),
            TokenKind::CloseParen => self.close(b')'),
            TokenKind::CloseBracket => self.close(b']'),
            TokenKind::QuotedWord | TokenKind::UnicodeWord => self.spaced(token.of(text), Last::Value),
            TokenKind::Comma => self.unspaced(b",", Last::Other),
            TokenKind::Semicolon => self.unspaced(b";", Last::Other),
            TokenKind::Dot | TokenKind::Cast | TokenKind::Colon => self.unspaced(token.of(text), Last::Tight),
            _ => self.spaced(token.of(text), Last::Other),
        }
        if token.kind == TokenKind::Comma {
            self.after_comma();
        }
    }

    fn space(&mut self) {
        if !matches!(self.last, Last::Nothing | Last::Tight) {
            self.out.push(b' ');
        }
        self.last_start = self.out.len();
    }

    fn spaced(&mut self, bytes: &[u8], last: Last) {
        self.space();
        self.out.extend_from_slice(bytes);
        self.last = last;
    }

    fn unspaced(&mut self, bytes: &[u8], last: Last) {
        self.last_start = self.out.len();
        self.out.extend_from_slice(bytes);
        self.last = last;
    }

    fn push_word(&mut self, word: &[u8]) {
        self.space();
        self.out.extend_from_slice(word);
        self.out.get_mut(self.last_start..).unwrap_or_default().make_ascii_lowercase();
        self.last = Last::Word;
        if word.len() == 6 && word.eq_ignore_ascii_case(b"values") {
            self.open_list(List { depth: self.depth, rows: true, item: self.out.len(), previous: None });
        }
    }

    fn push_constant(&mut self, sign: Option<(usize, Last)>) {
        if let Some((length, last)) = sign {
            self.out.truncate(length);
            self.last = last;
        }
        self.spaced(b"?", Last::Value);
    }

    fn push_operator(&mut self, operator: &[u8], signs: Option<(usize, Last)>) {
        if matches!(operator, b"+" | b"-") && !self.ends_value() {
            self.sign = signs.or(Some((self.out.len(), self.last)));
        }
        match operator {
            b"?" => self.spaced(b"\\?", Last::Other),
            _ => self.spaced(operator, Last::Other),
        }
    }

    fn last_word(&self) -> &[u8] {
        match self.last {
            Last::Word => self.out.get(self.last_start..).unwrap_or_default(),
            _ => b"",
        }
    }

    /// Whether a sign here would be an operator between two values.
    fn ends_value(&self) -> bool {
        match self.last {
            Last::Word => !precedes_value(self.last_word()),
            Last::Value => true,
            _ => false,
        }
    }

    fn open(&mut self, bracket: u8) {
        let row = self.top().is_some_and(|list| list.rows && list.depth == self.depth);
        let word = self.last_word();
        let list = row || matches!((bracket, word), (b'(', b"in") | (b'[', b"array"));
        let tight = bracket == b'[' || (self.last == Last::Word && !spaced_before_paren(word));
        match tight {
            true => self.unspaced(&[bracket], Last::Tight),
            false => self.spaced(&[bracket], Last::Tight),
        }
        self.depth += 1;
        if list {
            self.open_list(List { depth: self.depth, rows: false, item: self.out.len(), previous: None });
        }
    }

    fn close(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        self.unspaced(&[bracket], Last::Value);
    }

    fn top(&self) -> Option<&List> {
        self.lists.get(self.open_lists.checked_sub(1)?)
    }

    fn open_list(&mut self, list: List) {
        if let Some(slot) = self.lists.get_mut(self.open_lists) {
            *slot = list;
            self.open_lists += 1;
        }
    }

    fn close_list(&mut self) {
        self.end_item();
        self.open_lists = self.open_lists.saturating_sub(1);
    }

    /// Ends items and lists that a token of this kind ends.
    fn before(&mut self, kind: TokenKind) {
        use TokenKind::*;
        while let Some(list) = self.top().copied().filter(|list| list.depth == self.depth) {
            match kind {
                Comma => return self.end_item(),
                CloseParen | CloseBracket => self.close_list(),
                OpenParen => return,
                _ if list.rows => self.close_list(),
                _ => return,
            }
            if matches!(kind, CloseParen | CloseBracket) && !list.rows {
                return;
            }
        }
    }

    fn after_comma(&mut self) {
        let (depth, end) = (self.depth, self.out.len());
        let top = self.lists.get_mut(..self.open_lists).and_then(<[List]>::last_mut);
        if let Some(list) = top.filter(|list| list.depth == depth) {
            list.item = end;
        }
    }

    /// Drops the item that ends here if it only repeats the one before.
    fn end_item(&mut self) {
        let Some(list) = self.lists.get_mut(..self.open_lists).and_then(<[List]>::last_mut) else { return };
        let item = self.out.get(list.item..).unwrap_or_default();
        let blank = item.iter().take_while(|&&b| b == b' ').count();
        let (start, end) = (list.item + blank, self.out.len());
        let item = item.get(blank..).unwrap_or_default();
        match list.previous.and_then(|(start, end)| self.out.get(start..end)) {
            Some(previous) if previous == item && item.contains(&b'?') => {
                let length = list.previous.map_or(end, |(_, end)| end);
                self.out.truncate(length);
            }
            _ => list.previous = Some((start, end)),
        }
    }
}

/// Keywords that a value follows, so that a sign behind them belongs to it.
fn precedes_value(word: &[u8]) -> bool {
    matches!(
        word,
        b"select"
            | b"and"
            | b"or"
            | b"not"
            | b"then"
            | b"else"
            | b"when"
            | b"case"
            | b"where"
            | b"having"
            | b"on"
            | b"by"
            | b"limit"
            | b"offset"
            | b"between"
            | b"like"
            | b"ilike"
            | b"to"
            | b"is"
            | b"distinct"
            | b"all"
            | b"any"
            | b"returning"
            | b"set"
            | b"default"
            | b"from"
            | b"using"
            | b"in"
            | b"for"
            | b"if"
            | b"return"
    )
}

/// Keywords that read better with a space before a parenthesis.
fn spaced_before_paren(word: &[u8]) -> bool {
    matches!(
        word,
        b"in"
            | b"values"
            | b"and"
            | b"or"
            | b"not"
            | b"from"
            | b"where"
            | b"as"
            | b"on"
            | b"using"
            | b"exists"
            | b"select"
            | b"by"
            | b"join"
            | b"then"
            | b"else"
            | b"when"
            | b"set"
            | b"union"
            | b"except"
            | b"intersect"
            | b"all"
            | b"any"
            | b"some"
            | b"with"
            | b"over"
            | b"filter"
            | b"conflict"
            | b"returning"
            | b"lateral"
            | b"into"
            | b"copy"
            | b"materialized"
            | b"having"
            | b"case"
            | b"between"
            | b"is"
            | b"like"
            | b"limit"
            | b"offset"
            | b"distinct"
    )
}

#[cfg(test)]
mod tests {
    use crate::sql::scan::{normalised, scan};

    fn normal(text: &str) -> String {
        normalised(text.as_bytes())
    }

    #[test]
    fn the_normal_form_is_readable() {
        for (text, expected) in [
            (
                "SELECT abalance FROM pgbench_accounts\n WHERE aid = 42;",
                "select abalance from pgbench_accounts where aid = ?",
            ),
            ("select count(*), a.\"B\"::int from s.t a -- x", "select count(*), a.\"B\"::int from s.t a"),
            ("INSERT INTO t(a,b) VALUES (1, 'x'), (2, $1) RETURNING a", "insert into t(a, b) values (?) returning a"),
            ("select x[1:2], array[1,2,3] from t", "select x[?:?], array[?] from t"),
            ("DO $$ secret $$", "do ?"),
            ("select 'it''s' 'open", "select ? ?"),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    #[test]
    fn lists_of_any_length_are_one() {
        assert_eq!(
            normal("select 1 where a in (1,2,3) and b in ($1)"),
            normal("select 2 where a in (7) and b in ('x', 'y')")
        );
        assert_eq!(normal("insert into t values (1,2),(3,4)"), "insert into t values (?)");
        assert_eq!(normal("insert into t values (1,default),(3,default)"), "insert into t values (?, default)");
        assert_eq!(normal("select (a,b) in ((1,2),(3,4))"), "select (a, b) in ((?, ?))");
        assert_eq!(normal("select a in (1::int, 2::int)"), "select a in (?::int)");
        assert_eq!(normal("select a in (b, b, c)"), "select a in (b, b, c)");
        assert_eq!(normal("select f(1, 2)"), "select f(?, ?)", "arguments are no list");
        assert_eq!(normal("select * from (values (1),(2)) v, u"), "select * from (values (?)) v, u");
        assert_eq!(normal("values (1),(2) union select 3, 4"), "values (?) union select ?, ?");
        assert_eq!(
            normal("select a in (1,(select 2 where b in (3,4)),1)"),
            "select a in (?, (select ? where b in (?)), ?)"
        );
    }

    #[test]
    fn a_sign_belongs_to_the_constant_in_prefix_position_only() {
        assert_eq!(normal("select 1 where a = -1"), normal("select 1 where a=1"));
        assert_eq!(normal("select -5"), normal("select - 5"));
        assert_eq!(normal("select -5, +3, - - 1"), "select ?, ?, ?");
        assert_eq!(normal("select a -1"), "select a - ?");
        assert_eq!(normal("select (a) - 1, 2 - -3, -x"), "select (a) - ?, ? - ?, - x");
        assert_eq!(normal("select a in (-1, 2)"), "select a in (?)");
    }

    #[test]
    fn statements_that_differ_in_more_than_constants_differ() {
        let distinct = [
            "select a from t where b = 1",
            "select a from t where b = 1::int",
            "select a from t where b = 1::bigint",
            "select \"a\" from t where b = 1",
            "select \"A\" from t where b = 1",
            "select a from t where b <> 1",
            "select a from t where b = null",
            "select a, a from t where b = 1",
            "select (a) from t where b = 1",
            "select a from s.t where b = 1",
            "select date '1' x",
            "select date ? x",
            "select a - 1",
            "select a, - 1",
        ];
        let found: std::collections::HashSet<_> =
            distinct.iter().map(|text| scan(text.as_bytes()).statements[0].fingerprint).collect();
        assert_eq!(found.len(), distinct.len());
    }

    #[test]
    fn the_fingerprint_never_changes() {
        let fingerprint = scan(b"SELECT abalance FROM pgbench_accounts WHERE aid = $1").statements[0].fingerprint;
        assert_eq!(fingerprint.0, xxhash_rust::xxh3::xxh3_128(b"select abalance from pgbench_accounts where aid = ?"));
    }
}
