//! Whether the link was given up: a line on the primary that outlives a restart.

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;

/// Why the link was given up; `None`: it was not.
pub async fn read(connection: &Connection) -> Result<Option<String>, StoreError> {
    let doing = "reading pgduet.detached";
    let row = unless_absent(connection.query_opt("SELECT reason FROM pgduet.detached", &[]).await)
        .map_err(StoreError::doing(connection, doing))?;
    row.flatten().map(|row| row.try_get(0)).transpose().map_err(StoreError::doing(connection, doing))
}

/// Notes that the link is given up. The first reason stays.
pub async fn write(connection: &Connection, reason: &str) -> Result<(), StoreError> {
    connection
        .execute("INSERT INTO pgduet.detached (reason) VALUES ($1) ON CONFLICT DO NOTHING", &[&reason])
        .await
        .map(drop)
        .map_err(StoreError::doing(connection, "writing pgduet.detached"))
}

/// A link begins anew.
pub async fn clear(connection: &Connection) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM pgduet.detached", &[])
        .await
        .map(drop)
        .map_err(StoreError::doing(connection, "clearing pgduet.detached"))
}
