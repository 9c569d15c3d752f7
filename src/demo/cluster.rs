//! A throw-away PostgreSQL server: its own directory, port and log, removed with everything in it when it is dropped, or when
//! this process dies.
//!
//! Its logins, without passwords on the loopback interface: `postgres` and `pgduet` (superusers) and `app`, who owns the
//! database `app`. The login `guarded` (password `secret`) has to prove who it is, by SCRAM.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::Failure;
use super::binaries::{Binaries, open_to_servers};
use super::guard::Guard;
use super::process::{Signal, run, signal, tree, wait_for};

/// A server start or stop takes longer than this only when something is wrong.
const LIMIT: Duration = Duration::from_secs(60);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the server in messages; servers of one name share their system identifier.
    pub name: &'static str,
    /// Whether commits wait for the disk, as in real life. Without, a test is quicker and a killed *process* still loses nothing.
    pub durable: bool,
    /// Further settings, `name=value`.
    pub settings: Vec<String>,
}

impl Options {
    pub fn durable(name: &'static str) -> Options {
        Options { name, durable: true, settings: vec![] }
    }

    pub fn quick(name: &'static str) -> Options {
        Options { name, durable: false, settings: vec![] }
    }
}

/// How a server is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Disconnects its clients and writes everything out.
    Fast,
    /// Ends at once; recovers at its next start.
    Immediate,
    /// SIGKILL for every process of it.
    Kill,
}

pub struct Cluster {
    options: Options,
    binaries: Binaries,
    port: u16,
    server: Option<Child>,
    // Dropped before the directory is: it reads there which shared memory is left.
    _guard: Guard,
    home: TempDir,
}

impl Cluster {
    /// Starts a server on a free port, with the roles and the database that are named above.
    ///
    /// # Errors
    /// When it does not start within a minute; the error carries the end of its log.
    pub fn start(binaries: &Binaries, options: Options) -> Result<Cluster, Failure> {
        let home = directory(binaries, options.name)?;
        let data = home.path().join("data");
        run(Command::new("cp").arg("-a").arg(template(binaries, options.name)?).arg(&data))?;
        let guard = guard(home.path())?;
        let port = free_port()?;
        let binaries = binaries.clone();
        let mut cluster = Cluster { options, binaries, port, server: None, _guard: guard, home };
        cluster.start_again()?;
        Ok(cluster)
    }

    pub fn name(&self) -> &'static str {
        self.options.name
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// A connection string for one of the logins.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts a server that was stopped, on the port it had.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_again(&mut self) -> Result<(), Failure> {
        let log =
            File::options().create(true).append(true).open(self.log()).map_err(|e| self.failed("has no log", e))?;
        let errors = log.try_clone().map_err(|e| self.failed("has no log", e))?;
        let mut command = self.binaries.server_program("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in self.settings() {
            command.args(["-c", &setting]);
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let server = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.server = Some(server.map_err(|e| self.failed("cannot be started", e))?);
        self.wait_until_ready()
    }

    /// Ends the server and waits for its end.
    pub fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else { return };
        let all = tree(server.id());
        match how {
            Stop::Fast => signal(&[server.id()], Signal::Int),
            Stop::Immediate => signal(&[server.id()], Signal::Quit),
            Stop::Kill => signal(&all, Signal::Kill),
        }
        if wait_for(LIMIT, || server.try_wait().ok().flatten()).is_none() {
            signal(&tree(server.id()), Signal::Kill);
            let _ = server.wait();
        }
        // Until the last backend is gone the shared memory is in use, and the server would refuse to start.
        wait_for(LIMIT, || all.iter().all(|pid| !is_running(*pid)).then_some(()));
    }

    /// Stops every process of the server in its tracks, as a machine that hangs does.
    pub fn freeze(&self) {
        self.signal_all(Signal::Stop);
    }

    /// Undoes [`Cluster::freeze`].
    pub fn thaw(&self) {
        self.signal_all(Signal::Cont);
    }

    /// Runs SQL as a superuser and returns what `psql -At` prints.
    ///
    /// # Errors
    /// When the statement fails; the error carries the server's words.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Failure> {
        psql(&self.binaries, &self.url("postgres", database), sql)
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.split_at(lines.len().saturating_sub(30)).1.join("\n")
    }

    fn signal_all(&self, which: Signal) {
        if let Some(server) = &self.server {
            signal(&tree(server.id()), which);
        }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", socket_directory(self.home.path())),
            "max_connections=300".to_owned(),
            "shared_buffers=128MB".to_owned(),
            "max_wal_size=4GB".to_owned(),
            "checkpoint_timeout=30min".to_owned(),
            "log_min_messages=warning".to_owned(),
            // What a killed server leaves then lies in its directory and goes with it; a container's /dev/shm may be tiny.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        if !self.options.durable {
            settings.extend(["fsync=off".to_owned(), "full_page_writes=off".to_owned()]);
        }
        settings.extend(self.options.settings.iter().cloned());
        settings
    }

    /// The server says so itself: the eighth line of its pid file.
    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let file = self.data().join("postmaster.pid");
        let Some(server) = self.server.as_mut() else { return Ok(()) };
        let pid = server.id().to_string();
        let outcome = wait_for(LIMIT, || {
            if server.try_wait().ok().flatten().is_some() {
                return Some(false);
            }
            let text = std::fs::read_to_string(&file).ok()?;
            let mut lines = text.lines();
            let ours = lines.next() == Some(&pid);
            (ours && lines.nth(6).is_some_and(|status| status.trim() == "ready")).then_some(true)
        });
        match outcome {
            Some(true) => Ok(()),
            _ => Err(Failure::Server { name: self.options.name, log: self.log_tail() }),
        }
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Failure {
        Failure::io(format!("the server {} {what}", self.options.name), error)
    }
}

impl Drop for Cluster {
    /// Not by SIGKILL: a killed server's segment of System V shared memory stays until the machine restarts, and a machine has
    /// 4,096 of them.
    fn drop(&mut self) {
        self.thaw();
        self.stop(Stop::Immediate);
    }
}

/// Runs SQL through `psql -At` and returns what it prints, without the last line's end.
///
/// # Errors
/// When the statement fails; the error carries the server's words.
pub fn psql(binaries: &Binaries, url: &str, sql: &str) -> Result<String, Failure> {
    let mut command = binaries.program("psql");
    command.args(["-X", "-At", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
    let output = run(command.stdin(Stdio::null()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}

/// A port that nobody listens on at this moment, and that no outgoing connection will be given: a server that is stopped finds
/// its port free when it starts again.
///
/// # Errors
/// When the machine has none left.
pub fn free_port() -> Result<u16, Failure> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing: u16 = range.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(32768);
    let candidates = 10_000..first_outgoing.max(20_000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let found = (0..1000).map(|_| rand::random_range(candidates.clone())).find(is_free);
    found.ok_or_else(|| Failure::Missing("no free port was found".into()))
}

/// One `initdb` for each name and process: it takes a second, a copy of its outcome a tenth of one.
fn templates() -> MutexGuard<'static, HashMap<&'static str, (PathBuf, Guard)>> {
    static TEMPLATES: OnceLock<Mutex<HashMap<&'static str, (PathBuf, Guard)>>> = OnceLock::new();
    TEMPLATES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what servers are copied from, at once. Without, it goes a moment after this process has ended.
pub fn remove_templates() {
    templates().clear();
}

fn template(binaries: &Binaries, name: &'static str) -> Result<PathBuf, Failure> {
    let mut templates = templates();
    if let Some((path, _)) = templates.get(name) {
        return Ok(path.clone());
    }
    // Statics are never dropped: the guard removes the directory when the process has ended.
    let home = directory(binaries, "template")?.keep();
    let guard = guard(&home)?;
    let data = home.join("data");
    initialise(binaries, &data)?;
    templates.insert(name, (data.clone(), guard));
    Ok(data)
}

fn initialise(binaries: &Binaries, data: &Path) -> Result<(), Failure> {
    let mut initdb = binaries.server_program("initdb");
    initdb.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D"]).arg(data);
    run(&mut initdb)?;
    std::fs::write(data.join("pg_hba.conf"), HBA).map_err(|e| Failure::io("cannot write pg_hba.conf", e))?;
    let mut single = binaries.server_program("postgres");
    single.args(["--single", "-j", "-D"]).arg(data).args(["-c", "fsync=off", "postgres"]);
    let mut script = tempfile::tempfile().map_err(|e| Failure::io("no temporary file", e))?;
    std::io::Write::write_all(&mut script, ROLES.as_bytes())
        .and_then(|()| std::io::Seek::rewind(&mut script))
        .map_err(|e| Failure::io("cannot write the roles' script", e))?;
    run(single.stdin(script)).map(drop)
}

const HBA: &str = "host all guarded 127.0.0.1/32 scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n";

const ROLES: &str = "CREATE ROLE pgduet SUPERUSER LOGIN;\n\nCREATE ROLE app LOGIN;\n\nSET password_encryption = 'scram-sha-256';\n\n\
CREATE ROLE guarded LOGIN PASSWORD 'secret';\n\nCREATE DATABASE app OWNER app;\n\n";

fn directory(binaries: &Binaries, name: &str) -> Result<TempDir, Failure> {
    let home = tempfile::Builder::new().prefix(&format!("pgduet-{name}-")).tempdir();
    let home = home.map_err(|e| Failure::io("no temporary directory", e))?;
    open_to_servers(home.path())
        .and_then(|()| binaries.give(home.path()))
        .map_err(|e| Failure::io("cannot hand the directory to the server's user", e))?;
    Ok(home)
}

fn guard(home: &Path) -> Result<Guard, Failure> {
    // Line 7 of the file is the key and the id of the server's shared memory, which goes when the last process has left it.
    const CLEAN_UP: &str = r#"pid="$1/data/postmaster.pid"
        [ -e "$pid" ] && { kill -QUIT "$(sed -n 1p "$pid")"; ipcrm -m "$(sed -n '7s/.* //p' "$pid")"; }
        rm -rf "$1""#;
    Guard::new(CLEAN_UP, &[&home.to_string_lossy()]).map_err(|e| Failure::io("cannot start a guard", e))
}

/// Sockets have short names; where the directory's name is long, the server goes without.
fn socket_directory(home: &Path) -> String {
    let path = home.to_string_lossy().into_owned();
    if path.len() > 80 { String::new() } else { path }
}

fn is_running(pid: u32) -> bool {
    // A child that nobody has waited for is a zombie, and holds nothing any more.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
