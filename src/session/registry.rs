//! Who is running under which policy, and whom a cancel request means. The only state that all sessions share.
//!
//! The race it excludes, when the policy is swapped:
//!   1. a session reads policy 3;
//!   2. the policy becomes 4, and somebody asks whether every transaction of policy 3 has ended: "yes, nobody said so";
//!   3. the session begins its transaction under policy 3.
//!
//! So a session first writes the generation it means to use into its slot, and then looks at the policy again
//! ([`Slot::enter`]): either it sees the swap, or whoever swapped sees the slot.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cancel::Request;
use crate::auth::Cancel;
use crate::routing::Policy;

const NO_TRANSACTION: u64 = 0;

/// A session as a cancel request sees it.
#[derive(Debug)]
struct Cancellable {
    secret: [u8; 4],
    request: Arc<Request>,
}

impl Cancellable {
    /// In the same time, whatever differs.
    fn is_opened_by(&self, secret: &[u8]) -> bool {
        secret.len() == self.secret.len() && secret.iter().zip(self.secret).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<u64, Arc<AtomicU64>>,
    /// By process id; two servers may give out the same, and a server gives it out again.
    cancels: HashMap<i32, Vec<Cancellable>>,
    /// Sessions of each user who has any.
    users: HashMap<Arc<str>, usize>,
    next: u64,
}

impl Inner {
    fn forget_cancels(&mut self, pid: i32, secret: &[u8]) {
        if let Entry::Occupied(mut known) = self.cancels.entry(pid) {
            known.get_mut().retain(|c| !c.is_opened_by(secret));
            if known.get().is_empty() {
                known.remove();
            }
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Registry {
    policy: ArcSwap<Policy>,
    inner: Mutex<Inner>,
    clients: AtomicUsize,
    /// Rung when a transaction ends while somebody waits for that.
    ended: Notify,
    waiting: AtomicUsize,
    /// The durable policy has been read.
    is_open: AtomicBool,
}

/// Transactions of a former policy did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} transactions of the former policy are still open")]
pub struct StillRunning {
    pub count: usize,
}

impl Registry {
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Registry {
            policy: ArcSwap::from_pointee(policy),
            inner: Mutex::default(),
            clients: AtomicUsize::new(0),
            ended: Notify::new(),
            waiting: AtomicUsize::new(0),
            is_open: AtomicBool::new(false),
        })
    }

    /// The policy that is in force is the durable one: clients may be served, from now on and for good.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// Whether [`Registry::open`] was called. Until then the policy is a mere placeholder, and no session may begin.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force for transactions that begin now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force, under the next generation, which it returns.
    pub fn swap(&self, change: impl Fn(&Policy) -> Policy) -> u64 {
        let former = self.policy.rcu(|now| Policy { generation: now.generation + 1, ..change(now) });
        former.generation + 1
    }

    /// Waits until no transaction runs under a policy older than `generation`.
    pub async fn all_past(&self, generation: u64, timeout: Duration) -> Result<(), StillRunning> {
        let deadline = Instant::now() + timeout;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let count = self.older_than(generation);
            if count == 0 {
                break Ok(());
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                break Err(StillRunning { count });
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn older_than(&self, generation: u64) -> usize {
        let is_older = |slot: &&Arc<AtomicU64>| {
            !matches!(slot.load(Ordering::SeqCst), NO_TRANSACTION) && slot.load(Ordering::SeqCst) < generation
        };
        self.lock().slots.values().filter(is_older).count()
    }

    /// Clients that are logged in.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Sessions of one user.
    pub fn clients_of(&self, user: &str) -> usize {
        self.lock().users.get(user).copied().unwrap_or_default()
    }

    /// A place for one session of `user`; given back on drop.
    pub fn enroll(self: &Arc<Self>, user: &str) -> Slot {
        let using = Arc::new(AtomicU64::new(NO_TRANSACTION));
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.slots.insert(id, Arc::clone(&using));
        let user = inner.users.get_key_value(user).map_or_else(|| Arc::from(user), |(known, _)| Arc::clone(known));
        *inner.users.entry(Arc::clone(&user)).or_default() += 1;
        self.clients.fetch_add(1, Ordering::Relaxed);
        Slot { registry: Arc::clone(self), id, using, user, key: None, request: Arc::default() }
    }

    /// Where a cancel request for a session is left. A wrong key opens nothing.
    pub fn cancellable(&self, cancel: &Cancel) -> Option<Arc<Request>> {
        let inner = self.lock();
        let meant = inner.cancels.get(&cancel.pid)?.iter().find(|c| c.is_opened_by(&cancel.secret));
        meant.map(|c| Arc::clone(&c.request))
    }
}

/// One session's place in the [`Registry`].
#[derive(Debug)]
pub struct Slot {
    registry: Arc<Registry>,
    id: u64,
    using: Arc<AtomicU64>,
    user: Arc<str>,
    /// What the client got for its cancel requests.
    key: Option<(i32, [u8; 4])>,
    /// Where they are left.
    pub request: Arc<Request>,
}

impl Slot {
    /// The secret for this session's cancel requests; the client knows it by the process that serves it on the primary, because that is what
    /// `pg_backend_pid()`, notifications and the server's log name. Once in a session's life.
    pub fn known_as(&mut self, pid: i32) -> [u8; 4] {
        let secret = rand::random();
        let cancellable = Cancellable { secret, request: Arc::clone(&self.request) };
        self.registry.lock().cancels.entry(pid).or_default().push(cancellable);
        self.key = Some((pid, secret));
        secret
    }

    /// The policy for a transaction that begins now; held until [`Slot::leave`].
    pub fn enter(&self) -> Arc<Policy> {
        loop {
            let policy = self.registry.policy.load_full();
            self.using.store(policy.generation, Ordering::SeqCst);
            if self.registry.policy.load().generation == policy.generation {
                return policy;
            }
        }
    }

    /// The transaction has ended.
    pub fn leave(&self) {
        self.using.store(NO_TRANSACTION, Ordering::SeqCst);
        if self.registry.waiting.load(Ordering::SeqCst) > 0 {
            self.registry.ended.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.leave();
        let mut inner = self.registry.lock();
        inner.slots.remove(&self.id);
        if let Some((pid, secret)) = self.key {
            inner.forget_cancels(pid, &secret);
        }
        if let Some(count) = inner.users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                inner.users.remove(&self.user);
            }
        }
        drop(inner);
        self.registry.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_swap_waits_for_the_transactions_of_the_former_policy_only() {
        let registry = Registry::new(Policy::old_only());
        let (former, later) = (registry.enroll("app"), registry.enroll("app"));
        former.enter();
        let generation = registry.swap(Policy::clone);
        later.enter();
        let soon = Duration::from_millis(10);
        assert_eq!(registry.all_past(generation, soon).await, Err(StillRunning { count: 1 }));
        let wait = registry.all_past(generation, Duration::from_secs(10));
        let (waited, ()) = tokio::join!(wait, async { former.leave() });
        assert_eq!(waited, Ok(()));
    }

    #[test]
    fn places_are_counted_by_user_and_given_back() {
        let registry = Registry::new(Policy::old_only());
        let first = registry.enroll("app");
        let _second = registry.enroll("app");
        assert_eq!((registry.clients_of("app"), registry.clients_of("ops"), registry.clients()), (2, 0, 2));
        drop(first);
        assert_eq!((registry.clients_of("app"), registry.clients()), (1, 1));
    }

    #[test]
    fn sessions_that_two_servers_know_by_one_number_are_told_apart() {
        let registry = Registry::new(Policy::old_only());
        let (mut first, mut second) = (registry.enroll("app"), registry.enroll("app"));
        let keys = [first.known_as(7), second.known_as(7)];
        let meant = |secret: &[u8]| registry.cancellable(&Cancel { pid: 7, secret: secret.to_vec() });
        assert!(meant(&keys[0]).is_some_and(|request| Arc::ptr_eq(&request, &first.request)));
        drop(first);
        assert!(meant(&keys[0]).is_none());
        assert!(meant(&keys[1]).is_some_and(|request| Arc::ptr_eq(&request, &second.request)));
        drop(second);
        assert!(registry.lock().cancels.is_empty());
    }
}
