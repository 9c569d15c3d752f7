//! Statements that are run on the secondary: DDL, in the order in which it was run on the primary, before the cycle's rows.
//!
//! The order is that of the numbers, which were drawn while the statement's locks were held:
//!   1. transaction 10 alters a table, draws 1 and commits;
//!   2. transaction 9, which waited for the table, alters it as well, draws 2 and commits.
//!
//! By transaction id they would be run the other way round. Whether one is run twice, the marker excludes: it moves with them.
//!
//! A statement is run as the role that ran it on the primary, by a function that this role owns: inside such a function no role can be
//! changed back, so that a text that somebody forged can do no more than its author could.

use super::ends::End;
use super::entry::{CountedBy, Entry};
use super::failure::{self, Failure};
use crate::catalog::{quote_ident, quote_literal};
use crate::sql;
use crate::store::Snapshot;

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    pub entry: Entry,
    pub number: i64,
    pub text: String,
    role: String,
    search_path: String,
    settings: serde_json::Map<String, serde_json::Value>,
    /// Tables that it had locked on the primary, by the primary's oids.
    pub affected: Vec<u32>,
}

impl Statement {
    /// `None`: it is not what the capture writes.
    fn from_entry(entry: Entry) -> Option<Self> {
        let text = |i: usize| {
            let bytes = entry.values.get(i)?.as_deref()?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        let affected = text(5)?.split(' ').filter_map(|oid| oid.parse().ok()).collect();
        Some(Statement {
            text: text(1)?,
            role: text(2)?,
            search_path: text(3)?,
            settings: serde_json::from_str(&text(4)?).ok()?,
            affected,
            number: text(6)?.parse().ok()?,
            entry,
        })
    }

    fn setting(&self, name: &str) -> Option<&str> {
        match name {
            // The primary has checked it, in a session whose temporary tables are not here.
            "check_function_bodies" => Some("off"),
            "search_path" => Some(&self.search_path),
            name => self.settings.get(name)?.as_str(),
        }
    }

    /// It was parked once, and is tried again.
    pub fn is_retried(&self) -> bool {
        self.entry.counted_by == CountedBy::Session
    }

    /// A new value of an enum cannot be used before it is committed.
    pub fn commits_alone(&self) -> bool {
        let words: Vec<String> = self.text.split_whitespace().map(str::to_ascii_lowercase).collect();
        let has = |pair: [&str; 2]| words.windows(2).any(|w| w.iter().map(String::as_str).eq(pair));
        has(["alter", "type"]) && has(["add", "value"])
    }

    /// Whether the refusal says that the secondary is already as the statement would make it.
    pub fn is_done_already(&self, failure: &Failure) -> bool {
        let drops = self.text.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("drop"));
        match failure.sqlstate() {
            // duplicate table, column, object, schema, function
            "42P07" | "42701" | "42710" | "42P06" | "42723" => true,
            // undefined table, object, function, column; schema
            "42P01" | "42704" | "42883" | "42703" | "3F000" => drops,
            _ => false,
        }
    }

    /// The same, without what is not there to be dropped.
    pub fn of_what_exists(&self) -> Option<Statement> {
        Some(Statement { text: sql::if_exists(&self.text)?, ..self.clone() })
    }

    /// Whether the refusal is because of rows that the secondary has, and the primary has not (any more).
    pub fn is_refused_for_rows(&self, failure: &Failure) -> bool {
        matches!(failure.sqlstate().get(..2), Some("22" | "23"))
    }
}

/// The statements that this snapshot sees and the marker does not, in their order; and entries that are none.
pub async fn read(primary: &End, marker: &Snapshot) -> Result<(Vec<Statement>, Vec<Entry>), Failure> {
    let sql = "SELECT rel, op, key FROM pgduet.journal WHERE op IN ('D', 'd') AND xid >= $1::text::xid8 \
        UNION ALL SELECT rel, op, key FROM pgduet.journal WHERE op IN ('D', 'd') AND xid = ANY ($2::text[]::xid8[])";
    let in_progress: Vec<String> = marker.in_progress.iter().map(u64::to_string).collect();
    let rows = primary.connection.query(sql, &[&marker.xmax.to_string(), &in_progress]).await;
    let (mut statements, mut others) = (Vec::new(), Vec::new());
    for row in rows.map_err(Failure::Primary)? {
        let entry = Entry::from_journal(&row, 0).map_err(Failure::Primary)?;
        match Statement::from_entry(entry.clone()) {
            Some(statement) => statements.push(statement),
            None => others.push(entry),
        }
    }
    statements.sort_by_key(|statement| statement.number);
    Ok((statements, others))
}

/// Settings that the meaning of a text hangs on: no other is taken from an entry.
const SETTINGS: [&str; 13] = [
    "search_path",
    "standard_conforming_strings",
    "backslash_quote",
    "array_nulls",
    "transform_null_equals",
    "xmloption",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "timezone_abbreviations",
    "lc_monetary",
    "default_text_search_config",
    "check_function_bodies",
];

const BEGIN: &str = "SAVEPOINT pgduet_statement";
const KEEP: &str = "RELEASE SAVEPOINT pgduet_statement";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pgduet_statement; RELEASE SAVEPOINT pgduet_statement";

/// Runs it within the secondary's transaction, after something else; a refusal leaves the transaction as it was.
pub async fn run(secondary: &End, statement: &Statement, first: &str) -> Result<(), Failure> {
    let connection = &secondary.connection;
    let run = async {
        connection.batch_execute(&format!("{BEGIN}; {first}")).await?;
        let sql = "SELECT current_user::text = $1, ARRAY(SELECT current_setting(name, true) FROM unnest($2::text[]) AS s (name))";
        let row = connection.query_one(sql, &[&statement.role, &SETTINGS.as_slice()]).await?;
        let (ours, former): (bool, Vec<Option<String>>) = (row.try_get(0)?, row.try_get(1)?);
        connection.batch_execute(&script(statement, ours, &former)).await
    };
    let result = run.await.map_err(Failure::Secondary);
    match &result {
        Ok(()) => connection.batch_execute(KEEP).await.map_err(Failure::Secondary)?,
        Err(failure) if passes(failure) => {}
        Err(_) => connection.batch_execute(UNDO).await.map_err(Failure::Secondary)?,
    }
    result
}

/// Whether the refusal is not the statement's fault, so that the cycle is to be tried again.
pub fn passes(failure: &Failure) -> bool {
    let Failure::Secondary(error) = failure else { return true };
    failure::passes(error.code().map(|code| code.code()))
}

/// Settings, the statement, the former settings. The function may be gone by its own doing: DROP OWNED BY. `ours`: the link's own role is the author's.
fn script(statement: &Statement, ours: bool, former: &[Option<String>]) -> String {
    let settings: String = SETTINGS.iter().filter_map(|name| Some(set(name, statement.setting(name)?))).collect();
    let former = SETTINGS.iter().zip(former).filter_map(|(name, value)| Some(set(name, value.as_deref()?)));
    let owner = match ours {
        true => String::new(),
        false => format!("ALTER FUNCTION pg_temp.pgduet_run(text) OWNER TO {};", quote_ident(&statement.role)),
    };
    format!(
        "CREATE FUNCTION pg_temp.pgduet_run(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS \
           'BEGIN EXECUTE statement; END'; {owner}{settings} SELECT pg_temp.pgduet_run({text}); {former} \
         DROP FUNCTION IF EXISTS pg_temp.pgduet_run(text)",
        text = quote_literal(&statement.text),
        former = former.collect::<String>(),
    )
}

fn set(name: &str, value: &str) -> String {
    format!(" SELECT pg_catalog.set_config({}, {}, true);", quote_literal(name), quote_literal(value))
}
