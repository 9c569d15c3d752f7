//! A pair of servers with the proxy between them, and a plain one with the same tables.

use std::process::Command;

use pgduet::demo::cluster::{Cluster, Options, psql};
use pgduet::demo::compare::compare;

use crate::support::{Duo, fail};

const SCHEMA: &str = include_str!("schema.sql");
/// Shares of the reads on `new`, one run of the scenario each. A session's key is its connection: at 50 a scenario with several mixes.
const PERCENTAGES: [f64; 4] = [0.0, 100.0, 50.0, 50.0];
/// What is not carried yet may differ.
const NOT_CARRIED: [&str; 1] = ["public.copied"];

pub struct Stage {
    duo: Duo,
    plain: Cluster,
}

/// Where a scenario runs, and for the how manyth time.
#[derive(Clone, Debug)]
pub struct Target {
    pub port: u16,
    pub run: usize,
}

impl Stage {
    pub fn new() -> Stage {
        let duo = Duo::start_with(SCHEMA, "");
        let plain = Cluster::start(&duo.binaries, Options::quick("plain")).unwrap_or_else(fail("the plain server"));
        psql(&duo.binaries, &plain.url("app", "app"), SCHEMA).unwrap_or_else(fail("the plain schema"));
        Stage { duo, plain }
    }

    /// Every server by itself, without the proxy: to give them tables before the mirror is on.
    pub fn servers(&self) -> [Target; 3] {
        [&self.duo.old, &self.duo.new, &self.plain].map(|server| Target { port: server.port(), run: 0 })
    }

    /// What `scenario` shows is the same without and with the proxy, wherever reads go; then both sides hold the same rows.
    pub fn holds(self, scenario: impl Fn(&Target) -> String) {
        let Stage { duo, plain } = &self;
        duo.dual_write();
        for (run, percent) in PERCENTAGES.into_iter().enumerate() {
            duo.read_percent(percent);
            let expected = scenario(&Target { port: plain.port(), run });
            let seen = scenario(&Target { port: duo.proxy.port, run });
            expect_same(&expected, &seen, percent);
        }
        assert!(duo.count("/link/captured_total") > 0, "nothing was captured: {}", duo.status());
        assert!(duo.count("/reads/new_total") > 0, "no read went to new: {}", duo.status());
        assert_eq!(duo.count("/reads/fallback_total"), 0, "new could not answer a read: {}", duo.status());
        assert_eq!(duo.count("/shadow/mismatched_total"), 0, "a shadow read differs: {}", duo.status());
        self.expect_equal();
    }

    fn expect_equal(&self) {
        self.duo.barrier();
        let tables = compare(&self.duo.old, &self.duo.new).unwrap_or_else(fail("the comparison"));
        assert!(tables.iter().any(|table| table.rows_old > 0), "there is no row to compare");
        let differs =
            tables.iter().filter(|table| !table.equal() && !NOT_CARRIED.contains(&&*table.table)).collect::<Vec<_>>();
        assert!(differs.is_empty(), "tables differ: {differs:#?}\n{}", self.duo.status());
    }
}

impl Target {
    /// Runs a program to its end and returns what it printed.
    pub fn run(&self, command: &mut Command) -> String {
        let output = command
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", "app"), ("PGDATABASE", "app"), ("LC_ALL", "C.UTF-8")])
            .env("PGPORT", self.port.to_string())
            .env("RUN", self.run.to_string())
            .output()
            .unwrap_or_else(fail("a scenario"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self:?}: {}\n{said}\n{errors}", output.status);
        said
    }
}

fn expect_same(expected: &str, seen: &str, percent: f64) {
    let same = expected.lines().zip(seen.lines()).take_while(|(left, right)| left == right).count();
    let from = |text: &str| text.lines().skip(same.saturating_sub(2)).take(6).collect::<Vec<_>>().join("\n    ");
    assert!(
        expected == seen,
        "with {percent} % of the reads on new, from line {same} on\n  direct:\n    {}\n  through the proxy:\n    {}",
        from(expected),
        from(seen)
    );
}
