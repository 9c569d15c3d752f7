//! The durable policy: one row, changed by compare-and-swap on its epoch, with a line of history in the same transaction.

use serde_json::{Value, json};

use super::{StoreError, unless_absent};
use crate::backend::control::Connection;
use crate::routing::{Ack, Percent, Phase};

/// The channel that a change of policy is notified on; the payload is the epoch.
pub const CHANNEL: &str = "pgduet_policy";

/// What the operator decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub phase: Phase,
    pub read_percent: Percent,
    pub ack: Ack,
    pub shadow_sample: Percent,
}

impl Settings {
    /// As it stands in the history.
    pub fn to_json(self) -> Value {
        json!({
            "phase": self.phase,
            "read_percent": self.read_percent,
            "ack": self.ack,
            "shadow_sample_percent": self.shadow_sample,
        })
    }
}

/// The row of `pgduet.control`.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    pub settings: Settings,
    /// Counts changes; the first is 1.
    pub epoch: u64,
    /// ISO 8601, UTC.
    pub updated_at: String,
    pub updated_by: String,
}

/// One change, on its way into the database.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    pub settings: Settings,
    /// Who asked for it.
    pub by: &'a str,
    /// What its gates said, and whether it was forced.
    pub evidence: &'a Value,
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Swapped {
    Done(Control),
    /// Somebody else was first: this is what stands there now.
    Conflict(Option<Control>),
}

const COLUMNS: &str = "phase, read_percent, ack, shadow_sample_percent, epoch, \
    to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), updated_by";

/// The durable policy of this side; `None` before a first change, or before `init`.
pub async fn read(connection: &Connection) -> Result<Option<Control>, StoreError> {
    let doing = "reading pgduet.control";
    let sql = format!("SELECT {COLUMNS} FROM pgduet.control");
    let row = unless_absent(connection.query_opt(&sql, &[]).await).map_err(StoreError::doing(connection, doing))?;
    row.flatten().map(|row| from_row(&row).map_err(|e| StoreError::unreadable(connection, doing, e))).transpose()
}

/// The names of this database's prepared transactions.
pub async fn prepared_transactions(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let doing = "reading pg_prepared_xacts";
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 100";
    let rows = connection.query(sql, &[]).await.map_err(StoreError::doing(connection, doing))?;
    let gids: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
    gids.map_err(StoreError::doing(connection, doing))
}

/// Changes the policy if its epoch still is `expected` (0: there is none yet), writes the history and notifies
/// [`CHANNEL`], all in one transaction.
pub async fn swap(connection: &Connection, expected: u64, change: &Change<'_>) -> Result<Swapped, StoreError> {
    let doing = "changing pgduet.control";
    let settings = &change.settings;
    let sql = format!(
        "WITH former AS (SELECT * FROM pgduet.control), \
         changed AS ( \
           INSERT INTO pgduet.control AS c (phase, read_percent, ack, shadow_sample_percent, epoch, updated_by) \
           SELECT $1, $2, $3, $4, 1, $5 WHERE $6::bigint = 0 OR EXISTS (SELECT 1 FROM former) \
           ON CONFLICT (only_row) DO UPDATE SET phase = excluded.phase, read_percent = excluded.read_percent, \
             ack = excluded.ack, shadow_sample_percent = excluded.shadow_sample_percent, epoch = c.epoch + 1, \
             updated_at = now(), updated_by = excluded.updated_by WHERE c.epoch = $6 \
           RETURNING *), \
         noted AS ( \
           INSERT INTO pgduet.history (epoch, by, former, latter, evidence) \
           SELECT changed.epoch, $5, (SELECT jsonb_build_object('phase', f.phase, 'read_percent', f.read_percent / 100.0, \
               'ack', f.ack, 'shadow_sample_percent', f.shadow_sample_percent / 100.0) FROM former f), \
             $7::text::jsonb, $8::text::jsonb FROM changed), \
         told AS (SELECT pg_notify('{CHANNEL}', epoch::text) FROM changed) \
         SELECT {COLUMNS}, (SELECT count(*) FROM told) FROM changed"
    );
    let epoch = expected as i64;
    let (latter, evidence) = (settings.to_json().to_string(), change.evidence.to_string());
    let row = connection
        .query_opt(
            &sql,
            &[
                &settings.phase.as_str(),
                &i32::from(settings.read_percent.hundredths()),
                &settings.ack.as_str(),
                &i32::from(settings.shadow_sample.hundredths()),
                &change.by,
                &epoch,
                &latter,
                &evidence,
            ],
        )
        .await
        .map_err(StoreError::doing(connection, doing))?;
    match row {
        Some(row) => Ok(Swapped::Done(from_row(&row).map_err(|e| StoreError::unreadable(connection, doing, e))?)),
        None => Ok(Swapped::Conflict(read(connection).await?)),
    }
}

/// Writes the primary's policy to the other side as it is, unless a later one stands there.
pub async fn copy_to(connection: &Connection, control: &Control) -> Result<(), StoreError> {
    let settings = &control.settings;
    connection
        .execute(
            "INSERT INTO pgduet.control AS c (phase, read_percent, ack, shadow_sample_percent, epoch, updated_at, updated_by) \
             VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7) \
             ON CONFLICT (only_row) DO UPDATE SET phase = excluded.phase, read_percent = excluded.read_percent, \
               ack = excluded.ack, shadow_sample_percent = excluded.shadow_sample_percent, epoch = excluded.epoch, \
               updated_at = excluded.updated_at, updated_by = excluded.updated_by WHERE c.epoch < excluded.epoch",
            &[
                &settings.phase.as_str(),
                &i32::from(settings.read_percent.hundredths()),
                &settings.ack.as_str(),
                &i32::from(settings.shadow_sample.hundredths()),
                &(control.epoch as i64),
                &control.updated_at,
                &control.updated_by,
            ],
        )
        .await
        .map_err(StoreError::doing(connection, "copying pgduet.control"))?;
    Ok(())
}

/// One line of the history, as it is served.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct HistoryLine {
    pub epoch: u64,
    /// ISO 8601, UTC.
    pub at: String,
    pub by: String,
    /// `null` for the first change.
    pub from: Value,
    pub to: Value,
    pub evidence: Value,
}

/// The latest changes, newest first; nothing before `init`.
pub async fn history(connection: &Connection, limit: i64) -> Result<Vec<HistoryLine>, StoreError> {
    let sql = "SELECT epoch, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), by, former::text, latter::text, evidence::text \
               FROM pgduet.history ORDER BY id DESC LIMIT $1";
    let doing = "reading pgduet.history";
    let rows = unless_absent(connection.query(sql, &[&limit]).await).map_err(StoreError::doing(connection, doing))?;
    let json = |text: Option<String>| text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or(Value::Null);
    let line = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(HistoryLine {
            epoch: row.try_get::<_, i64>(0)? as u64,
            at: row.try_get(1)?,
            by: row.try_get(2)?,
            from: json(row.try_get(3)?),
            to: json(row.try_get(4)?),
            evidence: json(row.try_get(5)?),
        })
    };
    rows.unwrap_or_default().iter().map(line).collect::<Result<_, _>>().map_err(StoreError::doing(connection, doing))
}

fn from_row(row: &tokio_postgres::Row) -> Result<Control, String> {
    let text = |i: usize| row.try_get::<_, String>(i).map_err(|e| e.to_string());
    let percent = |i: usize| {
        let hundredths = row.try_get::<_, i32>(i).map_err(|e| e.to_string())?;
        u16::try_from(hundredths).map(Percent::from_hundredths).map_err(|e| e.to_string())
    };
    let ack = match text(2)?.as_str() {
        "both" => Ack::Both,
        "primary" => Ack::Primary,
        other => return Err(format!("\"{other}\" is no ack")),
    };
    let settings = Settings { phase: text(0)?.parse()?, read_percent: percent(1)?, ack, shadow_sample: percent(3)? };
    let epoch = row.try_get::<_, i64>(4).map_err(|e| e.to_string())? as u64;
    Ok(Control { settings, epoch, updated_at: text(5)?, updated_by: text(6)? })
}
