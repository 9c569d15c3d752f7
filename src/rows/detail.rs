//! An answer kept so that two can be compared by what their values mean, in bounded memory: hashes of rows, and floats as they are.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use super::value::{Value, sorts_by_its_bytes, value};
use crate::catalog::twins::FIRST_OWN_OID;
use crate::wire::{HEADER, back, cstr, error_field};

/// A column as a RowDescription names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    type_modifier: i32,
    binary: bool,
}

impl Column {
    fn is_like(&self, other: &Column) -> bool {
        let oid = |c: &Column| c.type_oid.min(FIRST_OWN_OID);
        self.name == other.name && oid(self) == oid(other) && self.type_modifier == other.type_modifier
    }
}

/// The columns of a RowDescription frame. `None`: it is malformed.
pub fn columns(frame: &[u8]) -> Option<Vec<Column>> {
    let (count, mut rest) = frame.get(HEADER..)?.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, tail) = cstr(rest)?;
        let fixed = tail.first_chunk::<18>()?;
        let [_, _, _, _, _, _, t0, t1, t2, t3, _, _, m0, m1, m2, m3, _, format] = *fixed;
        columns.push(Column {
            name: String::from_utf8_lossy(name).into_owned(),
            type_oid: u32::from_be_bytes([t0, t1, t2, t3]),
            type_modifier: i32::from_be_bytes([m0, m1, m2, m3]),
            binary: format == 1,
        });
        rest = tail.get(18..)?;
    }
    Some(columns)
}

/// What says the same on both servers of a RowDescription: names, types and modifiers, not the oids of tables.
pub fn columns_digest(frame: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    for column in columns(frame).unwrap_or_default() {
        hash.update(column.name.as_bytes());
        hash.update(&[0]);
        hash.update(&column.type_oid.min(FIRST_OWN_OID).to_be_bytes());
        hash.update(&column.type_modifier.to_be_bytes());
    }
    hash.digest()
}

/// One row: its values but for floats, the floats, and those values that it is sorted by.
#[derive(Clone, Debug)]
struct Row {
    exact: u128,
    floats: Vec<f64>,
    key: u64,
    columns: Vec<u32>,
    text: Option<Vec<Option<String>>>,
}

/// What to look at, and how much to keep.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Relative difference up to which floats are equal.
    pub float_tolerance: f64,
    /// Rows kept; of an answer with more only the sums are compared.
    pub max_rows: usize,
    /// Values of differing rows are kept for the operator.
    pub show_values: bool,
    pub order: Order,
    /// Which rows are in the answer is the server's choice (LIMIT, DISTINCT ON): equal data may give other rows.
    pub free_choice: bool,
}

/// What ORDER BY promises of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    Free,
    /// An order by what the answer does not show.
    Hidden,
    /// The values of these columns come in the same order; rows that are equal in them may change places.
    By(Vec<SortColumn>),
    /// No two rows are equal in what they are sorted by: row by row.
    Total,
}

/// A column that an answer is sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortColumn {
    /// From 0.
    Place(usize),
    /// The only column of that name.
    Named(String),
}

/// An answer, as far as it is kept; see the module's text.
#[derive(Debug)]
pub struct Detail {
    columns: Vec<Column>,
    described: bool,
    sorted_by: Option<Vec<usize>>,
    /// The first `max_rows`, for floats, and to say what differs.
    rows: Vec<Row>,
    sums: Sums,
    error: Option<[u8; 5]>,
    rules: Rules,
}

/// Of all rows, floats left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    count: u64,
    /// The same for the same rows in any order.
    rows: u128,
    /// The same in the same order only.
    order: u128,
    /// The same for the same sort keys in the same order.
    keys: u64,
    has_floats: bool,
}

impl Sums {
    fn add(&mut self, row: &Row) {
        self.count += 1;
        self.rows = self.rows.wrapping_add(row.exact);
        self.order = xxh3_128(&[self.order.to_be_bytes(), row.exact.to_be_bytes()].concat());
        self.keys = xxh3_64(&[self.keys.to_be_bytes(), row.key.to_be_bytes()].concat());
        self.has_floats |= !row.floats.is_empty();
    }
}

/// How two answers compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    None,
    /// They differ in what the statement leaves open.
    Open,
    /// In words, without values, and the differing rows as far as they may be shown. `certain`: whatever the statement leaves open.
    Real {
        what: &'static str,
        samples: Vec<String>,
        certain: bool,
    },
}

/// Differing rows that a finding shows at most.
const MAX_SAMPLES: usize = 5;

impl Detail {
    pub fn new(rules: Rules) -> Self {
        Detail {
            columns: vec![],
            described: false,
            sorted_by: None,
            rows: vec![],
            sums: Sums::default(),
            error: None,
            rules,
        }
    }

    /// Takes in one frame of a server's answer.
    pub fn take(&mut self, frame: &[u8]) {
        match frame.first() {
            Some(&back::ROW_DESCRIPTION) => self.describe(frame),
            Some(&back::DATA_ROW) => self.add(frame.get(HEADER..).unwrap_or_default()),
            Some(&back::ERROR) => {
                let code = error_field(frame, b'C').and_then(|c| c.try_into().ok());
                self.error = Some(code.unwrap_or(*b"XX000"));
            }
            _ => {}
        }
    }

    fn describe(&mut self, frame: &[u8]) {
        self.columns = columns(frame).unwrap_or_default();
        self.described = true;
        self.sorted_by = match &self.rules.order {
            Order::By(keys) => keys.iter().map(|key| self.place(key)).collect(),
            Order::Free | Order::Hidden | Order::Total => None,
        };
    }

    /// Where a sort column stands, if its bytes tell its order.
    fn place(&self, key: &SortColumn) -> Option<usize> {
        let place = match key {
            SortColumn::Place(place) => *place,
            SortColumn::Named(name) => {
                let mut found = self.columns.iter().enumerate().filter(|(_, c)| c.name == *name).map(|(i, _)| i);
                found.next().filter(|_| found.next().is_none())?
            }
        };
        self.columns.get(place).filter(|c| sorts_by_its_bytes(c.type_oid)).map(|_| place)
    }

    fn add(&mut self, body: &[u8]) {
        let Some(row) = self.read(body) else { return };
        self.sums.add(&row);
        if self.rows.len() < self.rules.max_rows {
            self.rows.push(row);
        }
    }

    fn read(&self, body: &[u8]) -> Option<Row> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        let mut exact = Xxh3::new();
        let mut row = Row { exact: 0, floats: vec![], key: 0, columns: vec![], text: None };
        let mut places = vec![];
        for at in 0..usize::from(u16::from_be_bytes(*count)) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let raw = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    rest = tail.get(length..)?;
                    Some(tail.get(..length)?)
                }
                Err(_) => {
                    rest = tail;
                    None
                }
            };
            let (type_oid, binary) = self.columns.get(at).map_or((0, false), |c| (c.type_oid, c.binary));
            let hash = match value(raw, type_oid, binary) {
                Value::Null => 1,
                Value::Bytes(bytes) => xxh3_64(&bytes),
                Value::Floats(floats) => {
                    row.floats.extend_from_slice(&floats);
                    floats.len() as u64
                }
            };
            exact.update(&hash.to_be_bytes());
            // A value's own hash alone could be that of a NULL.
            exact.update(&[u8::from(raw.is_none())]);
            row.columns.push(hash as u32);
            places.push(hash);
            if self.rules.show_values {
                let shown =
                    raw.map(|r| if binary { format!("{r:02x?}") } else { String::from_utf8_lossy(r).into_owned() });
                row.text.get_or_insert_default().push(shown);
            }
        }
        row.exact = exact.digest128();
        let keys = self.sorted_by.iter().flatten().filter_map(|&place| places.get(place));
        row.key = keys.fold(0, |sum: u64, hash| xxh3_64(&[sum.to_be_bytes(), hash.to_be_bytes()].concat()));
        Some(row)
    }

    /// In short, without values.
    pub fn summary(&self) -> String {
        match self.error {
            Some(code) => format!("error {}", String::from_utf8_lossy(&code)),
            None => format!("{} rows", self.sums.count),
        }
    }

    pub fn error(&self) -> Option<[u8; 5]> {
        self.error
    }

    /// Compares with the other side's answer to the same statement over the same data.
    pub fn compare(&self, other: &Detail) -> Difference {
        match (self.error, other.error) {
            (Some(a), Some(b)) if a == b => return Difference::None,
            (None, None) => {}
            _ => return certain("one side fails, or they fail differently"),
        }
        if self.described && other.described && !self.has_columns_of(other) {
            return certain("the columns differ in number, name or type");
        }
        self.compare_rows(other)
    }

    fn has_columns_of(&self, other: &Detail) -> bool {
        let pairs = self.columns.iter().zip(&other.columns);
        self.columns.len() == other.columns.len() && pairs.into_iter().all(|(a, b)| a.is_like(b))
    }

    fn compare_rows(&self, other: &Detail) -> Difference {
        if self.sums.count != other.sums.count {
            return self.real("the number of rows differs", other);
        }
        if self.is_in_the_order_of(other) == Some(false) {
            return self.real("the order of the rows differs", other);
        }
        match self.has_rows_of(other) {
            Some(true) if self.hides_its_order(other) => Difference::Open,
            Some(true) => Difference::None,
            None => Difference::Open,
            // The sort keys agree and cannot tell rows apart: which of the equal ones are in the answer is free.
            Some(false) if self.rules.free_choice && self.rules.order != Order::Total => Difference::Open,
            Some(false) => self.real("rows differ", other),
        }
    }

    /// The rows are in another order, and whether that is one of ties cannot be seen.
    fn hides_its_order(&self, other: &Detail) -> bool {
        let hidden = match self.rules.order {
            Order::Hidden => true,
            Order::By(_) => self.sorted_by.is_none(),
            Order::Free | Order::Total => false,
        };
        hidden && self.sums.order != other.sums.order
    }

    /// `None`: there are floats in more rows than are kept.
    fn has_rows_of(&self, other: &Detail) -> Option<bool> {
        let whole = |d: &Detail| d.rows.len() as u64 == d.sums.count;
        match self.sums.rows == other.sums.rows {
            false => Some(false),
            true if !self.sums.has_floats => Some(true),
            true if whole(self) && whole(other) => {
                let (here, there) = (by_content(&self.rows), by_content(&other.rows));
                Some(here.iter().zip(&there).all(|(a, b)| self.are_equal(a, b)))
            }
            true => None,
        }
    }

    /// `None`: it cannot be told.
    fn is_in_the_order_of(&self, other: &Detail) -> Option<bool> {
        match self.rules.order {
            Order::Free | Order::Hidden => None,
            // Other rows in the same places are no matter of order.
            Order::Total if self.sums.rows != other.sums.rows => None,
            Order::Total => Some(self.sums.order == other.sums.order),
            Order::By(_) => self.sorted_by.as_ref().map(|_| self.sums.keys == other.sums.keys),
        }
    }

    fn are_equal(&self, a: &Row, b: &Row) -> bool {
        let floats = a.floats.iter().zip(&b.floats);
        a.exact == b.exact
            && a.floats.len() == b.floats.len()
            && floats.into_iter().all(|(&a, &b)| are_near(a, b, self.rules.float_tolerance))
    }

    fn real(&self, what: &'static str, other: &Detail) -> Difference {
        let (here, there) = (by_content(&self.rows), by_content(&other.rows));
        let pairs = here.iter().zip(&there).filter(|(a, b)| !self.are_equal(a, b));
        let samples = pairs.take(MAX_SAMPLES).map(|(a, b)| self.sample(a, b)).collect();
        Difference::Real { what, samples, certain: false }
    }

    /// One differing pair: hashes of the rows and, where the rows are otherwise alike, the columns that differ.
    fn sample(&self, a: &Row, b: &Row) -> String {
        let differs = |at: &usize| a.columns.get(*at) != b.columns.get(*at);
        let names: Vec<&str> = (0..self.columns.len())
            .filter(differs)
            .filter_map(|at| self.columns.get(at))
            .map(|c| c.name.as_str())
            .collect();
        let hashes = format!("{:016x} / {:016x}, columns {}", a.exact as u64, b.exact as u64, names.join(", "));
        match (&a.text, &b.text) {
            (Some(a), Some(b)) => format!("{hashes}: {a:?} / {b:?}"),
            _ => hashes,
        }
    }
}

/// Whatever the statement leaves open, this it does not.
fn certain(what: &'static str) -> Difference {
    Difference::Real { what, samples: vec![], certain: true }
}

fn by_content(rows: &[Row]) -> Vec<&Row> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let floats = |a: &Row, b: &Row| {
        let pairs = a.floats.iter().zip(&b.floats);
        pairs.into_iter().map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    sorted.sort_by(|a, b| a.exact.cmp(&b.exact).then_with(|| floats(a, b)));
    sorted
}

fn are_near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::Writer;

    const INT: u32 = 23;
    const TEXT: u32 = 25;
    const FLOAT: u32 = 701;

    fn rules(order: Order) -> Rules {
        Rules { float_tolerance: 1e-9, max_rows: 100, show_values: false, order, free_choice: false }
    }

    fn answer(rules: &Rules, columns: &[(&str, u32)], rows: &[&[&str]]) -> Detail {
        let mut detail = Detail::new(rules.clone());
        let mut frame = BytesMut::new();
        let mut writer = Writer::begin(&mut frame, back::ROW_DESCRIPTION);
        writer.u16(columns.len() as u16);
        for (name, oid) in columns {
            writer.cstr(name.as_bytes()).u32(77).u16(1).u32(*oid).u16(4).u32(u32::MAX).u16(0);
        }
        writer.end();
        detail.take(&frame);
        for row in rows {
            let mut frame = BytesMut::new();
            let mut writer = Writer::begin(&mut frame, back::DATA_ROW);
            writer.u16(row.len() as u16);
            for value in *row {
                match *value {
                    "NULL" => writer.u32(u32::MAX),
                    value => writer.u32(value.len() as u32).bytes(value.as_bytes()),
                };
            }
            writer.end();
            detail.take(&frame);
        }
        detail
    }

    fn outcome(rules: &Rules, columns: &[(&str, u32)], a: &[&[&str]], b: &[&[&str]]) -> &'static str {
        match answer(rules, columns, a).compare(&answer(rules, columns, b)) {
            Difference::None => "equal",
            Difference::Open => "open",
            Difference::Real { what, .. } => what,
        }
    }

    #[test]
    fn values_count_and_order_does_not_where_it_is_free() {
        let (free, columns) = (rules(Order::Free), [("a", INT), ("b", TEXT)]);
        assert_eq!(outcome(&free, &columns, &[&["1", "x"], &["2", "y"]], &[&["2", "y"], &["1", "x"]]), "equal");
        assert_eq!(outcome(&free, &columns, &[&["1", "x"]], &[&["1", "y"]]), "rows differ");
        assert_eq!(outcome(&free, &columns, &[&["1", "NULL"]], &[&["1", ""]]), "rows differ");
        assert_eq!(outcome(&free, &columns, &[&["1", "x"], &["1", "x"]], &[&["1", "x"]]), "the number of rows differs");
        assert_eq!(outcome(&free, &columns, &[&["1", "2"]], &[&["2", "1"]]), "rows differ");
    }

    #[test]
    fn ties_may_change_places_and_others_may_not() {
        let by = rules(Order::By(vec![SortColumn::Named("b".into())]));
        let columns = [("a", INT), ("b", TEXT)];
        let sorted: [&[&str]; 3] = [&["1", "x"], &["2", "x"], &["3", "y"]];
        assert_eq!(outcome(&by, &columns, &sorted, &[&["2", "x"], &["1", "x"], &["3", "y"]]), "equal");
        let wrong: [&[&str]; 3] = [&["3", "y"], &["1", "x"], &["2", "x"]];
        assert_eq!(outcome(&by, &columns, &sorted, &wrong), "the order of the rows differs");
        let total = rules(Order::Total);
        let swapped: [&[&str]; 3] = [&["2", "x"], &["1", "x"], &["3", "y"]];
        assert_eq!(outcome(&total, &columns, &sorted, &swapped), "the order of the rows differs");
        let hidden = rules(Order::By(vec![SortColumn::Named("c".into())]));
        assert_eq!(outcome(&hidden, &columns, &sorted, &wrong), "open");
        assert_eq!(outcome(&hidden, &columns, &sorted, &sorted), "equal");
    }

    #[test]
    fn a_limit_among_ties_is_open_but_its_number_and_its_keys_are_not() {
        let limited = Rules { free_choice: true, ..rules(Order::By(vec![SortColumn::Place(1)])) };
        let columns = [("a", INT), ("b", INT)];
        assert_eq!(outcome(&limited, &columns, &[&["1", "5"]], &[&["2", "5"]]), "open");
        assert_eq!(outcome(&limited, &columns, &[&["1", "5"]], &[&["1", "6"]]), "the order of the rows differs");
        let unsorted = Rules { free_choice: true, ..rules(Order::Free) };
        assert_eq!(outcome(&unsorted, &columns, &[&["1", "5"]], &[&["2", "6"]]), "open");
        assert_eq!(outcome(&limited, &columns, &[&["1", "5"]], &[]), "the number of rows differs");
    }

    #[test]
    fn floats_have_a_tolerance_and_columns_a_name() {
        let free = rules(Order::Free);
        let columns = [("a", INT), ("f", FLOAT)];
        assert_eq!(outcome(&free, &columns, &[&["1", "0.30000000000000004"]], &[&["1", "0.3"]]), "equal");
        assert_eq!(outcome(&free, &columns, &[&["1", "0.31"]], &[&["1", "0.3"]]), "rows differ");
        assert_eq!(outcome(&free, &columns, &[&["1", "NaN"]], &[&["1", "NaN"]]), "equal");
        let other = answer(&free, &[("a", INT), ("g", FLOAT)], &[]);
        assert_ne!(answer(&free, &columns, &[]).compare(&other), Difference::None);
    }

    #[test]
    fn a_sample_names_the_column_and_no_value() {
        let free = rules(Order::Free);
        let columns = [("a", INT), ("b", TEXT)];
        let Difference::Real { samples, .. } =
            answer(&free, &columns, &[&["1", "secret"]]).compare(&answer(&free, &columns, &[&["1", "other"]]))
        else {
            panic!("they differ")
        };
        assert_eq!(samples.len(), 1);
        assert!(samples[0].ends_with("columns b") && !samples[0].contains("secret"), "{samples:?}");
    }
}
