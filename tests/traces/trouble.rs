//! A collector in trouble is nobody's trouble.

use std::time::Duration;

use pgduet::demo::pgbench::{Protocol, Script};
use pgduet::demo::process::Signal;

use super::collector::{Collector, Mood};
use super::support::{Duo, seconds};

const LIMIT: Duration = Duration::from_secs(20);

fn counted(duo: &Duo, outcome: &str) -> u64 {
    let metrics = duo.admin().call("GET", "/metrics", "").expect("the metrics").body;
    let name = format!("pgduet_spans_total{{outcome=\"{outcome}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric");
    value.parse().expect("a number")
}

fn reads(duo: &Duo) -> u64 {
    let load = duo.load(4, Protocol::Prepared, Script::SelectOnly);
    duo.run(&load).transactions
}

#[test]
fn a_collector_that_hangs_costs_traces_and_nothing_else() {
    let collector = Collector::start(Mood::Hangs);
    let duo = Duo::start(&collector.settings("sample_percent: 100, queue: 64, timeout: 500ms"));
    duo.pgbench_tables(1);
    duo.dual_write();
    let transactions = reads(&duo);
    duo.eventually("a request is given up", LIMIT, || counted(&duo, "failed") > 0);
    let (sent, dropped, failed) = (counted(&duo, "sent"), counted(&duo, "dropped"), counted(&duo, "failed"));
    assert_eq!(sent, 0);
    assert!(dropped > transactions, "{dropped} of two spans each of {transactions} reads, with room for 64");
    // One request at a time, of no more than the queue holds, each for half a second.
    let requests = 2 * (u64::from(seconds()) + LIMIT.as_secs());
    assert!(failed <= 64 * requests, "{failed} were tried");
}

#[test]
fn the_end_of_the_process_does_not_wait_for_a_collector_beyond_its_bound() {
    let collector = Collector::start(Mood::Hangs);
    let mut duo = Duo::start(&collector.settings("sample_percent: 100, timeout: 300ms"));
    duo.sql("SELECT 1");
    duo.proxy.signal(Signal::Term);
    assert!(duo.proxy.ended().expect("the end").success());
}

#[test]
fn what_still_waits_is_sent_at_the_end() {
    let collector = Collector::start(Mood::BusyOnce);
    let mut duo = Duo::start(&collector.settings("sample_percent: 100"));
    (0..20).for_each(|_| drop(duo.sql("SELECT 1")));
    assert!(duo.proxy.terminate().expect("the end").success());
    assert_eq!(collector.spans().iter().filter(|s| s.kind == 2).count(), 20, "a request that was refused is repeated");
    let (requests, connections) = collector.look(|kept| (kept.requests, kept.connections));
    assert!(requests >= 2 && connections == 1, "{requests} requests on {connections} connections");
}

#[test]
fn nothing_is_sent_at_zero_percent() {
    let collector = Collector::start(Mood::Takes);
    let mut duo = Duo::start(&collector.settings("sample_percent: 0"));
    duo.pgbench_tables(1);
    duo.dual_write();
    let writes = duo.load(4, Protocol::Extended, Script::TpcB);
    assert!(duo.run(&writes).transactions > 0 && reads(&duo) > 0);
    assert!(duo.proxy.terminate().expect("the end").success());
    assert_eq!(collector.look(|kept| (kept.requests, kept.connections)), (0, 0));
}

#[test]
fn many_commits_of_one_cycle_are_each_a_trace_of_their_own() {
    let collector = Collector::start(Mood::Takes);
    let duo = Duo::start(&collector.settings("sample_percent: 100, queue: 200000"));
    duo.pgbench_tables(1);
    duo.dual_write();
    let writes = duo.load(8, Protocol::Simple, Script::TpcB);
    let transactions = duo.run(&writes).transactions;
    duo.barrier();
    let commits = || collector.look(|kept| kept.spans.iter().filter(|s| s.name == "link").count() as u64);
    duo.eventually("each commit is brought", LIMIT, || commits() >= transactions);
    let spans = collector.spans();
    let ends: Vec<_> = spans.iter().filter(|s| s.kind == 2 && s.name == "END").collect();
    let traces: std::collections::BTreeSet<&str> = ends.iter().map(|s| s.trace.as_str()).collect();
    assert_eq!((ends.len() as u64, traces.len() as u64, commits()), (transactions, transactions, transactions));
    let linked: usize = spans.iter().filter(|s| s.name == "cycle").map(|s| s.links.len()).sum();
    assert_eq!(linked as u64, transactions, "every commit is linked once");
    assert_eq!(counted(&duo, "dropped"), 0);
}
