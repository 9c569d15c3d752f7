//! Statements that differ only in their constants, as one.

use xxhash_rust::xxh3::xxh3_128;

use super::lex::{Kind, Lexer};
use super::view::View;

/// 128 bits of hash over the normalised text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u128);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

pub fn fingerprint(view: &View<'_>, buffer: &mut Vec<u8>) -> Fingerprint {
    buffer.clear();
    write_normalised(view, buffer);
    Fingerprint(xxh3_128(buffer))
}

/// The text without its constants: literals and parameters as `?`, lists of them as one, comments dropped, words in lower case.
/// Fit for people, logs and findings: it holds no value.
pub fn normalised(text: &[u8]) -> String {
    let tokens: Vec<_> = Lexer::new(text).collect();
    let mut out = Vec::with_capacity(text.len());
    write_normalised(&View { text, tokens: &tokens }, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_normalised(view: &View<'_>, out: &mut Vec<u8>) {
    let mut glue = true;
    // Whether a sign here would belong to a literal: nothing stands before it that it could be added to.
    let mut prefix = true;
    for (at, token) in view.tokens.iter().enumerate() {
        let bytes = view.bytes(at);
        let number_follows = matches!(view.get(at + 1).map(|t| t.kind), Some(Kind::Number | Kind::Parameter));
        match token.kind {
            Kind::Operator if prefix && number_follows && matches!(bytes, b"-" | b"+") => continue,
            Kind::Punct(b',' | b')' | b'.' | b';' | b':' | b']') => {}
            Kind::Punct(b'(' | b'[')
                if at > 0 && matches!(view.get(at - 1).map(|t| t.kind), Some(Kind::QuotedIdent)) => {}
            _ if !glue => out.push(b' '),
            _ => {}
        }
        match token.kind {
            Kind::Word => out.extend(bytes.iter().map(u8::to_ascii_lowercase)),
            Kind::String | Kind::Number | Kind::Parameter | Kind::Unterminated => constant(out),
            Kind::Punct(b')') => close(out),
            _ => out.extend_from_slice(bytes),
        }
        glue = matches!(token.kind, Kind::Punct(b'(' | b'.' | b':' | b'['));
        prefix = match token.kind {
            Kind::Operator => true,
            Kind::Punct(p) => !matches!(p, b')' | b']'),
            Kind::Word => is_expression_keyword(bytes),
            _ => false,
        };
    }
}

/// Words after which an expression begins.
fn is_expression_keyword(word: &[u8]) -> bool {
    const WORDS: [&str; 17] = [
        "select",
        "where",
        "and",
        "or",
        "not",
        "between",
        "then",
        "else",
        "when",
        "limit",
        "offset",
        "in",
        "values",
        "by",
        "having",
        "on",
        "returning",
    ];
    WORDS.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}

/// A constant; a list of constants is one.
fn constant(out: &mut Vec<u8>) {
    if out.ends_with(b"?, ") {
        out.truncate(out.len() - 2);
        return;
    }
    out.push(b'?');
}

/// A closing bracket; a list of equal rows of constants is one row.
fn close(out: &mut Vec<u8>) {
    out.push(b')');
    if out.ends_with(b"(?), (?)") {
        out.truncate(out.len() - b", (?)".len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_go_and_structure_stays() {
        let n = |text: &str| normalised(text.as_bytes());
        assert_eq!(
            n("SELECT abalance FROM pgbench_accounts WHERE aid = 42;"),
            "select abalance from pgbench_accounts where aid = ?;"
        );
        assert_eq!(n("select /* x */ a from T where b in (1, -2,$3) -- c"), "select a from t where b in (?)");
        assert_eq!(n("insert into t values (1,'a'),(2, 'b')"), "insert into t values (?)");
        assert_eq!(n("update t set a = a + -5 where b=+1"), "update t set a = a + ? where b = ?");
        assert_ne!(n("select a - 5"), n("select a, -5"));
        assert_eq!(n("select \"A\".b::int"), "select \"A\".b::int");
    }
}
