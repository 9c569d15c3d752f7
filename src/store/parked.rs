//! Entries that the secondary refuses for good: kept on the primary with the error until they are retried or discarded.

use serde::Serialize;

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;

/// An entry to park.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parking<'a> {
    pub rel: u32,
    /// `schema.table`, as the catalog knew it.
    pub table: &'a str,
    /// The journal's `op`.
    pub op: &'a str,
    pub key: &'a [Option<String>],
    pub sqlstate: &'a str,
    pub error: &'a str,
}

/// A parked entry, without its key's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    pub id: i64,
    pub table: String,
    pub op: String,
    pub sqlstate: String,
    pub error: String,
    /// ISO 8601, UTC.
    pub at: String,
    /// Set once the operator has discarded it; it stays as a record.
    pub discarded_by: Option<String>,
}

/// Parks entries; one that is parked already only gets the new error. Autocommit, before the cycle that left them out is
/// applied: a crash between repeats the cycle, and finds them here. Returns how many were new.
pub async fn park(connection: &Connection, entries: &[Parking<'_>]) -> Result<u64, StoreError> {
    let mut new = 0;
    for entry in entries {
        let row = connection
            .query_one(
                "INSERT INTO pgduet.parked AS p (rel, table_name, op, key, key_digest, sqlstate, error) \
                 VALUES ($1, $2, $3::text::\"char\", $4, md5($4::text[]::text), $5, $6) \
                 ON CONFLICT (rel, op, key_digest) WHERE discarded_at IS NULL \
                 DO UPDATE SET sqlstate = excluded.sqlstate, error = excluded.error, at = now() RETURNING p.xmax = 0",
                &[&entry.rel, &entry.table, &entry.op, &entry.key, &entry.sqlstate, &entry.error],
            )
            .await
            .map_err(StoreError::doing(connection, "parking an entry"))?;
        new += u64::from(row.try_get::<_, bool>(0).unwrap_or(true));
    }
    Ok(new)
}

/// The parked entries, oldest first; nothing before `init`.
pub async fn list(connection: &Connection, limit: i64) -> Result<Vec<Parked>, StoreError> {
    let doing = "reading pgduet.parked";
    let sql = "SELECT id, table_name, op::text, sqlstate, error, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), discarded_by \
               FROM pgduet.parked ORDER BY id LIMIT $1";
    let rows = unless_absent(connection.query(sql, &[&limit]).await).map_err(StoreError::doing(connection, doing))?;
    let read = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(Parked {
            id: row.try_get(0)?,
            table: row.try_get(1)?,
            op: row.try_get(2)?,
            sqlstate: row.try_get(3)?,
            error: row.try_get(4)?,
            at: row.try_get(5)?,
            discarded_by: row.try_get(6)?,
        })
    };
    rows.unwrap_or_default().iter().map(read).collect::<Result<_, _>>().map_err(StoreError::doing(connection, doing))
}

/// How many entries are parked now, and how many were discarded.
pub async fn count(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let doing = "counting pgduet.parked";
    let sql = "SELECT count(*) FILTER (WHERE discarded_at IS NULL), count(discarded_at) FROM pgduet.parked";
    let row = unless_absent(connection.query_one(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    let Some(row) = row else { return Ok((0, 0)) };
    let count = |i: usize| row.try_get::<_, i64>(i).map(|n| n.max(0) as u64);
    let both = || Ok((count(0)?, count(1)?));
    both().map_err(StoreError::doing(connection, doing))
}

/// Puts parked entries back into the journal, so that the next cycle tries them again. `ids` empty: all of them.
/// Returns how many.
pub async fn retry(connection: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let sql = "WITH gone AS (DELETE FROM pgduet.parked WHERE discarded_at IS NULL AND (cardinality($1::bigint[]) = 0 OR id = ANY ($1)) \
                 RETURNING rel, op, key) \
               INSERT INTO pgduet.journal (rel, op, key) SELECT rel, op, key FROM gone";
    connection.execute(sql, &[&ids]).await.map_err(StoreError::doing(connection, "retrying parked entries"))
}

/// Gives parked entries up; they stay as a record of who did so. `ids` empty: all of them. Returns how many.
pub async fn discard(connection: &Connection, ids: &[i64], by: &str) -> Result<u64, StoreError> {
    let sql = "UPDATE pgduet.parked SET discarded_at = now(), discarded_by = $2 \
               WHERE discarded_at IS NULL AND (cardinality($1::bigint[]) = 0 OR id = ANY ($1))";
    connection.execute(sql, &[&ids, &by]).await.map_err(StoreError::doing(connection, "discarding parked entries"))
}
