//! A reader that is slow stops the sender, whichever of them is the client, and the proxy's memory does not grow meanwhile.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::front;
use super::support::client::read_some;
use super::support::{Duo, fail};

/// What one session may cost beside what the process has anyway, MiB: buffers of both directions, many times over.
const BOUND: u64 = 24;
const LIMIT: Duration = Duration::from_secs(60);

fn started(duo: &Duo) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", duo.proxy.port)).expect("a connection");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let parameters = [("user", "app"), ("database", "app"), ("application_name", "slow")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    socket.write_all(&front::startup((3, 0), &parameters)).expect("the start-up");
    read_until(&mut socket, b"Z\0\0\0\x05I");
    socket
}

fn read_until(socket: &mut TcpStream, end: &[u8]) -> usize {
    let (mut read, mut last, mut buffer) = (0, vec![], vec![0; 1 << 20]);
    while !last.ends_with(end) {
        let n = read_some(socket, &mut buffer).expect("an answer");
        assert!(n > 0, "closed");
        read += n;
        last.extend_from_slice(&buffer[..n]);
        let long = last.len().saturating_sub(end.len());
        last.drain(..long);
    }
    read
}

/// Resident memory of the proxy, MiB.
fn resident(duo: &Duo) -> u64 {
    let pid = duo.proxy.pid().expect("a running proxy");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    kib / 1024
}

#[test]
fn a_client_that_does_not_read_stops_the_server() {
    let duo = Duo::start_with(super::SCHEMA, "");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let mut socket = started(&duo);
        let before = resident(&duo);
        // A thousand rows of a million bytes each.
        socket
            .write_all(&front::encode("Query SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"))
            .expect("a query");
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'slow' AND wait_event = 'ClientWrite'";
        duo.eventually("the server waits", LIMIT, || duo.old.sql("postgres", waits).is_ok_and(|n| n == "1"));
        let grown = resident(&duo).saturating_sub(before);
        assert!(grown <= BOUND, "{phase}: {grown} MiB for a client that does not read");
        let read = read_until(&mut socket, b"Z\0\0\0\x05I");
        assert!(read > 1_000_000_000, "{read} bytes");
        let grown = resident(&duo).saturating_sub(before);
        assert!(grown <= BOUND, "{phase}: {grown} MiB after a gigabyte has passed");
        println!("{phase}: {read} bytes have passed, {grown} MiB more than before");
    }
}

#[test]
fn a_server_that_does_not_read_stops_the_client() {
    let duo = Duo::start_with(super::SCHEMA, "");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let mut locker = started(&duo);
        locker.write_all(&front::encode("Query BEGIN; LOCK TABLE copied")).expect("a lock");
        read_until(&mut locker, b"Z\0\0\0\x05T");
        let mut socket = started(&duo);
        let before = resident(&duo);
        socket.write_all(&front::encode("Query COPY copied FROM STDIN")).expect("a COPY");
        socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let line = front::encode("CopyData $long(60000)\\n");
        let mut sent = 0_usize;
        // Until nothing more is taken.
        let end = loop {
            match socket.write(&line) {
                Ok(n) => sent += n,
                Err(e) => break e,
            }
            assert!(sent < 200_000_000, "{phase}: {sent} bytes were taken for a server that does not read");
        };
        assert!(matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{end}");
        let grown = resident(&duo).saturating_sub(before);
        assert!(grown <= BOUND, "{phase}: {grown} MiB for a server that does not read");
        println!("{phase}: {sent} bytes were taken, {grown} MiB more than before");
        drop(socket);
        locker.write_all(&front::encode("Query ROLLBACK")).expect("the end");
        read_until(&mut locker, b"Z\0\0\0\x05I");
    }
    duo.old.sql("app", "SELECT 1").map(drop).unwrap_or_else(fail("the server"));
}
