//! A proxy whose admin port is not at its defaults.

use std::path::Path;

use pgduet::demo::proxy::Proxy;

use crate::support::{Duo, PROGRAM, fail, servers};

/// Clients are trusted; `admin` is what stands in `admin: { ... }` beside the address.
pub fn with_admin(admin: &str) -> Duo {
    let (old, new, binaries) = servers();
    let mut proxy = Proxy::prepare(Path::new(PROGRAM)).unwrap_or_else(fail("the proxy"));
    let listening = proxy.between(&old, &new).replace("admin: { ", &format!("admin: {{ {admin}, "));
    proxy.configure(&format!("{listening}clients: {{ auth: trust }}\n")).unwrap_or_else(fail("the configuration"));
    proxy.start_again().unwrap_or_else(fail("the proxy"));
    Duo { proxy, old, new, binaries }
}
