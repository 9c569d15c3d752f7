//! Writes that do not come through the proxy: carried where triggers capture.

mod support;

use support::{Duo, fail};

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
    around(&duo, "UPDATE plain SET v = v + 1; DELETE FROM plain WHERE id < 10; INSERT INTO loose VALUES ('a'), (NULL)");
    duo.expect_equal();
    duo.sql("INSERT INTO plain VALUES (1, 1), (2, 2); UPDATE plain SET id = -id WHERE id < 20; INSERT INTO loose VALUES ('b')");
    duo.sql("INSERT INTO audited SELECT i, i FROM generate_series(1, 50) i");
    duo.expect_equal();
    around(&duo, "TRUNCATE plain; DELETE FROM loose WHERE what = 'a'");
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
