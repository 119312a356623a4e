"""Throughput and round trips of TCP on every way that container traffic takes, against the bare kernel's.

The sites, all on this machine in namespaces of their own, take turns in short runs, so that a noisy moment hits all:

* ``linkspan``: a network of ours, made by the engine, with as many other containers as ``--present`` says, each of
  which publishes a port;
* ``bare``: two veth pairs in a bridge, no rule anywhere, the kernel's own GSO sizes. Ratios are against this one;
* ``bare, BIG TCP``: the same with our GSO sizes;
* ``bare, one dnat``: the same as the last with the least of nftables rules that publish one port and masquerade.
  That is what translating and tracking connections cost whoever does it. It has no filter.

By a published port the bare sites are asked at the container's own address. What leaves goes by a cable with ordinary
GSO sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from engine_half import Daemon, in_own_namespace, opened
from figures import median
from hosts import CONTAINERS, GATEWAY, HOST, NEIGHBOUR, TRANSLATING, BareHost, Place, lay_cable
from peer import PORT

from linkspan.kernel.probe import BIG
from linkspan.model.container import Container, PortBinding
from linkspan.model.network import NetworkRequest

PUBLISHED = 8080
PAUSE = 1.5
"""Seconds in which new links come up and announcements end."""
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Way(msgspec.Struct, frozen=True):
    """Who asks whom, at which address and port."""

    asking: Place
    address: str
    port: int = PORT


Ways = dict[str, dict[str, Way]]
"""By what is measured, then by site."""

INSIDE, TO_HOST, FROM_LAN, FROM_HOST, OUT = (
    "container to container",
    "container to the host",
    "LAN to a published port",
    "the host to a published port",
    "container to the LAN",
)


def bare_ways(site: BareHost, version: int, *, translating: bool) -> dict[str, Way]:
    """The ways of a host without us."""
    first, second = site.containers
    ways = {
        INSIDE: Way(second, CONTAINERS[0][version]),
        TO_HOST: Way(first, GATEWAY[version]),
        FROM_LAN: Way(site.neighbour, CONTAINERS[0][version]),
        FROM_HOST: Way(site.host, CONTAINERS[0][version]),
        OUT: Way(first, NEIGHBOUR[version]),
    }
    if translating:
        ways[FROM_LAN] = Way(site.neighbour, HOST[version], PUBLISHED)
        ways[FROM_HOST] = Way(site.host, LOOPBACK[4] if version == 4 else HOST[6], PUBLISHED)
    return ways


class OurSite:
    """The engine's host: this process's own namespace, with four containers of ours and a neighbour."""

    def __init__(self, daemon: Daemon, members: Sequence[Container], stack: ExitStack) -> None:
        self._daemon = daemon
        self._members = members
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, here)
        self.host, self.neighbour = Place(here), Place()
        stack.callback(self.host.close)
        stack.callback(self.neighbour.close)
        lay_cable(self.host, self.neighbour)
        self.containers = []
        for each in members:
            namespace = daemon.namespace(each)
            stack.callback(os.close, namespace)
            place = Place(namespace)
            stack.callback(place.close)
            self.containers.append(place)

    def address(self, number: int, version: int) -> str:
        """Of one of the containers."""
        sandbox = self._daemon.intent.sandbox_of(self._members[number].id)
        (endpoint,) = self._daemon.intent.endpoints_in(sandbox.id if sandbox else "")
        return str(endpoint.ipv4 if version == 4 else endpoint.ipv6)

    def ways(self, version: int) -> dict[str, Way]:
        """The ways of the first two containers."""
        (network,) = {item.network for item in self._members[0].spec.endpoints}
        pools = self._daemon.intent.networks[network].pools
        gateway = next(str(pool.gateway) for pool in pools if pool.subnet.version == version)
        return {
            INSIDE: Way(self.containers[1], self.address(0, version)),
            TO_HOST: Way(self.containers[0], gateway),
            FROM_LAN: Way(self.neighbour, HOST[version], PUBLISHED),
            FROM_HOST: Way(self.host, LOOPBACK[4] if version == 4 else HOST[6], PUBLISHED),
            OUT: Way(self.containers[0], NEIGHBOUR[version]),
        }

    def special(self) -> Iterator[tuple[str, dict[str, Way]]]:
        """Ways of ours alone, each against another one of ours."""
        for version in (4, 6):
            guarded, free = (
                Way(self.containers[1], self.address(0, version)),
                Way(self.containers[3], self.address(2, version)),
            )
            yield f"IPv{version}: anti-spoofing", {"off": free, "on": guarded}
        relayed = Way(self.host, LOOPBACK[6], PUBLISHED)
        translated = Way(self.host, HOST[6], PUBLISHED)
        yield "IPv6: the relay of [::1]", {"the host's address": translated, "[::1]": relayed}


def compare(what: str, ways: dict[str, Way], rounds: int, seconds: float) -> None:
    """Lets the sites take turns and prints medians, and their ratios to the first one's."""
    flows: dict[str, list[float]] = {site: [] for site in ways}
    trips: dict[str, list[float]] = {site: [] for site in ways}
    order = list(ways)
    for turn in range(rounds + 1):
        start = turn % len(order)
        for site in order[start:] + order[:start]:
            way = ways[site]
            flow = way.asking.peer.send(way.address, way.port, seconds if turn else 0.1)
            trip = way.asking.peer.ask(way.address, way.port, seconds / 2 if turn else 0.1)
            if turn:
                flows[site].append(flow)
                trips[site].append(trip)
    print(what)
    first = order[0]
    for site in order:
        flow, trip = median(flows[site]), median(trips[site])
        print(
            f"  {site:<20} {flow * 8 / 1e9:8.2f} Gbit/s {flow / median(flows[first]):6.2f}x"
            f" {trip:10,.0f} round trips/s {trip / median(trips[first]):6.2f}x"
        )


def others(number: int) -> tuple[PortBinding, ...]:
    """Each of those who are just there publishes a port."""
    return (PortBinding(port=80, host_port=str(20000 + number)),)


async def run(folder: Path, present: int, rounds: int, seconds: float, only: str) -> None:
    async with opened(folder) as daemon:
        created = await daemon.networks.create(NetworkRequest(name="bench", enable_ipv6=True))
        free = {"linkspan.anti_spoofing": "false"}
        members = [
            daemon.define(1, created.id, ports=(PortBinding(port=PORT, host_port=str(PUBLISHED)),)),
            daemon.define(2, created.id),
            daemon.define(3, created.id, driver_options=free),
            daemon.define(4, created.id, driver_options=free),
        ]
        try:
            for each in members:
                await daemon.sandboxes.enter(each)
            await daemon.populate(created.id, range(100, 100 + present), ports=others)
            with ExitStack() as stack:
                ours = OurSite(daemon, members, stack)
                sites = {
                    "bare": BareHost(),
                    "bare, BIG TCP": BareHost(BIG),
                    "bare, one dnat": BareHost(BIG, TRANSLATING),
                }
                for site in sites.values():
                    stack.callback(site.close)
                await asyncio.sleep(PAUSE + present / 200)
                for what, ways in comparisons(ours, sites):
                    if only in what:
                        await asyncio.to_thread(compare, what, ways, rounds, seconds)
        finally:
            await daemon.empty()
            await daemon.networks.remove(created.id)


def comparisons(ours: OurSite, sites: dict[str, BareHost]) -> Iterator[tuple[str, dict[str, Way]]]:
    """Everything that is measured, and on which sites."""
    for version in (4, 6):
        ways = {name: bare_ways(site, version, translating=name.endswith("dnat")) for name, site in sites.items()}
        ways["linkspan"] = ours.ways(version)
        for what in (INSIDE, TO_HOST, FROM_LAN, FROM_HOST, OUT):
            yield f"IPv{version}: {what}", {site: each[what] for site, each in ways.items()}
    yield from ours.special()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--present", type=int, default=500, help="other containers on our network")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    parser.add_argument("--only", default="", help="what is measured must have this in its name")
    options = parser.parse_args()
    in_own_namespace(lambda folder: run(folder, options.present, options.rounds, options.seconds, options.only))


if __name__ == "__main__":
    main()
