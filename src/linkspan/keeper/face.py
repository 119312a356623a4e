"""What the engine sees of the keeper.

The daemon's end keeps duplicates of all descriptors and everything that it was told, so a keeper that dies is
started again and told anew; and a daemon that dies asks the keeper on its return. All descriptors that are handed in
are duplicated: the caller keeps and closes its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from linkspan.dns.names import Client, Figures, Host, Zone
from linkspan.model.address import IPNetwork


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """Carries what arrives at held sockets to one address: ``[::1]:port``, and IPv6 to a container without it."""

    target: str
    """Address of the container."""
    port: int
    """Of the container: the socket that was held first goes to it, the n-th to the n-th."""
    limited: bool = False
    sources: tuple[IPNetwork, ...] = ()
    """As in ``Publication``: loopback clients may always come."""


class Keeper(Protocol):
    """Raises ``linkspan.errors.KeeperFailure`` when there is no keeper and none can be started."""

    async def put_zone(self, zone: Zone) -> None:
        """Makes the network's names exactly these: at the start, and when a network is renamed or comes."""
        ...

    async def drop_zone(self, network_id: str) -> None: ...

    async def put_hosts(self, hosts: Sequence[tuple[str, Host]]) -> None:
        """Adds hosts to zones, or replaces those with the same id: (network id, host)."""
        ...

    async def drop_hosts(self, hosts: Sequence[tuple[str, str]]) -> None:
        """Takes hosts out of zones: (network id, endpoint id). Absence is success."""
        ...

    async def put_client(self, client: Client) -> None:
        """Changes what a sandbox sees; its sockets were handed in with ``serve``."""
        ...

    async def serve(self, client: Client, udp: int, tcp: int, namespace: int) -> None:
        """Answers on these two sockets (bound inside; TCP need not listen yet). ``namespace``: for queries to leave."""
        ...

    async def stop_serving(self, sandbox_id: str) -> None:
        """Returns when the sockets and the namespace are closed: a sandbox goes only after that."""
        ...

    async def hold(self, key: str, sockets: Sequence[int], relay: Relay | None = None) -> None:
        """Keeps bound sockets (host ports) under a key; with ``relay``, listens on them and carries what comes."""
        ...

    async def release(self, keys: Sequence[str]) -> None:
        """Closes what is held under these keys, relays and their connections too. Absence is success."""
        ...

    def held(self) -> Mapping[str, tuple[int, ...]]:
        """Descriptors by key, as the daemon holds them: after a restart, those that the keeper had."""
        ...

    def relay(self, key: str) -> Relay | None:
        """What is carried from the sockets under a key; None also when nothing is held under it."""
        ...

    def served(self) -> frozenset[str]:
        """Ids of sandboxes that are being answered."""
        ...

    def zones(self) -> frozenset[str]:
        """Ids of networks with a zone: after a restart, those that the keeper knew."""
        ...

    async def figures(self) -> tuple[Figures, ...]: ...

    async def close(self, *, end: bool) -> None:
        """Lets go of the keeper; with ``end`` it ends too (nothing runs any more)."""
        ...
