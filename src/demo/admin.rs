//! A client of the admin port, as small as one request at a time needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;

/// Longer than the longest barrier that the admin port allows is never waited for.
const LIMIT: Duration = Duration::from_secs(620);

/// Whom the history names for a change.
const BY: &str = "demo";

/// The admin port of one proxy on the loopback interface.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    pub address: SocketAddr,
}

/// What the port answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body, if it is JSON; else null.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    fn expect_ok(self, call: &str) -> Result<Value, Failure> {
        match self.status {
            200 => Ok(self.json()),
            status => Err(Failure::Admin(format!("{call} answered {status}: {}", self.body.trim()))),
        }
    }
}

impl Admin {
    /// # Errors
    /// When the port cannot be reached, or answers with anything but 200.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call("GET", path, "")?.expect_ok(path)
    }

    /// # Errors
    /// When the port cannot be reached, or answers with anything but 200.
    pub fn post(&self, path: &str) -> Result<Value, Failure> {
        self.call("POST", path, "")?.expect_ok(path)
    }

    /// Changes the policy; returns once it is in force.
    ///
    /// # Errors
    /// When a gate does not hold or the port cannot be reached.
    pub fn policy(&self, change: Value) -> Result<Value, Failure> {
        self.call("PATCH", "/api/policy", &change.to_string())?.expect_ok("PATCH /api/policy")
    }

    /// # Errors
    /// As [`Admin::policy`].
    pub fn phase(&self, phase: &str) -> Result<Value, Failure> {
        self.policy(json!({ "phase": phase, "by": BY }))
    }

    /// # Errors
    /// As [`Admin::policy`].
    pub fn read_percent(&self, percent: f64) -> Result<Value, Failure> {
        self.policy(json!({ "read_percent": percent, "by": BY }))
    }

    /// Waits until everything committed on the primary is on the secondary.
    ///
    /// # Errors
    /// When that takes longer than `limit`; the error carries what is missing.
    pub fn barrier(&self, limit: Duration) -> Result<(), Failure> {
        self.post(&format!("/api/barrier?timeout={}s", limit.as_secs())).map(drop)
    }

    /// # Errors
    /// As [`Admin::get`].
    pub fn status(&self) -> Result<Value, Failure> {
        self.get("/api/status")
    }

    /// One request on a connection of its own, whatever the answer is.
    ///
    /// # Errors
    /// When the port cannot be reached or answers with something that is not HTTP.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
        let broken = |e| Failure::io(format!("cannot call {path} on the admin port"), e);
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).map_err(broken)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(broken)?;
        // By HTTP/1.0 the answer ends with the connection, never in chunks.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(broken)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(broken)?;
        parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| Failure::Admin(format!("{path} did not answer in HTTP")))
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
