//! The marker: up to which snapshot of the primary the secondary has come. One row of `pgduet.applied`, changed in the same
//! transaction as the data that it speaks of.

use super::{Snapshot, StoreError, unless_absent};
use crate::backend::control::Connection;

/// Which primary a snapshot belongs to. After a failover or a restore, transaction ids mean something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub system: String,
    pub timeline: i32,
}

/// Touches since the schema was installed, by outcome; kept with the marker so that they survive a restart. (What is parked,
/// `pgduet.parked` itself counts.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub applied: u64,
    pub superseded: u64,
    pub discarded: u64,
}

/// The row of `pgduet.applied`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub snapshot: Snapshot,
    pub identity: Identity,
    pub totals: Totals,
}

/// Who this primary is.
pub async fn identity(connection: &Connection) -> Result<Identity, StoreError> {
    let doing = "identifying the primary";
    let sql = "SELECT system_identifier::text, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int \
               FROM pg_control_system()";
    let row = connection.query_one(sql, &[]).await.map_err(StoreError::doing(connection, doing))?;
    let read = || Ok(Identity { system: row.try_get(0)?, timeline: row.try_get(1)? });
    read().map_err(StoreError::doing(connection, doing))
}

/// The marker on this side; `None`: there is none, or no schema. Waits for a former holder's transaction on the row to end,
/// so that what it says stays true.
pub async fn read(connection: &Connection) -> Result<Option<Marker>, StoreError> {
    let doing = "reading the marker";
    let sql = "SELECT snapshot, system_identifier, timeline, applied_total, superseded_total, discarded_total \
               FROM pgduet.applied FOR UPDATE";
    let row = unless_absent(connection.query_opt(sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    let Some(row) = row.flatten() else { return Ok(None) };
    let count = |i: usize| row.try_get::<_, i64>(i).map(|n| n.max(0) as u64);
    let read = || {
        let totals = Totals { applied: count(3)?, superseded: count(4)?, discarded: count(5)? };
        let identity = Identity { system: row.try_get(1)?, timeline: row.try_get(2)? };
        Ok((row.try_get::<_, String>(0)?, identity, totals))
    };
    let (text, identity, totals) = read().map_err(StoreError::doing(connection, doing))?;
    let snapshot = text.parse().map_err(|e| StoreError::unreadable(connection, doing, e))?;
    Ok(Some(Marker { snapshot, identity, totals }))
}

/// The marker's snapshot as it can be seen now, without waiting for anybody. It may yet be lost: see [`flush`].
pub async fn peek(connection: &Connection) -> Result<Option<Snapshot>, StoreError> {
    let doing = "reading the marker";
    let row = unless_absent(connection.query_opt("SELECT snapshot FROM pgduet.applied", &[]).await)
        .map_err(StoreError::doing(connection, doing))?;
    let text = row.flatten().map(|row| row.try_get::<_, String>(0)).transpose();
    let text = text.map_err(StoreError::doing(connection, doing))?;
    text.map(|text| text.parse().map_err(|e| StoreError::unreadable(connection, doing, e))).transpose()
}

/// Makes durable whatever was committed on this side before.
pub async fn flush(connection: &Connection) -> Result<(), StoreError> {
    connection
        .batch_execute("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'pgduet', '')")
        .await
        .map_err(StoreError::doing(connection, "flushing"))
}

/// Sets the marker of a link that begins anew. The totals of a former link are kept, `discarded` touches are added.
pub async fn reset(
    connection: &Connection,
    snapshot: &Snapshot,
    identity: &Identity,
    discarded: u64,
) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO pgduet.applied AS a (snapshot, system_identifier, timeline, discarded_total) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (only_row) DO UPDATE SET snapshot = excluded.snapshot, timeline = excluded.timeline, \
               system_identifier = excluded.system_identifier, discarded_total = a.discarded_total + excluded.discarded_total",
            &[&snapshot.to_string(), &identity.system, &identity.timeline, &(discarded as i64)],
        )
        .await
        .map_err(StoreError::doing(connection, "setting the marker"))?;
    Ok(())
}
