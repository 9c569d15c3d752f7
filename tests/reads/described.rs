//! What a client was told of an answer's columns is what it gets, whichever side answers, and whatever has become of the columns since.

use crate::raw::{Frame, Raw};
use crate::support::Duo;

const SCHEMA: &str = "CREATE TABLE t (id integer PRIMARY KEY, v integer NOT NULL); INSERT INTO t VALUES (1, 7)";
const READ: &str = "SELECT v FROM t WHERE id = 1";
const OTHER: &str = "SELECT id FROM t WHERE id = 1";

fn all_reads_on_new(schema: &str) -> Duo {
    let duo = Duo::start_with(schema, "shadow: { sample_percent: 0 }");
    duo.dual_write();
    duo.read_percent(100.0);
    duo
}

/// The reads that were counted on the primary for this reason.
fn on_old_because(duo: &Duo, reason: &str) -> u64 {
    let metrics = duo.admin().call("GET", "/metrics", "").expect("metrics").body;
    let name = format!("pgduet_reads_total{{side=\"old\",reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

fn alter(duo: &Duo, to: &str) {
    duo.sql(&format!("ALTER TABLE t ALTER v TYPE {to}"));
    duo.barrier();
}

#[test]
fn a_read_that_was_described_before_its_column_changed_fails_as_postgres_does() {
    let duo = all_reads_on_new(SCHEMA);
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("changes", READ).answers();
    client.prepare("stays", OTHER).answers();
    alter(&duo, "bigint");
    assert_eq!(client.execute("changes", true).answers(), ["E 0A000", "Z I"]);
    client.ask("BEGIN");
    assert_eq!(client.execute("changes", true).answers(), ["E 0A000", "Z E"]);
    client.ask("ROLLBACK");
    let before = duo.count("/reads/new_total");
    assert_eq!(client.execute("stays", false).answers(), ["D 1", "C SELECT 1", "Z I"]);
    client.prepare("anew", READ).answers();
    assert_eq!(client.execute("anew", false).answers(), ["D 7", "C SELECT 1", "Z I"]);
    assert_eq!(duo.count("/reads/new_total") - before, 2, "what is described as it is moves");
    assert_eq!(duo.count("/reads/fallback_total"), 0);
    assert_eq!(on_old_because(&duo, "described"), 2);
}

#[test]
fn a_column_that_is_what_it_was_again_is_read_on_the_secondary_again() {
    let duo = all_reads_on_new(SCHEMA);
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("s", READ).answers();
    alter(&duo, "bigint");
    assert_eq!(client.execute("s", true).answers(), ["E 0A000", "Z I"]);
    alter(&duo, "integer");
    let before = duo.count("/reads/new_total");
    assert_eq!(client.execute("s", false).answers(), ["D 7", "C SELECT 1", "Z I"]);
    assert_eq!(duo.count("/reads/new_total") - before, 1);
}

#[test]
fn a_read_that_was_described_unseen_fails_as_postgres_does() {
    let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 0 }");
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("changes", READ).answers();
    client.prepare("stays", OTHER).answers();
    duo.dual_write();
    duo.read_percent(100.0);
    alter(&duo, "bigint");
    assert_eq!(client.execute("changes", true).answers(), ["E 0A000", "Z I"]);
    client.ask("BEGIN");
    assert_eq!(client.execute("changes", true).answers(), ["E 0A000", "Z E"]);
    client.ask("ROLLBACK");
    assert_eq!(client.execute("stays", false).answers(), ["D 1", "C SELECT 1", "Z I"]);
    assert_eq!(duo.count("/reads/new_total"), 1);
}

#[test]
fn what_could_not_be_prepared_anew_is_prepared_at_its_next_use() {
    let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 0 }");
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("write", "INSERT INTO t VALUES (2, 8)").answers();
    duo.dual_write();
    client.ask("BEGIN");
    client.ask("SELECT 1 / 0");
    assert_eq!(client.execute("write", false).answers(), ["E 25P02", "Z E"]);
    client.ask("ROLLBACK");
    assert_eq!(client.execute("write", false).answers(), ["C INSERT 0 1", "Z I"]);
    duo.expect_equal();
}

/// Neither side has it as the client was told, and the primary has never heard of it.
#[test]
fn a_read_that_the_secondary_described_fails_as_postgres_does() {
    let duo = all_reads_on_new(SCHEMA);
    let mut client = Raw::connect(duo.proxy.port);
    assert_eq!(client.prepare("s", READ).execute("s", false).answers(), ["D 7", "C SELECT 1", "Z I"]);
    assert_eq!(duo.count("/reads/new_total"), 1);
    alter(&duo, "bigint");
    assert_eq!(client.execute("s", true).answers(), ["E 0A000", "Z I"]);
    client.ask("BEGIN");
    assert_eq!(client.execute("s", true).answers(), ["E 0A000", "Z E"]);
    assert_eq!(client.ask("SELECT 1"), ["E 25P02", "Z E"]);
    assert_eq!(client.ask("ROLLBACK"), ["C ROLLBACK", "Z I"]);
    assert_eq!(client.ask("SELECT 1"), ["T", "D 1", "C SELECT 1", "Z I"]);
}

/// The error comes in front of the Sync, so nothing of the implicit transaction stays: neither what ran before the read, nor what came behind it.
#[test]
fn a_write_in_the_same_implicit_transaction_is_rolled_back_with_the_read() {
    let duo = all_reads_on_new(SCHEMA);
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("write", "INSERT INTO t SELECT max(id) + 1, 8 FROM t").answers();
    assert_eq!(client.prepare("s", READ).execute("s", false).answers(), ["D 7", "C SELECT 1", "Z I"]);
    assert_eq!(client.prepare("same", OTHER).execute("same", false).answers(), ["D 1", "C SELECT 1", "Z I"]);
    assert_eq!(duo.count("/reads/new_total"), 2);
    alter(&duo, "bigint");
    let write = |client: &mut Raw| client.execute("write", false).out.split();
    for (read, expected) in [
        ("s", &["C INSERT 0 1", "E 0A000", "Z I"][..]),
        ("same", &["C INSERT 0 1", "D 1", "C SELECT 1", "C INSERT 0 1", "Z I"]),
    ] {
        // In one piece, and message by message.
        for whole in [true, false] {
            let [before, read, after] =
                [write(&mut client), client.execute(read, false).out.split(), write(&mut client)];
            for part in [before, read, after] {
                client.out.unsplit(part);
                if !whole {
                    client.flush().send();
                }
            }
            assert_eq!(client.answers(), expected);
        }
    }
    assert_eq!(duo.sql("SELECT count(*) FROM t"), "5");
    // A block fails as a whole.
    client.ask("BEGIN");
    write(&mut client);
    client.execute("write", false).execute("s", true).execute("write", false);
    assert_eq!(client.answers(), ["C INSERT 0 1", "E 0A000", "Z E"]);
    assert_eq!(client.ask("COMMIT"), ["C ROLLBACK", "Z I"]);
    assert_eq!(duo.sql("SELECT count(*) FROM t"), "5");
    duo.expect_equal();
}

#[test]
fn columns_that_differ_between_the_sides_are_read_as_they_were_described() {
    let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 0 }");
    duo.new.sql("app", "ALTER TABLE t ALTER v TYPE bigint").expect("another type");
    duo.dual_write();
    duo.read_percent(100.0);
    let mut client = Raw::connect(duo.proxy.port);
    client.prepare("s", READ).answers();
    for _ in 0..3 {
        let rows = binary_rows(client.execute("s", true));
        assert_eq!(rows, [[&[0, 1, 0, 0, 0, 4][..], &7_i32.to_be_bytes()].concat()], "four bytes, as described");
    }
    assert_eq!((duo.count("/reads/new_total"), on_old_because(&duo, "described")), (0, 3));
}

fn binary_rows(client: &mut Raw) -> Vec<Vec<u8>> {
    client.sync().send();
    let frames: Vec<Frame> = client.until_ready();
    frames.into_iter().filter(|(tag, _)| *tag == 'D').map(|(_, body)| body).collect()
}

const MOODS: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a mood, b mood); \
    CREATE TABLE t (id integer PRIMARY KEY, v integer NOT NULL); INSERT INTO t VALUES (1, 7)";
/// None of the table's columns has such a type.
const NESTED: [&str; 3] = [
    "SELECT ARRAY['sad', 'ok']::mood[] FROM t",
    "SELECT ROW('sad', 'ok')::pair FROM t",
    "SELECT ROW('sad'::mood, id) FROM t",
];

#[test]
fn binary_values_that_name_types_name_the_primarys() {
    let duo = Duo::start_with("", "shadow: { sample_percent: 0 }");
    duo.new.sql("app", "CREATE TYPE only_here AS ENUM ('a')").expect("oids that differ");
    for side in [&duo.old, &duo.new] {
        side.sql("app", MOODS).expect("a schema");
        side.sql("app", "ALTER TABLE t OWNER TO app; ALTER TYPE mood OWNER TO app; ALTER TYPE pair OWNER TO app")
            .expect("an owner");
    }
    duo.dual_write();
    duo.read_percent(100.0);
    let [mut direct, mut client] = [duo.old.port(), duo.proxy.port].map(Raw::connect);
    for (i, sql) in NESTED.into_iter().enumerate() {
        let name = format!("s{i}");
        let expected = binary_rows(direct.prepare(&name, sql).execute(&name, true));
        assert_eq!(expected.len(), 1);
        // In one batch, whose answer nobody has described yet; and described by the primary first.
        assert_eq!(binary_rows(client.prepare("", sql).execute("", true)), expected, "{sql}");
        client.prepare(&name, sql).answers();
        assert_eq!(binary_rows(client.execute(&name, true)), expected, "{sql}");
        let before = duo.count("/reads/new_total");
        client.execute(&name, false).answers();
        assert_eq!(duo.count("/reads/new_total") - before, 1, "as text it moves: {sql}");
    }
    assert_eq!((on_old_because(&duo, "binary_types"), duo.count("/reads/fallback_total")), (6, 0));
    // A transaction that lives on the secondary cannot go elsewhere.
    client.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    assert_eq!(client.ask("SELECT v FROM t"), ["T", "D 7", "C SELECT 1", "Z T"]);
    assert_eq!(client.prepare("", NESTED[0]).execute("", true).answers(), ["E 0A000", "Z E"]);
    assert_eq!(client.ask("SELECT v FROM t"), ["E 25P02", "Z E"]);
    assert_eq!(client.ask("COMMIT"), ["C ROLLBACK", "Z I"]);
    assert_eq!(client.ask("SELECT v FROM t"), ["T", "D 7", "C SELECT 1", "Z I"]);
}
