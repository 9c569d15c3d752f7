//! How many are admitted, and what happens when the system has no more to give.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::raw::{READY, Raw, frame};
use crate::support::Duo;

const SOON: Duration = Duration::from_secs(20);

/// What a client of this name is told, if it is refused.
fn refusal(port: u16, user: &str) -> Option<String> {
    let mut raw = Raw::connect(port);
    raw.send(&frame(None, format!("\0\x03\0\0user\0{user}\0database\0app\0\0").as_bytes()));
    let said = String::from_utf8_lossy(&raw.until_closed_or(READY)).into_owned();
    said.contains("FATAL").then_some(said)
}

#[test]
fn the_last_places_are_for_those_who_look_after_it_and_a_user_has_its_own_limit() {
    let duo = Duo::start("");
    duo.proxy.configure(&format!(
        "listen: 127.0.0.1:{}\nadmin: {{ listen: \"{}\", users: [postgres] }}\nbackends:\n  old: {{ url: \"{}\" }}\n  new: {{ url: \"{}\" }}\n\
         clients: {{ auth: trust, max_connections: 5, reserved_connections: 2, users: [{{ name: app, max_connections: 2 }}, {{ name: postgres }}, {{ name: pgduet }}] }}\n",
        duo.proxy.port, duo.admin().address, duo.old.url("pgduet", "app"), duo.new.url("pgduet", "app"),
    )).expect("a configuration");
    let mut duo = duo;
    duo.proxy.kill();
    duo.proxy.start_again().expect("the proxy");
    let port = duo.proxy.port;
    let (_first, _second) = (Raw::started(port), Raw::started(port));
    let said = refusal(port, "app").expect("a refusal");
    assert!(said.contains("53300") && said.contains("too many connections for role \"app\""), "{said}");
    let mut third = Raw::connect(port);
    third.send(&frame(None, b"\0\x03\0\0user\0pgduet\0database\0app\0\0"));
    third.until(READY);
    let said = refusal(port, "pgduet").expect("a refusal");
    assert!(said.contains("53300") && said.contains("reserved for admin.users"), "{said}");
    let mut admins: Vec<Raw> = (0..2).map(|_| Raw::connect(port)).collect();
    for admin in &mut admins {
        admin.send(&frame(None, b"\0\x03\0\0user\0postgres\0database\0app\0\0"));
        admin.until(READY);
    }
    let said = refusal(port, "postgres").expect("a refusal");
    assert!(said.contains("53300") && said.contains("sorry, too many clients already"), "{said}");
}

#[test]
fn accepting_goes_on_after_the_system_has_run_out_of_descriptors() {
    let mut duo = Duo::start("");
    let mut served = Raw::started(duo.proxy.port);
    let pid = duo.proxy.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let limit = |current| {
        let new = Rlimit { current: Some(current), maximum: Some(4096) };
        prlimit(pid, Resource::Nofile, new).expect("another limit");
    };
    limit(8);
    let mut waiting = Raw::connect(duo.proxy.port);
    waiting.send(&frame(None, b"\0\x03\0\0user\0app\0database\0app\0\0"));
    duo.eventually("it is said", SOON, || duo.proxy.log_tail().contains("connections cannot be accepted now"));
    served.query("SELECT 1");
    served.until(READY);
    limit(4096);
    waiting.until(READY);
    let log = duo.proxy.log_tail();
    assert_eq!(log.matches("connections cannot be accepted now").count(), 1, "{log}");
    assert_eq!(duo.sql("SELECT 1"), "1");
    assert!(duo.proxy.is_running());
}
