//! Table by table: how its writes will be captured, and what is in the way. Pure.

use super::Pair;
use super::facts::TableFacts;
use super::queries::About;
use super::report::{Method, Remark, TableLine};
use super::schema::{How, keeps_back};
use crate::backend::introspect::is_selected;
use crate::catalog::{Catalog, Table, TableKind};
use crate::runbook;
use crate::side::Side;
use crate::sql::{Capture, Reason};

/// Whether the configuration has it captured by triggers of pgduet's.
pub fn wants_triggers(pair: &Pair<'_>, table: &Table) -> bool {
    runbook::wants_triggers(pair.config.mirror.capture, table, catalog(pair))
}

fn catalog<'p>(pair: &'p Pair<'_>) -> &'p Catalog {
    pair.paired.catalogs.get(pair.primary().side)
}

/// The primary's tables, partitions with the table that they belong to.
fn tables<'p>(pair: &'p Pair<'_>) -> impl Iterator<Item = (&'p Table, TableFacts)> {
    let facts = &pair.primary().tables;
    let known = move |table: &Table| facts.get(&table.oid).cloned().unwrap_or_default();
    let all = catalog(pair).tables().iter().map(move |table| (&**table, known(table)));
    all.filter(|(table, _)| !matches!(table.kind, TableKind::View | TableKind::MaterializedView))
}

/// One line for each table that is no partition.
pub fn lines(pair: &Pair<'_>) -> Vec<TableLine> {
    let line = |(table, known): (&Table, TableFacts)| {
        let (capture, how) = method(pair, table, &known);
        TableLine { table: table.display_name(), capture, how, rows: known.rows }
    };
    let mut lines: Vec<TableLine> = tables(pair).filter(|(_, known)| !known.is_partition).map(line).collect();
    lines.sort_by(|a, b| a.table.cmp(&b.table));
    lines
}

fn method(pair: &Pair<'_>, table: &Table, known: &TableFacts) -> (Method, String) {
    if !is_selected(&pair.config.mirror, &table.display_name()) {
        return (Method::Excluded, "mirror.include and mirror.exclude leave it out".into());
    }
    if let Some(reason) = catalog(pair).unpaired(table.oid) {
        return (Method::Uncaptured, reason.into());
    }
    let reason = reason(table);
    match (table.kind, reason) {
        (TableKind::Foreign, _) => (Method::Uncaptured, Reason::ForeignTable.as_str().into()),
        _ if !table.mirrored => (Method::Excluded, "left out when the phase was entered".into()),
        _ if table.by_trigger || wants_triggers(pair, table) && known.may_have_triggers => {
            (Method::Trigger, because(what(table), reason))
        }
        (_, Some(reason)) => (Method::Counters, because("the whole table", Some(reason))),
        (_, None) => (Method::Returning, what(table).into()),
    }
}

fn because(what: &str, reason: Option<Reason>) -> String {
    reason.map_or(what.to_owned(), |reason| format!("{what}: {reason}"))
}

fn what(table: &Table) -> &'static str {
    match table.key.is_empty() {
        false => "key",
        true => "whole row (no key)",
    }
}

/// Why RETURNING does not capture some write to it, in the router's words.
fn reason(table: &Table) -> Option<Reason> {
    ["insert into t select", "delete from t"].into_iter().find_map(|sql| match runbook::capture_by(sql, table) {
        Some(Capture::Impossible(reason)) => Some(reason),
        _ => None,
    })
}

pub fn judge(pair: &Pair<'_>) -> Vec<Remark> {
    let mut remarks = vec![];
    for (table, known) in tables(pair) {
        let (capture, how) = method(pair, table, &known);
        if capture != Method::Excluded {
            remarks.extend(carrying(pair, table, &known, (capture, &how)));
        }
    }
    remarks.extend(only_there(pair));
    for side in Side::BOTH {
        remarks.extend(unlogged(pair, side));
        remarks.extend(pair.side(side).items(About::InvalidIndexes).iter().map(|index| {
            let problem = format!("it is not valid, and of no use to {}", index.detail);
            Remark::warning("invalid_index", &index.object, problem).on(side).sql(&index.sql)
        }));
    }
    remarks
}

fn carrying(pair: &Pair<'_>, table: &Table, known: &TableFacts, (capture, how): (Method, &str)) -> Vec<Remark> {
    let (primary, name) = (pair.primary().side, table.display_name());
    let mut remarks = vec![];
    match capture {
        Method::Uncaptured if table.kind == TableKind::Foreign => {
            let problem = format!("what is written to it is not carried: {how}");
            let fix = "exclude it (mirror.exclude), or write to its own database";
            remarks.push(Remark::warning("not_carried", &name, problem).on(primary).fix(fix));
        }
        Method::Uncaptured => remarks.push(not_carried(pair, &name, how)),
        Method::Counters => {
            let problem = format!("each write to it compares and carries {how}");
            let fix = "right, and slow on a large table; mirror.capture: trigger captures its keys, where pgduet's role may make triggers";
            remarks.push(Remark::warning("carried_whole", &name, problem).on(primary).fix(fix));
        }
        Method::Returning | Method::Trigger | Method::Excluded => {}
    }
    if table.key.is_empty() && table.has_rows() && !known.is_partition && capture != Method::Uncaptured {
        remarks.push(no_key(table, known).on(primary));
    }
    remarks
}

/// With the statements that make what is missing, as far as the other side shows how.
fn not_carried(pair: &Pair<'_>, table: &str, reason: &str) -> Remark {
    let missing: Vec<_> = pair.differences.iter().filter(|d| keeps_back(d) && d.object.table == table).collect();
    let side = match missing.first().map(|difference| difference.how) {
        Some(How::Extra) => pair.primary().side,
        _ => pair.secondary().side,
    };
    let sql: Vec<&str> = missing
        .iter()
        .filter(|d| (d.how == How::Extra) == (side == pair.primary().side))
        .map(|d| d.object.make.as_str())
        .collect();
    let remark = Remark::blocker("not_carried", table, format!("it cannot be carried: {reason}")).on(side);
    remark.sql(sql.join("; ")).fix("make it the same on both sides, then ask again; or exclude it (mirror.exclude)")
}

fn no_key(table: &Table, known: &TableFacts) -> Remark {
    let problem = match known.updates_and_deletes {
        0 => "it has no key: INSERT is carried by row, UPDATE and DELETE would carry the whole table".to_owned(),
        n => format!(
            "it has no key, and {n} rows of it were updated or deleted: each such statement carries the whole table"
        ),
    };
    let fix = match known.key_fix.is_empty() {
        true => format!("ALTER TABLE {} ADD PRIMARY KEY (...)", table.qualified()),
        false => "its unique index is a key once its columns cannot be null".to_owned(),
    };
    let remark = match known.updates_and_deletes {
        0 => Remark::note("no_key", table.display_name(), problem),
        _ => Remark::warning("no_key", table.display_name(), problem),
    };
    remark.fix(fix).sql(&known.key_fix)
}

/// Tables that the secondary alone has.
fn only_there(pair: &Pair<'_>) -> Vec<Remark> {
    let extra = pair.differences.iter().filter(|d| d.how == How::Extra && d.object.kind == "table");
    let (one, other) = (pair.primary().side, pair.secondary().side);
    let remark = |difference: &super::schema::Difference| {
        let problem = format!("{other} has it and {one} has not: nothing is carried to it");
        Remark::note("only_there", &difference.object.name, problem).on(other)
    };
    extra.map(remark).collect()
}

fn unlogged(pair: &Pair<'_>, side: Side) -> Vec<Remark> {
    let facts = pair.side(side);
    let is_unlogged =
        |table: &&Table| table.mirrored && facts.tables.get(&table.oid).is_some_and(|known| known.unlogged);
    let remark = |table: &Table| {
        let problem = "it is unlogged: a crash of that server empties it, there alone";
        let sql = format!("ALTER TABLE {} SET LOGGED", table.qualified());
        Remark::warning("unlogged", table.display_name(), problem).on(side).sql(sql)
    };
    facts.schema.tables.iter().filter(is_unlogged).map(remark).collect()
}
