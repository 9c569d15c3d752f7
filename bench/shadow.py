#!/usr/bin/env python3
"""What comparing costs the clients: reads with and without shadow comparison, side by side.

Reads run through one proxy in `dual_write`, half of them on each side, alternately with `shadow_sample_percent` 0 and 100 in every
round, while TPC-B writes run beside them. Printed: the reads' p50 and p99 in milliseconds and their throughput, the medians over the
rounds, and what became of the comparisons.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

import run

SAMPLES = [0, 100]


class Shadow(run.Bench):
    def set_up(self):
        old, new = self.server("old"), self.server("new")
        self.mirror = self.proxy("dual-write", old, new)
        self.mirrored = (old, new)
        self.policy(phase="dual_write")
        self.policy(read_percent=50)

    def reads(self, sample):
        """One measurement: latencies of single reads, from pgbench's own log."""
        self.policy(shadow_sample_percent=sample)
        prefix = self.home / f"reads-{sample}"
        writes = self.start(self.mirror["port"], "tpcb", self.options.writers, "prepared") if self.options.writers else None
        command = [self.program("pgbench"), "-n", "-h", "127.0.0.1", "-p", self.mirror["port"], "-U", "app", "-S", "-M", "prepared"]
        command += ["-c", self.options.clients, "-j", 2, "-T", self.options.seconds, "-l", "--log-prefix", prefix, "app"]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        if writes:
            self.finish(writes)
        took = []
        for log in self.home.glob(f"reads-{sample}.*"):
            took += [int(line.split()[2]) / 1000 for line in log.read_text().splitlines()]
            log.unlink()
        took.sort()
        at = lambda share: took[min(int(len(took) * share), len(took) - 1)]
        return {"p50": at(0.50), "p99": at(0.99), "tps": len(took) / self.options.seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each setting (default 3)")
    parser.add_argument("--clients", type=int, default=8, help="readers (default 8)")
    parser.add_argument("--writers", type=int, default=2, help="clients that write meanwhile (default 2; 0: none)")
    chosen = run.parsed(parser)
    bench = Shadow(chosen)
    try:
        bench.set_up()
        rounds = [{sample: bench.reads(sample) for sample in SAMPLES} for _ in range(chosen.rounds)]
        shadow = bench.call("GET", "/api/status")["shadow"]
    finally:
        bench.tear_down()
    print("| sample | reads/s | p50, ms | p99, ms |\n| --- | --- | --- | --- |")
    for sample in SAMPLES:
        median = {name: statistics.median(one[sample][name] for one in rounds) for name in ("tps", "p50", "p99")}
        print(f"| {sample} % | {median['tps']:.0f} | {median['p50']:.3f} | {median['p99']:.3f} |")
    print(f"\n{chosen.clients} readers, {chosen.writers} writers, medians of {chosen.rounds} rounds of {chosen.seconds} s; {shadow}")
    return 1 if shadow["mismatched_total"] else 0


if __name__ == "__main__":
    sys.exit(main())
