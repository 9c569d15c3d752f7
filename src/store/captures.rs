//! How each table is captured on a side, for the functions that run there.

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;

/// Declares which tables nobody carries, by oid; what was declared before is forgotten.
pub async fn leave_out(connection: &Connection, tables: &[u32]) -> Result<(), StoreError> {
    let sql = "WITH former AS (DELETE FROM pgduet.captures WHERE method = 'n' AND rel <> ALL ($1)) \
               INSERT INTO pgduet.captures (rel, method) SELECT rel, 'n' FROM unnest($1::oid[]) AS t (rel) \
               ON CONFLICT (rel) DO UPDATE SET method = 'n'";
    connection.execute(sql, &[&tables]).await.map_err(StoreError::doing(connection, "writing pgduet.captures"))?;
    Ok(())
}

/// Tables that triggers capture, by oid.
pub async fn watched(connection: &Connection) -> Result<Vec<u32>, StoreError> {
    let doing = "reading pgduet.captures";
    let sql = "SELECT c.rel FROM pgduet.captures c WHERE c.method = 't'";
    let rows = unless_absent(connection.query(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    let rels: Result<Vec<u32>, _> = rows.iter().flatten().map(|row| row.try_get(0)).collect();
    rels.map_err(StoreError::doing(connection, doing))
}

/// These tables, and every partition of those that are partitioned or partitions; by oid.
pub async fn with_partitions(connection: &Connection, tables: &[u32]) -> Result<Vec<u32>, StoreError> {
    let doing = "looking for partitions";
    let sql = "SELECT DISTINCT c.oid FROM unnest($1::oid[]) AS t (rel), \
                 LATERAL (SELECT t.rel UNION SELECT p.relid FROM pg_partition_tree(pg_partition_root(t.rel)) AS p) AS m (rel) \
                 JOIN pg_class c ON c.oid = m.rel AND c.relkind IN ('r', 'p') \
               ORDER BY 1";
    let rows = connection.query(sql, &[&tables]).await.map_err(StoreError::doing(connection, doing))?;
    let rels: Result<Vec<u32>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    rels.map_err(StoreError::doing(connection, doing))
}

/// How long a table's writers are waited for, and held up, when its triggers are made or removed.
const LOCKING: &str = "SET lock_timeout = '2s'";

/// Has a table captured by triggers; whether it was not, or otherwise. Its writers are waited for.
pub async fn watch(connection: &Connection, table: u32) -> Result<bool, StoreError> {
    let doing = "making triggers that capture";
    connection.batch_execute(LOCKING).await.map_err(StoreError::doing(connection, doing))?;
    let row = connection.query_one("SELECT pgduet.watch($1)", &[&table]).await;
    row.and_then(|row| row.try_get(0)).map_err(StoreError::doing(connection, doing))
}

/// Removes a table's triggers. A table that is gone had none.
pub async fn unwatch(connection: &Connection, table: u32) -> Result<(), StoreError> {
    let doing = "removing triggers that capture";
    connection.batch_execute(LOCKING).await.map_err(StoreError::doing(connection, doing))?;
    connection.query("SELECT pgduet.unwatch($1)", &[&table]).await.map_err(StoreError::doing(connection, doing))?;
    Ok(())
}

/// A number that grows with each statement that was captured for the secondary; 0 before `init`.
pub async fn statements(connection: &Connection) -> Result<i64, StoreError> {
    let doing = "reading pgduet.statement_number";
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pgduet.statement_number";
    let row = unless_absent(connection.query_one(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    row.map_or(Ok(0), |row| row.try_get(0)).map_err(StoreError::doing(connection, doing))
}

/// Touches whole tables, by oid.
pub async fn touch(connection: &Connection, tables: &[u32]) -> Result<(), StoreError> {
    let sql = "SELECT pgduet.capture_table(rel) FROM unnest($1::oid[]) AS t (rel)";
    connection.query(sql, &[&tables]).await.map_err(StoreError::doing(connection, "touching tables"))?;
    Ok(())
}
