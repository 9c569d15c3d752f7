#!/usr/bin/env python3
"""Freezes the secondary (SIGSTOP to every process of it) under load, and measures what the clients notice.

For each acknowledgement: pgbench's TPC-B through the proxy at a fixed rate, before, while the secondary is frozen, and after. Latencies are
from pgbench's own log, by the second in which a transaction ended, and include what it waited for its turn. Everything is started here and
removed at the end, as in run.py.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import run

WINDOWS = ["before", "frozen", "frozen, from 10 s on", "catching up", "after"]


def processes_of(postmaster):
    """The server and its children, by the process table."""
    found = [postmaster]
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == postmaster:
                found.append(int(entry.name))
    return found


def tell(postmaster, what):
    for pid in processes_of(postmaster):
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            pass


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Watch(threading.Thread):
    """Samples once a second: memory of the proxy, size of the journal, lag, state of the link."""

    def __init__(self, bench, primary):
        super().__init__(daemon=True)
        self.bench, self.primary, self.samples, self.over = bench, primary, [], False

    def run(self):
        while not self.over:
            at = time.time()
            link = self.bench.call("GET", "/api/status")["link"]
            size = self.bench.sql(self.primary, "SELECT pg_total_relation_size('pgduet.journal')", database="app")
            self.samples.append(
                {
                    "at": at,
                    "rss": resident_mib(self.bench.mirror["pid"]),
                    "journal": int(size) / 2**20,
                    "entries": link["lag_entries"],
                    "state": link["state"],
                }
            )
            time.sleep(max(0.0, at + 1 - time.time()))

    def between(self, start, end, what):
        return [sample[what] for sample in self.samples if start <= sample["at"] < end]


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] if sorted_values else 0.0


def latencies(directory):
    """(end, milliseconds) of every transaction."""
    found = []
    for log in directory.glob("pgbench_log.*"):
        for line in log.read_text().splitlines():
            fields = line.split()
            if len(fields) < 6 or not fields[5].isdigit():
                continue  # the last line of a run that was ended
            # client, number, latency in us, script, seconds, microseconds, how late it began
            found.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1000))
    return found


def measure(options, ack):
    bench = run.Bench(options)
    try:
        old, new = bench.server("old"), bench.server("new")
        postmaster = bench.children[-1].pid
        bench.mirror = bench.proxy("dual-write", old, new)
        bench.mirrored = (old, new)
        bench.policy(phase="dual_write", ack=ack)
        watch = Watch(bench, old)
        logs = bench.home / "load"
        logs.mkdir()
        command = [bench.program("pgbench"), "-n", "-h", "127.0.0.1", "-p", bench.mirror["port"], "-U", "app", "-M", "prepared"]
        command += ["-c", options.clients, "-j", 2, "-T", 7200, "-R", options.rate, "--log", "app"]
        load = subprocess.Popen([str(part) for part in command], cwd=logs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        watch.start()
        # The first seconds are everybody's warming up.
        time.sleep(5)
        begin = time.time()
        time.sleep(options.calm)
        frozen = time.time()
        tell(postmaster, signal.SIGSTOP)
        time.sleep(options.frozen)
        thawed = time.time()
        tell(postmaster, signal.SIGCONT)
        bench.call("POST", "/api/barrier?timeout=600s")
        caught_up = time.time()
        time.sleep(options.calm)
        end = time.time()
        failed = load.poll() is not None
        load.send_signal(signal.SIGINT)
        load.wait(30)
        watch.over = True
        watch.join()
        equal = bench.history_is_equal()
        spans = [(begin, frozen), (frozen, thawed), (frozen + 10, thawed), (thawed, caught_up), (caught_up, end)]
        return report(ack, latencies(logs), watch, spans, caught_up - thawed, equal and not failed)
    finally:
        bench.tear_down()


def report(ack, done, watch, spans, catch_up, well):
    lines = []
    for name, (start, end) in zip(WINDOWS, spans):
        own = sorted(ms for at, ms in done if start <= at < end)
        memory, journal = watch.between(start, end, "rss"), watch.between(start, end, "journal")
        entries, states = watch.between(start, end, "entries"), watch.between(start, end, "state")
        lines.append(
            f"| {ack} | {name} | {end - start:.0f} | {len(own) / max(end - start, 1e-9):.0f} | {percentile(own, 0.5):.1f} | "
            f"{percentile(own, 0.99):.1f} | {own[-1] if own else 0:.0f} | {max(memory, default=0):.1f} | {max(journal, default=0):.1f} | "
            f"{max(entries, default=0)} | {', '.join(dict.fromkeys(states))} |"
        )
    return "\n".join(lines), f"`ack: {ack}`: caught up {catch_up:.1f} s after it was let go; histories {'equal' if well else 'DIFFER'}."


HEAD = """| ack | while new is | seconds | tps | p50, ms | p99, ms | worst, ms | proxy's memory, MiB | journal, MiB | entries behind | link |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frozen", type=int, default=120, help="seconds for which the secondary is frozen (default 120)")
    parser.add_argument("--calm", type=int, default=30, help="seconds before and after (default 30)")
    parser.add_argument("--rate", type=int, default=200, help="transactions per second (default 200)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--acks", nargs="+", default=["primary", "both"])
    options = run.parsed(parser, shared_buffers="256MB")
    measured = [measure(options, ack) for ack in options.acks]
    print("\n".join([HEAD] + [table for table, _ in measured]))
    print()
    print("\n".join(said for _, said in measured))
    print(f"TPC-B, {options.clients} clients, {options.rate} transactions a second, scale {options.scale}; {os.cpu_count()} CPUs.")
    return 0 if all("equal" in said for _, said in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
