//! Talking to a running proxy's admin port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;

/// Longer than the longest change of phase that the default configuration allows.
const LIMIT: Duration = Duration::from_secs(120);

/// Which proxy, and how its answers are printed.
#[derive(Clone, clap::Args)]
pub struct Target {
    /// The admin port: http://HOST:PORT. Default: `admin.listen` of the configuration.
    #[arg(long, env = "PGDUET_ADMIN")]
    admin: Option<String>,
    /// A file whose first line is the bearer token. Default: `admin.token_file` of the configuration, where --admin is not given.
    #[arg(long, env = "PGDUET_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[arg(long, default_value = "proxy.yaml")]
    config: PathBuf,
    /// text: for people; json: the admin port's own answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// What was answered: a status other than 200 is a refusal.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body, or why there is none, as one line or a few.
    pub fn expect(self) -> Result<Value, String> {
        match self.status {
            200 => Ok(self.body),
            status => Err(refusal(status, &self.body)),
        }
    }
}

/// A refusal in words: the gates that do not hold, with their evidence, or the problem's title and detail.
fn refusal(status: u16, body: &Value) -> String {
    let failed = body["gates"].as_array().into_iter().flatten().filter(|gate| gate["holds"] == false);
    let gates: Vec<String> = failed.map(|gate| format!("  {}: {}", text(&gate["name"]), gate["evidence"])).collect();
    if !gates.is_empty() {
        return format!("a gate does not hold\n{}", gates.join("\n"));
    }
    let said = [&body["title"], &body["detail"]].map(text);
    match said.iter().all(|part| part.is_empty()) {
        true => format!("the admin port answered {status}: {body}"),
        false => said.join(": "),
    }
}

/// A string's content, else the value as JSON; nothing for null.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Where to call, and with what.
struct Place {
    address: SocketAddr,
    token_file: Option<PathBuf>,
}

impl Target {
    pub fn at(admin: String, token_file: Option<PathBuf>, output: Output) -> Self {
        Target { admin: Some(admin), token_file, config: PathBuf::new(), output }
    }

    fn place(&self) -> Result<Place, String> {
        let Some(url) = &self.admin else {
            let config = Config::load(&self.config).map_err(|e| e.to_string())?;
            let token_file = self.token_file.clone().or(config.admin.token_file);
            return Ok(Place { address: config.admin.listen, token_file });
        };
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let mut found = authority.to_socket_addrs().map_err(|e| format!("--admin {url}: {e}"))?;
        let address = found.next().ok_or_else(|| format!("--admin {url}: no such host"))?;
        Ok(Place { address, token_file: self.token_file.clone() })
    }

    /// A GET that must succeed.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path, &Value::Null)?.expect()
    }

    /// One request.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
        let Place { address, token_file } = self.place()?;
        let token = token_file.map(read_token).transpose()?;
        let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(address, &request)
            .map_err(|e| format!("the admin port at {address} does not answer: {e}; is the proxy running?"))?;
        parse(&answer).ok_or_else(|| "the admin port's answer cannot be read".to_owned())
    }
}

fn read_token(path: PathBuf) -> Result<String, String> {
    let text = std::fs::read_to_string(&path).map_err(|e| format!("--token-file {}: {e}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)) })
}

/// Percent-encodes what a query string cannot hold.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Who a change is recorded under.
pub fn who() -> String {
    std::env::var("USER").unwrap_or_else(|_| "command line".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_gates_that_do_not_hold() {
        let gates = json!({ "gates": [
            { "name": "phase_order", "holds": true, "evidence": {} },
            { "name": "link_follows", "holds": false, "evidence": { "state": "paused" } },
        ] });
        assert_eq!(refusal(409, &gates), "a gate does not hold\n  link_follows: {\"state\":\"paused\"}");
        let problem = json!({ "title": "a bearer token is required", "detail": "send it" });
        assert_eq!(refusal(401, &problem), "a bearer token is required: send it");
        assert_eq!(refusal(500, &json!("broken")), "the admin port answered 500: \"broken\"");
    }

    #[test]
    fn a_statement_goes_into_a_query_string_whole() {
        assert_eq!(encode("a=1 & b"), "a%3D1%20%26%20b");
    }
}
