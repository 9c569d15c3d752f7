//! Cancel requests: they reach the statement that they mean, and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgduet::demo::cluster::{Cluster, psql};
use pgduet::demo::process::wait_for;
use tokio_postgres::NoTls;

use crate::support::Duo;
use crate::support::client::{block_on, connect};
use crate::{clients, shared};

const LIMIT: Duration = Duration::from_secs(60);
/// What a statement that is to be cancelled would take otherwise.
const LONG: &str = "SELECT pg_sleep(120)";

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

const SLEEPS: &str = "wait_event = 'PgSleep'";

/// Waits until so many statements of that kind run on a server.
fn wait_until_it_runs(cluster: &Cluster, which: &str, count: u32) {
    wait_for(LIMIT, || runs(cluster, which, count)).expect("the statement runs");
}

fn runs(cluster: &Cluster, which: &str, count: u32) -> Option<()> {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND {which}");
    (cluster.sql("app", &sql).expect("pg_stat_activity") == count.to_string()).then_some(())
}

/// The same, with the client's own task going on meanwhile.
async fn until_it_runs(cluster: &Cluster, which: &str, count: u32) {
    let begun = Instant::now();
    while runs(cluster, which, count).is_none() {
        assert!(begun.elapsed() < LIMIT, "the statement does not run");
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_cancel_request_ends_its_own_statement_and_no_other() {
    let duo = Duo::start("");
    block_on(async {
        let (meant, other) = (connect(duo.proxy.port).await, connect(duo.proxy.port).await);
        let cancel = meant.cancel_token();
        let [meant, other] = [meant, other].map(|client| {
            tokio::spawn(async move {
                let outcome = client.batch_execute(LONG).await;
                (outcome.map_err(|e| code(&e)), client)
            })
        });
        until_it_runs(&duo.old, SLEEPS, 2).await;
        cancel.cancel_query(NoTls).await.expect("a cancel request");
        let (outcome, client) = meant.await.expect("a task");
        assert_eq!(outcome, Err("57014".into()));
        client.batch_execute("SELECT 1").await.expect("the session goes on");
        assert!(!other.is_finished());
        other.abort();
    });
}

#[test]
fn a_cancel_request_reaches_the_secondary_where_the_statement_runs_there() {
    let duo = Duo::start("reads: { percent: 100 }");
    duo.dual_write();
    duo.read_percent(100.0);
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let cancel = client.cancel_token();
        // A read that takes long without a function that may write.
        let read = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000) b WHERE a + b < 0";
        let running = tokio::spawn(async move { client.batch_execute(read).await.map_err(|e| code(&e)) });
        until_it_runs(&duo.new, "query LIKE 'SELECT count(*) FROM generate%'", 1).await;
        cancel.cancel_query(NoTls).await.expect("a cancel request");
        assert_eq!(running.await.expect("a task"), Err("57014".into()));
    });
}

fn cancel_packet(pid: i32, secret: &[u8]) -> Vec<u8> {
    let mut packet = (12 + secret.len() as u32).to_be_bytes().to_vec();
    packet.extend(80_877_102_u32.to_be_bytes());
    packet.extend(pid.to_be_bytes());
    packet.extend(secret);
    packet
}

/// Sends a cancel request, and returns what comes back: nothing, ever.
fn cancel_with(port: u16, pid: i32, secret: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket.write_all(&cancel_packet(pid, secret)).expect("a request");
    let mut answer = vec![];
    let _ = socket.read_to_end(&mut answer);
    answer
}

/// A client in raw bytes, with its key.
struct Raw<S = TcpStream> {
    socket: S,
    pid: i32,
    secret: Vec<u8>,
}

impl Raw {
    fn start(port: u16) -> Raw {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Raw::on(socket)
    }
}

impl<S: Read + Write> Raw<S> {
    fn on(mut socket: S) -> Raw<S> {
        socket.write_all(b"\0\0\0\x1f\0\x03\0\0user\0app\0database\0app\0\0").expect("a start-up");
        let mut raw = Raw { socket, pid: 0, secret: vec![] };
        for (tag, body) in raw.until_ready() {
            if tag == b'K' {
                raw.pid = i32::from_be_bytes(body[..4].try_into().expect("a pid"));
                raw.secret = body[4..].to_vec();
            }
        }
        raw
    }

    fn send(&mut self, sql: &str) {
        let mut frame = vec![b'Q'];
        frame.extend((sql.len() as u32 + 5).to_be_bytes());
        frame.extend(sql.as_bytes());
        frame.push(0);
        self.socket.write_all(&frame).expect("a query");
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.socket.read_exact(&mut header).expect("a header");
        let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes"));
        let mut body = vec![0; length as usize - 4];
        self.socket.read_exact(&mut body).expect("a body");
        (header[0], body)
    }

    fn until_ready(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut all = vec![];
        loop {
            let (tag, body) = self.next();
            all.push((tag, body));
            if tag == b'Z' {
                return all;
            }
        }
    }

    fn tags(&mut self) -> String {
        self.until_ready().iter().map(|(tag, _)| char::from(*tag)).collect()
    }
}

#[test]
fn a_key_that_is_not_the_sessions_own_cancels_nothing_and_is_not_answered() {
    let duo = Duo::start("");
    let mut client = Raw::start(duo.proxy.port);
    client.send("SELECT pg_sleep(1)");
    wait_until_it_runs(&duo.old, SLEEPS, 1);
    let secret = client.secret.clone();
    let flipped: Vec<u8> = secret.iter().map(|b| b ^ 1).collect();
    let longer = [&secret[..], &[0; 28]].concat();
    let wrong =
        [(client.pid, &flipped[..]), (client.pid + 1, &secret), (client.pid, &longer), (client.pid, &secret[..3])];
    for (pid, secret) in wrong {
        assert!(cancel_with(duo.proxy.port, pid, secret).is_empty());
    }
    assert!(cancel_with(duo.proxy.port, client.pid, &[]).is_empty());
    assert_eq!(client.tags(), "TDCZ");
    assert_ne!(client.secret, Raw::start(duo.proxy.port).secret);
}

#[test]
fn a_late_cancel_request_does_not_hit_the_next_statement() {
    let duo = Duo::start("");
    let mut client = Raw::start(duo.proxy.port);
    let (port, pid, secret) = (duo.proxy.port, client.pid, client.secret.clone());
    // Requests arrive at every moment of statements' lives; each is answered before the next statement is sent, so that none may
    // hit a statement that began later.
    for turn in 0..300 {
        client.send("SELECT 1");
        if turn % 2 == 0 {
            let answer = client.tags();
            assert_eq!(answer, "TDCZ", "turn {turn}");
        }
        assert!(cancel_with(port, pid, &secret).is_empty());
        if turn % 2 == 1 {
            let answer = client.tags();
            assert!(["TDCZ", "EZ", "TEZ"].contains(&answer.as_str()), "turn {turn}: {answer}");
        }
        client.send("SELECT 2");
        assert_eq!(
            client.tags(),
            "TDCZ",
            "turn {turn}: a statement was hit that began after the request had been acted on"
        );
    }
}

#[test]
fn a_commit_that_waits_for_the_secondary_is_let_go_with_a_warning_and_stands() {
    let duo = Duo::start_with(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "mirror: { ack: both, ack_timeout: 100s, on_secondary_failure: block }",
    );
    duo.dual_write();
    duo.sql("INSERT INTO t VALUES (1)");
    duo.admin().post("/api/link/pause").expect("the link is held");
    let mut client = Raw::start(duo.proxy.port);
    for (statements, rows) in
        [(&["INSERT INTO t VALUES (2)"][..], 2), (&["BEGIN", "INSERT INTO t VALUES (3)", "COMMIT"][..], 3)]
    {
        for (at, statement) in statements.iter().enumerate() {
            client.send(statement);
            if at + 1 < statements.len() {
                client.tags();
            }
        }
        wait_until_committed(&duo, rows);
        // Until the session waits, a request means nothing; ask again until it does.
        let begun = Instant::now();
        let (port, pid, secret) = (duo.proxy.port, client.pid, client.secret.clone());
        client.socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let mut peeked = [0];
        while client.socket.peek(&mut peeked).is_err() {
            assert!(begun.elapsed() < LIMIT, "the wait was not ended");
            cancel_with(port, pid, &secret);
        }
        client.socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let answer = client.until_ready();
        let tags: String = answer.iter().map(|(tag, _)| char::from(*tag)).collect();
        assert_eq!(tags, "NCZ");
        let warning = String::from_utf8_lossy(&answer[0].1).into_owned();
        assert!(warning.contains("WARNING") && warning.contains("already committed locally"), "{warning}");
        assert_eq!(answer.last().expect("ready").1, b"I");
    }
    assert_eq!(psql(&duo.binaries, &duo.old.url("app", "app"), "SELECT count(*) FROM t").expect("a count"), "3");
    duo.admin().post("/api/link/resume").expect("the link goes on");
    duo.expect_equal();
}

fn wait_until_committed(duo: &Duo, rows: u32) {
    let counted = || duo.old.sql("app", "SELECT count(*) FROM t").expect("a count") == rows.to_string();
    duo.eventually("the row is committed on old", LIMIT, counted);
}

#[test]
fn an_encrypted_cancel_request_is_as_good_as_one_in_clear() {
    let proxy = clients::start_trusting("require");
    let encrypted = || clients::direct(&proxy, &[b"postgresql"]).expect("a connection");
    let mut client = Raw::on(encrypted());
    client.send(LONG);
    let which = format!("{SLEEPS} AND query = '{LONG}'");
    wait_until_it_runs(&shared().old, &which, 1);
    let mut cancel = encrypted();
    cancel.write_all(&cancel_packet(client.pid, &client.secret)).expect("a request");
    let mut answer = vec![];
    // Without TLS's own goodbye the end would be an error.
    assert_eq!(cancel.read_to_end(&mut answer).map_err(|e| e.to_string()), Ok(0));
    assert!(["EZ", "TEZ"].contains(&client.tags().as_str()));
}
