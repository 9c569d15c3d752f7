//! The table of statements across restarts: loaded once, saved every so often, by adding.

use std::sync::Arc;

use super::{Conductor, Trouble};
use crate::shadow::{Counts, Entry, Spread, Tallied, Unsaved};
use crate::side::BySide;
use crate::sql::Fingerprint;
use crate::store::statements::{self, Row};

impl Conductor {
    /// Loads the table, and saves it until the process ends. Where pgduet is not installed nothing is kept.
    pub async fn keep_statements(self: Arc<Self>) {
        let mut loaded = false;
        loop {
            if self.policy().epoch > 0 {
                let done = async {
                    if !loaded {
                        self.load_statements().await?;
                        loaded = true;
                    }
                    self.save_statements().await
                };
                if let Err(error) = done.await {
                    tracing::warn!(%error, "the table of statements could not be kept; it is tried again");
                }
            }
            tokio::select! {
                () = self.context.shutdown.begun() => return,
                () = tokio::time::sleep(self.context.config.shadow.save) => {}
            }
        }
    }

    async fn load_statements(&self) -> Result<(), Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        let rows = statements::read(&connection, self.kept()).await?;
        self.findings.load(rows.into_iter().filter_map(entry).collect());
        Ok(())
    }

    /// Saves what was counted since the last time.
    pub async fn save_statements(&self) -> Result<(), Trouble> {
        let unsaved = self.findings.take_unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        let saved = self.add_statements(&unsaved).await;
        if saved.is_err() {
            self.findings.give_back(unsaved);
        }
        saved
    }

    async fn add_statements(&self, unsaved: &[Unsaved]) -> Result<(), Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        let rows: Vec<Row> = unsaved.iter().map(row).collect();
        Ok(statements::add(&connection, &rows, self.kept()).await?)
    }

    fn kept(&self) -> i64 {
        self.context.config.shadow.max_findings as i64
    }
}

fn row(unsaved: &Unsaved) -> Row {
    let Unsaved { fingerprint, entry } = unsaved;
    Row {
        fingerprint: fingerprint.to_string(),
        statement: entry.statement.clone(),
        tables: entry.tables.clone(),
        counts: entry.unsaved.counts.to_array().to_vec(),
        spread_old: entry.unsaved.took.old.counts(),
        spread_new: entry.unsaved.took.new.counts(),
        first_seen: entry.first_seen,
        last_seen: entry.last_seen,
        last_mismatch: entry.last_mismatch.as_ref().map(ToString::to_string),
    }
}

fn entry(row: Row) -> Option<(Fingerprint, Entry)> {
    let fingerprint = u128::from_str_radix(&row.fingerprint, 16).ok().map(Fingerprint)?;
    let took = BySide { old: Spread::from_counts(&row.spread_old), new: Spread::from_counts(&row.spread_new) };
    let total = Tallied { counts: Counts::from_slice(&row.counts), took };
    let entry = Entry {
        total,
        last_seen: row.last_seen,
        last_mismatch: row.last_mismatch.and_then(|text| serde_json::from_str(&text).ok()),
        ..Entry::new(row.statement, row.tables, row.first_seen)
    };
    Some((fingerprint, entry))
}
