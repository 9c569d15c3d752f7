//! The capture call that a write's RETURNING list gets, and the text with such calls inserted.

use super::dml::{Dml, Verb};
use crate::catalog::{Column, Exactness, Table, TableKind, quote_ident};

/// How a write is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Each touched row's key.
    Keys,
    /// Each inserted row, whole: its table has no key.
    Row,
    /// That the table was touched: it is compared and carried as a whole.
    Table,
    /// RETURNING would miss something, for this reason.
    Impossible(&'static str),
}

/// Decides it from the statement and the table.
pub fn capture(dml: &Dml, table: &Table) -> Capture {
    match table.kind {
        TableKind::Plain | TableKind::Partitioned => {}
        TableKind::View | TableKind::MaterializedView => return Capture::Impossible("a view's base rows are not seen"),
        TableKind::Foreign => return Capture::Impossible("a foreign table's rows live elsewhere"),
    }
    match () {
        _ if dml.verb == Verb::Merge => Capture::Impossible("MERGE is not captured yet"),
        _ if table.has_rules => Capture::Impossible("rules may write elsewhere"),
        _ if table.has_user_triggers => Capture::Impossible("triggers may write elsewhere"),
        _ if table.row_security => Capture::Impossible("row security narrows what RETURNING sees"),
        _ if changes_key(dml, table) => Capture::Table,
        _ if !table.key.is_empty() => Capture::Keys,
        _ if dml.verb == Verb::Insert && !dml.on_conflict_update && carried(table).next().is_some() => Capture::Row,
        _ => Capture::Table,
    }
}

fn changes_key(dml: &Dml, table: &Table) -> bool {
    table.key_columns().any(|column| dml.set_columns.contains(&column.name))
}

fn carried(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| !column.generated)
}

/// The text to insert at `dml.insert_at`. Names are qualified: a column may bear the table's name.
pub fn insertion(dml: &Dml, table: &Table, how: &Capture) -> String {
    let reference = &dml.reference;
    let list = |columns: &mut dyn Iterator<Item = &Column>| -> String {
        columns.map(|column| format!(", {}", exact(reference, column))).collect()
    };
    let (function, arguments) = match how {
        Capture::Keys => ("capture", list(&mut table.key_columns())),
        Capture::Row => ("capture_row", list(&mut carried(table))),
        Capture::Table | Capture::Impossible(_) => ("capture_table", String::new()),
    };
    let lead = if dml.has_returning { "," } else { " RETURNING" };
    format!("{lead} pgduet.{function}({reference}.tableoid{arguments})")
}

/// A column's value as text that depends on no setting of the client's.
fn exact(reference: &str, column: &Column) -> String {
    let value = format!("{reference}.{}", quote_ident(&column.name));
    match column.exactness {
        Exactness::Plain => format!("{value}::pg_catalog.text"),
        Exactness::Iso => format!("(pg_catalog.to_json({value}) OPERATOR(pg_catalog.#>>) '{{}}')"),
        Exactness::Pinned => format!("pgduet.exact({value})"),
    }
}

/// Text put into the client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// Characters of the client's text before it.
    pub at: usize,
    /// Its length in characters.
    pub len: usize,
}

/// The client's text with insertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub text: Vec<u8>,
    /// In order.
    pub insertions: Vec<Insertion>,
}

/// Puts texts in at byte offsets of the client's text.
pub fn rewrite(text: &[u8], mut insertions: Vec<(usize, String)>) -> Rewritten {
    insertions.sort_by_key(|(at, _)| *at);
    let added: usize = insertions.iter().map(|(_, t)| t.len()).sum();
    let mut out = Vec::with_capacity(text.len() + added);
    let mut done = 0;
    let mut characters = 0;
    let mut places = Vec::with_capacity(insertions.len());
    for (at, insertion) in &insertions {
        let piece = text.get(done..*at).unwrap_or_default();
        out.extend_from_slice(piece);
        out.extend_from_slice(insertion.as_bytes());
        characters += count_characters(piece);
        places.push(Insertion { at: characters, len: insertion.chars().count() });
        done = done.max(*at);
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    Rewritten { text: out, insertions: places }
}

/// Characters of UTF-8 text; in another encoding a position may be off by what it counts otherwise.
fn count_characters(text: &[u8]) -> usize {
    text.iter().filter(|&&b| b & 0xc0 != 0x80).count()
}

impl Rewritten {
    /// An error position (1-based, in characters) of this text, as one of the client's. Inside an insertion: its place.
    pub fn client_position(&self, position: usize) -> usize {
        let mut shift = 0;
        for insertion in &self.insertions {
            let start = insertion.at + shift + 1;
            if position < start {
                break;
            }
            if position < start + insertion.len {
                return insertion.at.max(1);
            }
            shift += insertion.len;
        }
        position - shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Carry;
    use crate::sql::scan;

    fn column(name: &str, exactness: Exactness) -> Column {
        Column {
            name: name.into(),
            number: 1,
            type_oid: 23,
            array_oid: 1007,
            type_name: "integer".into(),
            not_null: true,
            generated: false,
            exactness,
            carry: Carry::Binary,
        }
    }

    fn table(key: Vec<usize>) -> Table {
        Table {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            kind: TableKind::Plain,
            columns: vec![column("id", Exactness::Plain), column("at", Exactness::Iso), column("f", Exactness::Pinned)],
            key,
            mirrored: true,
            has_user_triggers: false,
            has_rules: false,
            row_security: false,
        }
    }

    fn captured(text: &str, key: Vec<usize>) -> (Capture, String) {
        let dml = scan(text.as_bytes()).statements.remove(0).dml.remove(0);
        let table = table(key);
        let how = capture(&dml, &table);
        let rewritten = rewrite(text.as_bytes(), vec![(dml.insert_at, insertion(&dml, &table, &how))]);
        (how, String::from_utf8(rewritten.text).unwrap())
    }

    #[test]
    fn the_call_stands_behind_everything_and_before_comments() {
        let (how, text) = captured("update t as a set f = 1 where id = 2 -- no ; end", vec![0, 1]);
        assert_eq!(how, Capture::Keys);
        assert_eq!(
            text,
            "update t as a set f = 1 where id = 2 RETURNING pgduet.capture(a.tableoid, a.\"id\"::pg_catalog.text, \
             (pg_catalog.to_json(a.\"at\") OPERATOR(pg_catalog.#>>) '{}')) -- no ; end"
        );
        let (_, text) = captured("delete from t returning id;", vec![0]);
        assert_eq!(text, "delete from t returning id, pgduet.capture(t.tableoid, t.\"id\"::pg_catalog.text);");
    }

    #[test]
    fn what_keys_cannot_say_touches_the_table() {
        assert_eq!(captured("update t set id = 2", vec![0]).0, Capture::Table);
        assert_eq!(captured("delete from t", vec![]).0, Capture::Table);
        assert_eq!(captured("insert into t values (1)", vec![]).0, Capture::Row);
        assert_eq!(
            captured("insert into t values (1) on conflict (id) do update set id = 3", vec![0]).0,
            Capture::Table
        );
    }

    #[test]
    fn positions_are_the_clients() {
        let rewritten = rewrite("ä;b;c".as_bytes(), vec![(2, "XX".into()), (4, "YYY".into())]);
        assert_eq!(rewritten.text, "äXX;bYYY;c".as_bytes());
        let map: Vec<_> = (1..=10).map(|p| rewritten.client_position(p)).collect();
        assert_eq!(map, [1, 1, 1, 2, 3, 3, 3, 3, 4, 5]);
    }
}
