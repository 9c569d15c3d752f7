//! Frames: what is read of them is inside them, and what is written again is what was read.

use bytes::BytesMut;
use pgduet::wire::{
    Bind, CloseOrDescribe, HEADER, Header, Parse, ResultFormats, Writer, back, command_tag, data_row_without_last,
    error_field, front, row_description_without_last, with_position,
};

const MAX: usize = 1 << 20;

/// Takes the input for a stream of frames, of a client's and of a server's alike.
pub fn framing(input: &[u8]) {
    let mut rest = input;
    let mut again = Vec::with_capacity(input.len());
    while let Ok(Some(header)) = Header::peek(rest, MAX) {
        assert!(header.len >= HEADER && header.len <= MAX, "{header:?}");
        assert_eq!(Header::peek(&rest[..HEADER], MAX), Ok(Some(header)), "a header depends on what follows it");
        let Some((frame, tail)) = rest.split_at_checked(header.len) else { break };
        of_a_client(frame);
        of_a_server(frame);
        again.extend_from_slice(frame);
        rest = tail;
    }
    again.extend_from_slice(rest);
    assert_eq!(again, input);
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

fn of_a_client(frame: &[u8]) {
    if let Some(parse) = Parse::read(frame).filter(|_| frame[0] == front::PARSE) {
        let again = written(|out| Writer::parse(out, parse.name, parse.sql, parse.types));
        assert_eq!(again, frame);
    }
    if let Some(bind) = Bind::read(frame).filter(|_| frame[0] == front::BIND) {
        assert_eq!(written(|out| bind.write(out, ResultFormats::AsTheyAre)), frame);
        let more = written(|out| bind.write(out, ResultFormats::OneMore));
        let read = Bind::read(&more).expect("what was written can be read");
        assert_eq!((read.portal, read.statement, read.parameters), (bind.portal, bind.statement, bind.parameters));
        let added = u16::from(bind.result_format_count > 1);
        assert_eq!(read.result_format_count, bind.result_format_count + added);
        let none = written(|out| bind.write(out, ResultFormats::None));
        assert_eq!(Bind::read(&none).expect("what was written can be read").result_format_count, 0);
    }
    if let Some(CloseOrDescribe::Statement(name)) = CloseOrDescribe::read(frame).filter(|_| frame[0] == front::CLOSE) {
        let again = written(|out| Writer::close_statement(out, name));
        assert!(frame.len() >= again.len());
        assert_eq!(frame[HEADER..again.len()], again[HEADER..]);
    }
}

fn of_a_server(frame: &[u8]) {
    if let Some(tag) = command_tag(frame) {
        assert!(tag.len() < frame.len() - HEADER);
    }
    if frame[0] == back::DATA_ROW {
        loses_its_last(frame, data_row_without_last);
    }
    if frame[0] == back::ROW_DESCRIPTION {
        loses_its_last(frame, row_description_without_last);
    }
    for field in [b'S', b'C', b'M', b'P'] {
        if let Some(value) = error_field(frame, field) {
            assert!(!value.contains(&0) && value.len() < frame.len());
        }
    }
    if let Some(moved) = with_position(frame, |position| position) {
        assert_eq!(error_field(&moved, b'P').map(number), error_field(frame, b'P').map(number));
        assert_eq!(error_field(&moved, b'C'), error_field(frame, b'C'));
        assert_eq!(Header::peek(&moved, usize::MAX).ok().flatten().map(|h| h.len), Some(moved.len()));
    }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One column less, the others as they were.
fn loses_its_last(frame: &[u8], cut: impl Fn(&[u8], &mut BytesMut) -> Option<()>) {
    let count = |frame: &[u8]| u16::from_be_bytes([frame[HEADER], frame[HEADER + 1]]);
    let mut out = BytesMut::new();
    if cut(frame, &mut out).is_some() {
        assert_eq!(out[0], frame[0]);
        assert_eq!(count(&out) + 1, count(frame));
        assert!(frame[HEADER + 2..].starts_with(&out[HEADER + 2..]), "a column has changed");
        assert_eq!(Header::peek(&out, usize::MAX).ok().flatten().map(|h| h.len), Some(out.len()));
    }
}
