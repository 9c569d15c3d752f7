//! The SQL console: what psql and drivers see of it, what it changes, and who may use it.

use std::process::Stdio;

use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::rig;
use crate::support::Duo;
use crate::support::client::block_on;

/// What psql prints, and its complaints.
fn psql(duo: &Duo, user: &str, commands: &[&str]) -> (String, String) {
    let mut command = duo.binaries.program("psql");
    command.args(["-X", "-d", &duo.proxy.url(user, "pgduet")]).stdin(Stdio::null());
    command.args(commands.iter().flat_map(|sql| ["-c", sql]));
    let output = command.output().expect("psql");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_operator_at_psql_sees_everything_and_changes_the_policy() {
    let duo = Duo::start_with("CREATE TABLE note (id integer PRIMARY KEY)", "");
    let topics = [
        "help",
        "phase",
        "link",
        "reads",
        "shadow",
        "findings",
        "statements",
        "clients",
        "backends",
        "tables",
        "parked",
        "history",
        "doctor",
        "config",
        "version",
    ];
    for topic in topics {
        let (shown, complaints) = psql(&duo, "app", &[&format!("SHOW {}", topic.to_uppercase())]);
        assert_eq!(complaints, "", "SHOW {topic}");
        assert!(shown.contains("row"), "SHOW {topic}: {shown}");
    }
    let (shown, complaints) = psql(&duo, "app", &["SET phase = 'dual_write'", "SET read_percent = 12.5", "SHOW PHASE"]);
    assert_eq!(complaints, "");
    assert!(shown.starts_with("SET\nSET\n"), "{shown}");
    assert_eq!(
        (duo.status()["phase"].as_str(), duo.status()["read_percent"].as_f64()),
        (Some("dual_write"), Some(12.5))
    );
    let (shown, _) = psql(&duo, "app", &["SHOW HISTORY"]);
    assert!(shown.contains("| app "), "a change is recorded with who made it: {shown}");
    let (shown, _) = psql(&duo, "app", &["EXPLAIN ROUTE SELECT * FROM note WHERE id = 1 /* pgduet_key='42' */"]);
    assert!(shown.contains("bucket_closed") || shown.contains("bucket_open"), "{shown}");
    let (shown, complaints) = psql(&duo, "app", &["PAUSE", "SHOW LINK", "RESUME"]);
    assert!(
        shown.starts_with("PAUSE\n") && shown.ends_with("RESUME\n") && complaints.is_empty(),
        "{shown}{complaints}"
    );
    // psql answers a `;` with several commands in one message, too.
    let (shown, _) = psql(&duo, "app", &["SHOW VERSION; SHOW CLIENTS;"]);
    assert!(shown.contains("pgduet 0.") && shown.contains("max_connections"), "{shown}");
}

#[test]
fn what_it_does_not_know_is_an_error_with_a_hint() {
    let duo = Duo::start("");
    let cases = [
        ("\\d", "the console has no tables"),
        ("SELECT * FROM pg_stat_activity", "SHOW HELP"),
        ("SHOW EVERYTHING", "STATEMENTS"),
        ("SET read_percent = 250", "0 to 100"),
        ("SET work_mem = '1GB'", "read_percent"),
        ("VACUUM", "SHOW HELP"),
    ];
    for (command, expected) in cases {
        let (_, complaints) = psql(&duo, "app", &[command]);
        assert!(complaints.contains("ERROR") && complaints.contains(expected), "{command}: {complaints}");
    }
    let (_, complaints) = psql(&duo, "app", &["SET read_percent = 25"]);
    assert!(complaints.contains("ERROR:  a gate does not hold: phase_has_secondary"), "{complaints}");
    assert!(complaints.contains("DETAIL:  phase_has_secondary: phase: old_only."), "{complaints}");
    assert!(complaints.contains("HINT:"), "{complaints}");
    let (shown, _) = psql(&duo, "app", &["EXPLAIN SET phase = 'dual_write'"]);
    assert!(shown.contains("backends_prepared") && duo.status()["phase"] == "old_only", "{shown}");
}

#[test]
fn a_driver_with_prepared_statements_and_binary_values_is_served() {
    let duo = Duo::start("");
    block_on(async {
        let mut config = Config::new();
        config.host("127.0.0.1").port(duo.proxy.port).user("app").dbname("pgduet");
        let (mut client, connection) = config.connect(NoTls).await.expect("the console");
        tokio::spawn(connection);
        let row = client.query_one("SHOW PHASE", &[]).await.expect("a row");
        assert_eq!(row.get::<_, &str>("phase"), "old_only");
        assert_eq!((row.get::<_, f64>("read_percent"), row.get::<_, i64>("epoch")), (0.0, 0));
        let statement = client.prepare("SHOW TABLES").await.expect("prepare");
        assert_eq!(statement.columns().len(), 5);
        assert!(client.query(&statement, &[]).await.expect("tables").is_empty());
        let error = client.query("SELECT * FROM t", &[]).await.expect_err("no tables");
        assert_eq!(error.code().map(|code| code.code()), Some("0A000"));
        // A transaction around it, as drivers open without being asked.
        let transaction = client.transaction().await.expect("BEGIN");
        assert_eq!(transaction.query("SHOW BACKENDS", &[]).await.expect("rows").len(), 2);
        transaction.commit().await.expect("COMMIT");
        let answers = client.simple_query("SHOW VERSION; SHOW PHASE").await.expect("two answers");
        assert_eq!(answers.iter().filter(|a| matches!(a, SimpleQueryMessage::Row(_))).count(), 2);
    });
}

#[test]
fn only_those_who_are_listed_may_use_it() {
    let duo = rig::with_admin("users: [ops]");
    let (_, complaints) = psql(&duo, "app", &["SHOW PHASE"]);
    assert!(complaints.contains("permission denied for database \"pgduet\""), "{complaints}");
    assert!(complaints.contains("admin.users"), "{complaints}");
    let (shown, _) = psql(&duo, "ops", &["SHOW PHASE"]);
    assert!(shown.contains("old_only"), "{shown}");
}

#[test]
fn consoles_are_bounded_and_take_nothing_from_clients() {
    let duo = Duo::start("");
    block_on(async {
        let mut config = Config::new();
        config.host("127.0.0.1").port(duo.proxy.port).user("app").dbname("pgduet");
        let mut open = vec![];
        let refused = loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => open.push((client, tokio::spawn(connection))),
                Err(error) => break error,
            }
            assert!(open.len() <= 16, "there is no bound");
        };
        assert_eq!(refused.code().map(|code| code.code()), Some("53300"));
        assert_eq!(duo.sql("SELECT 1"), "1", "clients are served beside them");
        // The one that has just left may not be out of the door yet.
        duo.eventually("no console counts as a client", std::time::Duration::from_secs(5), || {
            duo.status()["clients"] == 0
        });
    });
}
