#!/usr/bin/env python3
"""Compares two examples with the programs whose work they do: http_files with nginx, redis_kv with redis-server.

programs.py [--rounds N] [--secs S] [TABLE.txt]

The examples must have been built: cargo build --release --examples. nginx, wrk, redis-server and redis-benchmark must be
installed; what is missing is left out, with a note. Each program gets one thread and the first processor, the load the
second. They take turns: in each round every program runs once, in another order than in the round before, and a ratio is
the median of those within the rounds. The table is printed, and written to TABLE.txt. Linux only.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples"
SMALL, LARGE = 1024, 10 * 1024 * 1024

NGINX = """
daemon off; master_process off; pid {root}/pid; error_log /dev/null; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; default_type text/plain;
    client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t; uwsgi_temp_path {root}/t;
    scgi_temp_path {root}/t;
    server {{ listen 127.0.0.1:{port}; root {root}/files; }}
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Program:
    """A server in a process of its own, on the first processor."""

    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        while not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} has ended with {self.process.returncode}")
            time.sleep(0.02)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cpu(self):
        """Processor time of all threads so far, in seconds."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def http_programs(root):
    files = root / "files"
    files.mkdir()
    (files / "small").write_bytes(os.urandom(SMALL))
    (files / "large").write_bytes(os.urandom(LARGE))
    port = free_port()
    yield Program("nginx", ["nginx", "-c", write(root / "conf", NGINX.format(root=root, port=port))], port)
    port = free_port()
    yield Program("http_files", [EXAMPLES / "http_files", files, f"127.0.0.1:{port}"], port)


def redis_programs(root):
    port = free_port()
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    yield Program("redis-server", [*redis, "--dir", root], port)
    port = free_port()
    yield Program("redis_kv", [EXAMPLES / "redis_kv", f"127.0.0.1:{port}"], port)


def write(path, content):
    path.write_text(content)
    return path


def load(command):
    report = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True, check=True)
    return report.stdout


def wrk(path, clients):
    def run(program, secs):
        url = f"http://127.0.0.1:{program.port}/{path}"
        report = load(["wrk", "-t", "1", "-c", str(clients), "-d", f"{max(1, round(secs))}s", url])
        if "Socket errors" in report or "Non-2xx" in report:
            raise RuntimeError(f"{program.name}: {report}")
        return int(re.search(r"(\d+) requests in", report)[1]), float(re.search(r"Requests/sec: +([\d.]+)", report)[1])
    return run


def redis_benchmark(test, pipeline, count):
    def run(program, _):
        report = load(["redis-benchmark", "-p", str(program.port), "-t", test, "-c", "50", "-P", str(pipeline), "-n",
                       str(count), "-d", "64", "-r", "10000", "--csv"])
        return count, float(report.splitlines()[-1].split(",")[1].strip('"'))
    return run


SUITES = [
    (["nginx", "wrk"], http_programs, [
        ("a file of 1 KiB, 64 clients", wrk("small", 64)),
        ("a file of 10 MiB, 8 clients", wrk("large", 8)),
    ]),
    (["redis-server", "redis-benchmark"], redis_programs, [
        ("GET, 50 clients", redis_benchmark("get", 1, 100_000)),
        ("SET, 50 clients", redis_benchmark("set", 1, 100_000)),
        ("GET, 50 clients, 16 at a time", redis_benchmark("get", 16, 800_000)),
        ("SET, 50 clients, 16 at a time", redis_benchmark("set", 16, 800_000)),
    ]),
]


def sample(program, run, secs):
    """Rate, and processor time for one request."""
    before = program.cpu()
    count, rate = run(program, secs)
    return rate, (program.cpu() - before) / count


def compare(programs, run, options):
    """The median ratios of the second program to the first: rate and processor time."""
    rates, costs = [], []
    for turn in range(options.rounds):
        order = programs if turn % 2 == 0 else programs[::-1]
        found = {program.name: sample(program, run, options.secs) for program in order}
        (base_rate, base_cost), (rate, cost) = (found[program.name] for program in programs)
        rates.append(rate / base_rate)
        costs.append(cost / base_cost)
    return statistics.median(rates), statistics.median(costs)


def rows(options):
    yield "| example | beside | load | rate | processor time for one request |"
    yield "|---|---|---|---|---|"
    for needed, start, workloads in SUITES:
        missing = [name for name in needed if not shutil.which(name)]
        if missing:
            print(f"left out, as {', '.join(missing)} is not installed", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as root:
            programs = []
            try:
                programs.extend(start(pathlib.Path(root)))
                theirs, ours = (program.name for program in programs)
                for about, run in workloads:
                    rate, cost = compare(programs, run, options)
                    yield f"| `{ours}` | {theirs} | {about} | {rate:.2f} | {cost:.2f} |"
            finally:
                for program in programs:
                    program.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--secs", type=float, default=2)
    parser.add_argument("table", nargs="?")
    options = parser.parse_args()
    lines = []
    for row in rows(options):
        print(row, flush=True)
        lines.append(row)
    if options.table:
        pathlib.Path(options.table).write_text("\n".join(lines) + "\n")


main()
