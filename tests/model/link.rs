//! The link: who holds it, a cycle, and the clean-up beside it. What each step is in the code stands with it.

use super::explorer::{Broken, Outcome};
use super::server::{ROWS, Server, Snapshot, bit};
use super::world::{Action, Cleaner, Flight, Holder, INSTANCES, Mistake, ORPHAN, Out, State, Work, World, touch};

pub fn steps(world: &World, state: &State, out: &mut Out) {
    for by in 0..world.instances.min(INSTANCES) {
        holder_steps(world, state, by, out);
    }
    for of in 0..=ORPHAN {
        flight_steps(world, state, of, out);
    }
}

fn holder_steps(world: &World, state: &State, h: usize, out: &mut Out) {
    let by = h as u8;
    let mut next = *state;
    let (primary, has_lock) = match state.holders[h] {
        Holder::Idle => return take_lock(state, h, out),
        Holder::Locked { primary }
        | Holder::Ready { primary, .. }
        | Holder::Looked { primary, .. }
        | Holder::Read { primary, .. }
        | Holder::Sent { primary } => (primary, state.locks[usize::from(primary)] == Some(by)),
    };
    let (source, target) = (&state.servers[usize::from(primary)], 1 - usize::from(primary));
    let action = match state.holders[h] {
        // `store::marker::read`, FOR UPDATE: waits for a cycle that a former holder has running.
        Holder::Locked { .. } if !state.has_marker_locked(target) => {
            next.holders[h] = Holder::Ready { primary, marker: state.servers[target].now.marker };
            Action::ReadMarker { by }
        }
        // `link::quick::touched`, `link::express::look`: needs the primary's session, which is gone with the lock.
        Holder::Ready { marker, .. } if has_lock => {
            let work = look(world, state, usize::from(primary), marker);
            if work.latter == marker {
                return learn_of_cutover(state, h, primary, out);
            }
            next.holders[h] = Holder::Looked { primary, work };
            Action::LookAtTouches { by }
        }
        // `link::quick::images`, in the same snapshot; then `link::flushed`.
        Holder::Looked { work, .. } if has_lock => {
            let as_of = if world.mistake == Mistake::RowsOfALaterSnapshot { source.snapshot() } else { work.latter };
            next.holders[h] = Holder::Read { primary, work: Work { rows: kept(work, source.rows(as_of)), ..work } };
            if work.flush {
                next.servers[usize::from(primary)].flush();
            }
            Action::ReadRows { by }
        }
        Holder::Ready { .. } | Holder::Looked { .. } => {
            next.holders[h] = Holder::Idle;
            Action::FindsLockGone { by }
        }
        // `link::quick::write`, or `carrier::move_marker` where nothing was touched. Asks nothing of the primary.
        Holder::Read { work, .. } => {
            next.holders[h] = Holder::Sent { primary };
            next.flights[h] = Flight::Waiting { secondary: target as u8, work };
            Action::SendCycle { by }
        }
        Holder::Idle | Holder::Locked { .. } | Holder::Sent { .. } => return,
    };
    out.push((action, Ok(next)));
    if matches!(state.holders[h], Holder::Ready { .. }) {
        learn_of_cutover(state, h, primary, out);
    }
}

/// `link::begin::take_lock`, on the side that is the primary now.
fn take_lock(state: &State, h: usize, out: &mut Out) {
    let primary = state.primary();
    if state.locks[primary].is_none() {
        let mut next = *state;
        next.locks[primary] = Some(h as u8);
        next.holders[h] = Holder::Locked { primary: primary as u8 };
        out.push((Action::TakeLock { by: h as u8 }, Ok(next)));
    }
}

/// The link of the former direction is stopped, sooner or later: `LinkHandle::stop`.
fn learn_of_cutover(state: &State, h: usize, primary: u8, out: &mut Out) {
    if usize::from(primary) != state.primary() {
        let mut next = *state;
        next.let_go(h);
        out.push((Action::LearnsOfCutover { by: h as u8 }, Ok(next)));
    }
}

/// The touches that a new snapshot sees and the marker does not: `link::ends::JOURNAL`.
fn look(world: &World, state: &State, primary: usize, marker: Snapshot) -> Work {
    let source = &state.servers[primary];
    let latter = source.snapshot();
    let (mut touched, mut carries, mut seen) = ([false; ROWS], 0, 0);
    for (row, touched) in touched.iter_mut().enumerate() {
        let ids = source.touches(row, latter, |xid| match world.mistake {
            Mistake::TouchesByLargestId => xid < marker.xmax,
            _ => marker.sees(xid),
        });
        *touched = ids != 0;
        seen |= ids;
        let txns = (1..source.next_xid).filter(|&xid| ids & bit(xid) != 0).filter_map(|xid| state.txn_of(primary, xid));
        carries |= txns.fold(0, |all, txn| all | touch(txn, row));
    }
    let flush = must_flush(world, source, [marker, latter], seen);
    Work { former: marker, latter, touched, rows: [0; ROWS], flush, carries }
}

/// `link::flushed::Evidence::missing`; where nothing was touched, `link::flushed::everything`, which asks for no less.
fn must_flush(world: &World, source: &Server, [marker, latter]: [Snapshot; 2], touches: u8) -> bool {
    let last_is_flushed = latter.xmax == marker.xmax || touches & bit(latter.xmax - 1) != 0;
    let asynchronous = touches & source.asynchronous != 0;
    match world.mistake {
        Mistake::SnapshotNotFlushed => false,
        Mistake::AsynchronousTakenForFlushed => !source.is_flushed() && !last_is_flushed,
        _ => !source.is_flushed() && (asynchronous || !last_is_flushed),
    }
}

fn kept(work: Work, rows: [u8; ROWS]) -> [u8; ROWS] {
    [0, 1].map(|row| if work.touched[row] { rows[row] } else { 0 })
}

/// What the secondary's server does with a cycle that it was sent, whether anybody waits for the answer or not.
fn flight_steps(world: &World, state: &State, f: usize, out: &mut Out) {
    let mut next = *state;
    match state.flights[f] {
        Flight::None => return,
        // `pgduet.advance`, the transaction's first act: waits for the row's lock, then compares.
        Flight::Waiting { secondary, work } if !state.has_marker_locked(usize::from(secondary)) => {
            let stands = state.servers[usize::from(secondary)].now.marker == work.former;
            if stands || world.mistake == Mistake::MarkerWithoutCompare {
                next.flights[f] = Flight::Holding { secondary, work };
            } else {
                next.flights[f] = Flight::None;
                next.let_go_of_sender(f);
            }
            out.push((Action::MarkerCompared { of: f as u8 }, Ok(next)));
        }
        Flight::Waiting { .. } => {}
        Flight::Holding { secondary, work } => {
            out.push((Action::CycleCommits { of: f as u8 }, commit(state, f, usize::from(secondary), work)));
        }
    }
    if f == ORPHAN {
        let mut next = *state;
        next.flights[f] = Flight::None;
        out.push((Action::ServerDropsCycle, Ok(next)));
    }
}

/// Rows and marker in one transaction; the holder, if it is still there, goes on from the new marker.
fn commit(state: &State, f: usize, secondary: usize, work: Work) -> Outcome<State> {
    let mut next = *state;
    let copied = &mut next.servers[secondary].now;
    if !work.latter.covers(copied.marker) {
        return Err("the marker goes back");
    }
    if copied.carried & work.carries != 0 {
        return Err("a touch is carried by two cycles");
    }
    if secondary == state.primary() && work.touched.contains(&true) {
        return Err("the link of the former direction writes on the new primary");
    }
    for row in (0..ROWS).filter(|&row| work.touched[row]) {
        copied.rows[row] = work.rows[row];
    }
    copied.marker = work.latter;
    copied.carried |= work.carries;
    is_as_of(&state.servers[1 - secondary], work.latter, copied.rows, secondary == state.primary())?;
    next.flights[f] = Flight::None;
    if f != ORPHAN {
        next.holders[f] = Holder::Ready { primary: 1 - secondary as u8, marker: work.latter };
    }
    Ok(next)
}

/// Design §10, 3.
fn is_as_of(primary: &Server, snapshot: Snapshot, rows: [u8; ROWS], former: bool) -> Result<(), Broken> {
    match former || primary.rows(snapshot) == rows {
        true => Ok(()),
        false => Err("the secondary at the end of a cycle is not the primary at its snapshot"),
    }
}

impl State {
    /// The instance's connections are closed, and the lock with them.
    pub fn let_go(&mut self, h: usize) {
        self.holders[h] = Holder::Idle;
        self.locks.iter_mut().filter(|lock| **lock == Some(h as u8)).for_each(|lock| *lock = None);
    }

    fn let_go_of_sender(&mut self, f: usize) {
        if f != ORPHAN {
            self.let_go(f);
        }
    }
}

/// `link::clean::turn`: every instance does it, holder or not; one stands for all, since removing twice is removing once.
pub fn cleaner_steps(world: &World, state: &State, out: &mut Out) {
    let mut next = *state;
    let action = match state.cleaner {
        // `marker::peek`
        Cleaner::Idle => {
            let primary = state.primary();
            let marker = state.servers[1 - primary].now.marker;
            if removable(world, &state.servers[primary], marker) == [0; ROWS] {
                return;
            }
            let primary = primary as u8;
            next.cleaner = match world.mistake {
                Mistake::CleanUpUnflushed => Cleaner::Flushed { primary, marker },
                _ => Cleaner::Peeked { primary, marker },
            };
            Action::CleanerReadsMarker
        }
        // `marker::flush`
        Cleaner::Peeked { primary, marker } => {
            let secondary = &mut next.servers[1 - usize::from(primary)];
            secondary.durable = secondary.now;
            next.cleaner = Cleaner::Flushed { primary, marker };
            Action::CleanerFlushes
        }
        // `journal::clean_up`
        Cleaner::Flushed { primary, marker } => {
            next.cleaner = Cleaner::Idle;
            let outcome = remove(world, next, usize::from(primary), marker);
            return out.push((Action::CleanerRemoves, outcome));
        }
    };
    out.push((action, Ok(next)));
}

fn removable(world: &World, primary: &Server, marker: Snapshot) -> [u8; ROWS] {
    let end = if world.mistake == Mistake::CleanUpToXmax { marker.xmax } else { marker.xmin() };
    [0, 1].map(|row| primary.journal[row] & primary.committed & (bit(end) - 1))
}

fn remove(world: &World, mut next: State, primary: usize, marker: Snapshot) -> Outcome<State> {
    let removed = removable(world, &next.servers[primary], marker);
    let durable = next.servers[1 - primary].durable;
    for (row, ids) in removed.into_iter().enumerate() {
        for xid in (1..next.servers[primary].next_xid).filter(|&xid| ids & bit(xid) != 0) {
            let covered = next.txn_of(primary, xid).is_some_and(|txn| durable.carried & touch(txn, row) != 0);
            if !covered && primary == next.primary() {
                return Err("clean-up removes a touch that no durable cycle has carried");
            }
        }
        next.servers[primary].journal[row] &= !ids;
    }
    Ok(next)
}
