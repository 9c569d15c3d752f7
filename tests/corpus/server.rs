//! A throw-away PostgreSQL for one test: its own directory, a Unix socket only, gone when it is dropped.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::{Client, NoTls};

pub struct Server {
    directory: tempfile::TempDir,
    /// Who owns it, where the tests run as root: servers refuse to.
    owner: Option<(u32, u32)>,
}

impl Server {
    pub fn start() -> Server {
        let server = Server { directory: tempfile::tempdir().expect("a directory"), owner: owner() };
        if let Some((uid, gid)) = server.owner {
            chown(server.directory.path(), Some(uid), Some(gid)).expect("root may give a directory away");
        }
        server.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", "data"]);
        let options = format!("-F -c listen_addresses='' -k {}", server.path().display());
        server.run("pg_ctl", &["-w", "-D", "data", "-l", "log", "-o", &options, "start"]);
        server
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(binary(program));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        assert!(command.status().expect("PostgreSQL's programs run").success(), "{program} failed");
    }

    pub async fn connect(&self) -> Client {
        let settings = format!("host={} user=postgres dbname=postgres", self.path().display());
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await.expect("the server accepts");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-w", "-D", "data", "-m", "immediate", "stop"]);
    }
}

/// The user `postgres`, if the tests run as root.
fn owner() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().expect("a uid"), fields[3].parse().expect("a gid")))
}

/// A program of the newest PostgreSQL that is installed.
fn binary(program: &str) -> PathBuf {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    let installed = found.iter().rev().map(|version| version.join("bin").join(program)).find(|path| path.exists());
    installed.unwrap_or_else(|| PathBuf::from(program))
}
