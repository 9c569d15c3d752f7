//! The same exchange, held with bare PostgreSQL and through the proxy, is the same bytes.
//!
//! `cases/*.wire` are the exchanges (`script.rs` says how they are written). Each is held twice, on two servers that began with the same
//! rows: once with PostgreSQL itself, once with the proxy in one of three modes. `PGDUET_WIRE_CASE=words` holds only the exchanges that have the words in
//! their file's name or their own; `PGDUET_WIRE_RECORD=1` writes down PostgreSQL's answers' types.

mod back;
mod carried;
mod front;
mod pressure;
mod random;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod talk;

use std::path::Path;

use pgduet::demo::cluster::{Cluster, Options, psql};

use script::File;
use support::{Duo, fail};
use talk::{Server, Transcript, hold};

const SCHEMA: &str = include_str!("schema.sql");
/// A role that the client may take on, and that may do little.
const ROLES: &str = "CREATE ROLE reader; GRANT reader TO app";
/// What `new` calls by other numbers than `old`, as two real databases do.
const RENUMBERED: &str = "DROP TABLE feeling; DROP TYPE mood; CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); \
    CREATE TABLE feeling (id integer PRIMARY KEY, m mood, p positive, ms mood[]); \
    INSERT INTO feeling VALUES (1, 'sad', 1, '{sad,ok}'), (2, 'happy', 2, NULL)";
/// Of one run, so many differences are shown.
const SHOWN: usize = 30;

#[test]
fn in_old_only_a_client_sees_the_bytes_that_postgres_sends() {
    Pair::start("").compare("cases");
}

#[test]
fn a_captured_write_is_the_bytes_that_postgres_sends() {
    let pair = Pair::start("");
    pair.duo.dual_write();
    pair.compare("cases");
}

#[test]
fn a_read_on_the_other_database_is_the_bytes_that_postgres_sends() {
    let pair = Pair::start("");
    pair.duo.dual_write();
    pair.duo.read_percent(100.0);
    pair.compare("cases");
    assert!(pair.duo.count("/reads/new_total") > 100, "hardly a read has moved: {}", pair.duo.status());
}

#[test]
fn the_known_differences_are_these() {
    let pair = Pair::start("");
    pair.duo.dual_write();
    let (held, differences) = pair.hold_all("cases/known");
    assert_eq!(differences.len(), held, "one is gone: {}", differences.join("\n"));
}

#[test]
fn a_change_of_phase_is_not_to_be_seen() {
    Pair::start("").compare("cases/phases");
}

/// The proxy between two servers, and a third server that began as they did.
struct Pair {
    duo: Duo,
    bare: Cluster,
}

impl Pair {
    fn start(settings: &str) -> Pair {
        Pair::of(SCHEMA, RENUMBERED, "GRANT SELECT ON item TO reader", settings)
    }

    /// `renumbered` is run on `new` alone, `grants` on all.
    fn of(schema: &str, renumbered: &str, grants: &str, settings: &str) -> Pair {
        let duo = Duo::start_with(schema, settings);
        let bare = Cluster::start(&duo.binaries, Options::quick("old")).unwrap_or_else(fail("a server"));
        psql(&duo.binaries, &bare.url("app", "app"), schema).unwrap_or_else(fail("the schema"));
        psql(&duo.binaries, &duo.new.url("app", "app"), renumbered).unwrap_or_else(fail("other numbers"));
        for cluster in [&duo.old, &duo.new, &bare] {
            cluster.sql("app", ROLES).unwrap_or_else(fail("the role"));
            cluster.sql("app", grants).unwrap_or_else(fail("its rights"));
        }
        Pair { duo, bare }
    }

    fn compare(&self, folder: &str) {
        let (held, differences) = self.hold_all(folder);
        let shown: Vec<_> = differences.iter().take(SHOWN).map(String::as_str).collect();
        assert!(differences.is_empty(), "{} of {held} differ:\n{}", differences.len(), shown.join("\n"));
        println!("{held} exchanges, the same bytes");
    }

    /// How many exchanges were held, and what was different.
    fn hold_all(&self, folder: &str) -> (usize, Vec<String>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(folder);
        let (mut held, mut differences) = (0, vec![]);
        for file in script::read_all(&folder) {
            let mut recorded = vec![];
            for exchange in file.exchanges.iter().filter(|e| is_wanted(&file.path, &e.name)) {
                let expected = hold(exchange, &Server { port: self.bare.port(), database: "app", phase: &|_| {} });
                let proxied = Server { port: self.duo.proxy.port, database: "app", phase: &|p| self.duo.phase(p) };
                let seen = hold(exchange, &proxied);
                held += 1;
                let place = format!("{}: {}", file.path.file_name().expect("a name").display(), exchange.name);
                differences.extend(difference(&place, &expected, &seen));
                differences.extend(unlike_the_record(&place, exchange, &expected));
                recorded.extend(expected.letters);
            }
            if std::env::var_os("PGDUET_WIRE_RECORD").is_some() {
                record(&file, &recorded);
            }
        }
        (held, differences)
    }
}

fn record(file: &File, recorded: &[(usize, String)]) {
    if std::env::var_os("PGDUET_WIRE_CASE").is_none() {
        script::record(file, recorded);
    }
}

fn is_wanted(path: &Path, name: &str) -> bool {
    let Ok(words) = std::env::var("PGDUET_WIRE_CASE") else { return true };
    path.to_string_lossy().contains(&words) || name.contains(&words)
}

fn difference(place: &str, expected: &Transcript, seen: &Transcript) -> Option<String> {
    if expected.lines == seen.lines {
        return None;
    }
    let at = expected.lines.iter().zip(&seen.lines).take_while(|(a, b)| a == b).count();
    let line = |t: &Transcript, at: usize| t.lines.get(at).map_or_else(|| "(nothing)".into(), |l| shorten(l));
    let before = at.checked_sub(1).map(|at| line(expected, at)).unwrap_or_default();
    let show = |t: &Transcript| format!("{}\n            {}", line(t, at), line(t, at + 1));
    Some(format!("{place}\n  after     {before}\n  postgres  {}\n  pgduet    {}", show(expected), show(seen)))
}

fn shorten(line: &str) -> String {
    line.chars().take(600).collect()
}

/// The record shows what an exchange was written for; without it, a slip would be compared with the same slip.
fn unlike_the_record(place: &str, exchange: &script::Exchange, answered: &Transcript) -> Option<String> {
    if std::env::var_os("PGDUET_WIRE_RECORD").is_some() {
        return None;
    }
    let recorded = exchange.steps.iter().filter_map(|step| match &step.what {
        script::What::Until { expected, .. } => Some(expected.as_deref()),
        _ => None,
    });
    let letters = answered.letters.iter().map(|(_, letters)| letters.as_str());
    let unlike: Vec<_> =
        recorded.zip(letters).filter(|(known, seen)| known.is_some_and(|known| known != *seen)).collect();
    (!unlike.is_empty()).then(|| format!("{place}\n  recorded and answered by postgres: {unlike:?}"))
}
