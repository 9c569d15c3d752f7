//! Whatever comes in, it is answered in Postgres's own form or refused on stderr, and the other clients are served.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use pgduet::demo::cluster::Stop;
use tokio_postgres::Config;

use support::client::{block_on, connect_with};
use support::{Duo, PROGRAM};

/// The SQLSTATE that a connection is refused with.
fn refusal(config: &Config) -> String {
    let error = match block_on(connect_with(config)) {
        Ok(_) => panic!("the connection was not refused"),
        Err(error) => error,
    };
    match error.code() {
        Some(code) => code.code().to_owned(),
        None => panic!("refused without an ErrorResponse: {error:?}"),
    }
}

fn client_of(duo: &Duo) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(duo.proxy.port).user("app").dbname("app").connect_timeout(Duration::from_secs(20));
    config
}

fn expect_served(duo: &mut Duo) {
    assert_eq!(duo.sql("SELECT 1"), "1");
    assert!(duo.proxy.is_running());
}

#[test]
fn an_unknown_database_is_refused_by_its_code() {
    let mut duo = Duo::start("");
    assert_eq!(refusal(client_of(&duo).dbname("elsewhere")), "3D000");
    expect_served(&mut duo);
}

#[test]
fn an_unreachable_backend_is_an_error_and_passes() {
    let mut duo = Duo::start("timeouts: { connect: 1s }");
    duo.old.stop(Stop::Fast);
    let code = refusal(&client_of(&duo));
    assert!(code.starts_with("08") || code.starts_with("57"), "refused with {code}");
    assert!(duo.proxy.is_running());
    duo.old.start_again().expect("the server again");
    duo.eventually("clients are served again", Duration::from_secs(20), || duo.try_sql("SELECT 1").is_ok());
}

#[test]
fn a_wrong_password_is_refused_and_the_right_one_admitted() {
    let mut duo = Duo::start("");
    duo.proxy.kill();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "secret").expect("a password");
    let users = format!("clients:\n  users: [{{ name: guarded, password_file: {} }}]\n", file.path().display());
    duo.proxy.configure(&format!("{}{users}", duo.proxy.between(&duo.old, &duo.new))).expect("a configuration");
    duo.proxy.start_again().expect("the proxy");
    let mut config = client_of(&duo);
    assert_eq!(refusal(config.user("guarded").password("wrong")), "28P01");
    assert_eq!(refusal(client_of(&duo).user("nobody").password("secret")), "28P01");
    let user = block_on(async {
        let client = connect_with(config.password("secret")).await.expect("the right password");
        client.query_one("SELECT current_user::text", &[]).await.expect("a row").get::<_, String>(0)
    });
    assert_eq!(user, "guarded");
    assert!(duo.proxy.is_running());
}

/// The status and stderr of a start with this configuration.
fn serve(yaml: &str) -> (Option<i32>, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("a configuration");
    let output = Command::new(PROGRAM).arg("serve").arg("--config").arg(file.path()).stdin(Stdio::null()).output();
    let output = output.expect("the proxy");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_bad_configuration_is_refused_with_its_key_and_line() {
    let cases = [
        ("listen: 127.0.0.1:6440\nmirror:\n  akk: both\n", "akk", "3"),
        ("listen: 127.0.0.1:6440\nmirror:\n  ack: perhaps\n", "mirror.ack", "3"),
        ("reads:\n  percent: 101\n", "reads.percent", "2"),
        ("listen: nowhere\n", "listen", "1"),
        ("listen: 127.0.0.1:6440\nnonsense: 1\n", "nonsense", "2"),
        ("timeouts:\n  connect: soon\n", "timeouts.connect", "2"),
    ];
    for (yaml, key, line) in cases {
        let (code, stderr) = serve(yaml);
        assert_eq!(code, Some(2), "{yaml}{stderr}");
        assert!(stderr.contains(key) && stderr.contains(line), "neither {key} nor line {line} in: {stderr}");
    }
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_line() {
    for (yaml, line) in [("listen: [1\nadmin: }\n", ""), ("a: b: c\n", "1"), ("listen:\n\t- x\n", "2"), ("\u{0}\n", "")]
    {
        let (code, stderr) = serve(yaml);
        assert_eq!(code, Some(2), "{yaml:?}: {stderr}");
        assert!(stderr.contains(line) && !stderr.contains("panicked"), "{yaml:?}: {stderr}");
    }
    let missing = Command::new(PROGRAM).args(["serve", "--config", "/nowhere/proxy.yaml"]).output().expect("the proxy");
    assert_eq!(missing.status.code(), Some(2));
}

/// A connection that gives up rather than hang a test.
fn socket(duo: &Duo) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", duo.proxy.port)).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket
}

/// Everything until the proxy closes the connection.
fn read_to_close(socket: &mut TcpStream) -> Vec<u8> {
    let mut answer = vec![];
    match socket.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => answer,
        Err(e) => panic!("the connection was not closed: {e}"),
    }
}

fn startup_message() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0app\0database\0app\0\0";
    frame(None, body)
}

fn frame(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short frame");
    let mut frame: Vec<u8> = kind.into_iter().collect();
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}

/// A client that has been told it may send statements.
fn started(duo: &Duo) -> TcpStream {
    let mut socket = socket(duo);
    socket.write_all(&startup_message()).expect("the start-up");
    let mut seen = vec![];
    let mut byte = [0];
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        socket.read_exact(&mut byte).expect("the answer to the start-up");
        seen.extend(byte);
    }
    socket
}

#[test]
fn a_start_up_that_is_none_ends_its_connection_alone() {
    let mut duo = Duo::start("timeouts: { startup: 2s }");
    let openings: Vec<Vec<u8>> = vec![
        vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        vec![0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 3, 1, 2, 3],
        frame(None, b"\0\x02\0\0user\0app\0\0"),
        frame(None, b"\0\x03\0\0user"),
        frame(None, b"\0\x03\0\0user\0app\0database"),
        frame(None, b"\0\x03\0\0"),
        frame(None, b"\x04\xd2\x16\x2e\0\0"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    for opening in openings {
        let mut socket = socket(&duo);
        socket.write_all(&opening).expect("the opening");
        let answer = read_to_close(&mut socket);
        assert!(answer.is_empty() || answer[0] == b'E', "{opening:?} was answered by {answer:?}");
        expect_served(&mut duo);
    }
}

#[test]
fn a_client_that_never_finishes_its_start_up_is_sent_away() {
    let mut duo = Duo::start("timeouts: { startup: 1s }");
    for part in [0, 3, 6, startup_message().len() - 1] {
        let mut socket = socket(&duo);
        socket.write_all(&startup_message()[..part]).expect("a part of the start-up");
        read_to_close(&mut socket);
        expect_served(&mut duo);
    }
}

#[test]
fn a_client_that_stays_silent_is_told_why_it_is_let_go() {
    let mut duo = Duo::start("timeouts: { idle: 300ms, idle_in_transaction: 200ms }");
    for (sent, code) in [("SELECT 1", "57P05"), ("BEGIN", "25P03")] {
        let mut socket = socket(&duo);
        socket.write_all(&startup_message()).expect("the start-up");
        socket.write_all(&frame(Some(b'Q'), format!("{sent}\0").as_bytes())).expect("a query");
        let said = String::from_utf8_lossy(&read_to_close(&mut socket)).into_owned();
        assert!(said.contains(code), "{said:?}");
    }
    expect_served(&mut duo);
}

#[test]
fn a_malformed_message_ends_its_connection_alone() {
    let mut duo = Duo::start("");
    duo.dual_write();
    let mut oversized = vec![b'Q'];
    oversized.extend(i32::MAX.to_be_bytes());
    let messages: Vec<Vec<u8>> = vec![
        oversized,
        vec![b'Q', 0, 0, 0, 3],
        vec![b'Q', 0xff, 0xff, 0xff, 0xff],
        frame(Some(0), b""),
        frame(Some(b'!'), b"what"),
        frame(Some(b'Q'), b"SELECT 1"),
        frame(Some(b'P'), b"name-without-end"),
        frame(Some(b'P'), b"\0SELECT 1\0\xff\xff"),
        frame(Some(b'B'), b"\0\0\0\x09"),
        frame(Some(b'B'), b"\0\0\0\0\x7f\xff"),
        frame(Some(b'D'), b"X\0"),
        frame(Some(b'E'), b"\0"),
        frame(Some(b'C'), b""),
        frame(Some(b'F'), b"\0"),
        frame(Some(b'p'), b"password\0"),
        frame(Some(b'd'), b"data without a copy"),
    ];
    for message in messages {
        let mut socket = started(&duo);
        socket.write_all(&message).expect("the message");
        // A server that took the message for a good one gets a flush and an end.
        let _ = socket.write_all(&[frame(Some(b'S'), b""), frame(Some(b'X'), b"")].concat());
        let answer = read_to_close(&mut socket);
        assert!(answer.is_empty() || b"EZ1".contains(&answer[0]), "{message:?} was answered by {answer:?}");
        expect_served(&mut duo);
    }
}

#[test]
fn garbage_hurts_nobody_else() {
    let mut duo = Duo::start("timeouts: { startup: 1s }");
    duo.dual_write();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    for turn in 0..200 {
        let mut socket = if turn % 2 == 0 { socket(&duo) } else { started(&duo) };
        let garbage: Vec<u8> = (0..=next()).map(|_| next()).collect();
        // The proxy may close before everything is written; that is an answer, too.
        let _ = socket.write_all(&garbage);
    }
    expect_served(&mut duo);
}

#[test]
fn a_client_that_leaves_in_the_middle_takes_nobody_along() {
    let mut duo = Duo::start("");
    for turn in 0..50 {
        let mut socket = started(&duo);
        let query = frame(Some(b'Q'), b"SELECT pg_sleep(0.2), repeat('x', 100000)\0");
        socket.write_all(&query[..query.len() - turn % 3]).expect("a query");
    }
    expect_served(&mut duo);
    duo.eventually("the connections are given back", Duration::from_secs(20), || duo.count("/clients") == 0);
}
