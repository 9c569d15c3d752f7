#!/usr/bin/env python3
"""Which forms of a write leave both databases with the same rows: pgduet, and pgpool-II's native replication.

Every shape is run in every protocol through each of them, between two servers of its own that begin equal. Then (pgduet: after a barrier) the
tables are compared. Needs psycopg 3, and Debian's package pgpool2. Writes docs/shapes.md: the shapes are in shapes.sql.
"""

import argparse
import contextlib
import datetime
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import run

try:
    import psycopg
except ImportError:
    sys.exit("this needs psycopg 3: pip install 'psycopg[binary]'")

from psycopg.pq import ExecStatus

HERE = pathlib.Path(__file__).resolve().parent
PAGE = run.ROOT / "docs" / "shapes.md"
PROTOCOLS = ["simple", "extended", "prepared"]
PATIENCE = 20
SILENCE = f"no answer within {PATIENCE} s"
WRITERS = 4
TIMES = 10
POOL = """backend_clustering_mode = 'native_replication'
replicate_select = off
insert_lock = on
load_balance_mode = on
replication_stop_on_mismatch = off
failover_if_affected_tuples_mismatch = off
num_init_children = 32
max_pool = 4
"""


class Shape:
    """One entry of shapes.sql: its name, what both servers begin with, and what is run through the proxy."""

    def __init__(self, number, text):
        self.number = number
        head, *lines = text.strip().split("\n")
        self.name, *self.traits = [part.strip() for part in head.split("|")]
        setup, _, work = "\n".join(["", *lines]).partition("\n--\n")
        self.setup, self.work = statements(setup), statements(work)

    def table(self, protocol):
        return f"t{self.number:02}{protocol[0]}"

    def named(self, parts, protocol):
        return [part.replace("{t}", self.table(protocol)) for part in parts]


def statements(text):
    """Each ends with `;` at the end of a line; the data of a COPY follows it, after `<`."""
    return [part.strip() for part in re.split(r";\s*\n", text.strip() + "\n") if part.strip()]


def shapes():
    text = (HERE / "shapes.sql").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("-- #"))
    return [Shape(number, part) for number, part in enumerate(re.split(r"^@ ", text, flags=re.M)[1:], 1)]


class Refused(Exception):
    pass


class Session:
    """A connection that says everything in one protocol."""

    def __init__(self, port, protocol):
        self.connection = psycopg.connect(f"host=127.0.0.1 port={port} user=app dbname=app connect_timeout=10", autocommit=True)
        self.protocol, self.count = protocol, 0

    def say(self, statement):
        statement, _, data = statement.partition("\n<\n")
        raw, sql = self.connection.pgconn, statement.encode()
        if self.protocol == "simple":
            result = raw.exec_(sql)
        elif self.protocol == "extended":
            result = raw.exec_params(sql, None)
        else:
            self.count += 1
            name = f"s{self.count}".encode()
            prepared = raw.prepare(name, sql)
            if prepared.status != ExecStatus.COMMAND_OK:
                raise Refused(message(prepared))
            result = raw.exec_prepared(name, None)
        if result.status == ExecStatus.COPY_IN:
            raw.put_copy_data((data.strip("\n") + "\n").encode())
            raw.put_copy_end()
            result = raw.get_result()
            while more := raw.get_result():
                result = more
        if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
            raise Refused(message(result))

    def close(self):
        with contextlib.suppress(Exception):
            self.connection.close()


def message(result):
    return result.error_message.decode(errors="replace").strip().splitlines()[0]


def play(port, protocol, work, may_fail):
    session = Session(port, protocol)
    try:
        for statement in work:
            try:
                session.say(statement)
            except Refused:
                if not may_fail:
                    raise
    finally:
        session.close()


def play_at_once(port, protocol, work):
    """Several clients, each the whole work several times; an error of one ends that one."""
    failures = []

    def client():
        try:
            session = Session(port, protocol)
            try:
                for _ in range(TIMES):
                    for statement in work:
                        session.say(statement)
            finally:
                session.close()
        except Exception as failure:
            failures.append(failure)

    clients = [threading.Thread(target=client) for _ in range(WRITERS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    if failures:
        raise Refused(str(failures[0]).splitlines()[0])


def within(seconds, work):
    """What the work returns, or that it took too long. In a process of its own: the driver waits with the interpreter locked."""
    context = multiprocessing.get_context("fork")
    said, say = context.Pipe(duplex=False)
    worker = context.Process(target=lambda: say.send(work()), daemon=True)
    worker.start()
    answered = said.poll(seconds)
    result = said.recv() if answered else SILENCE
    if not answered:
        worker.kill()
    worker.join()
    return result


class Target:
    """Two servers and what stands in front of them."""

    def __init__(self, bench, name):
        self.bench, self.name = bench, name
        self.ports = [bench.server(f"{name}-{side}") for side in ("old", "new")]

    def prepare(self, all_shapes):
        for port in self.ports:
            with psycopg.connect(f"host=127.0.0.1 port={port} user=app dbname=app", autocommit=True) as connection:
                for shape in all_shapes:
                    for protocol in PROTOCOLS:
                        for statement in shape.named(shape.setup, protocol):
                            connection.execute(statement)
        self.sides = [psycopg.connect(f"host=127.0.0.1 port={p} user=postgres dbname=app", autocommit=True) for p in self.ports]

    def digest(self, side, prefix):
        names = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname LIKE %s ORDER BY 1"
        found = {}
        for (table,) in side.execute(names, (prefix + "%",)).fetchall():
            rows = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
            found[table] = side.execute(rows).fetchone()
        return found

    def equal(self, shape, protocol):
        return self.digest(self.sides[0], shape.table(protocol)) == self.digest(self.sides[1], shape.table(protocol))

    def run(self, shape, protocol):
        """What became of it: equal, different, refused; with a remark."""
        before = self.missed()
        said = within(PATIENCE, lambda: self.play(shape, protocol))
        if said == SILENCE:
            self.restart()
        self.settle()
        outcome = "equal" if self.equal(shape, protocol) else "DIFFERENT"
        if outcome == "DIFFERENT" and self.missed() > before:
            outcome = "DIFFERENT, and said so"
        self.mend()
        return {"outcome": outcome + (", refused" if said else ""), "said": said}

    def play(self, shape, protocol):
        work = shape.named(shape.work, protocol)
        try:
            if "at once" in shape.traits:
                play_at_once(self.port, protocol, work)
            else:
                play(self.port, protocol, work, "fails" in shape.traits)
        except (Refused, psycopg.Error) as refused:
            return str(refused).strip().splitlines()[0]
        return ""

    def restart(self):
        sys.exit(f"{self.name} does not answer")

    def missed(self):
        return 0

    def settle(self):
        pass

    def mend(self):
        pass


class Pgduet(Target):
    def start(self):
        self.bench.mirror = self.bench.proxy("proxy", *self.ports)
        self.bench.policy(phase="dual_write", ack="both")
        self.port = self.bench.mirror["port"]

    def settle(self):
        self.bench.call("POST", "/api/barrier?timeout=60s")

    def missed(self):
        return self.bench.call("GET", "/api/status")["uncaptured_total"]


class Pgpool(Target):
    def start(self):
        program = shutil.which("pgpool", path=os.environ["PATH"] + ":/usr/sbin")
        if not program:
            sys.exit("pgpool is not installed: apt-get install --no-install-recommends pgpool2")
        self.port, home = run.free_port(), self.bench.home / "pgpool"
        home.mkdir()
        self.bench.give(home)
        config = POOL + f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{home}'\n"
        config += f"pcp_port = {run.free_port()}\npcp_socket_dir = '{home}'\nwd_ipc_socket_dir = '{home}'\n"
        config += f"pid_file_name = '{home}/pgpool.pid'\nlogdir = '{home}'\n"
        for node, port in enumerate(self.ports):
            config += f"backend_hostname{node} = '127.0.0.1'\nbackend_port{node} = {port}\nbackend_weight{node} = 1\n"
        self.command = [program, "-n", "-D", "-f", home / "pgpool.conf", "-F", home / "pcp.conf", "-a", home / "pool_hba.conf"]
        for name, text in (("pgpool.conf", config), ("pcp.conf", ""), ("pool_hba.conf", "")):
            (home / name).write_text(text)
            self.bench.give(home / name)
        self.launch()

    def launch(self):
        self.child = self.bench.spawn(self.command, "pgpool.log", **self.bench.user)
        run.wait_until("pgpool answers", lambda: self.bench.sql(self.port, "SELECT 1", "app", "app", check=False) == "1")

    def mend(self):
        """A node that was detached would have everything after it differ, too: pgpool is started anew with both."""
        nodes = self.bench.sql(self.port, "SHOW pool_nodes", "app", "app", check=False)
        if nodes.count("|up|") < 2:
            self.restart()

    def restart(self):
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(20)
        for log in self.bench.home.glob("pgpool/.s.*"):
            log.unlink()
        self.launch()


def page(all_shapes, results, versions):
    count = {name: [0, 0] for name in results}
    lines = []
    for shape in all_shapes:
        cells = []
        for name in results:
            for protocol in PROTOCOLS:
                result = results[name][shape.number].get(protocol)
                if result is None:
                    cells.append("–")
                    continue
                count[name][0] += result["outcome"] == "equal"
                count[name][1] += 1
                cells.append(result["outcome"])
        lines.append(f"| {shape.number} | {shape.name} | " + " | ".join(cells) + " |")
    said = []
    for name in results:
        for shape in all_shapes:
            for protocol, result in results[name][shape.number].items():
                if result["said"]:
                    said.append(f"| {name} | {shape.number} {shape.name} | {protocol} | {result['said'].replace('|', '/')[:150]} |")
    heads = [f"{name}, {protocol}" for name in results for protocol in PROTOCOLS]
    sums = [f"**{name}**: {equal} of {all} equal" for name, (equal, all) in count.items()]
    out = [
        "# Statement shapes",
        "",
        "Made by `python3 bench/shapes.py` from real runs; the statements are in [bench/shapes.sql](../bench/shapes.sql). Every shape is run once in every "
        "protocol, through each proxy, between two servers of its own whose tables are equal before. Equal means: every table of the shape has the "
        "same rows on both servers afterwards.",
        "",
        "- **pgduet**: `dual_write`, `ack: both`, everything else at its default; compared after a barrier. *Said so*: `uncaptured_total` counted it, and "
        "`GET /api/status` names the statement.",
        "- **pgpool-II**, native replication, as its manual advises; compared at once. *Refused*: the client got an error that PostgreSQL does not give, or no answer.",
        "",
        "; ".join(sums) + ".",
        "",
        f"{versions}; {datetime.date.today():%B %Y}. \"At once\": {WRITERS} clients, each {TIMES} times.",
        "",
        "| | shape | " + " | ".join(heads) + " |",
        "|" + " --- |" * (len(heads) + 2),
        *lines,
        "",
        "## What was refused",
        "",
        *(["| by | shape | protocol | with |", "| --- | --- | --- | --- |", *said] if said else ["Nothing."]),
        "",
        "## pgpool-II's configuration",
        "",
        "Beside addresses, ports and directories:",
        "",
        "```ini",
        POOL.strip(),
        "```",
        "",
        "`replicate_select = off`: with it on, every SELECT would run on both servers. `insert_lock = on` has it lock a table with a serial column before "
        "an INSERT, so that both servers draw in the same order.",
        "",
    ]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="shapes whose name has this in it; nothing is written then")
    options = run.parsed(parser, scale=1, shared_buffers="64MB")
    chosen = [shape for shape in shapes() if not options.only or options.only in shape.name]
    bench = run.Bench(options)
    results = {}
    try:
        for name, make in (("pgduet", Pgduet), ("pgpool-II", Pgpool)):
            target = make(bench, name)
            target.prepare(chosen)
            target.start()
            results[name] = {shape.number: {} for shape in chosen}
            for shape in chosen:
                for protocol in PROTOCOLS:
                    if "simple" in shape.traits and protocol != "simple":
                        continue
                    outcome = target.run(shape, protocol)
                    results[name][shape.number][protocol] = outcome
                    print(f"{name} {shape.number} {shape.name}, {protocol}: {outcome['outcome']} {outcome['said']}", file=sys.stderr, flush=True)
        pool = subprocess.run(["pgpool", "--version"], capture_output=True, text=True, env={"PATH": os.environ["PATH"] + ":/usr/sbin"})
        server = subprocess.run([bench.program("postgres"), "--version"], capture_output=True, text=True).stdout.strip()
        own = subprocess.run([str(options.binary), "--version"], capture_output=True, text=True).stdout.strip()
        versions = f"{server}, {own}, {(pool.stderr or pool.stdout).strip()}"
    finally:
        bench.tear_down()
    text = page(chosen, results, versions)
    if options.only:
        print(text)
    else:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
