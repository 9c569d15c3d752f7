//! The rows of what `SHOW` shows, from the same reports as the HTTP calls.

use serde_json::Value;
use std::sync::atomic::Ordering::Relaxed;

use super::parse::Topic;
use crate::config;
use crate::routing::Why;
use crate::runbook::{Conductor, Trouble};
use crate::session::console::Cell;
use crate::shadow::Sort;
use crate::side::Side;
use crate::store::instances::Instance;

type Row = Vec<Cell>;

/// Lines of an answer that may be long.
const LIMIT: usize = 1000;

pub const HELP: &[(&str, &str)] = &[
    ("SHOW PHASE", "phase, primary, share of the reads, acknowledgement"),
    ("SHOW LINK", "state, lag, and what became of each captured touch"),
    ("SHOW READS", "reads by side and reason"),
    ("SHOW SHADOW", "comparisons by outcome"),
    ("SHOW FINDINGS", "statements that new answers differently, confirmed"),
    ("SHOW STATEMENTS", "calls, findings and latency by statement"),
    ("SHOW CLIENTS", "who is connected"),
    ("SHOW BACKENDS", "the two databases and their roles"),
    ("SHOW INSTANCES", "the instances of the proxy, and the policy that each has in force"),
    ("SHOW TABLES", "tables, their capture and sync state"),
    ("SHOW PARKED", "entries that the secondary refuses"),
    ("SHOW HISTORY", "every change of policy, by whom"),
    ("SHOW DOCTOR", "what stands in the way, with the fix; both databases are asked now"),
    ("SHOW CONFIG", "the configuration, without secrets"),
    ("SHOW VERSION", "pgduet's version"),
    ("SET read_percent = 25", "share of the keys that are read from new, 0 to 100"),
    (
        "SET phase = 'dual_write'",
        "a step forward or back; gates that fail are named. FORCE at the end overrides those that may be",
    ),
    ("SET ack = 'primary'", "when a commit is reported: both or primary"),
    ("SET shadow_sample_percent = 5", "share of the reads that are compared"),
    ("EXPLAIN SET phase = 'old_only'", "what the gates say, without doing it"),
    ("EXPLAIN ROUTE SELECT ...", "where a statement would go now, and why"),
    ("PAUSE", "hold the link: writes wait on the primary"),
    ("RESUME", "let the link go on"),
];

pub async fn rows(conductor: &Conductor, topic: Topic) -> Result<Vec<Row>, Trouble> {
    Ok(match topic {
        Topic::Help => HELP.iter().map(|&(command, does)| vec![command.into(), does.into()]).collect(),
        Topic::Phase => vec![phase(conductor)],
        Topic::Link => vec![link(conductor)],
        Topic::Reads => reads(conductor),
        Topic::Shadow => shadow(conductor),
        Topic::Findings => conductor.findings.findings().iter().take(LIMIT).map(finding).collect(),
        Topic::Statements => conductor.findings.statements(Sort::Calls, LIMIT).iter().map(statement).collect(),
        Topic::Clients => vec![clients(conductor)],
        Topic::Backends => Side::BOTH.into_iter().map(|side| backend(conductor, side)).collect(),
        Topic::Instances => conductor.instances().await?.into_iter().map(instance).collect(),
        Topic::Tables => conductor.tables().await?.into_iter().map(table).collect(),
        Topic::Parked => conductor.parked(LIMIT as i64).await?.into_iter().map(parked).collect(),
        Topic::History => conductor.history(LIMIT as i64).await?.into_iter().map(change).collect(),
        Topic::Doctor => remarks(&crate::admin::api::examine(conductor).await),
        Topic::Config => config(conductor),
        Topic::Version => vec![vec![version().into()]],
    })
}

pub fn version() -> String {
    format!("pgduet {}", env!("CARGO_PKG_VERSION"))
}

fn phase(conductor: &Conductor) -> Row {
    let policy = conductor.view();
    vec![
        policy.phase.as_str().into(),
        policy.primary.as_str().into(),
        policy.read_percent.to_f64().into(),
        policy.ack.as_str().into(),
        policy.shadow_sample_percent.to_f64().into(),
        policy.epoch.into(),
    ]
}

fn link(conductor: &Conductor) -> Row {
    let report = conductor.context.ledger.report();
    let counts = report.counts;
    vec![
        report.state.as_str().into(),
        report.reason.into(),
        report.lag_entries.into(),
        rounded(report.lag_seconds).into(),
        counts.captured.into(),
        counts.applied.into(),
        counts.superseded.into(),
        counts.queued.into(),
        counts.parked.into(),
        counts.discarded.into(),
        conductor.context.tally.uncaptured.load(Relaxed).into(),
    ]
}

fn reads(conductor: &Conductor) -> Vec<Row> {
    let tally = &conductor.context.tally;
    let each = Side::BOTH.into_iter().flat_map(|side| Why::ALL.into_iter().map(move |why| (side, why)));
    each.map(|(side, why)| (side, why, tally.reads(side, why)))
        .filter(|(.., count)| *count > 0)
        .map(|(side, why, count)| vec![side.as_str().into(), why.as_str().into(), count.into()])
        .collect()
}

/// The totals of `/api/status`, one line each.
fn shadow(conductor: &Conductor) -> Vec<Row> {
    let totals = conductor.status().shadow;
    let line = |(name, value): (&String, &Value)| -> Row {
        vec![name.trim_end_matches("_total").into(), value.as_u64().unwrap_or_default().into()]
    };
    totals.as_object().into_iter().flatten().map(line).collect()
}

fn finding(found: &crate::shadow::StatementReport) -> Row {
    let what = found.last_mismatch.as_ref().and_then(|last| last["what"].as_str()).unwrap_or_default();
    vec![
        found.fingerprint.as_str().into(),
        found.mismatched.into(),
        found.tables.join(", ").into(),
        what.into(),
        found.statement.as_str().into(),
    ]
}

fn statement(found: &crate::shadow::StatementReport) -> Row {
    vec![
        found.fingerprint.as_str().into(),
        found.calls.into(),
        found.compared.into(),
        found.mismatched.into(),
        found.errors_by_side.old.into(),
        found.errors_by_side.new.into(),
        rounded(found.p50_ms.old).into(),
        rounded(found.p50_ms.new).into(),
        rounded(found.p99_ms.old).into(),
        rounded(found.p99_ms.new).into(),
        found.statement.as_str().into(),
    ]
}

fn clients(conductor: &Conductor) -> Row {
    let context = &conductor.context;
    vec![
        context.registry.clients().into(),
        context.config.clients.max_connections.into(),
        context.guests.count().into(),
    ]
}

fn backend(conductor: &Conductor, side: Side) -> Row {
    let context = &conductor.context;
    let policy = conductor.policy();
    let address = context.addresses.get(side);
    let role = match () {
        () if policy.primary() == side => "primary",
        () if policy.phase.captures() => "secondary",
        () => "not in use",
    };
    let is_down = policy.primary() != side && context.withdrawal.reason().is_some();
    vec![
        side.as_str().into(),
        role.into(),
        address.endpoint.place.to_string().into(),
        address.database.as_str().into(),
        context.tally.reads_on(side).into(),
        context.tally.backend_errors_on(side).into(),
        (!is_down).into(),
    ]
}

fn instance(found: Instance) -> Row {
    let Instance { epoch, listens_on, address, pid, since } = found;
    vec![listens_on.into(), address.into(), epoch.into(), i64::from(pid).into(), since.into()]
}

fn table(found: crate::runbook::TableReport) -> Row {
    vec![found.table.into(), found.mirrored.into(), found.state.into(), found.since.into(), found.capture.into()]
}

fn parked(entry: crate::store::parked::Parked) -> Row {
    vec![
        entry.id.into(),
        entry.table.into(),
        entry.op.into(),
        entry.sqlstate.into(),
        entry.error.into(),
        entry.at.into(),
        entry.discarded_by.into(),
    ]
}

fn change(line: crate::store::control::HistoryLine) -> Row {
    let text = |value: &Value| if value.is_null() { Cell::Null } else { value.to_string().into() };
    let forced = line.evidence["forced"].as_bool().unwrap_or(false);
    vec![line.epoch.into(), line.at.into(), line.by.into(), text(&line.from), text(&line.to), forced.into()]
}

fn remarks(report: &crate::doctor::Report) -> Vec<Row> {
    let each = report.sections.iter().flat_map(|section| section.remarks.iter().map(move |r| (section.section, r)));
    let row = |(section, remark): (crate::doctor::Topic, &crate::doctor::Remark)| -> Row {
        vec![
            remark.severity.as_str().into(),
            section.as_str().into(),
            remark.side.map(Side::as_str).into(),
            remark.object.as_str().into(),
            remark.problem.as_str().into(),
            remark.fix.clone().into(),
            remark.sql.clone().into(),
        ]
    };
    each.map(row).collect()
}

fn config(conductor: &Conductor) -> Vec<Row> {
    let lines = config::effective(&conductor.context.config.source);
    lines.into_iter().map(|(key, value)| vec![key.into(), value.into()]).collect()
}

/// To a thousandth, so that columns stay narrow.
fn rounded(n: f64) -> f64 {
    (n * 1000.0).round() / 1000.0
}
