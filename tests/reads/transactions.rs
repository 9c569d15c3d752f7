//! Reads inside transactions: they take part in the ramp, and nobody can tell.

use std::time::Duration;

use super::raw::{Raw, short};
use super::support::Duo;

const SCHEMA: &str = "CREATE TABLE place (name text PRIMARY KEY); \
    CREATE TABLE notes (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO notes SELECT i, 0 FROM generate_series(1, 9) i";

/// Each side says its name in `place`; all reads that may go to new do.
fn duo(settings: &str) -> Duo {
    let duo = Duo::start_with(SCHEMA, settings);
    for side in [&duo.old, &duo.new] {
        side.sql("app", &format!("INSERT INTO place VALUES ('{}')", side.name())).expect("a row");
    }
    duo.dual_write();
    duo.read_percent(100.0);
    duo
}

const PLACE: &str = "SELECT name FROM place";
const ON_NEW: [&str; 4] = ["T", "D new", "C SELECT 1", "Z T"];
const ON_OLD: [&str; 4] = ["T", "D old", "C SELECT 1", "Z T"];

/// Sends statements one by one and compares each answer.
fn exchange(client: &mut Raw, steps: &[(&str, &[&str])]) {
    for (sql, expected) in steps {
        assert_eq!(client.ask(sql), *expected, "{sql}");
    }
}

fn nothing_is_left_open(duo: &Duo) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in transaction%'";
    for side in [&duo.old, &duo.new] {
        duo.eventually("no transaction is left open", Duration::from_secs(5), || {
            side.sql("app", sql).expect("a count") == "0"
        });
    }
}

#[test]
fn a_transactions_reads_move_until_it_touches_the_primary() {
    let duo = duo("");
    let mut client = Raw::connect(duo.proxy.port);
    for first in [
        "UPDATE notes SET n = n + 1 WHERE id = 1",
        "SELECT n FROM notes WHERE id = 1 FOR UPDATE",
        "SELECT 1 FROM pg_class LIMIT 1",
        "LOCK TABLE notes IN ACCESS SHARE MODE",
        "SET LOCAL work_mem = '4MB'",
        "SELECT count(*) FROM notes WHERE now() IS NOT NULL",
        "DECLARE c CURSOR FOR SELECT 1",
    ] {
        exchange(
            &mut client,
            &[("BEGIN", &["C BEGIN", "Z T"]), (PLACE, &ON_NEW), ("SAVEPOINT a", &["C SAVEPOINT", "Z T"])],
        );
        exchange(&mut client, &[(PLACE, &ON_NEW)]);
        assert_eq!(client.ask(first).last().map(String::as_str), Some("Z T"), "{first}");
        exchange(&mut client, &[(PLACE, &ON_OLD), ("ROLLBACK TO a", &["C ROLLBACK", "Z T"]), (PLACE, &ON_OLD)]);
        exchange(&mut client, &[("COMMIT", &["C COMMIT", "Z I"]), (PLACE, &["T", "D new", "C SELECT 1", "Z I"])]);
    }
    nothing_is_left_open(&duo);
}

#[test]
fn a_transaction_that_writes_sees_its_own_writes_and_they_are_carried() {
    let duo = duo("");
    let mut client = Raw::connect(duo.proxy.port);
    for n in 1..=50 {
        let row = format!("D {n}");
        let (before, after) = (format!("D {}", n - 1), ["T", row.as_str(), "C SELECT 1", "Z T"]);
        exchange(
            &mut client,
            &[
                ("BEGIN ISOLATION LEVEL READ COMMITTED", &["C BEGIN", "Z T"]),
                ("SELECT n FROM notes WHERE id = 2", &["T", before.as_str(), "C SELECT 1", "Z T"]),
                ("UPDATE notes SET n = n + 1 WHERE id = 2", &["C UPDATE 1", "Z T"]),
                ("SELECT n FROM notes WHERE id = 2", &after),
                ("COMMIT", &["C COMMIT", "Z I"]),
            ],
        );
    }
    assert_eq!(duo.count("/uncaptured_total"), 0);
    duo.barrier();
    duo.on_both("SELECT n FROM notes WHERE id = 2");
    assert!(duo.count("/reads/new_total") >= 50);
}

#[test]
fn a_read_that_fails_fails_its_transaction_as_in_postgres() {
    let duo = duo("");
    let mut direct = Raw::connect(duo.old.port());
    let mut client = Raw::connect(duo.proxy.port);
    let late = "SELECT 1 / (5 - i) FROM generate_series(1, 9) i, notes WHERE id = 1";
    for failing in ["SELECT 1 / (n - n) FROM notes", late, "SELECT missing FROM notes", "SELECT 'x'::int FROM notes"] {
        for sql in [
            "BEGIN",
            failing,
            PLACE,
            "ROLLBACK",
            "BEGIN",
            "SAVEPOINT a",
            failing,
            "ROLLBACK TO a",
            "SELECT 1",
            "COMMIT",
        ] {
            let expected = direct.ask(sql);
            assert_eq!(client.ask(sql), expected, "{sql} after {failing}");
        }
    }
    nothing_is_left_open(&duo);
}

#[test]
fn what_fails_on_new_alone_is_answered_by_old_and_the_transaction_goes_on() {
    let duo = duo("");
    duo.new.sql("app", "ALTER TABLE notes RENAME n TO m").expect("new differs");
    let mut client = Raw::connect(duo.proxy.port);
    exchange(
        &mut client,
        &[
            ("BEGIN", &["C BEGIN", "Z T"]),
            ("SELECT n FROM notes WHERE id = 3", &["T", "D 0", "C SELECT 1", "Z T"]),
            (PLACE, &ON_OLD),
            ("COMMIT", &["C COMMIT", "Z I"]),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &["C BEGIN", "Z T"]),
            ("SELECT n FROM notes WHERE id = 3", &["T", "D 0", "C SELECT 1", "Z T"]),
            (PLACE, &ON_OLD),
            ("COMMIT", &["C COMMIT", "Z I"]),
        ],
    );
    assert_eq!(duo.count("/reads/fallback_total"), 2);
    nothing_is_left_open(&duo);
}

#[test]
fn one_snapshot_lives_on_one_side_to_its_end() {
    let duo = duo("");
    let mut client = Raw::connect(duo.proxy.port);
    let sum = "SELECT sum(n) FROM notes";
    let answer = ["T", "D 0", "C SELECT 1", "Z T"];
    exchange(&mut client, &[("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &["C BEGIN", "Z T"]), (sum, &answer)]);
    duo.sql("UPDATE notes SET n = 1");
    duo.barrier();
    exchange(
        &mut client,
        &[
            (sum, &answer),
            (PLACE, &ON_NEW),
            ("SAVEPOINT a", &["C SAVEPOINT", "Z T"]),
            ("UPDATE notes SET n = 2", &["E 25006", "Z E"]),
            (sum, &["E 25P02", "Z E"]),
            ("ROLLBACK TO SAVEPOINT a", &["C ROLLBACK", "Z T"]),
            ("SELECT 1 / (n - n) FROM notes", &["T", "E 22012", "Z E"]),
            ("ROLLBACK TO SAVEPOINT a", &["C ROLLBACK", "Z T"]),
            (sum, &answer),
            ("COMMIT", &["C COMMIT", "Z I"]),
            (sum, &["T", "D 9", "C SELECT 1", "Z I"]),
        ],
    );
    client.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").sync().send().until_ready();
    client.run(PLACE).sync().send();
    let frames: Vec<String> = client.until_ready().into_iter().map(short).collect();
    assert_eq!(frames, ["1", "2", "T", "D new", "C SELECT 1", "Z T"]);
    client.run(PLACE).sync().run("COMMIT").sync().send();
    assert_eq!(
        client.until_ready().into_iter().map(short).collect::<Vec<_>>(),
        ["1", "2", "T", "D new", "C SELECT 1", "Z T"]
    );
    assert_eq!(client.until_ready().into_iter().map(short).collect::<Vec<_>>(), ["1", "2", "n", "C COMMIT", "Z I"]);
    exchange(&mut client, &[("INSERT INTO notes VALUES (10, 10)", &["C INSERT 0 1", "Z I"])]);
    nothing_is_left_open(&duo);
    duo.barrier();
    duo.on_both("SELECT count(*) FROM notes");
}

#[test]
fn other_isolation_stays_on_the_primary() {
    let duo = duo("");
    let mut client = Raw::connect(duo.proxy.port);
    for begin in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        assert_eq!(client.ask(begin).last().map(String::as_str), Some("Z T"));
        exchange(&mut client, &[(PLACE, &ON_OLD), ("COMMIT", &["C COMMIT", "Z I"])]);
    }
    exchange(
        &mut client,
        &[("BEGIN", &["C BEGIN", "Z T"]), ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", &["C SET", "Z T"])],
    );
    exchange(&mut client, &[(PLACE, &ON_OLD), ("COMMIT AND CHAIN", &["C COMMIT", "Z T"]), (PLACE, &ON_OLD)]);
}

#[test]
fn a_begin_and_a_read_in_one_batch_are_answered_alike_wherever_the_read_runs() {
    let duo = duo("");
    let mut client = Raw::connect(duo.proxy.port);
    // As JDBC sends it: one Sync for both.
    client.run("BEGIN").run(PLACE).sync().send();
    let frames: Vec<String> = client.until_ready().into_iter().map(short).collect();
    assert_eq!(frames, ["1", "2", "n", "C BEGIN", "1", "2", "T", "D new", "C SELECT 1", "Z T"]);
    client.run("UPDATE notes SET n = 5 WHERE id = 5").sync().run("COMMIT").sync().send();
    client.until_ready();
    assert_eq!(client.until_ready().into_iter().map(short).collect::<Vec<_>>(), ["1", "2", "n", "C COMMIT", "Z I"]);
    // As Npgsql sends it: two requests at once.
    client.query("BEGIN").run(PLACE).sync().send();
    assert_eq!(client.until_ready().into_iter().map(short).collect::<Vec<_>>(), ["C BEGIN", "Z T"]);
    let frames: Vec<String> = client.until_ready().into_iter().map(short).collect();
    assert_eq!(frames, ["1", "2", "T", "D new", "C SELECT 1", "Z T"]);
    exchange(&mut client, &[("COMMIT", &["C COMMIT", "Z I"])]);
    // A read that fails, behind a BEGIN that does not.
    client.run("BEGIN").run("SELECT missing FROM notes").sync().send();
    let frames: Vec<String> = client.until_ready().into_iter().map(short).collect();
    assert_eq!(frames, ["1", "2", "n", "C BEGIN", "E 42703", "Z E"]);
    exchange(&mut client, &[("ROLLBACK", &["C ROLLBACK", "Z I"])]);
    nothing_is_left_open(&duo);
}
