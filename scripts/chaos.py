#!/usr/bin/env python3
"""Torments a TCP, TLS or Unix server with badly behaving peers, checks every byte, and judges what it costs the server.

    scripts/chaos.py [OPTIONS] -- target/release/examples/bench_server --listen tcp:127.0.0.1:0 --stats

The server is started here; it must print `listening on tcp:ADDR`, `tls:ADDR` or `unix:PATH` first, and `made=N lost=N alive=N` when its standard input
ends. Needs Linux and nothing but Python's standard library. The exit code is 1 if there are violations, which
are listed last.
"""

import argparse
import asyncio
import collections
import random
import resource
import sys
import time

sys.dont_write_bytecode = True

import chaos_peers as peers  # noqa: E402
from chaos_canary import Canary  # noqa: E402
from chaos_server import Server  # noqa: E402
from chaos_tls import make_context  # noqa: E402

# Seconds in which it must calm down.
CALM = 8
# The shortage of descriptors: connections open before, descriptors left, connections that want in, those that leave.
OLD, ROOM, CROWD, CHURN = 8, 16, 48, 8


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("command", nargs="+", help="the server and its arguments, after --")
    add("--conns", type=int, default=800, help="connections of a storm")
    add("--seed", type=int, default=1, help="the first seed")
    add("--seeds", type=int, default=1, help="number of storms")
    add("--only", help="behaviours, separated by commas")
    add("--tls", choices=["1.2", "1.3"], help="the version that peers speak to a tls server; what both like by default")
    add("--mode", choices=["echo", "source"], default="echo", help="what the server does")
    add("--spread", type=float, default=1.0, help="seconds over which connections begin")
    add("--stall", type=float, default=12.0, help="seconds without progress")
    add("--canary", type=float, default=1.0, help="seconds that a well-behaved client may have to wait")
    add("--settle", type=float, default=1.0, help="seconds until all descriptors are back")
    add("--back", type=float, default=0.5, help="seconds until all are served after a shortage of descriptors")
    add("--spin", type=float, default=0.05, help="share of a core that may be used during a shortage")
    add("--idle", type=float, default=0.02, help="share of a core that may be used after the storm")
    add("--held", type=int, default=10, help="connections of each of three kinds that are open at rest")
    add("--threads", type=int, default=2, help="threads that may be added")
    add("--rss-peak-mb", type=float, default=16.0, help="MiB that may be added during a storm")
    add("--rss-each-kb", type=float, default=320.0, help="KiB that each connection may take whose peer "
        "does not read: the high mark, and what was read in one go before it was seen")
    add("--rss-creep-mb", type=float, help="MiB that may stay from the first tenth of the storms to the last one")
    add("--may-lose", type=float, default=0.0, help="share of connections that may be lost, where faults are injected")
    add("--no-exhaustion", action="store_true", help="leave out the shortage of descriptors")
    add("--no-freeze", action="store_true", help="do not stop the server for a moment in each storm")
    options = parser.parse_args(argv)
    mixture = peers.MIXED if options.mode == "echo" else peers.SOURCE
    known = {behaviour.__name__: behaviour for behaviour in mixture}
    names = options.only.split(",") if options.only else [behaviour.__name__ for behaviour in mixture]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown behaviour {unknown[0]}; there are {', '.join(known)}")
    options.behaviours = [known[name] for name in names]
    return options


class Judge:
    """Collects what is wrong."""

    def __init__(self):
        self.violations = []

    def blame(self, text):
        self.violations.append(text)

    def expect(self, condition, text):
        if not condition:
            self.blame(text)


async def run_peer(peer, behaviour):
    try:
        await peer.connect()
        await behaviour(peer)
    except ConnectionError as err:
        raise peers.Failed("lost", f"{err.strerror}, {peer.progress()}") from None
    finally:
        peer.close()


async def storm(server, options, seed, judge):
    """All behaviours at once; how many connections came to their end as they should."""
    rng = random.Random(seed)
    plan = [options.behaviours[n % len(options.behaviours)] for n in range(options.conns)]
    rng.shuffle(plan)
    lost = []

    async def one(number, behaviour):
        own = random.Random(seed * 1_000_003 + number)
        await asyncio.sleep(own.uniform(0, options.spread))
        try:
            await run_peer(peers.make_peer(behaviour, server.address, own, options), behaviour)
        except peers.Failed as failed:
            text = f"seed {seed}, connection {number}, {behaviour.__name__}: {failed}"
            (lost.append if failed.kind == "lost" else judge.blame)(text)

    tasks = [asyncio.ensure_future(one(*entry)) for entry in enumerate(plan)]
    if not options.no_freeze:
        await asyncio.sleep(options.spread / 2)
        server.freeze(0.1)
    for task in tasks:
        await task
    if len(lost) > options.may_lose * options.conns:
        judge.violations.extend(lost)
    return len(lost)


async def measured_storm(server, options, seed, judge, before):
    server.forget_peak()
    canary = Canary(server.address, options.stall, options.mode == "echo", options.context)
    start = time.monotonic()
    lost = await storm(server, options, seed, judge)
    seconds = time.monotonic() - start
    threads = server.threads()
    rounds, visits, failures = canary.stop()
    settled = await settle(server, options, before)
    growth = server.peak() - before["rss"]
    slowest = max(rounds + visits, default=float("inf"))
    print(f"seed {seed}: {options.conns} connections in {seconds:.1f} s, {lost} lost; canary {len(rounds)} + "
          f"{len(visits)}, slowest {slowest * 1000:.0f} ms, {len(failures)} failures; memory +{growth:.1f} MiB at most, "
          f"threads +{threads - before['threads']}, descriptors back after {settled:.2f} s")
    where = f"seed {seed}: "
    judge.expect(settled <= options.settle, f"{where}{server.fds() - before['fds']} descriptors are not given back")
    judge.expect(growth <= options.rss_peak_mb, f"{where}{growth:.1f} MiB more at the peak of the storm")
    judge.expect(threads <= before["threads"] + options.threads, f"{where}{threads} threads")
    judge.expect(slowest <= options.canary, f"{where}the canary had to wait {slowest:.2f} s")
    allowed = options.may_lose * len(rounds + visits)
    judge.expect(len(failures) <= allowed, f"{where}the canary was failed: {collections.Counter(failures)}")


async def settle(server, options, before):
    """Seconds until the descriptors are back at where they were."""
    start = time.monotonic()
    while server.fds() > before["fds"]:
        if time.monotonic() - start > options.settle:
            return float("inf")
        await asyncio.sleep(0.02)
    return time.monotonic() - start


async def share_of_core(server, seconds):
    start, used = time.monotonic(), server.cpu()
    await asyncio.sleep(seconds)
    return (server.cpu() - used) / (time.monotonic() - start)


async def warm_up(server, options):
    """Lets the server start all it needs, then says what it uses at rest."""
    for number in range(4):
        rng = random.Random(-number)
        behaviour = peers.echo if options.mode == "echo" else peers.read_fast
        for _ in range(20):
            try:
                await run_peer(peers.make_peer(behaviour, server.address, rng, options), behaviour)
                break
            except peers.Failed:
                if not options.may_lose:
                    raise
    await asyncio.sleep(0.3)
    return {"fds": server.fds(), "threads": server.threads(), "rss": server.rss()}


async def exchange(peer, count=100):
    await peer.send(count)
    await peer.collect(peer.sent)


async def open_peer(server, options, number):
    peer = peers.Peer(server.address, random.Random(number), options.stall, context=options.context)
    await peer.connect()
    return peer


async def hold(server, options):
    """Connections at rest: silent, full, and full with the end of file behind it."""
    kinds = [peers.silent, peers.stop_and_go, peers.never_read_then_drain] * options.held
    held = [peers.make_peer(kind, server.address, random.Random(number), options) for number, kind in enumerate(kinds)]

    async def fill(number, peer):
        await peer.connect()
        await peer.send(peers.FLOOD if number % 3 else 100, peers.BLOCKED)
        if number % 3 == 2:
            peer.end()

    await asyncio.gather(*(fill(*entry) for entry in enumerate(held)), return_exceptions=bool(options.may_lose))
    await asyncio.sleep(0.3)
    return held


async def rest(server, options, judge, before):
    """Connections that need nothing cost nothing but their buffers."""
    start = server.rss()
    held = await hold(server, options)
    for _ in range(CALM):
        share = await share_of_core(server, 1)
        if share <= options.idle:
            break
    full = 2 * options.held
    growth = (server.rss() - start) * 1024 / full
    for peer in held:
        peer.reset()
    print(f"rest: {share * 100:.1f} % of a core, {growth:.0f} KiB for each of {full} full connections")
    judge.expect(share <= options.idle, f"{share * 100:.1f} % of a core are used at rest")
    judge.expect(growth <= options.rss_each_kb, f"{growth:.0f} KiB of memory for each full connection")
    judge.expect(await settle(server, options, before) <= options.settle, "descriptors are not given back after rest")


async def exhaustion(server, options, judge, episode):
    """More clients than descriptors: nobody spins, the old ones are served, and afterwards all are."""
    where = f"shortage {episode}: "
    reported = len(server.reports())
    old = [await open_peer(server, options, number) for number in range(OLD)]
    for peer in old:
        await exchange(peer)
    limits = server.limit_fds(server.first_free_fd() + ROOM)
    try:
        crowd = [await open_peer(server, options, OLD + number) for number in range(CROWD)]
        for peer in crowd:
            await peer.send(100)
        await asyncio.sleep(0.3)
        for peer in old:
            await exchange(peer)
        share = await share_of_core(server, 2)
        for peer in old:
            await exchange(peer)
        # Whoever leaves makes room for one more: the shortage goes on.
        for peer in crowd[:CHURN]:
            await peer.finish()
            peer.close()
            await asyncio.sleep(0.1)
        reports = server.reports()[reported:]
    finally:
        server.restore_fds(limits)
    start = time.monotonic()
    for peer in crowd[CHURN:]:
        await peer.collect(100)
    back = time.monotonic() - start
    for peer in old + crowd[CHURN:]:
        await peer.finish()
        peer.close()
    print(f"{where}{share * 100:.1f} % of a core, all served {back:.2f} s after its end, reported {len(reports)} times")
    judge.expect(share <= options.spin, f"{where}{share * 100:.1f} % of a core are used")
    judge.expect(back <= options.back, f"{where}service is back after {back:.2f} s")
    judge.expect(len(reports) == 1, f"{where}reported {len(reports)} times: {reports[:3]}")


def judge_end(server, options, judge):
    counters, code = server.stop(options.stall)
    print(f"end: {counters}, exit code {code}, {len(server.reports())} lines on standard error")
    judge.expect(code == 0, f"exit code {code}: {server.reports()[-3:]}")
    made, lost, alive = (counters.get(name) for name in ("made", "lost", "alive"))
    judge.expect(made and made == lost, f"made={made} lost={lost}: not every connection was lost once")
    judge.expect(alive == 0, f"alive={alive} at the end")


async def run(server, options, judge):
    before = await warm_up(server, options)
    ends = []
    for seed in range(options.seed, options.seed + options.seeds):
        await measured_storm(server, options, seed, judge, before)
        ends.append(server.rss())
    await rest(server, options, judge, before)
    print(f"memory: {before['rss']:.1f} MiB before, {ends[0]:.1f} … {ends[-1]:.1f} MiB after the storms")
    if options.rss_creep_mb is not None:
        # The first storms find out how much is needed at a time, which the allocator keeps.
        early = ends[len(ends) // 10]
        print(f"memory: {ends[-1] - early:+.1f} MiB since the first tenth of the storms")
        judge.expect(ends[-1] - early <= options.rss_creep_mb, f"memory grows: {early:.1f} … {ends[-1]:.1f} MiB")
    # Over TLS the crowd would have to wait for its handshakes, which a shortage does not let begin.
    if not options.no_exhaustion and options.mode == "echo" and not options.context:
        for episode in (1, 2):
            await exhaustion(server, options, judge, episode)
        judge.expect(await settle(server, options, before) <= options.settle,
                     f"{server.fds() - before['fds']} descriptors are not given back after the shortage")


def main():
    options = parse(sys.argv[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = Server(options.command)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    judge = Judge()
    options.context = make_context(options.tls) if server.is_over_tls else None
    try:
        asyncio.run(run(server, options, judge))
    except peers.Failed as failed:
        judge.blame(f"the server does not serve: {failed}")
    except (FileNotFoundError, ProcessLookupError):
        judge.blame(f"the server has died: {server.reports()[-3:]}")
    judge_end(server, options, judge)
    for violation in judge.violations[:50]:
        print(f"violation: {violation}")
    print(f"{len(judge.violations)} violations")
    sys.exit(bool(judge.violations))


if __name__ == "__main__":
    main()
