"""What the daemon told its keeper: enough to tell the next one the same. Owns duplicates of all descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from linkspan.dns.names import Client, Host, Zone
from linkspan.keeper import protocol
from linkspan.keeper.face import Relay
from linkspan.keeper.holdings import close_all

Told = tuple[protocol.Order, tuple[int, ...]]
"""An order with its descriptors."""


class HeldSockets(msgspec.Struct, frozen=True):
    """What is held under one key."""

    sockets: tuple[int, ...]
    relay: Relay | None = None


class ServedSandbox(msgspec.Struct, frozen=True):
    """A sandbox that is answered: its UDP and TCP sockets and its namespace."""

    client: Client
    descriptors: tuple[int, ...]


class Memory:
    """Methods that replace or remove something return descriptors that the caller closes."""

    def __init__(self) -> None:
        self.held: dict[str, HeldSockets] = {}
        self.served: dict[str, ServedSandbox] = {}
        self.zones: dict[str, tuple[str, dict[str, Host]]] = {}
        """Name and hosts by network id."""

    def close(self) -> None:
        """Forgets everything."""
        for held in self.held.values():
            close_all(held.sockets)
        for served in self.served.values():
            close_all(served.descriptors)
        self.held.clear()
        self.served.clear()
        self.zones.clear()

    def put_zone(self, zone: Zone) -> None:
        self.zones[zone.id] = (zone.name, {host.id: host for host in zone.hosts})

    def drop_zone(self, network: str) -> None:
        self.zones.pop(network, None)

    def put_host(self, network: str, host: Host) -> None:
        self.zones.setdefault(network, ("", {}))[1][host.id] = host

    def drop_host(self, network: str, endpoint: str) -> None:
        if network in self.zones:
            self.zones[network][1].pop(endpoint, None)

    def put_client(self, client: Client) -> None:
        if client.id in self.served:
            self.served[client.id] = ServedSandbox(client, self.served[client.id].descriptors)

    def serve(self, client: Client, descriptors: tuple[int, ...]) -> tuple[int, ...]:
        gone = self.stop_serving(client.id)
        self.served[client.id] = ServedSandbox(client, descriptors)
        return gone

    def stop_serving(self, sandbox: str) -> tuple[int, ...]:
        served = self.served.pop(sandbox, None)
        return served.descriptors if served else ()

    def hold(self, key: str, sockets: tuple[int, ...], relay: Relay | None) -> tuple[int, ...]:
        gone = self.release(key)
        self.held[key] = HeldSockets(sockets, relay)
        return gone

    def release(self, key: str) -> tuple[int, ...]:
        held = self.held.pop(key, None)
        return held.sockets if held else ()

    def adopt(self, inventory: protocol.Inventory, descriptors: Iterable[int]) -> None:
        """Takes over all that a keeper has, into an empty memory. Parts in an unknown form are left at their least."""
        coming = iter(descriptors)
        for held in inventory.held:
            sockets = tuple(next(coming) for _ in range(held.sockets))
            self.hold(held.key, sockets, protocol.read_part(held.relay, Relay))
        for served in inventory.served:
            three = tuple(next(coming) for _ in range(protocol.SERVED_DESCRIPTORS))
            client = protocol.read_part(served.client, Client) or Client(id=served.id, name=served.id[:12])
            self.serve(client, three)
        for raw in inventory.zones:
            zone = protocol.read_part(raw, Zone)
            if zone is not None:
                self.put_zone(zone)

    def everything(self) -> Iterator[Told]:
        """The orders that bring an empty keeper to this: names before those who ask for them."""
        for network, (name, hosts) in self.zones.items():
            yield protocol.PutZone(zone=Zone(id=network, name=name, hosts=tuple(hosts.values()))), ()
        for served in self.served.values():
            yield protocol.Serve(client=served.client), served.descriptors
        for key, held in self.held.items():
            yield protocol.Hold(key=key, relay=held.relay), held.sockets

    def beyond(self, inventory: protocol.Inventory) -> Iterator[Told]:
        """The orders that take away what a keeper has and we do not; request 0 is nobody's."""
        for served in inventory.served:
            if served.id not in self.served:
                yield protocol.StopServing(sandbox=served.id, request=0), ()
        keys = tuple(held.key for held in inventory.held if held.key not in self.held)
        if keys:
            yield protocol.Release(keys=keys, request=0), ()

    def __bool__(self) -> bool:
        return bool(self.held or self.served or self.zones)
