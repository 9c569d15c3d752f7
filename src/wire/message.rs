//! Reading the messages that pgduet must understand, and writing those it sends itself.

use bytes::{BufMut, BytesMut};

use super::{HEADER, front};

/// Splits a zero-terminated string off the front.
pub fn cstr(buffer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = buffer.iter().position(|&b| b == 0)?;
    Some((buffer.get(..end)?, buffer.get(end + 1..)?))
}

fn split_u16(buffer: &[u8]) -> Option<(u16, &[u8])> {
    let (bytes, rest) = buffer.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*bytes), rest))
}

/// A Parse message, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub sql: &'a [u8],
    /// The parameter types' count and oids, as they stand.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (name, rest) = cstr(frame.get(HEADER..)?)?;
        let (sql, types) = cstr(rest)?;
        let (count, oids) = split_u16(types)?;
        (oids.len() == usize::from(count) * 4).then_some(Parse { name, sql, types })
    }
}

/// A Bind message, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// Parameter formats and values, as they stand.
    pub parameters: &'a [u8],
    pub result_formats: &'a [u8],
    pub result_format_count: u16,
}

impl<'a> Bind<'a> {
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (portal, rest) = cstr(frame.get(HEADER..)?)?;
        let (statement, parameters) = cstr(rest)?;
        let (formats, rest) = split_u16(parameters)?;
        let rest = rest.get(usize::from(formats) * 2..)?;
        let (values, mut rest) = split_u16(rest)?;
        for _ in 0..values {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            rest = match usize::try_from(length) {
                Ok(n) => tail.get(n..)?,
                Err(_) => tail,
            };
        }
        let parameters = parameters.get(..parameters.len() - rest.len())?;
        let (result_format_count, result_formats) = split_u16(rest)?;
        (result_formats.len() == usize::from(result_format_count) * 2).then_some(Bind {
            portal,
            statement,
            parameters,
            result_formats,
            result_format_count,
        })
    }

    /// The value of parameter `number`, from 1, and whether it is binary. `None`: there is none, or it is NULL.
    pub fn parameter(&self, number: usize) -> Option<(&'a [u8], bool)> {
        let (count, rest) = split_u16(self.parameters)?;
        let (formats, rest) = rest.split_at_checked(usize::from(count) * 2)?;
        let at = number.checked_sub(1)?;
        // One code is meant for all.
        let format = if count == 1 { formats.get(..2) } else { formats.get(at * 2..at * 2 + 2) };
        let (values, mut rest) = split_u16(rest)?;
        for index in 0..usize::from(values) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let value = usize::try_from(i32::from_be_bytes(*length)).ok();
            if index == at {
                return Some((tail.get(..value?)?, format == Some(&[0, 1])));
            }
            rest = tail.get(value.unwrap_or_default()..)?;
        }
        None
    }

    /// Writes the message for another statement name and, if `capture`, with the result formats that the capture column asks for:
    /// codes given per column get one more (text); a client that expects no rows gets none at all.
    pub fn write(&self, out: &mut BytesMut, formats: ResultFormats) {
        let mut writer = Writer::begin(out, front::BIND);
        writer.cstr(self.portal).cstr(self.statement).bytes(self.parameters);
        match formats {
            ResultFormats::OneMore if self.result_format_count > 1 => {
                writer.u16(self.result_format_count + 1).bytes(self.result_formats).u16(0)
            }
            ResultFormats::None => writer.u16(0),
            _ => writer.u16(self.result_format_count).bytes(self.result_formats),
        };
        writer.end();
    }
}

/// How a Bind's result formats are passed on; see [`Bind::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormats {
    AsTheyAre,
    OneMore,
    None,
}

/// What a Close or Describe is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseOrDescribe<'a> {
    Statement(&'a [u8]),
    Portal(&'a [u8]),
}

impl<'a> CloseOrDescribe<'a> {
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (&what, rest) = frame.get(HEADER..)?.split_first()?;
        let (name, _) = cstr(rest)?;
        match what {
            b'S' => Some(CloseOrDescribe::Statement(name)),
            b'P' => Some(CloseOrDescribe::Portal(name)),
            _ => None,
        }
    }
}

/// The tag of a CommandComplete frame.
pub fn command_tag(frame: &[u8]) -> Option<&[u8]> {
    cstr(frame.get(HEADER..)?).map(|(tag, _)| tag)
}

/// A DataRow frame without its last column. `None`: it has no column, or is malformed.
pub fn data_row_without_last(frame: &[u8], out: &mut BytesMut) -> Option<()> {
    let (count, mut rest) = split_u16(frame.get(HEADER..)?)?;
    let values = rest;
    let kept = count.checked_sub(1)?;
    for _ in 0..kept {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        rest = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(n) => tail.get(n..)?,
            Err(_) => tail,
        };
    }
    let values = values.get(..values.len() - rest.len())?;
    put_counted(out, frame.first().copied()?, kept, values);
    Some(())
}

/// A RowDescription frame without its last column; with no column left, a NoData frame if `describing` (an answer to Describe
/// has to be one or the other).
pub fn row_description_without_last(frame: &[u8], out: &mut BytesMut) -> Option<()> {
    const FIXED: usize = 18;
    let (count, mut rest) = split_u16(frame.get(HEADER..)?)?;
    let fields = rest;
    let kept = count.checked_sub(1)?;
    for _ in 0..kept {
        rest = cstr(rest)?.1.get(FIXED..)?;
    }
    let fields = fields.get(..fields.len() - rest.len())?;
    put_counted(out, frame.first().copied()?, kept, fields);
    Some(())
}

fn put_counted(out: &mut BytesMut, tag: u8, count: u16, items: &[u8]) {
    Writer::begin(out, tag).u16(count).bytes(items).end();
}

/// Writes one frame and fills in its length.
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    pub fn begin(out: &'a mut BytesMut, tag: u8) -> Self {
        let start = out.len();
        out.put_u8(tag);
        out.put_u32(0);
        Writer { out, start }
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.out.put_u8(value);
        self
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.out.put_u16(value);
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.out.put_u32(value);
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.put_slice(bytes);
        self
    }

    /// A zero-terminated string of these pieces, so many bytes in all.
    pub fn cstr_of<'b>(&mut self, len: usize, pieces: impl Iterator<Item = &'b [u8]>) -> &mut Self {
        self.out.reserve(len + 1);
        pieces.for_each(|piece| self.out.put_slice(piece));
        self.out.put_u8(0);
        self
    }

    pub fn cstr(&mut self, text: &[u8]) -> &mut Self {
        self.out.put_slice(text);
        self.out.put_u8(0);
        self
    }

    pub fn end(&mut self) {
        let length = (self.out.len() - self.start - 1) as u32;
        if let Some(field) = self.out.get_mut(self.start + 1..self.start + HEADER) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    // ---- whole messages

    pub fn query(out: &mut BytesMut, sql: &[u8]) {
        Writer::begin(out, front::QUERY).cstr(sql).end();
    }

    pub fn parse(out: &mut BytesMut, name: &[u8], sql: &[u8], types: &[u8]) {
        Writer::begin(out, front::PARSE).cstr(name).cstr(sql).bytes(types).end();
    }

    pub fn close_statement(out: &mut BytesMut, name: &[u8]) {
        Writer::begin(out, front::CLOSE).u8(b'S').cstr(name).end();
    }

    pub fn describe_statement(out: &mut BytesMut, name: &[u8]) {
        Writer::begin(out, front::DESCRIBE).u8(b'S').cstr(name).end();
    }

    pub fn close_portal(out: &mut BytesMut, name: &[u8]) {
        Writer::begin(out, front::CLOSE).u8(b'P').cstr(name).end();
    }

    pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: u32) {
        Writer::begin(out, front::EXECUTE).cstr(portal).u32(max_rows).end();
    }

    pub fn empty(out: &mut BytesMut, tag: u8) {
        Writer::begin(out, tag).end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&[u8]>]) -> BytesMut {
        let mut out = BytesMut::new();
        let mut w = Writer::begin(&mut out, b'D');
        w.u16(values.len() as u16);
        for value in values {
            match value {
                Some(v) => w.u32(v.len() as u32).bytes(v),
                None => w.u32(u32::MAX),
            };
        }
        w.end();
        out
    }

    #[test]
    fn the_capture_column_is_cut_off_and_nothing_else() {
        let mut out = BytesMut::new();
        data_row_without_last(&row(&[Some(b"a"), None, Some(b"")]), &mut out).unwrap();
        assert_eq!(out, row(&[Some(b"a"), None]));
        out.clear();
        assert!(data_row_without_last(&row(&[]), &mut out).is_none());
    }

    #[test]
    fn a_bind_passes_with_one_more_format_only_where_formats_are_per_column() {
        let mut frame = BytesMut::new();
        Writer::begin(&mut frame, front::BIND)
            .cstr(b"")
            .cstr(b"s")
            .u16(1)
            .u16(1)
            .u16(2)
            .u32(2)
            .bytes(b"hi")
            .u32(u32::MAX)
            .u16(2)
            .u16(0)
            .u16(1)
            .end();
        let bind = Bind::read(&frame).unwrap();
        assert_eq!((bind.statement, bind.result_format_count), (&b"s"[..], 2));
        assert_eq!((bind.parameter(1), bind.parameter(2), bind.parameter(3)), (Some((&b"hi"[..], true)), None, None));
        let mut same = BytesMut::new();
        bind.write(&mut same, ResultFormats::AsTheyAre);
        assert_eq!(same, frame);
        let mut more = BytesMut::new();
        bind.write(&mut more, ResultFormats::OneMore);
        assert_eq!(Bind::read(&more).unwrap().result_format_count, 3);
    }

    #[test]
    fn truncated_messages_are_no_messages() {
        let mut frame = BytesMut::new();
        Writer::parse(&mut frame, b"n", b"select 1", &[0, 1, 0, 0, 0, 23]);
        assert!(Parse::read(&frame).is_some());
        for cut in 0..frame.len() {
            assert!(Parse::read(&frame[..cut]).is_none());
        }
    }
}
