//! What one side calls by number and the other calls by another: types and tables of the user's own have oids that differ between two
//! databases with the same schema. A client looks them up on the primary, so an answer from the secondary names them as the primary does,
//! and a statement that is sent there names its parameters' types as the secondary does.
//!
//! What stands inside of values in binary form (an array's element type, the fields of a composite) is not changed: see
//! [`Twins::nest`]. Answers that would hold such values come from the primary: by the statement's tables, and by the shape of the answer.

use std::collections::{HashMap, HashSet};

/// No object of the user's own has a smaller oid.
pub const FIRST_OWN_OID: u32 = 16_384;

/// A type of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnType {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// An array, a composite or a range: its values in binary form name other types.
    pub nests: bool,
}

/// A table's number on the other side, and those of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Twin {
    oid: u32,
    columns: HashMap<i16, i16>,
}

/// From one side's numbers to the other's; only what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Twins {
    types: HashMap<u32, u32>,
    nesting: HashSet<u32>,
    tables: HashMap<u32, Twin>,
}

impl Twins {
    /// From `here` to `there`: types are paired by name.
    pub fn of_types(here: &[OwnType], there: &[OwnType]) -> Self {
        let by_name: HashMap<(&str, &str), u32> =
            there.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t.oid)).collect();
        let mut twins = Twins::default();
        for own in here {
            let twin = by_name.get(&(own.schema.as_str(), own.name.as_str())).copied();
            if let Some(oid) = twin.filter(|&oid| oid != own.oid) {
                twins.types.insert(own.oid, oid);
            }
            if own.nests && twin != Some(own.oid) {
                twins.nesting.insert(own.oid);
            }
        }
        twins
    }

    /// Pairs a table; columns by name, as `(number here, number there)`.
    pub fn add_table(&mut self, here: u32, there: u32, columns: impl Iterator<Item = (i16, i16)>) {
        let columns: HashMap<i16, i16> = columns.filter(|(here, there)| here != there).collect();
        if here != there || !columns.is_empty() {
            self.tables.insert(here, Twin { oid: there, columns });
        }
    }

    /// A value of this type in binary form means something else on the other side.
    pub fn nest(&self, type_oid: u32) -> bool {
        self.nesting.contains(&type_oid)
    }

    /// Both sides call all that they both have by the same numbers.
    pub fn agree(&self) -> bool {
        self.types.is_empty() && self.nesting.is_empty() && self.tables.is_empty()
    }

    fn type_oid(&self, oid: u32) -> u32 {
        self.types.get(&oid).copied().unwrap_or(oid)
    }

    /// Puts the other side's numbers into a whole RowDescription.
    pub fn translate_row_description(&self, frame: &mut [u8]) {
        if self.types.is_empty() && self.tables.is_empty() {
            return;
        }
        let mut rest = frame.get_mut(7..).unwrap_or_default();
        while let Some(end) = rest.iter().position(|&b| b == 0) {
            // A field: its name, the table (4) and its column (2), the type (4), its size (2), its modifier (4), the format (2).
            let Some((field, tail)) = rest.get_mut(end + 1..).and_then(|rest| rest.split_at_mut_checked(18)) else {
                return;
            };
            self.translate_field(field);
            rest = tail;
        }
    }

    fn translate_field(&self, field: &mut [u8]) {
        if let Some(twin) = oid_at(field, 0).and_then(|table| self.tables.get(&table)) {
            let column = field.get(4..6).and_then(|c| c.try_into().ok()).map_or(0, i16::from_be_bytes);
            put(field, 0, &twin.oid.to_be_bytes());
            put(field, 4, &twin.columns.get(&column).unwrap_or(&column).to_be_bytes());
        }
        if let Some(oid) = oid_at(field, 6) {
            put(field, 6, &self.type_oid(oid).to_be_bytes());
        }
    }

    /// Puts the other side's types into a list of oids behind a count of two bytes, as Parse and ParameterDescription have it.
    pub fn translate_types(&self, counted: &mut [u8]) {
        for i in (2..counted.len()).step_by(4).take(if self.types.is_empty() { 0 } else { usize::MAX }) {
            if let Some(oid) = oid_at(counted, i) {
                put(counted, i, &self.type_oid(oid).to_be_bytes());
            }
        }
    }

    /// The same list for the other side, where it differs.
    pub fn translated_types(&self, counted: &[u8]) -> Option<Vec<u8>> {
        let mut translated = counted.to_vec();
        self.translate_types(&mut translated);
        (translated != counted).then_some(translated)
    }
}

fn oid_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(oid: u32, name: &str, nests: bool) -> OwnType {
        OwnType { oid, schema: "public".into(), name: name.into(), nests }
    }

    fn twins() -> Twins {
        let here = [
            own(20_001, "mood", false),
            own(20_002, "_mood", true),
            own(20_003, "same", true),
            own(20_004, "gone", true),
        ];
        let there = [own(30_001, "mood", false), own(30_002, "_mood", true), own(20_003, "same", true)];
        let mut twins = Twins::of_types(&here, &there);
        twins.add_table(20_100, 30_100, [(1, 1), (2, 4)].into_iter());
        twins
    }

    /// A RowDescription of `(name, table, column, type)`.
    fn described(fields: &[(&str, u32, i16, u32)]) -> Vec<u8> {
        let mut body = (fields.len() as u16).to_be_bytes().to_vec();
        for (name, table, column, type_oid) in fields {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(&table.to_be_bytes());
            body.extend_from_slice(&column.to_be_bytes());
            body.extend_from_slice(&type_oid.to_be_bytes());
            body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1]);
        }
        let mut frame = vec![b'T'];
        frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frame.extend_from_slice(&body);
        frame
    }

    #[test]
    fn an_answer_names_types_tables_and_columns_as_the_other_side_does() {
        let mut frame = described(&[("a", 20_100, 2, 20_001), ("", 0, 0, 25), ("b", 20_100, 1, 20_003)]);
        twins().translate_row_description(&mut frame);
        assert_eq!(frame, described(&[("a", 30_100, 4, 30_001), ("", 0, 0, 25), ("b", 30_100, 1, 20_003)]));
    }

    #[test]
    fn a_broken_description_is_left_as_it_is_and_harms_nobody() {
        let whole = described(&[("a", 20_100, 2, 20_001)]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            twins().translate_row_description(&mut cut);
            assert_eq!(cut.len(), length);
        }
    }

    #[test]
    fn parameters_are_named_as_the_other_side_does() {
        let types = [&[0, 2][..], &20_002u32.to_be_bytes(), &23u32.to_be_bytes()].concat();
        let wanted = [&[0, 2][..], &30_002u32.to_be_bytes(), &23u32.to_be_bytes()].concat();
        assert_eq!(twins().translated_types(&types), Some(wanted));
        assert_eq!(twins().translated_types(&[0, 1, 0, 0, 0, 23]), None);
        assert_eq!(twins().translated_types(&[]), None);
    }

    #[test]
    fn what_names_types_inside_of_its_values_is_known_unless_both_sides_agree() {
        let twins = twins();
        assert_eq!([20_001, 20_002, 20_003, 20_004].map(|oid| twins.nest(oid)), [false, true, false, true]);
    }
}
