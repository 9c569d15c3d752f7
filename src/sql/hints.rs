//! What a comment in a statement asks for, in sqlcommenter's form: `/* pgduet_key='42' */`, `/* pgduet_route='old' */`.

use std::ops::Range;

use crate::side::Side;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The routing key.
    pub key: Option<String>,
    /// The side that a read is forced to.
    pub route: Option<Side>,
}

impl Hints {
    pub fn read(text: &[u8], comments: &[Range<usize>]) -> Hints {
        let mut hints = Hints::default();
        for comment in comments {
            let comment = text.get(comment.clone()).unwrap_or_default();
            if let Some(key) = tag(comment, b"pgduet_key") {
                hints.key = Some(key);
            }
            if let Some(side) = tag(comment, b"pgduet_route").and_then(|s| s.parse().ok()) {
                hints.route = Some(side);
            }
        }
        hints
    }
}

/// The value of `name='...'`, URL-decoded; `\'` stands for a quote.
fn tag(comment: &[u8], name: &[u8]) -> Option<String> {
    let at = comment.windows(name.len()).position(|w| w == name)?;
    let rest = comment.get(at + name.len()..)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start().strip_prefix(b"'")?;
    let mut value = Vec::new();
    let mut bytes = rest.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b'\'' => return String::from_utf8(value).ok(),
            b'\\' => value.extend(bytes.next()),
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16)).map(|d| d as u8);
                value.push(digit(bytes.next())? * 16 + digit(bytes.next())?);
            }
            _ => value.push(b),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_decoded_and_half_tags_are_none() {
        assert_eq!(tag(b"/* a='b',pgduet_key='4%202\\'x' */", b"pgduet_key").as_deref(), Some("4 2'x"));
        assert_eq!(tag(b"/* pgduet_key='42 */", b"pgduet_key"), None);
        assert_eq!(tag(b"/* pgduet_key='%zz' */", b"pgduet_key"), None);
    }
}
