//! Commands that talk to a running proxy's admin port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::fail;
use crate::config::Config;
use crate::routing::Phase;

/// Longer than the longest change of phase that the default configuration allows.
const LIMIT: Duration = Duration::from_secs(120);

/// Which proxy.
#[derive(clap::Args)]
pub struct Target {
    /// The admin port: http://HOST:PORT. Default: `admin.listen` of the configuration.
    #[arg(long, env = "PGDUET_ADMIN")]
    admin: Option<String>,
    /// A file whose first line is the bearer token.
    #[arg(long, env = "PGDUET_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[arg(long, default_value = "proxy.yaml")]
    config: PathBuf,
}

impl Target {
    fn address(&self) -> Result<SocketAddr, String> {
        let Some(url) = &self.admin else {
            return Config::load(&self.config).map(|c| c.admin.listen).map_err(|e| e.to_string());
        };
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let mut found = authority.to_socket_addrs().map_err(|e| format!("--admin {url}: {e}"))?;
        found.next().ok_or_else(|| format!("--admin {url}: no such host"))
    }

    fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|e| format!("--token-file {}: {e}", path.display()))?;
        Ok(text.lines().next().map(|line| line.trim().to_owned()))
    }

    /// One request. Returns the status and the body.
    fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), String> {
        let address = self.address()?;
        let failed = |e: std::io::Error| format!("the admin port at {address} does not answer: {e}");
        let mut stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(failed)?;
        let token = self.token()?.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the admin port's answer cannot be read")?;
        let status =
            head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("the admin port's answer cannot be read")?;
        Ok((status, serde_json::from_str(body).unwrap_or_else(|_| json!(body))))
    }
}

/// Prints an answer as indented JSON; exit code 1 where it is not a 200.
fn print(answer: Result<(u16, Value), String>) -> ExitCode {
    match answer {
        Ok((200, value)) => {
            println!("{value:#}");
            ExitCode::SUCCESS
        }
        Ok((status, value)) => fail(1, &format!("refused ({status}): {value:#}")),
        Err(error) => fail(1, &error),
    }
}

pub fn show(target: &Target, path: &str) -> ExitCode {
    print(target.call("GET", path, ""))
}

pub fn phase(target: &Target, phase: Option<Phase>, force: bool, dry_run: bool) -> ExitCode {
    let Some(phase) = phase else { return show(target, "/api/policy") };
    let by = std::env::var("USER").unwrap_or_else(|_| "command line".into());
    let body = json!({ "phase": phase, "by": by, "force": force, "dry_run": dry_run });
    print(target.call("PATCH", "/api/policy", &body.to_string()))
}

pub fn route(target: &Target, sql: &str, key: &str) -> ExitCode {
    print(target.call("GET", &format!("/api/route?sql={}&key={}", encode(sql), encode(key)), ""))
}

pub fn link(target: &Target, order: Option<&str>) -> ExitCode {
    match order {
        Some(order) => print(target.call("POST", &format!("/api/link/{order}"), "")),
        None => print(target.call("GET", "/api/status", "").map(|(status, value)| (status, value["link"].clone()))),
    }
}

pub fn reload(target: &Target) -> ExitCode {
    print(target.call("POST", "/api/reload", ""))
}

/// Percent-encodes what a query string cannot hold.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
