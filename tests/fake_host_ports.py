"""A host's ports in memory, with the face of ``kernel.reservation`` and ``kernel.holders``, and a keeper of sockets.

What it takes and refuses is compared with the kernel in tests/kernel/test_port_reservation.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from linkspan.kernel.holders import Holder
from linkspan.kernel.reservation import DynamicPorts, Transport

Address = IPv4Address | IPv6Address
Bound = tuple[Transport, Address, int]


class FakeHost:
    """``most`` is the limit of open files."""

    def __init__(self, *, dynamic: DynamicPorts | None = None, most: int = 100_000) -> None:
        self.dynamic = dynamic or DynamicPorts(first=32768, last=60999)
        self.addresses = {"127.0.0.1", "192.0.2.10", "::1", "2001:db8::10"}
        self.programs: dict[Bound, Holder] = {}
        self.open: dict[int, Bound] = {}
        self.listening: set[Bound] = set()
        self.kept: dict[str, tuple[int, ...]] = {}
        """What the keeper holds."""
        self._most = most
        self._last = 1000

    def bind(self, protocol: Transport, address: Address, port: int, *, listening: bool) -> int:
        if len(self.open) >= self._most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if any(meets((protocol, address, port), item) for item in (*self.open.values(), *self.programs)):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        if listening:
            self.listening.add((protocol, address, port))
        return self._opened((protocol, address, port))

    def close(self, descriptors: Iterable[int]) -> None:
        for descriptor in descriptors:
            self.listening.discard(self.open.pop(descriptor))

    def has_address(self, address: Address) -> bool:
        return str(address) in self.addresses

    def dynamic_ports(self) -> DynamicPorts:
        return self.dynamic

    def in_use(self, protocol: Transport, address: Address, first: int, last: int) -> Sequence[int]:
        taken = (*self.open.values(), *self.programs)
        return sorted(
            {
                port
                for kind, at, port in taken
                if first <= port <= last and meets((protocol, address, port), (kind, at, port))
            }
        )

    def holders(self, protocol: Transport, address: Address, port: int) -> Sequence[Holder]:
        return [holder for item, holder in self.programs.items() if meets((protocol, address, port), item)]

    def program(self, name: str, protocol: Transport, address: str, port: int, pid: int = 123) -> None:
        """A program of the host serves there."""
        place = IPv6Address(address) if ":" in address else IPv4Address(address)
        self.programs[protocol, place, port] = Holder(
            address=address, port=port, state="listening", pid=pid, program=name
        )

    def keep(self, sockets: dict[str, tuple[int, ...]]) -> None:
        """The keeper duplicates them."""
        for key, descriptors in sockets.items():
            self.kept[key] = tuple(self._opened(self.open[item]) for item in descriptors)

    def let_go(self, keys: Iterable[str]) -> None:
        """The keeper closes its own."""
        for key in keys:
            self.close(self.kept.pop(key, ()))

    def _opened(self, bound: Bound) -> int:
        self._last += 1
        self.open[self._last] = bound
        return self._last


def meets(one: Bound, other: Bound) -> bool:
    """Whether the kernel refuses the second of the two binds."""
    return (
        one[0] == other[0]
        and one[2] == other[2]
        and one[1].version == other[1].version
        and (one[1] == other[1] or one[1].is_unspecified or other[1].is_unspecified)
    )
