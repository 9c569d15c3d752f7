//! Drivers that open a transaction around every statement take part in the ramp: their reads run where the percentage says, up to the first write of
//! their transaction, which sees what it wrote.

use std::process::Command;

use crate::stage::Target;
use crate::support::Duo;
use crate::tools::{Java, Python, Tool, ready};

const SCHEMA: &str = "CREATE TABLE place (name text PRIMARY KEY); CREATE TABLE counter (id integer PRIMARY KEY, n integer NOT NULL); \
    INSERT INTO counter VALUES (1, 0)";

/// Runs a scenario at 0, 100 and 0 per cent. Its lines are `<driver> read <side> <side>` and `<driver> wrote <before> <after> <added>`.
fn takes_part(drivers: usize, command: impl Fn() -> Command) {
    let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 0 }");
    for server in [&duo.old, &duo.new] {
        server.sql("app", &format!("INSERT INTO place VALUES ('{}')", server.name())).expect("a row");
    }
    duo.dual_write();
    for (run, (percent, side)) in [(0.0, "old"), (100.0, "new"), (0.0, "old")].into_iter().enumerate() {
        duo.read_percent(percent);
        let before = duo.count("/reads/new_total");
        let shown = Target { port: duo.proxy.port, run }.run(&mut command());
        let (reads, writes) = (format!("read {side} {side}"), format!("wrote {side} old 1"));
        let ending = |with: &str| shown.lines().filter(|line| line.ends_with(with)).count();
        let lines = shown.lines().count();
        assert!(
            lines >= 20 * drivers && ending(&reads) == lines / 2 && ending(&writes) == lines / 2,
            "{percent} %: {shown}"
        );
        let on_new = duo.count("/reads/new_total") - before;
        println!("{percent} %: {} transactions of {drivers} drivers, {on_new} reads on new", lines);
        // Of each pair of transactions four reads come before the write.
        assert!(if side == "new" { on_new >= 2 * lines as u64 } else { on_new == 0 }, "{on_new} reads on new: {shown}");
    }
    assert_eq!(duo.count("/reads/fallback_total"), 0);
    duo.barrier();
    assert_eq!(duo.on_both("SELECT n FROM counter"), (3 * 10 * drivers).to_string());
}

#[test]
fn psycopg_with_autocommit_off_and_sqlalchemys_sessions_take_part_in_the_ramp() {
    let Some(tool) = ready::<Python>("ramp.py") else { return };
    takes_part(5, || tool.command("ramp.py"));
}

#[test]
fn jdbc_with_autocommit_off_takes_part_in_the_ramp() {
    let Some(tool) = ready::<Java>("Jdbc.java") else { return };
    takes_part(2, || {
        let mut command = tool.command("Jdbc.java");
        command.arg("ramp");
        command
    });
}
