//! What goes wrong, each a bounded number of times, between any two steps.

use super::server::bit;
use super::world::{Action, Cleaner, Conductor, Flight, Holder, INSTANCES, OLD, ORPHAN, Out, State, Txn, World};

pub fn steps(world: &World, state: &State, out: &mut Out) {
    for which in 0..world.instances.min(INSTANCES) {
        kill(state, which, out);
        lose_lock(state, which, out);
    }
    crash_secondary(world, state, out);
    crash_primary(state, out);
}

/// The instance begins anew. What it had sent to the secondary may still commit there, or not.
fn kill(state: &State, which: usize, out: &mut Out) {
    let in_flight = state.flights[which] != Flight::None;
    let idle = state.holders[which] == Holder::Idle && state.conductors[which] == Conductor::Off;
    if state.faults_left.kills == 0 || idle || in_flight && state.flights[ORPHAN] != Flight::None {
        return;
    }
    let mut next = *state;
    next.faults_left.kills -= 1;
    if in_flight {
        next.flights[ORPHAN] = state.flights[which];
        next.flights[which] = Flight::None;
    }
    next.let_go(which);
    next.conductors[which] = Conductor::Off;
    next.cleaner = Cleaner::Idle;
    out.push((Action::KillInstance { which: which as u8 }, Ok(next)));
}

/// The primary has ended the session, its client has not noticed: another instance may take the lock meanwhile.
fn lose_lock(state: &State, of: usize, out: &mut Out) {
    let holds = state.locks.contains(&Some(of as u8)) && state.holders[of] != Holder::Idle;
    if state.faults_left.locks_lost == 0 || !holds {
        return;
    }
    let mut next = *state;
    next.faults_left.locks_lost -= 1;
    next.locks.iter_mut().filter(|lock| **lock == Some(of as u8)).for_each(|lock| *lock = None);
    out.push((Action::LockLost { of: of as u8 }, Ok(next)));
}

/// Rows and marker come back together, as they were flushed last; by the server's own writer, at any time.
fn crash_secondary(world: &World, state: &State, out: &mut Out) {
    let secondary = 1 - state.primary();
    let server = &state.servers[secondary];
    if world.faults.secondary_crashes == 0 || state.faults_left.secondary_crashes == 0 || server.durable == server.now {
        return;
    }
    let mut next = *state;
    next.servers[secondary].durable = server.now;
    out.push((Action::WalWriterFlushesSecondary, Ok(next)));
    let mut next = *state;
    next.faults_left.secondary_crashes -= 1;
    next.servers[secondary].now = server.durable;
    next.disconnect();
    out.push((Action::SecondaryCrashes, Ok(next)));
}

/// Who was inside is rolled back; snapshots and locks are gone with their sessions.
fn crash_primary(state: &State, out: &mut Out) {
    if state.faults_left.primary_crashes == 0 || state.new_is_primary {
        return;
    }
    let mut next = *state;
    next.faults_left.primary_crashes -= 1;
    let lost = next.servers[OLD].crash();
    for txn in &mut next.txns {
        if matches!(txn, Txn::Open { xid, .. } | Txn::Committed { xid, .. } if lost & bit(*xid) != 0) {
            *txn = Txn::RolledBack;
        }
    }
    // What is on its way to the secondary is not touched by this: it may still commit.
    for h in 0..INSTANCES {
        if next.flights[h] == Flight::None {
            next.let_go(h);
        } else {
            next.locks[OLD] = None;
        }
    }
    next.cleaner = Cleaner::Idle;
    out.push((Action::PrimaryCrashes, Ok(next)));
}

impl State {
    /// The secondary has ended every session. Whoever has flushed a marker needs only the primary from there on.
    fn disconnect(&mut self) {
        self.flights = [Flight::None; INSTANCES + 1];
        if matches!(self.cleaner, Cleaner::Peeked { .. }) {
            self.cleaner = Cleaner::Idle;
        }
        (0..INSTANCES).for_each(|h| self.let_go(h));
    }
}
