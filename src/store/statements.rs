//! The table of statements, in the database: every instance adds what it has counted since its last save.

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;

/// A row: as it stands in the table, or what is to be added to it. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub fingerprint: String,
    pub statement: String,
    pub tables: Vec<String>,
    pub counts: Vec<i64>,
    pub spread_old: Vec<i64>,
    pub spread_new: Vec<i64>,
    pub first_seen: f64,
    pub last_seen: f64,
    pub last_mismatch: Option<String>,
}

/// The rows seen last, at most so many; nothing before `init`.
pub async fn read(connection: &Connection, limit: i64) -> Result<Vec<Row>, StoreError> {
    let doing = "reading pgduet.statements";
    let sql = "SELECT fingerprint, statement, tables, counts, spread_old, spread_new, \
                 extract(epoch FROM first_seen)::float8, extract(epoch FROM last_seen)::float8, last_mismatch::text \
               FROM pgduet.statements ORDER BY (last_mismatch IS NULL), last_seen DESC LIMIT $1";
    let rows = unless_absent(connection.query(sql, &[&limit]).await).map_err(StoreError::doing(connection, doing))?;
    let row = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(Row {
            fingerprint: row.try_get(0)?,
            statement: row.try_get(1)?,
            tables: row.try_get(2)?,
            counts: row.try_get(3)?,
            spread_old: row.try_get(4)?,
            spread_new: row.try_get(5)?,
            first_seen: row.try_get(6)?,
            last_seen: row.try_get(7)?,
            last_mismatch: row.try_get(8)?,
        })
    };
    rows.unwrap_or_default().iter().map(row).collect::<Result<_, _>>().map_err(StoreError::doing(connection, doing))
}

/// Adds to the rows, in one transaction, and keeps the table at `limit` rows: those seen longest ago, without a finding, go first.
pub async fn add(connection: &Connection, rows: &[Row], limit: i64) -> Result<(), StoreError> {
    let result = add_in_transaction(connection, rows, limit).await;
    if result.is_err() {
        let _ = connection.batch_execute("ROLLBACK").await;
    }
    result.map_err(StoreError::doing(connection, "writing pgduet.statements"))
}

async fn add_in_transaction(connection: &Connection, rows: &[Row], limit: i64) -> Result<(), tokio_postgres::Error> {
    let sums = |name: &str| {
        format!(
            "(SELECT coalesce(array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY i), '{{}}') \
              FROM unnest(s.{name}, excluded.{name}) WITH ORDINALITY AS u (a, b, i))"
        )
    };
    let sql = format!(
        "INSERT INTO pgduet.statements AS s VALUES \
           ($1, $2, $3, $4, $5, $6, to_timestamp($7), to_timestamp($8), $9::text::jsonb) \
         ON CONFLICT (fingerprint) DO UPDATE SET counts = {}, spread_old = {}, spread_new = {}, \
           first_seen = least(s.first_seen, excluded.first_seen), last_seen = greatest(s.last_seen, excluded.last_seen), \
           last_mismatch = coalesce(excluded.last_mismatch, s.last_mismatch)",
        sums("counts"),
        sums("spread_old"),
        sums("spread_new")
    );
    // One order for all instances: two that save at the same moment wait, and do not lock each other up.
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    connection.batch_execute("BEGIN").await?;
    let insert = connection.prepare(&sql).await?;
    for row in sorted {
        connection
            .execute(
                &insert,
                &[
                    &row.fingerprint,
                    &row.statement,
                    &row.tables,
                    &row.counts,
                    &row.spread_old,
                    &row.spread_new,
                    &row.first_seen,
                    &row.last_seen,
                    &row.last_mismatch,
                ],
            )
            .await?;
    }
    let trim = "DELETE FROM pgduet.statements WHERE fingerprint IN (SELECT fingerprint FROM pgduet.statements \
                ORDER BY (last_mismatch IS NULL), last_seen DESC OFFSET $1)";
    connection.execute(trim, &[&limit]).await?;
    connection.batch_execute("COMMIT").await
}
