//! PostgreSQL's lexical rules (its `scan.l`), over bytes, without allocation. Nothing here fails: what is unterminated reaches to the end, and
//! says so.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or an unquoted identifier.
    Word,
    QuotedIdent,
    /// `'...'` and its kin: `E''`, `B''`, `X''`, `N''`, `U&''`, `$$...$$`.
    String,
    Number,
    /// `$1`.
    Parameter,
    Operator,
    /// One of `( ) [ ] , ; : .` and `::`, by its first byte.
    Punct(u8),
    /// A string, quoted identifier or comment without its end.
    Unterminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// The tokens of a text; comments are passed over, and their places kept where a hint may stand.
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Comments seen so far.
    pub comments: Vec<Range<usize>>,
}

fn is_ident_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_ident(b: u8) -> bool {
    is_ident_start(b) || b.is_ascii_digit() || b == b'$'
}

fn is_operator(b: u8) -> bool {
    matches!(
        b,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b)
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Lexer { text, at: 0, comments: Vec::new() }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn run(&self, mut at: usize, is: impl Fn(u8) -> bool) -> usize {
        while self.text.get(at).is_some_and(|&b| is(b)) {
            at += 1;
        }
        at
    }

    /// Passes over blanks and comments. `Some`: an unterminated comment.
    fn skip_blanks(&mut self) -> Option<Token> {
        loop {
            self.at = self.run(self.at, is_space);
            let start = self.at;
            match (self.byte(start), self.byte(start + 1)) {
                (b'-', b'-') => self.at = self.run(start, |b| b != b'\n' && b != b'\r'),
                (b'/', b'*') => match self.block_comment(start) {
                    Some(end) => self.at = end,
                    None => {
                        self.at = self.text.len();
                        return Some(Token { kind: Kind::Unterminated, start, end: self.at });
                    }
                },
                _ => return None,
            }
            self.comments.push(start..self.at);
        }
    }

    /// The end of a comment that begins here; comments nest.
    fn block_comment(&self, start: usize) -> Option<usize> {
        let mut depth = 0usize;
        let mut at = start;
        while at + 1 < self.text.len() {
            match (self.byte(at), self.byte(at + 1)) {
                (b'/', b'*') => {
                    depth += 1;
                    at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => at += 1,
            }
        }
        None
    }

    /// The end of a quoted run that begins at `open`, which holds the quote. A doubled quote stays inside.
    fn quoted(&self, open: usize, quote: u8, backslashes: bool) -> Option<usize> {
        let mut at = open + 1;
        while let Some(&b) = self.text.get(at) {
            match b {
                b'\\' if backslashes => at += 2,
                _ if b == quote && self.byte(at + 1) == quote => at += 2,
                _ if b == quote => return Some(at + 1),
                _ => at += 1,
            }
        }
        None
    }

    /// A string, with what continues it: another one after blanks that hold a newline.
    fn string(&mut self, open: usize, backslashes: bool) -> Option<usize> {
        let mut end = self.quoted(open, b'\'', backslashes)?;
        loop {
            let next = self.run(end, is_space);
            let newline = self.text.get(end..next).is_some_and(|s| s.contains(&b'\n') || s.contains(&b'\r'));
            if !newline || self.byte(next) != b'\'' {
                return Some(end);
            }
            end = self.quoted(next, b'\'', backslashes)?;
        }
    }

    /// `$tag$ ... $tag$`; `None`: no dollar quote begins here.
    fn dollar(&self, start: usize) -> Option<Option<usize>> {
        let tag_end = match self.byte(start + 1) {
            b'$' => start + 2,
            b if is_ident_start(b) => {
                let end = self.run(start + 1, |b| is_ident(b) && b != b'$');
                (self.byte(end) == b'$').then_some(end + 1)?
            }
            _ => return None,
        };
        let tag = self.text.get(start..tag_end)?;
        let body = self.text.get(tag_end..)?;
        Some(body.windows(tag.len()).position(|w| w == tag).map(|p| tag_end + p + tag.len()))
    }

    fn number(&self, start: usize) -> usize {
        if self.byte(start) == b'0' && matches!(self.byte(start + 1) | 0x20, b'x' | b'o' | b'b') {
            let end = self.run(start + 2, |b| b.is_ascii_hexdigit() || b == b'_');
            if end > start + 2 {
                return end;
            }
        }
        let digits = |at| self.run(at, |b| b.is_ascii_digit() || b == b'_');
        let mut end = digits(start);
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = digits(end + 1);
        }
        if self.byte(end) | 0x20 == b'e' {
            let signed = end + 1 + usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(signed).is_ascii_digit() {
                end = digits(signed);
            }
        }
        end
    }

    /// An operator ends where a comment begins, and does not end in + or - unless it holds one of `~ ! @ # % ^ & | ` ?`.
    fn operator(&self, start: usize) -> usize {
        let mut end = self.run(start, is_operator);
        for at in start + 1..end {
            if matches!((self.byte(at), self.byte(at + 1)), (b'-', b'-') | (b'/', b'*')) {
                end = at;
                break;
            }
        }
        let special = |b: &u8| matches!(b, b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?');
        if !self.text.get(start..end).is_some_and(|op| op.iter().any(special)) {
            while end > start + 1 && matches!(self.byte(end - 1), b'+' | b'-') {
                end -= 1;
            }
        }
        end
    }

    fn ended(&self, kind: Kind, end: Option<usize>) -> (Kind, usize) {
        end.map_or((Kind::Unterminated, self.text.len()), |end| (kind, end))
    }

    fn word_or_prefixed(&mut self, start: usize) -> (Kind, usize) {
        let (first, second, third) = (self.byte(start) | 0x20, self.byte(start + 1), self.byte(start + 2));
        match (first, second, third) {
            (b'e', b'\'', _) => {
                let end = self.string(start + 1, true);
                self.ended(Kind::String, end)
            }
            (b'b' | b'x' | b'n', b'\'', _) => {
                let end = self.string(start + 1, false);
                self.ended(Kind::String, end)
            }
            (b'u', b'&', b'\'') => {
                let end = self.string(start + 2, false);
                self.ended(Kind::String, end)
            }
            (b'u', b'&', b'"') => self.ended(Kind::QuotedIdent, self.quoted(start + 2, b'"', false)),
            _ => (Kind::Word, self.run(start, is_ident)),
        }
    }

    fn token(&mut self, start: usize) -> (Kind, usize) {
        match self.byte(start) {
            b if is_ident_start(b) => self.word_or_prefixed(start),
            b'\'' => {
                let end = self.string(start, false);
                self.ended(Kind::String, end)
            }
            b'"' => self.ended(Kind::QuotedIdent, self.quoted(start, b'"', false)),
            b if b.is_ascii_digit() => (Kind::Number, self.number(start)),
            b'.' if self.byte(start + 1) == b'.' => (Kind::Punct(b'.'), start + 2),
            b'.' if self.byte(start + 1).is_ascii_digit() => (Kind::Number, self.number(start)),
            b'$' if self.byte(start + 1).is_ascii_digit() => {
                (Kind::Parameter, self.run(start + 1, |b| b.is_ascii_digit()))
            }
            b'$' => match self.dollar(start) {
                Some(end) => self.ended(Kind::String, end),
                None => (Kind::Punct(b'$'), start + 1),
            },
            b':' if self.byte(start + 1) == b':' => (Kind::Punct(b':'), start + 2),
            b if is_operator(b) => (Kind::Operator, self.operator(start)),
            b => (Kind::Punct(b), start + 1),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if let Some(unterminated) = self.skip_blanks() {
            return Some(unterminated);
        }
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let (kind, end) = self.token(start);
        self.at = end.max(start + 1).min(self.text.len());
        Some(Token { kind, start, end: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<&str> {
        Lexer::new(text.as_bytes()).map(|t| &text[t.range()]).collect()
    }

    #[test]
    fn the_awkward_ones() {
        assert_eq!(tokens("a'b''c'd"), ["a", "'b''c'", "d"]);
        assert_eq!(tokens(r"E'a\'b' c"), [r"E'a\'b'", "c"]);
        assert_eq!(tokens(r"'a\' c"), [r"'a\'", "c"]);
        assert_eq!(tokens("'a'\n 'b' 'c'"), ["'a'\n 'b'", "'c'"]);
        assert_eq!(tokens("$q$ ; $$ $q$;$$'$$"), ["$q$ ; $$ $q$", ";", "$$'$$"]);
        assert_eq!(tokens("a/* x /* y */ ' */b--c\nd"), ["a", "b", "d"]);
        assert_eq!(tokens("1.5e-3+.5 1..2 0x1F"), ["1.5e-3", "+", ".5", "1", "..", "2", "0x1F"]);
        assert_eq!(tokens("a=-1 a@-1 a*/*c*/b x--y"), ["a", "=", "-", "1", "a", "@-", "1", "a", "*", "b", "x"]);
        assert_eq!(
            tokens("a::int, $1 $2a \"x\"\"y\" U&\"z\""),
            ["a", "::", "int", ",", "$1", "$2", "a", "\"x\"\"y\"", "U&\"z\""]
        );
        assert_eq!(tokens("'open"), ["'open"]);
        assert_eq!(Lexer::new(b"/* open").next().map(|t| t.kind), Some(Kind::Unterminated));
    }
}
