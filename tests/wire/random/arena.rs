//! A bare server and the proxy with its two, and the state that every exchange begins with.

use super::minimise::minimise;
use crate::script::{Exchange, What};
use crate::talk::{QUIET, Server, Talk, Transcript, hold, settle};
use crate::{Pair, difference};

const SCHEMA: &str = include_str!("schema.sql");
const ROWS: &str = include_str!("rows.sql");
const RENUMBERED: &str = "CREATE TYPE spare AS ENUM ('a'); DROP TYPE spare";
/// Of a role that the client may take on.
const GRANTS: &str = "GRANT USAGE ON SCHEMA public, other TO reader; GRANT SELECT ON t TO reader";
const EMPTIED: &str = "DROP SCHEMA public, other CASCADE; CREATE SCHEMA public";
const CATALOG: &str = "SELECT 'column', a.attrelid::regclass, a.attname, a.atttypid::regtype, a.attisdropped, obj_description(c.oid) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    WHERE c.relnamespace::regnamespace::text IN ('public', 'other') AND a.attnum > 0 ORDER BY 2, 3; \
    SELECT oid::regprocedure FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'other') ORDER BY 1::text";
const POSITIONS: &str = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1";
pub const PHASES: [&str; 3] = ["old_only", "dual_write", "reads on new"];

pub struct Arena {
    pair: Pair,
    phase: &'static str,
    /// As it is after the schema was made.
    catalog: Vec<String>,
    controls: [Talk; 3],
}

/// An exchange, and what bare PostgreSQL makes of it.
pub struct Held {
    exchange: Exchange,
    answered: Transcript,
    rows: Vec<String>,
}

impl Arena {
    pub fn start() -> Arena {
        let pair = Pair::of(SCHEMA, RENUMBERED, GRANTS, "");
        let controls = [pair.bare.port(), pair.duo.old.port(), pair.duo.new.port()].map(control);
        let mut arena = Arena { pair, phase: PHASES[0], catalog: vec![], controls };
        arena.catalog = arena.controls[0].query(CATALOG);
        arena
    }

    pub fn enter(&mut self, phase: &'static str) {
        self.reset();
        match phase {
            "dual_write" => self.pair.duo.dual_write(),
            "reads on new" => self.pair.duo.read_percent(100.0),
            _ => {}
        }
        self.phase = phase;
    }

    /// Holds it with bare PostgreSQL.
    pub fn record(&mut self, exchange: &Exchange) -> Held {
        self.reset();
        let (exchange, answered) = settle(exchange, &server(self.pair.bare.port()));
        let rows = rows(&mut self.controls[0], true);
        Held { exchange, answered, rows }
    }

    /// Holds it through the proxy.
    pub fn difference(&mut self, held: &Held) -> Option<String> {
        self.reset();
        let seen = hold(&held.exchange, &server(self.pair.duo.proxy.port));
        difference("", &held.answered, &seen).or_else(|| self.difference_of_rows(&held.rows))
    }

    fn difference_of_rows(&mut self, expected: &[String]) -> Option<String> {
        let old = rows(&mut self.controls[1], true);
        if old != expected {
            return Some(format!("  rows on old: {}", first_difference(expected, &old)));
        }
        if self.phase == PHASES[0] {
            return None;
        }
        self.pair.duo.barrier();
        let (old, new) = (rows(&mut self.controls[1], false), rows(&mut self.controls[2], false));
        (old != new).then(|| format!("  rows on new: {}", first_difference(&old, &new)))
    }

    pub fn shortest(&mut self, phase: &str, held: &Held, what: String) -> String {
        let mut last = (held.exchange.to_string(), what);
        println!("{phase}: {} differs, and is shortened", held.exchange.name);
        minimise(&open_ended(&held.exchange), |shorter| {
            let held = self.record(shorter);
            if !held.exchange.steps.iter().any(|step| matches!(step.what, What::Until { .. })) {
                return false; // PostgreSQL says nothing at all
            }
            let Some(what) = self.difference(&held).filter(|what| kind(what) == kind(&last.1)) else { return false };
            last = (held.exchange.to_string(), what);
            true
        });
        format!("{phase}\n{}{}\n", last.0, last.1)
    }

    /// Every exchange begins with the same rows, in the same places, and the same names.
    fn reset(&mut self) {
        let changed: Vec<_> = self.controls.iter_mut().map(|control| control.query(CATALOG)).collect();
        if changed.iter().any(|catalog| *catalog != self.catalog) {
            self.rebuild();
        }
        for control in &mut self.controls {
            expect_success(&control.query(ROWS));
        }
        if self.phase != PHASES[0] {
            self.pair.duo.barrier();
        }
    }

    fn rebuild(&mut self) {
        let mut ports = vec![self.pair.bare.port()];
        match self.phase == PHASES[0] {
            true => ports.extend([self.pair.duo.old.port(), self.pair.duo.new.port()]),
            false => ports.push(self.pair.duo.proxy.port),
        }
        for port in ports {
            let mut talk = control(port);
            for script in [EMPTIED, SCHEMA, GRANTS] {
                expect_success(&talk.query(script));
            }
        }
        if self.phase != PHASES[0] {
            self.pair.duo.barrier();
        }
    }
}

fn server(port: u16) -> Server<'static> {
    Server { port, database: "app", phase: &|_| {} }
}

fn control(port: u16) -> Talk {
    Talk::open(&server(port), "client_min_messages=error").0
}

fn rows(control: &mut Talk, positions: bool) -> Vec<String> {
    let mut rows = control.query("SELECT dump()");
    if positions {
        rows.extend(control.query(POSITIONS));
    }
    rows
}

fn expect_success(answer: &[String]) {
    let error = answer.iter().find(|line| line.starts_with("ErrorResponse"));
    assert!(error.is_none(), "the state cannot be made: {error:?}");
}

fn first_difference(expected: &[String], seen: &[String]) -> String {
    let at = expected.iter().zip(seen).take_while(|(a, b)| a == b).count();
    let line = |all: &[String]| all.get(at).cloned().unwrap_or_else(|| "(nothing)".into());
    format!("{} instead of {}", line(seen), line(expected))
}

/// What a difference is about, so that a shorter exchange does not show another one.
fn kind(what: &str) -> Vec<&str> {
    let said = |line: &&str| ["postgres", "pgduet", "rows on"].iter().any(|who| line.trim_start().starts_with(who));
    let told = |word: &&str| word.starts_with("C=") || word.chars().all(char::is_alphabetic);
    what.lines().filter(said).flat_map(|line| line.split_whitespace().take(6).filter(told)).collect()
}

/// The same messages, whatever comes back.
fn open_ended(exchange: &Exchange) -> Exchange {
    let mut open = exchange.clone();
    for (line, step) in open.steps.iter_mut().enumerate() {
        step.line = line;
        if let What::Until { message, .. } = &mut step.what {
            *message = QUIET.to_owned();
        }
    }
    open
}
