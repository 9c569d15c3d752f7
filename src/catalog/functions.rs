//! How volatile the functions of one side are.

use std::collections::HashMap;
use std::sync::Arc;

/// Ordered from harmless to unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// By bare lower-case name; the most volatile of all overloads counts.
pub type ByName = HashMap<String, Volatility>;

/// The server's own, some thousands that never change, are read once and shared; the user's are read with each schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    pub servers: Arc<ByName>,
    pub users: ByName,
}

impl Functions {
    /// `None`: no such function is known, so nothing may be assumed of it.
    pub fn volatility(&self, name: &str) -> Option<Volatility> {
        self.servers.get(name).copied().max(self.users.get(name).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_volatile_overload_counts_whosever_it_is() {
        let by_name =
            |known: &[(&str, Volatility)]| known.iter().map(|&(name, v)| (name.into(), v)).collect::<ByName>();
        let servers =
            by_name(&[("lower", Volatility::Immutable), ("random", Volatility::Volatile), ("now", Volatility::Stable)]);
        let users = by_name(&[
            ("lower", Volatility::Volatile),
            ("random", Volatility::Immutable),
            ("mine", Volatility::Stable),
        ]);
        let functions = Functions { servers: Arc::new(servers), users };
        let found = ["lower", "random", "now", "mine", "nobodys"].map(|name| functions.volatility(name));
        let (stable, volatile) = (Some(Volatility::Stable), Some(Volatility::Volatile));
        assert_eq!(found, [volatile, volatile, stable, stable, None]);
    }
}
