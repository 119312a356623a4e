"""A keeper on dictionaries, and a kernel's depths that do nothing: for engine tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from linkspan.dns.names import Client, Figures, Host, Zone
from linkspan.engine.depths import Depths, Flows
from linkspan.errors import KeeperFailure
from linkspan.keeper.face import Relay


class FakeKeeper:
    """Remembers what it was told. It lives on in a house that is reopened, as the real one does.

    ``fail_at`` makes one call fail; while it is ``down`` all fail that the real one refuses without a keeper.
    """

    def __init__(self) -> None:
        self.down = False
        self._calls_left: int | None = None
        self.hosts: dict[str, dict[str, Host]] = {}
        self.zone_names: dict[str, str] = {}
        self.clients: dict[str, Client] = {}
        self.sockets: dict[str, tuple[int, ...]] = {}
        self.relays: dict[str, Relay | None] = {}

    def fail_at(self, call: int | None) -> None:
        """This call from now on fails, the first being 0, and none after it; None: no call."""
        self._calls_left = call

    async def _called(self) -> None:
        """Others have their turn here. KeeperFailure."""
        await asyncio.sleep(0)
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left < 0:
                self._calls_left = None
                raise KeeperFailure("the keeper does not answer")

    async def _asked(self) -> None:
        """The same for what a keeper must be there for. KeeperFailure."""
        if self.down:
            raise KeeperFailure("the keeper does not run")
        await self._called()

    async def put_zone(self, zone: Zone) -> None:
        await self._asked()
        self.hosts[zone.id] = {host.id: host for host in zone.hosts}
        self.zone_names[zone.id] = zone.name

    async def drop_zone(self, network_id: str) -> None:
        self.hosts.pop(network_id, None)
        self.zone_names.pop(network_id, None)

    async def put_hosts(self, hosts: Sequence[tuple[str, Host]]) -> None:
        await self._asked()
        for network_id, host in hosts:
            self.hosts[network_id][host.id] = host

    async def drop_hosts(self, hosts: Sequence[tuple[str, str]]) -> None:
        for network_id, host_id in hosts:
            self.hosts.get(network_id, {}).pop(host_id, None)

    async def put_client(self, client: Client) -> None:
        await self._asked()
        assert client.id in self.clients
        self.clients[client.id] = client

    async def serve(self, client: Client, udp: int, tcp: int, namespace: int) -> None:
        await self._asked()
        self.clients[client.id] = client

    async def stop_serving(self, sandbox_id: str) -> None:
        self.clients.pop(sandbox_id, None)
        await self._called()

    async def hold(self, key: str, sockets: Sequence[int], relay: Relay | None = None) -> None:
        await self._asked()
        self.sockets[key] = tuple(sockets)
        self.relays[key] = relay

    async def release(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.sockets.pop(key, None)
            self.relays.pop(key, None)
        await self._called()

    def held(self) -> Mapping[str, tuple[int, ...]]:
        return dict(self.sockets)

    def relay(self, key: str) -> Relay | None:
        return self.relays.get(key)

    def served(self) -> frozenset[str]:
        return frozenset(self.clients)

    def zones(self) -> frozenset[str]:
        return frozenset(self.hosts)

    async def figures(self) -> tuple[Figures, ...]:
        return ()

    async def close(self, *, end: bool) -> None:
        pass


async def _open_resolver(namespace: str, port: int) -> tuple[int, int, int]:
    udp, tcp, inside = (os.open("/dev/null", os.O_RDONLY) for _ in range(3))
    return udp, tcp, inside


async def _announce(namespace: str, interface: str, addresses: Sequence[str], mac: str) -> None:
    pass


async def _purge(flows: Sequence[Flows]) -> None:
    pass


NO_DEPTHS = Depths(_open_resolver, _announce, _purge)
