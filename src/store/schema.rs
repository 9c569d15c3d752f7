//! The schema `pgduet` itself: installed on both sides by `init` or the first change of phase, removed without a trace.

use super::StoreError;
use crate::backend::control::Connection;

/// The version this release installs. A later one found in a database is refused.
pub const VERSION: i32 = 4;

/// Tables and their upgrades, one step a version. Steps are never edited once released.
const STEPS: [&str; VERSION as usize] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// Functions are replaced at every installation: they hold no data.
const FUNCTIONS: &str = include_str!("functions.sql");

/// Two instances may install at the same moment: one waits for the other.
const LOCK: i64 = 0x7067_6475_6574_0002;

/// What stands in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    Absent,
    Version(i32),
}

/// Which version is installed.
pub async fn installed(connection: &Connection) -> Result<Installed, StoreError> {
    let doing = "looking for the schema pgduet";
    let exists = connection
        .query_one("SELECT to_regclass('pgduet.schema_version') IS NOT NULL", &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(StoreError::doing(connection, doing))?;
    if !exists {
        return Ok(Installed::Absent);
    }
    let row = connection
        .query_opt("SELECT version FROM pgduet.schema_version", &[])
        .await
        .map_err(StoreError::doing(connection, doing))?;
    let version = row.map(|row| row.try_get(0)).transpose().map_err(StoreError::doing(connection, doing))?;
    Ok(version.map_or(Installed::Absent, Installed::Version))
}

/// Installs the schema, or brings it to [`VERSION`]; idempotent, one transaction. Returns the version found before.
pub async fn install(connection: &Connection) -> Result<Installed, StoreError> {
    let result = install_in_transaction(connection).await;
    if result.is_err() {
        // The error that matters is the first one.
        let _ = connection.batch_execute("ROLLBACK").await;
    }
    result
}

async fn install_in_transaction(connection: &Connection) -> Result<Installed, StoreError> {
    let doing = "installing the schema pgduet";
    let run =
        |sql: String| async move { connection.batch_execute(&sql).await.map_err(StoreError::doing(connection, doing)) };
    run(format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let found = installed(connection).await?;
    let from = match found {
        Installed::Absent => 0,
        Installed::Version(version) if version > VERSION => {
            let problem = format!("version {version} is installed, this release knows up to {VERSION}");
            return Err(StoreError::unreadable(connection, doing, problem));
        }
        Installed::Version(version) => version,
    };
    if from == 0 {
        run("CREATE SCHEMA IF NOT EXISTS pgduet; REVOKE ALL ON SCHEMA pgduet FROM PUBLIC; \
             GRANT USAGE ON SCHEMA pgduet TO PUBLIC; \
             CREATE TABLE IF NOT EXISTS pgduet.schema_version (version int NOT NULL); \
             INSERT INTO pgduet.schema_version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM pgduet.schema_version)"
            .into())
        .await?;
    }
    for step in STEPS.iter().skip(from.max(0) as usize) {
        run((*step).to_string()).await?;
    }
    run(FUNCTIONS.into()).await?;
    run(format!("UPDATE pgduet.schema_version SET version = {VERSION}; COMMIT")).await?;
    Ok(found)
}

/// Removes every trace of pgduet from this side.
pub async fn uninstall(connection: &Connection) -> Result<(), StoreError> {
    let doing = "removing the schema pgduet";
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL client_min_messages = warning; \
         DROP SCHEMA IF EXISTS pgduet CASCADE; COMMIT"
    );
    let result = connection.batch_execute(&sql).await.map_err(StoreError::doing(connection, doing));
    if result.is_err() {
        let _ = connection.batch_execute("ROLLBACK").await;
    }
    result
}
