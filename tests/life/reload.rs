//! Reading the configuration again: what can change does, for those who are connected too; what cannot is named; what is wrong changes nothing.

use std::io::Write;
use std::time::Duration;

use pgduet::demo::process::Signal;
use serde_json::json;
use tokio_postgres::Config;

use crate::raw::{READY, Raw};
use crate::support::Duo;
use crate::support::client::{block_on, connect_with};

const SOON: Duration = Duration::from_secs(20);

fn configure(duo: &Duo, settings: &str) {
    let yaml = format!("{}{settings}\n", duo.proxy.between(&duo.old, &duo.new));
    duo.proxy.configure(&yaml).expect("a configuration");
}

#[test]
fn a_new_limit_counts_for_those_who_are_connected() {
    let duo = Duo::start("");
    let mut client = Raw::started(duo.proxy.port);
    configure(&duo, "clients: { auth: trust }\nworkers: 3\ntimeouts: { idle: 200ms }\nreads: { percent: 50 }");
    let answer = duo.admin().post("/api/reload").expect("a reload");
    assert_eq!(answer, json!({ "changed": ["timeouts"], "needs_restart": ["workers"], "seeds": ["reads.percent"] }));
    assert!(client.until_closed().contains("57P05"));
    configure(&duo, "clients: { auth: trust, max_connections: 1 }");
    duo.proxy.signal(Signal::Hup);
    let mut first = None;
    duo.eventually("only one is admitted", SOON, || {
        first = Some(Raw::started(duo.proxy.port));
        duo.try_sql("SELECT 1").is_err_and(|e| e.to_string().contains("too many clients"))
    });
    let mut client = first.expect("a client");
    client.query("SELECT 1");
    client.until(READY);
}

#[test]
fn a_bad_file_leaves_everything_as_it_is_and_says_where_it_is_bad() {
    let mut duo = Duo::start("");
    configure(&duo, "clients: { auth: trust }\ntimeouts:\n  idle: soon");
    duo.proxy.signal(Signal::Hup);
    let line = std::fs::read_to_string(duo.proxy.config()).expect("the file").lines().count();
    let complaint = format!("proxy.yaml:{line}: timeouts.idle");
    duo.eventually("the key and the line are named", SOON, || duo.proxy.log_tail().contains(&complaint));
    let answer = duo.admin().call("POST", "/api/reload", "").expect("the admin port");
    assert!(answer.status == 409 && answer.body.contains(&complaint), "{} {}", answer.status, answer.body);
    configure(&duo, "clients: { users: [{ name: app, password_file: /nowhere/secret }] }");
    let answer = duo.admin().call("POST", "/api/reload", "").expect("the admin port");
    assert!(answer.status == 409 && answer.body.contains("clients.users[0].password_file"), "{}", answer.body);
    assert_eq!(duo.sql("SELECT 1"), "1");
    assert!(duo.proxy.is_running());
}

#[test]
fn a_changed_password_counts_from_the_next_client_on() {
    let duo = Duo::start("");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let users = format!("clients:\n  users: [{{ name: guarded, password_file: {} }}]", file.path().display());
    writeln!(file, "wrong").expect("a password");
    configure(&duo, &users);
    duo.admin().post("/api/reload").expect("a reload");
    let mut config = Config::new();
    config.host("127.0.0.1").port(duo.proxy.port).user("guarded").dbname("app").password("secret");
    let refused = block_on(connect_with(&config)).err().and_then(|e| e.code().map(|c| c.code().to_owned()));
    assert_eq!(refused.as_deref(), Some("28P01"));
    // The file of the configuration is as it was; what it names is read again.
    file.as_file().set_len(0).expect("an empty file");
    std::fs::write(file.path(), "secret\n").expect("a password");
    duo.admin().post("/api/reload").expect("a reload");
    assert!(block_on(connect_with(&config)).is_ok());
}
