//! What a console answers with: a tag, and rows of a few types that psql aligns and drivers read as numbers.

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Int,
    Float,
    Bool,
}

impl ColumnKind {
    pub(super) fn oid(self) -> u32 {
        match self {
            ColumnKind::Text => 25,
            ColumnKind::Int => 20,
            ColumnKind::Float => 701,
            ColumnKind::Bool => 16,
        }
    }

    pub(super) fn size(self) -> u16 {
        match self {
            ColumnKind::Text => u16::MAX,
            ColumnKind::Int | ColumnKind::Float => 8,
            ColumnKind::Bool => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

/// One value, of its column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Cell {
    /// As PostgreSQL sends it. `None`: null.
    pub(super) fn encode(&self, binary: bool) -> Option<Vec<u8>> {
        let bytes = match (self, binary) {
            (Cell::Null, _) => return None,
            (Cell::Text(text), _) => text.replace('\0', "").into_bytes(),
            (Cell::Int(n), true) => n.to_be_bytes().to_vec(),
            (Cell::Int(n), false) => n.to_string().into_bytes(),
            (Cell::Float(n), true) => n.to_be_bytes().to_vec(),
            (Cell::Float(n), false) => n.to_string().into_bytes(),
            (Cell::Bool(b), true) => vec![u8::from(*b)],
            (Cell::Bool(b), false) => vec![if *b { b't' } else { b'f' }],
        };
        Some(bytes)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(n: f64) -> Self {
        Cell::Float(n)
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Cell::Int(n)
    }
}

impl From<u64> for Cell {
    fn from(n: u64) -> Self {
        Cell::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell {
    fn from(n: usize) -> Self {
        Cell::from(n as u64)
    }
}

impl From<bool> for Cell {
    fn from(b: bool) -> Self {
        Cell::Bool(b)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

/// One statement's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub tag: &'static str,
    pub rows: Option<Rows>,
}

impl Reply {
    pub fn done(tag: &'static str) -> Self {
        Reply { tag, rows: None }
    }

    /// As Postgres, where the number of rows is part of a SELECT's tag only.
    pub(super) fn full_tag(&self) -> String {
        match &self.rows {
            Some(rows) if self.tag == "SELECT" => format!("SELECT {}", rows.rows.len()),
            _ => self.tag.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sent_as_postgres_sends_them() {
        assert_eq!(Cell::from(true).encode(false), Some(b"t".to_vec()));
        assert_eq!(Cell::from(true).encode(true), Some(vec![1]));
        assert_eq!(Cell::from(258_u64).encode(true), Some(vec![0, 0, 0, 0, 0, 0, 1, 2]));
        assert_eq!(Cell::from(0.25).encode(false), Some(b"0.25".to_vec()));
        assert_eq!(Cell::from(None::<&str>).encode(false), None);
        assert_eq!(Cell::from(u64::MAX), Cell::Int(i64::MAX));
    }
}
