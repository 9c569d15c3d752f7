//! Named places at which a test may have this process die, or stand still: the steps between which nothing may be lost.
//!
//! `PGDUET_FAILPOINTS="link.read=kill:3,link.applied=pause:200"`: at the third passing of `link.read` the process aborts (no destructor
//! runs, nothing is flushed: to the databases this is a SIGKILL), at each passing of `link.applied` its thread sleeps 200 ms. A number
//! after `pause:200` as in `pause:200:5` makes it the fifth passing alone. Unset, as it is outside of tests, a passing costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The environment variable that arms them.
pub const VARIABLE: &str = "PGDUET_FAILPOINTS";

/// Every place, in the order in which a write passes them.
pub const ALL: [&str; 13] = [
    "session.statement.captured",
    "session.commit.reported",
    "session.commit.announced",
    "session.ack.released",
    "link.starts",
    "link.read",
    "link.applied",
    "link.booked",
    "link.thorough.read",
    "link.thorough.written",
    "link.thorough.applied",
    "clean.flushed",
    "clean.removed",
];

/// What happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The process aborts at this passing.
    Kill(u64),
    /// The thread sleeps: at this passing, or at each.
    Pause(Duration, Option<u64>),
}

#[derive(Debug)]
struct Armed {
    name: String,
    action: Action,
    passed: AtomicU64,
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

/// A passing of the place `name`, one of [`ALL`].
pub fn pass(name: &str) {
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).map_or_else(|_| Vec::new(), |text| parse(&text)));
    for point in armed.iter().filter(|point| point.name == name) {
        point.act();
    }
}

impl Armed {
    fn act(&self) {
        let passing = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        match self.action {
            Action::Kill(at) if at == passing => std::process::abort(),
            Action::Pause(time, at) if at.is_none_or(|at| at == passing) => std::thread::sleep(time),
            _ => {}
        }
    }
}

/// What cannot be read is left out: a typing error in a test must not become a fault of the product.
fn parse(text: &str) -> Vec<Armed> {
    text.split(',').filter_map(armed).collect()
}

fn armed(text: &str) -> Option<Armed> {
    let (name, action) = text.trim().split_once('=')?;
    let mut words = action.split(':');
    let (verb, number) = (words.next()?, words.next()?.parse().ok()?);
    let action = match verb {
        "kill" => Action::Kill(number),
        "pause" => Action::Pause(Duration::from_millis(number), words.next().and_then(|at| at.parse().ok())),
        _ => return None,
    };
    Some(Armed { name: name.to_owned(), action, passed: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_armed_by_name_and_count() {
        let armed = parse("link.read=kill:3, link.applied=pause:200,x=pause:5:2,nonsense,y=die:1,z=kill:");
        let read: Vec<_> = armed.iter().map(|a| (a.name.as_str(), a.action)).collect();
        let ms = Duration::from_millis;
        assert_eq!(
            read,
            [
                ("link.read", Action::Kill(3)),
                ("link.applied", Action::Pause(ms(200), None)),
                ("x", Action::Pause(ms(5), Some(2)))
            ]
        );
    }
}
