//! What a server answers, as lines of text: every byte of it, but for what must differ between two servers.
//!
//! Two answers are the same text exactly if they are the same bytes after this: process ids and secret keys are left out, and the oids of
//! what users created are numbered in the order in which they appear.

use std::fmt::Write;

/// Oids below are the same in every database of a version.
const FIRST_USER_OID: u32 = 16_384;

/// The oids that a connection has seen.
#[derive(Debug, Default)]
pub struct Oids(Vec<u32>);

impl Oids {
    fn text(&mut self, oid: u32) -> String {
        if oid < FIRST_USER_OID {
            return oid.to_string();
        }
        let at = self.0.iter().position(|known| *known == oid).unwrap_or_else(|| {
            self.0.push(oid);
            self.0.len() - 1
        });
        format!("user{at}")
    }
}

/// A frame, whole.
pub fn text(frame: &[u8], oids: &mut Oids) -> String {
    let mut body = Body(&frame[5..]);
    let text = match frame[0] {
        b'K' => "BackendKeyData".to_owned(),
        b'A' => {
            body.u32();
            format!("NotificationResponse {:?} {:?}", body.cstr(), body.cstr())
        }
        b'T' => row_description(&mut body, oids),
        b't' => {
            let count = body.u16();
            let types: Vec<_> = (0..count).map(|_| oids.text(body.u32())).collect();
            format!("ParameterDescription {types:?}")
        }
        b'D' => {
            let count = body.u16();
            let values: Vec<_> = (0..count).map(|_| body.value()).collect();
            format!("DataRow {}", values.join(" | "))
        }
        b'V' => format!("FunctionCallResponse {}", body.value()),
        b'E' | b'N' => fields(frame[0], &mut body),
        b'C' => format!("CommandComplete {:?}", body.cstr()),
        b'S' => format!("ParameterStatus {:?} {:?}", body.cstr(), body.cstr()),
        b'Z' => format!("ReadyForQuery {}", char::from(body.u8())),
        b'R' => format!("Authentication {}", body.u32()),
        tag => {
            let bytes = std::mem::take(&mut body.0);
            format!("{} {}", name(tag), bytes.escape_ascii())
        }
    };
    assert!(matches!(frame[0], b'K') || body.0.is_empty(), "{text} has bytes left over: {:?}", body.0);
    text
}

fn row_description(body: &mut Body, oids: &mut Oids) -> String {
    let mut out = "RowDescription".to_owned();
    for _ in 0..body.u16() {
        let name = body.cstr();
        let (table, attribute) = (oids.text(body.u32()), body.u16());
        let (kind, length, modifier, format) = (oids.text(body.u32()), body.u16(), body.u32(), body.u16());
        let _ = write!(out, " ({name:?} {table} {attribute} {kind} {length} {modifier:x} {format})");
    }
    out
}

fn fields(tag: u8, body: &mut Body) -> String {
    let mut out = name(tag).to_owned();
    while body.0.first().is_some_and(|code| *code != 0) {
        let _ = write!(out, " {}={:?}", char::from(body.u8()), body.cstr());
    }
    body.u8();
    out
}

/// The message that `until` may name.
pub fn name(tag: u8) -> &'static str {
    match tag {
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'A' => "NotificationResponse",
        b'C' => "CommandComplete",
        b'D' => "DataRow",
        b'E' => "ErrorResponse",
        b'G' => "CopyInResponse",
        b'H' => "CopyOutResponse",
        b'I' => "EmptyQueryResponse",
        b'K' => "BackendKeyData",
        b'N' => "NoticeResponse",
        b'R' => "Authentication",
        b'S' => "ParameterStatus",
        b'T' => "RowDescription",
        b'V' => "FunctionCallResponse",
        b'W' => "CopyBothResponse",
        b'Z' => "ReadyForQuery",
        b'c' => "CopyDone",
        b'd' => "CopyData",
        b'n' => "NoData",
        b's' => "PortalSuspended",
        b't' => "ParameterDescription",
        b'v' => "NegotiateProtocolVersion",
        _ => "unknown",
    }
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(n).expect("a longer frame");
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn cstr(&mut self) -> String {
        let end = self.0.iter().position(|b| *b == 0).expect("an end of the string");
        let text = self.take(end).escape_ascii().to_string();
        self.take(1);
        text
    }

    fn value(&mut self) -> String {
        match self.u32() {
            u32::MAX => "NULL".to_owned(),
            n => format!("'{}'", self.take(n as usize).escape_ascii()),
        }
    }
}
