//! The shape of an answer: what its RowDescription says of the columns that a client which keeps it relies on.

use xxhash_rust::xxh3::Xxh3;

use super::twins::{FIRST_OWN_OID, Twins};
use crate::wire::{HEADER, cstr};

const RECORD: u32 = 2249;
const RECORDS: u32 = 2287;
/// Columns of the user's own types that are remembered one by one.
const REMEMBERED: usize = 16;
/// Behind a field's name: the table (4) and its column (2), the type (4), its size (2), its modifier (4), the format (2).
const FIELD: usize = 18;

/// Two shapes are equal where PostgreSQL finds that a cached plan has not changed its result type: by names, types and type modifiers.
/// Which table a column comes from, and in which format it is sent, is none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    digest: u128,
    own: Own,
}

/// The columns, from 0, whose values may name types of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    Few(Box<[(usize, u32)]>),
    Many,
}

impl Shape {
    /// Of an answer without rows.
    pub fn none() -> Self {
        Shape { digest: 0, own: Own::Few(Box::default()) }
    }

    /// Of a whole RowDescription. `None`: it is malformed.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (count, mut rest) = frame.get(HEADER..)?.split_first_chunk::<2>()?;
        let (mut digest, mut own) = (Xxh3::new(), Vec::new());
        digest.update(count);
        for column in 0..usize::from(u16::from_be_bytes(*count)) {
            let (name, tail) = cstr(rest)?;
            let (field, tail) = tail.split_at_checked(FIELD)?;
            let type_oid = field.get(6..10)?;
            for part in [name, &[0], type_oid, field.get(12..16)?] {
                digest.update(part);
            }
            let type_oid = u32::from_be_bytes(type_oid.try_into().ok()?);
            if may_name_types(type_oid) && own.len() <= REMEMBERED {
                own.push((column, type_oid));
            }
            rest = tail;
        }
        let own = if own.len() > REMEMBERED { Own::Many } else { Own::Few(own.into()) };
        Some(Shape { digest: digest.digest128(), own })
    }

    /// Whether values of the other side, in these result formats of a Bind, name types that this side calls otherwise.
    pub fn is_misread(&self, formats: &[u8], twins: &Twins) -> bool {
        match &self.own {
            Own::Few(own) => own.iter().any(|&(column, oid)| is_binary(formats, column) && misreads(oid, twins)),
            Own::Many => formats.iter().any(|&byte| byte != 0) && !twins.agree(),
        }
    }
}

/// Of built-in types only a row that has no type of its own may hold anything.
fn may_name_types(type_oid: u32) -> bool {
    type_oid >= FIRST_OWN_OID || matches!(type_oid, RECORD | RECORDS)
}

fn misreads(type_oid: u32, twins: &Twins) -> bool {
    twins.nest(type_oid) || (type_oid < FIRST_OWN_OID && !twins.agree())
}

/// One code is meant for all.
fn is_binary(formats: &[u8], column: usize) -> bool {
    let at = if formats.len() == 2 { 0 } else { column * 2 };
    formats.get(at..at + 2).is_some_and(|code| code != [0, 0])
}

#[cfg(test)]
mod tests {
    use super::super::twins::OwnType;
    use super::*;

    /// Of `(name, table, type, modifier)`.
    fn described(fields: &[(&str, u32, u32, i32)]) -> Vec<u8> {
        let mut body = (fields.len() as u16).to_be_bytes().to_vec();
        for (name, table, type_oid, modifier) in fields {
            body.extend_from_slice(&[name.as_bytes(), &[0], &table.to_be_bytes(), &[0, 1]].concat());
            body.extend_from_slice(&[&type_oid.to_be_bytes()[..], &[0, 4], &modifier.to_be_bytes(), &[0, 0]].concat());
        }
        [&[b'T'][..], &(body.len() as u32 + 4).to_be_bytes(), &body].concat()
    }

    fn shape(fields: &[(&str, u32, u32, i32)]) -> Shape {
        Shape::read(&described(fields)).expect("a shape")
    }

    #[test]
    fn a_shape_is_names_types_and_modifiers_and_nothing_else() {
        let known = shape(&[("a", 1, 23, -1), ("b", 1, 1043, 14)]);
        assert_eq!(known, shape(&[("a", 2, 23, -1), ("b", 0, 1043, 14)]));
        for other in [
            shape(&[("a", 1, 20, -1), ("b", 1, 1043, 14)]),
            shape(&[("c", 1, 23, -1), ("b", 1, 1043, 14)]),
            shape(&[("a", 1, 23, -1), ("b", 1, 1043, 15)]),
            shape(&[("a", 1, 23, -1)]),
            Shape::none(),
        ] {
            assert_ne!(known, other);
        }
    }

    #[test]
    fn a_broken_description_has_no_shape() {
        let whole = described(&[("a", 1, 23, -1), ("b", 1, 1043, 14)]);
        for length in 0..whole.len() {
            assert_eq!(Shape::read(&whole[..length]), None);
        }
    }

    #[test]
    fn only_binary_columns_whose_values_name_types_are_misread() {
        let own = |oid, name: &str, nests| OwnType { oid, schema: "public".into(), name: name.into(), nests };
        let here = [own(20_001, "mood", false), own(20_002, "_mood", true)];
        let there = [own(30_001, "mood", false), own(30_002, "_mood", true)];
        let (differ, agree) = (Twins::of_types(&here, &there), Twins::of_types(&here, &here));
        let moods = shape(&[("n", 0, 23, -1), ("m", 0, 20_001, -1), ("ms", 0, 20_002, -1)]);
        let misread = |formats: &[u8], twins| moods.is_misread(formats, twins);
        assert!(misread(&[0, 1], &differ) && misread(&[0, 0, 0, 0, 0, 1], &differ));
        assert!(!misread(&[], &differ) && !misread(&[0, 0], &differ) && !misread(&[0, 1, 0, 1, 0, 0], &differ));
        assert!(!misread(&[0, 1], &agree));
        let row = shape(&[("row", 0, RECORD, -1)]);
        assert!(row.is_misread(&[0, 1], &differ) && !row.is_misread(&[0, 1], &agree));
        let many = shape(&[("m", 0, 20_001, -1); 40]);
        assert!(many.is_misread(&[0, 1], &differ) && !many.is_misread(&[0, 0], &differ));
    }
}
