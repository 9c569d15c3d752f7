//! The durable sync state of each mirrored table, kept on the primary.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;

/// How far a table on the secondary may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Declared equal by the operator when `dual_write` was entered; never verified.
    Assumed,
    /// A backfill is under way.
    Copying,
    /// Verified.
    Equal,
    /// Known to differ: an entry is parked, or a verification found differences.
    Diverged,
    /// The link did not follow it for a time.
    Stale,
    /// Not mirrored, by the operator's wish.
    Excluded,
}

impl SyncState {
    pub const ALL: [SyncState; 6] = [
        SyncState::Assumed,
        SyncState::Copying,
        SyncState::Equal,
        SyncState::Diverged,
        SyncState::Stale,
        SyncState::Excluded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            SyncState::Assumed => "assumed",
            SyncState::Copying => "copying",
            SyncState::Equal => "equal",
            SyncState::Diverged => "diverged",
            SyncState::Stale => "stale",
            SyncState::Excluded => "excluded",
        }
    }

    /// Whether a read that touches such a table may go to the secondary.
    pub fn may_be_read(self) -> bool {
        matches!(self, SyncState::Assumed | SyncState::Equal)
    }
}

impl FromStr for SyncState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        SyncState::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("\"{text}\" is no sync state"))
    }
}

/// One row of `pgduet.tables`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableState {
    pub schema: String,
    pub name: String,
    pub state: SyncState,
    /// ISO 8601, UTC.
    pub since: String,
    pub evidence: Value,
}

/// Every table's state, by name; nothing before `init`.
pub async fn read_all(connection: &Connection) -> Result<Vec<TableState>, StoreError> {
    let doing = "reading pgduet.tables";
    let sql = "SELECT schema_name, table_name, state, to_char(since, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), evidence::text \
               FROM pgduet.tables ORDER BY 1, 2";
    let rows = unless_absent(connection.query(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    let mut states = Vec::new();
    for row in rows.unwrap_or_default() {
        let read = || {
            let evidence = row.try_get::<_, Option<String>>(4)?.and_then(|text| serde_json::from_str(&text).ok());
            let state: String = row.try_get(2)?;
            Ok((row.try_get(0)?, row.try_get(1)?, state, row.try_get(3)?, evidence.unwrap_or(Value::Null)))
        };
        let (schema, name, state, since, evidence) = read().map_err(StoreError::doing(connection, doing))?;
        let state = state.parse().map_err(|e| StoreError::unreadable(connection, doing, e))?;
        states.push(TableState { schema, name, state, since, evidence });
    }
    Ok(states)
}

/// Sets the state of some tables, given as `(schema, name)`. A table that already is in this state keeps its date and evidence.
pub async fn set(
    connection: &Connection,
    tables: &[(&str, &str)],
    state: SyncState,
    evidence: &Value,
) -> Result<(), StoreError> {
    let schemas: Vec<&str> = tables.iter().map(|t| t.0).collect();
    let names: Vec<&str> = tables.iter().map(|t| t.1).collect();
    connection
        .execute(
            "INSERT INTO pgduet.tables AS t (schema_name, table_name, state, evidence) \
             SELECT s, n, $3, $4::text::jsonb FROM unnest($1::text[], $2::text[]) AS u(s, n) \
             ON CONFLICT (schema_name, table_name) DO UPDATE SET state = excluded.state, since = now(), \
               evidence = excluded.evidence WHERE t.state <> excluded.state",
            &[&schemas, &names, &state.as_str(), &evidence.to_string()],
        )
        .await
        .map_err(StoreError::doing(connection, "writing pgduet.tables"))?;
    Ok(())
}

/// Sets the state of every table that is followed (all but the excluded ones).
pub async fn set_all(connection: &Connection, state: SyncState, evidence: &Value) -> Result<(), StoreError> {
    let sql = "UPDATE pgduet.tables SET state = $1, since = now(), evidence = $2::text::jsonb \
               WHERE state NOT IN ('excluded', $1)";
    connection
        .execute(sql, &[&state.as_str(), &evidence.to_string()])
        .await
        .map_err(StoreError::doing(connection, "writing pgduet.tables"))?;
    Ok(())
}
