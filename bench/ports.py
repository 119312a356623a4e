"""Published ports: what one adds to an attach, with 1 and with 5,000 present, and what a range of 10,000 costs.

Attaches with and without a published port take turns, so that a noisy moment hits both. A port is published on all
addresses of both families, as ``-p 8080:80`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path

from engine_half import Daemon, in_own_namespace, opened
from figures import line, median

from linkspan.model.container import PortBinding
from linkspan.model.network import NetworkRequest

EACH = 100
"""Ports of one container among those that are present."""
RANGE = range(40000, 50000)
FIRST_PRESENT, FIRST_NEW = 10001, 30000


def fixed(number: int) -> tuple[PortBinding, ...]:
    """``-p N:80``."""
    return (PortBinding(port=80, host_port=str(FIRST_NEW + number)),)


def chosen(number: int) -> tuple[PortBinding, ...]:
    """``-p 80``: any free one of the host's."""
    return (PortBinding(port=80),)


def odd(number: int) -> tuple[PortBinding, ...]:
    """As many ports under the same numbers as one container of those present has; no two are neighbours."""
    first = FIRST_PRESENT + 2 * EACH * number
    return tuple(PortBinding(port=port, host_port=str(port)) for port in range(first, first + 2 * EACH, 2))


async def timed(story: Awaitable[object]) -> float:
    """Seconds until it is done."""
    before = time.perf_counter()
    await story
    return time.perf_counter() - before


async def in_turns(daemon: Daemon, network: str, first: int, rounds: int) -> None:
    """Attaches and detaches without a port, with one and with a random one, one after another; prints the figures."""
    kinds = {"no port": lambda _: (), "one port": fixed, "a random port": chosen}
    came: dict[str, list[float]] = {kind: [] for kind in kinds}
    went: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        members = [
            (kind, daemon.define(first + turn * len(kinds) + place, network, ports=ports(turn)))
            for place, (kind, ports) in enumerate(kinds.items())
        ]
        start = turn % len(members)
        members = members[start:] + members[:start]
        await asyncio.sleep(0.1)  # lets the spare pool fill, as between real starts
        for kind, container in members:
            seconds = await timed(daemon.sandboxes.enter(container))
            if turn:
                came[kind].append(seconds)
        for kind, container in members:
            seconds = await timed(daemon.sandboxes.leave(container.id))
            if turn:
                went[kind].append(seconds)
        daemon.intent.commit(drop=[container for _, container in members])
    for verb, samples in (("attach", came), ("detach", went)):
        print(line(f"  {verb}, no port", samples["no port"]))
        for kind in ("one port", "a random port"):
            print(line(f"  {verb}, {kind}", samples[kind]), added(samples[kind], samples["no port"]))


def added(with_it: Sequence[float], without: Sequence[float]) -> str:
    """The median of the differences of neighbours, and the ratio of medians."""
    differences = [one - other for one, other in zip(with_it, without, strict=True)]
    return f" {median(differences) * 1e3:+.2f} ms, {median(with_it) / median(without):.2f}x"


async def wide_range(daemon: Daemon, network: str, rounds: int) -> None:
    """Publishes and takes back 10,000 ports under the same numbers."""
    bindings = tuple(PortBinding(port=port, host_port=str(port)) for port in RANGE)
    came, went = [], []
    counts, processes = set(), set()
    for turn in range(rounds):
        container = daemon.define(900_000 + turn, network, ports=bindings)
        before = children(daemon)
        came.append(await timed(daemon.sandboxes.enter(container)))
        counts.add(tuple(elements(name) for name in ("anyrange4", "anyrange6", "anyport4")))
        processes.add(children(daemon) - before)
        went.append(await timed(daemon.sandboxes.leave(container.id)))
        daemon.intent.commit(drop=[container])
    print(line(f"a range of {len(RANGE):,} ports: attach", came))
    print(line(f"a range of {len(RANGE):,} ports: detach", went))
    single = " or ".join(str(found[2]) for found in counts)
    ranges = " or ".join(f"{found[0]} for IPv4, {found[1]} for IPv6" for found in counts)
    print(f"  elements of ranges: {ranges}; of single ports: {single}; new processes: {max(processes)}")


def elements(name: str) -> int:
    """How many elements the kernel has in one of our maps."""
    words = ["nft", "-j", "list", "map", "inet", "linkspan", name]
    told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return sum(len(item["map"].get("elem", ())) for item in told["nftables"] if "map" in item)


def children(daemon: Daemon) -> int:
    """Processes that the daemon and its keeper have started and that live (proc(5): /proc/PID/task/TID/children)."""
    tasks = [task for pid in ("self", str(daemon.keeper.pid)) for task in Path("/proc", pid, "task").iterdir()]
    return sum(len((task / "children").read_text().split()) for task in tasks)


async def run(folder: Path, present: int, rounds: int) -> None:
    async with opened(folder) as daemon:
        created = await daemon.networks.create(NetworkRequest(name="bench", enable_ipv6=True))
        one = daemon.define(1, created.id, ports=(PortBinding(port=80, host_port="8080"),))
        await daemon.sandboxes.enter(one)
        print("1 port present")
        await in_turns(daemon, created.id, 10_000, rounds)
        await wide_range(daemon, created.id, min(rounds, 10))
        took = await timed(daemon.populate(created.id, range(100, 100 + present // EACH), ports=lambda n: odd(n - 100)))
        print(f"{present + 1:,} ports present ({elements('anyport4'):,} elements for IPv4; published in {took:.2f} s)")
        await in_turns(daemon, created.id, 20_000, rounds)
        await wide_range(daemon, created.id, min(rounds, 10))
        took = await timed(daemon.empty())
        print(f"all leave in {took:.2f} s; {elements('anyport4')} elements stay")
        await daemon.networks.remove(created.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--present", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    in_own_namespace(lambda folder: run(folder, options.present, options.rounds))


if __name__ == "__main__":
    main()
