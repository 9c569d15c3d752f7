//! A lexer with PostgreSQL's own lexical rules (`scan.l`), over bytes: text from a client need not be UTF-8.
//!
//! A token is a kind and two offsets, so nothing is allocated; every byte that is not white space belongs to exactly one
//! token, so nothing is lost; and no input makes it fail: what PostgreSQL would refuse comes out as
//! [`TokenKind::Unterminated`] or [`TokenKind::Stray`].
//!
//! Rules that are easy to miss, each of which moves the end of a statement if it is got wrong:
//! - a string goes on after white space with a line feed in it (`'a'` newline `'b'` is one string), comments between included;
//! - `--` and `/*` end an operator, and a trailing `+` or `-` belongs to it only if the operator holds one of ``~!@#^&|`?%``;
//! - `$` continues an identifier, so `a$b$` opens no dollar quote;
//! - `1..10` is `1`, `..`, `10`;
//! - block comments nest.

/// What `standard_conforming_strings` says a backslash in a plain string is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backslash {
    /// `on`: a character like any other.
    #[default]
    Plain,
    /// `off`: an escape, as in `E'..'`.
    Escape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an identifier without quotes.
    Word,
    /// `"..."`
    QuotedWord,
    /// `U&"..."`
    UnicodeWord,
    /// `'...'` and `N'...'`
    String,
    /// `E'...'`
    EscapeString,
    /// `U&'...'`
    UnicodeString,
    /// `B'...'` and `X'...'`
    BitString,
    /// `$tag$...$tag$`
    DollarString,
    /// `$1`
    Param,
    Number,
    Operator,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    Comma,
    Semicolon,
    Dot,
    /// `..`
    DotDot,
    Colon,
    /// `::`
    Cast,
    /// `:=`
    Assign,
    /// `-- ...`, without its line feed.
    LineComment,
    BlockComment,
    /// A string, quoted identifier or block comment that the text ends in. Always the last token.
    Unterminated,
    /// A byte that begins no token.
    Stray,
    /// The end of the text; empty.
    End,
}

impl TokenKind {
    pub fn is_comment(self) -> bool {
        matches!(self, TokenKind::LineComment | TokenKind::BlockComment)
    }

    /// An identifier or a keyword, quoted or not.
    pub fn is_name(self) -> bool {
        matches!(self, TokenKind::Word | TokenKind::QuotedWord | TokenKind::UnicodeWord)
    }

    /// A constant, or the parameter that stands for one.
    pub fn is_literal(self) -> bool {
        use TokenKind::*;
        matches!(self, String | EscapeString | UnicodeString | BitString | DollarString | Param | Number)
    }
}

/// One token: the bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    /// The token's own bytes.
    pub fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Iterates over the tokens of a text, comments included, white space left out.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    backslash: Backslash,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    Digit,
    Operator,
    Single,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Colon,
    Stray,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Stray; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => Class::Operator,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
            b'(' | b')' | b'[' | b']' | b',' | b';' => Class::Single,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            _ => Class::Stray,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Bytes that an identifier may go on with.
fn continues_word(byte: u8) -> bool {
    matches!(class(byte), Class::Word | Class::Digit | Class::Dollar)
}

/// Operators that end in `+` or `-` must hold one of these.
fn keeps_trailing_sign(operator: &[u8]) -> bool {
    operator.iter().any(|b| b"~!@#^&|`?%".contains(b))
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], backslash: Backslash) -> Self {
        Lexer { text, at: 0, backslash }
    }

    /// The next token; [`TokenKind::End`] for ever after the last.
    #[inline]
    pub fn next_token(&mut self) -> Token {
        let start = self.skip_space(self.at);
        let (kind, end) = match self.byte(start) {
            None => (TokenKind::End, start),
            Some(first) => self.token(first, start),
        };
        self.at = end;
        Token { kind, start, end }
    }

    /// The next token that is not a comment.
    pub fn next_significant(&mut self) -> Token {
        loop {
            let token = self.next_token();
            if !token.kind.is_comment() {
                return token;
            }
        }
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn skip_space(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(|b| class(b) == Class::Space) {
            at += 1;
        }
        at
    }

    #[inline]
    fn token(&self, first: u8, at: usize) -> (TokenKind, usize) {
        match class(first) {
            Class::Word => self.word(first, at),
            Class::Digit => (TokenKind::Number, self.number(at)),
            Class::Single => (single(first), at + 1),
            Class::Operator => self.operator_or_comment(first, at),
            Class::Quote => self.quoted(TokenKind::String, at + 1, self.backslash),
            Class::DoubleQuote => self.quoted_word(TokenKind::QuotedWord, at + 1),
            Class::Dollar => self.dollar(at),
            Class::Dot => self.dot(at),
            Class::Colon => match self.byte(at + 1) {
                Some(b':') => (TokenKind::Cast, at + 2),
                Some(b'=') => (TokenKind::Assign, at + 2),
                _ => (TokenKind::Colon, at + 1),
            },
            Class::Space | Class::Stray => (TokenKind::Stray, at + 1),
        }
    }

    /// An identifier, unless it is the prefix of a string: `E'`, `B'`, `X'`, `N'`, `U&'`, `U&"`.
    fn word(&self, first: u8, at: usize) -> (TokenKind, usize) {
        match (first, self.byte(at + 1), self.byte(at + 2)) {
            (b'e' | b'E', Some(b'\''), _) => self.quoted(TokenKind::EscapeString, at + 2, Backslash::Escape),
            (b'b' | b'B' | b'x' | b'X', Some(b'\''), _) => self.quoted(TokenKind::BitString, at + 2, Backslash::Plain),
            (b'n' | b'N', Some(b'\''), _) => self.quoted(TokenKind::String, at + 2, self.backslash),
            (b'u' | b'U', Some(b'&'), Some(b'\'')) => self.quoted(TokenKind::UnicodeString, at + 3, Backslash::Plain),
            (b'u' | b'U', Some(b'&'), Some(b'"')) => self.quoted_word(TokenKind::UnicodeWord, at + 3),
            _ => (TokenKind::Word, self.word_end(at + 1)),
        }
    }

    fn word_end(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(continues_word) {
            at += 1;
        }
        at
    }

    /// A string from behind its opening quote, with all its continuations.
    fn quoted(&self, kind: TokenKind, mut at: usize, backslash: Backslash) -> (TokenKind, usize) {
        loop {
            match self.byte(at) {
                None => return (TokenKind::Unterminated, self.text.len()),
                Some(b'\\') if backslash == Backslash::Escape => at += 2,
                Some(b'\'') if self.byte(at + 1) == Some(b'\'') => at += 2,
                Some(b'\'') => match self.continuation(at + 1) {
                    Some(inside) => at = inside,
                    None => return (kind, at + 1),
                },
                Some(_) => at += 1,
            }
        }
    }

    /// Behind a closing quote: where the string goes on, if white space (or `--` comments) with a line feed in it and
    /// another quote follow.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut new_line = false;
        loop {
            match self.byte(at)? {
                b'\n' | b'\r' => new_line = true,
                b'-' if self.byte(at + 1) == Some(b'-') => {
                    at = self.line_end(at);
                    continue;
                }
                b'\'' if new_line => return Some(at + 1),
                other if class(other) == Class::Space => {}
                _ => return None,
            }
            at += 1;
        }
    }

    fn quoted_word(&self, kind: TokenKind, mut at: usize) -> (TokenKind, usize) {
        loop {
            match (self.byte(at), self.byte(at + 1)) {
                (None, _) => return (TokenKind::Unterminated, self.text.len()),
                (Some(b'"'), Some(b'"')) => at += 2,
                (Some(b'"'), _) => return (kind, at + 1),
                _ => at += 1,
            }
        }
    }

    /// `$1`, `$tag$...$tag$`, or a stray dollar.
    fn dollar(&self, at: usize) -> (TokenKind, usize) {
        if self.byte(at + 1).is_some_and(|b| b.is_ascii_digit()) {
            return (TokenKind::Param, self.digits(at + 1));
        }
        let mut end = at + 1;
        if self.byte(end).is_some_and(|b| class(b) == Class::Word) {
            while self.byte(end).is_some_and(|b| matches!(class(b), Class::Word | Class::Digit)) {
                end += 1;
            }
        }
        if self.byte(end) != Some(b'$') {
            return (TokenKind::Stray, at + 1);
        }
        let tag = self.text.get(at..=end).unwrap_or_default();
        self.dollar_end(tag, end + 1)
    }

    fn dollar_end(&self, tag: &[u8], mut at: usize) -> (TokenKind, usize) {
        while let Some(offset) = self.text.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'$')) {
            at += offset;
            if self.text.get(at..).is_some_and(|rest| rest.starts_with(tag)) {
                return (TokenKind::DollarString, at + tag.len());
            }
            at += 1;
        }
        (TokenKind::Unterminated, self.text.len())
    }

    fn dot(&self, at: usize) -> (TokenKind, usize) {
        match self.byte(at + 1) {
            Some(b'0'..=b'9') => (TokenKind::Number, self.exponent(self.digits(at + 1))),
            Some(b'.') => (TokenKind::DotDot, at + 2),
            _ => (TokenKind::Dot, at + 1),
        }
    }

    /// A number from its first digit. Junk behind it (`1a`) begins the next token, as it did before PostgreSQL 15.
    fn number(&self, at: usize) -> usize {
        if self.byte(at) == Some(b'0') {
            let radix: fn(u8) -> bool = match self.byte(at + 1) {
                Some(b'x' | b'X') => |b| b.is_ascii_hexdigit(),
                Some(b'o' | b'O') => |b| matches!(b, b'0'..=b'7'),
                Some(b'b' | b'B') => |b| matches!(b, b'0' | b'1'),
                _ => |_| false,
            };
            let end = self.run(at + 2, radix);
            if end > at + 2 {
                return end;
            }
        }
        let mut end = self.digits(at);
        if self.byte(end) == Some(b'.') && self.byte(end + 1) != Some(b'.') {
            end = self.digits(end + 1);
        }
        self.exponent(end)
    }

    fn exponent(&self, at: usize) -> usize {
        if !matches!(self.byte(at), Some(b'e' | b'E')) {
            return at;
        }
        let sign = usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
        match self.byte(at + 1 + sign) {
            Some(b'0'..=b'9') => self.digits(at + 1 + sign),
            _ => at,
        }
    }

    fn digits(&self, at: usize) -> usize {
        self.run(at, |b| b.is_ascii_digit())
    }

    /// Digits of one radix with single underscores before any of them.
    fn run(&self, mut at: usize, digit: fn(u8) -> bool) -> usize {
        loop {
            match (self.byte(at), self.byte(at + 1)) {
                (Some(b), _) if digit(b) => at += 1,
                (Some(b'_'), Some(b)) if digit(b) => at += 2,
                _ => return at,
            }
        }
    }

    fn operator_or_comment(&self, first: u8, at: usize) -> (TokenKind, usize) {
        match (first, self.byte(at + 1)) {
            (b'-', Some(b'-')) => (TokenKind::LineComment, self.line_end(at)),
            (b'/', Some(b'*')) => self.block_comment(at + 2),
            _ => (TokenKind::Operator, self.operator_end(at)),
        }
    }

    fn operator_end(&self, at: usize) -> usize {
        let mut end = at + 1;
        while let Some(byte) = self.byte(end).filter(|&b| class(b) == Class::Operator) {
            let comment = matches!((byte, self.byte(end + 1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if comment {
                break;
            }
            end += 1;
        }
        let operator = self.text.get(at..end).unwrap_or_default();
        if !keeps_trailing_sign(operator) {
            while end > at + 1 && matches!(self.byte(end - 1), Some(b'+' | b'-')) {
                end -= 1;
            }
        }
        end
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len())
    }

    fn block_comment(&self, mut at: usize) -> (TokenKind, usize) {
        let mut depth = 1_usize;
        loop {
            match (self.byte(at), self.byte(at + 1)) {
                (None, _) => return (TokenKind::Unterminated, self.text.len()),
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return (TokenKind::BlockComment, at);
                    }
                }
                _ => at += 1,
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        Some(self.next_token()).filter(|token| token.kind != TokenKind::End)
    }
}

fn single(byte: u8) -> TokenKind {
    match byte {
        b'(' => TokenKind::OpenParen,
        b')' => TokenKind::CloseParen,
        b'[' => TokenKind::OpenBracket,
        b']' => TokenKind::CloseBracket,
        b',' => TokenKind::Comma,
        _ => TokenKind::Semicolon,
    }
}

#[cfg(test)]
mod tests {
    use super::TokenKind::*;
    use super::*;

    fn tokens(text: &[u8]) -> Vec<(TokenKind, std::string::String)> {
        let show = |token: Token| (token.kind, std::string::String::from_utf8_lossy(token.of(text)).into_owned());
        Lexer::new(text, Backslash::Plain).map(show).collect()
    }

    fn assert_tokens(text: &str, expected: &[(TokenKind, &str)]) {
        let found = tokens(text.as_bytes());
        let found: Vec<(TokenKind, &str)> = found.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_statement_comes_apart() {
        assert_tokens(
            "SELECT a.b::int, $1 FROM \"T\"\"x\" -- end",
            &[
                (Word, "SELECT"),
                (Word, "a"),
                (Dot, "."),
                (Word, "b"),
                (Cast, "::"),
                (Word, "int"),
                (Comma, ","),
                (Param, "$1"),
                (Word, "FROM"),
                (QuotedWord, "\"T\"\"x\""),
                (LineComment, "-- end"),
            ],
        );
    }

    #[test]
    fn a_sign_leaves_an_operator_of_plain_characters() {
        assert_tokens("a=-1", &[(Word, "a"), (Operator, "="), (Operator, "-"), (Number, "1")]);
        assert_tokens("a@-1", &[(Word, "a"), (Operator, "@-"), (Number, "1")]);
        assert_tokens("*+-", &[(Operator, "*"), (Operator, "+"), (Operator, "-")]);
    }

    #[test]
    fn a_comment_ends_an_operator() {
        assert_tokens("1+/* x */2", &[(Number, "1"), (Operator, "+"), (BlockComment, "/* x */"), (Number, "2")]);
        assert_tokens("a<=--x\nb", &[(Word, "a"), (Operator, "<="), (LineComment, "--x"), (Word, "b")]);
    }

    #[test]
    fn block_comments_nest() {
        assert_tokens("/* a /* b */ c */ x", &[(BlockComment, "/* a /* b */ c */"), (Word, "x")]);
        assert_tokens("/* a /* b */ x", &[(Unterminated, "/* a /* b */ x")]);
    }

    #[test]
    fn a_string_goes_on_after_a_line_feed_only() {
        assert_tokens("'a'\n 'b'", &[(String, "'a'\n 'b'")]);
        assert_tokens("'a' -- ;\n\t'b'", &[(String, "'a' -- ;\n\t'b'")]);
        assert_tokens("'a' 'b'", &[(String, "'a'"), (String, "'b'")]);
        assert_tokens("E'\\''\n'\\'' x", &[(EscapeString, "E'\\''\n'\\''"), (Word, "x")]);
    }

    #[test]
    fn a_backslash_escapes_only_where_it_should() {
        assert_tokens(r"'\' x", &[(String, r"'\'"), (Word, "x")]);
        assert_tokens(r"E'\'' x", &[(EscapeString, r"E'\''"), (Word, "x")]);
        assert_tokens(r"U&'\' x", &[(UnicodeString, r"U&'\'"), (Word, "x")]);
        let old_style: Vec<Token> = Lexer::new(br"'\'' x", Backslash::Escape).collect();
        assert_eq!(old_style.len(), 2);
    }

    #[test]
    fn dollar_quotes_have_tags_and_identifiers_have_dollars() {
        assert_tokens("$$;$$", &[(DollarString, "$$;$$")]);
        assert_tokens("$a$ $$ $b$ $a$x", &[(DollarString, "$a$ $$ $b$ $a$"), (Word, "x")]);
        assert_tokens("a$b$ c", &[(Word, "a$b$"), (Word, "c")]);
        assert_tokens("$1$2", &[(Param, "$1"), (Param, "$2")]);
        assert_tokens("$a x", &[(Stray, "$"), (Word, "a"), (Word, "x")]);
        assert_tokens("$a$ x", &[(Unterminated, "$a$ x")]);
    }

    #[test]
    fn numbers_of_every_release() {
        for number in ["1", "1.5", ".5", "1.", "1e5", "1.5E-10", "0x1F", "0b10", "0o17", "1_000", "0x_ff", "1_0.0_1"] {
            assert_tokens(number, &[(Number, number)]);
        }
        assert_tokens("1..10", &[(Number, "1"), (DotDot, ".."), (Number, "10")]);
        assert_tokens("1e", &[(Number, "1"), (Word, "e")]);
        assert_tokens("0x", &[(Number, "0"), (Word, "x")]);
    }

    #[test]
    fn prefixed_strings_are_one_token() {
        assert_tokens(
            "b'1' X'f' n'x' u&\"a\"",
            &[(BitString, "b'1'"), (BitString, "X'f'"), (String, "n'x'"), (UnicodeWord, "u&\"a\"")],
        );
        assert_tokens("u&v", &[(Word, "u"), (Operator, "&"), (Word, "v")]);
    }

    #[test]
    fn what_is_not_utf_8_is_still_an_identifier() {
        assert_eq!(tokens(b"caf\xe9 'x\xff'").len(), 2);
    }

    #[test]
    fn an_open_end_is_reported() {
        for text in ["'a", "\"a", "E'a\\'", "E'\\", "/*", "$$a", "U&'a", "'a'\n'b"] {
            assert_eq!(tokens(text.as_bytes()).last().map(|t| t.0), Some(Unterminated), "{text}");
        }
    }

    #[test]
    fn every_pair_of_bytes_is_covered_by_tokens() {
        for pair in 0..=u16::MAX {
            let text = [&pair.to_be_bytes()[..], b" 'x"].concat();
            let mut end = 0;
            for token in Lexer::new(&text, Backslash::Escape) {
                assert!(token.start >= end && token.end > token.start && token.end <= text.len());
                assert!(text[end..token.start].iter().all(|&b| class(b) == Class::Space));
                end = token.end;
            }
        }
    }
}
