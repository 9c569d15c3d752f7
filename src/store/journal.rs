//! The journal as a whole: how large it is, and the removal of what has been carried. Its entries are read by the link.

use super::{Snapshot, StoreError, unless_absent};
use crate::backend::control::Connection;

/// Entries removed by one statement of [`clean_up`]: bounds the time of its locks and the size of its transaction.
const REMOVED_AT_ONCE: i64 = 50_000;

/// Bytes on disk, with indexes; `None` before `init`.
pub async fn size_bytes(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT pg_total_relation_size(to_regclass('pgduet.journal'))";
    let row =
        connection.query_one(sql, &[]).await.map_err(StoreError::doing(connection, "measuring pgduet.journal"))?;
    let bytes: Option<i64> = row.try_get(0).map_err(StoreError::doing(connection, "measuring pgduet.journal"))?;
    Ok(bytes.map(|n| n.max(0) as u64))
}

/// How many committed entries that sessions have announced the snapshot does not see.
pub async fn pending(connection: &Connection, marker: &Snapshot) -> Result<u64, StoreError> {
    count(connection, marker, "op::text = lower(op::text)").await
}

/// The same for those that no session announces.
pub async fn unannounced(connection: &Connection, marker: &Snapshot) -> Result<u64, StoreError> {
    count(connection, marker, "op::text <> lower(op::text)").await
}

async fn count(connection: &Connection, marker: &Snapshot, which: &str) -> Result<u64, StoreError> {
    let doing = "counting pgduet.journal";
    let sql = format!(
        "SELECT count(*) FILTER (WHERE {which}) FROM pgduet.journal \
         WHERE xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])"
    );
    let in_progress: Vec<String> = marker.in_progress.iter().map(u64::to_string).collect();
    let row = unless_absent(connection.query_one(&sql, &[&marker.xmax.to_string(), &in_progress]).await)
        .map_err(StoreError::doing(connection, doing))?;
    let count = row.map(|row| row.try_get::<_, i64>(0)).transpose();
    Ok(count.map_err(StoreError::doing(connection, doing))?.unwrap_or(0).max(0) as u64)
}

/// What [`clean_up`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub entries: u64,
    /// The transactions and subtransactions that had left these entries.
    pub ids: Vec<u64>,
    /// Tables that were touched as a whole.
    pub wholes: Vec<u32>,
    /// There were statements among them.
    pub statements: bool,
}

impl Removed {
    /// As if anything may have been removed.
    pub fn unknown() -> Removed {
        Removed { statements: true, ..Removed::default() }
    }

    /// Whether something may be left behind.
    pub fn more_to_clean(&self) -> bool {
        self.entries >= REMOVED_AT_ONCE as u64
    }
}

/// An entry's subtransaction, with the 64 bits that its transaction's id has; it is later than that.
const REMOVE: &str = "WITH gone AS MATERIALIZED ( \
      DELETE FROM pgduet.journal WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM pgduet.journal WHERE xid < $1::text::xid8 ORDER BY xid LIMIT $2)) \
      RETURNING rel, lower(op::text) AS op, xid::text::bigint AS id, \
        (xmin::text::bigint - (xid::xid)::text::bigint) & 4294967295 AS sub) \
    SELECT (SELECT count(*) FROM gone), ARRAY(SELECT id FROM gone UNION SELECT id + sub FROM gone WHERE sub <> 0), \
      ARRAY(SELECT DISTINCT rel FROM gone WHERE op IN ('t', 'e')), EXISTS (SELECT FROM gone WHERE op = 'd')";

/// Removes entries that the marker saw, oldest first, a bounded number at once. Call it with a marker that can no longer be lost.
pub async fn clean_up(connection: &Connection, marker: &Snapshot) -> Result<Removed, StoreError> {
    let doing = "cleaning pgduet.journal";
    let row = connection.query_one(REMOVE, &[&marker.xmin.to_string(), &REMOVED_AT_ONCE]).await;
    let row = row.map_err(StoreError::doing(connection, doing))?;
    let read = || {
        let ids: Vec<i64> = row.try_get(1)?;
        let (entries, ids) = (row.try_get::<_, i64>(0)?.max(0) as u64, ids.into_iter().map(|id| id as u64).collect());
        Ok(Removed { entries, ids, wholes: row.try_get(2)?, statements: row.try_get(3)? })
    };
    read().map_err(StoreError::doing(connection, doing))
}

/// Empties the journal of a link that is given up, as long as that stands; `None`: another one has begun, and the journal is its own.
pub async fn clear_detached(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let doing = "clearing pgduet.journal";
    // One snapshot for both: whoever begins anew forgets the reason first, and carries what was captured after that.
    let sql = "WITH stands AS MATERIALIZED (SELECT FROM pgduet.detached), \
                 gone AS (DELETE FROM pgduet.journal WHERE EXISTS (SELECT FROM stands) RETURNING xid) \
               SELECT EXISTS (SELECT FROM stands), (SELECT count(*) FROM gone)";
    let row = connection.query_one(sql, &[]).await.map_err(StoreError::doing(connection, doing))?;
    let read = || Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get::<_, i64>(1)?));
    let (stands, count) = read().map_err(StoreError::doing(connection, doing))?;
    Ok(if stands { Some(count.max(0) as u64) } else { None })
}

/// Empties the journal; returns how many entries no link had carried are gone.
pub async fn clear(connection: &Connection, marker: Option<&Snapshot>) -> Result<u64, StoreError> {
    let doing = "clearing pgduet.journal";
    let sql = "WITH gone AS (DELETE FROM pgduet.journal RETURNING xid) SELECT count(*) FROM gone \
               WHERE $1::text IS NULL OR xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])";
    let xmax = marker.map(|m| m.xmax.to_string());
    let in_progress: Vec<String> = marker.iter().flat_map(|m| &m.in_progress).map(u64::to_string).collect();
    let row = connection.query_one(sql, &[&xmax, &in_progress]).await.map_err(StoreError::doing(connection, doing))?;
    let count: i64 = row.try_get(0).map_err(StoreError::doing(connection, doing))?;
    Ok(count.max(0) as u64)
}
