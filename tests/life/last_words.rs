//! What the primary says unasked, while the client's next read goes to the secondary.

use std::io::Write;
use std::time::Duration;

use crate::raw::{READY, Raw, frame};
use crate::support::Duo;

const ROUNDS: usize = 150;

fn with_reads_on_new() -> Duo {
    let duo = Duo::start("shadow: { sample_percent: 0 }");
    duo.dual_write();
    duo.read_percent(100.0);
    duo
}

fn backend(raw: &mut Raw) -> u32 {
    raw.query("SELECT 'pid=' || pg_backend_pid() || ';'");
    let answer = raw.until(READY);
    let pid = answer.split_once("pid=").and_then(|(_, rest)| rest.split_once(';')).map(|(pid, _)| pid.parse());
    pid.expect("a process id").expect("a number")
}

#[test]
fn a_client_hears_why_its_backend_has_ended_also_where_its_next_read_goes_elsewhere() {
    let duo = with_reads_on_new();
    let mut control = Raw::started(duo.proxy.port);
    let mut unheard = Vec::new();
    for round in 0..ROUNDS {
        let mut victim = Raw::started(duo.proxy.port);
        let pid = backend(&mut victim);
        control.query(&format!("SELECT pg_terminate_backend({pid})"));
        control.until(READY);
        std::thread::sleep(Duration::from_micros((round % 15) as u64 * 100));
        // It may be gone already.
        let _ = victim.0.write_all(&frame(Some(b'Q'), b"SELECT 1\0"));
        let heard = victim.until_closed();
        if !heard.contains("57P01") && !heard.contains("08006") {
            unheard.push(format!("{round}: {heard:?}"));
        }
    }
    assert!(unheard.is_empty(), "{unheard:?}");
}

#[test]
fn notifications_between_reads_that_go_elsewhere_are_whole_and_in_order() {
    let duo = with_reads_on_new();
    let mut listener = Raw::started(duo.proxy.port);
    listener.query("LISTEN news");
    listener.until(READY);
    let mut control = Raw::started(duo.proxy.port);
    let mut heard = String::new();
    for round in 0..ROUNDS {
        let payload = "x".repeat(7_000);
        control.query(&format!("NOTIFY news, 'number {round}; {payload}'"));
        control.until(READY);
        for _ in 0..3 {
            listener.query("SELECT 'an answer'");
            heard += &listener.until(READY);
        }
    }
    // What is still on its way comes with a word of the primary's.
    listener.query("SELECT pg_backend_pid()");
    heard += &listener.until(READY);
    assert_eq!(heard.matches("an answer").count(), 3 * ROUNDS);
    let numbers: Vec<usize> =
        heard.split("number ").skip(1).filter_map(|rest| rest.split_once(';')?.0.parse().ok()).collect();
    assert_eq!(numbers, (0..ROUNDS).collect::<Vec<_>>());
}
