#!/usr/bin/env python3
"""What traces cost the clients: reads in `dual_write` through a build without them, and one with them at several shares, in turns.

Five proxies stand before the same two databases: the default build; one with the feature `otel` and no collector; and that one with a collector at 0, 1
and 100 %. In every round each has its turn. Printed: throughput as a ratio to the default build's in the same round, and CPU seconds of the proxy for 100,000
statements, the medians over the rounds, and what became of the spans.
"""

import argparse
import http.server
import pathlib
import statistics
import sys
import threading
import urllib.request

import run

SHARES = {"otel, no collector": None, "otel, 0 %": 0, "otel, 1 %": 1, "otel, 100 %": 100}


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes what it is sent, and looks at nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Traces(run.Bench):
    def set_up(self):
        sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
        sink.daemon_threads = True
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        old, new = self.server("old"), self.server("new")
        self.options.binary = self.options.default
        self.proxies = {"default": self.proxy("default", old, new)}
        self.mirror = self.proxies["default"]
        self.policy(phase="dual_write")
        self.options.binary = self.options.otel
        for name, share in SHARES.items():
            address = f"http://127.0.0.1:{sink.server_address[1]}"
            self.options.settings = f'traces: {{ endpoint: "{address}", sample_percent: {share} }}' if share is not None else ""
            self.proxies[name] = self.proxy(name.replace(" ", "-").replace(",", "").replace("%", "percent"), old, new)
        self.policy(shadow_sample_percent=0)

    def reads(self, name, protocol):
        proxy = self.proxies[name]
        before = run.cpu_seconds(proxy["pid"])
        figures = self.finish(self.start(proxy["port"], "select", self.options.clients, protocol))
        figures["cpu"] = (run.cpu_seconds(proxy["pid"]) - before) * 100_000 / max(figures["transactions"], 1)
        return figures

    def spans(self, name):
        url = f"http://127.0.0.1:{self.proxies[name]['admin']}/metrics"
        lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
        counted = [line.removeprefix("pgduet_spans_total") for line in lines if line.startswith("pgduet_spans_total")]
        return ", ".join(sorted(counted))


def main():
    parser = run.with_servers(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each build (default 5)")
    parser.add_argument("--clients", type=int, default=8, help="readers (default 8)")
    parser.add_argument("--default", type=pathlib.Path, required=True, help="pgduet's binary, built without traces")
    parser.add_argument("--otel", type=pathlib.Path, required=True, help="the same with --features otel")
    chosen = parser.parse_args()
    chosen.settings = ""
    chosen.default, chosen.otel = chosen.default.resolve(), chosen.otel.resolve()
    bench = Traces(chosen)
    try:
        bench.set_up()
        names = list(bench.proxies)
        print("| | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
        for protocol in run.PROTOCOLS:
            rounds = []
            for number in range(chosen.rounds):
                shift = number % len(names)
                rounds.append({name: bench.reads(name, protocol) for name in names[shift:] + names[:shift]})
            ratio = {n: statistics.median(one[n]["tps"] / one["default"]["tps"] for one in rounds) for n in names}
            cpu = {n: statistics.median(one[n]["cpu"] for one in rounds) for n in names}
            print(f"| {protocol} | " + " | ".join(f"{ratio[n]:.2f} / {cpu[n]:.2f}" for n in names) + " |", flush=True)
        spans = bench.spans("otel, 100 %")
    finally:
        bench.tear_down()
    print(f"\n{chosen.clients} clients, medians of {chosen.rounds} rounds of {chosen.seconds} s; spans at 100 %: {spans}")


if __name__ == "__main__":
    sys.exit(main())
