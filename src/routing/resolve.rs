//! What a statement means under a policy: a read that may move, a write that is captured, or something that is neither. Pure; the
//! session only carries it out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Policy, Why};
use crate::catalog::{Catalog, Table, Volatility};
use crate::sql::capture::{self, Capture};
use crate::sql::tree::read_shape;
use crate::sql::{Dml, Fingerprint, Kind, Name, Statement};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `Err`: it reads, and must stay on the primary, for this reason.
    Read(Result<(), Why>),
    /// Text to insert, by byte offset in the client's text; `rows`: the client asked for rows of its own.
    Capture { insertions: Vec<(usize, String)>, rows: bool },
    /// It may change a mirrored table, and cannot be captured, for this reason.
    Uncaptured(&'static str),
    /// It changes no mirrored table, and stays on the primary.
    Neutral,
}

/// What a session knows that its statements depend on.
#[derive(Debug, Default)]
pub struct Names {
    /// Temporary relations that the session made: they shadow any other of the name.
    pub temporary: HashSet<String>,
    /// The session's user: its own schema comes first in the default search_path.
    pub user: String,
    /// The session has set a search_path: an unqualified name that several schemas have is not resolved.
    pub own_search_path: bool,
}

/// The verdicts on reads by fingerprint, bounded; emptied when the policy's generation changes.
#[derive(Debug, Default)]
pub struct Verdicts {
    generation: u64,
    movable: HashMap<Fingerprint, Result<(), Why>>,
}

/// Verdicts kept per worker. A million distinct statements must not become a leak.
const MAX_VERDICTS: usize = 10_000;

/// Resolves one statement. `text`: the whole text that its offsets refer to.
pub fn resolve(statement: &Statement, text: &[u8], policy: &Policy, names: &Names, verdicts: &mut Verdicts) -> Action {
    match &statement.kind {
        Kind::Read => Action::Read(verdicts.movable(statement, text, policy, names)),
        Kind::ReadLocking => Action::Read(Err(Why::Locking)),
        Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::WithDml => write(statement, policy, names),
        Kind::Explain { analyze: true } if !statement.dml.is_empty() => {
            Action::Uncaptured("EXPLAIN ANALYZE runs a write")
        }
        Kind::CopyFrom => Action::Uncaptured("COPY FROM is not captured yet"),
        Kind::Truncate => Action::Uncaptured("TRUNCATE is not captured yet"),
        Kind::SelectInto | Kind::CreateTableAs | Kind::Ddl => Action::Uncaptured("DDL is not carried yet"),
        Kind::Do | Kind::Call => Action::Uncaptured("a procedure may write anything"),
        Kind::Execute => Action::Uncaptured("a statement prepared in SQL is not captured yet"),
        Kind::Other => Action::Uncaptured("the analysis does not know this statement"),
        _ => Action::Neutral,
    }
}

fn write(statement: &Statement, policy: &Policy, names: &Names) -> Action {
    let catalog = policy.catalog.get(policy.primary());
    let outer = outer_write(statement);
    let mut insertions = Vec::new();
    for (at, dml) in statement.dml.iter().enumerate() {
        let is_outer = outer == Some(at);
        match find(&dml.target, catalog, names) {
            Found::Temporary => continue,
            Found::Ambiguous => return Action::Uncaptured("several schemas have a table of this name"),
            Found::Unknown => return Action::Uncaptured("the table is not known"),
            Found::Table(table) if !table.mirrored => return Action::Uncaptured("the table is not on both sides"),
            Found::Table(table) => match insertion(dml, table, is_outer) {
                Ok(text) => insertions.push((dml.insert_at, text)),
                Err(reason) => return Action::Uncaptured(reason),
            },
        }
    }
    if insertions.is_empty() {
        return Action::Neutral;
    }
    let rows = match outer.and_then(|at| statement.dml.get(at)) {
        Some(dml) => dml.has_returning,
        None => true,
    };
    Action::Capture { insertions, rows }
}

/// Which of the statement's writes is the statement itself, not one inside WITH.
fn outer_write(statement: &Statement) -> Option<usize> {
    match statement.kind {
        Kind::WithDml => None,
        _ => statement.dml.len().checked_sub(1),
    }
}

fn insertion(dml: &Dml, table: &Table, is_outer: bool) -> Result<String, &'static str> {
    if !is_outer && dml.has_returning {
        return Err("a write inside WITH that returns rows is not captured yet");
    }
    match capture::capture(dml, table) {
        Capture::Impossible(reason) => Err(reason),
        how => Ok(capture::insertion(dml, table, &how)),
    }
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
    if names.temporary.contains(&name.name) {
        return Found::Temporary;
    }
    let mut candidates = catalog.named(&name.name);
    match (candidates.next(), candidates.next()) {
        (None, _) => Found::Unknown,
        (Some(only), None) => Found::Table(only),
        _ if names.own_search_path => Found::Ambiguous,
        _ => [names.user.as_str(), "public"]
            .iter()
            .find_map(|schema| catalog.qualified(schema, &name.name))
            .map_or(Found::Ambiguous, Found::Table),
    }
}

impl Verdicts {
    fn movable(&mut self, statement: &Statement, text: &[u8], policy: &Policy, names: &Names) -> Result<(), Why> {
        if self.generation != policy.generation {
            self.movable.clear();
            self.generation = policy.generation;
        }
        // A session's own names make its verdicts its own.
        let shared = names.temporary.is_empty() && !names.own_search_path;
        if let Some(verdict) = self.movable.get(&statement.fingerprint).filter(|_| shared) {
            return *verdict;
        }
        let verdict = movable(statement, text, policy, names);
        if shared && self.movable.len() < MAX_VERDICTS {
            self.movable.insert(statement.fingerprint, verdict);
        }
        verdict
    }
}

fn movable(statement: &Statement, text: &[u8], policy: &Policy, names: &Names) -> Result<(), Why> {
    let text = text.get(statement.span.clone()).and_then(|t| std::str::from_utf8(t).ok()).ok_or(Why::NotUnderstood)?;
    let shape = read_shape(text).map_err(|_| Why::NotUnderstood)?;
    let catalog = policy.catalog.get(policy.primary());
    for function in &shape.functions {
        movable_function(function, catalog)?;
    }
    for table in &shape.tables {
        let is_with = table.schema.is_none() && shape.with.contains(&table.name);
        match find(table, catalog, names) {
            // A WITH query's name; if a real relation bears it too, that one must be movable as well.
            Found::Unknown if is_with => {}
            Found::Table(t) if !t.mirrored => return Err(Why::NotMirrored),
            Found::Table(t) if policy.unequal.contains(&t.oid) => return Err(Why::Unequal),
            Found::Table(_) => {}
            _ => return Err(Why::NotMirrored),
        }
    }
    Ok(())
}

/// Stable is not enough: what tells about the server, the session or the transaction differs between the sides.
fn movable_function(function: &Name, catalog: &Catalog) -> Result<(), Why> {
    const ABOUT_THE_SERVER: [&str; 9] = [
        "version",
        "current_setting",
        "inet_server_addr",
        "inet_server_port",
        "inet_client_addr",
        "inet_client_port",
        "current_database",
        "current_catalog",
        "current_query",
    ];
    let name = function.name.as_str();
    if ABOUT_THE_SERVER.contains(&name) || name.starts_with("pg_") || name.starts_with("txid_") {
        return Err(Why::Function);
    }
    match catalog.volatility(name) {
        Some(Volatility::Immutable | Volatility::Stable) => Ok(()),
        _ if is_syntax(name) => Ok(()),
        _ => Err(Why::Function),
    }
}

/// Looks like a function, and is the grammar's own.
fn is_syntax(name: &str) -> bool {
    const SYNTAX: [&str; 14] = [
        "coalesce",
        "nullif",
        "greatest",
        "least",
        "grouping",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
        "user",
        "current_role",
    ];
    SYNTAX.contains(&name)
}
