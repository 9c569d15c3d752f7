//! An aligned pair of snapshots, as far as this engine needs it. The link provides it; the two engines do not know each other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::side::Side;

/// Held while it lives, for a bounded time: open both transactions, ask whether it still stands, then let it go.
pub trait Pair: Send {
    /// For `SET TRANSACTION SNAPSHOT` on the primary.
    fn snapshot_id(&self) -> &str;
    fn primary(&self) -> Side;
    /// Whether a transaction that is open on the secondary by now shows the pair's data.
    fn still_held(&self) -> bool;
}

/// Asks for a pair and waits for so long at most. `None`: there is no link, or it did not get to it.
pub type Align = Arc<dyn Fn(Duration) -> BoxFuture<'static, Option<Box<dyn Pair>>> + Send + Sync>;
