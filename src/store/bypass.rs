//! Rows of a table that no touch in the journal explains, on the primary.

use std::collections::{BTreeSet, HashMap};

use super::{Snapshot, StoreError};
use crate::backend::control::Connection;

/// A look through one table ends after this at the latest.
const LIMIT: &str = "5s";

/// The next transaction id that the server gives out.
pub async fn next_id(connection: &Connection) -> Result<u64, StoreError> {
    Ok(current(connection).await?.xmax)
}

async fn current(connection: &Connection) -> Result<Snapshot, StoreError> {
    let doing = "taking a snapshot";
    let row = connection.query_one("SELECT pg_current_snapshot()::text", &[]).await;
    let text = row.and_then(|row| row.try_get::<_, String>(0)).map_err(StoreError::doing(connection, doing))?;
    text.parse().map_err(|e| StoreError::unreadable(connection, doing, e))
}

/// Of those of the tables that are not larger than so many bytes: how many rows were inserted or updated, ever, rolled back ones included.
pub async fn counters(connection: &Connection, rels: &[u32], largest: u64) -> Result<HashMap<u32, i64>, StoreError> {
    let doing = "reading the tables' counters";
    let sql = "SELECT s.relid, s.n_tup_ins + s.n_tup_upd FROM pg_stat_user_tables s \
               WHERE s.relid = ANY ($1::oid[]) AND pg_relation_size(s.relid) <= $2";
    let largest = i64::try_from(largest).unwrap_or(i64::MAX);
    let rows = connection.query(sql, &[&rels, &largest]).await.map_err(StoreError::doing(connection, doing))?;
    let counters: Result<_, _> = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    counters.map_err(StoreError::doing(connection, doing))
}

/// Begins a transaction that ends with [`unexplained`].
pub async fn begin(connection: &Connection) -> Result<Snapshot, StoreError> {
    let sql = format!(
        "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '{LIMIT}'; \
         SET LOCAL lock_timeout = '200ms'"
    );
    let doing = "looking through a table";
    // Outside of a transaction the ROLLBACK is a warning.
    connection.batch_execute(&sql).await.map_err(StoreError::doing(connection, doing))?;
    current(connection).await
}

/// The transactions, `since` or later, that have written rows of the table and left no touch that the journal still has. `None`: it was
/// touched as a whole, or statements were captured, so nothing can be said.
pub async fn unexplained(
    connection: &Connection,
    rel: u32,
    qualified: &str,
    since: u64,
    seen: &Snapshot,
) -> Result<Option<BTreeSet<u64>>, StoreError> {
    let doing = "looking through a table";
    let whole = "SELECT EXISTS (SELECT FROM pgduet.journal \
                 WHERE lower(op::text) IN ('t', 'e') AND rel = $1 OR lower(op::text) = 'd')";
    // An age is counted from the next id: no row that counts is left out. Ids of 32 bits wrap around.
    let sql = format!(
        "WITH captured AS MATERIALIZED (SELECT j.xmin AS id FROM pgduet.journal j UNION ALL SELECT j.xid::xid FROM pgduet.journal j) \
         SELECT DISTINCT t.xmin::text::bigint FROM ONLY {qualified} t \
         WHERE age(t.xmin) <= $1 AND NOT EXISTS (SELECT FROM captured c WHERE c.id = t.xmin)"
    );
    let age = i32::try_from(seen.xmax.saturating_sub(since).saturating_add(1_000_000)).unwrap_or(i32::MAX - 1);
    let read = async {
        if connection.query_one(whole, &[&rel]).await?.try_get(0)? {
            return Ok(None);
        }
        let rows = connection.query(&sql, &[&age]).await?;
        let ids = rows.iter().map(|row| row.try_get::<_, i64>(0)).collect::<Result<Vec<_>, _>>()?;
        let full = ids.into_iter().map(|id| widened(id as u32, seen.xmax)).filter(|&id| id >= since);
        Ok(Some(full.collect()))
    };
    let result = read.await.map_err(StoreError::doing(connection, doing));
    connection.batch_execute("ROLLBACK").await.map_err(StoreError::doing(connection, doing))?;
    result
}

/// The 64 bits of an id that is not later than `latest`, and at most 2^32 earlier.
pub fn widened(id: u32, latest: u64) -> u64 {
    latest.saturating_sub(u64::from((latest as u32).wrapping_sub(id)))
}

#[cfg(test)]
mod tests {
    use super::widened;

    #[test]
    fn an_id_is_widened_to_the_latest_that_it_can_be() {
        assert_eq!(widened(725, 730), 725);
        assert_eq!(widened(730, 730), 730);
        assert_eq!(widened(u32::MAX, (3 << 32) + 5), (3 << 32) - 1);
        assert_eq!(widened(4, (3 << 32) + 5), (3 << 32) + 4);
        assert_eq!(widened(9, 5), 0);
    }
}
