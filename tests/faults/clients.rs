//! Clients that leave, are cancelled, or run out of time between any two messages: a statement is on both servers or on none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::rig::Rig;
use super::seed::{Dice, rounds, seed};
use super::support::client::{block_on, connect};

/// One transaction in the extended protocol, message by message; `%` is the ticket.
const MESSAGES: [(&str, &str); 10] = [
    ("Q", "BEGIN"),
    ("P", "INSERT INTO tickets (id) VALUES (%)"),
    ("B", ""),
    ("E", ""),
    ("S", ""),
    ("P", "INSERT INTO events (client, number) VALUES (99, %)"),
    ("B", ""),
    ("E", ""),
    ("S", ""),
    ("Q", "COMMIT"),
];

#[test]
fn a_client_may_leave_between_any_two_messages() {
    let mut rig = Rig::start("");
    let mut ticket = 0;
    for _ in 0..rounds() {
        for messages in 0..=MESSAGES.len() {
            for abrupt in [false, true] {
                ticket += 1;
                leave_after(rig.duo.proxy.port, ticket, messages, abrupt);
                rig.faults += 1;
            }
        }
    }
    rig.duo.eventually("every transaction has ended", Duration::from_secs(20), || {
        rig.duo.old.sql("app", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'").expect("a count") == "0"
    });
    rig.duo.expect_equal();
    let tickets = rig.duo.on_both("SELECT id FROM tickets ORDER BY id");
    let events = rig.duo.on_both("SELECT number FROM events ORDER BY number");
    assert_eq!(tickets, events, "one transaction's rows are together");
    let before_the_commit = rig.duo.on_both(&format!(
        "SELECT count(*) FROM tickets WHERE (id - 1) / 2 % {} < {}",
        MESSAGES.len() + 1,
        MESSAGES.len()
    ));
    assert_eq!(before_the_commit, "0", "a transaction whose COMMIT was never sent is there");
    let whole = rounds().to_string();
    let left_politely = rig.duo.on_both("SELECT count(*) FROM tickets WHERE id % 2 = 1");
    assert_eq!(left_politely, whole, "what was sent before the end of the stream is carried out, as by PostgreSQL");
    println!("{} clients left, {} transactions had asked for their commit", rig.faults, tickets.lines().count());
}

/// Sends the first `count` messages and leaves: by closing the connection, or by a reset with answers unread.
fn leave_after(port: u16, ticket: u64, count: usize, abrupt: bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let parameters = b"user\0app\0database\0app\0\0";
    let mut hello = (8 + parameters.len() as u32).to_be_bytes().to_vec();
    hello.extend_from_slice(&196_608u32.to_be_bytes());
    hello.extend_from_slice(parameters);
    stream.write_all(&hello).expect("a start-up");
    read_until_ready(&mut stream);
    for (kind, text) in MESSAGES.iter().take(count) {
        let text = text.replace('%', &ticket.to_string());
        stream.write_all(&message(kind, &text)).expect("a message");
    }
    match abrupt {
        true => drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
        false => {
            stream.shutdown(Shutdown::Write).expect("a half-closed connection");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

fn message(kind: &str, text: &str) -> Vec<u8> {
    let body = match kind {
        "Q" => [text.as_bytes(), b"\0"].concat(),
        "P" => [b"\0", text.as_bytes(), b"\0\0\0"].concat(),
        "B" => vec![0; 8],
        "E" => vec![0; 5],
        _ => vec![],
    };
    [kind.as_bytes(), &(4 + body.len() as u32).to_be_bytes(), &body].concat()
}

fn read_until_ready(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).expect("a message");
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body).expect("its body");
        match kind {
            b'E' => panic!("refused: {}", String::from_utf8_lossy(&body)),
            b'Z' => return,
            _ => {}
        }
    }
}

#[test]
fn cancelled_and_timed_out_statements_are_on_both_or_on_none() {
    let mut rig = Rig::start("");
    let mut dice = Dice::new(seed());
    let turns = 40 * rounds();
    let port = rig.duo.proxy.port;
    let succeeded = block_on(async {
        let connection = connect(port).await;
        let token = connection.cancel_token();
        connection.batch_execute("SET statement_timeout = '25ms'").await.expect("a setting");
        let mut succeeded = Vec::new();
        for turn in 0..turns as i64 {
            let rows = format!(
                "INSERT INTO tickets (id, note) SELECT {turn} * 1000 + i, 'turn {turn}' FROM generate_series(1, 200) i, pg_sleep({})",
                dice.throw(30) as f64 / 1000.0
            );
            let cancel = dice.throw(2) == 0;
            let pause = Duration::from_millis(dice.throw(30));
            let killer = async {
                tokio::time::sleep(pause).await;
                if cancel {
                    let _ = token.cancel_query(tokio_postgres::NoTls).await;
                }
            };
            let (outcome, ()) = tokio::join!(connection.execute(&rows, &[]), killer);
            match outcome {
                Ok(count) => {
                    assert_eq!(count, 200);
                    succeeded.push(turn);
                }
                Err(error) => {
                    let code = error.code().unwrap_or_else(|| panic!("the connection broke: {error}"));
                    assert_eq!(code.code(), "57014", "{error}");
                }
            }
        }
        succeeded
    });
    rig.faults += turns;
    rig.duo.expect_equal();
    let there = rig.duo.on_both("SELECT DISTINCT id / 1000 FROM tickets ORDER BY 1");
    let there: Vec<i64> = there.lines().map(|turn| turn.parse().expect("a turn")).collect();
    assert_eq!(there, succeeded, "the statements that were reported to have succeeded are the ones that are there");
    println!("{turns} statements, {} ended by a cancel or a time-out", turns - succeeded.len() as u64);
}
