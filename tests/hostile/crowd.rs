//! Many connections that say nothing.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::raw::Raw;
use crate::support::Duo;
use crate::witness::{Witness, descriptors};

const SOON: Duration = Duration::from_secs(60);
const MANY: usize = 10_000;
/// What one that has said nothing may cost, KiB.
const EACH: u64 = 6;
/// Clients that have logged in, and what one of them may cost, KiB: bench/memory.py says what it is.
const IDLE: u64 = 200;
const EACH_IDLE: u64 = 24;

/// As many as this machine lets one process open, up to [`MANY`].
fn many() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum;
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    raised.expect("a process may use its own limit");
    // The proxy keeps some of its own for those who are served: 3 for each, and a few.
    let most = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX).saturating_sub(1_500);
    if most < MANY {
        eprintln!("NOTE: only {most} connections: the limit on open files is {limit:?}");
    }
    most.min(MANY)
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out() {
    let mut duo = Duo::start("");
    let settings = "clients: { auth: trust, max_connections: 300 }\ntimeouts: { startup: 5m }\n";
    duo.proxy.configure(&format!("{}{settings}", duo.proxy.between(&duo.old, &duo.new))).expect("a configuration");
    duo.proxy.kill();
    duo.proxy.start_again().expect("the proxy");
    let witness = Witness::of(&duo);
    let (pid, many) = (duo.proxy.pid().expect("the proxy runs"), many());
    let before = descriptors(pid);
    let silent: Vec<TcpStream> =
        (0..many).map(|_| TcpStream::connect(("127.0.0.1", duo.proxy.port)).expect("a connection")).collect();
    // Whoever looked at it before may be closing still.
    duo.eventually("all are accepted", SOON, || descriptors(pid) >= many);
    witness.expect(&format!("{many} silent connections"), &mut duo, EACH * many as u64);
    let served: Vec<Raw> = (0..50).map(|_| Raw::started(duo.proxy.port)).collect();
    drop(served);
    drop(silent);
    duo.eventually("their descriptors are given back", SOON, || descriptors(pid) <= before + 4);
    witness.expect_all_gone(&duo);
}

#[test]
fn a_crowd_in_its_start_up_waits_and_leaves_room_for_those_who_are_served() {
    let mut duo = Duo::start("timeouts: { startup: 2s }");
    let mut served = Raw::started(duo.proxy.port);
    let pid = duo.proxy.pid().expect("the proxy runs");
    let _silent: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(("127.0.0.1", duo.proxy.port)).expect("a connection")).collect();
    served.query("SELECT 1");
    served.until(crate::raw::READY);
    // Whoever comes behind the crowd is served once it has been sent away.
    assert_eq!(duo.sql("SELECT 1"), "1");
    duo.eventually("the crowd is sent away", SOON, || descriptors(pid) < 100);
    assert!(duo.proxy.is_running());
}

#[test]
fn the_admin_port_outlives_those_who_never_finish_a_request() {
    let duo = Duo::start("");
    let config = format!(
        "listen: 127.0.0.1:{}\nadmin: {{ listen: \"{}\", max_connections: 8, request_timeout: 1s }}\nclients: {{ auth: trust }}\n\
         backends:\n  old: {{ url: \"{}\" }}\n  new: {{ url: \"{}\" }}\n",
        duo.proxy.port,
        duo.admin().address,
        duo.old.url("pgduet", "app"),
        duo.new.url("pgduet", "app")
    );
    duo.proxy.configure(&config).expect("a configuration");
    let mut duo = duo;
    duo.proxy.kill();
    duo.proxy.start_again().expect("the proxy");
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut slow = TcpStream::connect(duo.admin().address).expect("a connection");
            std::io::Write::write_all(&mut slow, b"GET /readyz HTTP/1.1\r\nHost: loc").expect("a part of a request");
            slow
        })
        .collect();
    let answer = duo.admin().call("GET", "/readyz", "").expect("an answer behind those who are slow");
    assert_eq!(answer.status, 200);
    drop(slow);
    assert_eq!(duo.sql("SELECT 1"), "1");
}

#[test]
fn an_idle_client_costs_little() {
    let mut duo = Duo::start("");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let witness = Witness::of(&duo);
        let clients: Vec<Raw> = (0..IDLE).map(|_| Raw::started(duo.proxy.port)).collect();
        witness.expect(&format!("{IDLE} idle clients, {phase}"), &mut duo, EACH_IDLE * IDLE);
        drop(clients);
        witness.expect_all_gone(&duo);
    }
}
