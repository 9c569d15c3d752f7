//! What a backend owes, in order, and the three cases in which a ReadyForQuery is not one for one message.

use std::collections::VecDeque;

use super::batch::{Batch, Ending, Undone};
use super::statements::Void;

/// Expects the answer to a simple query, which may follow messages of the extended protocol without a Sync.
pub fn expect_query(batches: &mut VecDeque<Batch>, query: Batch) {
    match batches.back_mut() {
        Some(open) if open.is_open() => open.join(query),
        _ => batches.push_back(query),
    }
}

/// The server has begun to copy in: it ignores Syncs from here on, up to the end of the copy; one that was sent behind the
/// Execute already is not answered.
pub fn copies_in(batches: &mut VecDeque<Batch>) {
    let Some(front) = batches.front_mut().filter(|b| b.ending == Ending::Sync) else { return };
    front.ending = Ending::Open;
    // The Sync behind the copy's end may have been sent as well.
    if let Some(ending) = batches.get(1).filter(|b| b.steps.is_empty()).map(|b| b.ending) {
        batches.remove(1);
        batches.front_mut().into_iter().for_each(|front| front.ending = ending);
    }
}

/// A message of the extended protocol has failed: what was sent behind it, up to the next Sync, will not be answered.
/// Returns what would have been changed.
pub fn skip_to_sync(batches: &mut VecDeque<Batch>) -> Undone {
    let mut undone = Undone::new();
    while batches.front().is_some_and(|b| b.failed && b.is_open()) {
        let Some(mut skipped) = batches.remove(1) else { break };
        undone.splice(0..0, skipped.unanswered(Void::Skipped));
        if let (Some(front), false) = (batches.front_mut(), matches!(skipped.ending, Ending::Query { .. })) {
            front.ending = skipped.ending;
        }
    }
    undone
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::batch::{Care, Step};
    use super::super::statements::{Prepared, Statements};
    use super::super::tally::Class;
    use super::*;

    fn batch(ending: Ending, steps: usize) -> Batch {
        let mut batch = Batch::new(Class::Other, Care::Frames, ending);
        batch.steps.extend((0..steps).map(|_| Step::Bind));
        batch
    }

    /// What is owed, each with the number of steps to come.
    fn owed(batches: &VecDeque<Batch>) -> Vec<(Ending, usize)> {
        batches.iter().map(|b| (b.ending, b.steps.len())).collect()
    }

    #[test]
    fn a_query_behind_messages_without_a_sync_shares_their_ready_for_query() {
        let mut batches = VecDeque::from([batch(Ending::Open, 3)]);
        expect_query(&mut batches, batch(Ending::Query { steps: 1 }, 1));
        expect_query(&mut batches, batch(Ending::Query { steps: 2 }, 2));
        assert_eq!(owed(&batches), [(Ending::Query { steps: 1 }, 4), (Ending::Query { steps: 2 }, 2)]);
    }

    #[test]
    fn what_follows_a_failed_message_is_skipped_up_to_the_next_sync() {
        let mut skipped = batch(Ending::Sync, 1);
        let parse = Statements::default().put(Rc::new(Prepared::new(b"s", b"SELECT 1", b"\0\0")));
        skipped.steps.push_back(Step::Parse(parse));
        let mut batches = VecDeque::from([
            batch(Ending::Open, 0),
            batch(Ending::Query { steps: 1 }, 1),
            skipped,
            batch(Ending::Sync, 2),
        ]);
        batches[0].failed = true;
        assert_eq!(skip_to_sync(&mut batches).len(), 1);
        assert_eq!(owed(&batches), [(Ending::Sync, 0), (Ending::Sync, 2)]);
        // The Sync is still to come.
        let mut batches = VecDeque::from([batch(Ending::Open, 0), batch(Ending::Query { steps: 1 }, 1)]);
        batches[0].failed = true;
        skip_to_sync(&mut batches);
        expect_query(&mut batches, batch(Ending::Query { steps: 1 }, 1));
        assert_eq!(owed(&batches), [(Ending::Open, 0)]);
    }

    #[test]
    fn a_sync_in_front_of_a_copy_is_not_answered() {
        let mut batches = VecDeque::from([batch(Ending::Sync, 1)]);
        copies_in(&mut batches);
        assert_eq!(owed(&batches), [(Ending::Open, 1)]);
        let mut batches = VecDeque::from([batch(Ending::Sync, 1), batch(Ending::Sync, 0), batch(Ending::Sync, 3)]);
        copies_in(&mut batches);
        assert_eq!(owed(&batches), [(Ending::Sync, 1), (Ending::Sync, 3)]);
        let mut batches = VecDeque::from([batch(Ending::Query { steps: 1 }, 1)]);
        copies_in(&mut batches);
        assert_eq!(owed(&batches), [(Ending::Query { steps: 1 }, 1)]);
    }
}
