//! Two servers and the proxy between them, and the sentences that tests are made of.

#![allow(dead_code, reason = "every test uses a part of it")]

pub mod client;

use std::path::Path;
use std::time::Duration;

use pgduet::demo::Failure;
use pgduet::demo::admin::Admin;
use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options, psql};
use pgduet::demo::compare::compare;
use pgduet::demo::pgbench::{self, Load, Protocol, Report, Running, Script};
use pgduet::demo::proxy::Proxy;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pgduet");
/// No barrier of a test has more to carry than this takes.
pub const BARRIER: Duration = Duration::from_secs(120);

/// How long a load runs: `PGDUET_TEST_SECONDS`, else 3.
pub fn seconds() -> u32 {
    std::env::var("PGDUET_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Two servers and the proxy between them.
pub struct Duo {
    // Dropped first: its connections end before the servers do.
    pub proxy: Proxy,
    pub old: Cluster,
    pub new: Cluster,
    pub binaries: Binaries,
}

impl Duo {
    /// Clients are trusted; everything else is at its default but for `settings`, which are top-level keys of proxy.yaml.
    pub fn start(settings: &str) -> Duo {
        Duo::start_with("", settings)
    }

    /// As [`Duo::start`], with `schema` run on both servers first, by the owner of the database.
    pub fn start_with(schema: &str, settings: &str) -> Duo {
        let (old, new, binaries) = servers();
        for cluster in [&old, &new] {
            if !schema.is_empty() {
                psql(&binaries, &cluster.url("app", "app"), schema).unwrap_or_else(fail("the schema"));
            }
        }
        let settings = format!("clients: {{ auth: trust }}\n{settings}");
        let proxy = Proxy::start(Path::new(PROGRAM), &old, &new, &settings).unwrap_or_else(fail("the proxy"));
        Duo { proxy, old, new, binaries }
    }

    pub fn admin(&self) -> Admin {
        self.proxy.admin
    }

    pub fn phase(&self, phase: &str) {
        self.admin().phase(phase).unwrap_or_else(|e| self.panic(&e));
    }

    pub fn dual_write(&self) {
        self.phase("dual_write");
    }

    pub fn read_percent(&self, percent: f64) {
        self.admin().read_percent(percent).unwrap_or_else(|e| self.panic(&e));
    }

    pub fn status(&self) -> serde_json::Value {
        self.admin().status().unwrap_or_else(|e| self.panic(&e))
    }

    /// A number in `/api/status`, by its path, as `/link/captured_total`.
    pub fn count(&self, pointer: &str) -> u64 {
        let status = self.status();
        let found = status.pointer(pointer).and_then(serde_json::Value::as_u64);
        found.unwrap_or_else(|| panic!("no number {pointer} in {status}"))
    }

    /// SQL through the proxy, as `app`.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|e| self.panic(&e))
    }

    pub fn try_sql(&self, sql: &str) -> Result<String, Failure> {
        psql(&self.binaries, &self.proxy.url("app", "app"), sql)
    }

    /// pgbench's tables, filled alike on both servers.
    pub fn pgbench_tables(&self, scale: u32) {
        for cluster in [&self.old, &self.new] {
            pgbench::initialise(&self.binaries, cluster.port(), scale).unwrap_or_else(fail("pgbench -i"));
        }
    }

    pub fn load(&self, clients: u32, protocol: Protocol, script: Script) -> Load {
        Load { port: self.proxy.port, clients, seconds: seconds(), protocol, script, extra: vec![] }
    }

    pub fn start_load(&self, load: &Load) -> Running {
        load.start(&self.binaries).unwrap_or_else(fail("pgbench"))
    }

    /// Runs a load to its end, and insists that it did something and nothing failed.
    pub fn run(&self, load: &Load) -> Report {
        self.expect_clean(self.start_load(load).finish().unwrap_or_else(fail("pgbench")))
    }

    pub fn expect_clean(&self, report: Report) -> Report {
        if !report.success || report.failed > 0 || report.transactions == 0 || !report.errors.is_empty() {
            panic!("a load did not run clean: {report:?}\n{}", self.proxy.log_tail());
        }
        report
    }

    pub fn barrier(&self) {
        self.admin().barrier(BARRIER).unwrap_or_else(|e| self.panic(&e));
    }

    /// After a barrier: every table has the same rows on both servers.
    pub fn expect_equal(&self) {
        self.barrier();
        self.expect_equal_now();
    }

    pub fn expect_equal_now(&self) {
        let all = compare(&self.old, &self.new).unwrap_or_else(|e| self.panic(&e));
        assert!(!all.is_empty(), "there is no table to compare");
        let differing: Vec<_> = all.iter().filter(|table| !table.equal()).collect();
        if !differing.is_empty() {
            panic!("tables differ: {differing:#?}\n{}\n{}", self.status(), self.proxy.log_tail());
        }
    }

    /// One query's answer, asked directly of both servers, which must agree.
    pub fn on_both(&self, sql: &str) -> String {
        let [old, new] = [&self.old, &self.new].map(|side| side.sql("app", sql).unwrap_or_else(fail("a query")));
        assert_eq!(old, new, "the servers disagree about {sql}");
        old
    }

    /// Waits until `ready` holds, or fails with `what` it waited for and all that is known.
    pub fn eventually(&self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
        if pgduet::demo::process::wait_for(limit, || ready().then_some(())).is_none() {
            let status = self.admin().status().map_or_else(|e| e.to_string(), |s| s.to_string());
            panic!("after {limit:?} still not: {what}\n{status}\n{}", self.proxy.log_tail());
        }
    }

    fn panic(&self, failure: &Failure) -> ! {
        panic!("{failure}\nthe end of the proxy's log:\n{}", self.proxy.log_tail())
    }
}

/// Two servers named `old` and `new`, quick rather than durable. `PGDUET_TEST_NEW_PG_BIN` names the directory of the programs of `new`, for another version.
pub fn servers() -> (Cluster, Cluster, Binaries) {
    let binaries = Binaries::find().unwrap_or_else(fail("PostgreSQL"));
    let newer = std::env::var_os("PGDUET_TEST_NEW_PG_BIN")
        .map(|directory| Binaries::in_directory(Path::new(&directory)).unwrap_or_else(fail("PGDUET_TEST_NEW_PG_BIN")));
    let start = |name, binaries| Cluster::start(binaries, Options::quick(name)).unwrap_or_else(fail("a server"));
    (start("old", &binaries), start("new", newer.as_ref().unwrap_or(&binaries)), binaries)
}

pub fn fail<T, E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> T {
    move |error| panic!("{what}: {error}")
}
