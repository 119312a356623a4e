"""A keeper on dictionaries, host sockets that are numbers, and a kernel's depths that do nothing: for engine tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from linkspan.dns.names import Client, Figures, Host, Zone
from linkspan.engine.services import Depths, Flows
from linkspan.keeper.face import Relay
from linkspan.kernel.reservation import DynamicPorts


class FakeKeeper:
    """Remembers what it was told. It lives on in a house that is reopened, as the real one does."""

    def __init__(self) -> None:
        self.zones: dict[str, dict[str, Host]] = {}
        self.zone_names: dict[str, str] = {}
        self.clients: dict[str, Client] = {}
        self.sockets: dict[str, tuple[int, ...]] = {}
        self.relays: dict[str, Relay | None] = {}

    async def put_zone(self, zone: Zone) -> None:
        self.zones[zone.id] = {host.id: host for host in zone.hosts}
        self.zone_names[zone.id] = zone.name

    async def drop_zone(self, network_id: str) -> None:
        self.zones.pop(network_id, None)

    async def put_hosts(self, hosts: Sequence[tuple[str, Host]]) -> None:
        for network_id, host in hosts:
            self.zones[network_id][host.id] = host

    async def drop_hosts(self, hosts: Sequence[tuple[str, str]]) -> None:
        for network_id, host_id in hosts:
            self.zones.get(network_id, {}).pop(host_id, None)

    async def put_client(self, client: Client) -> None:
        assert client.id in self.clients
        self.clients[client.id] = client

    async def serve(self, client: Client, udp: int, tcp: int, namespace: int) -> None:
        self.clients[client.id] = client

    async def stop_serving(self, sandbox_id: str) -> None:
        self.clients.pop(sandbox_id, None)

    async def hold(self, key: str, sockets: Sequence[int], relay: Relay | None = None) -> None:
        self.sockets[key] = tuple(sockets)
        self.relays[key] = relay

    async def release(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.sockets.pop(key, None)
            self.relays.pop(key, None)

    def held(self) -> Mapping[str, tuple[int, ...]]:
        return dict(self.sockets)

    def served(self) -> frozenset[str]:
        return frozenset(self.clients)

    async def figures(self) -> tuple[Figures, ...]:
        return ()

    async def close(self, *, end: bool) -> None:
        pass


class FakeSockets:
    """Every port is free unless it is in ``taken``."""

    def __init__(self) -> None:
        self.taken: set[tuple[str, int]] = set()

    def bind(self, protocol: str, address: IPv4Address | IPv6Address, port: int, *, listening: bool) -> int:
        if (protocol, port) in self.taken:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def close(self, descriptors: Iterable[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def has_address(self, address: IPv4Address | IPv6Address) -> bool:
        return True

    def dynamic_ports(self) -> DynamicPorts:
        return DynamicPorts(first=32768, last=60999)


async def _open_resolver(namespace: str, port: int) -> tuple[int, int, int]:
    udp, tcp, inside = (os.open("/dev/null", os.O_RDONLY) for _ in range(3))
    return udp, tcp, inside


async def _announce(namespace: str, interface: str, addresses: Sequence[str], mac: str) -> None:
    pass


async def _purge(flows: Sequence[Flows]) -> None:
    pass


NO_DEPTHS = Depths(_open_resolver, _announce, _purge)
