//! Statements whose answers do not tell what they write: in whatever form a client sends them, both databases end up equal.

mod support;

use futures_util::StreamExt;
use support::Duo;
use support::client::{block_on, connect};
use tokio_postgres::{Client, SimpleQueryMessage};

const SCHEMA: &str = "
CREATE TABLE items (id bigint PRIMARY KEY, n bigint NOT NULL DEFAULT 0, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE tags (item bigint, tag text);
CREATE TABLE other (id bigint PRIMARY KEY, n bigint);
CREATE TABLE watched (id bigint PRIMARY KEY, n bigint);
CREATE TABLE audit (at timestamptz DEFAULT clock_timestamp(), what text, r float8 DEFAULT random());
CREATE VIEW big_items AS SELECT id, n FROM items WHERE n >= 100;
INSERT INTO items (id, n, at) SELECT i, i, '2020-01-01' FROM generate_series(1, 200) i;
INSERT INTO other SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO watched SELECT i, i FROM generate_series(1, 50) i;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO audit (what) VALUES (TG_OP || NEW.id); NEW.n := NEW.n + 1; RETURN NEW; END';
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION raise_all(by bigint) RETURNS bigint LANGUAGE plpgsql AS
    'DECLARE c bigint; BEGIN UPDATE other SET n = n + by; GET DIAGNOSTICS c = ROW_COUNT; RETURN c; END';
CREATE FUNCTION looks_only() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM items); END';
CREATE PROCEDURE raise_some(by bigint) LANGUAGE plpgsql AS 'BEGIN UPDATE other SET n = n + by WHERE id < 10; END';
CREATE PROCEDURE raise_and_commit(by bigint) LANGUAGE plpgsql AS 'BEGIN UPDATE other SET n = n + by; COMMIT; END';
";

/// Each is sent in both protocols, once alone and once in a transaction block.
const FORMS: [&str; 15] = [
    "DO $$ BEGIN UPDATE items SET n = n + 1 WHERE id <= 3; INSERT INTO audit (what) VALUES ('do'); END $$",
    "SELECT raise_all(2)",
    "SELECT raise_all(id) FROM items WHERE id < 3",
    "SELECT looks_only()",
    "UPDATE big_items SET n = n + 1 WHERE id % 7 = 0",
    "INSERT INTO big_items VALUES ((SELECT max(id) + 1 FROM items), 500) -- a comment to the end",
    "DELETE FROM big_items WHERE id = (SELECT min(id) FROM big_items)",
    "UPDATE watched SET n = n * 2 WHERE id < 5",
    "INSERT INTO watched SELECT max(id) + 1, 7 FROM watched",
    "MERGE INTO other o USING items i ON o.id = i.id WHEN MATCHED AND i.id < 9 THEN UPDATE SET n = i.n \
     WHEN NOT MATCHED AND i.id < 60 THEN INSERT VALUES (i.id, 0)",
    "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) UPDATE items SET n = n + 1 WHERE id = 5",
    "COPY (UPDATE items SET n = n + 1 WHERE id < 4 RETURNING id) TO STDOUT",
    "TRUNCATE tags",
    "EXECUTE raise(3)",
    "TRUNCATE audit, tags RESTART IDENTITY",
];

#[test]
fn what_an_opaque_statement_writes_is_on_both_sides() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        run(&client, "PREPARE raise(bigint) AS UPDATE items SET n = n + $1 WHERE id = 1").await;
        for form in FORMS {
            run(&client, "INSERT INTO tags VALUES (1, 'a')").await;
            for block in [false, true] {
                for extended in [false, true] {
                    if block {
                        run(&client, "BEGIN").await;
                    }
                    send(&client, form, extended).await;
                    if block {
                        run(&client, "COMMIT").await;
                    }
                }
            }
            duo.expect_equal();
            assert_eq!(duo.count("/uncaptured_total"), 0, "{form} was not captured: {}", duo.status()["uncaptured"]);
        }
    });
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

async fn send(client: &Client, sql: &str, extended: bool) {
    if sql.starts_with("COPY") {
        let rows = client.copy_out(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let rows: Vec<_> = rows.collect().await;
        assert!(rows.iter().all(Result::is_ok), "{sql}: {rows:?}");
    } else if extended {
        client.query(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    } else {
        run(client, sql).await;
    }
}

#[test]
fn a_copy_in_is_on_both_sides() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    let copy = |sql: &str| duo.sql(sql);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "1001\t1\n1002\t2\n").expect("its rows");
    copy(&format!("\\copy items (id, n) FROM '{}'", file.path().display()));
    std::fs::write(file.path(), "7,\"a,b\"\n8,\n").expect("its rows");
    copy(&format!("\\copy tags FROM '{}' WITH (FORMAT csv)", file.path().display()));
    copy("COPY (DELETE FROM other WHERE id > 40 RETURNING id) TO STDOUT");
    duo.expect_equal();
    assert_eq!(duo.on_both("SELECT count(*) FROM other"), "40");
    assert_eq!(duo.on_both("SELECT count(*) FROM tags"), "2");
    assert_eq!(duo.on_both("SELECT count(*) FROM items WHERE id > 1000"), "2");
    assert_eq!(duo.count("/uncaptured_total"), 0);
}

#[test]
fn a_procedure_is_captured_in_a_block_and_named_where_it_may_commit() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    duo.sql("BEGIN; CALL raise_some(1); COMMIT");
    duo.expect_equal();
    assert_eq!(duo.count("/uncaptured_total"), 0);
    duo.sql("CALL raise_and_commit(1)");
    assert_eq!(duo.count("/uncaptured_total"), 1, "it commits, and cannot be watched");
}

#[test]
fn a_client_sees_nothing_of_the_looks() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let answers =
            client.simple_query("SELECT raise_all(1); TRUNCATE tags; SELECT 3 AS three").await.expect("answers");
        let shapes: Vec<String> = answers.iter().map(shape).collect();
        assert_eq!(shapes, ["description", "row 50", "done 1", "done 0", "description", "row 3", "done 1"]);
        let rows = client.query("SELECT raise_all(1) AS r", &[]).await.expect("rows");
        assert_eq!((rows.len(), rows[0].get::<_, i64>("r")), (1, 50));
        let error = client.batch_execute("SELECT raise_all(1); SELECT nothing FROM items").await.expect_err("an error");
        let position = error.as_db_error().and_then(|e| e.position().cloned());
        assert_eq!(position, Some(tokio_postgres::error::ErrorPosition::Original(29)));
        let error = client.batch_execute("TRUNCATE no_such_table").await.expect_err("an error");
        assert_eq!(error.code().map(|c| c.code()), Some("42P01"));
        run(&client, "BEGIN READ ONLY").await;
        client
            .query("SELECT looks_only()", &[])
            .await
            .expect("a function that only looks, where nothing may be written");
        run(&client, "COMMIT").await;
        // A rollback takes what was noted along.
        run(&client, "BEGIN; DO $$ BEGIN DELETE FROM other; END $$; ROLLBACK").await;
    });
    duo.expect_equal();
    assert_eq!(duo.on_both("SELECT count(*) FROM other"), "50");
}

fn shape(message: &SimpleQueryMessage) -> String {
    match message {
        SimpleQueryMessage::Row(row) => format!("row {}", row.get(0).unwrap_or("null")),
        SimpleQueryMessage::CommandComplete(rows) => format!("done {rows}"),
        SimpleQueryMessage::RowDescription(_) => "description".to_owned(),
        _ => "other".to_owned(),
    }
}
