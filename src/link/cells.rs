//! Values on their way through, never decoded: a cell of a row in binary form becomes an element of a binary array.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type Refused = Box<dyn Error + Sync + Send>;

/// The bytes of a value as the server sent them, whatever its type.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Refused> {
        Ok(Cell(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// One array parameter under construction: the values of one column.
#[derive(Clone, Debug)]
pub struct Array {
    element_oid: u32,
    elements: BytesMut,
    count: i32,
    has_null: bool,
}

impl Array {
    pub fn new(element_oid: u32) -> Self {
        Array { element_oid, elements: BytesMut::new(), count: 0, has_null: false }
    }

    pub fn text() -> Self {
        Array::new(Type::TEXT.oid())
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a value in the element type's binary form; `None` is NULL.
    pub fn push(&mut self, cell: Option<&[u8]>) {
        match cell {
            // A value is part of one message of at most 1 GB, so its length fits.
            Some(bytes) => {
                self.elements.put_i32(bytes.len() as i32);
                self.elements.put_slice(bytes);
            }
            None => {
                self.elements.put_i32(-1);
                self.has_null = true;
            }
        }
        self.count += 1;
    }

    /// Appends column `index` of a row.
    pub fn push_cell(&mut self, row: &Row, index: usize) -> Result<(), tokio_postgres::Error> {
        let cell: Option<Cell<'_>> = row.try_get(index)?;
        self.push(cell.map(|c| c.0));
        Ok(())
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        out.put_i32(i32::from(self.count > 0));
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element_oid);
        if self.count > 0 {
            out.put_i32(self.count);
            out.put_i32(1);
        }
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The fields of a record in binary form, as `ROW(...)` is sent; ends early where the bytes do not add up.
pub fn fields(raw: &[u8]) -> Fields<'_> {
    Fields { rest: raw.get(4..).unwrap_or_default() }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        // The type's oid, then the value as in an array.
        let (value, rest) = value_and_rest(self.rest.get(4..)?)?;
        self.rest = rest;
        Some(value)
    }
}

/// The elements of a one-dimensional array in binary form; ends early where the bytes do not add up.
pub fn elements(raw: &[u8]) -> Elements<'_> {
    let dimensions = read_i32(raw, 0).unwrap_or(0);
    let count = if dimensions == 1 { read_i32(raw, 12).unwrap_or(0) } else { 0 };
    Elements { rest: raw.get(20..).unwrap_or_default(), left: count.max(0) as usize }
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = value_and_rest(self.rest)?;
        self.rest = rest;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// A length, -1 for NULL, and so many bytes.
fn value_and_rest(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let length = read_i32(bytes, 0)?;
    let rest = bytes.get(4..)?;
    match usize::try_from(length) {
        Ok(length) => Some((Some(rest.get(..length)?), rest.get(length..)?)),
        Err(_) => Some((None, rest)),
    }
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_reads_back_as_it_was_built() {
        let mut array = Array::text();
        let values: [Option<&[u8]>; 4] = [Some(b"a"), None, Some(b""), Some(b"NULL")];
        values.iter().for_each(|v| array.push(*v));
        let mut out = BytesMut::new();
        array.to_sql(&Type::TEXT_ARRAY, &mut out).unwrap();
        assert_eq!(elements(&out).collect::<Vec<_>>(), values);
    }

    #[test]
    fn bytes_that_do_not_add_up_end_the_array() {
        assert_eq!(elements(&[]).count(), 0);
        assert_eq!(
            elements(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 1]).count(),
            0
        );
    }
}
