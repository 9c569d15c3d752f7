//! The metrics: all that are promised are there, all that are there are documented, and nothing names one that is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Duo;

/// Names that dashboards, alerts and outside checks rely on, with the labels that each has.
const PROMISED: &[(&str, &[&str])] = &[
    ("pgduet_clients", &[]),
    ("pgduet_statements_total", &["kind", "side"]),
    ("pgduet_statement_seconds", &["kind", "side"]),
    ("pgduet_reads_total", &["side", "reason"]),
    ("pgduet_captured_total", &[]),
    ("pgduet_applied_total", &[]),
    ("pgduet_superseded_total", &[]),
    ("pgduet_discarded_total", &[]),
    ("pgduet_parked_total", &[]),
    ("pgduet_uncaptured_total", &[]),
    ("pgduet_bypassed_total", &["table"]),
    ("pgduet_link_lag_entries", &[]),
    ("pgduet_link_lag_seconds", &[]),
    ("pgduet_link_state", &["state"]),
    ("pgduet_ack_wait_seconds", &[]),
    ("pgduet_shadow_total", &["outcome"]),
    ("pgduet_backfill_rows_total", &["table"]),
    ("pgduet_verify_rows_total", &["table"]),
    ("pgduet_findings", &["table"]),
    ("pgduet_errors_total", &["kind", "blame"]),
    ("pgduet_phase", &["phase"]),
    ("pgduet_read_percent", &[]),
    ("pgduet_spans_total", &["outcome"]),
    ("pgduet_epoch", &[]),
    ("pgduet_journal_bytes", &[]),
    ("pgduet_backend_connections", &["side", "state"]),
    ("pgduet_build_info", &["version"]),
];
/// There only once something has happened: a finding, a job.
const SOMETIMES: [&str; 4] =
    ["pgduet_bypassed_total", "pgduet_findings", "pgduet_backfill_rows_total", "pgduet_verify_rows_total"];

fn scrape(duo: &Duo) -> String {
    duo.admin().call("GET", "/metrics", "").expect("the metrics").body
}

/// The names of `# TYPE` lines.
fn types(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn all_that_is_promised_is_there_and_it_adds_up() {
    let duo =
        Duo::start_with("CREATE TABLE note (id integer PRIMARY KEY, n integer)", "shadow: { sample_percent: 100 }");
    duo.dual_write();
    duo.sql(
        "INSERT INTO note SELECT g, 0 FROM generate_series(1, 20) g; UPDATE note SET n = n + 1; SELECT * FROM note",
    );
    duo.barrier();
    let text = scrape(&duo);
    let there = types(&text);
    for (name, labels) in PROMISED {
        assert!(there.contains(*name), "{name} has no TYPE line\n{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name}_bucket{{")));
        match line {
            Some(line) => {
                labels.iter().for_each(|label| assert!(line.contains(&format!("{label}=\"")), "{line} lacks {label}"))
            }
            None => assert!(labels.is_empty() || SOMETIMES.contains(name), "{name} has no sample with {labels:?}"),
        }
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{name}\n{text}"))
    };
    assert!(value("pgduet_captured_total") >= 40.0, "{text}");
    let parts = ["applied_total", "superseded_total", "link_lag_entries", "parked_total", "discarded_total"];
    let sum: f64 = parts.iter().map(|part| value(&format!("pgduet_{part}"))).sum();
    assert!((value("pgduet_captured_total") - sum).abs() < 0.5, "{text}");
    duo.eventually("the journal's size is known", std::time::Duration::from_secs(20), || {
        scrape(&duo).lines().any(|line| line.strip_prefix("pgduet_journal_bytes ").is_some_and(|n| n != "0"))
    });
    let (documented, there) = (documented(), types(&scrape(&duo)));
    assert_eq!(there.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in docs/metrics.md");
    for file in ["docker/grafana/dashboards/pgduet.json", "docker/prometheus/rules.yml"] {
        let unknown: Vec<String> = names(file).into_iter().filter(|name| !there.contains(base(name, &there))).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which is not there");
    }
}

/// A histogram's series without what its kind adds to the name.
fn base<'n>(name: &'n str, there: &BTreeSet<String>) -> &'n str {
    let ends = ["_bucket", "_sum", "_count"];
    let bare = ends.iter().find_map(|end| name.strip_suffix(end)).filter(|bare| there.contains(*bare));
    bare.unwrap_or(name)
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every metric that a file names.
fn names(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file(name)).expect(name);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("pgduet_")).map(str::to_owned).collect()
}

/// The names at the beginning of the reference's lines.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(file("docs/metrics.md")).expect("docs/metrics.md");
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `pgduet_"));
    lines.filter_map(|line| line.split(['`', '{']).next()).map(|name| format!("pgduet_{name}")).collect()
}

#[test]
fn prometheus_itself_takes_the_rules() {
    let done = Command::new("promtool").args(["check", "rules"]).arg(file("docker/prometheus/rules.yml")).output();
    match done {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) if std::env::var_os("PGDUET_REQUIRE_PROMTOOL").is_some() => panic!("there is no promtool"),
        Err(_) => eprintln!("SKIPPED: there is no promtool; on Debian: apt-get install prometheus"),
    }
    let dashboard = std::fs::read_to_string(file("docker/grafana/dashboards/pgduet.json")).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}
