//! What may be held against two answers to one statement: what the statement promises, and what this client may see.

use crate::catalog::Catalog;
use crate::config;
use crate::rows::{Order, Rules, SortColumn};
use crate::side::Side;
use crate::sql::{Promise, ReadShape, SortKey, Sorted, read_shape};

use super::sample::Sample;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The order of the rows is promised, as far as sort keys tell them apart.
    pub in_order: bool,
    /// Equal data may give different answers.
    pub open: bool,
    pub rules: Rules,
}

impl Judgement {
    pub fn new(sample: &Sample, config: &config::Shadow) -> Self {
        let shape = std::str::from_utf8(&sample.sql).ok().and_then(|sql| read_shape(sql).ok());
        let Some(shape) = shape else {
            return Judgement { open: true, ..Judgement::of(Promise::default(), Order::Free, config) };
        };
        let order = order(&shape, &sample.catalog);
        let open = shape.promise.open || (names_the_user(&shape) && !has_one_name(sample));
        Judgement { open, ..Judgement::of(shape.promise, order, config) }
    }

    fn of(promise: Promise, order: Order, config: &config::Shadow) -> Self {
        Judgement {
            in_order: promise.sorted != Sorted::No,
            open: promise.open,
            rules: Rules {
                float_tolerance: config.float_tolerance,
                max_rows: config.max_rows,
                show_values: config.show_values,
                order,
                free_choice: promise.limited,
            },
        }
    }
}

fn order(shape: &ReadShape, catalog: &Catalog) -> Order {
    match &shape.promise.sorted {
        Sorted::No => Order::Free,
        Sorted::By { columns, .. } | Sorted::Hidden { columns } if is_total(shape, columns, catalog) => Order::Total,
        Sorted::Hidden { .. } => Order::Hidden,
        Sorted::By { keys, .. } => Order::By(keys.iter().map(sort_column).collect()),
    }
}

fn sort_column(key: &SortKey) -> SortColumn {
    match key {
        SortKey::Place(place) => SortColumn::Place(*place),
        SortKey::Named(name) => SortColumn::Named(name.clone()),
    }
}

/// The one table has a key among the columns sorted by.
fn is_total(shape: &ReadShape, columns: &[String], catalog: &Catalog) -> bool {
    let [table] = shape.tables.as_slice() else { return false };
    let mut known = catalog.named(&table.name).filter(|t| table.schema.as_ref().is_none_or(|s| *s == t.schema));
    match (known.next(), known.next()) {
        (Some(table), None) => !table.key.is_empty() && table.key_columns().all(|key| columns.contains(&key.name)),
        _ => false,
    }
}

fn names_the_user(shape: &ReadShape) -> bool {
    const NAMES: [&str; 3] = ["current_user", "session_user", "system_user"];
    shape.functions.iter().any(|f| NAMES.contains(&f.name.as_str()))
}

fn has_one_name(sample: &Sample) -> bool {
    let name = |side| sample.identity.credentials.get(side).user.as_str();
    name(Side::Old) == name(Side::New)
}
