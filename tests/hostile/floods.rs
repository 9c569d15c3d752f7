//! Clients that send without end, or do not read.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::raw::{READY, Raw, frame};
use crate::support::Duo;
use crate::witness::Witness;

const SOON: Duration = Duration::from_secs(60);
const PHASES: [&str; 2] = ["old_only", "dual_write"];

fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(Some(b'P'), format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    frame(Some(b'B'), format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    frame(Some(b'E'), format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sync() -> Vec<u8> {
    frame(Some(b'S'), b"")
}

/// Clients are trusted, and may have this much of statements and portals.
fn duo_with_room_for_statements(bytes: &str) -> Duo {
    let mut duo = Duo::start_with("CREATE TABLE t (id int PRIMARY KEY, v int)", "");
    let settings = format!("clients: {{ auth: trust, max_statement_bytes: {bytes} }}\n");
    duo.proxy.configure(&format!("{}{settings}", duo.proxy.between(&duo.old, &duo.new))).expect("a configuration");
    duo.proxy.kill();
    duo.proxy.start_again().expect("the proxy");
    duo
}

/// Sends until everything is sent or the other end has had enough. What it says meanwhile is read and forgotten.
fn flood(raw: &mut Raw, mut next: impl FnMut(usize) -> Option<Vec<u8>>) {
    let mut reader = raw.0.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap_or(0));
    let mut buffer = Vec::new();
    for at in 0.. {
        let Some(bytes) = next(at) else { break };
        buffer.extend(bytes);
        if buffer.len() > 64 << 10 {
            match raw.0.write_all(&buffer) {
                Ok(()) => buffer.clear(),
                Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
                Err(e) => panic!("{e}"),
            }
        }
    }
    let _ = raw.0.write_all(&buffer);
    let _ = raw.0.shutdown(std::net::Shutdown::Write);
    reading.join().expect("the reader ends");
}

#[test]
fn a_client_that_never_reads_is_not_read_for() {
    let mut duo = Duo::start_with(
        "CREATE TABLE big AS SELECT g FROM generate_series(1, 1000) g",
        "shadow: { sample_percent: 100 }",
    );
    for phase in PHASES {
        duo.phase(phase);
        if phase == "dual_write" {
            duo.read_percent(100.0);
        }
        let witness = Witness::of(&duo);
        let mut deaf: Vec<Raw> = (0..4).map(|_| Raw::started(duo.proxy.port)).collect();
        for client in &mut deaf {
            // Three gigabytes.
            client.query("SELECT repeat('x', 1000), a.g FROM big a, big b, big c LIMIT 3000000");
        }
        let stuck = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'ClientWrite'";
        let count = |duo: &Duo| -> u64 {
            [&duo.old, &duo.new]
                .iter()
                .map(|c| c.sql("app", stuck).expect("a count").parse::<u64>().expect("a number"))
                .sum()
        };
        duo.eventually("the servers wait for whom does not read", SOON, || count(&duo) >= 4);
        witness.expect(&format!("four that never read, {phase}"), &mut duo, 16 << 10);
        drop(deaf);
        witness.expect_all_gone(&duo);
    }
}

#[test]
fn new_names_without_end_come_to_an_end() {
    let mut duo = duo_with_room_for_statements("4MiB");
    for phase in PHASES {
        duo.phase(phase);
        let witness = Witness::of(&duo);
        let mut raw = Raw::started(duo.proxy.port);
        let reader = raw.0.try_clone().expect("a second handle");
        let reading = std::thread::spawn(move || Raw(reader).heard(b""));
        let mut sent = 0;
        while raw.0.write_all(&[parse(&format!("s{sent}"), "SELECT 1"), sync()].concat()).is_ok() && sent < 100_000 {
            sent += 1;
        }
        let (said, was_reset) = reading.join().expect("the reader ends");
        assert!(sent < 100_000, "{sent} statements were taken");
        assert!(sent > 3_000, "no more than {sent} statements were taken");
        assert!(was_reset || said.windows(5).any(|bytes| bytes == b"54000"), "no word of why");
        witness.expect(&format!("{sent} names, {phase}"), &mut duo, 32 << 10);
        witness.expect_all_gone(&duo);
    }
}

/// As drivers do that keep their last hundred statements: what SQL deallocates takes no room, in any phase.
#[test]
fn new_names_without_end_that_sql_deallocates_are_served_for_ever() {
    let duo = duo_with_room_for_statements("64KiB");
    for phase in PHASES {
        duo.phase(phase);
        let mut raw = Raw::started(duo.proxy.port);
        let deallocate = |at: usize| match at % 2 {
            0 => frame(Some(b'Q'), format!("DEALLOCATE s{at}\0").as_bytes()),
            _ => [parse("", &format!("deallocate \"s{at}\"")), bind("", ""), execute(""), sync()].concat(),
        };
        for at in 0..1_000 {
            let sent = [parse(&format!("s{at}"), "SELECT 1"), sync(), deallocate(at)].concat();
            raw.send(&sent);
            for _ in 0..2 {
                raw.until(READY);
            }
        }
    }
}

/// Captured, and long: what is kept beside the client's own text counts as well, and is little.
#[test]
fn statements_take_about_what_is_counted() {
    const BOUND: usize = 16 << 20;
    let mut duo = duo_with_room_for_statements("16MiB");
    duo.dual_write();
    for (what, rows, text) in [("short", 1, 0), ("long", 400, 400 * 20)] {
        let witness = Witness::of(&duo);
        let mut raw = Raw::started(duo.proxy.port);
        let reader = raw.0.try_clone().expect("a second handle");
        let reading = std::thread::spawn(move || Raw(reader).heard(b""));
        let mut sent = 0;
        loop {
            let values: Vec<String> = (0..rows).map(|row| format!("({:08}, {row:08})", sent * rows + row)).collect();
            let sql = format!("INSERT INTO t VALUES {}", values.join(","));
            if raw.0.write_all(&[parse(&format!("s{sent}"), &sql), sync()].concat()).is_err() {
                break;
            }
            sent += 1;
        }
        reading.join().expect("the reader ends");
        // Some more were on their way when the session ended.
        let least = BOUND / (text + 2000);
        assert!(sent > least, "{what}: no more than {sent} statements were taken");
        witness.expect(&format!("{sent} {what} statements"), &mut duo, (2 * BOUND as u64) >> 10);
        witness.expect_all_gone(&duo);
    }
}

#[test]
fn a_batch_without_an_end_is_bounded() {
    let mut duo = Duo::start("");
    for phase in PHASES {
        duo.phase(phase);
        let witness = Witness::of(&duo);
        let mut raw = Raw::started(duo.proxy.port);
        flood(&mut raw, |at| match at {
            0 => Some(parse("s", "SELECT 1")),
            1..100_000 => Some([bind("", "s"), execute("")].concat()),
            100_000 => Some(sync()),
            _ => None,
        });
        witness.expect(&format!("a batch of 100,000, {phase}"), &mut duo, 24 << 10);
        // After an error the server skips all of it; nothing of it is worth keeping.
        let mut raw = Raw::started(duo.proxy.port);
        flood(&mut raw, |at| match at {
            0 => Some(parse("t", "SELECT nonsense FROM nowhere")),
            1..100_000 => Some([parse("t", "SELECT 1"), bind("", "t"), execute("")].concat()),
            _ => None,
        });
        witness.expect(&format!("a failed batch of 100,000, {phase}"), &mut duo, 24 << 10);
        witness.expect_all_gone(&duo);
    }
}

#[test]
fn portals_without_end_come_to_an_end() {
    let mut duo = duo_with_room_for_statements("4MiB");
    duo.dual_write();
    let witness = Witness::of(&duo);
    let mut raw = Raw::started(duo.proxy.port);
    raw.query("BEGIN");
    raw.until(b"Z\0\0\0\x05T");
    flood(&mut raw, |at| match at {
        0 => Some(parse("s", "SELECT 1")),
        1..60_000 => Some(bind(&format!("p{at}"), "s")),
        _ => None,
    });
    witness.expect("portals", &mut duo, 24 << 10);
    witness.expect_all_gone(&duo);
    let mut raw = Raw::started(duo.proxy.port);
    raw.query("SELECT 1");
    raw.until(READY);
}
