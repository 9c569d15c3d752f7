//! The durable routing rules: one row beside the policy, with a version of its own.

use serde_json::{Value, json};

use super::control::CHANNEL;
use super::{StoreError, unless_absent};
use crate::backend::control::Connection;
use crate::config::Rules;

/// What is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub rules: Rules,
    /// Counts changes; the first is 1.
    pub version: u64,
}

/// `None` before a first change, or before `init`.
pub async fn read(connection: &Connection) -> Result<Option<Stored>, StoreError> {
    let doing = "reading pgduet.rules";
    let sql = "SELECT rules::text, version FROM pgduet.rules";
    let row = unless_absent(connection.query_opt(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    let Some(row) = row.flatten() else { return Ok(None) };
    let text: String = row.try_get(0).map_err(StoreError::doing(connection, doing))?;
    let version: i64 = row.try_get(1).map_err(StoreError::doing(connection, doing))?;
    let rules = serde_json::from_str(&text).map_err(|e| StoreError::unreadable(connection, doing, e))?;
    Ok(Some(Stored { rules, version: version as u64 }))
}

/// Replaces them, with a line of history, and tells the other instances. Returns the new version.
pub async fn write(connection: &Connection, rules: &Rules, by: &str, evidence: &Value) -> Result<u64, StoreError> {
    let doing = "writing pgduet.rules";
    let sql = format!(
        "WITH former AS (SELECT rules FROM pgduet.rules), \
         changed AS ( \
           INSERT INTO pgduet.rules AS r (rules, version, updated_by) VALUES ($1::text::jsonb, 1, $2) \
           ON CONFLICT (only_row) DO UPDATE SET rules = excluded.rules, version = r.version + 1, updated_at = now(), \
             updated_by = excluded.updated_by \
           RETURNING version, rules), \
         noted AS ( \
           INSERT INTO pgduet.history (epoch, by, former, latter, evidence) \
           SELECT coalesce((SELECT epoch FROM pgduet.control), 0), $2, (SELECT rules FROM former), rules, $3::text::jsonb \
           FROM changed), \
         told AS (SELECT pg_notify('{CHANNEL}', 'rules') FROM changed) \
         SELECT version, (SELECT count(*) FROM told) FROM changed"
    );
    let row = connection
        .query_one(&sql, &[&json!(rules).to_string(), &by, &evidence.to_string()])
        .await
        .map_err(StoreError::doing(connection, doing))?;
    row.try_get::<_, i64>(0).map(|version| version as u64).map_err(StoreError::doing(connection, doing))
}
