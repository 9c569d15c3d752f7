//! Two instances of the proxy on the same pair: one holds the link, the other one follows it, and takes it over.

mod support;

use std::path::Path;
use std::time::Duration;

use pgduet::demo::Failure;
use pgduet::demo::cluster::psql;
use pgduet::demo::pgbench::{Load, Protocol, Script};
use pgduet::demo::proxy::Proxy;
use support::client::{block_on, connect};
use support::{Duo, PROGRAM, fail};

const ACCOUNTS: &str = "CREATE TABLE accounts (id int PRIMARY KEY, v int)";
const LIMIT: Duration = Duration::from_secs(30);
const SETTINGS: &str = "mirror: { ack_timeout: 20s }";
const HELD: &str = "another instance holds the link";

/// The first instance, with the link, in its `Duo`; and the second one.
fn start() -> (Duo, Proxy) {
    let duo = Duo::start_with(ACCOUNTS, SETTINGS);
    duo.pgbench_tables(1);
    duo.dual_write();
    let second = start_second(&duo, SETTINGS);
    duo.eventually("the second one follows", LIMIT, || link(&second)["reason"] == HELD);
    (duo, second)
}

fn start_second(duo: &Duo, settings: &str) -> Proxy {
    let settings = format!("clients: {{ auth: trust }}\n{settings}");
    Proxy::start(Path::new(PROGRAM), &duo.old, &duo.new, &settings).unwrap_or_else(fail("the second"))
}

/// The epochs that the instances have announced, those behind first.
fn epochs(duo: &Duo) -> Vec<u64> {
    let answer = duo.admin().get("/api/instances").unwrap_or_else(fail("the instances"));
    answer["instances"].as_array().into_iter().flatten().filter_map(|i| i["epoch"].as_u64()).collect()
}

fn link(proxy: &Proxy) -> serde_json::Value {
    proxy.admin.status().map_or(serde_json::Value::Null, |mut status| status["link"].take())
}

fn sql(duo: &Duo, through: &Proxy, sql: &str) -> Result<String, Failure> {
    psql(&duo.binaries, &through.url("app", "app"), sql)
}

/// What `new` alone has.
fn on_new(duo: &Duo, sql: &str) -> String {
    duo.new.sql("app", sql).unwrap_or_else(fail("a query on new"))
}

/// Writes through an instance, one row after the other, and finds each on `new` as soon as it is acknowledged.
fn write_and_find(duo: &Duo, through: &Proxy, from: u32, rows: u32) {
    for id in from..from + rows {
        sql(duo, through, &format!("INSERT INTO accounts VALUES ({id}, 0)")).unwrap_or_else(fail("a write"));
        assert_eq!(on_new(duo, &format!("SELECT count(*) FROM accounts WHERE id = {id}")), "1", "{}", link(through));
    }
}

#[test]
fn what_an_instance_without_the_link_acknowledges_is_on_both() {
    let (duo, second) = start();
    write_and_find(&duo, &second, 0, 20);
    write_and_find(&duo, &duo.proxy, 100, 20);
    second.admin.barrier(LIMIT).unwrap_or_else(fail("a barrier at the second"));
    let status = link(&second);
    assert_eq!((status["state"].as_str(), status["lag_entries"].as_u64()), (Some("running"), Some(0)), "{status}");
    assert_eq!(status["captured_total"], status["applied_total"], "{status}");
    duo.expect_equal();
}

#[test]
fn a_session_reads_its_own_writes_on_new_through_an_instance_without_the_link() {
    let (duo, second) = start();
    duo.read_percent(100.0);
    duo.eventually("the second one knows", LIMIT, || second.admin.status().is_ok_and(|s| s["read_percent"] == 100.0));
    for id in 0..20 {
        let script = format!("INSERT INTO accounts VALUES ({id}, 7); SELECT 1; SELECT v FROM accounts WHERE id = {id}");
        let answer = sql(&duo, &second, &script.replace("; ", ";\n")).unwrap_or_else(fail("a session"));
        assert!(answer.ends_with('7'), "{answer}");
    }
    let read = |id: u32| sql(&duo, &second, &format!("SELECT v FROM accounts WHERE id = {id}"));
    (0..20).for_each(|id| assert_eq!(read(id).unwrap_or_else(fail("a read")), "7"));
    let reads = second.admin.status().unwrap_or_else(fail("the status"))["reads"].take();
    assert!(reads["new_total"].as_u64() >= Some(20), "{reads}");
}

#[test]
fn when_the_holder_dies_the_other_instance_takes_the_link_over() {
    let (mut duo, second) = start();
    let load = |port: u16| Load { port, ..duo.load(3, Protocol::Prepared, Script::TpcB) };
    let (on_first, on_second) = (duo.start_load(&load(duo.proxy.port)), duo.start_load(&load(second.port)));
    duo.eventually("both write", LIMIT, || link(&second)["applied_total"].as_u64() > Some(200));
    duo.proxy.kill();
    let report = on_second.finish().unwrap_or_else(fail("pgbench at the second"));
    duo.expect_clean(report);
    let _cut_off = on_first.finish();
    duo.eventually("the second one holds the link", LIMIT, || link(&second)["reason"] == "");
    write_and_find(&duo, &second, 0, 10);
    assert_eq!(link(&second)["state"], "running");
    second.admin.barrier(LIMIT).unwrap_or_else(fail("a barrier at the second"));
    duo.expect_equal_now();
    assert!(!second.log_tail().contains("the link is degraded"), "{}", second.log_tail());
    duo.proxy.start_again().unwrap_or_else(fail("the first again"));
    duo.eventually("the first one follows", LIMIT, || link(&duo.proxy)["reason"] == HELD);
    write_and_find(&duo, &duo.proxy, 100, 10);
}

#[test]
fn a_link_that_is_paused_is_carried_on_by_nobody() {
    let (duo, second) = start();
    duo.admin().post("/api/link/pause").unwrap_or_else(fail("a pause"));
    duo.sql("INSERT INTO accounts VALUES (1, 1)");
    assert!(second.admin.barrier(Duration::from_secs(1)).is_err(), "somebody carried it");
    assert_eq!(
        (link(&second)["reason"].as_str(), on_new(&duo, "SELECT count(*) FROM accounts")),
        (Some(HELD), "0".into())
    );
    duo.admin().post("/api/link/resume").unwrap_or_else(fail("a resumption"));
    duo.expect_equal();
}

#[test]
fn a_change_of_phase_waits_for_the_transactions_of_every_instance() {
    let settings = "timeouts: { phase_change: 3s }";
    let duo = Duo::start_with(ACCOUNTS, settings);
    let second = start_second(&duo, settings);
    duo.eventually("both are announced", LIMIT, || epochs(&duo) == [0, 0]);
    block_on(async {
        let elder = connect(second.port).await;
        elder.batch_execute("BEGIN; INSERT INTO accounts VALUES (1, 1)").await.expect("a transaction of old_only");
        let refused = duo.admin().phase("dual_write").expect_err("the elder is still there").to_string();
        assert!(refused.contains("instances_follow") && refused.contains(&second.port.to_string()), "{refused}");
        assert_eq!(epochs(&duo), [0, 1], "the second one has an elder transaction, the first one none");
        elder.batch_execute("ROLLBACK").await.expect("its end");
    });
    duo.eventually("the second one has followed", LIMIT, || epochs(&duo) == [1, 1]);
    write_and_find(&duo, &second, 10, 5);
}

#[test]
fn once_a_change_of_phase_is_done_no_instance_writes_uncaptured() {
    let duo = Duo::start_with(ACCOUNTS, SETTINGS);
    let second = start_second(&duo, SETTINGS);
    for round in 0..5 {
        duo.dual_write();
        write_and_find(&duo, &second, round, 1);
        duo.phase("old_only");
        assert_eq!(second.admin.status().unwrap_or_else(fail("the status"))["phase"], "old_only");
    }
}

#[test]
fn an_instance_that_starts_or_ends_is_announced_or_is_not() {
    let duo = Duo::start_with(ACCOUNTS, SETTINGS);
    duo.dual_write();
    let mut second = start_second(&duo, SETTINGS);
    duo.eventually("both are in force", LIMIT, || epochs(&duo) == [1, 1]);
    let shown =
        psql(&duo.binaries, &duo.proxy.url("app", "pgduet"), "SHOW INSTANCES").unwrap_or_else(fail("a console"));
    assert_eq!(shown.lines().filter(|line| line.contains("127.0.0.1|1|")).count(), 2, "{shown}");
    second.kill();
    duo.eventually("the dead one is gone", LIMIT, || epochs(&duo) == [1]);
    duo.phase("old_only");
}
