"""Throw-away servers, and the proxy between two of them, for suites that nobody here wrote.

Everything listens on free ports of the loopback interface and goes when the context ends. Only Python's standard library is needed.
"""

import contextlib
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = pathlib.Path("/var/cache/pgduet") if os.geteuid() == 0 else pathlib.Path(
    os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
) / "pgduet"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_prepared_transactions": "2",
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "checkpoint_timeout": "30min",
}


def find_binaries():
    """The directory with PostgreSQL's programs: `PGDUET_PG_BIN`, else the newest that is installed."""
    named = os.environ.get("PGDUET_PG_BIN")
    installed = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: -float(path.split("/")[4]))
    for path in [named] if named else installed:
        if os.path.isfile(os.path.join(path, "initdb")):
            return path
    sys.exit("no PostgreSQL found: install the package postgresql, or set PGDUET_PG_BIN")


def find_proxy():
    """The built program: `PGDUET_BIN`, else the newer of the debug and the release build."""
    if named := os.environ.get("PGDUET_BIN"):
        return named
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for kind in ("debug", "release") if (path := target / kind / "pgduet").exists()]
    if not built:
        sys.exit("pgduet is not built: cargo build --locked")
    return max(built, key=lambda path: path.stat().st_mtime)


def server_user():
    """Servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    sys.exit("servers refuse to run as root, and there is no user postgres or nobody")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"after {seconds} s still not: {what}")
        time.sleep(0.02)


class Stage(contextlib.ExitStack):
    """What one run needs; left behind is nothing."""

    def __init__(self):
        super().__init__()
        self.bin = find_binaries()
        self.the_proxy = None
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="pgduet-suite-"))
        self.callback(shutil.rmtree, self.home, ignore_errors=True)
        give(self.home)

    def spawn(self, command, log, stop, **more):
        with open(self.home / log, "ab") as out:
            command = [str(part) for part in command]
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True, **more
            )
        self.callback(end, child, stop)
        return child

    def server(self, name, database, **settings):
        """A new server with one database of that name, which `postgres`, a superuser, owns. Returns its port."""
        data = self.home / name
        initdb = [f"{self.bin}/initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D", data]
        subprocess.run(initdb, stdout=subprocess.DEVNULL, check=True, cwd="/", **server_user())
        port = free_port()
        command = [f"{self.bin}/postgres", "-D", data, "-p", port, "-k", self.home]
        command += [part for item in (SETTINGS | settings).items() for part in ("-c", "=".join(item))]
        self.spawn(command, f"{name}.log", signal.SIGINT, **server_user())
        wait_until(f"{name} accepts connections", lambda: self.sql(port, "SELECT 1", check=False) == "1")
        if database != "postgres":
            self.sql(port, f'CREATE DATABASE "{database}" TEMPLATE template0')
        return port

    def sql(self, port, statement, database="postgres", check=True):
        command = [f"{self.bin}/psql", "-XAtq", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d", database, "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode != 0:
            sys.exit(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def target(self, name, database, settings="", prepare=lambda port: None):
        """Starts what a target's name says; returns the port to connect to. `prepare` is called for each server's port first."""
        servers = [self.server(side, database) for side in (["old"] if name.startswith("direct") else ["old", "new"])]
        for port in servers:
            prepare(port)
        if name.startswith("direct"):
            return servers[0]
        self.the_proxy = self.proxy(*servers, database, settings)
        self.the_proxy.old = servers[0]
        if name != "old_only":
            self.the_proxy.policy(phase="dual_write")
        if name == "reads":
            self.the_proxy.policy(read_percent=100)
        return self.the_proxy.port

    def proxy(self, old, new, database, settings=""):
        proxy = Proxy(free_port(), free_port(), self.home / "proxy.log")
        url = "postgres://postgres@127.0.0.1:{}/{}".format
        config = self.home / "proxy.yaml"
        config.write_text(
            f'listen: 127.0.0.1:{proxy.port}\nadmin: {{ listen: "127.0.0.1:{proxy.admin}" }}\nclients: {{ auth: trust }}\n'
            f'backends: {{ old: {{ url: "{url(old, database)}" }}, new: {{ url: "{url(new, database)}" }} }}\n{settings}\n'
        )
        self.spawn([find_proxy(), "serve", "--config", config], "proxy.log", signal.SIGTERM)
        wait_until("the proxy is ready", lambda: "ready:" in proxy.log.read_text(errors="replace"), 30)
        return proxy


class Proxy:
    def __init__(self, port, admin, log):
        self.port, self.admin, self.log = port, admin, log

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        url = f"http://127.0.0.1:{self.admin}{path}"
        request = urllib.request.Request(url, data or None, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=620) as answer:
            return json.loads(answer.read() or b"null")

    def policy(self, **change):
        return self.call("PATCH", "/api/policy", change | {"by": "suites"})

    def status(self):
        return self.call("GET", "/api/status")


def give(path):
    """To the user that servers run as."""
    if user := server_user():
        os.chown(path, user["user"], user["group"])
    os.chmod(path, 0o755)


def end(child, how):
    child.send_signal(how)
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
