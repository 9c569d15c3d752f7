//! Drivers that nobody here wrote, each in a scenario of its own: what it shows of itself through the proxy, writing to both databases and
//! reading from either, is what it shows on a plain server; and in the end both databases hold the same rows.
//!
//! The drivers are fetched by their ordinary clients into the cache directory. Where an interpreter is missing its scenarios are
//! reported as skipped, with the reason; `PGDUET_REQUIRE_DRIVERS=1` makes that a failure.

#[path = "../support/mod.rs"]
mod support;

mod psql;
mod ramp;
mod stage;
mod tokio;
mod tools;

use stage::Stage;
use tools::{Java, Node, Python, Tool, ready};

#[test]
fn psql_cannot_tell_the_proxy_from_a_server() {
    Stage::new().holds(psql::scenario);
}

#[test]
fn tokio_postgres_cannot_tell_the_proxy_from_a_server() {
    Stage::new().holds(tokio::scenario);
}

/// A scenario that is a program in the driver's own language.
fn program<T: Tool>(name: &str) {
    let Some(tool) = ready::<T>(name) else { return };
    Stage::new().holds(|target| target.run(&mut tool.command(name)));
}

macro_rules! programs {
    ($($test:ident: $tool:ty, $file:literal;)*) => { $(#[test] fn $test() { program::<$tool>($file) })* };
}

programs! {
    psycopg3_cannot_tell_the_proxy_from_a_server: Python, "psycopg3.py";
    psycopg2_cannot_tell_the_proxy_from_a_server: Python, "psycopg2_.py";
    asyncpg_cannot_tell_the_proxy_from_a_server: Python, "asyncpg_.py";
    pg8000_cannot_tell_the_proxy_from_a_server: Python, "pg8000_.py";
    sqlalchemy_cannot_tell_the_proxy_from_a_server: Python, "sqlalchemy_.py";
    node_pg_cannot_tell_the_proxy_from_a_server: Node, "pg.js";
    node_postgres_cannot_tell_the_proxy_from_a_server: Node, "postgres.js";
    jdbc_cannot_tell_the_proxy_from_a_server: Java, "Jdbc.java";
}

#[test]
fn django_cannot_tell_the_proxy_from_a_server() {
    let Some(tool) = ready::<Python>("django_.py") else { return };
    let stage = Stage::new();
    for target in stage.servers() {
        target.run(tool.command("django_.py").arg("migrate"));
    }
    stage.holds(|target| target.run(&mut tool.command("django_.py")));
}
