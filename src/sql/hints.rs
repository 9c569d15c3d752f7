//! Routing hints: the tags that an application puts into a comment, in sqlcommenter's form.

use super::lex::{Backslash, Lexer};
use crate::side::Side;

/// What the comments of a statement ask for. A tag that is not well formed is as good as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `pgduet_key='...'`, decoded.
    pub key: Option<String>,
    /// `pgduet_route='old'` or `'new'`.
    pub route: Option<Side>,
}

impl Hints {
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.route.is_none()
    }

    /// Reads the tags of one comment; the first of a name wins.
    pub(super) fn read(&mut self, comment: &[u8]) {
        if self.key.is_none() {
            self.key = tag(comment, b"pgduet_key").and_then(decode);
        }
        if self.route.is_none() {
            self.route = tag(comment, b"pgduet_route").and_then(decode).and_then(|side| side.parse().ok());
        }
    }

    /// Takes over what `other` has and this lacks.
    pub(super) fn fill_from(&mut self, other: Hints) {
        self.key = self.key.take().or(other.key);
        self.route = self.route.or(other.route);
    }
}

/// The value, decoded, of a tag in one of the text's comments; the first of that name counts.
pub fn comment_tag(text: &[u8], name: &[u8]) -> Option<String> {
    // Most texts have none, and are not taken apart.
    find(text, name)?;
    let mut comments = Lexer::new(text, Backslash::Plain).filter(|token| token.kind.is_comment());
    comments.find_map(|token| tag(token.of(text), name)).and_then(decode)
}

/// The raw value of `name='value'`, where `name` is not the tail of a longer one.
fn tag<'a>(comment: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    while let Some(offset) = find(comment.get(from..)?, name) {
        let start = from + offset;
        let before = start.checked_sub(1).and_then(|at| comment.get(at));
        let rest = comment.get(start + name.len()..)?;
        from = start + name.len();
        let whole = before.is_none_or(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'_' | b'%'));
        if let (true, Some(value)) = (whole, rest.strip_prefix(b"='")) {
            return value.get(..closing_quote(value)?);
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn closing_quote(value: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match value.get(at)? {
            b'\\' => at += 2,
            b'\'' => return Some(at),
            _ => at += 1,
        }
    }
}

/// Takes backslashes off, then `%41` to `A`. A plus is a plus.
fn decode(raw: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => rest.next()?,
            b'%' => hex(rest.next()?)? * 16 + hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(comment: &str) -> (Option<String>, Option<Side>) {
        let mut hints = Hints::default();
        hints.read(comment.as_bytes());
        (hints.key, hints.route)
    }

    #[test]
    fn tags_are_found_among_others() {
        assert_eq!(hints("/* pgduet_key='42' */"), (Some("42".into()), None));
        assert_eq!(
            hints("/*app='x',pgduet_key='a%20b%27',pgduet_route='new'*/"),
            (Some("a b'".into()), Some(Side::New))
        );
        assert_eq!(hints("-- pgduet_route='old'"), (None, Some(Side::Old)));
        assert_eq!(hints(r"/*pgduet_key='it\'s+'*/"), (Some("it's+".into()), None));
    }

    #[test]
    fn a_tag_is_one_in_a_comment() {
        let parent = |text: &str| comment_tag(text.as_bytes(), b"traceparent");
        assert_eq!(parent("select 1 /*traceparent='00-a-b-01'*/").as_deref(), Some("00-a-b-01"));
        assert_eq!(parent("/*a='1',traceparent='x'*/ select 1 -- traceparent='y'").as_deref(), Some("x"));
        for text in
            ["select 'traceparent=''x'''", "select 1 /*traceparent=x*/", "select traceparent", "/* traceparent='x'"]
        {
            assert_eq!(parent(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_absent() {
        for comment in
            ["/* pgduet_key=42 */", "/* pgduet_key='42 */", "/* my_pgduet_key='1' */", "/* pgduet_key='%4' */"]
        {
            assert_eq!(hints(comment), (None, None), "{comment}");
        }
        assert_eq!(hints("/* pgduet_route='newer' */"), (None, None));
        assert_eq!(hints("/* xpgduet_key='1', pgduet_key='2' */").0.as_deref(), Some("2"));
    }
}
