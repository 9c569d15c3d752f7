//! The decision of a read's side: pure, total, and in one place. The order of the questions is design.md §6's.

use crate::routing::{Policy, Share};
use crate::side::Side;

/// Why a statement goes where it goes: the label `reason` of `pgduet_reads_total`, and the words of `EXPLAIN ROUTE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The phase has one side only.
    Phase,
    /// The transaction has written, or may have.
    TransactionWrote,
    /// A statement of the transaction has run here before: what it saw must not be unseen.
    TransactionSide,
    /// REPEATABLE READ or SERIALIZABLE, or not known: one snapshot for the whole transaction.
    Isolation,
    /// Other answers of this session are still under way.
    Pipelined,
    /// What the session has on the primary is not known now.
    SessionState,
    /// The session has a temporary relation.
    TemporaryTable,
    /// The session has a cursor WITH HOLD.
    HeldCursor,
    /// The session holds an advisory lock.
    AdvisoryLock,
    /// The session has something that the secondary has refused, or that there is no way to carry.
    NotCarried,
    /// It asks for values in binary form that name types inside, and the sides number these differently.
    BinaryTypes,
    /// The client was told other columns, or other types of them, than its answer would have there.
    Described,
    /// It takes row locks.
    Locking,
    /// It calls a function that is volatile, unknown, or tells about the server itself.
    Function,
    /// It reads a relation that is not carried (a view, a system catalog, an excluded or unknown table).
    NotMirrored,
    /// It reads a table whose copy is not known to be equal.
    Unequal,
    /// The analysis could not read it.
    NotUnderstood,
    /// The statement says where.
    Hint,
    /// A segment, its table or its fingerprint is pinned.
    Pinned,
    /// Its bucket is not open yet.
    BucketClosed,
    /// Its bucket is open.
    BucketOpen,
    /// What this session wrote is not on the secondary yet.
    Stale,
    /// The link is down or the secondary too far behind.
    LinkDown,
    /// The secondary failed before the first byte of the answer: answered by the primary.
    Fallback,
}

impl Why {
    pub const ALL: [Why; 24] = [
        Why::Phase,
        Why::TransactionWrote,
        Why::TransactionSide,
        Why::Isolation,
        Why::Pipelined,
        Why::SessionState,
        Why::TemporaryTable,
        Why::HeldCursor,
        Why::AdvisoryLock,
        Why::NotCarried,
        Why::BinaryTypes,
        Why::Described,
        Why::Locking,
        Why::Function,
        Why::NotMirrored,
        Why::Unequal,
        Why::NotUnderstood,
        Why::Hint,
        Why::Pinned,
        Why::BucketClosed,
        Why::BucketOpen,
        Why::Stale,
        Why::LinkDown,
        Why::Fallback,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Why::Phase => "phase",
            Why::TransactionWrote => "transaction_wrote",
            Why::TransactionSide => "transaction_side",
            Why::Isolation => "isolation",
            Why::Pipelined => "pipelined",
            Why::SessionState => "session_state",
            Why::TemporaryTable => "temporary_table",
            Why::HeldCursor => "held_cursor",
            Why::AdvisoryLock => "advisory_lock",
            Why::NotCarried => "not_carried",
            Why::BinaryTypes => "binary_types",
            Why::Described => "described",
            Why::Locking => "locking",
            Why::Function => "function",
            Why::NotMirrored => "not_mirrored",
            Why::Unequal => "unequal",
            Why::NotUnderstood => "not_understood",
            Why::Hint => "hint",
            Why::Pinned => "pinned",
            Why::BucketClosed => "bucket_closed",
            Why::BucketOpen => "bucket_open",
            Why::Stale => "stale",
            Why::LinkDown => "link_down",
            Why::Fallback => "fallback",
        }
    }
}

/// How a session's transaction stands when a read arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// None is open: the statement is its own.
    None,
    /// Open, and nothing but transaction control has run on the primary: READ COMMITTED, or one snapshot that no write can follow.
    Clean,
    /// READ COMMITTED, and a read has run on the primary.
    Read,
    /// A statement has run on the primary that writes, locks, or may.
    Wrote,
    /// One snapshot for all its statements, that of the primary; or failed.
    Special,
}

/// All that the decision depends on beside the policy and the statement.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    pub transaction: Transaction,
    pub answers_under_way: bool,
    /// Why the session has to stay on the primary, if it has to.
    pub pinned: Option<Why>,
    /// What this session wrote is on the secondary, as far as `freshness` asks.
    pub fresh: bool,
    pub link_up: bool,
    pub bucket: u16,
    /// By a hint in the statement.
    pub forced: Option<Side>,
    /// By a pin of its table or fingerprint.
    pub pin: Option<Side>,
    /// What the client's segment says, if it is in one.
    pub share: Option<Share>,
}

/// A side, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub side: Side,
    pub why: Why,
}

/// `movable`: what the analysis says of the statement itself: may it run on the secondary?
pub fn choose(policy: &Policy, movable: Result<(), Why>, now: &Situation) -> Choice {
    let primary = policy.primary();
    match secondary_or_why_not(policy, movable, now) {
        Ok(why) => Choice { side: primary.other(), why },
        Err(why) => Choice { side: primary, why },
    }
}

fn secondary_or_why_not(policy: &Policy, movable: Result<(), Why>, now: &Situation) -> Result<Why, Why> {
    if !policy.phase.captures() {
        return Err(Why::Phase);
    }
    match now.transaction {
        Transaction::None | Transaction::Clean => {}
        Transaction::Read => return Err(Why::TransactionSide),
        Transaction::Wrote => return Err(Why::TransactionWrote),
        Transaction::Special => return Err(Why::Isolation),
    }
    movable?;
    if let Some(why) = now.pinned {
        return Err(why);
    }
    if now.answers_under_way {
        return Err(Why::Pipelined);
    }
    let why = wanted_on_secondary(policy, now)?;
    if !now.link_up {
        return Err(Why::LinkDown);
    }
    if !now.fresh {
        return Err(Why::Stale);
    }
    Ok(why)
}

/// Whether the percentage, or a hint, sends this read to the secondary. The percentage is a share for `new`, whichever role it has.
fn wanted_on_secondary(policy: &Policy, now: &Situation) -> Result<Why, Why> {
    let secondary = policy.primary().other();
    if let Some(side) = now.forced {
        return if side == secondary { Ok(Why::Hint) } else { Err(Why::Hint) };
    }
    let (pin, percent) = match now.share {
        Some(Share::Pin(side)) => (now.pin.or(Some(side)), policy.read_percent),
        Some(Share::Percent(percent)) => (now.pin, percent),
        None => (now.pin, policy.read_percent),
    };
    if let Some(side) = pin {
        return if side == secondary { Ok(Why::Pinned) } else { Err(Why::Pinned) };
    }
    let open = percent.opens(now.bucket);
    let (side, why) = if open { (Side::New, Why::BucketOpen) } else { (Side::Old, Why::BucketClosed) };
    // In `new_primary` all reads are on `new`, the primary: the percentage has done its work.
    if policy.primary() == Side::New {
        return Err(Why::Phase);
    }
    if side == secondary { Ok(why) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Percent, Phase};

    const CALM: Situation = Situation {
        transaction: Transaction::None,
        answers_under_way: false,
        pinned: None,
        fresh: true,
        link_up: true,
        bucket: 2_499,
        forced: None,
        pin: None,
        share: None,
    };

    fn dual_write(percent: u16) -> Policy {
        Policy { phase: Phase::DualWrite, read_percent: Percent::from_hundredths(percent), ..Policy::old_only() }
    }

    #[test]
    fn each_reason_has_its_row() {
        use Transaction::*;
        let p = dual_write(2_500);
        type Row = (Policy, Result<(), Why>, Situation, Side, Why);
        let rows: &[Row] = &[
            (p.clone(), Ok(()), CALM, Side::New, Why::BucketOpen),
            (p.clone(), Ok(()), Situation { transaction: Clean, ..CALM }, Side::New, Why::BucketOpen),
            (p.clone(), Ok(()), Situation { bucket: 2_500, ..CALM }, Side::Old, Why::BucketClosed),
            (p.clone(), Ok(()), Situation { transaction: Wrote, ..CALM }, Side::Old, Why::TransactionWrote),
            (p.clone(), Ok(()), Situation { transaction: Read, ..CALM }, Side::Old, Why::TransactionSide),
            (p.clone(), Ok(()), Situation { transaction: Special, ..CALM }, Side::Old, Why::Isolation),
            (p.clone(), Ok(()), Situation { pinned: Some(Why::HeldCursor), ..CALM }, Side::Old, Why::HeldCursor),
            (p.clone(), Ok(()), Situation { answers_under_way: true, ..CALM }, Side::Old, Why::Pipelined),
            (p.clone(), Ok(()), Situation { fresh: false, ..CALM }, Side::Old, Why::Stale),
            (p.clone(), Ok(()), Situation { link_up: false, ..CALM }, Side::Old, Why::LinkDown),
            (p.clone(), Err(Why::Locking), CALM, Side::Old, Why::Locking),
            (p.clone(), Ok(()), Situation { forced: Some(Side::Old), ..CALM }, Side::Old, Why::Hint),
            (dual_write(0), Ok(()), Situation { forced: Some(Side::New), ..CALM }, Side::New, Why::Hint),
            (p.clone(), Ok(()), Situation { forced: Some(Side::New), fresh: false, ..CALM }, Side::Old, Why::Stale),
            (dual_write(0), Ok(()), Situation { pin: Some(Side::New), ..CALM }, Side::New, Why::Pinned),
            (p.clone(), Ok(()), Situation { pin: Some(Side::Old), ..CALM }, Side::Old, Why::Pinned),
            (p.clone(), Ok(()), Situation { share: Some(Share::Pin(Side::Old)), ..CALM }, Side::Old, Why::Pinned),
            (
                p.clone(),
                Ok(()),
                Situation { share: Some(Share::Percent(Percent::ZERO)), ..CALM },
                Side::Old,
                Why::BucketClosed,
            ),
            (
                dual_write(0),
                Ok(()),
                Situation { share: Some(Share::Percent(Percent::ALL)), ..CALM },
                Side::New,
                Why::BucketOpen,
            ),
            (Policy { phase: Phase::OldOnly, ..p.clone() }, Ok(()), CALM, Side::Old, Why::Phase),
            (Policy { phase: Phase::NewPrimary, ..p.clone() }, Ok(()), CALM, Side::New, Why::Phase),
        ];
        for (policy, movable, now, side, why) in rows {
            assert_eq!(choose(policy, *movable, now), Choice { side: *side, why: *why }, "{now:?}");
        }
    }
}
