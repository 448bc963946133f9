"""Peers that behave badly, and check every byte that they get."""

import asyncio
import os
import socket
import struct
import sys

from chaos_tls import Tls

# A prime: bytes that are shifted by the size of any usual buffer show.
BLOCK = 65521
KIB = 1024


class Failed(Exception):
    """The server has broken a promise: `kind` is refused, lost, mismatched or stalled."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def family_of(address):
    """An address is a path, or a host and a port."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


class Peer:
    """A connection to an echo server, with a pattern of its own so that bytes of another one show."""

    def __init__(self, address, rng, stall, buffer=None, context=None):
        self.loop = asyncio.get_running_loop()
        self.address = address
        self.rng = rng
        self.stall = stall
        self.block = BLOCK
        self.pattern = self.make_pattern()
        self.sent = 0
        self.received = 0
        family = family_of(address)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if family == socket.AF_INET and sys.platform == "linux":
            # Many source addresses: ports that linger must not run out in a long run.
            self.sock.bind((f"127.0.{rng.randrange(1, 200)}.{rng.randrange(1, 200)}", 0))
        self.tls = Tls(context, self.sock) if context else None
        self.link = self.tls or self.sock

    def make_pattern(self):
        once = self.rng.getrandbits(8 * BLOCK).to_bytes(BLOCK, "little")
        return memoryview(once + once)

    async def connect(self):
        try:
            await self.reach()
        except OSError as err:
            raise Failed("refused", err) from None
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise Failed("refused", os.strerror(error))
        if self.tls:
            await self.shake()

    async def reach(self):
        try:
            self.sock.connect(self.address)
        except BlockingIOError:
            if self.sock.family == socket.AF_UNIX:
                await self.reach_later()
            elif not await self.writable(self.stall):
                raise Failed("stalled", "connecting") from None

    async def reach_later(self):
        """The queue of a Unix socket is full, and nothing tells when it is not."""
        end = self.loop.time() + self.stall
        while self.loop.time() < end:
            await asyncio.sleep(0.01)
            try:
                return self.sock.connect(self.address)
            except BlockingIOError:
                pass
        raise Failed("stalled", "connecting")

    async def shake(self):
        while True:
            try:
                return self.tls.shake()
            except BlockingIOError:
                if not await self.readable(self.stall):
                    raise Failed("stalled", "shaking hands") from None
            except ConnectionError as err:
                raise Failed("lost", f"{err.strerror}, shaking hands") from None

    def progress(self):
        return f"{self.received} of {self.sent} bytes are back"

    async def send(self, count, patience=None):
        """Sends the next `count` bytes; gives up quietly when none is taken for `patience` seconds, or few for long."""
        end = self.sent + count
        late = self.loop.time() + 4 * (patience or 0)
        while self.sent < end:
            at = self.sent % self.block
            try:
                self.sent += self.link.send(self.pattern[at:at + min(self.block, end - self.sent)])
            except BlockingIOError:
                if patience and self.loop.time() > late:
                    return
                if await self.writable(patience or self.stall):
                    continue
                if patience:
                    return
                raise Failed("stalled", f"nothing more is taken, {self.progress()}") from None
            except ConnectionError as err:
                raise Failed("lost", f"{err.strerror}, {self.progress()}") from None

    async def recv(self, most=BLOCK):
        """Receives and checks; 0 is the end of file."""
        while True:
            try:
                data = self.link.recv(min(most, self.block))
                break
            except BlockingIOError:
                if not await self.readable(self.stall):
                    raise Failed("stalled", f"nothing comes, {self.progress()}") from None
            except ConnectionError as err:
                raise Failed("lost", f"{err.strerror}, {self.progress()}") from None
        self.check(data)
        return len(data)

    def check(self, data):
        at = self.received % self.block
        expected = self.pattern[at:at + len(data)]
        if data != expected:
            first = next(n for n, (a, b) in enumerate(zip(data, expected)) if a != b)
            raise Failed("mismatched", f"wrong byte at {self.received + first}, {self.progress()}")
        self.received += len(data)
        if self.received > self.sent:
            raise Failed("mismatched", f"too much: {self.progress()}")

    async def collect(self, total, most=BLOCK, pause=0.0):
        """Receives until `total` bytes are back."""
        while self.received < total:
            if await self.recv(most) == 0:
                raise Failed("lost", f"end of file, {self.progress()}")
            if pause:
                await asyncio.sleep(self.rng.uniform(0, pause))

    async def drain(self):
        """Receives to the end of file, which must not come early."""
        while await self.recv():
            pass
        if self.received != self.sent:
            raise Failed("lost", f"end of file, {self.progress()}")

    async def finish(self):
        """Ends its own side and takes what is left."""
        self.end()
        await self.drain()

    def end(self):
        try:
            self.tls.end() if self.tls else self.sock.shutdown(socket.SHUT_WR)
        except OSError as err:
            raise Failed("lost", f"{err.strerror}, {self.progress()}") from None

    def widen(self):
        """Takes more at once from now on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    async def readable(self, patience):
        """Whether something comes within `patience` seconds; what waits to be sent is sent meanwhile."""
        if not (self.tls and self.tls.has_unsent()):
            return await self.ready(self.loop.add_reader, self.loop.remove_reader, patience)
        fd = self.sock.fileno()
        self.loop.add_writer(fd, self.push, fd)
        try:
            return await self.ready(self.loop.add_reader, self.loop.remove_reader, patience)
        finally:
            self.loop.remove_writer(fd)

    def push(self, fd):
        try:
            self.tls.flush()
        except BlockingIOError:
            return
        except ConnectionError:
            pass  # Reading says so.
        self.loop.remove_writer(fd)

    async def writable(self, patience):
        return await self.ready(self.loop.add_writer, self.loop.remove_writer, patience)

    async def ready(self, add, remove, patience):
        """Whether the socket gets ready within `patience` seconds."""
        answer = self.loop.create_future()

        def settle(value):
            if not answer.done():
                answer.set_result(value)

        fd = self.sock.fileno()
        add(fd, settle, True)
        timer = self.loop.call_later(patience, settle, False)
        try:
            return await answer
        finally:
            timer.cancel()
            remove(fd)


class SourcePeer(Peer):
    """A connection to a server that sends without end: the byte at `n` of each 64 KiB is `n % 251`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.block = 64 * KIB
        self.sent = float("inf")

    def make_pattern(self):
        return memoryview(bytes(n % 251 for n in range(64 * KIB)) * 2)

    async def drain(self):
        while await self.recv():
            pass


async def both(*coroutines):
    """Runs them together; the first failure ends all."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# What a peer that does not read offers: more than the system keeps for the server's answers, usually 4 MiB. It waits
# so long before it takes itself for blocked.
FLOOD = 16 * KIB * KIB
BLOCKED = 0.2
SMALL = 16 * KIB
LARGE = 1024 * KIB


async def echo(peer):
    total = peer.rng.randrange(1, 256 * KIB)

    async def write():
        while peer.sent < total:
            await peer.send(min(total - peer.sent, int(10 ** peer.rng.uniform(0, 5))))
            if peer.rng.random() < 0.3:
                await asyncio.sleep(peer.rng.uniform(0, 0.05))

    await both(write(), peer.collect(total))
    await peer.finish()


async def one_byte_at_a_time(peer):
    for _ in range(peer.rng.randrange(50, 200)):
        await peer.send(1)
        if peer.rng.random() < 0.5:
            await peer.collect(peer.sent)
    await peer.finish()


async def bursts(peer):
    for _ in range(3):
        size = peer.rng.randrange(100 * KIB, 500 * KIB)
        await both(peer.send(size), peer.collect(peer.sent + size))
        await asyncio.sleep(peer.rng.uniform(0, 0.2))
    await peer.finish()


async def half_close(peer):
    await peer.send(peer.rng.randrange(1, 100 * KIB))
    await peer.finish()


async def slow_reader(peer):
    total = peer.rng.randrange(20 * KIB, 100 * KIB)
    await both(peer.send(total), peer.collect(total, peer.rng.randrange(100, 2000), 0.005))
    await peer.finish()


async def stop_and_go(peer):
    await peer.send(FLOOD, BLOCKED)
    await peer.collect(peer.sent // 8)
    await peer.send(FLOOD // 8, BLOCKED)
    peer.widen()
    await peer.collect(peer.sent)
    await peer.finish()


async def never_read_then_drain(peer):
    await peer.send(FLOOD, BLOCKED)
    peer.end()
    await asyncio.sleep(peer.rng.uniform(0, 0.5))
    await peer.collect(peer.sent // 8)
    peer.widen()
    await peer.drain()


async def never_read_then_reset(peer):
    await peer.send(FLOOD, BLOCKED)
    await asyncio.sleep(peer.rng.uniform(0, 1))
    peer.reset()


async def never_read_end_then_reset(peer):
    await peer.send(FLOOD, BLOCKED)
    peer.end()
    await asyncio.sleep(peer.rng.uniform(0, 0.5))
    peer.reset()


async def reset_in_mid_stream(peer):
    await peer.send(peer.rng.randrange(1, 200 * KIB), BLOCKED)
    await peer.collect(peer.rng.randrange(0, max(1, peer.sent)))
    peer.reset()


async def reset_at_once(peer):
    if peer.rng.random() < 0.5:
        await peer.send(100)
    peer.reset()


async def close_at_once(peer):
    peer.close()


async def end_at_once(peer):
    await peer.finish()


async def silent(peer):
    await asyncio.sleep(peer.rng.uniform(0.5, 2))
    await peer.finish()


async def urgent(peer):
    """A byte out of band is no part of the stream, and no reason to spin."""
    await peer.send(peer.rng.randrange(1, 1000))
    if peer.sock.family != socket.AF_UNIX:
        peer.sock.send(b"!", socket.MSG_OOB)
    await asyncio.sleep(0.2)
    await peer.send(peer.rng.randrange(1, 1000))
    await peer.collect(peer.sent)
    await peer.finish()


async def read_fast(peer):
    await peer.collect(peer.rng.randrange(1, 8 * KIB * KIB))
    await peer.finish()


async def read_slowly(peer):
    await peer.collect(peer.rng.randrange(1, 200 * KIB), peer.rng.randrange(100, 5000), 0.005)
    await peer.finish()


async def read_and_reset(peer):
    await asyncio.sleep(peer.rng.uniform(0, 0.5))
    await peer.collect(peer.rng.randrange(1, 2 * KIB * KIB))
    peer.reset()


ECHO = [
    echo, one_byte_at_a_time, bursts, half_close, slow_reader, reset_in_mid_stream, reset_at_once, close_at_once,
    end_at_once, silent, urgent,
]
SOURCE = [read_fast, read_slowly, read_and_reset, reset_at_once, close_at_once]
# These do not read on purpose; a small buffer is full soon. Each is a rare one among the others.
FLOODING = [stop_and_go, never_read_then_drain, never_read_then_reset, never_read_end_then_reset]
MIXED = ECHO * 4 + FLOODING


def make_peer(behaviour, address, rng, options):
    """An unconnected peer that fits the behaviour."""
    kind = SourcePeer if behaviour in SOURCE[:3] else Peer
    return kind(address, rng, options.stall, SMALL if behaviour in FLOODING else None, options.context)
