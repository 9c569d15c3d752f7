//! The protocol of capture, cycle, marker, clean-up and hand-over, checked in every interleaving of a small world: docs/design, "A checked model".

mod clients;
mod cutover;
mod explorer;
mod faults;
mod link;
mod server;
mod world;

use explorer::{Report, explore};
use world::{Faults, Mistake, World};

const NO_FAULTS: Faults = Faults { kills: 0, locks_lost: 0, secondary_crashes: 0, primary_crashes: 0 };

/// Three transactions, one instance, no fault: snapshots, ids in progress, commits in another order than ids.
const SNAPSHOTS: World = World {
    txns: 3,
    instances: 1,
    faults: NO_FAULTS,
    cutovers: 0,
    cleaning: true,
    asynchronous: false,
    mistake: Mistake::None,
};

/// Two would-be holders, kills, lost answers, lost locks.
const HOLDERS: World =
    World { txns: 2, instances: 2, faults: Faults { kills: 2, locks_lost: 1, ..NO_FAULTS }, ..SNAPSHOTS };

/// The secondary loses what it had not flushed, while its journal is cleaned.
const UNFLUSHED: World = World {
    txns: 2,
    instances: 2,
    faults: Faults { kills: 1, locks_lost: 1, secondary_crashes: 2, ..NO_FAULTS },
    ..SNAPSHOTS
};

/// The primary loses what it had not flushed: ids are given out again.
const REUSED_IDS: World = World { faults: Faults { kills: 1, primary_crashes: 1, ..NO_FAULTS }, ..SNAPSHOTS };

/// The same where clients do not wait for the disk: what they were told is committed may be gone.
const ASYNCHRONOUS: World =
    World { asynchronous: true, faults: Faults { primary_crashes: 1, ..NO_FAULTS }, ..SNAPSHOTS };

/// The roles swap, and two instances may both be at it.
const CUTOVER: World = World {
    txns: 2,
    instances: 2,
    faults: Faults { kills: 1, ..NO_FAULTS },
    cutovers: 2,
    cleaning: false,
    ..SNAPSHOTS
};

fn print(name: &str, report: &Report) {
    let Report { states, steps, at_rest, depth, .. } = report;
    println!("{name}: {states} states, {steps} steps, {at_rest} at rest, {depth} deep");
    if let Some(found) = &report.counterexample {
        println!("  {}", found.broken);
        found.trace.iter().enumerate().for_each(|(i, step)| println!("  {:>2}. {step}", i + 1));
    }
}

fn holds(name: &str, world: World, at_least: usize) {
    let report = explore(&world);
    print(name, &report);
    assert!(report.counterexample.is_none(), "{report:#?}");
    assert!(report.states > at_least && report.at_rest > 0, "{name} was hardly explored: {} states", report.states);
}

fn is_caught(world: World, mistake: Mistake, promise: &str) {
    let report = explore(&World { mistake, ..world });
    print(&format!("{mistake:?}"), &report);
    let found = report.counterexample.expect("the mistake is caught");
    assert!(found.broken.contains(promise), "{}", found.broken);
}

#[test]
fn whatever_the_order_of_commits_each_touch_is_carried_once() {
    holds("snapshots", SNAPSHOTS, 5_000);
}

#[test]
fn two_would_be_holders_kills_and_lost_answers_lose_and_repeat_nothing() {
    holds("holders", HOLDERS, 100_000);
}

#[test]
fn a_secondary_that_loses_what_it_had_not_flushed_is_carried_again() {
    holds("unflushed", UNFLUSHED, 50_000);
}

#[test]
fn ids_that_a_crashed_primary_gives_out_again_are_harmless_if_snapshots_are_flushed() {
    holds("reused ids", REUSED_IDS, 50_000);
}

#[test]
fn what_a_crash_of_the_primary_takes_back_was_never_on_the_secondary() {
    holds("asynchronous", ASYNCHRONOUS, 50_000);
}

#[test]
fn a_cutover_hands_everything_over_or_is_called_off() {
    holds("cutover", CUTOVER, 100_000);
}

#[test]
fn touches_by_the_largest_id_are_lost() {
    is_caught(SNAPSHOTS, Mistake::TouchesByLargestId, "not the primary at its snapshot");
}

#[test]
fn rows_of_another_snapshot_than_the_marker_s_are_found() {
    is_caught(SNAPSHOTS, Mistake::RowsOfALaterSnapshot, "not the primary at its snapshot");
}

#[test]
fn a_clean_up_that_forgets_what_was_in_progress_is_found() {
    is_caught(SNAPSHOTS, Mistake::CleanUpToXmax, "no durable cycle has carried");
}

#[test]
fn a_clean_up_by_a_marker_that_may_be_lost_is_found() {
    is_caught(UNFLUSHED, Mistake::CleanUpUnflushed, "no durable cycle has carried");
}

#[test]
fn a_marker_that_is_not_compared_lets_a_killed_holder_s_cycle_in() {
    is_caught(HOLDERS, Mistake::MarkerWithoutCompare, "carried by two cycles");
}

#[test]
fn a_snapshot_that_the_primary_may_forget_loses_a_write() {
    is_caught(REUSED_IDS, Mistake::SnapshotNotFlushed, "not the primary at its snapshot");
}

#[test]
fn a_commit_that_did_not_wait_for_the_disk_is_not_carried_before_it_is_there() {
    is_caught(ASYNCHRONOUS, Mistake::AsynchronousTakenForFlushed, "");
}

#[test]
fn a_hand_over_before_the_last_cycle_is_found() {
    is_caught(CUTOVER, Mistake::HandOverBeforeTheLastCycle, "missing on the new one");
}

#[test]
fn a_fence_that_does_not_wait_for_who_is_inside_is_found() {
    is_caught(CUTOVER, Mistake::FenceWithoutWaiting, "");
}

#[test]
fn a_call_off_that_leaves_the_epoch_lets_a_slow_conductor_hand_over() {
    is_caught(CUTOVER, Mistake::CallOffWithoutEpoch, "missing on the new one");
}
