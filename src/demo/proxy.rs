//! `pgduet serve` as a child process, started from a configuration file of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use super::admin::Admin;
use super::cluster::{Cluster, free_port};
use super::process::{Signal, signal, wait_for};
use super::{Failure, Guard};

/// From its start until the proxy says that it is ready.
const START: Duration = Duration::from_secs(30);
/// Longer than the default of `timeouts.drain`.
const STOP: Duration = Duration::from_secs(45);

pub struct Proxy {
    program: PathBuf,
    child: Option<(Child, Guard)>,
    /// What the process prints.
    lines: Option<mpsc::Receiver<String>>,
    home: TempDir,
    _clean_up: Guard,
    pub port: u16,
    pub admin: Admin,
    /// Further variables of the environment, for the next start.
    pub environment: Vec<(String, String)>,
}

impl Proxy {
    /// Starts the proxy between two servers, with `settings` (YAML, top-level keys) beside the addresses.
    ///
    /// # Errors
    /// When it does not print its `ready:` line within 30 s; the error carries the end of its log.
    pub fn start(program: &Path, old: &Cluster, new: &Cluster, settings: &str) -> Result<Proxy, Failure> {
        let mut proxy = Proxy::prepare(program)?;
        proxy.configure(&format!("{}{settings}\n", proxy.between(old, new)))?;
        proxy.start_again()?;
        Ok(proxy)
    }

    /// A proxy that has its ports, and neither a configuration nor a process yet.
    ///
    /// # Errors
    /// When there is no free port or no temporary directory.
    pub fn prepare(program: &Path) -> Result<Proxy, Failure> {
        let home = tempfile::Builder::new().prefix("pgduet-proxy-").tempdir();
        let home = home.map_err(|e| Failure::io("no temporary directory", e))?;
        let clean_up = Guard::new("rm -rf \"$1\"", &[&home.path().to_string_lossy()]);
        let clean_up = clean_up.map_err(|e| Failure::io("cannot start a guard", e))?;
        let admin = Admin { address: SocketAddr::from(([127, 0, 0, 1], free_port()?)) };
        Ok(Proxy {
            program: program.to_owned(),
            child: None,
            lines: None,
            home,
            _clean_up: clean_up,
            port: free_port()?,
            admin,
            environment: vec![],
        })
    }

    /// The part of a configuration that says where everything listens.
    pub fn between(&self, old: &Cluster, new: &Cluster) -> String {
        format!(
            "{}backends:\n  old: {{ url: \"{}\" }}\n  new: {{ url: \"{}\" }}\n",
            self.listening(),
            old.url("pgduet", "app"),
            new.url("pgduet", "app")
        )
    }

    /// The part of a configuration that says where this proxy listens.
    pub fn listening(&self) -> String {
        let Proxy { port, admin, .. } = self;
        format!("listen: 127.0.0.1:{port}\nadmin: {{ listen: \"{}\" }}\n", admin.address)
    }

    /// Writes the configuration that the next start reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, yaml: &str) -> Result<(), Failure> {
        std::fs::write(self.config(), yaml).map_err(|e| Failure::io("cannot write proxy.yaml", e))
    }

    pub fn config(&self) -> PathBuf {
        self.home.path().join("proxy.yaml")
    }

    /// A connection string for a client.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.launch()?;
        self.until_ready()
    }

    /// Starts the process and does not wait until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self) -> Result<(), Failure> {
        let broken = |e| Failure::io("cannot start the proxy", e);
        let log = File::options().create(true).append(true).open(self.log()).map_err(broken)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(self.config()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Ctrl-C on a terminal is for whoever started the proxy, not for the proxy.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().map_err(broken)?;
        let guard = Guard::new("kill -KILL \"$1\"", &[&child.id().to_string()]).map_err(broken)?;
        self.lines = Some(follow(child.stdout.take()));
        self.child = Some((child, guard));
        Ok(())
    }

    /// Whether the launched process has said that it is ready.
    pub fn is_ready(&self) -> bool {
        self.lines.as_ref().and_then(|lines| lines.try_recv().ok()).is_some_and(|line| line.starts_with("ready:"))
    }

    /// Waits until the launched process says that it is ready.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn until_ready(&mut self) -> Result<(), Failure> {
        match self.lines.as_ref().map_or(Err(mpsc::RecvTimeoutError::Disconnected), |l| l.recv_timeout(START)) {
            Ok(line) if line.starts_with("ready:") => Ok(()),
            _ => {
                self.kill();
                Err(Failure::Broken(format!("the proxy did not get ready; the end of its log:\n{}", self.log_tail())))
            }
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some((mut child, guard)) = self.child.take() {
            let _ = child.kill();
            // The guard goes before the child is reaped: no other process can have its id yet.
            drop(guard);
            let _ = child.wait();
        }
    }

    pub fn signal(&self, which: Signal) {
        signal(&self.pid().into_iter().collect::<Vec<_>>(), which);
    }

    /// SIGTERM, and waits for the end of the drain.
    ///
    /// # Errors
    /// When the proxy is not running, or does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::Term);
        self.ended()
    }

    /// Waits for the end that was asked for.
    ///
    /// # Errors
    /// As [`Proxy::terminate`].
    pub fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let Some((child, _)) = self.child.as_mut() else {
            return Err(Failure::Broken("the proxy is not running".into()));
        };
        let status = wait_for(STOP, || child.try_wait().ok().flatten());
        self.kill();
        status.ok_or_else(|| Failure::Broken("the proxy did not end within 45 s of SIGTERM".into()))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(|(child, _)| child.id())
    }

    /// The last lines that the proxy logged.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.split_at(lines.len().saturating_sub(40)).1.join("\n")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("proxy.log")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The lines of a child's output, read for as long as the child writes, so that it never blocks on a full pipe.
fn follow(output: Option<ChildStdout>) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = output {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    lines
}
