//! The clients: transactions that write both rows, in this order or the other, and end as they like.

use super::server::TXNS;
use super::world::{Action, NEW, OLD, Out, State, Txn, World};

pub fn steps(world: &World, state: &State, out: &mut Out) {
    for txn in 0..world.txns.min(TXNS) {
        match state.txns[txn] {
            Txn::New => begin(state, txn, out),
            Txn::Open { side, xid, written } => {
                if written < 2 {
                    write(state, txn, usize::from(side), Some((xid, written)), out);
                }
                end(world, state, txn, out);
            }
            Txn::Committed { .. } | Txn::RolledBack => {}
        }
    }
}

/// The first write goes to whichever side lets it: an instance that has not heard of the cutover still asks `old`, where the fence
/// stands for good; nobody asks `new` before the roles were switched durably.
fn begin(state: &State, txn: usize, out: &mut Out) {
    if state.fence == 0 && !state.new_is_primary {
        write(state, txn, OLD, None, out);
    }
    if state.new_is_primary {
        write(state, txn, NEW, None, out);
    }
}

/// A statement waits for the row's lock, so it is no step while another one has it. The second one turns to the other row.
fn write(state: &State, txn: usize, side: usize, open: Option<(u8, u8)>, out: &mut Out) {
    let (known, written) = open.map_or((None, 0), |(xid, written)| (Some(xid), written));
    let row = (txn + usize::from(written)) % 2;
    if state.servers[side].is_locked(row, known) {
        return;
    }
    let mut next = *state;
    let server = &mut next.servers[side];
    let xid = known.unwrap_or_else(|| server.assign());
    server.write(xid, row, txn as u8 + 1);
    next.txns[txn] = Txn::Open { side: side as u8, xid, written: written + 1 };
    let on = if side == OLD { "old" } else { "new" };
    out.push((Action::Write { txn: txn as u8 + 1, row: row as u8, on }, Ok(next)));
}

fn end(world: &World, state: &State, txn: usize, out: &mut Out) {
    let Txn::Open { side, xid, written } = state.txns[txn] else { return };
    let server = usize::from(side);
    if written == 2 {
        let mut next = *state;
        next.servers[server].commit(xid);
        next.txns[txn] = Txn::Committed { side, xid };
        let too_late = state.new_is_primary && server == OLD;
        let outcome =
            if too_late { Err("a write was committed on the former primary after the cutover") } else { Ok(next) };
        out.push((Action::Commit { txn: txn as u8 + 1 }, outcome));
    }
    if written == 2 && world.asynchronous {
        let mut next = *state;
        next.servers[server].commit_unflushed(xid);
        next.txns[txn] = Txn::Committed { side, xid };
        out.push((Action::CommitUnflushed { txn: txn as u8 + 1 }, Ok(next)));
    }
    let mut next = *state;
    next.servers[server].roll_back(xid);
    next.txns[txn] = Txn::RolledBack;
    out.push((Action::RollBack { txn: txn as u8 + 1 }, Ok(next)));
}
