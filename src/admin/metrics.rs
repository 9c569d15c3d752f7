//! The metrics, all in one place: names, help, and where each figure comes from. They are read when they are asked for, the touches' figures
//! in one reading, so that `captured = applied + superseded + queued + parked + discarded` can be checked on every scrape.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::link::ledger::LinkState;
use crate::routing::{Phase, Why};
use crate::runbook::Conductor;
use crate::session::tally::{Class, LATENCY_BOUNDS, Latency, Tally};
use crate::side::Side;

/// The process's own registry, asked one scrape at a time.
pub struct Metrics {
    recorder: Mutex<PrometheusRecorder>,
    handle: PrometheusHandle,
    journal_bytes: AtomicU64,
}

/// Between two measurements of the journal.
const MEASURE: Duration = Duration::from_secs(10);

impl Metrics {
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, describe);
        Metrics { recorder: Mutex::new(recorder), handle, journal_bytes: AtomicU64::new(0) }
    }

    /// Measures what has to be asked of a database, for as long as the process lives: a scrape must not wait for one.
    pub async fn measure(&self, conductor: &Conductor) {
        loop {
            if conductor.policy().epoch > 0
                && let Ok(Ok(bytes)) = tokio::time::timeout(MEASURE, conductor.journal_bytes()).await
            {
                self.journal_bytes.store(bytes.unwrap_or(0), Relaxed);
            }
            tokio::time::sleep(MEASURE).await;
        }
    }

    pub fn render(&self, conductor: &Conductor) -> String {
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        ::metrics::with_local_recorder(&*recorder, || {
            set(conductor);
            gauge!("pgduet_journal_bytes").set(self.journal_bytes.load(Relaxed) as f64);
        });
        let mut text = self.handle.render();
        histograms(&mut text, &conductor.context.tally);
        absent(&mut text);
        text
    }
}

fn describe() {
    describe_gauge!("pgduet_clients", "Clients that are connected.");
    describe_counter!("pgduet_statements_total", "Answers sent, by kind of request and side.");
    describe_counter!("pgduet_reads_total", "Reads, by the side that answered and the reason why it did.");
    describe_counter!("pgduet_captured_total", "Touches committed on the primary, as the sessions counted them.");
    describe_counter!("pgduet_applied_total", "Touches carried to the secondary.");
    describe_counter!("pgduet_superseded_total", "Touches coalesced with another one of the same key.");
    describe_counter!("pgduet_discarded_total", "Touches that were given up.");
    describe_gauge!("pgduet_parked_total", "Touches that the secondary refuses for good, waiting for the operator.");
    describe_counter!(
        "pgduet_uncaptured_total",
        "Statements that may have changed a mirrored table and were not captured."
    );
    describe_counter!(
        "pgduet_bypassed_total",
        "Transactions that wrote to a mirrored table without the proxy, as far as they were seen, by table."
    );
    describe_gauge!("pgduet_link_lag_entries", "Touches committed on the primary and not yet on the secondary.");
    describe_gauge!("pgduet_link_lag_seconds", "Age of the state that the secondary shows, while it is behind.");
    describe_gauge!("pgduet_link_state", "1 for the state that the link is in.");
    describe_counter!("pgduet_shadow_total", "Shadow reads, by outcome.");
    describe_gauge!("pgduet_findings", "Reads with confirmed differences, by the tables that they name.");
    describe_counter!("pgduet_errors_total", "Errors, by kind and by who is to blame.");
    describe_gauge!("pgduet_phase", "1 for the phase in force.");
    describe_gauge!("pgduet_read_percent", "Share of the buckets whose reads go to new, percent.");
    describe_gauge!(
        "pgduet_reads_withdrawn",
        "1 while no read goes to the secondary because it is down or too far behind."
    );
    describe_gauge!("pgduet_alert", "1 while the threshold of that name is crossed.");
    describe_gauge!("pgduet_journal_bytes", "Bytes that the journal takes on the primary's disk, with indexes.");
    describe_gauge!("pgduet_backend_connections", "Connections that clients' sessions hold, by side.");
    describe_gauge!("pgduet_epoch", "Durable changes of policy so far.");
    describe_counter!("pgduet_spans_total", "Spans of traces, by what became of them.");
    describe_gauge!("pgduet_build_info", "1, with the version.");
}

fn set(conductor: &Conductor) {
    let context = &conductor.context;
    let policy = conductor.policy();
    let report = context.ledger.report();
    let counts = report.counts;
    gauge!("pgduet_clients").set(context.registry.clients() as f64);
    counter!("pgduet_captured_total").absolute(counts.captured);
    counter!("pgduet_applied_total").absolute(counts.applied);
    counter!("pgduet_superseded_total").absolute(counts.superseded);
    counter!("pgduet_discarded_total").absolute(counts.discarded);
    gauge!("pgduet_parked_total").set(counts.parked as f64);
    gauge!("pgduet_link_lag_entries").set(report.lag_entries as f64);
    gauge!("pgduet_link_lag_seconds").set(report.lag_seconds);
    for state in LinkState::ALL {
        gauge!("pgduet_link_state", "state" => state.as_str()).set(f64::from(u8::from(state == report.state)));
    }
    for phase in Phase::ALL {
        gauge!("pgduet_phase", "phase" => phase.as_str()).set(f64::from(u8::from(phase == policy.phase)));
    }
    gauge!("pgduet_read_percent").set(policy.read_percent.to_f64());
    for name in ["mismatch_percent", "error_percent", "latency_ratio", "lag"] {
        let raised = conductor.alerts().iter().any(|alert| alert.name == name);
        gauge!("pgduet_alert", "name" => name).set(f64::from(u8::from(raised)));
    }
    let withdrawn = context.withdrawal.reason().is_some();
    gauge!("pgduet_reads_withdrawn").set(f64::from(u8::from(withdrawn)));
    gauge!("pgduet_epoch").set(policy.epoch as f64);
    gauge!("pgduet_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for bypassed in conductor.link.bypassed() {
        counter!("pgduet_bypassed_total", "table" => bypassed.table).absolute(bypassed.transactions);
    }
    let spans = context.tracer.counts();
    for (outcome, total) in [("sent", spans.sent), ("dropped", spans.dropped), ("failed", spans.failed)] {
        counter!("pgduet_spans_total", "outcome" => outcome).absolute(total);
    }
    set_tally(&context.tally);
    set_shadow(conductor);
}

fn set_tally(tally: &Tally) {
    counter!("pgduet_uncaptured_total").absolute(tally.uncaptured.load(Relaxed));
    for side in Side::BOTH {
        for why in Why::ALL {
            counter!("pgduet_reads_total", "side" => side.as_str(), "reason" => why.as_str())
                .absolute(tally.reads(side, why));
        }
        for class in Class::ALL {
            let (buckets, _) = tally.latency(class, side).read();
            counter!("pgduet_statements_total", "kind" => class.as_str(), "side" => side.as_str())
                .absolute(buckets.iter().sum());
        }
        gauge!("pgduet_backend_connections", "side" => side.as_str(), "state" => "session")
            .set(tally.connections(side) as f64);
        counter!("pgduet_errors_total", "kind" => "backend", "blame" => side.as_str())
            .absolute(tally.backend_errors_on(side));
    }
    counter!("pgduet_errors_total", "kind" => "protocol", "blame" => "client")
        .absolute(tally.client_errors.load(Relaxed));
}

fn set_shadow(conductor: &Conductor) {
    let totals = conductor.findings.totals();
    let outcomes = [
        ("matched", totals.matched_total),
        ("mismatched", totals.mismatched_total),
        ("raced", totals.raced_total),
        ("inconclusive", totals.inconclusive_total),
        ("failed", totals.failed_total),
        ("dropped", conductor.context.samples.dropped.load(Relaxed) + totals.over_budget_total),
    ];
    for (outcome, total) in outcomes {
        counter!("pgduet_shadow_total", "outcome" => outcome).absolute(total);
    }
    let mut by_tables: BTreeMap<String, u64> = BTreeMap::new();
    for finding in conductor.findings.findings() {
        *by_tables.entry(finding.tables.join(",")).or_default() += finding.mismatched;
    }
    for (tables, mismatched) in by_tables {
        gauge!("pgduet_findings", "table" => tables).set(mismatched as f64);
    }
}

/// Fixed buckets, written as they are: the sessions count into them without a lock.
fn histograms(text: &mut String, tally: &Tally) {
    head(text, "pgduet_statement_seconds", "From a request's arrival to the end of its answer, by kind and side.");
    for class in Class::ALL {
        for side in Side::BOTH {
            let labels = format!("kind=\"{}\",side=\"{}\"", class.as_str(), side);
            histogram(text, "pgduet_statement_seconds", &labels, tally.latency(class, side));
        }
    }
    head(text, "pgduet_ack_wait_seconds", "How long commits waited for the secondary, with ack: both.");
    histogram(text, "pgduet_ack_wait_seconds", "", &tally.ack_wait);
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
}

/// Metrics that have no sample before something has happened are announced all the same, so that who looks for them finds the name.
fn absent(text: &mut String) {
    for (name, kind, help) in [
        ("pgduet_findings", "gauge", "Reads with confirmed differences, by the tables that they name."),
        (
            "pgduet_bypassed_total",
            "counter",
            "Transactions that wrote to a mirrored table without the proxy, as far as they were seen, by table.",
        ),
        ("pgduet_backfill_rows_total", "counter", "Rows that a backfill has copied, by table."),
        ("pgduet_verify_rows_total", "counter", "Rows that a verification has compared, by table."),
    ] {
        if !text.contains(&format!("# TYPE {name} ")) {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, latency: &Latency) {
    let (buckets, sum) = latency.read();
    let comma = if labels.is_empty() { "" } else { "," };
    let mut so_far = 0;
    for (at, count) in buckets.iter().enumerate() {
        so_far += count;
        let bound = LATENCY_BOUNDS.get(at).map_or("+Inf".to_owned(), |b| (*b as f64 / 1e6).to_string());
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {so_far}");
    }
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = write!(text, "{name}_sum{braces} {sum}\n{name}_count{braces} {so_far}\n");
}
