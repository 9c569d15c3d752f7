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
