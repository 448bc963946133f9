#!/usr/bin/env python3
"""Torments a server of datagrams, and checks that it answers all that its socket has room for.

    datagrams.py SERVER

SERVER is the example `bench_server`. The exit code is 1 if something is wrong.
"""

import os
import random
import re
import socket
import subprocess
import sys
import time

PATIENCE = 20.0
LARGEST = 65507


def check(condition, text):
    if not condition:
        raise SystemExit(f"violation: {text}")


class Client:
    def __init__(self, server):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.connect(server)

    def exchange(self, data):
        """There and back; what the system drops while the server is busy is sent again."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.sock.send(data)
            answers = list(self.received(0.5, 1))
            if answers:
                return check(answers == [data], f"a wrong answer to {len(data)} bytes")
        check(False, f"no answer to {len(data)} bytes")

    def received(self, patience, limit):
        """What comes until nothing does for a while."""
        self.sock.settimeout(patience)
        try:
            for _ in range(limit):
                yield self.sock.recv(1 << 17)
        except TimeoutError:
            pass

    def close(self):
        self.sock.close()


def sizes(server):
    """Each datagram comes back whole, also the smallest and the largest one."""
    for size in [0, 1, 1472, 1473, 9000, LARGEST]:
        client = Client(server)
        client.exchange(os.urandom(size))
        client.close()


def bursts(server):
    """What comes back of a burst comes back in order and unchanged."""
    client = Client(server)
    for number in range(5):
        sent = [bytes([number]) + index.to_bytes(4, "big") * random.randrange(1, 100) for index in range(60)]
        for data in sent:
            client.sock.send(data)
        left = iter(sent)
        for data in client.received(0.2, len(sent)):
            check(data in left, "an answer to nothing, or out of order")
    client.close()


def vanished(server, rounds):
    """Senders that have gone when the answer comes: the refusals are nobody else's concern."""
    for _ in range(rounds):
        client = Client(server)
        for size in (0, 10, 1000):
            client.sock.send(bytes(size))
        client.close()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def seconds_used(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    process = subprocess.Popen([sys.argv[1], "--stats", "--listen", "udp:127.0.0.1:0"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    found = re.fullmatch(rb"listening on udp:127\.0\.0\.1:(\d+)\n", process.stdout.readline())
    check(found, "no address")
    server = ("127.0.0.1", int(found[1]))
    sizes(server)
    before = descriptors(process.pid)
    for _ in range(5):
        bursts(server)
        vanished(server, 200)
        sizes(server)
    check(descriptors(process.pid) == before, "descriptors are left")
    used = seconds_used(process.pid)
    time.sleep(1)
    used = seconds_used(process.pid) - used
    check(used < 0.5, f"{used} s of a core are used in a second of rest")
    sizes(server)
    end, _ = process.communicate(timeout=PATIENCE)
    check(process.returncode == 0, f"exit code {process.returncode}")
    print(end.decode().strip())


if __name__ == "__main__":
    main()
