//! Who may come in, and what can be read on the way: TLS on both sides, logins, cancel requests, secrets.

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod cancel;
mod clients;
mod pki;

use std::path::Path;
use std::sync::OnceLock;

use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::Cluster;
use pgduet::demo::proxy::Proxy;

/// Two servers for all tests that change nothing in them.
pub struct Shared {
    pub old: Cluster,
    pub new: Cluster,
    pub binaries: Binaries,
}

/// Statics are never dropped: the servers' guards end them when this process has ended.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (old, new, binaries) = support::servers();
        Shared { old, new, binaries }
    })
}

impl Shared {
    /// A proxy in front of them, with these settings (YAML, top-level keys).
    pub fn proxy(&self, settings: &str) -> Proxy {
        Proxy::start(Path::new(support::PROGRAM), &self.old, &self.new, settings)
            .unwrap_or_else(support::fail("the proxy"))
    }
}
