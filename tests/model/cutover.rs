//! The hand-over of the primary's role, as design §7 has it: the fence closes, the last cycle comes, the reverse link's marker is set,
//! the epoch is written on `new`. Two instances may both believe that the cutover is theirs.

use super::explorer::Outcome;
use super::world::{Action, Conductor, INSTANCES, Mistake, NEW, OLD, Out, State, World};

pub fn steps(world: &World, state: &State, out: &mut Out) {
    if state.new_is_primary || world.cutovers == 0 {
        return;
    }
    for c in 0..world.instances.min(INSTANCES) {
        conductor_steps(world, state, c, out);
    }
}

fn conductor_steps(world: &World, state: &State, c: usize, out: &mut Out) {
    let (mut next, by) = (*state, c as u8);
    match state.conductors[c] {
        Conductor::Off if state.fence == 0 => close_fence(world, state, c, out),
        Conductor::Off => call_off(world, state, c, out),
        // The journal has nothing that the marker does not see; then `new` is flushed.
        Conductor::Fenced { epoch } => {
            if is_drained(state) || world.mistake == Mistake::HandOverBeforeTheLastCycle {
                next.servers[NEW].durable = next.servers[NEW].now;
                next.conductors[c] = Conductor::Drained { epoch };
                out.push((Action::LastCycleSeen { by }, Ok(next)));
            }
        }
        // `begin::fresh` for new -> old: before anybody writes on `new`.
        Conductor::Drained { epoch } => {
            next.servers[OLD].now.marker = next.servers[NEW].snapshot();
            next.servers[NEW].journal = [0; 2];
            next.conductors[c] = Conductor::Prepared { epoch };
            out.push((Action::ReverseLinkPrepared { by }, Ok(next)));
        }
        // `store::control`: compare-and-swap on the epoch.
        Conductor::Prepared { epoch } if epoch == state.epoch => {
            out.push((Action::RolesSwitch { by }, switch(next)));
        }
        Conductor::Prepared { .. } => {
            next.conductors[c] = Conductor::Off;
            out.push((Action::EpochRefused { by }, Ok(next)));
        }
        Conductor::CallingOff { fence } => {
            next.conductors[c] = Conductor::Off;
            if next.fence == fence {
                next.fence = 0;
            }
            out.push((Action::CallOffOpensFence { by }, Ok(next)));
        }
    }
}

/// `CREATE TRIGGER` on the journal: its lock waits for every transaction that has left a touch.
fn close_fence(world: &World, state: &State, c: usize, out: &mut Out) {
    let waits = state.servers[OLD].running != 0 && world.mistake != Mistake::FenceWithoutWaiting;
    if waits || state.cutovers_left == 0 {
        return;
    }
    let mut next = *state;
    next.cutovers_left -= 1;
    next.fence = state.epoch + 1;
    next.conductors[c] = Conductor::Fenced { epoch: state.epoch };
    out.push((Action::FenceCloses { by: c as u8 }, Ok(next)));
}

/// A fence stands and nobody seems to go on. The epoch first, so that whoever does go on after all is refused.
fn call_off(world: &World, state: &State, c: usize, out: &mut Out) {
    let mut next = *state;
    if world.mistake != Mistake::CallOffWithoutEpoch {
        next.epoch = state.epoch.max(state.fence);
    }
    next.conductors[c] = Conductor::CallingOff { fence: state.fence };
    out.push((Action::CallOffMovesEpoch { by: c as u8 }, Ok(next)));
}

fn is_drained(state: &State) -> bool {
    let (old, marker) = (&state.servers[OLD], state.servers[NEW].now.marker);
    (0..2).all(|row| old.touches(row, old.snapshot(), |xid| marker.sees(xid)) == 0)
}

fn switch(mut next: State) -> Outcome<State> {
    let old = &next.servers[OLD];
    if next.servers[NEW].durable.rows != old.rows(old.snapshot()) {
        return Err("what is committed on the old primary is missing on the new one");
    }
    next.epoch += 1;
    next.new_is_primary = true;
    next.servers[OLD].becomes_secondary();
    next.conductors = [Conductor::Off; INSTANCES];
    Ok(next)
}
