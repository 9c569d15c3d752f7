//! The end of the process: nobody is interrupted who can finish in time, everybody is told, and it does end.

use std::net::TcpStream;
use std::time::Duration;

use pgduet::demo::process::Signal;

use crate::raw::{IN_TRANSACTION, READY, Raw};
use crate::support::Duo;

const SOON: Duration = Duration::from_secs(20);
const GOODBYE: &str = "57P01";

#[test]
fn idle_clients_are_told_and_transactions_finish() {
    let mut duo = Duo::start_with("CREATE TABLE t (id int PRIMARY KEY)", "");
    duo.dual_write();
    let (mut idle, mut busy) = (Raw::started(duo.proxy.port), Raw::started(duo.proxy.port));
    busy.query("BEGIN; INSERT INTO t VALUES (1)");
    busy.until(IN_TRANSACTION);
    duo.proxy.signal(Signal::Term);

    assert!(idle.until_closed().contains(GOODBYE));
    let answer = duo.admin().call("GET", "/readyz", "").expect("the admin port");
    assert_eq!((answer.status, answer.body.trim()), (503, "draining"));
    let port = duo.proxy.port;
    duo.eventually("nobody is accepted any more", SOON, || TcpStream::connect(("127.0.0.1", port)).is_err());

    busy.query("INSERT INTO t VALUES (2)");
    busy.until(IN_TRANSACTION);
    busy.query("COMMIT");
    let last = busy.until_closed();
    assert!(last.contains("COMMIT") && last.contains(GOODBYE), "{last:?}");
    assert!(duo.proxy.ended().expect("an end").success());
    // With ack: both the commit was reported once the secondary had it.
    assert_eq!(duo.on_both("SELECT count(*) FROM t"), "2");
}

#[test]
fn whoever_has_not_finished_in_time_is_cut_off_with_a_word() {
    let mut duo = Duo::start_with("CREATE TABLE t (id int PRIMARY KEY)", "timeouts: { drain: 300ms }");
    let (mut open, mut running) = (Raw::started(duo.proxy.port), Raw::started(duo.proxy.port));
    open.query("BEGIN; INSERT INTO t VALUES (1)");
    open.until(IN_TRANSACTION);
    running.query("SELECT pg_sleep(600)");
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    duo.eventually("the statement runs", SOON, || duo.old.sql("app", sleeping).expect("a count") == "1");
    let status = duo.proxy.terminate().expect("an end");
    assert!(status.success(), "{status}");
    for client in [&mut open, &mut running] {
        let said = client.until_closed();
        assert!(said.contains(GOODBYE), "{said:?}");
    }
    // Neither the transaction nor the statement goes on without its client.
    duo.eventually("the statement has ended", SOON, || duo.old.sql("app", sleeping).expect("a count") == "0");
    assert_eq!(duo.old.sql("app", "SELECT count(*) FROM t").expect("a count"), "0");
}

#[test]
fn a_second_signal_waits_for_nobody() {
    for second in [Signal::Term, Signal::Int, Signal::Quit] {
        let mut duo = Duo::start("timeouts: { drain: 10m }");
        let (mut idle, mut open) = (Raw::started(duo.proxy.port), Raw::started(duo.proxy.port));
        open.query("BEGIN");
        open.until(IN_TRANSACTION);
        duo.proxy.signal(Signal::Int);
        idle.until_closed();
        assert!(duo.proxy.is_running(), "it did not wait for the transaction");
        duo.proxy.signal(second);
        assert!(duo.proxy.ended().expect("an end").success());
        assert!(open.until_closed().contains(GOODBYE));
    }
}

#[test]
fn load_balancers_hear_of_the_end_before_clients_do() {
    let mut duo = Duo::start("timeouts: { linger: 10m }");
    let mut idle = Raw::started(duo.proxy.port);
    duo.proxy.signal(Signal::Term);
    duo.eventually("it is not ready", SOON, || duo.admin().call("GET", "/readyz", "").is_ok_and(|a| a.status == 503));
    idle.query("SELECT 1");
    idle.until(READY);
    assert_eq!(duo.sql("SELECT 1"), "1", "a client that came late is served");
    duo.proxy.signal(Signal::Quit);
    assert!(idle.until_closed().contains(GOODBYE));
    assert!(duo.proxy.ended().expect("an end").success());
}

#[test]
fn whoever_has_said_nothing_yet_keeps_nobody_waiting() {
    let mut duo = Duo::start("timeouts: { startup: 10m, drain: 10m }");
    let mut silent: Vec<Raw> = (0..20).map(|_| Raw::connect(duo.proxy.port)).collect();
    silent[0].send(b"\0\0");
    assert_eq!(duo.sql("SELECT 1"), "1", "they have been accepted");
    assert!(duo.proxy.terminate().expect("an end").success());
    assert!(silent.iter_mut().all(|client| client.until_closed().is_empty()));
}
