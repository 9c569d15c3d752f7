//! What a session has goes with its reads to the other database; what cannot go keeps them where they were, and says why.

use tokio_postgres::SimpleQueryMessage;

use super::support::Duo;
use super::support::client::{block_on, connect};

/// One row a table, and it says where it is: so a read tells which database has answered.
const PLACES: &str = "
    CREATE TABLE place (name text PRIMARY KEY, day date NOT NULL, f float8 NOT NULL);
    CREATE SCHEMA other;
    CREATE TABLE other.place (name text PRIMARY KEY);
    CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('app.tenant', true) $$;
    CREATE FUNCTION german() RETURNS text LANGUAGE sql AS $$ SELECT set_config('DateStyle', 'German', false) $$";

fn duo() -> Duo {
    let duo = Duo::start_with(PLACES, "shadow: { sample_percent: 0 }");
    for side in [&duo.old, &duo.new] {
        let name = side.name();
        let rows = format!(
            "INSERT INTO place VALUES ('{name}', '2020-02-29', 0.1); INSERT INTO other.place VALUES ('other {name}')"
        );
        side.sql("app", &rows).expect("rows");
    }
    duo
}

fn reading() -> Duo {
    let duo = duo();
    duo.dual_write();
    duo.read_percent(100.0);
    duo
}

struct Client(tokio_postgres::Client);

impl Client {
    async fn connect(duo: &Duo) -> Client {
        Client(connect(duo.proxy.port).await)
    }

    /// The values of the last row, joined by a blank.
    async fn ask(&self, sql: &str) -> String {
        let messages = self.0.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let row = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.map_or(String::new(), |row| {
            (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect::<Vec<_>>().join(" ")
        })
    }
}

fn all_reads(duo: &Duo) -> String {
    let metrics = duo.admin().call("GET", "/metrics", "").expect("the metrics").body;
    metrics.lines().filter(|line| line.starts_with("pgduet_reads_total{") && !line.ends_with(" 0")).collect()
}

fn reads(duo: &Duo, reason: &str) -> u64 {
    let metrics = duo.admin().call("GET", "/metrics", "").expect("the metrics").body;
    let wanted = format!("reason=\"{reason}\"");
    let lines = metrics.lines().filter(|line| line.starts_with("pgduet_reads_total{") && line.contains(&wanted));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn settings_go_with_the_read_and_come_back() {
    let duo = reading();
    block_on(async {
        let client = Client::connect(&duo).await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 2020-02-29");
        client.ask("SET DateStyle = 'German'").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 29.02.2020");
        client.ask("BEGIN; SET DateStyle = 'SQL, MDY'; ROLLBACK").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 29.02.2020");
        client.ask("SET search_path = other").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "other new");
        client.ask("RESET ALL").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 2020-02-29");
        client.ask("SELECT german()").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 29.02.2020");
        client.ask("DISCARD ALL").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 2020-02-29");
        client.ask("SET app.tenant = 'seven'").await;
        assert_eq!(client.ask("SELECT name, tenant() FROM place").await, "new seven");
        client.ask("SELECT set_config('app.tenant', 'eight', false)").await;
        assert_eq!(client.ask("SELECT name, tenant() FROM place").await, "new eight");
    });
}

#[test]
fn a_prepared_read_and_one_in_a_transaction_have_the_settings_too() {
    let duo = reading();
    block_on(async {
        let client = Client::connect(&duo).await;
        let read = client.0.prepare("SELECT name || ' ' || day FROM place").await.expect("prepare");
        client.ask("SET DateStyle = 'German'").await;
        let row = client.0.query_one(&read, &[]).await.expect("a row");
        assert_eq!(row.get::<_, String>(0), "new 29.02.2020");
        client.ask("SET DateStyle = 'ISO, DMY'").await;
        client.ask("BEGIN").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 2020-02-29");
        client.ask("SET LOCAL DateStyle = 'German'").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "old 29.02.2020");
        client.ask("COMMIT").await;
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 2020-02-29");
    });
}

#[test]
fn what_was_set_before_capture_began_is_not_forgotten() {
    let duo = duo();
    block_on(async {
        let (client, temporary) = (Client::connect(&duo).await, Client::connect(&duo).await);
        client.ask("SET DateStyle = 'German'").await;
        temporary.ask("CREATE TEMP TABLE place AS SELECT 'mine' AS name").await;
        duo.dual_write();
        duo.read_percent(100.0);
        assert_eq!(client.ask("SELECT name, day FROM place").await, "new 29.02.2020");
        assert_eq!(temporary.ask("SELECT name FROM place").await, "mine");
        assert_eq!(temporary.ask("SELECT name FROM public.place").await, "old");
    });
}

#[test]
fn what_cannot_be_carried_pins_the_session_while_it_is_there() {
    let duo = reading();
    block_on(async {
        let client = Client::connect(&duo).await;
        let cases = [
            ("CREATE TEMP TABLE t (a integer)", "DROP TABLE t", "temporary_table"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c", "held_cursor"),
            ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)", "advisory_lock"),
        ];
        for (begin, end, reason) in cases {
            assert_eq!(client.ask("SELECT name FROM place").await, "new");
            client.ask(begin).await;
            assert_eq!(client.ask("SELECT name FROM place").await, "old", "after {begin}");
            assert_eq!(reads(&duo, reason), 1, "after {begin}: {}", all_reads(&duo));
            client.ask(end).await;
            assert_eq!(client.ask("SELECT name FROM place").await, "new", "after {end}");
        }
        client.ask("CREATE TEMP TABLE t (a integer)").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "old");
        client.ask("DISCARD ALL").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "new");
        client.ask("LISTEN nothing").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "new");
    });
}

#[test]
fn what_the_other_database_refuses_keeps_the_reads_where_they_were() {
    let duo = reading();
    duo.old
        .sql("app", "CREATE ROLE only_here; GRANT only_here TO app; GRANT SELECT ON place TO only_here")
        .expect("a role");
    block_on(async {
        let client = Client::connect(&duo).await;
        client.ask("SET ROLE only_here").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "old");
        assert_eq!(client.ask("SELECT name FROM place").await, "old");
        assert_eq!(reads(&duo, "not_carried"), 2);
        client.ask("RESET ROLE").await;
        assert_eq!(client.ask("SELECT name FROM place").await, "new");
    });
}

#[test]
fn a_lost_connection_to_the_secondary_is_given_everything_again() {
    let duo = reading();
    block_on(async {
        let client = Client::connect(&duo).await;
        client.ask("SET DateStyle = 'German'").await;
        for _ in 0..3 {
            let seen = client.ask("SELECT name, day FROM place").await;
            assert_eq!(seen.split(' ').nth(1), Some("29.02.2020"), "{seen}");
            let ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' AND pid <> pg_backend_pid()";
            duo.new.sql("postgres", ends).expect("an end");
            let gone = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
            duo.eventually("it is gone", std::time::Duration::from_secs(10), || {
                duo.new.sql("postgres", gone).is_ok_and(|n| n == "0")
            });
        }
        assert_eq!(client.ask("SELECT name, day FROM place").await.split(' ').nth(1), Some("29.02.2020"));
    });
}
