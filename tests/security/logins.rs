//! Proof of identity: to the proxy, and to the databases in the client's place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use pgduet::demo::cluster::psql;
use pgduet::demo::proxy::Proxy;

use crate::backends::encrypted;
use crate::pki::Pki;
use crate::support::{Duo, fail};
use crate::{run_psql, shared};

fn as_guarded(proxy: &Proxy, password: &str, sql: &str) -> Result<String, String> {
    let url = format!("postgres://guarded:{password}@127.0.0.1:{}/app", proxy.port);
    run_psql(&url, sql)
}

#[test]
fn a_stored_verifier_opens_the_proxy_and_every_database_that_stores_it_too() {
    let mut duo = Duo::start("");
    let verifier = duo.old.sql("app", "SELECT rolpassword FROM pg_authid WHERE rolname = 'guarded'").expect("it");
    duo.new.sql("app", &format!("ALTER ROLE guarded PASSWORD '{verifier}'")).expect("the same verifier on new");
    duo.proxy.kill();
    let users =
        format!("clients:\n  users: [{{ name: guarded, verifier: \"{verifier}\" }}]\nreads: {{ percent: 100 }}\n");
    duo.proxy.configure(&format!("{}{users}", duo.proxy.between(&duo.old, &duo.new))).expect("a configuration");
    duo.proxy.start_again().expect("the proxy");
    duo.dual_write();
    duo.read_percent(100.0);
    let before = duo.count("/reads/new_total");
    assert_eq!(as_guarded(&duo.proxy, "secret", "SELECT 1").as_deref(), Ok("1"));
    assert_eq!(
        as_guarded(&duo.proxy, "secret", "CREATE TEMP TABLE t (a int); SELECT current_user").as_deref(),
        Ok("guarded")
    );
    assert_eq!(duo.count("/reads/new_total"), before + 1, "new was not reached with what the client proved");
    let said = as_guarded(&duo.proxy, "wrong", "SELECT 1").expect_err("refused");
    assert!(said.contains("password authentication failed for user \"guarded\""), "{said}");
    duo.old.sql("app", "ALTER ROLE guarded PASSWORD 'secret'").expect("another verifier on old");
    let said = as_guarded(&duo.proxy, "secret", "SELECT 1").expect_err("refused");
    assert!(said.contains("the server stores another verifier") && said.contains("HINT"), "{said}");
}

#[test]
fn a_client_may_be_somebody_else_on_each_database() {
    let pki = Pki::new();
    let (front, back) = (pki.file("front", "front\n"), pki.file("back", "secret\n"));
    let users = format!(
        "clients:\n  users: [{{ name: shop, password_file: {front}, old: {{ user: guarded, password_file: {back} }}, new: {{ user: app }} }}]\n"
    );
    let proxy = shared().proxy(&users);
    let ask = |password: &str| {
        run_psql(&format!("postgres://shop:{password}@127.0.0.1:{}/app", proxy.port), "SELECT current_user")
    };
    assert_eq!(ask("front").as_deref(), Ok("guarded"));
    assert!(ask("secret").expect_err("refused").contains("password authentication failed for user \"shop\""));
}

/// What the proxy says to a client of this name whose proof is wrong: the mechanisms, the salt with the iterations, the refusal.
fn conversation(port: u16, user: &str) -> (Vec<u8>, String, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let body = [b"\0\x03\0\0user\0", user.as_bytes(), b"\0database\0app\0\0"].concat();
    socket.write_all(&[&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()).expect("a start-up");
    let mechanisms = frame(&mut socket).1;
    let first = b"n,,n=,r=abcdefgh";
    let initial = [b"SCRAM-SHA-256\0", &(first.len() as u32).to_be_bytes()[..], first].concat();
    send(&mut socket, &initial);
    let server_first = String::from_utf8(frame(&mut socket).1[4..].to_vec()).expect("text");
    let (nonce, salt) = server_first.split_once(",s=").expect("a salt");
    let nonce = nonce.strip_prefix("r=").expect("a nonce");
    send(&mut socket, format!("c=biws,r={nonce},p={}=", "A".repeat(43)).as_bytes());
    let (tag, refusal) = frame(&mut socket);
    assert_eq!(tag, b'E');
    (mechanisms, salt.to_owned(), String::from_utf8_lossy(&refusal).replace(user, "USER"))
}

fn send(socket: &mut TcpStream, body: &[u8]) {
    let frame = [b"p", &(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
    socket.write_all(&frame).expect("a message");
}

fn frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    socket.read_exact(&mut header).expect("a header");
    let mut body = vec![0; u32::from_be_bytes(header[1..].try_into().expect("four bytes")) as usize - 4];
    socket.read_exact(&mut body).expect("a body");
    (header[0], body)
}

#[test]
fn nothing_tells_an_unknown_user_from_a_wrong_password() {
    let pki = Pki::new();
    let users = format!("clients:\n  users: [{{ name: guarded, password_file: {} }}]\n", pki.file("p", "secret\n"));
    let proxy = shared().proxy(&users);
    let [known, again, unknown, unknown_again, other] =
        ["guarded", "guarded", "nobody", "nobody", "noone"].map(|user| conversation(proxy.port, user));
    assert_eq!(known, again);
    assert_eq!(unknown, unknown_again, "an unknown user's salt changes");
    assert_ne!(unknown.1, other.1, "unknown users share a salt");
    assert_eq!((&known.0, &known.2), (&unknown.0, &unknown.2));
    assert_eq!(known.1.len(), unknown.1.len());
    assert_eq!(known.1.split_once(",i=").map(|(_, i)| i), unknown.1.split_once(",i=").map(|(_, i)| i));
    assert!(known.2.contains("28P01"), "{}", known.2);
}

#[test]
fn clients_are_admitted_by_user_network_and_encryption_before_they_prove_anything() {
    let cases = [
        ("[{ users: [app] }]", "app", true),
        ("[{ users: [other] }]", "app", false),
        ("[{ networks: [10.0.0.0/8] }]", "app", false),
        ("[{ networks: [10.0.0.0/8] }, { users: [app], networks: [127.0.0.0/8, \"::1\"] }]", "app", true),
        ("[]", "app", true),
    ];
    for (allow, user, admitted) in cases {
        let proxy = shared().proxy(&format!("clients:\n  auth: trust\n  allow: {allow}\n"));
        let answer = run_psql(&format!("{}?sslmode=disable", proxy.url(user, "app")), "SELECT 1");
        match answer {
            Ok(_) => assert!(admitted, "{allow} admits {user}"),
            Err(said) => {
                assert!(!admitted, "{allow} refuses {user}: {said}");
                let words =
                    "no pg_hba.conf entry for host \"127.0.0.1\", user \"app\", database \"app\", no encryption";
                assert!(said.contains(words), "{said}");
            }
        }
    }
    let pki = Pki::new();
    let identity = pki.issue("proxy", "pgduet", &["localhost"]);
    let proxy = shared().proxy(&format!(
        "clients:\n  auth: trust\n  allow: [{{ tls: required }}]\n  tls: {{ mode: allow, cert_file: {}, key_file: {} }}\n",
        identity.cert.display(),
        identity.key.display()
    ));
    for (mode, admitted) in [("disable", false), ("prefer", true), ("allow", true)] {
        let answer = run_psql(&format!("{}?sslmode={mode}&gssencmode=disable", proxy.url("app", "app")), "SELECT 1");
        assert_eq!(answer.is_ok(), admitted, "sslmode={mode}: {answer:?}");
    }
}

#[test]
fn weak_ways_of_a_database_are_used_and_said_aloud_once() {
    let (server, _) = encrypted();
    let pki = Pki::new();
    let secret = pki.file("p", "secret\n");
    for user in ["by_md5", "in_clear"] {
        let settings = format!("clients:\n  users: [{{ name: {user}, password_file: {secret} }}]\n");
        let proxy = Proxy::start(std::path::Path::new(crate::support::PROGRAM), server, &shared().new, &settings);
        let proxy = proxy.unwrap_or_else(fail("the proxy"));
        for _ in 0..3 {
            let url = format!("postgres://{user}:secret@127.0.0.1:{}/app", proxy.port);
            assert_eq!(psql(server.binaries(), &url, "SELECT current_user").unwrap_or_else(fail("a login")), user);
        }
        let log = proxy.log_tail();
        assert_eq!(log.matches("scram-sha-256").count(), 1, "{log}");
    }
}

/// A process's whole output, for a look at what it gives away.
fn command_output(command: &mut std::process::Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("a process");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_bad_secret_file_is_named_and_not_shown() {
    let pki = Pki::new();
    let verifier = pki.file("verifier", "hush-hush, no verifier\n");
    let cases = [
        (format!("clients: {{ users: [{{ name: a, verifier_file: {verifier} }}] }}\n"), "clients.users[0].verifier"),
        ("clients: { users: [{ name: a, verifier: hush-hush }] }\n".into(), "clients.users[0].verifier"),
        ("clients: { users: [{ name: a, password_file: /nowhere }] }\n".into(), "clients.users[0].password_file"),
        (
            format!("clients: {{ tls: {{ mode: allow, cert_file: {verifier}, key_file: {verifier} }} }}\n"),
            "clients.tls.cert_file",
        ),
        ("backends: { old: { url: \"postgres://a:hush-hush@h/d?sslmode=verify-full\" } }\n".into(), "backends.old.url"),
    ];
    for (yaml, named) in cases {
        let file = pki.file("proxy.yaml", &yaml);
        let said =
            command_output(std::process::Command::new(crate::support::PROGRAM).args(["serve", "--config", &file]));
        assert!(said.contains(named) && !said.contains("hush-hush"), "{yaml}: {said}");
    }
}
