"""A well-behaved client in a process of its own, which feels how long the server keeps it waiting."""

import multiprocessing
import socket
import time

PAUSE = 0.01
# One round in so many opens a connection of its own.
VISIT = 10
MESSAGE = b"tweet" * 8


class Canary:
    """Sends small messages until it is stopped."""

    def __init__(self, address, stall, echoes, tls):
        context = multiprocessing.get_context("fork")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=sing, args=(address, stall, echoes, tls, end), daemon=True)
        self.process.start()

    def stop(self):
        """Latencies on the lasting connection, those with a new connection, and failures."""
        self.pipe.send(None)
        result = self.pipe.recv()
        self.process.join()
        return result


def sing(address, stall, echoes, tls, pipe):
    rounds, visits, failures = [], [], []
    lasting, count = None, 0
    while not pipe.poll():
        count += 1
        start = time.monotonic()
        try:
            if count % VISIT == 0:
                with connect(address, stall, tls) as sock:
                    greet(sock, echoes)
                visits.append(time.monotonic() - start)
            else:
                lasting = lasting or connect(address, stall, tls)
                greet(lasting, echoes)
                rounds.append(time.monotonic() - start)
        except OSError as err:
            failures.append(str(err))
            if count % VISIT and lasting:
                lasting.close()
                lasting = None
        time.sleep(PAUSE)
    if lasting:
        lasting.close()
    pipe.send((rounds, visits, failures))


def connect(address, stall, tls):
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(stall)
        sock.connect(address)
    else:
        sock = socket.create_connection(address, stall)
    return tls.wrap_socket(sock) if tls else sock


def greet(sock, echoes):
    """One message there and back; a server that talks by itself is just listened to."""
    if echoes:
        sock.sendall(MESSAGE)
    answer = b""
    while len(answer) < len(MESSAGE):
        part = sock.recv(len(MESSAGE) - len(answer))
        if not part:
            raise ConnectionError("end of file")
        answer += part
    if echoes and answer != MESSAGE:
        raise ConnectionError(f"wrong answer {answer!r}")
