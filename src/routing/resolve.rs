//! What a statement means under a policy: a read that may move, a write that is captured, or something that is neither. Pure; the
//! session only carries it out.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::server_local::is_server_local;
use super::{Policy, Why};
use crate::catalog::{Catalog, Table, TableKind, Volatility};
use crate::side::Side;
use crate::sql::{
    self, Backslash, Capture, Ddl, Fingerprint, KeyValue, Kind, Name, ReadShape, Reason, Statement, read_shape,
};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `Err`: it reads, and must stay on the primary, for this reason.
    Read(Result<Rc<Traits>, Why>),
    /// Text to insert, by byte offset in the client's text, and what the answer has too much by it.
    Capture { insertions: Vec<(usize, String)>, cut: Cut },
    /// Its touches are left without it, by triggers, or were before: only its commit is to be announced. How they come.
    Touching(&'static str),
    /// It may change mirrored tables in a way that RETURNING does not tell: the server's own counters do, and locks.
    Opaque(Opaque),
    /// It may change a mirrored table, and cannot be captured, for this reason.
    Uncaptured(&'static str),
    /// It changes no mirrored table, and stays on the primary.
    Neutral,
}

/// What has to be noted of a statement that nothing is put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opaque {
    /// Which tables it has changed. Why RETURNING does not tell.
    Rows(&'static str),
    /// The same, where a simple query does not answer as the extended protocol does: rules may make other statements of it, whose rows only
    /// the former shows.
    RowsInline(&'static str),
    /// The same, but it may end its own transaction: it can be asked for inside a transaction block only.
    RowsInBlock(&'static str),
    /// The same, once the client has sent all data: COPY FROM STDIN.
    CopyIn,
    /// DDL: the statement itself.
    Statement(Ddl),
    /// The definition of the table that it has made out of a query, and that it has rows.
    Made,
}

impl Opaque {
    /// Why RETURNING does not tell what the statement changes.
    pub fn reason(&self) -> &'static str {
        match self {
            Opaque::Rows(reason) | Opaque::RowsInline(reason) | Opaque::RowsInBlock(reason) => reason,
            Opaque::CopyIn => "COPY FROM",
            Opaque::Statement(_) => "DDL",
            Opaque::Made => "a table made out of a query",
        }
    }
}

/// What the tree of a read that may move says beside that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Values of its tables, in binary form, name types that the sides call by different oids.
    pub nested: bool,
    /// Its answer depends on the time at which its transaction began.
    pub clock: bool,
    /// A table or its fingerprint is pinned to that side.
    pub pin: Option<Side>,
    /// The value that is its routing key, by `reads.columns`.
    pub column: Option<Column>,
}

/// A value of a column that is a routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub value: KeyValue,
    pub type_oid: u32,
}

/// What is cut off a captured statement's answer, so that the client sees what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Nothing,
    /// The client's own RETURNING stands before it: the last column goes.
    LastColumn,
    /// The client expects no rows at all.
    Rows,
}

/// What a session knows that its statements depend on.
#[derive(Debug, Default)]
pub struct Names {
    /// Temporary relations that the session made: they shadow any other of the name.
    pub temporary: HashSet<String>,
    /// The session's user: its own schema comes first in the default search_path.
    pub user: String,
    /// The session has changed the schema, and the catalog has not been read since: what it says need not hold.
    pub defining: bool,
    /// It was about rules, which may answer a simple query with rows of their own.
    pub rules: bool,
    /// The number of that change, once it is over.
    pub defined: Option<u64>,
    /// The session has declared a cursor whose query may write.
    pub cursor_writes: bool,
    /// The session has set a search_path: an unqualified name that several schemas have is not resolved.
    pub own_search_path: bool,
    /// The schemas that unqualified names are looked up in, in order, as far as that is known.
    pub path: Option<Vec<String>>,
    pub reading: Reading,
}

/// Whether texts mean to the analysis what they mean to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// `standard_conforming_strings` is off: a backslash may hide a quote.
    pub backslashes: bool,
    /// A client encoding in which a byte of a character may look like a quote.
    pub encoding: bool,
}

impl Reading {
    /// Follows a setting's value, from the server's start-up or from a SET.
    pub fn follow(&mut self, name: &[u8], value: &[u8]) {
        const UNSAFE: [&str; 6] = ["sjis", "big5", "gbk", "uhc", "gb18030", "johab"];
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        if name.eq_ignore_ascii_case(b"standard_conforming_strings") {
            self.backslashes = !matches!(value.as_str(), "on" | "true" | "yes" | "1" | "default");
        }
        if name.eq_ignore_ascii_case(b"client_encoding") || name.eq_ignore_ascii_case(b"names") {
            self.encoding = UNSAFE.iter().any(|e| value.contains(e)) || value.contains("shift");
        }
    }

    /// Whether this text cannot be read safely.
    pub fn is_blind_to(self, text: &[u8]) -> bool {
        self.encoding && !text.is_ascii()
    }

    /// What a backslash in a plain string of this text is, if there is any.
    pub fn backslash(self, text: &[u8]) -> Backslash {
        match self.backslashes && text.contains(&b'\\') {
            true => Backslash::Escape,
            false => Backslash::Plain,
        }
    }
}

/// The verdicts on reads by fingerprint, bounded; emptied when the policy's generation changes.
#[derive(Debug, Default)]
pub struct Verdicts {
    generation: u64,
    movable: HashMap<Fingerprint, Result<Rc<Traits>, Why>>,
}

/// Verdicts kept per worker. A million distinct statements must not become a leak.
const MAX_VERDICTS: usize = 10_000;

/// Resolves one statement. `text`: the whole text that its offsets refer to.
pub fn resolve(statement: &Statement, text: &[u8], policy: &Policy, names: &Names, verdicts: &mut Verdicts) -> Action {
    match &statement.kind {
        Kind::Read => Action::Read(verdicts.movable(statement, text, policy, names)),
        Kind::ReadLocking => Action::Read(Err(Why::Locking)),
        Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::WithDml => write(statement, policy, names),
        Kind::Explain { analyze: true, inner } if makes_table(inner) => Action::Opaque(Opaque::Made),
        Kind::Explain { analyze: true, inner } if **inner == Kind::Ddl => explain_definition(statement, text, names),
        Kind::Explain { analyze: true, inner } if inner.may_write() => rows("EXPLAIN ANALYZE runs a write"),
        // PostgreSQL refuses it, and capture must not make it legal by a RETURNING of its own.
        Kind::CopyTo { inner } if returns_nothing(inner, statement) => rows("COPY of a write that returns nothing"),
        Kind::CopyTo { inner } if inner.may_write() => write(statement, policy, names),
        Kind::DeclareCursor { inner, .. } if inner.may_write() => rows("a write in a cursor"),
        Kind::CopyFrom(copy) if is_temporary(&copy.target, policy, names) => Action::Neutral,
        Kind::CopyFrom(copy) if is_told_by_triggers(&copy.target, policy, names) => Action::Touching(BY_TRIGGERS),
        Kind::CopyFrom(copy) if copy.stdin => Action::Opaque(Opaque::CopyIn),
        Kind::CopyFrom(_) => rows("COPY FROM"),
        Kind::Truncate(targets) if targets.iter().all(|name| is_temporary(name, policy, names)) => Action::Neutral,
        Kind::Truncate(_) => rows("TRUNCATE"),
        // what is created is the session's own, but its WITH clause may write elsewhere
        Kind::CreateTemp | Kind::SelectInto { temporary: true } if !statement.dml.is_empty() => {
            write(statement, policy, names)
        }
        Kind::SelectInto { temporary: true } => Action::Neutral,
        Kind::SelectInto { .. } | Kind::CreateTableAs => Action::Opaque(Opaque::Made),
        Kind::Ddl => define(statement, text, names),
        Kind::Do if !ends_transactions(statement, text) => rows("a DO block may write anything"),
        Kind::Call if !may_commit(statement, text, policy) => rows("a procedure may write anything"),
        // What it commits itself, triggers have seen; it cannot be looked around.
        Kind::Do | Kind::Call if policy.catalog.get(policy.primary()).is_captured_by_triggers() => {
            Action::Touching(BY_TRIGGERS)
        }
        Kind::Do | Kind::Call => Action::Opaque(Opaque::RowsInBlock("a procedure may write anything, and commit it")),
        // In the extended protocol its own portal would be a cursor that `pg_cursors` shows.
        Kind::Execute(_) => Action::Opaque(Opaque::RowsInline("a statement prepared in SQL")),
        Kind::Other if begins_as_query(statement, text) => rows("the analysis cannot read this write"),
        Kind::Other => Action::Uncaptured("the analysis does not know this statement"),
        // Captured when it was prepared; the link sees its touches once they are visible.
        Kind::CommitPrepared => Action::Touching("captured when it was prepared"),
        _ => Action::Neutral,
    }
}

/// Whether the outermost statement of a COPY, which is the last to end, is a write without RETURNING.
fn returns_nothing(inner: &Kind, statement: &Statement) -> bool {
    let writes = matches!(inner, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
    writes && statement.dml.last().is_some_and(|dml| dml.returning.is_none())
}

/// What begins so is a query or a write, whatever follows: it ends no transaction, and runs in any.
fn begins_as_query(statement: &Statement, text: &[u8]) -> bool {
    let text = text.get(statement.span.clone()).unwrap_or_default();
    let word = text.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
    ["insert", "update", "delete", "merge", "with", "select", "values"]
        .iter()
        .any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}

fn rows(reason: &'static str) -> Action {
    Action::Opaque(Opaque::Rows(reason))
}

const BY_TRIGGERS: &str = "captured by triggers";

fn is_told_by_triggers(name: &Name, policy: &Policy, names: &Names) -> bool {
    let catalog = policy.catalog.get(policy.primary());
    matches!(find(name, catalog, names), Found::Table(table) if table.mirrored && catalog.is_told_by_triggers(table))
}

fn is_temporary(name: &Name, policy: &Policy, names: &Names) -> bool {
    matches!(find(name, policy.catalog.get(policy.primary()), names), Found::Temporary)
}

fn define(statement: &Statement, text: &[u8], names: &Names) -> Action {
    match sql::ddl(text.get(statement.span.clone()).unwrap_or_default(), &names.temporary) {
        Ddl::Local => Action::Neutral,
        Ddl::Made => Action::Opaque(Opaque::Made),
        carried => Action::Opaque(Opaque::Statement(carried)),
    }
}

fn makes_table(kind: &Kind) -> bool {
    matches!(kind, Kind::SelectInto { temporary: false } | Kind::CreateTableAs)
}

/// EXPLAIN ANALYZE of CREATE MATERIALIZED VIEW makes it.
fn explain_definition(statement: &Statement, text: &[u8], names: &Names) -> Action {
    let definition = sql::explained(text.get(statement.span.clone()).unwrap_or_default());
    match sql::ddl(definition, &names.temporary) {
        Ddl::Carried { rows, .. } => {
            Action::Opaque(Opaque::Statement(Ddl::Carried { rows, alone: Some(definition.to_vec()) }))
        }
        _ => rows("EXPLAIN ANALYZE runs a definition"),
    }
}

fn may_commit(statement: &Statement, text: &[u8], policy: &Policy) -> bool {
    let committers = policy.catalog.get(policy.primary()).committers();
    sql::calls_any(text.get(statement.span.clone()).unwrap_or_default(), committers)
}

/// Whether a DO block may commit or roll back: outside of a transaction block it then has to be alone.
fn ends_transactions(statement: &Statement, text: &[u8]) -> bool {
    let text = text.get(statement.span.clone()).unwrap_or_default().to_ascii_lowercase();
    let has = |word: &[u8]| text.windows(word.len()).any(|w| w == word);
    has(b"commit") || has(b"rollback") || has(b"call") || has(b"execute")
}

fn write(statement: &Statement, policy: &Policy, names: &Names) -> Action {
    let catalog = policy.catalog.get(policy.primary());
    let (mut insertions, mut by_triggers) = (Vec::new(), false);
    if statement.dml.iter().any(|dml| dml.unfinished) {
        return rows("the statement is not finished");
    }
    for dml in &statement.dml {
        match find(&dml.target, catalog, names) {
            Found::Temporary => continue,
            Found::Ambiguous => return rows("several schemas have a table of this name"),
            Found::Unknown if dml.target.name == "pg_settings" => continue,
            Found::Unknown => return rows("the table is not known"),
            // What it writes to is told by the counters of the tables below it.
            Found::Table(table) if table.kind == TableKind::View => {
                return Action::Opaque(Opaque::RowsInline("the target is a view"));
            }
            Found::Table(table) if !table.mirrored => return Action::Uncaptured("the table is not on both sides"),
            // Nothing is to be added, but its commit has to be announced.
            Found::Table(table) if catalog.is_told_by_triggers(table) => by_triggers = true,
            Found::Table(table) if table.by_trigger && table.has_rules => {
                return Action::Opaque(Opaque::RowsInline(Reason::Rules.as_str()));
            }
            // Its own triggers may write elsewhere.
            Found::Table(table) if table.by_trigger => return rows("it is captured by triggers"),
            Found::Table(table) => match sql::capture(dml, table) {
                Capture::Impossible(reason @ Reason::Rules) => {
                    return Action::Opaque(Opaque::RowsInline(reason.as_str()));
                }
                Capture::Impossible(reason) => return rows(reason.as_str()),
                how => insertions.extend(sql::insertions(dml, table, how)),
            },
        }
    }
    // A write that could not be read is none of these, and there is always one.
    if statement.dml.is_empty() {
        return rows("the analysis cannot read this write");
    }
    if insertions.is_empty() {
        return if by_triggers { Action::Touching(BY_TRIGGERS) } else { Action::Neutral };
    }
    // The rows that are counted are those of the outermost write: what another one leaves is announced with them.
    let cut = match statement.dml.last().filter(|dml| !dml.inner) {
        // What the client sees is the outer SELECT, unchanged.
        None => Cut::Nothing,
        Some(dml) if matches!(find(&dml.target, catalog, names), Found::Temporary) => Cut::Nothing,
        Some(dml) if dml.returning.is_some() => Cut::LastColumn,
        Some(_) => Cut::Rows,
    };
    Action::Capture { insertions, cut }
}

enum Found<'a> {
    Table(&'a Arc<Table>),
    Temporary,
    Ambiguous,
    Unknown,
}

fn find<'a>(name: &Name, catalog: &'a Catalog, names: &Names) -> Found<'a> {
    if let Some(schema) = &name.schema {
        if schema.starts_with("pg_temp") {
            return Found::Temporary;
        }
        return catalog.qualified(schema, &name.name).map_or(Found::Unknown, Found::Table);
    }
    let temporary = names.temporary.contains(&name.name);
    let in_schema = |schema: &str| catalog.qualified(schema, &name.name);
    let usual = !names.own_search_path && catalog.usual_path();
    let found = match &names.path {
        _ if usual && temporary => return Found::Temporary,
        _ if usual => [names.user.as_str(), "public"].into_iter().find_map(in_schema),
        Some(path) => {
            // The session's own come first, unless the path says where.
            let own = path.iter().position(|schema| schema.starts_with("pg_temp")).unwrap_or(0);
            let before = if temporary { own } else { path.len() };
            match path.iter().take(before).find_map(|schema| in_schema(schema)) {
                None if temporary => return Found::Temporary,
                found => found,
            }
        }
        None => {
            let mut candidates = catalog.named(&name.name);
            match (candidates.next(), candidates.next()) {
                (None, _) if temporary => return Found::Temporary,
                (Some(_), Some(_)) => return Found::Ambiguous,
                (Some(_), None) if temporary => return Found::Ambiguous,
                (first, _) => first,
            }
        }
    };
    found.map_or(Found::Unknown, Found::Table)
}

impl Verdicts {
    fn movable(
        &mut self,
        statement: &Statement,
        text: &[u8],
        policy: &Policy,
        names: &Names,
    ) -> Result<Rc<Traits>, Why> {
        if self.generation != policy.generation {
            self.movable.clear();
            self.generation = policy.generation;
        }
        // A session's own names make its verdicts its own.
        let shared =
            names.temporary.is_empty() && !names.own_search_path && policy.catalog.get(policy.primary()).usual_path();
        if let Some(verdict) = self.movable.get(&statement.fingerprint).filter(|_| shared) {
            return verdict.clone();
        }
        let verdict = movable(statement, text, policy, names).map(Rc::new);
        if shared && self.movable.len() < MAX_VERDICTS {
            self.movable.insert(statement.fingerprint, verdict.clone());
        }
        verdict
    }
}

fn movable(statement: &Statement, text: &[u8], policy: &Policy, names: &Names) -> Result<Traits, Why> {
    let text = text.get(statement.span.clone()).and_then(|t| std::str::from_utf8(t).ok()).ok_or(Why::NotUnderstood)?;
    let shape = read_shape(text).map_err(|_| Why::NotUnderstood)?;
    let catalog = policy.catalog.get(policy.primary());
    if shape.server_local {
        return Err(Why::Function);
    }
    // `a.b` calls a function b where a has no such column.
    let may_be_called = |name: &String| catalog.volatility(name) == Some(Volatility::Volatile);
    if shape.attributes.iter().any(may_be_called) {
        return Err(Why::Function);
    }
    for function in &shape.functions {
        movable_function(function, catalog)?;
    }
    for table in &shape.tables {
        match find(table, catalog, names) {
            Found::Table(t) if !t.mirrored || catalog.unpaired(t.oid).is_some() => return Err(Why::NotMirrored),
            Found::Table(t) if policy.unequal.contains(&t.oid) => return Err(Why::Unequal),
            Found::Table(_) => {}
            _ => return Err(Why::NotMirrored),
        }
    }
    let tables = shape.tables.iter().filter_map(|name| match find(name, catalog, names) {
        Found::Table(table) => Some(&**table),
        _ => None,
    });
    let nested = tables.clone().any(|table| catalog.nests_own_types(table));
    let pin = super::segments::pin(&policy.rules, statement.fingerprint, tables);
    Ok(Traits { nested, clock: shape.tells_time(), pin, column: column(&shape, policy, names) })
}

/// The first of the columns that are routing keys which the statement asks for by equality.
fn column(shape: &ReadShape, policy: &Policy, names: &Names) -> Option<Column> {
    let catalog = policy.catalog.get(policy.primary());
    policy.rules.columns.iter().find_map(|rule| {
        shape.equalities.iter().filter(|e| e.column == rule.column && e.table.name == rule.table).find_map(|e| {
            let Found::Table(table) = find(&e.table, catalog, names) else { return None };
            let known = table.columns.iter().find(|c| c.name == rule.column)?;
            let fits = rule.schema.as_ref().is_none_or(|schema| *schema == table.schema);
            fits.then(|| Column { value: e.value.clone(), type_oid: known.type_oid })
        })
    })
}

/// The same for one text, whose literals are its own: a verdict is shared by all of its fingerprint.
pub fn column_key(text: &[u8], policy: &Policy, names: &Names) -> Option<Column> {
    let shape = std::str::from_utf8(text).ok().and_then(|text| read_shape(text).ok())?;
    column(&shape, policy, names)
}

/// Stable is not enough: what tells about the server, the session or the transaction differs between the sides.
fn movable_function(function: &Name, catalog: &Catalog) -> Result<(), Why> {
    let name = function.name.as_str();
    if is_server_local(name) {
        return Err(Why::Function);
    }
    match catalog.volatility(name) {
        Some(Volatility::Immutable | Volatility::Stable) => Ok(()),
        _ => Err(Why::Function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_of_what_its_outermost_statement_returns() {
        let nothing = |text: &str| {
            let statement = sql::scan(text.as_bytes()).statements.remove(0);
            let Kind::CopyTo { inner } = &statement.kind else { panic!("{text} is no COPY TO") };
            returns_nothing(inner, &statement)
        };
        for refused in [
            "copy (delete from t) to stdout",
            "copy (with a as (delete from t returning *) insert into u select * from a) to stdout",
            "copy (insert into u with a as (delete from t returning *) select * from a) to stdout",
        ] {
            assert!(nothing(refused), "{refused}");
        }
        for run in [
            "copy (delete from t returning *) to stdout",
            "copy (with a as (delete from t) insert into u values (1) returning 1) to stdout",
            "copy (with a as (delete from t returning *) select * from a) to stdout",
            "copy (select 1) to stdout",
        ] {
            assert!(!nothing(run), "{run}");
        }
    }

    #[test]
    fn a_text_that_may_mean_something_else_is_not_read() {
        let mut reading = Reading::default();
        assert_eq!(reading.backslash(br"select 'a\'"), Backslash::Plain);
        reading.follow(b"standard_conforming_strings", b"off");
        assert_eq!(reading.backslash(br"select 'a\'"), Backslash::Escape);
        assert_eq!(reading.backslash(b"select 'a'"), Backslash::Plain);
        reading.follow(b"standard_conforming_strings", b"on");
        reading.follow(b"CLIENT_ENCODING", b"SJIS");
        assert!(reading.is_blind_to(b"select '\x83\x5c'"));
        assert!(!reading.is_blind_to(b"select 1"));
    }
}
