#!/usr/bin/env python3
"""Measures the memory that an idle client costs: pgduet in old_only and in dual_write, and pgbouncer beside it.

Each of so many clients connects, is authenticated (SCRAM is not: clients are trusted), runs one statement by the extended protocol and then says
nothing. What the proxy has really in memory (VmRSS) is read before the first and after the last of them. Everything is started
here, as in run.py, and removed at the end.
"""

import argparse
import resource
import socket
import struct
import subprocess
import time

import run

READY = b"Z\x00\x00\x00\x05I"


def resident(pid):
    """KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def message(tag, body):
    return tag + struct.pack("!I", len(body) + 4) + body


class Client:
    """One connection: it logs in, runs statements, and is silent."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.sendall(message(b"", b"\0\3\0\0user\0app\0database\0app\0\0"))
        self.until_ready()

    def until_ready(self):
        seen = b""
        while not seen.endswith(READY):
            some = self.socket.recv(65536)
            if not some:
                raise SystemExit(f"closed after {seen[-300:]!r}")
            seen = (seen + some)[-1000:]

    def run(self, sql):
        parse = message(b"P", b"\0" + sql.encode() + b"\0\0\0")
        bind = message(b"B", b"\0\0\0\0\0\0\0\0")
        execute = message(b"E", b"\0\0\0\0\0")
        self.socket.sendall(parse + bind + message(b"D", b"P\0") + execute + message(b"S", b""))
        self.until_ready()


def settled(pid):
    """Memory once it does not change any more."""
    last = resident(pid)
    for _ in range(50):
        time.sleep(0.1)
        now = resident(pid)
        if now == last:
            return now
        last = now
    return last


def measure(name, target, clients, statements):
    """One line: the proxy alone, with its clients connected, and with each of them having run its statements."""
    alone = settled(target["pid"])
    connected = [Client(target["port"]) for _ in range(clients)]
    idle = settled(target["pid"])
    for client in connected:
        for statement in statements:
            client.run(statement)
    used = settled(target["pid"])
    for client in connected:
        client.socket.close()
    each = [(now - alone) / clients for now in (idle, used)]
    print(f"| {name} | {alone / 1024:.1f} | {idle / 1024:.1f} | {used / 1024:.1f} | {each[0]:.1f} | {each[1]:.1f} |", flush=True)


def stop(bench, target):
    child = next(child for child in bench.children if child.pid == target["pid"])
    child.terminate()
    child.wait(60)
    bench.children.remove(child)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    options = run.parsed(parser, scale=1, shared_buffers="32MB")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    bench = run.Bench(options)
    bench.max_connections = 2 * options.clients + 100
    try:
        old, new = bench.server("old"), bench.server("new")
        read = "SELECT abalance FROM pgbench_accounts WHERE aid = 1"
        write = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 1"
        print(f"{options.clients} clients; MiB in memory (VmRSS), KiB for each client\n")
        print("| | alone | connected | after a statement | KiB each, connected | KiB each, used |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        bouncer = bench.pgbouncer(old, pool=options.clients)
        if bouncer:
            measure("pgbouncer", bouncer, options.clients, [read])
        # A process for each: what one has given back to its allocator would hide what the next one takes.
        for name, policy, statements in (
            ("old_only", {}, [read]),
            ("dual_write, a read and a write", {"phase": "dual_write"}, [read, write]),
            ("dual_write, a read on new", {"read_percent": 100, "force": True}, [read]),
        ):
            bench.mirror = bench.proxy(name.replace(" ", "-").replace(",", ""), old, new)
            bench.policy(shadow_sample_percent=0, **policy)
            measure(name, bench.mirror, options.clients, statements)
            stop(bench, bench.mirror)
    finally:
        bench.tear_down()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error) from error
