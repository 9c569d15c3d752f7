//! Other processes: signals to whole trees of them, waiting with a bound, running one and reading what it said.

use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Failure;

/// A signal, by its name in `kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Term,
    Int,
    Quit,
    Kill,
    Stop,
    Cont,
    Hup,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
            Signal::Hup => "HUP",
        }
    }
}

/// Sends a signal to the processes that are still there.
pub fn signal(pids: &[u32], signal: Signal) {
    let list: String = pids.iter().map(|pid| format!(" {pid}")).collect();
    let command = format!("kill -{}{list}", signal.name());
    // A process that is gone already needs no signal.
    let _ = Command::new("sh").args(["-c", &command]).output();
}

/// The process and all that descend from it, the root first.
pub fn tree(root: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold anything; after it come the state and the parent.
            let (_, rest) = stat.rsplit_once(')')?;
            Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect()
}

/// Asks `ready` until it has an answer or the time is over.
pub fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ready() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or ends in a failure; the error carries what it printed.
pub fn run(command: &mut Command) -> Result<Output, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| Failure::io(format!("cannot run {name}"), e))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Failure::Command { name, status: output.status, said: said.trim().to_owned() })
}
