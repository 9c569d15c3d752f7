#!/usr/bin/env python3
"""Precision and recall of shadow comparison: real faults planted among very many compared reads, under write load.

1,000 faults of five kinds are planted on `new`, each is read once, spread evenly among a million reads of the same tables by the same kinds of
statements, half of them answered by each side, every one compared. Meanwhile TPC-B writes as fast as it can, and so do writers of
the very rows that are read. The faults are read by statements with an alias of their own, so that the table of statements
tells them from the rest: what is found there was planted, what is found elsewhere would be a false finding.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import threading
import time

import run

# Of each kind.
FAULTS = 200

SCHEMA = """
CREATE TABLE facts (id integer PRIMARY KEY, grp integer NOT NULL, v integer NOT NULL, f float8 NOT NULL, n numeric NOT NULL);
INSERT INTO facts SELECT i, i % 1000, i, sqrt(i), i / 8.0 FROM generate_series(1, 10000) i;
CREATE INDEX ON facts (grp);
CREATE TABLE divisors (id integer PRIMARY KEY, v integer NOT NULL);
INSERT INTO divisors SELECT i, 1 FROM generate_series(1, 10000) i;
CREATE TABLE members (id integer PRIMARY KEY, grp integer NOT NULL, v integer NOT NULL);
INSERT INTO members SELECT i, i % 1000, i FROM generate_series(1, 5000) i;
CREATE INDEX ON members (grp);
CREATE TABLE words (grp integer, word text COLLATE "C", PRIMARY KEY (grp, word));
INSERT INTO words SELECT i, CASE WHEN i > 200 THEN lower(w) ELSE w END FROM generate_series(1, 1000) i, unnest(array['a', 'B', 'c', 'D']) w;
"""

# Name, what plants it on `new`, the statement that meets it with the number :n of the fault.
KINDS = [
    ("wrong value", "UPDATE facts SET v = v + 1 WHERE id <= 200", "SELECT v, f, n FROM facts AS planted WHERE id = :n"),
    ("missing row", "DELETE FROM facts WHERE id BETWEEN 1001 AND 1200", "SELECT id FROM facts AS planted WHERE id = :n + 1000"),
    ("extra row", "INSERT INTO members SELECT 1000000 + i, i, i FROM generate_series(1, 200) i",
     "SELECT id, v FROM members AS planted WHERE grp = :n"),
    ("wrong order", 'ALTER TABLE words ALTER word TYPE text COLLATE "en-x-icu"',
     "SELECT word FROM words AS planted WHERE grp = :n ORDER BY word"),
    ("error on one side", "UPDATE divisors SET v = 0 WHERE id <= 200", "SELECT 100 / v FROM divisors AS planted WHERE id = :n"),
]

# The others: of rows that are written meanwhile, and of answers that are not determined. Weight, variables, statement.
CLEAN = [
    (20, "id random(2001, 10000)", "SELECT v, f, n FROM facts WHERE id = :id"),
    (10, "id random(2001, 10000)", "SELECT id FROM facts WHERE id = :id + 1000"),
    (10, "grp random(300, 999)", "SELECT id, v FROM members WHERE grp = :grp"),
    (5, "grp random(300, 999)", "SELECT id, v FROM members WHERE grp = :grp ORDER BY grp"),
    (10, "grp random(201, 1000)", "SELECT word FROM words WHERE grp = :grp ORDER BY word"),
    (10, "id random(201, 10000)", "SELECT 100 / v FROM divisors WHERE id = :id"),
    (5, "grp random(300, 999)", "SELECT sum(f), avg(f), sum(n), count(*) FROM facts WHERE grp = :grp"),
    (5, "grp random(300, 999)", "SELECT id FROM members WHERE grp = :grp LIMIT 2"),
    (2, "grp random(300, 900)", "SELECT v % 2 AS odd, id FROM members WHERE grp BETWEEN :grp AND :grp + 9 ORDER BY odd LIMIT 5"),
    (18, "aid random(1, 100000 * :scale)", "SELECT abalance FROM pgbench_accounts WHERE aid = :aid"),
    (3, "bid random(1, :scale)", "SELECT bbalance FROM pgbench_branches WHERE bid = :bid"),
    (2, "tid random(1, 10 * :scale)", "SELECT tbalance, now() FROM pgbench_tellers WHERE tid = :tid"),
]

# Writers of the rows that are read, never of those that were planted: a cycle would make them equal again.
WRITES = """
\\set id random(2001, 10000)
\\set grp random(300, 999)
\\set new random(100000, 900000)
BEGIN;
UPDATE facts SET v = v + 1, f = sqrt(v + random()), n = n + 0.125 WHERE id = :id;
INSERT INTO members VALUES (:new, :grp, :id) ON CONFLICT (id) DO UPDATE SET v = members.v + 1;
DELETE FROM members WHERE id IN (SELECT id FROM members WHERE grp = :grp AND id > 5000 ORDER BY id LIMIT 1);
END;
"""


class Precision(run.Bench):
    def set_up(self):
        self.stop, self.written, self.expected = threading.Event(), 0, 0
        self.options.settings += (
            "\\nshadow: { sample_percent: 100, max_queue: 200000, timeout: 60s, max_concurrent: %d }\\n" % self.options.concurrent
        )
        old, new = self.server("old"), self.server("new")
        for port in (old, new):
            self.sql(port, SCHEMA + "ANALYZE", database="app", user="app")
        self.mirror = self.proxy("dual-write", old, new)
        self.policy(phase="dual_write")
        self.policy(read_percent=50)
        for _, plant, _ in KINDS:
            self.sql(new, plant, database="app")
        self.files = [self.script(f"read-{n}", f"\\set {sets}\n{sql};") + f"@{weight}" for n, (weight, sets, sql) in enumerate(CLEAN)]
        self.planted = self.script("planted", "\\set n :n + 1\n" + "".join(f"{sql};\n" for _, _, sql in KINDS))
        self.writes = self.script("writes", WRITES)

    def script(self, name, text):
        path = self.home / name
        path.write_text(text)
        return str(path)

    def pgbench(self, *options):
        command = [self.program("pgbench"), "-n", "-h", "127.0.0.1", "-p", self.mirror["port"], "-U", "app", "-M", "prepared"]
        command += [*options, "app"]
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def write(self):
        """Writes until told to stop; counts what was committed."""
        while not self.stop.is_set():
            tpcb = self.pgbench("-c", self.options.writers, "-T", 5, "--max-tries=20")
            own = self.pgbench("-c", self.options.writers, "-T", 5, "--max-tries=20", "-f", self.writes)
            self.written += sum(self.finish(run)["transactions"] for run in (tpcb, own))

    def read(self, reads, faults):
        """So many reads, and the faults of these numbers among them; returns when all are compared."""
        clients = self.options.clients
        clean = [part for file in self.files for part in ("-f", file)]
        running = self.pgbench("-c", clients, "-t", reads // clients, "-D", f"scale={self.options.scale}", *clean)
        for n in faults:
            # A connection of its own for each, and so a bucket of its own: both sides answer them.
            self.finish(self.pgbench("-c", 1, "-t", 1, "-D", f"n={n}", "-f", self.planted))
        self.finish(running)
        self.expected += reads // clients * clients + len(faults) * len(KINDS)
        run.wait_until("everything is compared", self.all_decided, 600)

    def all_decided(self):
        shadow = self.shadow()
        return shadow["compared_total"] + shadow["dropped_total"] >= self.expected

    def shadow(self):
        return self.call("GET", "/api/status")["shadow"]


def measure(bench, options):
    """Chunks that the queue has room for, so that nothing is dropped. Returns how long they took, in seconds."""
    chunks = max(options.reads // options.chunk, 1)
    began = time.monotonic()
    writing = threading.Thread(target=bench.write)
    writing.start()
    try:
        for chunk in range(chunks):
            first, last = FAULTS * chunk // chunks, FAULTS * (chunk + 1) // chunks
            bench.read(options.chunk, range(first, last))
            print(f"{time.monotonic() - began:.0f} s: {bench.shadow()}", file=sys.stderr, flush=True)
            if time.monotonic() - began > options.minutes * 60:
                # All faults are read, however few the others are.
                bench.read(options.clients, range(last, FAULTS))
                break
        return time.monotonic() - began
    finally:
        bench.stop.set()
        writing.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=1_000_000, help="compared reads beside the faults (default 1,000,000)")
    parser.add_argument("--chunk", type=int, default=50_000, help="reads between two waits for their comparison (default 50,000)")
    parser.add_argument("--minutes", type=float, default=60, help="begin no chunk after so long (default 60)")
    parser.add_argument("--clients", type=int, default=8, help="readers (default 8)")
    parser.add_argument("--writers", type=int, default=4, help="writers of TPC-B, and as many of the tables read (default 4)")
    parser.add_argument("--concurrent", type=int, default=8, help="comparisons at once (default 8)")
    options = run.parsed(parser)
    bench = Precision(options)
    try:
        bench.set_up()
        seconds = measure(bench, options)
        shadow = bench.shadow()
        rows = bench.call("GET", "/api/statements?sort=mismatched&limit=1000")["statements"]
    finally:
        bench.tear_down()
    return report(rows, shadow, seconds, bench.written)


def report(rows, shadow, seconds, written):
    kinds = {sql.split(":n")[0].strip().lower().replace("100", "?"): name for name, _, sql in KINDS}
    found, false = {}, []
    for row in rows:
        kind = next((name for start, name in kinds.items() if row["statement"].lower().startswith(start)), None)
        if kind:
            found[kind] = row
        elif row["mismatched"]:
            false.append(row)
    columns = ("compared", "mismatched", "inconclusive", "raced")
    print("| fault | compared | found | inconclusive | taken for a race |\n| --- | --- | --- | --- | --- |")
    for name, _, _ in KINDS:
        print(f"| {name} | " + " | ".join(str(found.get(name, {}).get(column, 0)) for column in columns) + " |")
    compared, hit = (sum(row[key] for row in found.values()) for key in ("compared", "mismatched"))
    print(f"\n{shadow['compared_total']} reads compared in {seconds:.0f} s, beside {written} transactions that wrote; "
          f"{compared} faulty reads sampled, {hit} found: recall {hit * 100 / max(compared, 1):.2f} %; "
          f"{sum(row['mismatched'] for row in false)} false findings; {json.dumps(shadow)}")
    for row in false:
        print(f"FALSE: {json.dumps(row)}")
    return 0 if not false and compared == FAULTS * len(KINDS) and hit >= compared * 0.999 else 1


if __name__ == "__main__":
    sys.exit(main())
