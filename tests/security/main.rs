//! Who may come in, and what can be read on the way: TLS on both sides, logins, cancel requests, secrets.

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod cancel;
mod clients;
mod logins;
mod pki;
mod secrets;

use std::path::Path;
use std::process::Stdio;
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

/// psql's answer, or its words of refusal.
pub fn run_psql(url: &str, sql: &str) -> Result<String, String> {
    let mut command = shared().binaries.program("psql");
    command.args(["-X", "-At", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).stdin(Stdio::null());
    let output = command.output().expect("psql");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}
