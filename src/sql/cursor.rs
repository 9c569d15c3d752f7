//! A place in a text between two tokens: what the token tier moves along. It looks at most two tokens ahead and keeps none.

use super::hints::Hints;
use super::lex::{Backslash, Lexer, Token, TokenKind};
use super::name::{self, Name};
use super::normal::Normaliser;

pub(super) struct Cursor<'a> {
    pub text: &'a [u8],
    lexer: Lexer<'a>,
    /// The token that comes next; never a comment.
    pub token: Token,
    /// The token that was taken last.
    pub prev: Token,
    /// Parentheses and brackets open before `token`.
    pub depth: usize,
    /// Inside BEGIN ATOMIC ... END, where a semicolon ends no statement.
    pub in_body: bool,
    /// A bracket was closed that had not been opened, or there was a token that PostgreSQL refuses.
    pub broken: bool,
    pub hints: Hints,
    pub normal: Normaliser,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8], backslash: Backslash) -> Self {
        let nothing = Token { kind: TokenKind::End, start: 0, end: 0 };
        let mut cursor = Cursor {
            text,
            lexer: Lexer::new(text, backslash),
            token: nothing,
            prev: nothing,
            depth: 0,
            in_body: false,
            broken: false,
            hints: Hints::default(),
            normal: Normaliser::default(),
        };
        cursor.advance();
        cursor
    }

    /// Makes ready for the next statement, behind the semicolon of the last, whose comments are left behind.
    pub fn begin_statement(&mut self) {
        (self.depth, self.in_body, self.broken) = (0, false, false);
        self.prev = Token { kind: TokenKind::End, start: self.token.start, end: self.token.start };
        let rest = self.text.len() - self.token.start.min(self.text.len());
        self.normal.clear(rest.min(1024));
    }

    fn advance(&mut self) {
        loop {
            self.token = self.lexer.next_token();
            if !self.token.kind.is_comment() {
                return;
            }
            self.hints.read(self.token.of(self.text));
        }
    }

    /// Steps over a semicolon that ends a statement.
    pub fn skip_semicolon(&mut self) {
        if self.token.kind == TokenKind::Semicolon {
            self.advance();
        }
    }

    /// Takes the next token.
    #[inline]
    pub fn bump(&mut self) {
        use TokenKind::*;
        match self.token.kind {
            OpenParen | OpenBracket => self.depth += 1,
            CloseParen | CloseBracket => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => self.broken = true,
            },
            Unterminated | Stray => self.broken = true,
            End => return,
            _ => {}
        }
        self.normal.push(self.token, self.text);
        self.prev = self.token;
        self.advance();
    }

    /// The statement ends here.
    #[inline]
    pub fn at_end(&self) -> bool {
        match self.token.kind {
            TokenKind::End => true,
            TokenKind::Semicolon => self.depth == 0 && !self.in_body,
            _ => false,
        }
    }

    /// The statement ends here, or the parenthesis in which `floor` brackets are open.
    #[inline]
    pub fn at_end_of(&self, floor: usize) -> bool {
        (self.depth == floor && matches!(self.token.kind, TokenKind::CloseParen | TokenKind::CloseBracket))
            || self.at_end()
    }

    pub fn at(&self, kind: TokenKind) -> bool {
        self.token.kind == kind
    }

    pub fn peek(&self) -> Token {
        { self.lexer }.next_significant()
    }

    /// The next token is this word without quotes (`word` in lower case).
    #[inline]
    pub fn is(&self, word: &str) -> bool {
        is_word(self.token, self.text, word)
    }

    pub fn is_one_of(&self, words: &[&str]) -> bool {
        self.at(TokenKind::Word) && words.iter().any(|word| self.is(word))
    }

    pub fn peek_is(&self, word: &str) -> bool {
        is_word(self.peek(), self.text, word)
    }

    pub fn prev_is(&self, word: &str) -> bool {
        is_word(self.prev, self.text, word)
    }

    /// A reserved word stands here as itself: not as a label (`AS into`) or as a field (`t.into`).
    #[inline]
    pub fn is_keyword(&self, word: &str) -> bool {
        self.is(word) && self.prev.kind != TokenKind::Dot && !self.prev_is("as")
    }

    pub fn is_operator(&self, operator: &[u8]) -> bool {
        self.at(TokenKind::Operator) && self.token.of(self.text) == operator
    }

    /// Takes the next token if it is this word.
    pub fn take(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.bump();
        }
        found
    }

    pub fn take_kind(&mut self, kind: TokenKind) -> bool {
        let found = self.at(kind);
        if found {
            self.bump();
        }
        found
    }

    /// Takes everything up to the end of the statement.
    pub fn skip_rest(&mut self) {
        while !self.at_end() {
            self.bump();
        }
    }

    /// Takes a parenthesis with all that is in it, if one opens here.
    pub fn skip_parenthesis(&mut self) {
        if self.take_kind(TokenKind::OpenParen) {
            let floor = self.depth;
            while !self.at_end_of(floor) {
                self.bump();
            }
            self.take_kind(TokenKind::CloseParen);
        }
    }

    /// Takes one identifier.
    pub fn identifier(&mut self) -> Option<String> {
        let token = self.token;
        if !token.kind.is_name() {
            return None;
        }
        self.bump();
        if token.kind == TokenKind::UnicodeWord && self.is("uescape") {
            self.bump();
            let escape = name::constant_token(self.token, self.text).and_then(|text| text.chars().next())?;
            self.bump();
            return name::identifier(token, self.text, escape);
        }
        name::identifier(token, self.text, '\\')
    }

    /// Takes a name of up to three parts.
    pub fn name(&mut self) -> Option<Name> {
        let mut name = Name::bare(self.identifier()?);
        while self.take_kind(TokenKind::Dot) {
            let last = self.identifier()?;
            name = Name { schema: Some(name.name), name: last };
        }
        Some(name)
    }
}

pub(super) fn is_word(token: Token, text: &[u8], word: &str) -> bool {
    token.kind == TokenKind::Word
        && token.end - token.start == word.len()
        && token.of(text).eq_ignore_ascii_case(word.as_bytes())
}
