//! Readers at 100 %, while `new` is frozen or killed: no error, and how long until the answers are as quick as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgduet::demo::cluster::Stop;

use super::support::Duo;
use super::support::client::{block_on, connect};

const READERS: usize = 8;
/// Latency is judged by slices of this length.
const SLICE: Duration = Duration::from_millis(250);
/// Before the fault, and after it.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(6);

/// When an answer came, since the readers began, and how long it took.
type Answer = (Duration, Duration);

/// Reads until told to stop. Any error fails the test.
async fn read(port: u16, began: Instant, stop: &AtomicBool) -> Vec<Answer> {
    let client = connect(port).await;
    let statement = client.prepare("SELECT abalance FROM pgbench_accounts WHERE aid = $1").await.expect("a statement");
    let mut answers = vec![];
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let aid = 1 + i32::try_from(answers.len() % 100_000).expect("a small number");
        client.query_one(&statement, &[&aid]).await.expect("a read failed");
        answers.push((began.elapsed(), asked.elapsed()));
    }
    answers
}

fn p99<'a>(answers: impl Iterator<Item = &'a Answer>) -> Option<Duration> {
    let mut took: Vec<Duration> = answers.map(|(_, took)| *took).collect();
    took.sort();
    took.get((took.len().checked_sub(1)?) * 99 / 100).copied()
}

/// From the fault until every later slice has answers, whose p99 is as it was: three times it at most, or 10 ms on a machine that stutters.
fn recovery(answers: &[Answer], fault: Duration, normal: Duration) -> Duration {
    let bound = (normal * 3).max(Duration::from_millis(10));
    let slices = u32::try_from(AFTER.as_millis() / SLICE.as_millis()).expect("few");
    let is_slow = |n: &u32| {
        let (from, to) = (fault + SLICE * *n, fault + SLICE * (*n + 1));
        p99(answers.iter().filter(|(at, _)| *at >= from && *at < to)).is_none_or(|p99| p99 > bound)
    };
    (0..slices).rev().find(is_slow).map_or(Duration::ZERO, |last| SLICE * (last + 1))
}

/// Reads all along; `fault` happens in the middle.
fn through(what: &str, fault: impl FnOnce(&mut Duo) + Send) {
    let mut duo = Duo::start("shadow: { sample_percent: 0 }");
    duo.pgbench_tables(1);
    duo.dual_write();
    duo.read_percent(100.0);
    let (stop, began, port) = (AtomicBool::new(false), Instant::now(), duo.proxy.port);
    let (answers, at) = std::thread::scope(|scope| {
        let readers = scope.spawn(|| {
            block_on(async {
                let all = (0..READERS).map(|_| read(port, began, &stop));
                futures_util::future::join_all(all).await.concat()
            })
        });
        std::thread::sleep(BEFORE);
        let at = began.elapsed();
        fault(&mut duo);
        std::thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        (readers.join().expect("no reader saw an error"), at)
    });
    let normal = p99(answers.iter().filter(|(end, _)| *end < at)).expect("reads before");
    let slowest = answers.iter().map(|(_, took)| *took).max().expect("reads");
    let took = recovery(&answers, at, normal);
    let after = p99(answers.iter().filter(|(end, _)| *end >= at + took)).expect("reads afterwards");
    println!(
        "{what}: {} reads, no error; p99 before {normal:?}, afterwards {after:?}; normal again within {took:?}; the slowest took {slowest:?}; {}",
        answers.len(),
        duo.status()["reads"]
    );
    assert!(answers.iter().any(|(end, _)| *end > at + took), "nobody was served afterwards");
    // `reads.probe` and `reads.probe_timeout` are at their defaults: 250 ms and 2 s.
    let bound = 2 * Duration::from_millis(2_250);
    assert!(took <= bound && slowest <= bound, "{what}: {took:?}, {slowest:?}");
    assert!(
        duo.count("/reads/fallback_total") <= READERS as u64 * 2,
        "reads were tried again and again: {}",
        duo.status()
    );
}

#[test]
fn clients_of_a_frozen_secondary_are_served_as_before_within_seconds() {
    through("frozen", |duo| duo.new.freeze());
}

#[test]
fn clients_of_a_killed_secondary_are_served_as_before_at_once() {
    through("killed", |duo| duo.new.stop(Stop::Kill));
}
