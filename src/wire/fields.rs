//! ErrorResponse and NoticeResponse: reading a field, moving a position, and building one of our own.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{HEADER, back, cstr};

/// The value of one field (`C` SQLSTATE, `M` message, `P` position, ...) of an ErrorResponse or NoticeResponse *frame*.
pub fn error_field(frame: &[u8], field: u8) -> Option<&[u8]> {
    let mut rest = frame.get(HEADER..)?;
    while let Some((&code, tail)) = rest.split_first() {
        if code == 0 {
            return None;
        }
        let (value, next) = cstr(tail)?;
        if code == field {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The same frame with its position (`P`) replaced. `None`: it has no position, or is malformed; pass it as it is.
pub fn with_position(frame: &[u8], map: impl Fn(usize) -> usize) -> Option<BytesMut> {
    let position: usize = std::str::from_utf8(error_field(frame, b'P')?).ok()?.parse().ok()?;
    with_fields(frame, |code, value| match code {
        b'P' => Some(map(position).to_string().into_bytes().into()),
        _ => Some(value.into()),
    })
}

/// The same frame without what tells where in a statement it came from (position, context, internal query). `None`: it is malformed.
pub fn without_origin(frame: &[u8]) -> Option<BytesMut> {
    with_fields(frame, |code, value| Some(value.into()).filter(|_| !matches!(code, b'P' | b'p' | b'q' | b'W')))
}

/// What PostgreSQL says of a function that runs what can run in none, whoever asks; where it was asked between other messages it names these.
/// `None`: it is another error.
pub fn asked_alone(frame: &[u8]) -> Option<BytesMut> {
    const IN_A_PIPELINE: &[u8] = b"cannot be executed within a pipeline";
    let what = error_field(frame, b'M').filter(|_| error_field(frame, b'C') == Some(b"25001"))?;
    let what = what.strip_suffix(IN_A_PIPELINE)?;
    with_fields(frame, |code, value| match code {
        b'M' => Some([what, b"cannot be executed from a function"].concat().into()),
        _ => Some(value.into()),
    })
}

/// The same frame with other values of its fields; without a value a field is left out. `None`: it is malformed.
fn with_fields<'a>(frame: &'a [u8], map: impl Fn(u8, &'a [u8]) -> Option<Cow<'a, [u8]>>) -> Option<BytesMut> {
    let mut out = BytesMut::with_capacity(frame.len() + 8);
    out.put_slice(frame.get(..HEADER)?);
    let mut rest = frame.get(HEADER..)?;
    while let Some((&code, tail)) = rest.split_first().filter(|(code, _)| **code != 0) {
        let (value, next) = cstr(tail)?;
        if let Some(value) = map(code, value) {
            out.put_u8(code);
            out.put_slice(&value);
            out.put_u8(0);
        }
        rest = next;
    }
    out.put_u8(0);
    let length = (out.len() - 1) as u32;
    out.get_mut(1..HEADER)?.copy_from_slice(&length.to_be_bytes());
    Some(out)
}

/// An error or notice of pgduet's own, in Postgres's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: &'static str,
    /// SQLSTATE.
    pub code: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The routine of PostgreSQL's that would say it: some drivers go by that.
    pub routine: Option<&'static str>,
}

impl Notice {
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Notice { severity: "FATAL", code, message: message.into(), detail: None, hint: None, routine: None }
    }

    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Notice { severity: "ERROR", ..Notice::fatal(code, message) }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Notice { severity: "WARNING", ..Notice::fatal(code, message) }
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        Notice { detail: Some(detail.into()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Notice { hint: Some(hint.into()), ..self }
    }

    pub fn routine(self, routine: &'static str) -> Self {
        Notice { routine: Some(routine), ..self }
    }

    /// Appends the frame: an ErrorResponse, or a NoticeResponse for a warning.
    pub fn put(&self, out: &mut BytesMut) {
        let tag = if self.severity == "WARNING" { back::NOTICE } else { back::ERROR };
        let start = out.len();
        out.put_u8(tag);
        out.put_u32(0);
        let texts = [
            (b'S', Some(self.severity)),
            (b'V', Some(self.severity)),
            (b'C', Some(self.code)),
            (b'M', Some(self.message.as_str())),
            (b'D', self.detail.as_deref()),
            (b'H', self.hint.as_deref()),
            (b'R', self.routine),
        ];
        for (code, text) in texts {
            if let Some(text) = text {
                out.put_u8(code);
                out.extend(text.bytes().filter(|&b| b != 0));
                out.put_u8(0);
            }
        }
        out.put_u8(0);
        let length = (out.len() - start - 1) as u32;
        if let Some(field) = out.get_mut(start + 1..start + HEADER) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_moves_and_the_rest_stays() {
        let mut frame = BytesMut::new();
        Notice::error("42601", "syntax error").put(&mut frame);
        assert_eq!(with_position(&frame, |p| p), None);
        // S..., C..., then P40, M...
        let mut body = b"SERROR\0C42601\0P140\0Mbad\0\0".to_vec();
        let mut raw = vec![b'E'];
        raw.extend(((body.len() + 4) as u32).to_be_bytes());
        raw.append(&mut body);
        let moved = with_position(&raw, |p| p - 100).unwrap();
        assert_eq!(error_field(&moved, b'P'), Some(&b"40"[..]));
        assert_eq!(error_field(&moved, b'M'), Some(&b"bad"[..]));
        assert_eq!(moved.len(), raw.len() - 1);
        assert_eq!(u32::from_be_bytes(moved[1..5].try_into().unwrap()) as usize + 1, moved.len());
    }

    #[test]
    fn a_function_that_was_asked_alone_hears_nothing_of_a_pipeline() {
        let mut frame = BytesMut::new();
        Notice::error("25001", "VACUUM cannot be executed within a pipeline").put(&mut frame);
        let told = asked_alone(&frame).unwrap();
        assert_eq!(error_field(&told, b'M'), Some(&b"VACUUM cannot be executed from a function"[..]));
        assert_eq!(error_field(&told, b'C'), Some(&b"25001"[..]));
        assert_eq!(asked_alone(&told), None);
    }
}
