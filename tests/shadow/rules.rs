//! Each rule of comparison, against two servers that hold what the rule is about.

use std::time::Duration;

use super::support::Duo;

fn duo(schema: &str) -> Duo {
    let duo = Duo::start_with(schema, "shadow: { sample_percent: 100 }");
    duo.dual_write();
    duo
}

/// Sends each statement once and says how its comparison ended.
fn outcome(duo: &Duo, sql: &str) -> String {
    let names = ["matched", "mismatched", "raced", "inconclusive", "failed"];
    let counts = || names.map(|name| duo.count(&format!("/shadow/{name}_total")));
    let before = counts();
    let _ = duo.try_sql(sql);
    let mut now = before;
    duo.eventually(sql, Duration::from_secs(20), || {
        now = counts();
        now != before
    });
    let changed = names.iter().zip(before.iter().zip(&now)).filter(|(_, (a, b))| a != b);
    changed.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_a_statement_leaves_open_is_no_finding() {
    let duo = duo(
        "CREATE TABLE t (id integer PRIMARY KEY, k integer NOT NULL, v text NOT NULL, f float8, j jsonb, n numeric, z timestamptz); \
         CREATE TABLE u (id integer PRIMARY KEY, v text)",
    );
    // The same rows, stored in another order, so that scans return them so.
    let rows = "INSERT INTO t SELECT i, i % 3, 'v' || i, 0.1 * i, jsonb_build_object('a', i), i, '2026-01-01Z' FROM generate_series(1, 60) i ORDER BY ";
    duo.old.sql("app", &format!("{rows} i")).expect("rows");
    duo.new.sql("app", &format!("{rows} -i")).expect("rows");
    for (sql, expected) in [
        ("SELECT * FROM t", "matched"),
        ("SELECT k, v FROM t ORDER BY k", "matched"),
        ("SELECT v FROM t ORDER BY id", "matched"),
        ("SELECT sum(f), avg(f) FROM t", "matched"),
        ("SELECT v FROM t ORDER BY k", "inconclusive"),
        ("SELECT v FROM t LIMIT 3", "inconclusive"),
        ("SELECT k, v FROM t ORDER BY k LIMIT 3", "inconclusive"),
        ("SELECT array_agg(id) FROM t", "inconclusive"),
        ("SELECT id, row_number() OVER (ORDER BY k) FROM t", "inconclusive"),
        ("SELECT now() FROM t WHERE id = 1", "inconclusive"),
        ("SELECT 1 / (k - k) FROM t", "matched"),
        ("SELECT missing FROM u", "matched"),
    ] {
        assert_eq!(outcome(&duo, sql), expected, "{sql}");
    }
    duo.new.sql("app", "UPDATE t SET n = n::numeric(10, 4), f = f * 1.0000000000001").expect("the same values");
    for sql in ["SELECT n FROM t WHERE id = 7", "SELECT f FROM t WHERE id = 7", "SELECT id, n, f FROM t"] {
        assert_eq!(outcome(&duo, sql), "matched", "{sql}");
    }
    duo.new.sql("app", "ALTER DATABASE app SET timezone = 'Asia/Kathmandu'").expect("another zone");
    let findings = duo.admin().get("/api/findings").expect("findings");
    assert_eq!(findings["findings"].as_array().map(Vec::len), Some(0), "{findings}");
}

#[test]
fn what_differs_is_a_finding_and_says_how_without_values() {
    let duo = duo(
        "CREATE TABLE t (id integer PRIMARY KEY, k integer NOT NULL, v text NOT NULL, f float8, j jsonb, n numeric, z timestamptz); \
         INSERT INTO t SELECT i, i % 3, 'secret' || i, 0.1 * i, jsonb_build_object('a', i), i, '2026-01-01Z' FROM generate_series(1, 9) i",
    );
    duo.new.sql("app", "UPDATE t SET v = 'stolen', f = f * 1.01, j = '{\"a\": 77}', n = n + 0.01, z = z + interval '1 us' WHERE id = 7").expect("a fault");
    duo.new.sql("app", "UPDATE t SET k = 5 WHERE id = 1").expect("a fault");
    for (sql, what) in [
        ("SELECT v FROM t WHERE id = 7", "columns v"),
        ("SELECT f FROM t WHERE id = 7", "rows differ"),
        ("SELECT j FROM t WHERE id = 7", "columns j"),
        ("SELECT n FROM t WHERE id = 7", "columns n"),
        ("SELECT z FROM t WHERE id = 7", "columns z"),
        ("SELECT id FROM t ORDER BY k, id", "order"),
        ("SELECT k, id FROM t ORDER BY k LIMIT 6", "order"),
        ("SELECT id FROM t WHERE k < 5", "number of rows"),
        ("SELECT id FROM t WHERE k < 5 LIMIT 9", "number of rows"),
        ("SELECT 1 / (k - 5) FROM t WHERE id = 1", "one side fails"),
    ] {
        assert_eq!(outcome(&duo, sql), "mismatched", "{sql}");
        let normal = pgduet::sql::normalised(sql.as_bytes());
        let findings = duo.admin().get("/api/findings").expect("findings");
        let all = findings["findings"].as_array().expect("a list");
        let found =
            all.iter().find(|f| f["statement"] == normal.as_str()).unwrap_or_else(|| panic!("{normal}: {findings}"));
        assert!(found["last_mismatch"].to_string().contains(what), "{sql}: {found}");
        assert!(!found.to_string().contains("secret") && !found.to_string().contains("stolen"), "{found}");
    }
}
