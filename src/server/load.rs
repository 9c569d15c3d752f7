//! How many connections there are, and how many there may be: file descriptors are what runs out first.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for everything that is no client's: listeners, runtimes, the control plane, the link, comparisons, cancel requests.
const OTHERS: u64 = 128;
/// A client and its connections to both backends.
const PER_CLIENT: u64 = 3;
/// So many may be in their start-up, however few descriptors there are.
const LEAST_STARTING: usize = 16;

/// Connections of clients.
#[derive(Debug)]
pub struct Load {
    /// All that were accepted and not yet let go.
    all: AtomicUsize,
    /// Those of them that have not finished their start-up.
    starting: AtomicUsize,
    /// No more than this may be in their start-up at once.
    pub most_starting: usize,
}

impl Load {
    /// `descriptors`: how many this process may have open; `clients`: how many it may serve.
    pub fn new(descriptors: u64, clients: usize) -> Self {
        let served = (clients as u64).saturating_mul(PER_CLIENT).saturating_add(OTHERS);
        let rest = usize::try_from(descriptors.saturating_sub(served)).unwrap_or(usize::MAX);
        Load { all: AtomicUsize::new(0), starting: AtomicUsize::new(0), most_starting: rest.max(LEAST_STARTING) }
    }

    pub fn is_crowded(&self) -> bool {
        self.starting.load(Ordering::Relaxed) >= self.most_starting
    }

    pub fn arrived(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
        self.starting.fetch_add(1, Ordering::Relaxed);
    }

    /// A start-up has ended, one way or the other.
    pub fn started(&self) {
        self.starting.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn left(&self) {
        self.all.fetch_sub(1, Ordering::SeqCst);
    }

    pub fn connections(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

/// Raises the limit on open files as far as this process may, and says so where that is too little. Returns the limit.
pub fn raise_descriptors(clients: usize) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = setrlimit(Resource::Nofile, wanted).is_ok();
    let most = if raised { limit.maximum } else { limit.current }.unwrap_or(u64::MAX);
    let needed = (clients as u64).saturating_mul(PER_CLIENT).saturating_add(OTHERS);
    if most < needed {
        tracing::warn!(
            limit = most,
            needed,
            "the limit on open files is too low for clients.max_connections; raise it (ulimit -n, LimitNOFILE=) or lower that"
        );
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_ups_leave_descriptors_for_those_who_are_served() {
        assert_eq!(Load::new(20_000, 1000).most_starting, 20_000 - 3 * 1000 - 128);
        assert_eq!(Load::new(1024, 1000).most_starting, LEAST_STARTING);
        assert_eq!(Load::new(u64::MAX, usize::MAX).most_starting, LEAST_STARTING);
    }

    #[test]
    fn the_crowd_is_those_who_have_not_finished() {
        let load = Load::new(0, 0);
        (0..LEAST_STARTING).for_each(|_| load.arrived());
        assert!(load.is_crowded());
        load.started();
        assert!(!load.is_crowded());
        load.left();
        assert_eq!(load.connections(), LEAST_STARTING - 1);
    }
}
