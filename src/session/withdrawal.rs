//! Whether reads may go to the secondary at all, as every session sees it: one atomic.
//!
//! Closed at once, by whoever finds the secondary gone (a session that cannot connect, the control plane's probe) or too far
//! behind (the probe); opened by the probe alone, once all has been well for a while, so that reads do not flutter.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Why no read goes to the secondary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It does not answer.
    Down,
    /// What it shows is older than `reads.max_lag`.
    Behind,
}

impl Withdrawn {
    pub fn as_str(self) -> &'static str {
        match self {
            Withdrawn::Down => "down",
            Withdrawn::Behind => "behind",
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Withdrawal(AtomicU8);

const OPEN: u8 = 0;
const DOWN: u8 = 1;
const BEHIND: u8 = 2;

impl Withdrawal {
    /// `None`: reads may go there.
    pub fn reason(&self) -> Option<Withdrawn> {
        match self.0.load(Relaxed) {
            OPEN => None,
            BEHIND => Some(Withdrawn::Behind),
            _ => Some(Withdrawn::Down),
        }
    }

    pub fn withdraw(&self, reason: Withdrawn) {
        let value = if reason == Withdrawn::Down { DOWN } else { BEHIND };
        if self.0.swap(value, Relaxed) != value {
            tracing::warn!(
                reason = reason.as_str(),
                "reads are withdrawn from the secondary; the primary answers them"
            );
        }
    }

    pub fn restore(&self) {
        if self.0.swap(OPEN, Relaxed) != OPEN {
            tracing::info!("reads return to the secondary");
        }
    }
}
