//! The configuration in force: one value, swapped as a whole while the process runs.
//!
//! Whoever reads it gets a plain reference and may keep it, so that reading costs one load of a pointer, on every message too. In return a
//! configuration that was in force once is never freed: a few hundred bytes for each reload that changed something.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::Config;

/// See the module's text. Clones see the same value.
#[derive(Clone, Debug)]
pub struct Live(Arc<AtomicPtr<Config>>);

impl Live {
    pub fn new(config: Config) -> Self {
        Live(Arc::new(AtomicPtr::new(Box::leak(Box::new(config)))))
    }

    /// Puts another configuration in force for everybody who reads from now on.
    pub fn replace(&self, config: Config) {
        if **self != config {
            self.0.store(Box::leak(Box::new(config)), Ordering::Release);
        }
    }
}

impl Deref for Live {
    type Target = Config;

    #[allow(unsafe_code)]
    fn deref(&self) -> &Config {
        // SAFETY: the pointer comes from `Box::leak` in `new` or `replace`, and what it points to is neither changed nor freed after that.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_see_a_replacement_and_former_readers_keep_what_they_have() {
        let live = Live::new(Config::default());
        let (other, before) = (live.clone(), live.deref());
        live.replace(Config { workers: 7, ..Config::default() });
        assert_eq!((before.workers, other.workers), (Config::default().workers, 7));
    }
}
