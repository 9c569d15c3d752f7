//! Capture by RETURNING: which writes it is complete for, the call, and putting it into the client's text.
//!
//! The race to exclude is a write whose keys are *not* what RETURNING sees:
//!
//! 1. an UPDATE changes the key: RETURNING shows the new one, the old one's row stays on the secondary;
//! 2. a trigger, a rule or a policy makes the statement touch other rows than it returns;
//! 3. a table has no key, so that "which row" has no answer.
//!
//! So a statement is only captured by key when none of these can be; otherwise the whole table is noted as touched, or the
//! statement is refused with the reason, to be captured in another way or counted as missed.

use std::fmt::Write;

use super::dml::{Carrier, Dml, Verb};
use crate::catalog::{Column, Exactness, Table, TableKind, quote_ident};

/// A call may have 100 arguments; from here on they go into an array.
const MAX_PLAIN_ARGUMENTS: usize = 90;

/// How a write to a table is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The key of every row that was touched.
    Keys,
    /// All values of every row that was inserted into a table without a key.
    Row,
    /// That the table was touched.
    Table,
    Impossible(Reason),
}

/// Why RETURNING cannot capture a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    View,
    ForeignTable,
    MaterializedView,
    Merge,
    UserTriggers,
    Rules,
    Heirs,
    BlindWriters,
    Moves,
    RowSecurity,
    /// An inner RETURNING list none of whose items can carry a call.
    ReturnedShape,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::View => "it is a view",
            Reason::ForeignTable => "it is a foreign table",
            Reason::MaterializedView => "it is a materialized view",
            Reason::Merge => "MERGE returns no rows before PostgreSQL 17",
            Reason::UserTriggers => "it has triggers, which may change other rows than the statement returns",
            Reason::Rules => "it has rules, which may change other rows than the statement returns",
            Reason::BlindWriters => "somebody may write to it and not read it, which RETURNING needs",
            Reason::Heirs => "other tables inherit from it, whose keys are their own",
            Reason::Moves => "rows may move between partitions, and only the one they come to is returned",
            Reason::RowSecurity => "it has row security, under which RETURNING may narrow the statement",
            Reason::ReturnedShape => {
                "the statement stands in WITH or COPY, and its RETURNING list names no column of the table"
            }
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides how a write to `table` is captured.
pub fn capture(dml: &Dml, table: &Table) -> Capture {
    match (obstacle(dml, table), method(dml, table)) {
        (Some(reason), _) => Capture::Impossible(reason),
        (None, Capture::Table) if table.kind == TableKind::Partitioned && may_move(dml) => {
            Capture::Impossible(Reason::Moves)
        }
        (None, method) => method,
    }
}

fn may_move(dml: &Dml) -> bool {
    dml.verb == Verb::Update || dml.do_update
}

fn obstacle(dml: &Dml, table: &Table) -> Option<Reason> {
    match table.kind {
        TableKind::View => return Some(Reason::View),
        TableKind::Foreign => return Some(Reason::ForeignTable),
        TableKind::MaterializedView => return Some(Reason::MaterializedView),
        TableKind::Plain | TableKind::Partitioned => {}
    }
    match dml.verb {
        Verb::Merge => Some(Reason::Merge),
        _ if table.has_user_triggers => Some(Reason::UserTriggers),
        _ if table.has_rules => Some(Reason::Rules),
        _ if table.has_blind_writers => Some(Reason::BlindWriters),
        Verb::Update | Verb::Delete if table.has_heirs => Some(Reason::Heirs),
        _ if table.row_security => Some(Reason::RowSecurity),
        _ if dml.inner && dml.returning.is_some() && !can_carry(dml, table) => Some(Reason::ReturnedShape),
        _ => None,
    }
}

/// The item that is to carry the call is what it seems: a column of the table.
fn can_carry(dml: &Dml, table: &Table) -> bool {
    match dml.carrier {
        Some(Carrier::Column { .. }) => true,
        Some(Carrier::Star(_)) => !table.columns.is_empty(),
        None => false,
    }
}

fn method(dml: &Dml, table: &Table) -> Capture {
    let keyless = table.key.is_empty();
    let row_fits = table.columns.iter().any(|column| !column.generated);
    match dml.verb {
        Verb::Insert if keyless && !dml.do_update && row_fits => Capture::Row,
        _ if keyless => Capture::Table,
        Verb::Update if changes_key(dml, table) => Capture::Table,
        Verb::Insert if dml.do_update && changes_key(dml, table) => Capture::Table,
        _ => Capture::Keys,
    }
}

/// A generated key column may change with any column it is computed from.
fn changes_key(dml: &Dml, table: &Table) -> bool {
    table.key_columns().any(|column| column.generated || dml.set_columns.contains(&column.name))
}

/// The call that captures one returned row of the table named `reference`. `None` for [`Capture::Impossible`].
fn call(reference: &str, table: &Table, capture: Capture) -> Option<String> {
    Some(match capture {
        Capture::Keys => with_values("capture", reference, table.key_columns()),
        Capture::Row => with_values("capture_row", reference, table.row_columns().into_iter()),
        Capture::Table => format!("pgduet.capture_table({reference}.tableoid)"),
        Capture::Impossible(_) => return None,
    })
}

fn with_values<'a>(function: &str, reference: &str, columns: impl Iterator<Item = &'a Column>) -> String {
    let values: Vec<String> = columns.map(|column| exact(reference, column)).collect();
    let plain = values.len() <= MAX_PLAIN_ARGUMENTS;
    let values = values.join(", ");
    match plain {
        true => format!("pgduet.{function}({reference}.tableoid, {values})"),
        false => format!("pgduet.{function}({reference}.tableoid, VARIADIC ARRAY[{values}])"),
    }
}

/// A column's value as text that is the same whatever the client's settings are.
fn exact(reference: &str, column: &Column) -> String {
    let value = format!("{reference}.{}", quote_ident(&column.name));
    match column.exactness {
        Exactness::Plain => format!("{value}::pg_catalog.text"),
        Exactness::Iso => format!("(pg_catalog.to_json({value}) OPERATOR(pg_catalog.#>>) '{{}}')"),
        Exactness::Pinned => format!("pgduet.exact({value})"),
    }
}

/// What is to be put into the text, and where, for a write to be captured. Nothing for [`Capture::Impossible`].
pub fn insertions(dml: &Dml, table: &Table, capture: Capture) -> Vec<(usize, String)> {
    let Some(call) = call(&dml.reference, table, capture) else { return Vec::new() };
    match (&dml.carrier, dml.returning) {
        (_, None) => vec![(dml.insert_at, format!(" RETURNING {call}"))],
        (Some(carrier), Some(_)) if dml.inner => carried(carrier, &call, dml, table),
        (_, Some(end)) => vec![(end, format!(", {call}"))],
    }
}

/// The call wrapped around an item. Both branches are the column, so name, type and type modifier stay; the function
/// returns void, which is no NULL, and is volatile, so it is called for each row.
fn carried(carrier: &Carrier, call: &str, dml: &Dml, table: &Table) -> Vec<(usize, String)> {
    match carrier {
        Carrier::Column { item, value, label } => {
            let label = label.as_ref().map_or(String::new(), |label| format!(" AS {}", quote_ident(label)));
            let before = format!("CASE WHEN {call} IS NULL THEN {value} ELSE ");
            vec![(item.start, before), (item.end, format!(" END{label}"))]
        }
        Carrier::Star(item) => {
            let mut columns = String::new();
            for (i, column) in table.columns.iter().enumerate() {
                let name = quote_ident(&column.name);
                let value = format!("{}.{name}", dml.reference);
                let _ = match i {
                    0 => write!(columns, "CASE WHEN {call} IS NULL THEN {value} ELSE {value} END AS {name}"),
                    _ => write!(columns, ", {value}"),
                };
            }
            // the star itself is commented out: text is only ever added
            vec![(item.start, format!("{columns} /*")), (item.end, "*/".to_owned())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Carry;
    use crate::sql::rewritten::rewrite;
    use crate::sql::scan::scan;

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

    fn table(key: &[usize]) -> Table {
        Table {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            kind: TableKind::Plain,
            columns: vec![column("id", Exactness::Plain), column("at", Exactness::Iso), column("f", Exactness::Pinned)],
            key: key.to_vec(),
            mirrored: true,
            by_trigger: false,
            has_user_triggers: false,
            has_rules: false,
            has_heirs: false,
            has_blind_writers: false,
            row_security: false,
        }
    }

    fn decide(text: &str, table: &Table) -> Capture {
        let script = scan(text.as_bytes());
        capture(&script.statements[0].dml[0], table)
    }

    fn rewritten(text: &str, table: &Table) -> String {
        let script = scan(text.as_bytes());
        let all = script.statements.iter().flat_map(|statement| &statement.dml);
        let all = all.flat_map(|dml| insertions(dml, table, capture(dml, table))).collect();
        String::from_utf8(rewrite(text.as_bytes(), all).text(text.as_bytes())).expect("it was UTF-8")
    }

    #[test]
    fn the_method_depends_on_statement_and_table() {
        let (keyed, keyless) = (table(&[0]), table(&[]));
        for (text, with_key, without) in [
            ("insert into t values (1)", Capture::Keys, Capture::Row),
            ("insert into t values (1) on conflict do nothing", Capture::Keys, Capture::Row),
            ("insert into t values (1) on conflict (id) do update set f = 1", Capture::Keys, Capture::Table),
            ("insert into t values (1) on conflict (f) do update set id = 1", Capture::Table, Capture::Table),
            ("update t set f = 1", Capture::Keys, Capture::Table),
            ("update t set f = 1, \"id\" = 2", Capture::Table, Capture::Table),
            ("update t set f = 1 where current of c", Capture::Keys, Capture::Table),
            ("delete from t", Capture::Keys, Capture::Table),
        ] {
            assert_eq!((decide(text, &keyed), decide(text, &keyless)), (with_key, without), "{text}");
        }
    }

    #[test]
    fn a_generated_key_may_change_with_any_column() {
        let mut table = table(&[0]);
        table.columns[0].generated = true;
        assert_eq!(decide("update t set f = 1", &table), Capture::Table);
        assert_eq!(decide("delete from t", &table), Capture::Keys);
    }

    #[test]
    fn what_returning_cannot_see_is_refused_with_its_reason() {
        let with = |change: fn(&mut Table)| {
            let mut table = table(&[0]);
            change(&mut table);
            decide("delete from t", &table)
        };
        assert_eq!(with(|t| t.kind = TableKind::View), Capture::Impossible(Reason::View));
        assert_eq!(with(|t| t.has_user_triggers = true), Capture::Impossible(Reason::UserTriggers));
        assert_eq!(with(|t| t.has_rules = true), Capture::Impossible(Reason::Rules));
        assert_eq!(with(|t| t.row_security = true), Capture::Impossible(Reason::RowSecurity));
        assert_eq!(with(|t| t.has_heirs = true), Capture::Impossible(Reason::Heirs));
        assert_eq!(with(|t| t.has_blind_writers = true), Capture::Impossible(Reason::BlindWriters));
        let parts = Table { kind: TableKind::Partitioned, ..table(&[0]) };
        assert_eq!(decide("update t set id = 2", &parts), Capture::Impossible(Reason::Moves));
        assert_eq!(decide("update t set at = now()", &parts), Capture::Keys);
        let merge = "merge into t using u on true when matched then delete";
        assert_eq!(decide(merge, &table(&[0])), Capture::Impossible(Reason::Merge));
        let shape = "with x as (delete from t returning 1) table x";
        assert_eq!(decide(shape, &table(&[0])), Capture::Impossible(Reason::ReturnedShape));
    }

    #[test]
    fn the_call_names_the_key_exactly() {
        let call = "pgduet.capture(\"a\".tableoid, \"a\".\"id\"::pg_catalog.text, \
                    (pg_catalog.to_json(\"a\".\"at\") OPERATOR(pg_catalog.#>>) '{}'), pgduet.exact(\"a\".\"f\"))";
        let table = table(&[0, 1, 2]);
        assert_eq!(rewritten("delete from t a -- x", &table), format!("delete from t a RETURNING {call} -- x"));
        assert_eq!(rewritten("delete from t a returning *;", &table), format!("delete from t a returning *, {call};"));
    }

    #[test]
    fn rows_and_tables_have_calls_of_their_own() {
        let mut keyless = table(&[]);
        keyless.columns[1].generated = true;
        assert_eq!(
            rewritten("insert into t values (1)", &keyless),
            "insert into t values (1) RETURNING pgduet.capture_row(\"t\".tableoid, pgduet.exact(\"t\".\"f\"), \"t\".\"id\"::pg_catalog.text)"
        );
        assert_eq!(
            rewritten("delete from t", &keyless),
            "delete from t RETURNING pgduet.capture_table(\"t\".tableoid)"
        );
        keyless.columns = (0..95).map(|_| column("c", Exactness::Plain)).collect();
        assert!(rewritten("insert into t values (1)", &keyless).contains("tableoid, VARIADIC ARRAY[\"t\".\"c\"::"));
        keyless.columns.clear();
        assert_eq!(decide("insert into t default values", &keyless), Capture::Table);
    }

    #[test]
    fn an_inner_returning_list_keeps_its_shape() {
        let table = table(&[0]);
        let call = "pgduet.capture(\"t\".tableoid, \"t\".\"id\"::pg_catalog.text)";
        assert_eq!(
            rewritten("with x as (delete from t returning f) table x", &table),
            format!("with x as (delete from t returning CASE WHEN {call} IS NULL THEN f ELSE f END AS \"f\") table x")
        );
        assert_eq!(
            rewritten("with x as (delete from t returning *) table x", &table),
            format!(
                "with x as (delete from t returning CASE WHEN {call} IS NULL THEN \"t\".\"id\" ELSE \"t\".\"id\" END \
                 AS \"id\", \"t\".\"at\", \"t\".\"f\" /***/) table x"
            )
        );
    }
}
