//! A run of tokens, read by keyword.

use super::lex::{Kind, Token};

/// A name as PostgreSQL would store it: unquoted parts folded to lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
}

/// Tokens of one statement, or of a part of it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub text: &'a [u8],
    pub tokens: &'a [Token],
}

impl<'a> View<'a> {
    pub fn get(&self, at: usize) -> Option<Token> {
        self.tokens.get(at).copied()
    }

    pub fn slice(&self, range: std::ops::Range<usize>) -> View<'a> {
        View { text: self.text, tokens: self.tokens.get(range).unwrap_or_default() }
    }

    pub fn bytes(&self, at: usize) -> &'a [u8] {
        self.get(at).and_then(|t| self.text.get(t.range())).unwrap_or_default()
    }

    /// Whether the token is this unquoted word. `word`: lower case.
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.get(at).is_some_and(|t| t.kind == Kind::Word && t.end - t.start == word.len())
            && self.bytes(at).eq_ignore_ascii_case(word.as_bytes())
    }

    pub fn is_any(&self, at: usize, words: &[&str]) -> bool {
        self.get(at).is_some_and(|t| t.kind == Kind::Word) && words.iter().any(|w| self.is(at, w))
    }

    pub fn is_punct(&self, at: usize, byte: u8) -> bool {
        self.get(at).is_some_and(|t| t.kind == Kind::Punct(byte) && t.end == t.start + 1)
    }

    /// The position behind the bracket that closes the one at `open`; the end where it stays open.
    pub fn behind_bracket(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for at in open..self.tokens.len() {
            if self.is_punct(at, b'(') || self.is_punct(at, b'[') {
                depth += 1;
            } else if self.is_punct(at, b')') || self.is_punct(at, b']') {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
        }
        self.tokens.len()
    }

    /// The first place from `from` on, outside brackets, where `found` holds.
    pub fn find(&self, from: usize, found: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = from;
        while at < self.tokens.len() {
            if found(at) {
                return Some(at);
            }
            at = match self.is_punct(at, b'(') || self.is_punct(at, b'[') {
                true => self.behind_bracket(at),
                false => at + 1,
            };
        }
        None
    }

    /// An identifier, folded. `None`: there is none.
    pub fn ident(&self, at: usize) -> Option<String> {
        let bytes = self.bytes(at);
        match self.get(at)?.kind {
            Kind::Word => Some(String::from_utf8_lossy(bytes).to_ascii_lowercase()),
            Kind::QuotedIdent => {
                let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                Some(String::from_utf8_lossy(inner).replace("\"\"", "\""))
            }
            _ => None,
        }
    }

    /// A name of one to three parts, and the position behind it.
    pub fn name(&self, at: usize) -> Option<(Name, usize)> {
        let mut parts = vec![self.ident(at)?];
        let mut next = at + 1;
        while self.is_punct(next, b'.') {
            parts.push(self.ident(next + 1)?);
            next += 2;
        }
        let name = parts.pop()?;
        Some((Name { schema: parts.pop(), name }, next))
    }
}
