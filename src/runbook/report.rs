//! What an operator may ask: status, tables, routes.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use serde_json::{Value, json};

use super::gates::Gate;
use super::{Conductor, Trouble};
use crate::link::ledger::LinkReport;
use crate::routing::{self, Percent, Phase, Policy, Why};
use crate::side::Side;
use crate::sql::{Capture, capture, scan};
use crate::store::control::{HistoryLine, Settings, history};
use crate::store::tables::{self, TableState};

/// The policy, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyView {
    pub phase: Phase,
    pub primary: Side,
    pub read_percent: Percent,
    pub ack: routing::Ack,
    pub shadow_sample_percent: Percent,
    pub epoch: u64,
    pub rules: crate::config::Rules,
    /// For a dry run: what the gates say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<Vec<Gate>>,
}

impl PolicyView {
    fn new(policy: &Policy) -> Self {
        PolicyView {
            phase: policy.phase,
            primary: policy.primary(),
            read_percent: policy.read_percent,
            ack: policy.ack,
            shadow_sample_percent: policy.shadow_sample,
            epoch: policy.epoch,
            rules: (*policy.rules).clone(),
            gates: None,
        }
    }

    pub(super) fn dry_run(policy: &Policy, wanted: Settings, gates: Vec<Gate>) -> Self {
        PolicyView {
            phase: wanted.phase,
            primary: wanted.phase.primary(),
            read_percent: wanted.read_percent,
            ack: wanted.ack,
            shadow_sample_percent: wanted.shadow_sample,
            gates: Some(gates),
            ..PolicyView::new(policy)
        }
    }
}

/// `GET /api/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub phase: Phase,
    pub primary: Side,
    pub read_percent: Percent,
    pub epoch: u64,
    pub ack: routing::Ack,
    pub shadow_sample_percent: Percent,
    pub link: Value,
    pub reads: Value,
    pub shadow: Value,
    pub alerts: Vec<super::Alert>,
    pub uncaptured_total: u64,
    pub uncaptured: Vec<crate::session::Uncaptured>,
    /// Tables that somebody writes to without the proxy, as far as this instance has seen.
    pub bypassed: Vec<crate::link::Bypassed>,
    pub clients: usize,
    pub version: &'static str,
}

/// One table, for `GET /api/tables`.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    pub table: String,
    pub mirrored: bool,
    /// How writes to it are captured, or why they cannot be.
    pub capture: String,
    /// The sync state; `null` before the table was ever followed.
    pub state: Option<&'static str>,
    pub since: Option<String>,
    pub evidence: Value,
}

impl Conductor {
    pub fn view(&self) -> PolicyView {
        PolicyView::new(&self.policy())
    }

    pub fn status(&self) -> Status {
        let policy = self.policy();
        let report = self.context.ledger.report();
        let tally = &self.context.tally;
        let sum = |why: Why| Side::BOTH.into_iter().map(|side| tally.reads(side, why)).sum::<u64>();
        Status {
            phase: policy.phase,
            primary: policy.primary(),
            read_percent: policy.read_percent,
            epoch: policy.epoch,
            ack: policy.ack,
            shadow_sample_percent: policy.shadow_sample,
            link: link_json(&report),
            reads: json!({
                "old_total": tally.reads_on(Side::Old), "new_total": tally.reads_on(Side::New),
                "fallback_total": sum(Why::Fallback), "stale_total": sum(Why::Stale),
                "withdrawn": self.context.withdrawal.reason().map(|r| r.as_str()),
            }),
            shadow: self.shadow_json(),
            alerts: self.alerts(),
            uncaptured_total: tally.uncaptured.load(Relaxed),
            uncaptured: self.context.uncaptured(),
            bypassed: self.link.bypassed(),
            clients: self.context.registry.clients(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The durable history, newest first; empty before a first change.
    pub async fn history(&self, limit: i64) -> Result<Vec<HistoryLine>, Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        Ok(history(&connection, limit).await?)
    }

    /// Bytes that the journal takes on the primary's disk; `None` before `init`.
    pub async fn journal_bytes(&self) -> Result<Option<u64>, Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        Ok(crate::store::journal::size_bytes(&connection).await?)
    }

    /// Entries that the secondary refuses for good, oldest first.
    pub async fn parked(&self, limit: i64) -> Result<Vec<crate::store::parked::Parked>, Trouble> {
        let connection = self.connect(self.policy().primary()).await?;
        Ok(crate::store::parked::list(&connection, limit).await?)
    }

    pub async fn tables(&self) -> Result<Vec<TableReport>, Trouble> {
        let policy = self.policy();
        let connection = self.connect(policy.primary()).await?;
        let states = tables::read_all(&connection).await?;
        let catalog = match policy.phase.captures() {
            true => policy.catalog.clone(),
            false => self.read_schemas().await?.catalogs,
        };
        let tables = catalog.get(policy.primary()).tables();
        let mut reports: Vec<_> = tables.iter().map(|table| table_report(table, &states)).collect();
        reports.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(reports)
    }
}

impl Conductor {
    fn shadow_json(&self) -> Value {
        let mut totals = json!(self.findings.totals());
        let over_budget = totals["over_budget_total"].as_u64().unwrap_or_default();
        totals["dropped_total"] = json!(self.context.samples.dropped.load(Relaxed) + over_budget);
        totals
    }
}

fn link_json(report: &LinkReport) -> Value {
    let counts = &report.counts;
    json!({
        "state": report.state, "reason": report.reason,
        "lag_entries": report.lag_entries, "lag_seconds": report.lag_seconds, "cycle": report.cycle,
        "captured_total": counts.captured, "applied_total": counts.applied, "superseded_total": counts.superseded,
        "parked_total": counts.parked, "discarded_total": counts.discarded, "queued": counts.queued,
    })
}

fn table_report(table: &crate::catalog::Table, states: &[TableState]) -> TableReport {
    let state = states.iter().find(|s| s.schema == table.schema && s.name == table.name);
    TableReport {
        table: table.display_name(),
        mirrored: table.mirrored,
        capture: capture_of(table),
        state: state.map(|s| s.state.as_str()),
        since: state.map(|s| s.since.clone()),
        evidence: state.map_or(Value::Null, |s| s.evidence.clone()),
    }
}

/// What an INSERT into it would be captured by.
fn capture_of(table: &crate::catalog::Table) -> String {
    match (table.by_trigger, table.key.is_empty()) {
        (true, false) => return "trigger: key".into(),
        (true, true) => return "trigger: whole row (no key)".into(),
        (false, _) => {}
    }
    match capture_by("insert into t select", table) {
        Some(Capture::Keys) => "returning: key".into(),
        Some(Capture::Row) => "returning: whole row (no key)".into(),
        Some(Capture::Impossible(reason)) => format!("none: {reason}"),
        Some(Capture::Table) | None => "returning: table".into(),
    }
}

/// How a write, whatever table its text names, would be captured on this one.
pub fn capture_by(sql: &str, table: &crate::catalog::Table) -> Option<Capture> {
    let dml = scan(sql.as_bytes()).statements.into_iter().next()?.dml.into_iter().next()?;
    Some(capture(&dml, table))
}
