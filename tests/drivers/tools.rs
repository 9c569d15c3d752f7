//! Interpreters and the drivers for them, in the cache directory, fetched once by their ordinary clients.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers");

/// A language's interpreter with the drivers.
pub trait Tool: Sized {
    /// # Errors
    /// Why it cannot be had here.
    fn prepare() -> Result<Self, String>;
    fn command(&self, scenario: &str) -> Command;
}

/// The tool, or `None` with a word on stderr, which the test's capture does not hide.
pub fn ready<T: Tool>(scenario: &str) -> Option<T> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    match T::prepare() {
        Ok(tool) => Some(tool),
        Err(reason) if std::env::var_os("PGDUET_REQUIRE_DRIVERS").is_some() => panic!("{scenario}: {reason}"),
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {scenario}: {reason}");
            None
        }
    }
}

pub struct Python(PathBuf);

impl Tool for Python {
    fn prepare() -> Result<Python, String> {
        let home = made("python", &["requirements.txt"], |home| {
            run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
            let pip = home.join("bin/pip");
            run(Command::new(pip)
                .args(["install", "--quiet", "--only-binary=:all:", "-r"])
                .arg(source("requirements.txt")))
        })?;
        Ok(Python(home.join("bin/python")))
    }

    fn command(&self, scenario: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("-B").arg(source("scenarios").join(scenario));
        command
    }
}

pub struct Node(PathBuf);

impl Tool for Node {
    fn prepare() -> Result<Node, String> {
        let files = ["package.json", "package-lock.json"];
        let home = made("node", &files, |home| {
            for file in files {
                std::fs::copy(source(file), home.join(file)).map_err(|e| format!("{file}: {e}"))?;
            }
            run(Command::new("npm")
                .args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(home))
        })?;
        Ok(Node(home.join("node_modules")))
    }

    fn command(&self, scenario: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(source("scenarios").join(scenario)).env("NODE_PATH", &self.0);
        command
    }
}

/// The driver is the distribution's package, unpacked rather than installed.
pub struct Java(PathBuf);

impl Tool for Java {
    fn prepare() -> Result<Java, String> {
        let home = made("java", &["scenarios/Jdbc.java"], |home| {
            run(Command::new("apt-get").args(["download", "-q", "libpostgresql-jdbc-java"]).current_dir(home))?;
            run(Command::new("sh").args(["-c", "dpkg -x libpostgresql-jdbc-java*.deb ."]).current_dir(home))?;
            run(Command::new("javac")
                .args(["-cp", "usr/share/java/postgresql.jar", "-d", "classes"])
                .arg(source("scenarios/Jdbc.java"))
                .current_dir(home))
        })?;
        run(Command::new("java").arg("-version"))?;
        Ok(Java(home))
    }

    fn command(&self, scenario: &str) -> Command {
        let mut command = Command::new("java");
        let classes = format!("{0}/usr/share/java/postgresql.jar:{0}/classes", self.0.display());
        command
            .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &classes])
            .arg(scenario.trim_end_matches(".java"));
        command
    }
}

/// A directory that `make` has filled, once for each content of `files`. Another process may be doing the same: the first one wins.
fn made(name: &str, files: &[&str], make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(std::fs::read(source(file)).map_err(|e| format!("{file}: {e}"))?);
    }
    let digest: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let home = cache()?.join(format!("{name}-{digest}"));
    let done = home.join("complete");
    if done.exists() {
        return Ok(home);
    }
    // Not moved into place afterwards: a virtual environment knows its own path.
    let _ = std::fs::remove_dir_all(&home);
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    make(&home)?;
    std::fs::write(done, "").map_err(|e| e.to_string())?;
    Ok(home)
}

fn cache() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    base.map(|base| base.join("pgduet/drivers")).ok_or_else(|| "HOME is not set".to_owned())
}

fn source(file: &str) -> PathBuf {
    Path::new(HERE).join(file)
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}
