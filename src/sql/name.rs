//! Names and constants as the server understands them: folded, unquoted, unescaped, cut to length.

use std::borrow::Cow;

use super::lex::{Backslash, Lexer, Token, TokenKind};

/// PostgreSQL cuts longer identifiers (NAMEDATALEN - 1 bytes).
const MAX_IDENTIFIER: usize = 63;

/// A relation's or function's name, folded to lower case where it was not quoted. Of `database.schema.name` the
/// database is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
}

impl Name {
    pub fn bare(name: impl Into<String>) -> Self {
        Name { schema: None, name: name.into() }
    }

    pub fn qualified(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Name { schema: Some(schema.into()), name: name.into() }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What an identifier token stands for. `escape` is the character that UESCAPE gives, a backslash by default. `None`
/// where the name is not UTF-8 or badly escaped: such a name is never guessed.
pub fn identifier(token: Token, text: &[u8], escape: char) -> Option<String> {
    let bytes = token.of(text);
    let name = match token.kind {
        TokenKind::Word => std::str::from_utf8(bytes).ok()?.to_ascii_lowercase(),
        TokenKind::QuotedWord => unquote(bytes, 1, "\"")?.into_owned(),
        TokenKind::UnicodeWord => unicode(&unquote(bytes, 3, "\"")?, escape)?,
        _ => return None,
    };
    Some(cut(name))
}

fn cut(mut name: String) -> String {
    if name.len() > MAX_IDENTIFIER {
        let end = (0..=MAX_IDENTIFIER).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        name.truncate(end);
    }
    name
}

/// Takes a prefix of `skip` bytes and the closing quote off, and halves doubled quotes.
fn unquote<'a>(bytes: &'a [u8], skip: usize, quote: &str) -> Option<Cow<'a, str>> {
    let inner = bytes.get(skip..bytes.len().checked_sub(1)?)?;
    let inner = std::str::from_utf8(inner).ok()?;
    match inner.contains(quote) {
        true => Some(Cow::Owned(inner.replace(&quote.repeat(2), quote))),
        false => Some(Cow::Borrowed(inner)),
    }
}

/// `\0041`, `\+000041` and `\\`, with any escape character; surrogate pairs are put together.
fn unicode(text: &str, escape: char) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != escape {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        let mut ahead = rest.clone();
        match ahead.next()? {
            c if c == escape => {
                rest = ahead;
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            }
            '+' => {
                rest = ahead;
                let c = char::from_u32(hex(&mut rest, 6)?)?;
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            }
            _ => units.push(u16::try_from(hex(&mut rest, 4)?).ok()?),
        }
    }
    String::from_utf16(&units).ok()
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}

/// The value that SET assigns, if it is a single constant or word. Strings in several parts, and escapes other than a
/// backslash before the character itself, are `None`: never guessed.
pub fn constant(value: &[u8]) -> Option<String> {
    let mut lexer = Lexer::new(value, Backslash::Plain);
    let token = lexer.next_significant();
    match lexer.next_significant().kind {
        TokenKind::End => constant_token(token, value),
        _ => None,
    }
}

pub(super) fn constant_token(token: Token, text: &[u8]) -> Option<String> {
    let bytes = token.of(text);
    match token.kind {
        TokenKind::String if bytes.first() == Some(&b'\'') => plain_string(bytes, 1),
        TokenKind::String => plain_string(bytes, 2),
        TokenKind::EscapeString => escaped_string(bytes),
        TokenKind::Word | TokenKind::QuotedWord => identifier(token, text, '\\'),
        TokenKind::Number => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
        TokenKind::DollarString => {
            let tag = bytes.iter().skip(1).position(|&b| b == b'$')? + 2;
            let inner = bytes.get(tag..bytes.len().checked_sub(tag)?)?;
            Some(std::str::from_utf8(inner).ok()?.to_owned())
        }
        _ => None,
    }
}

fn plain_string(bytes: &[u8], skip: usize) -> Option<String> {
    let inner = bytes.get(skip..bytes.len().checked_sub(1)?)?;
    let value = std::str::from_utf8(inner).ok()?;
    // a quote that is left when the doubled ones are taken out joins two parts
    match value.replace("''", "").contains('\'') {
        true => None,
        false => Some(value.replace("''", "'")),
    }
}

fn escaped_string(bytes: &[u8]) -> Option<String> {
    let inner = std::str::from_utf8(bytes.get(2..bytes.len().checked_sub(1)?)?).ok()?;
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => value.push(chars.next().filter(|c| !c.is_ascii_alphanumeric())?),
            '\'' => value.push(chars.next().filter(|&c| c == '\'')?),
            c => value.push(c),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Token {
        Lexer::new(text.as_bytes(), Backslash::Plain).next_token()
    }

    fn name(text: &str) -> Option<String> {
        identifier(first(text), text.as_bytes(), '\\')
    }

    #[test]
    fn identifiers_fold_only_without_quotes() {
        assert_eq!(name("Foo").as_deref(), Some("foo"));
        assert_eq!(name("\"Fo\"\"o\"").as_deref(), Some("Fo\"o"));
        assert_eq!(name("ÄB").as_deref(), Some("Äb"), "only ASCII is folded");
    }

    #[test]
    fn unicode_escapes_are_read() {
        assert_eq!(name(r#"U&"d\0061t\+000061""#).as_deref(), Some("data"));
        assert_eq!(name(r#"U&"\D83D\DE00\\""#).as_deref(), Some("😀\\"));
        assert_eq!(name(r#"U&"\00zz""#), None);
        let text = r#"U&"d!0061ta""#;
        assert_eq!(identifier(first(text), text.as_bytes(), '!').as_deref(), Some("data"));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(name(&"a".repeat(70)).map(|n| n.len()), Some(63));
        assert_eq!(name(&format!("a{}", "é".repeat(40))).map(|n| n.len()), Some(63));
        assert_eq!(name(&"é".repeat(40)).map(|n| n.len()), Some(62));
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_not_guessed() {
        let text = b"caf\xe9";
        assert_eq!(identifier(Lexer::new(text, Backslash::Plain).next_token(), text, '\\'), None);
    }

    #[test]
    fn constants_are_read_or_refused() {
        let value = |text: &str| constant(text.as_bytes());
        assert_eq!(value("'a', 'b'"), None);
        assert_eq!(value("'it''s'").as_deref(), Some("it's"));
        assert_eq!(value("N'x'").as_deref(), Some("x"));
        assert_eq!(value(r"E'it\'s'").as_deref(), Some("it's"));
        assert_eq!(value(r"E'\n'"), None);
        assert_eq!(value("'a'\n'b'"), None);
        assert_eq!(value("$x$a'b$x$").as_deref(), Some("a'b"));
        assert_eq!(value("On").as_deref(), Some("on"));
        assert_eq!(value("''").as_deref(), Some(""));
    }
}
