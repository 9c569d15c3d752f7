//! What a statement's trace consists of.

use std::time::Duration;

use super::collector::{Collector, Mood};
use super::otlp::Span;
use super::support::{Duo, client};

const LIMIT: Duration = Duration::from_secs(20);
const SCHEMA: &str = "CREATE TABLE account (id bigint PRIMARY KEY, balance numeric, word text); \
    INSERT INTO account SELECT g, 100, 'w' FROM generate_series(1, 100) g";

/// The statement's span, by its operation; there is one.
fn statement(spans: &[Span], name: &str) -> Span {
    let found: Vec<&Span> = spans.iter().filter(|s| s.kind == 2 && s.name == name).collect();
    assert_eq!(found.len(), 1, "{name} among {spans:#?}");
    found[0].clone()
}

fn children<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a Span> {
    let mut found: Vec<&Span> = spans.iter().filter(|s| s.trace == of.trace && s.parent == of.id).collect();
    found.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    found
}

fn names(spans: &[&Span]) -> Vec<String> {
    spans.iter().map(|span| span.name.clone()).collect()
}

/// Waits until a span of that name has come, and returns all.
fn until(duo: &Duo, collector: &Collector, name: &str) -> Vec<Span> {
    duo.eventually(name, LIMIT, || collector.look(|kept| kept.spans.iter().any(|s| s.name == name)));
    collector.spans()
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("/*application='shop',traceparent='00-{trace}-00f067aa0ba902b7-{flags}'*/")
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_write_is_one_trace_with_its_backend_its_wait_and_the_cycle_that_brought_it() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start_with(SCHEMA, &collector.settings("sample_percent: 0"));
    duo.dual_write();
    duo.sql(&format!(
        "UPDATE account SET balance = 4711, word = 'geheim' WHERE id = 815 {}",
        traceparent("11111111111111111111111111111111", "00")
    ));
    duo.sql(&format!("UPDATE account SET balance = 4711, word = 'geheim' WHERE id = 42 {}", traceparent(TRACE, "01")));
    until(&duo, &collector, "cycle");
    let spans = until(&duo, &collector, "ack");
    let update = statement(&spans, "UPDATE account");
    assert_eq!((update.trace.as_str(), update.parent.as_str()), (TRACE, "00f067aa0ba902b7"), "the application's");
    assert_eq!(update.get("db.system.name"), "postgresql");
    assert_eq!((update.get("db.operation.name"), update.get("db.collection.name")), ("UPDATE", "account"));
    assert_eq!((update.get("pgduet.phase"), update.get("pgduet.kind")), ("dual_write", "write"));
    assert_eq!((update.get("pgduet.capture"), update.get("pgduet.side"), update.status), ("returning", "old", 0));
    let inside = children(&spans, &update);
    let mut parts = names(&inside);
    parts.sort();
    assert_eq!(parts, ["ack", "link", "old: UPDATE account"]);
    let part = |name: &str| inside.iter().find(|s| s.name == name).expect("a part");
    let (backend, ack, link) = (part("old: UPDATE account"), part("ack"), part("link"));
    assert_eq!((backend.kind, backend.get("server.port")), (3, duo.old.port().to_string().as_str()));
    assert!(backend.end <= ack.end && ack.end <= update.end && ack.start >= backend.start, "{spans:#?}");
    let cycle = spans.iter().find(|s| s.name == "cycle").expect("the cycle");
    assert_eq!(cycle.links, [(update.trace.clone(), update.id.clone())], "it leads to what it brought");
    assert_eq!(link.links, [(cycle.trace.clone(), cycle.id.clone())], "and the statement's part leads to it");
    assert_eq!(cycle.get("server.port"), duo.new.port().to_string());
    assert_eq!((cycle.get("pgduet.cycle.applied"), link.get("pgduet.cycle")), ("1", cycle.get("pgduet.cycle")));
    assert!(spans.iter().all(|s| s.trace == TRACE || s.trace == cycle.trace), "what is not sampled is not sent");
    collector.look(|kept| {
        assert_eq!(kept.resource.get("service.name").map(String::as_str), Some("pgduet"));
        for body in &kept.bodies {
            let text = String::from_utf8_lossy(body);
            assert!(!text.contains("geheim") && !text.contains("4711"), "a value was sent: {text}");
        }
    });
}

#[test]
fn a_read_names_the_side_that_answered_and_its_comparison() {
    let collector = Collector::start(Mood::Takes);
    let settings = collector.settings("sample_percent: 100, service_name: shop-db");
    let duo = Duo::start_with(SCHEMA, &format!("{settings}\nshadow: {{ sample_percent: 100 }}"));
    duo.dual_write();
    duo.read_percent(100.0);
    duo.sql("SELECT balance FROM account WHERE id = 42");
    let spans = until(&duo, &collector, "shadow");
    let read = statement(&spans, "SELECT account");
    assert_eq!((read.parent.as_str(), read.get("pgduet.reason")), ("", "bucket_open"));
    assert!(read.get("pgduet.bucket").parse::<u16>().is_ok_and(|bucket| bucket < 10_000));
    assert!(read.get("db.query.text").contains("where id = ?"), "{read:?}");
    let inside = children(&spans, &read);
    assert_eq!(names(&inside), ["new: SELECT account", "shadow"]);
    assert_eq!((inside[1].get("pgduet.side"), inside[1].get("pgduet.outcome")), ("old", "matched"));
    assert_eq!(inside[0].get("pgduet.role"), "secondary");
    collector.look(|kept| assert_eq!(kept.resource.get("service.name").map(String::as_str), Some("shop-db")));
}

#[test]
fn a_read_that_falls_back_is_one_statement_and_two_backends() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start_with(SCHEMA, &collector.settings("sample_percent: 100"));
    duo.dual_write();
    duo.read_percent(100.0);
    duo.new.sql("app", "REVOKE SELECT ON account FROM app; ALTER TABLE account OWNER TO postgres").expect("no right");
    assert_eq!(duo.sql("SELECT balance FROM account WHERE id = 42"), "100");
    let spans = until(&duo, &collector, "SELECT account");
    let read = statement(&spans, "SELECT account");
    assert_eq!((read.status, read.get("pgduet.side"), read.get("pgduet.reason")), (0, "old", "fallback"));
    let inside = children(&spans, &read);
    assert_eq!(names(&inside), ["new: SELECT account", "old: SELECT account"]);
    assert_eq!((inside[0].status, inside[0].get("db.response.status_code")), (2, "42501"));
    assert_eq!((inside[1].status, inside[1].get("error.type")), (0, ""));
}

#[test]
fn a_statement_that_fails_says_how_and_not_with_what() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start_with(SCHEMA, &collector.settings("sample_percent: 100"));
    duo.dual_write();
    duo.try_sql("INSERT INTO account VALUES (1, 0, 'geheim')").expect_err("a duplicate");
    let spans = until(&duo, &collector, "INSERT account");
    let insert = statement(&spans, "INSERT account");
    assert_eq!((insert.status, insert.get("db.response.status_code")), (2, "23505"));
    assert_eq!(names(&children(&spans, &insert)), ["old: INSERT account"]);
    collector.look(|kept| assert!(kept.bodies.iter().all(|body| !String::from_utf8_lossy(body).contains("geheim"))));
}

#[test]
fn prepared_statements_are_traced_each_time_they_run() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start_with(SCHEMA, &collector.settings("sample_percent: 100"));
    duo.dual_write();
    client::block_on(async {
        let client = client::connect(duo.proxy.port).await;
        let read = client.prepare("SELECT word FROM account WHERE id = $1").await.expect("prepared");
        for id in 1..=5i64 {
            client.query(&read, &[&id]).await.expect("an answer");
        }
        let tagged = format!("DELETE FROM account WHERE id = $1 {}", traceparent(TRACE, "01"));
        client.execute(tagged.as_str(), &[&7i64]).await.expect("deleted");
    });
    let runs = |spans: &[Span]| spans.iter().filter(|s| s.kind == 2 && s.name == "SELECT account").count();
    duo.eventually("five runs", LIMIT, || collector.look(|kept| runs(&kept.spans) == 5));
    let spans = until(&duo, &collector, "link");
    assert_eq!(runs(&spans), 5);
    let traces: std::collections::BTreeSet<_> = spans.iter().filter(|s| s.kind == 2).map(|s| &s.trace).collect();
    assert!(traces.len() >= 6, "one for each: {spans:#?}");
}

#[test]
fn a_phase_that_reads_nothing_has_traces_without_text() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start_with(SCHEMA, &collector.settings("sample_percent: 0"));
    duo.sql("SELECT 1");
    duo.sql(&format!("SELECT word FROM account WHERE id = 42 {}", traceparent(TRACE, "01")));
    let spans = until(&duo, &collector, "statement");
    let read = statement(&spans, "statement");
    assert_eq!((read.trace.as_str(), read.get("pgduet.phase"), read.get("pgduet.kind")), (TRACE, "old_only", "unread"));
    assert_eq!((names(&children(&spans, &read)), read.get("db.query.text")), (vec!["old: statement".to_owned()], ""));
    assert_eq!(spans.len(), 2);
}
