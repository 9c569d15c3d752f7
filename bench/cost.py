#!/usr/bin/env python3
"""What capture and the link cost: the client, per statement, and the primary, in CPU.

TPC-B, each of its statements timed by pgbench: directly, through the proxy in `old_only`, and in `dual_write` with either acknowledgement, all
interleaved as in run.py. The primary's CPU is that of all processes of its server; of pgduet's own connections apart, by their process ids.
"""

import argparse
import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import run
from frozen import processes_of

TARGETS = ["direct", "old_only", "ack primary", "ack both"]
# As pgbench's script has them.
STATEMENTS = ["BEGIN", "UPDATE accounts", "SELECT accounts", "UPDATE tellers", "UPDATE branches", "INSERT history", "END"]


def server_cpu(postmaster):
    """Seconds of CPU of a server: its processes, and those that have ended."""
    total = 0.0
    for pid in processes_of(postmaster):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(field) for field in (fields[11:15] if pid == postmaster else fields[11:13])) / run.TICKS
    return total


class Cost(run.Bench):
    def set_up(self):
        postmasters = {}
        for name in ("plain", "old", "new"):
            postmasters[name] = (self.server(name), self.children[-1].pid)
        self.plain, self.primary, self.secondary = postmasters["plain"], postmasters["old"], postmasters["new"]
        self.relay = self.proxy("old-only", self.plain[0], self.secondary[0])
        self.mirror = self.proxy("dual-write", self.primary[0], self.secondary[0])
        self.mirrored = (self.primary[0], self.secondary[0])
        self.policy(phase="dual_write")

    def own_cpu(self):
        """Of pgduet's connections to the primary."""
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgduet %'"
        return sum(run.cpu_seconds(int(pid)) for pid in self.sql(self.primary[0], sql).split())

    def measure(self, target, clients):
        (port, postmaster), pid = (self.plain[0], self.plain[1]), None
        if target == "old_only":
            port, pid = self.relay["port"], self.relay["pid"]
        if target.startswith("ack"):
            self.policy(ack=target.split()[1])
            (port, postmaster), pid = (self.mirror["port"], self.primary[1]), self.mirror["pid"]
        mirrored = postmaster == self.primary[1]
        before = (server_cpu(postmaster), self.own_cpu() if mirrored else 0.0, run.cpu_seconds(pid), server_cpu(self.secondary[1]))
        command = [self.program("pgbench"), "-n", "-r", "-h", "127.0.0.1", "-p", port, "-U", "app", "-M", "prepared"]
        command += ["-c", clients, "-j", min(clients, 2), "-T", self.options.seconds, "app"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        if mirrored:
            self.call("POST", "/api/barrier?timeout=600s")
        # The server counts a backend when it has ended.
        time.sleep(0.3)
        after = (server_cpu(postmaster), self.own_cpu() if mirrored else 0.0, run.cpu_seconds(pid), server_cpu(self.secondary[1]))
        count = int(re.search(r"actually processed: (\d+)", done.stdout)[1])
        primary, own, proxy, secondary = ((b - a) * 1e6 / count for a, b in zip(before, after))
        times = [float(line.split()[0]) for line in done.stdout.split("statement latencies")[1].splitlines()[1:] if line.strip()]
        times = [line for line in times][-len(STATEMENTS):]
        return {
            "statements": times,
            "tps": float(re.search(r"tps = ([\d.]+)", done.stdout)[1]),
            "latency": float(re.search(r"latency average = ([\d.]+)", done.stdout)[1]),
            "primary": primary,
            "own": own,
            "proxy": proxy,
            "secondary": secondary if mirrored else 0.0,
        }


def ratio(rounds, target, value):
    return statistics.median(value(r[target]) / max(value(r["direct"]), 1e-9) for r in rounds)


def latency_table(results):
    out = ["| clients | target | transaction | " + " | ".join(STATEMENTS) + " |", "|" + " --- |" * (len(STATEMENTS) + 3)]
    for clients, rounds in results:
        direct = [statistics.median(r["direct"]["statements"][i] for r in rounds) for i in range(len(STATEMENTS))]
        whole = statistics.median(r["direct"]["latency"] for r in rounds)
        out.append(f"| {clients} | direct, ms | {whole:.3f} | " + " | ".join(f"{ms:.3f}" for ms in direct) + " |")
        for target in TARGETS[1:]:
            each = [ratio(rounds, target, lambda m, i=i: m["statements"][i]) for i in range(len(STATEMENTS))]
            line = f"| {clients} | {target} | {ratio(rounds, target, lambda m: m['latency']):.2f} | "
            out.append(line + " | ".join(f"{r:.2f}" for r in each) + " |")
    return "\n".join(out)


def cpu_table(results):
    out = [
        "| clients | target | primary | ratio to direct | of it pgduet's own connections | proxy | secondary |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for clients, rounds in results:
        for target in TARGETS:
            median = lambda what: statistics.median(r[target][what] for r in rounds)
            out.append(
                f"| {clients} | {target} | {median('primary'):.0f} | {ratio(rounds, target, lambda m: m['primary']):.2f} | "
                f"{median('own'):.0f} | {median('proxy'):.0f} | {median('secondary'):.0f} |"
            )
    return "\n".join(out)


def profile(bench, seconds):
    """Where the proxy's time goes, by perf, where there is one."""
    load = bench.start(bench.mirror["port"], "tpcb", 8, "prepared")
    command = ["perf", "record", "-q", "-F", "499", "-g", "-p", str(bench.mirror["pid"]), "-o", str(bench.home / "perf.data")]
    recorded = subprocess.run([*command, "--", "sleep", str(max(seconds - 1, 1))], capture_output=True, text=True)
    bench.finish(load)
    if recorded.returncode != 0:
        return f"perf could not record: {recorded.stderr.strip().splitlines()[-1:]}"
    shown = []
    for sort, lines in (("dso", 6), ("symbol", 25)):
        report = ["perf", "report", "-i", str(bench.home / "perf.data"), "--no-children", "-g", "none", "--stdio", "--sort", sort]
        text = subprocess.run(report, capture_output=True, text=True).stdout
        shown += [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("#")][:lines] + [""]
    return "\n".join(shown)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=run.CLIENTS)
    parser.add_argument("--profile", action="store_true", help="and where the proxy's time goes, by perf")
    options = run.parsed(parser, shared_buffers="256MB")
    bench = Cost(options)
    try:
        bench.set_up()
        results = []
        for clients in options.clients:
            rounds = []
            for number in range(options.rounds):
                shift = number % len(TARGETS)
                order = TARGETS[shift:] + TARGETS[:shift]
                rounds.append({target: bench.measure(target, clients) for target in order})
            results.append((clients, rounds))
        equal = bench.history_is_equal()
        profiled = profile(bench, options.seconds) if options.profile else ""
    finally:
        bench.tear_down()
    print("Latency: of `direct` in ms, of the others as a ratio to direct in the same round\n")
    print(latency_table(results))
    print("\nCPU, seconds per million transactions (µs a transaction)\n")
    print(cpu_table(results))
    print(f"\n{os.cpu_count()} CPUs; scale {options.scale}; prepared; medians of {options.rounds} rounds of {options.seconds} s; "
          f"history {'equal on both sides' if equal else 'DIFFERS between the sides'}.")
    print(profiled)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
