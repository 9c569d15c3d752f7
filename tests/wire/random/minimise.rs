//! The shortest exchange that still shows a difference: messages are left out for as long as it does.

use crate::script::{Exchange, Step, What};

/// A server answers at once to these; to others it need not before one of these.
const ANSWERED: &[&str] = &["Query", "Sync", "Flush", "Copy"];

/// `differs` is asked of each shorter exchange.
pub fn minimise(exchange: &Exchange, mut differs: impl FnMut(&Exchange) -> bool) -> Exchange {
    let mut best = exchange.clone();
    let mut size = best.steps.len() / 2;
    while size > 0 {
        let mut at = best.steps.len();
        while at > 0 {
            let from = at.saturating_sub(size);
            if let Some(shorter) = without(&best, from, at).filter(|shorter| differs(shorter)) {
                best = shorter;
            }
            at = from;
        }
        size /= 2;
    }
    best
}

/// Nothing where the rest would be no exchange.
fn without(exchange: &Exchange, from: usize, to: usize) -> Option<Exchange> {
    let kept = exchange.steps.iter().enumerate().filter(|(at, _)| *at < from || *at >= to);
    let steps: Vec<Step> = kept.map(|(_, step)| step.clone()).collect();
    let asks = |pair: &[Step]| match (&pair[0].what, &pair[1].what) {
        (What::Send(message), What::Until { .. }) => ANSWERED.iter().any(|tag| message.starts_with(tag)),
        (_, What::Until { .. }) => false,
        _ => true,
    };
    let reads = steps.last().is_some_and(|step| matches!(step.what, What::Until { .. }));
    (steps.len() > 1 && reads && steps.windows(2).all(asks)).then(|| Exchange { name: exchange.name.clone(), steps })
}
