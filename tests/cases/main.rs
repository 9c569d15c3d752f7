//! Every form that a write can take, one directory a case: `schema.sql` and `seed.sql` are run on both servers, `workload.sql` through the
//! proxy, in the simple protocol (by psql) and in the extended one, with `ack: both` and `ack: primary`. Then every table is the same row
//! for row, nothing was uncaptured but what the file `uncaptured` counts, and the client has seen what bare PostgreSQL says.
//!
//! A workload beside the first (`workload_2.sql`) is run at the same time by another session; what the sessions see is then left alone.
//! `PGDUET_TEST_NEW_PG_BIN` names the programs of another version for `new`. `PGDUET_CASE=word` runs only the cases that have the word in their name.

mod extended;
#[path = "../support/mod.rs"]
mod support;
mod workload;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::Cluster;
use pgduet::demo::compare::compare;
use support::client::block_on;
use support::{Duo, fail};
use workload::{Seen, Workload};

/// Each has a schema of its own, in which all cases' tables are.
const VARIANTS: [Variant; 4] = [
    Variant { role: "simple_both", extended: false, ack: "both" },
    Variant { role: "extended_both", extended: true, ack: "both" },
    Variant { role: "simple_primary", extended: false, ack: "primary" },
    Variant { role: "extended_primary", extended: true, ack: "primary" },
];

/// A role that the clients may take on.
const ROLES: &str = "CREATE ROLE clerk";

struct Variant {
    role: &'static str,
    extended: bool,
    ack: &'static str,
}

struct Case {
    name: String,
    directory: PathBuf,
}

impl Case {
    fn all() -> Vec<Case> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let wanted = std::env::var("PGDUET_CASE").unwrap_or_default();
        let entries = std::fs::read_dir(directory).expect("tests/cases").flatten().map(|entry| entry.path());
        let named = |directory: PathBuf| {
            let name = directory.file_name()?.to_str()?.to_owned();
            (directory.is_dir() && name.contains(&wanted)).then_some(Case { name, directory })
        };
        let mut cases: Vec<Case> = entries.filter_map(named).collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.directory.join(file)).ok()
    }

    /// `requires.sql` says true where a server has what the case needs.
    fn can_be_played(&self, duo: &Duo) -> bool {
        let Some(question) = self.read("requires.sql") else { return true };
        let able = |cluster: &Cluster| cluster.sql("app", &question).unwrap_or_else(fail("requires.sql")).trim() == "t";
        let played = able(&duo.old) && able(&duo.new);
        if !played {
            println!("SKIPPED: {}: a server has not what it needs", self.name);
        }
        played
    }

    fn workloads(&self) -> Vec<PathBuf> {
        let more = (2..).map(|n| format!("workload_{n}.sql"));
        let names = std::iter::once("workload.sql".to_owned()).chain(more);
        names.map(|name| self.directory.join(name)).take_while(|path| path.exists()).collect()
    }

    /// How many writes nobody can capture.
    fn uncaptured(&self) -> u64 {
        self.read("uncaptured").map_or(0, |text| text.trim().parse().expect("a number"))
    }
}

#[test]
fn every_form_of_write_lands_on_both_and_looks_as_it_does_without_a_proxy() {
    let (stage, cases) = Stage::build(Case::all());
    let mut wrong = vec![];
    for variant in &VARIANTS {
        let ack = serde_json::json!({ "ack": variant.ack, "by": "a test" });
        stage.duo.admin().policy(ack).unwrap_or_else(fail("the policy"));
        for case in &cases {
            let before = stage.duo.count("/uncaptured_total");
            wrong.extend(
                stage.run(case, variant).into_iter().map(|w| format!("{} as {}: {w}", case.name, variant.role)),
            );
            let uncaptured = stage.duo.count("/uncaptured_total") - before;
            if uncaptured != case.uncaptured() {
                wrong.push(format!("{} as {}: {uncaptured} writes were not captured", case.name, variant.role));
            }
        }
    }
    stage.duo.barrier();
    wrong.extend(stage.differences());
    let named = stage.duo.status()["uncaptured"].to_string();
    assert!(wrong.is_empty(), "{}\n{named}\n{}\n{}", wrong.join("\n"), stage.duo.status(), stage.duo.proxy.log_tail());
    println!("{} cases in {} ways", cases.len(), VARIANTS.len());
}

/// The proxy between two servers, and a database beside it that no proxy stands before.
struct Stage {
    duo: Duo,
}

impl Stage {
    /// With the cases that these servers can play.
    fn build(mut cases: Vec<Case>) -> (Stage, Vec<Case>) {
        let duo = Duo::start("");
        cases.retain(|case| case.can_be_played(&duo));
        for cluster in [&duo.old, &duo.new] {
            let roles: Vec<String> =
                VARIANTS.iter().map(|v| format!("CREATE ROLE {} LOGIN; GRANT clerk TO {0}", v.role)).collect();
            cluster.sql("app", &format!("{ROLES}; {}", roles.join("; "))).unwrap_or_else(fail("the roles"));
        }
        duo.old.sql("postgres", "CREATE DATABASE bare").unwrap_or_else(fail("a database"));
        let stage = Stage { duo };
        for (cluster, database) in [(&stage.duo.old, "app"), (&stage.duo.new, "app"), (&stage.duo.old, "bare")] {
            for variant in &VARIANTS {
                let allow = format!(
                    "CREATE SCHEMA {0} AUTHORIZATION {0}; GRANT CREATE ON DATABASE {database} TO {0}; \
                    GRANT USAGE ON SCHEMA {0} TO clerk",
                    variant.role
                );
                cluster.sql(database, &allow).unwrap_or_else(fail("a schema"));
                let files =
                    cases.iter().flat_map(|case| ["schema.sql", "seed.sql"].map(|file| case.directory.join(file)));
                let files: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
                let printed = psql(&stage.duo.binaries, &cluster.url(variant.role, database), &files);
                assert!(printed.errors.is_empty(), "{database} on {}: {}", cluster.name(), printed.errors.join("\n"));
            }
        }
        stage.duo.dual_write();
        (stage, cases)
    }

    /// Runs a case's workload, and says in what it looked otherwise than without the proxy.
    fn run(&self, case: &Case, variant: &Variant) -> Option<String> {
        let workloads = case.workloads();
        let proxied = self.play(&workloads, variant, &self.duo.proxy.url(variant.role, "app"));
        if workloads.len() > 1 {
            return None;
        }
        let bare = self.play(&workloads, variant, &self.duo.old.url(variant.role, "bare"));
        difference(&bare[0], &proxied[0])
    }

    fn play(&self, workloads: &[PathBuf], variant: &Variant, url: &str) -> Vec<Seen> {
        let (binaries, extended) = (&self.duo.binaries, variant.extended);
        std::thread::scope(|scope| {
            let one = |path: &PathBuf| match extended {
                false => psql(binaries, url, std::slice::from_ref(path)),
                true => block_on(extended::play(url, &Workload::read(path))),
            };
            let sessions: Vec<_> = workloads.iter().map(|path| scope.spawn(move || one(path))).collect();
            sessions.into_iter().map(|session| session.join().expect("a session")).collect()
        })
    }

    /// The tables that are not the same on both servers.
    fn differences(&self) -> Vec<String> {
        match compare(&self.duo.old, &self.duo.new) {
            Ok(all) => all.iter().filter(|t| !t.equal()).map(|t| format!("{t:?}")).collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

/// Runs files by psql.
fn psql(binaries: &Binaries, url: &str, files: &[PathBuf]) -> Seen {
    if files.is_empty() {
        return Seen::default();
    }
    let mut command: Command = binaries.program("psql");
    command.args(["-X", "-A", "-d", url]).stdin(Stdio::null());
    for file in files {
        command.arg("-f").arg(file);
    }
    let output = command.output().expect("psql");
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    Seen { answers: lines(&output.stdout), errors: lines(&output.stderr) }
}

/// The first line that a client saw otherwise.
fn difference(bare: &Seen, proxied: &Seen) -> Option<String> {
    first_difference(&bare.answers, &proxied.answers).or_else(|| first_difference(&bare.errors, &proxied.errors))
}

fn first_difference(bare: &[String], proxied: &[String]) -> Option<String> {
    let at = bare.iter().zip(proxied).take_while(|(a, b)| a == b).count();
    if at == bare.len() && at == proxied.len() {
        return None;
    }
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(nothing)".into());
    Some(format!("at line {at} PostgreSQL says {:?}, the proxy {:?}", line(bare), line(proxied)))
}
