//! Entries of the journal, and their grouping by the table that they touch.

use std::sync::Arc;

use tokio_postgres::Row;

use super::cells::{Array, Cell, elements};
use super::plan::{Plans, TablePlan};

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A row with this key was touched.
    Key,
    /// This row was inserted into a table without a key.
    Row,
    /// The table was touched in a way that no key describes.
    Whole,
    /// The table was emptied or rewritten: as [`Op::Whole`], and there is little of it.
    Emptied,
    /// A statement to be run on the secondary.
    Statement,
}

impl Op {
    /// As the journal has it, once it was announced to the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Key => "k",
            Op::Row => "r",
            Op::Whole => "t",
            Op::Emptied => "e",
            Op::Statement => "d",
        }
    }

    /// An `op` of a later release is taken as "table touched", which is never wrong.
    fn from_byte(byte: u8) -> Self {
        match byte.to_ascii_lowercase() {
            b'k' => Op::Key,
            b'r' => Op::Row,
            b'e' => Op::Emptied,
            b'd' => Op::Statement,
            _ => Op::Whole,
        }
    }
}

/// Who counts an entry as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// The session that captured it, at commit; or it was counted before it was parked and retried.
    Session,
    /// The link, when it carries it: the server itself captured it (a trigger, the counters).
    Link,
}

/// One touch.
#[derive(Clone, Debug)]
pub struct Entry {
    pub rel: u32,
    pub op: Op,
    pub counted_by: CountedBy,
    /// Exact texts, in the table's key order (or, for a row, its column order).
    pub values: Vec<Option<Box<[u8]>>>,
}

impl Entry {
    /// From columns `rel, op, key` that begin at `first`.
    pub fn from_journal(row: &Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        let byte = row.try_get::<_, i8>(first + 1)? as u8;
        let counted_by = if byte.is_ascii_uppercase() { CountedBy::Link } else { CountedBy::Session };
        let Cell(raw) = row.try_get(first + 2)?;
        let values = elements(raw).map(|v| v.map(Box::from)).collect();
        Ok(Entry { rel: row.try_get(first)?, op: Op::from_byte(byte), counted_by, values })
    }

    /// From a row that is nothing but the key's texts.
    pub fn from_key(rel: u32, row: &Row) -> Result<Self, tokio_postgres::Error> {
        let value = |i| row.try_get::<_, Option<Cell<'_>>>(i).map(|cell| cell.map(|c| Box::from(c.0)));
        let values = (0..row.len()).map(value).collect::<Result<_, _>>()?;
        Ok(Entry { rel, op: Op::Key, counted_by: CountedBy::Session, values })
    }

    /// A touch of a whole table, found by the link.
    pub fn whole(rel: u32) -> Self {
        Entry { rel, op: Op::Whole, counted_by: CountedBy::Session, values: Vec::new() }
    }

    /// The values as text, to be parked. What no text may hold, of a row that is damaged, is replaced: it must not stop the link.
    pub fn texts(&self) -> Vec<Option<String>> {
        self.values
            .iter()
            .map(|v| v.as_ref().map(|bytes| String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")))
            .collect()
    }
}

/// The touches of one table.
#[derive(Clone, Debug)]
pub struct Group {
    pub plan: Arc<TablePlan>,
    pub keys: Vec<Entry>,
    pub rows: Vec<Entry>,
    pub wholes: Vec<Entry>,
}

/// Touches by table, parents before children, and those that fit no table.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub groups: Vec<Group>,
    /// Of no table that is carried: a forged call, or a table that was dropped or is new; and statements.
    pub strangers: Vec<Entry>,
    /// How many of the entries are for the link to count.
    pub unannounced: usize,
}

impl Batch {
    pub fn new(entries: Vec<Entry>, plans: &Plans) -> Self {
        let mut batch = Batch::default();
        for mut entry in entries {
            batch.unannounced += usize::from(entry.counted_by == CountedBy::Link);
            match plans.get(entry.rel) {
                Some(plan) if entry.op != Op::Statement => {
                    if !fits(plan, &entry) {
                        entry.op = Op::Whole;
                    }
                    batch.add(plan, entry);
                }
                _ => batch.strangers.push(entry),
            }
        }
        batch.groups.sort_by_key(|group| group.plan.rank);
        batch
    }

    fn add(&mut self, plan: &Arc<TablePlan>, entry: Entry) {
        let known = self.groups.iter().position(|group| group.plan.rel == plan.rel);
        let index = known.unwrap_or_else(|| {
            let (keys, rows, wholes) = (Vec::new(), Vec::new(), Vec::new());
            self.groups.push(Group { plan: Arc::clone(plan), keys, rows, wholes });
            self.groups.len() - 1
        });
        let Some(group) = self.groups.get_mut(index) else { return };
        match entry.op {
            Op::Key => group.keys.push(entry),
            Op::Row => group.rows.push(entry),
            Op::Whole | Op::Emptied | Op::Statement => group.wholes.push(entry),
        }
    }
}

/// Whether the entry is of the table as it is now. Where it is not (its key was changed, or the call was forged), carrying the
/// whole table is never wrong.
fn fits(plan: &TablePlan, entry: &Entry) -> bool {
    match entry.op {
        Op::Key => plan.keyed.as_ref().is_some_and(|keyed| keyed.key_positions.len() == entry.values.len()),
        Op::Row => plan.keyed.is_none() && plan.row_width == entry.values.len(),
        Op::Whole | Op::Emptied | Op::Statement => true,
    }
}

/// One text array for each of `width` values.
pub fn text_arrays(entries: &[Entry], positions: impl Iterator<Item = usize>) -> Vec<Array> {
    let column = |position: usize| {
        let mut array = Array::text();
        for entry in entries {
            array.push(entry.values.get(position).and_then(|v| v.as_deref()));
        }
        array
    };
    positions.map(column).collect()
}
