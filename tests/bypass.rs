//! Writes that do not come through the proxy: carried where triggers capture, named where RETURNING does.

mod support;

use std::io::Write;
use std::time::Duration;

use pgduet::demo::pgbench::{Protocol, Script};
use support::client::{block_on, connect};
use support::{Duo, fail};

const LIMIT: Duration = Duration::from_secs(60);

const SCHEMA: &str = "CREATE TABLE plain (id int PRIMARY KEY, v int); CREATE TABLE loose (what text); \
    CREATE TABLE audited (id int PRIMARY KEY, v int); \
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v + 1; RETURN NEW; END $$; \
    CREATE TRIGGER stamp BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION stamp(); \
    INSERT INTO plain SELECT i, i FROM generate_series(1, 100) i";

/// How a table is captured, as operators see it.
fn capture_of(duo: &Duo, table: &str) -> String {
    let answer = duo.admin().get("/api/tables").unwrap_or_else(fail("the tables"));
    let tables = answer.as_array().or_else(|| answer["tables"].as_array()).expect("a list");
    let found = tables.iter().find(|t| t["table"] == format!("public.{table}"));
    found.and_then(|t| t["capture"].as_str()).expect("a method").to_owned()
}

/// Written by somebody who knows nothing of the proxy.
fn around(duo: &Duo, sql: &str) {
    duo.old.sql("app", sql).unwrap_or_else(fail("a write on old"));
}

fn pgduets_triggers(duo: &Duo) -> String {
    duo.old.sql("app", "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgduet_%'").unwrap_or_else(fail("a query"))
}

#[test]
fn with_triggers_everybodys_writes_are_carried() {
    let duo = Duo::start_with(SCHEMA, "mirror: { capture: trigger }");
    duo.dual_write();
    for table in ["plain", "audited"] {
        assert_eq!(capture_of(&duo, table), "trigger: key");
    }
    assert_eq!(capture_of(&duo, "loose"), "trigger: whole row (no key)");
    for sql in ["UPDATE%20plain%20SET%20v=1", "COPY%20loose%20FROM%20STDIN", "DO%20$$BEGIN%20COMMIT;END$$"] {
        let route = duo.admin().get(&format!("/api/route?sql={sql}")).unwrap_or_else(fail("a route"));
        assert_eq!(route["reason"], "captured by triggers", "{route}");
    }
    around(&duo, "UPDATE plain SET v = v + 1; DELETE FROM plain WHERE id < 10; INSERT INTO loose VALUES ('a'), (NULL)");
    duo.expect_equal();
    duo.sql("INSERT INTO plain VALUES (1, 1), (2, 2); UPDATE plain SET id = -id WHERE id < 20; INSERT INTO loose VALUES ('b')");
    duo.sql("INSERT INTO audited SELECT i, i FROM generate_series(1, 50) i");
    duo.expect_equal();
    // Each is on new as soon as it is acknowledged.
    let on_new = |sql: &str| duo.new.sql("app", sql).unwrap_or_else(fail("a query on new"));
    duo.sql(
        "DO $$ BEGIN UPDATE plain SET v = 1000 WHERE id = 50; COMMIT; UPDATE plain SET v = 1001 WHERE id = 51; END $$",
    );
    assert_eq!(on_new("SELECT string_agg(v::text, ' ' ORDER BY id) FROM plain WHERE id IN (50, 51)"), "1000 1001");
    duo.sql(
        "BEGIN; DELETE FROM plain WHERE id = 50; SAVEPOINT a; DELETE FROM plain WHERE id = 51; ROLLBACK TO a; COMMIT",
    );
    assert_eq!(on_new("SELECT string_agg(v::text, ' ' ORDER BY id) FROM plain WHERE id IN (50, 51)"), "1001");
    around(&duo, "TRUNCATE plain; DELETE FROM loose WHERE what = 'a'");
    duo.expect_equal();
    // Where others' triggers are silent, as for the apply worker of a subscription, these are not.
    around(
        &duo,
        "SET session_replication_role = replica; INSERT INTO plain VALUES (7, 7); INSERT INTO audited VALUES (70, 70)",
    );
    duo.expect_equal();
    let status = duo.status();
    let of = |name: &str| status["link"][name].as_u64().expect(name);
    assert_eq!(of("captured_total"), of("applied_total") + of("superseded_total"), "{status}");
    assert_eq!((of("lag_entries"), status["uncaptured_total"].as_u64()), (0, Some(0)), "{status}");
    duo.phase("old_only");
    assert_eq!(pgduets_triggers(&duo), "0");
}

#[test]
fn automatically_those_tables_get_triggers_that_returning_does_not_cover() {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    assert_eq!(capture_of(&duo, "audited"), "trigger: key");
    assert_eq!(capture_of(&duo, "plain"), "returning: key");
    duo.sql("INSERT INTO audited VALUES (1, 1); INSERT INTO plain VALUES (1000, 1)");
    around(&duo, "INSERT INTO audited VALUES (2, 2)");
    duo.expect_equal();
    assert_eq!(duo.on_both("SELECT string_agg(v::text, ' ' ORDER BY id) FROM audited"), "2 3");
}

/// What the proxy says of those who write without it.
fn bypassed(duo: &Duo) -> String {
    let status = duo.status();
    let tables = status["bypassed"].as_array().expect("a list").iter();
    tables
        .map(|t| format!("{} {}", t["table"].as_str().unwrap_or_default(), t["transactions"]))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Everything that makes the server's counters say more than was written: rollbacks, savepoints, statements that fail half-way, cascades,
/// subtransactions in functions, conflicts.
const UNTIDY: &str = "\\set id random(1, 100000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid BETWEEN :id AND :id + 20;
SAVEPOINT a;
INSERT INTO plain VALUES (:id, 0) ON CONFLICT (id) DO UPDATE SET v = plain.v + 1;
ROLLBACK TO a;
INSERT INTO plain VALUES (:id % 50, 0) ON CONFLICT (id) DO NOTHING;
SAVEPOINT b;
UPDATE plain SET v = v + 1 WHERE id = :id % 50;
RELEASE b;
SELECT try(:id);
COMMIT;
BEGIN;
DELETE FROM parent WHERE id = :client_id;
INSERT INTO parent VALUES (:client_id) ON CONFLICT DO NOTHING;
INSERT INTO child SELECT :id + g, :client_id FROM generate_series(1, 3) g ON CONFLICT DO NOTHING;
END;
BEGIN;
INSERT INTO pgbench_history (tid, bid, aid, delta) SELECT 1, 1, g, 0 FROM generate_series(1, 10) g;
UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = :id % 10 + 1;
ROLLBACK;
";

const UNTIDY_SCHEMA: &str = "CREATE TABLE plain (id int PRIMARY KEY, v int); CREATE TABLE parent (id int PRIMARY KEY); \
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED); \
    CREATE TABLE noted (id int); CREATE TABLE canary (n serial); \
    CREATE FUNCTION try(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
        BEGIN INSERT INTO noted VALUES (n); EXCEPTION WHEN others THEN NULL; END; \
        BEGIN INSERT INTO plain VALUES (n % 50, 0); EXCEPTION WHEN unique_violation THEN NULL; END; END $$";

#[test]
fn who_writes_around_the_proxy_is_named_and_nobody_else_is() {
    let duo = Duo::start_with(UNTIDY_SCHEMA, "");
    duo.pgbench_tables(1);
    duo.dual_write();
    // Until the watch is awake.
    duo.eventually("the first stranger is named", LIMIT, || {
        around(&duo, "INSERT INTO canary DEFAULT VALUES");
        bypassed(&duo).starts_with("public.canary")
    });
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    script.write_all(UNTIDY.as_bytes()).expect("a script");
    let untidy = duo.load(4, Protocol::Simple, Script::File(script.path().to_owned()));
    let running = duo.start_load(&untidy);
    for protocol in Protocol::ALL {
        duo.run(&duo.load(2, protocol, Script::TpcB));
    }
    let report = running.finish().unwrap_or_else(fail("pgbench"));
    assert!(report.transactions > 0, "{report:?}");
    for failing in [
        "INSERT INTO plain SELECT g, 1 / (200 - g) FROM generate_series(150, 250) g",
        "UPDATE pgbench_accounts SET abalance = 1 / 0",
    ] {
        assert!(duo.try_sql(failing).is_err());
    }
    duo.barrier();
    // One stranger in each table that is left: whatever else was counted would be somebody accused wrongly.
    around(&duo, "UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 100000");
    around(&duo, "INSERT INTO child VALUES (-1, NULL); INSERT INTO pgbench_history (tid) VALUES (-1)");
    around(&duo, "BEGIN; UPDATE pgbench_branches SET bbalance = bbalance + 1; ROLLBACK");
    duo.eventually("every stranger is named", LIMIT, || bypassed(&duo).split(", ").count() >= 4);
    let found = bypassed(&duo);
    let (_, others) = found.split_once(", ").expect("the canary is the first");
    assert_eq!(
        others,
        "public.child 1, public.pgbench_accounts 1, public.pgbench_history 1",
        "{}",
        duo.proxy.log_tail()
    );
    let metrics = duo.admin().call("GET", "/metrics", "").unwrap_or_else(fail("the metrics")).body;
    assert!(metrics.contains("pgduet_bypassed_total{table=\"public.child\"} 1"), "{metrics}");
}

#[test]
fn strangers_are_named_also_where_a_change_of_phase_gave_up_waiting() {
    let duo = Duo::start_with("CREATE TABLE plain (id serial PRIMARY KEY)", "timeouts: { phase_change: 1s }");
    block_on(async {
        let elder = connect(duo.proxy.port).await;
        elder.batch_execute("BEGIN; INSERT INTO plain DEFAULT VALUES").await.expect("a transaction of old_only");
        let refused = duo.admin().phase("dual_write").expect_err("the elder is still there").to_string();
        assert!(refused.contains("complete once they have ended"), "{refused}");
        assert_eq!(duo.status()["phase"], "dual_write");
        elder.batch_execute("COMMIT").await.expect("it ends, uncaptured");
    });
    duo.eventually("the stranger is named", LIMIT, || {
        around(&duo, "INSERT INTO plain DEFAULT VALUES");
        bypassed(&duo).starts_with("public.plain")
    });
}
