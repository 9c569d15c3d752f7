//! Two throw-away PostgreSQL servers, shared by the tests of this file; each test has a database of its own on both.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgduet::backend::control::{Connection, Purpose};
use pgduet::config::Config;
use pgduet::side::Side;

pub struct Servers {
    old: u16,
    new: u16,
}

impl Servers {
    pub fn shared() -> &'static Servers {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(|| {
            let old = std::thread::spawn(start_server);
            let new = start_server();
            Servers { old: old.join().expect("old starts"), new }
        })
    }

    fn url(&self, side: Side, database: &str) -> String {
        let port = if side == Side::Old { self.old } else { self.new };
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// As [`Servers::database`], for a user of ordinary rights who owns the database.
    pub async fn database_of_plain_user(&self, name: &str) -> Config {
        let mut config = self.database(name).await;
        for side in Side::BOTH {
            let connection = open(&config, side).await;
            let sql = format!(
                "CREATE ROLE {name} LOGIN; ALTER DATABASE {name} OWNER TO {name}; ALTER SCHEMA public OWNER TO {name}"
            );
            connection.batch_execute(&sql).await.expect("a plain user");
            let url = &mut config.backends.get_mut(side).url;
            *url = url.replace("postgres@", &format!("{name}@"));
        }
        config
    }

    /// A configuration for a database of this name, created anew on both sides.
    pub async fn database(&self, name: &str) -> Config {
        let mut config = Config::default();
        for side in Side::BOTH {
            config.backends.get_mut(side).url = self.url(side, "postgres");
        }
        for side in Side::BOTH {
            let connection = open(&config, side).await;
            connection.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create database");
        }
        for side in Side::BOTH {
            config.backends.get_mut(side).url = self.url(side, name);
        }
        config
    }
}

/// A connection of pgduet's own, as it is.
pub async fn own(config: &Config, side: Side) -> Connection {
    let opened = Connection::open(side, config.backends.get(side), Purpose::Control, &config.timeouts).await;
    opened.expect("connect to a test server")
}

/// A connection as an application has it.
pub async fn open(config: &Config, side: Side) -> Connection {
    let connection = own(config, side).await;
    connection.batch_execute("SET search_path = public, pg_catalog").await.expect("search_path");
    connection
}

/// Starts a server that ends with this process: it reads a pipe, and the pipe's end is its end.
fn start_server() -> u16 {
    let bin = bin_directory();
    let directory = tempfile::Builder::new().prefix("pgduet-link-").tempdir().expect("tempdir").keep();
    let owner = unprivileged();
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(&directory, Some(uid), Some(gid)).expect("chown");
    }
    let data = directory.join("data");
    let initdb = as_owner(&bin.join("initdb"), owner)
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(&data)
        .current_dir(&directory)
        .stdout(Stdio::null())
        .status();
    assert!(initdb.expect("initdb runs").success());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let fsync = if std::env::var_os("PGDUET_TEST_FSYNC").is_some() { "on" } else { "off" };
    let script = format!(
        "'{}' -D '{data}' -p {port} -k '{dir}' -c fsync={fsync} -c max_connections=200 -c log_min_messages=panic \
         -c log_destination=stderr >'{dir}/log' 2>&1 </dev/null & server=$!; read _; kill -QUIT $server; wait $server; rm -rf '{dir}'",
        bin.join("postgres").display(),
        data = data.display(),
        dir = directory.display(),
    );
    let mut server = as_owner(Path::new("/bin/sh"), owner)
        .args(["-c", &script])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("server starts");
    // Held open until this process ends.
    std::mem::forget(server.stdin.take());
    std::mem::forget(server);
    wait_until_ready(&bin, port);
    port
}

fn wait_until_ready(bin: &Path, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut probe = Command::new(bin.join("pg_isready"));
        probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        if probe.status().is_ok_and(|status| status.success()) {
            return;
        }
        assert!(Instant::now() < deadline, "the server on port {port} did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn bin_directory() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        installed.map(|e| e.path().join("bin")).filter(|p| p.join("initdb").exists()).collect();
    found.sort();
    found.pop().expect("PostgreSQL's server programs are installed")
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

/// Servers refuse to run as root: whose account they get then.
fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let account = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = account.split(':').skip(2).map(|field| field.parse().ok());
    root.then_some((fields.next()??, fields.next()??))
}
