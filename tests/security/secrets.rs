//! No secret in any log, error or answer, at any level.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pgduet::demo::cluster::{Cluster, Options};
use pgduet::demo::proxy::Proxy;

use crate::pki::Pki;
use crate::support::{PROGRAM, fail};
use crate::{run_psql, shared};

const HBA: &str = "local all all trust\nhost all by_md5 127.0.0.1/32 md5\nhost all in_clear 127.0.0.1/32 password\n\
    host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
const ROLES: &str = "ALTER ROLE pgduet PASSWORD 'own-hush'; ALTER ROLE guarded PASSWORD 'scram-hush'; \
    CREATE ROLE in_clear LOGIN PASSWORD 'clear-hush'; \
    SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'md5-hush'; \
    CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE); GRANT ALL ON t TO guarded";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The proxy at its most talkative; its log goes to a file.
fn talkative(config: &Path, log: &Path) -> Running {
    let log = File::create(log).expect("a log");
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--log-level", "trace", "--log-format", "json", "--config"]).arg(config);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("the proxy");
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready:"), "{line}");
    running
}

fn server(name: &'static str, pki: &Pki) -> Cluster {
    let mut options = Options::quick(name);
    options.settings.push(format!("hba_file={}", pki.file("pg_hba.conf", HBA)));
    let cluster = Cluster::start(&shared().binaries, options).unwrap_or_else(fail("a server"));
    cluster.sql("app", ROLES).unwrap_or_else(fail("the roles"));
    cluster
}

#[test]
fn no_secret_and_no_row_is_in_any_log_error_or_answer() {
    let pki = Pki::new();
    let [old, new] = ["old", "new"].map(|name| server(name, &pki));
    let identity = pki.issue("proxy", "pgduet", &["localhost"]);
    let verifier = old.sql("app", "SELECT rolpassword FROM pg_authid WHERE rolname = 'guarded'").expect("a verifier");
    let passfile = pki.file("passfile", "*:*:*:pgduet:own-hush\n");
    let proxy = Proxy::prepare(Path::new(PROGRAM)).expect("a proxy");
    let file = |name: &str, text: &str| pki.file(name, text);
    let config = format!(
        "{}backends:\n  old: {{ url: \"postgres://pgduet@127.0.0.1:{}/app?passfile={passfile}\" }}\n  \
         new: {{ url: \"postgres://pgduet:own-hush@127.0.0.1:{}/app\" }}\n\
         clients:\n  users:\n    - {{ name: guarded, password_file: {} }}\n    - {{ name: by_md5, password_file: {} }}\n    \
         - {{ name: in_clear, password_file: {} }}\n    - {{ name: keyed, verifier: \"{verifier}\", old: {{ user: guarded }} }}\n    \
         - {{ name: astray, password_file: {}, old: {{ user: guarded, password_file: {} }} }}\n  \
         tls: {{ mode: allow, cert_file: {}, key_file: {} }}\nshadow: {{ sample_percent: 100 }}\n",
        proxy.listening(),
        old.port(),
        new.port(),
        file("1", "scram-hush\n"),
        file("2", "md5-hush\n"),
        file("3", "clear-hush\n"),
        file("4", "astray-hush\n"),
        file("5", "not-the-hush\n"),
        identity.cert.display(),
        identity.key.display(),
    );
    proxy.configure(&config).expect("a configuration");
    let log = proxy.config().with_file_name("talk.log");
    let running = talkative(&proxy.config(), &log);

    let mut seen = String::new();
    let mut ask = |user: &str, password: &str, sql: &str| {
        for mode in ["disable", "require"] {
            let url = format!("postgres://{user}:{password}@127.0.0.1:{}/app?sslmode={mode}", proxy.port);
            let (Ok(said) | Err(said)) = run_psql(&url, sql);
            seen.push_str(&said);
        }
    };
    proxy.admin.phase("dual_write").unwrap_or_else(fail("the phase"));
    proxy.admin.read_percent(50.0).unwrap_or_else(fail("the percentage"));
    for (user, password) in [
        ("guarded", "scram-hush"),
        ("by_md5", "md5-hush"),
        ("in_clear", "clear-hush"),
        ("keyed", "scram-hush"),
        ("astray", "astray-hush"),
        ("nobody", "wrong-hush"),
        ("guarded", "wrong-hush"),
    ] {
        ask(user, password, "SELECT count(*) FROM pg_class");
    }
    ask("guarded", "scram-hush", "INSERT INTO t VALUES (1, 'row-hush') ON CONFLICT DO NOTHING");
    ask("guarded", "scram-hush", "SELECT count(*) FROM t WHERE v = 'row-hush'");
    ask("guarded", "scram-hush", "ALTER ROLE guarded PASSWORD 'scram-hush'");
    for path in ["/api/status", "/api/tables", "/api/history", "/api/findings"] {
        seen.push_str(&proxy.admin.call("GET", path, "").expect("an answer").body);
    }
    seen.push_str(&proxy.admin.call("GET", "/metrics", "").expect("an answer").body);
    drop(running);
    let logged = std::fs::read_to_string(&log).expect("the log");
    assert!(logged.contains("\"level\":\"DEBUG\""), "the log is not talkative");

    let key = std::fs::read_to_string(&identity.key).expect("a key");
    let keys = verifier.split(['$', ':']).skip(3).chain(key.lines().skip(1).take(1));
    for secret in keys.chain(["hush"]) {
        for (place, text) in [("the log", &logged), ("an answer", &seen)] {
            let leak = text.lines().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret:?} is in {place}");
        }
    }
}
