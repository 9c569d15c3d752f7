#!/usr/bin/env python3
"""Measures pgduet beside a direct connection, pgbouncer, and executing everything twice.

All in one run and interleaved: in every round each target is measured once, so that a slow minute of the machine hits all of
them, and a ratio is taken within its round. Everything is started here, on free ports, and removed at the end. Only Python's
standard library is needed, and PostgreSQL, pgbouncer (left out, and said so, when it is absent) and the release binary.
"""

import argparse
import contextlib
import fnmatch
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOCOLS = ["simple", "extended", "prepared"]
CLIENTS = [1, 8, 32]
# Statements of one transaction, as a proxy counts them.
STATEMENTS = {"select": 1, "tpcb": 7}
TARGETS = {
    "select": ["direct", "old_only", "reads 0", "reads 50", "reads 100", "pgbouncer"],
    "tpcb": ["direct", "old_only", "ack both", "ack primary", "pgbouncer", "twice"],
}
TICKS = os.sysconf("SC_CLK_TCK")


def find_binaries():
    """The directory with the PostgreSQL programs, the newest that is complete."""
    named = os.environ.get("PGDUET_PG_BIN")
    caches = ["/var/cache/pgduet", os.path.expanduser("~/.cache/pgduet")]
    candidates = [named] if named else os.environ["PATH"].split(":") + sorted(
        glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: -float(p.split("/")[4])
    ) + [p for cache in caches for p in glob.glob(cache + "/*/*/pginstall*/bin")]
    for path in candidates:
        if all(os.path.isfile(os.path.join(path, name)) for name in ("initdb", "postgres", "psql", "pgbench")):
            return path
    sys.exit("no PostgreSQL found: install the package postgresql, or set PGDUET_PG_BIN")


def server_user():
    """PostgreSQL and pgbouncer refuse to run as root."""
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


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Bench:
    def __init__(self, options):
        self.options = options
        self.bin = find_binaries()
        self.user = server_user()
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="pgduet-bench-"))
        self.children = []
        self.max_connections = 300
        self.give(self.home)

    def give(self, path):
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])

    def program(self, name):
        return os.path.join(self.bin, name)

    def spawn(self, command, log, **more):
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=open(self.home / log, "ab"),
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **more,
        )
        self.children.append(child)
        return child

    def server(self, name):
        """A durable server with the roles and the database that the proxy's tests use, and pgbench's tables."""
        data = self.home / name
        quiet = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/"}
        initdb = [self.program("initdb"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D", data]
        subprocess.run(initdb, **quiet, **self.user)
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(self.max_connections),
            "shared_buffers": self.options.shared_buffers,
            "max_wal_size": "8GB",
            "checkpoint_timeout": "1h",
        }
        command = [self.program("postgres"), "-D", data, "-p", port]
        command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.spawn(command, f"{name}.log", **self.user)
        wait_until(f"{name} accepts connections", lambda: self.sql(port, "SELECT 1", check=False) == "1")
        for statement in ("CREATE ROLE pgduet SUPERUSER LOGIN", "CREATE ROLE app LOGIN", "CREATE DATABASE app OWNER app"):
            self.sql(port, statement)
        connect = ["-h", "127.0.0.1", "-p", str(port), "-U", "app", "app"]
        subprocess.run([self.program("pgbench"), "-i", "-q", "-s", str(self.options.scale), *connect], **quiet, stderr=subprocess.DEVNULL)
        self.sql(port, "CHECKPOINT")
        return port

    def sql(self, port, statement, database="postgres", user="postgres", check=True):
        command = [self.program("psql"), "-XAtq", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", database, "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode != 0:
            sys.exit(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def proxy(self, name, old, new):
        port, admin = free_port(), free_port()
        config = self.home / f"{name}.yaml"
        config.write_text(
            f"listen: 127.0.0.1:{port}\n"
            f'admin: {{ listen: "127.0.0.1:{admin}" }}\n'
            "clients: { auth: trust }\n"
            "backends:\n"
            f'  old: {{ url: "postgres://pgduet@127.0.0.1:{old}/app" }}\n'
            f'  new: {{ url: "postgres://pgduet@127.0.0.1:{new}/app" }}\n'
            + self.options.settings.replace("\\n", "\n")
            + "\n"
        )
        child = self.spawn([self.options.binary, "serve", "--config", config], f"{name}.log")
        log = self.home / f"{name}.log"
        wait_until(f"{name} is ready", lambda: "ready:" in log.read_text(errors="replace"), 30)
        return {"port": port, "admin": admin, "pid": child.pid}

    def pgbouncer(self, old, pool=200):
        path = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        if not path:
            print("pgbouncer is not installed: left out", file=sys.stderr)
            return None
        port = free_port()
        users, config = self.home / "users.txt", self.home / "pgbouncer.ini"
        users.write_text('"app" ""\n')
        config.write_text(
            f"[databases]\napp = host=127.0.0.1 port={old} dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = session\n"
            f"max_client_conn = {max(pool, 1000)}\ndefault_pool_size = {pool}\n"
        )
        child = self.spawn([path, config], "pgbouncer.log", **self.user)
        wait_until("pgbouncer accepts connections", lambda: accepts(port))
        return {"port": port, "pid": child.pid}

    def set_up(self):
        old, new = self.server("old"), self.server("new")
        mirrored_old, mirrored_new = self.server("mirrored-old"), self.server("mirrored-new")
        self.old, self.new = {"port": old}, {"port": new}
        self.relay = self.proxy("old-only", old, new)
        self.mirror = self.proxy("dual-write", mirrored_old, mirrored_new)
        self.mirrored = (mirrored_old, mirrored_new)
        self.policy(phase="dual_write")
        self.bouncer = self.pgbouncer(old)

    def policy(self, **change):
        self.call("PATCH", "/api/policy", change)

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        url = f"http://127.0.0.1:{self.mirror['admin']}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=620) as answer:
            return json.loads(answer.read() or b"null")

    def tear_down(self):
        for child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if self.options.keep:
            print(f"logs: {self.home}", file=sys.stderr)
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def endpoint(self, target):
        """Where a target listens; sets the policy that it stands for."""
        if target == "direct":
            return self.old
        if target == "old_only":
            return self.relay
        if target == "pgbouncer":
            return self.bouncer
        if target.startswith("reads"):
            self.policy(ack="both", read_percent=float(target.split()[1]))
        else:
            self.policy(ack=target.split()[1], read_percent=0)
        return self.mirror

    def measure(self, target, workload, clients, protocol):
        if target == "twice":
            runs = [self.start(side["port"], workload, clients, protocol) for side in (self.old, self.new)]
            return {"tps": statistics.mean(self.finish(run)["tps"] for run in runs)}
        endpoint = self.endpoint(target)
        if endpoint is None:
            return None
        pid = endpoint.get("pid")
        before = cpu_seconds(pid)
        result = self.finish(self.start(endpoint["port"], workload, clients, protocol))
        if endpoint is self.mirror and workload == "tpcb":
            # What is still to be carried is part of the price.
            began = time.monotonic()
            self.call("POST", "/api/barrier?timeout=600s")
            result["drain_seconds"] = time.monotonic() - began
        if pid:
            statements = result["transactions"] * STATEMENTS[workload]
            result["cpu"] = (cpu_seconds(pid) - before) * 100_000 / max(statements, 1)
        return result

    def start(self, port, workload, clients, protocol):
        command = [self.program("pgbench"), "-n", "-h", "127.0.0.1", "-p", port, "-U", "app", "-M", protocol]
        command += ["-c", clients, "-j", min(clients, 2), "-T", self.options.seconds]
        command += ["-S"] if workload == "select" else []
        return subprocess.Popen(
            [str(part) for part in [*command, "app"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self, run):
        output, errors = run.communicate()
        if run.returncode != 0:
            raise RuntimeError(f"pgbench failed: {errors.strip().splitlines()[-1:]}")
        figures = {}
        for line in output.splitlines():
            if line.startswith("tps = "):
                figures["tps"] = float(line.split()[2])
            if line.startswith("number of transactions actually processed:"):
                figures["transactions"] = int(line.split()[5].split("/")[0])
        return figures

    def history_is_equal(self):
        self.call("POST", "/api/barrier?timeout=600s")
        digest = "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(h::text, 0)), 0) FROM pgbench_history h"
        old, new = (self.sql(port, digest, database="app") for port in self.mirrored)
        return old == new


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    if not pid:
        return 0.0
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cells(options):
    for workload in ("select", "tpcb"):
        for clients in CLIENTS:
            for protocol in PROTOCOLS:
                if any(fnmatch.fnmatch(f"{workload}/{clients}/{protocol}", only) for only in options.only):
                    yield workload, clients, protocol


def run(bench, options):
    results = []
    for workload, clients, protocol in cells(options):
        rounds = []
        for number in range(options.rounds):
            measured = {}
            # Each round begins with another target: nobody always comes after the same neighbour.
            targets = TARGETS[workload]
            shift = number % len(targets)
            for target in targets[shift:] + targets[:shift]:
                print(f"{workload} {clients} {protocol}, round {number + 1}: {target}", file=sys.stderr, flush=True)
                try:
                    measured[target] = bench.measure(target, workload, clients, protocol)
                except RuntimeError as failure:
                    print(f"  {failure}", file=sys.stderr)
                    measured[target] = None
            rounds.append(measured)
        results.append({"workload": workload, "clients": clients, "protocol": protocol, "rounds": rounds})
    return results


def summary(result):
    """Per target: the median ratio to the same round's direct figure, and the median CPU price."""
    lines = {}
    for target in TARGETS[result["workload"]]:
        pairs = [(r[target], r["direct"]) for r in result["rounds"] if r.get(target) and r.get("direct")]
        if pairs:
            ratio = statistics.median(own["tps"] / max(direct["tps"], 1e-9) for own, direct in pairs)
            cpu = [own["cpu"] for own, _ in pairs if "cpu" in own]
            tps = statistics.median(own["tps"] for own, _ in pairs)
            lines[target] = {"ratio": ratio, "tps": tps, "cpu": statistics.median(cpu) if cpu else None}
    return lines


def markdown(results):
    out = []
    for workload, title in (("select", "`pgbench -S`"), ("tpcb", "TPC-B")):
        mine = [r for r in results if r["workload"] == workload]
        if not mine:
            continue
        targets = TARGETS[workload]
        out += [f"{title}: throughput as a ratio to direct / proxy CPU seconds per 100,000 statements", ""]
        out += ["| clients, protocol | direct, tps | " + " | ".join(targets[1:]) + " |", "|" + " --- |" * (len(targets) + 1)]
        for result in mine:
            lines = summary(result)
            row = [f"{result['clients']} {result['protocol']}", f"{lines['direct']['tps']:.0f}" if "direct" in lines else "–"]
            row += [cell(lines.get(target)) for target in targets[1:]]
            out.append("| " + " | ".join(row) + " |")
        out.append("")
    return "\n".join(out)


def cell(line):
    if line is None:
        return "–"
    price = f" / {line['cpu']:.2f}" if line["cpu"] is not None else ""
    return f"{line['ratio']:.2f}{price}".replace("0.", ".", 1) if line["ratio"] < 1 else f"{line['ratio']:.2f}{price}"


def with_servers(parser, scale=10, shared_buffers="512MB"):
    """The options of every measurement that starts its servers itself."""
    parser.add_argument("--scale", type=int, default=scale, help=f"pgbench's scale (default {scale})")
    parser.add_argument("--shared-buffers", default=shared_buffers, help=f"of each server (default {shared_buffers})")
    parser.add_argument("--keep", action="store_true", help="keep the servers' directories and the logs")
    return parser


def parsed(parser, scale=10, shared_buffers="512MB"):
    """What was chosen, with the options of every measurement of one binary under one configuration."""
    with_servers(parser, scale, shared_buffers)
    parser.add_argument("--settings", default="", help="further YAML for proxy.yaml, top-level keys")
    parser.add_argument("--binary", type=pathlib.Path, help="pgduet's binary; without it the release build is made")
    chosen = parser.parse_args()
    chosen.binary = (chosen.binary or build()).resolve()
    return chosen


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each target in each cell (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: to see that it works, not to publish")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="cells such as 'tpcb/8/*'")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / ".bench" / "result.json", help="where all figures go")
    chosen = parsed(parser)
    if chosen.quick:
        chosen.seconds, chosen.rounds = 2, 1
    return chosen


def build():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return pathlib.Path(target) / "release" / "pgduet"


def main():
    chosen = options()
    bench = Bench(chosen)
    try:
        bench.set_up()
        results = run(bench, chosen)
        equal = bench.history_is_equal()
    finally:
        bench.tear_down()
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    how = {"seconds": chosen.seconds, "rounds": chosen.rounds, "scale": chosen.scale, "cpus": os.cpu_count()}
    server = subprocess.run([bench.program("postgres"), "--version"], capture_output=True, text=True).stdout.strip()
    chosen.json.write_text(json.dumps({"how": how, "server": server, "history_equal": equal, "results": results}, indent=1))
    print(markdown(results))
    print(f"{server}; {how['cpus']} CPUs; scale {how['scale']}; medians of {how['rounds']} rounds of {how['seconds']} s; "
          f"history {'equal on both sides' if equal else 'DIFFERS between the sides'}.")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
