//! A client that says the right things with wrong bytes in between: a good conversation, damaged at random.

use std::io::Write;
use std::net::Shutdown;

use crate::messages::expect_frames;
use crate::raw::{Raw, frame};
use crate::seed::{Chance, rounds};
use crate::support::Duo;
use crate::witness::Witness;

/// A conversation with something of everything, message by message.
fn conversation() -> Vec<Vec<u8>> {
    let query = |sql: &str| frame(Some(b'Q'), format!("{sql}\0").as_bytes());
    let parse = |name: &str, sql: &str| frame(Some(b'P'), format!("{name}\0{sql}\0\0\0").as_bytes());
    vec![
        frame(None, b"\0\x03\0\0user\0app\0database\0app\0application_name\0m\0\0"),
        query("SELECT 1; SELECT 'two'"),
        query("INSERT INTO t VALUES (1, 'one') ON CONFLICT DO NOTHING"),
        query("BEGIN"),
        query("UPDATE t SET name = 'x' WHERE id = 1 RETURNING *"),
        query("SAVEPOINT a"),
        query("SELECT nonsense"),
        query("ROLLBACK TO a"),
        query("COMMIT"),
        query("COPY t FROM STDIN"),
        frame(Some(b'd'), b"7\tseven\n8\teight\n"),
        frame(Some(b'c'), b""),
        query("DELETE FROM t WHERE id > 6"),
        parse("s", "SELECT $1::int, name FROM t WHERE id = $1"),
        frame(Some(b'D'), b"Ss\0"),
        frame(Some(b'B'), b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x01\0\x01\0\0"),
        frame(Some(b'E'), b"p\0\0\0\0\x01"),
        frame(Some(b'S'), b""),
        parse("", "INSERT INTO t VALUES (2, 'two') ON CONFLICT (id) DO UPDATE SET name = excluded.name"),
        frame(Some(b'B'), b"\0\0\0\0\0\0\0\0"),
        frame(Some(b'E'), b"\0\0\0\0\0"),
        frame(Some(b'C'), b"Ss\0"),
        frame(Some(b'S'), b""),
        frame(Some(b'X'), b""),
    ]
}

/// Breaks a conversation in one to four places.
fn damaged(chance: &mut Chance) -> Vec<u8> {
    let mut messages = conversation();
    for _ in 0..=chance.below(4) {
        let at = chance.below(messages.len());
        let other = chance.below(messages.len());
        let message = &mut messages[at];
        let byte = if message.is_empty() { 0 } else { chance.below(message.len()) };
        match chance.below(7) {
            0 if !message.is_empty() => message[byte] = chance.next() as u8,
            1 if !message.is_empty() => message[byte] ^= 1 << chance.below(8),
            2 => message.truncate(byte),
            3 => message.insert(byte, chance.next() as u8),
            4 => messages.swap(at, other),
            5 => {
                let again = messages[at].clone();
                messages.insert(other, again);
            }
            _ if messages.len() > 1 => drop(messages.remove(at)),
            _ => {}
        }
    }
    messages.concat()
}

#[test]
fn a_damaged_conversation_ends_and_hurts_nobody_else() {
    let mut duo =
        Duo::start_with("CREATE TABLE t (id int PRIMARY KEY, name text)", "timeouts: { startup: 2s, statement: 5s }");
    let mut chance = Chance::seeded();
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        if phase == "dual_write" {
            duo.read_percent(50.0);
        }
        let witness = Witness::of(&duo);
        for round in 0..rounds(300) {
            let bytes = damaged(&mut chance);
            let mut raw = Raw::connect(duo.proxy.port);
            // The proxy may close before everything is written; that is an answer, too.
            let _ = raw.0.write_all(&bytes);
            let _ = raw.0.shutdown(Shutdown::Write);
            expect_frames(&format!("{phase}, round {round}, {bytes:?}"), &mut raw);
        }
        witness.expect(&format!("{phase}, damaged conversations"), &mut duo, 32 << 10);
        witness.expect_all_gone(&duo);
    }
}
