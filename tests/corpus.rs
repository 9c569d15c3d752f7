//! The analysis held against statements that PostgreSQL's grammar accepts: those of its own test scripts
//! (`../shared/corpus` beside the checkout, or `PGDUET_CORPUS`), else a smaller sample of our own. Rewritten statements are
//! given to a real server, whose grammar has the last word.

#[path = "corpus/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgduet::catalog::{Carry, Column, Exactness, Table, TableKind};
use pgduet::sql::lex::{Backslash, Lexer, TokenKind};
use pgduet::sql::{self, Capture, Kind, Statement, Unreadable, Verb};
use server::Server;
use tokio_postgres::{Client, SimpleQueryMessage};

struct Case {
    kind: String,
    sql: String,
}

/// All statements of the corpus, or those of the sample, which is said.
fn cases() -> Vec<Case> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/postgres15_statements.jsonl.gz");
    let path = std::env::var_os("PGDUET_CORPUS").map_or(beside, PathBuf::from);
    let text = match path.exists() {
        true => unzipped(&path),
        false => {
            eprintln!("NOTE: no corpus at {}: only the sample in tests/corpus_sample.jsonl is read", path.display());
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus_sample.jsonl"))
                .expect("sample")
        }
    };
    text.lines().map(case).collect()
}

fn unzipped(path: &Path) -> String {
    let output = Command::new("gzip").arg("-dc").arg(path).stdin(Stdio::null()).output().expect("gzip runs");
    assert!(output.status.success(), "gzip failed on {}", path.display());
    String::from_utf8(output.stdout).expect("the corpus is UTF-8")
}

fn case(line: &str) -> Case {
    let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
    let field = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
    Case { kind: field("kind"), sql: field("sql") }
}

/// The one statement of a text.
fn only(sql: &str) -> Statement {
    let mut script = sql::scan(sql.as_bytes());
    assert_eq!(script.statements.len(), 1, "one statement, but {} were found in: {sql}", script.statements.len());
    script.statements.remove(0)
}

/// Whether what the token tier says agrees with what the grammar said.
fn agrees(corpus: &str, found: &Kind) -> bool {
    match corpus {
        // INTO in a subquery is refused by the analysis, not by the grammar
        "SELECT" => matches!(found, Kind::Read | Kind::ReadLocking | Kind::WithDml | Kind::SelectInto { .. }),
        "VALUES" => matches!(found, Kind::Read | Kind::WithDml),
        "SELECT INTO" => matches!(found, Kind::SelectInto { .. }),
        "INSERT" => *found == Kind::Insert,
        "UPDATE" => *found == Kind::Update,
        "DELETE" => *found == Kind::Delete,
        "MERGE" => *found == Kind::Merge,
        "EXPLAIN" => matches!(found, Kind::Explain { .. }),
        "CURSOR" => matches!(found.label(), "cursor"),
        "TXN" => matches!(found.label(), "transaction" | "two_phase" | "set"),
        "PREPARE/EXECUTE" => matches!(found.label(), "prepare" | "execute"),
        "COPY" => matches!(found.label(), "copy_from" | "copy_to"),
        "SET/SHOW/DISCARD" => matches!(found.label(), "set" | "show" | "discard"),
        "LISTEN/NOTIFY" => found.label() == "notify",
        "DDL" => matches!(found.label(), "ddl" | "create_temp" | "create_table_as" | "other"),
        _ => !matches!(found, Kind::Read),
    }
}

#[test]
fn every_statement_is_of_the_kind_that_the_grammar_says() {
    let mut disagreements = Vec::new();
    let mut labels: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for case in cases() {
        let kind = only(&case.sql).kind;
        *labels.entry((case.kind.clone(), kind.label())).or_default() += 1;
        if !agrees(&case.kind, &kind) {
            disagreements.push(format!("{} taken for {kind:?}: {}", case.kind, case.sql));
        }
    }
    for ((corpus, label), count) in labels {
        println!("{corpus:45} {label:16} {count:6}");
    }
    assert!(disagreements.is_empty(), "{}\n{} disagree", disagreements.join("\n"), disagreements.len());
}

/// Looks for `AS (DELETE` and the like in the bare sequence of words, knowing nothing of clauses.
fn seems_to_write_inside(sql: &str) -> bool {
    let tokens: Vec<_> =
        Lexer::new(sql.as_bytes(), Backslash::Plain).filter(|token| !token.kind.is_comment()).collect();
    tokens.windows(3).any(|three| {
        let word = |i: usize| String::from_utf8_lossy(three[i].of(sql.as_bytes())).to_lowercase();
        let begins = matches!(word(0).as_str(), "as" | "materialized") && three[1].kind == TokenKind::OpenParen;
        begins && matches!(word(2).as_str(), "insert" | "update" | "delete" | "merge")
    })
}

#[test]
fn every_query_that_writes_inside_is_known_to_write() {
    let (mut writing, mut all) = (0, 0);
    for case in cases().iter().filter(|case| matches!(case.kind.as_str(), "SELECT" | "VALUES")) {
        all += 1;
        if seems_to_write_inside(&case.sql) {
            writing += 1;
            let statement = only(&case.sql);
            assert_eq!(statement.kind, Kind::WithDml, "{}", case.sql);
            assert!(statement.dml.iter().all(|dml| dml.inner));
        }
    }
    println!("{writing} of {all} queries write");
}

#[test]
fn every_write_shows_its_target() {
    for case in cases().iter().filter(|case| matches!(case.kind.as_str(), "INSERT" | "UPDATE" | "DELETE" | "MERGE")) {
        let statement = only(&case.sql);
        let outer = statement.dml.last().unwrap_or_else(|| panic!("no write in {}", case.sql));
        assert!(!outer.inner && outer.insert_at == statement.span.end, "{}", case.sql);
    }
}

#[test]
fn the_analysis_survives_every_prefix_and_damage() {
    for case in cases().iter().step_by(7) {
        let text = case.sql.as_bytes();
        for cut in (0..text.len()).step_by(3) {
            sql::scan(&text[..cut]);
            sql::scan(&text[cut..]);
            let mut damaged = text.to_vec();
            damaged[cut] = damaged[cut].wrapping_add(128);
            sql::scan(&damaged);
        }
    }
}

#[test]
fn no_read_that_the_tree_tier_admits_writes() {
    let (mut read, mut reasons) = (0, BTreeMap::<String, usize>::new());
    let work = move || {
        for case in cases() {
            let kind = only(&case.sql).kind;
            match sql::read_shape(&case.sql) {
                Ok(_) => {
                    assert!(kind == Kind::Read && matches!(case.kind.as_str(), "SELECT" | "VALUES"), "{}", case.sql);
                    read += 1;
                }
                Err(Unreadable::NotARead) => assert_ne!(kind, Kind::Read, "the two tiers disagree on {}", case.sql),
                Err(_) if kind != Kind::Read => {}
                Err(why) => *reasons.entry(why.to_string()).or_default() += 1,
            }
        }
        println!("{read} reads have a shape; of the others {reasons:?}");
        let others: usize = reasons.values().sum();
        assert!(read * 100 >= (read + others) * 85, "most of the reads should be understood");
    };
    // a quarter of the stack that a worker thread has
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).expect("a thread").join().expect("no panic");
}

/// A statement of a normal form: each `?` a constant again, and the operator `?` another one.
fn with_constants(form: &str) -> String {
    let form = form.replace("\\?", "@@@@");
    let mut text = String::new();
    let mut end = 0;
    for token in Lexer::new(form.as_bytes(), Backslash::Plain) {
        text.push_str(&form[end..token.start]);
        text.push_str(if &form[token.start..token.end] == "?" { "1" } else { &form[token.start..token.end] });
        end = token.end;
    }
    text
}

#[test]
fn a_normal_form_holds_all_that_makes_a_statement_itself() {
    for case in cases() {
        let form = sql::normalised(case.sql.as_bytes());
        let again = sql::normalised(with_constants(&form).as_bytes());
        assert_eq!(form.replace("\\?", "@@@@"), again, "{}", case.sql);
    }
}

fn column(name: &str, exactness: Exactness) -> Column {
    Column {
        name: name.into(),
        number: 1,
        type_oid: 23,
        array_oid: 1007,
        type_name: "integer".into(),
        not_null: true,
        generated: false,
        exactness,
        carry: Carry::Binary,
    }
}

fn table(name: &str, columns: &[(&str, Exactness)], key: &[usize]) -> Table {
    Table {
        oid: 1,
        schema: "public".into(),
        name: name.into(),
        kind: TableKind::Plain,
        columns: columns.iter().map(|(name, exactness)| column(name, *exactness)).collect(),
        key: key.to_vec(),
        mirrored: true,
        by_trigger: false,
        has_user_triggers: false,
        has_rules: false,
        has_heirs: false,
        has_blind_writers: false,
        row_security: false,
    }
}

fn rewritten(sql: &str, statement: &Statement, table: &Table, capture: Capture) -> String {
    let insertions = statement.dml.iter().flat_map(|dml| sql::insertions(dml, table, capture)).collect();
    String::from_utf8(sql::rewrite(sql.as_bytes(), insertions).text(sql.as_bytes())).expect("UTF-8 in, UTF-8 out")
}

/// Whether the server's grammar refuses a statement; what its analysis says does not matter here.
async fn grammar_refuses(client: &Client, sql: &str) -> Option<String> {
    let error = client.prepare(sql).await.err()?;
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error} on {sql}"));
    let grammar = error.code().code() == "42601" && error.message().contains("syntax error at");
    grammar.then(|| error.message().to_owned())
}

#[tokio::test]
async fn every_rewritten_write_is_accepted_by_the_servers_grammar() {
    let server = Server::start();
    let client = server.connect().await;
    let table = table("t", &[("id", Exactness::Plain), ("at", Exactness::Iso), ("f", Exactness::Pinned)], &[0, 1, 2]);
    let (mut texts, mut writes, mut skipped, mut merges) = (0, 0, 0, 0);
    for case in cases() {
        let mut statement = only(&case.sql);
        merges += statement.dml.iter().filter(|dml| dml.verb == Verb::Merge).count();
        statement.dml.retain(|dml| dml.verb != Verb::Merge);
        if statement.dml.is_empty() {
            continue;
        }
        if grammar_refuses(&client, &case.sql).await.is_some() {
            skipped += 1;
            continue;
        }
        texts += 1;
        writes += statement.dml.len();
        for capture in [Capture::Keys, Capture::Row, Capture::Table] {
            let text = rewritten(&case.sql, &statement, &table, capture);
            assert!(text.matches("pgduet.capture").count() == statement.dml.len(), "{text}");
            if let Some(why) = grammar_refuses(&client, &text).await {
                panic!("{why}: {text}");
            }
        }
    }
    println!(
        "{writes} writes in {texts} statements rewritten in three ways; {skipped} refused before, {merges} MERGE left out"
    );
}

const SCHEMA: &str = "
    CREATE SCHEMA pgduet;
    CREATE TABLE pgduet.journal (rel oid, op text, key text[]);
    CREATE FUNCTION pgduet.capture(rel oid, VARIADIC key text[]) RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO pgduet.journal VALUES (rel, 'k', key); END $$;
    CREATE FUNCTION pgduet.capture_row(rel oid, VARIADIC key text[]) RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO pgduet.journal VALUES (rel, 'r', key); END $$;
    CREATE FUNCTION pgduet.capture_table(rel oid) RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO pgduet.journal VALUES (rel, 't', NULL); END $$;
    CREATE TABLE t (id int, name varchar(10), n int DEFAULT 7, arr int[] DEFAULT '{1,2}', PRIMARY KEY (id));
    CREATE TABLE archive (LIKE t);
    CREATE TABLE log (line text, n int);
    INSERT INTO t SELECT i, 'row ' || i, i % 3 FROM generate_series(1, 9) i;
    INSERT INTO log VALUES ('first', 1);";

/// They are run as they stand, then rewritten, and must do and return the same.
const WRITES: &[&str] = &[
    "INSERT INTO t VALUES (10, 'ten'), (11, 'eleven')",
    "INSERT INTO t (id) SELECT id + 20 FROM t WHERE n = 1 RETURNING id, name",
    "INSERT INTO t AS x VALUES (1, 'one'), (12, 'twelve') ON CONFLICT (id) DO UPDATE SET name = excluded.name, n = x.n + 1",
    "INSERT INTO t VALUES (1, 'one'), (12, 'twelve') ON CONFLICT DO NOTHING RETURNING *",
    "INSERT INTO t VALUES (1, 'one') ON CONFLICT (id) DO UPDATE SET id = 77 -- the key",
    "UPDATE t SET name = 'x', arr[2] = 5 WHERE n = 1",
    "UPDATE t SET (name, n) = (SELECT 'y', 4) WHERE id < 4 RETURNING *, id AS \"again\"",
    "UPDATE public.t SET n = u.n + 1 FROM (SELECT id, n FROM t) u WHERE u.id = t.id + 1 RETURNING t.id, u.*",
    "UPDATE ONLY (t) AS \"T x\" SET n = n + 1 WHERE \"T x\".id IN (1, 2)",
    "UPDATE t SET id = id + 100 WHERE id < 3",
    "DELETE FROM t WHERE id BETWEEN 2 AND 4",
    "DELETE FROM t a USING t b WHERE a.id = b.id + 1 AND b.n = 0 RETURNING a.id, b.id; ",
    "WITH gone AS (DELETE FROM t WHERE n = 1 RETURNING *) INSERT INTO archive SELECT * FROM gone RETURNING id",
    "WITH gone AS (DELETE FROM t WHERE n = 1 RETURNING t.*) SELECT * FROM gone ORDER BY id",
    "WITH a AS (UPDATE t SET n = 8 WHERE id = 1 RETURNING name, n AS m), b AS (INSERT INTO log VALUES ('l', 1)) \
     SELECT a.*, pg_typeof(name) FROM a",
    "WITH a(b) AS (INSERT INTO t VALUES (40, 'forty') RETURNING id -- the id\n ) SELECT b FROM a UNION SELECT 1 ORDER BY 1",
    "WITH a AS (DELETE FROM t WHERE id = 5) UPDATE t SET n = 0 WHERE id = 6 RETURNING (SELECT count(*) FROM log)",
    "COPY (DELETE FROM t WHERE id = 3 RETURNING id, name) TO '/dev/null'",
    "INSERT INTO log VALUES ('a', 1), (NULL, 2)",
    "UPDATE log SET n = 3",
    "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM t WHERE id = 1",
];

type Rows = Vec<Vec<Option<String>>>;

async fn rows(client: &Client, sql: &str) -> Rows {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Every row of every table.
async fn state(client: &Client) -> BTreeSet<Vec<Option<String>>> {
    let all = "SELECT 't', id::text, t::text FROM t UNION ALL SELECT 'archive', id::text, archive::text FROM archive \
               UNION ALL SELECT 'log', '', log::text FROM log";
    rows(client, all).await.into_iter().collect()
}

/// Runs a text in a transaction of its own that is rolled back: what it returned, and what it left.
async fn outcome(client: &Client, sql: &str) -> (Rows, BTreeSet<Vec<Option<String>>>, Rows) {
    rows(client, "BEGIN").await;
    let returned = rows(client, sql).await;
    let left = state(client).await;
    let journal = rows(client, "SELECT rel::regclass::text, op, key[1] FROM pgduet.journal").await;
    rows(client, "ROLLBACK").await;
    (returned, left, journal)
}

#[tokio::test]
async fn a_rewritten_write_does_and_returns_the_same_and_leaves_every_key_it_touched() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute(SCHEMA).await.expect("the schema");
    let before = state(&client).await;
    for sql in WRITES {
        let statement = only(sql);
        let mut insertions = Vec::new();
        for dml in &statement.dml {
            let plain = |names: &[&'static str]| names.iter().map(|name| (*name, Exactness::Plain)).collect::<Vec<_>>();
            let table = match dml.target.name.as_str() {
                "t" => table("t", &plain(&["id", "name", "n", "arr"]), &[0]),
                "archive" => table("archive", &plain(&["id", "name", "n", "arr"]), &[]),
                _ => table("log", &plain(&["line", "n"]), &[]),
            };
            let capture = sql::capture(dml, &table);
            assert!(!matches!(capture, Capture::Impossible(_)), "{sql}: {capture:?}");
            insertions.extend(sql::insertions(dml, &table, capture));
        }
        let text = String::from_utf8(sql::rewrite(sql.as_bytes(), insertions).text(sql.as_bytes())).expect("UTF-8");
        let (returned, left, none) = outcome(&client, sql).await;
        let (mut with_call, left_with_call, journal) = outcome(&client, &text).await;
        let outer =
            statement.dml.iter().find(|dml| !dml.inner).filter(|_| !matches!(statement.kind, Kind::Explain { .. }));
        match outer {
            Some(dml) if dml.returning.is_none() => with_call.clear(),
            Some(_) => with_call.iter_mut().for_each(|row| drop(row.pop())),
            None => {}
        }
        assert!(none.is_empty(), "{sql}: {none:?}");
        if !matches!(statement.kind, Kind::Explain { .. }) {
            assert_eq!(returned, with_call, "{text}");
        }
        assert_eq!(left, left_with_call, "{text}");
        assert!(!journal.is_empty(), "{text}");
        for row in before.symmetric_difference(&left) {
            let of_table = |entry: &&Vec<Option<String>>| entry[0] == row[0];
            let covers = |entry: &Vec<Option<String>>| entry[1].as_deref() != Some("k") || entry[2] == row[1];
            assert!(journal.iter().filter(of_table).any(covers), "{row:?} is not journalled by {text}: {journal:?}");
        }
    }
}
