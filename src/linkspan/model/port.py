"""Published ports as they are held: host address and ports, the container's ports, and who may come."""

from __future__ import annotations

from typing import Literal

import msgspec

from linkspan.model.address import IPAddress, IPNetwork

Transport = Literal["tcp", "udp"]

MOST_HELD = 1024
"""Ports of one publication that sockets are kept for, and that can be relayed. Wider ranges are only compared with the
sockets in use."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One published port, or a run of them under consecutive numbers; it belongs to a live sandbox.

    A container that publishes without naming a host address has two, for 0.0.0.0 and for ``::``. The container's
    side is whatever endpoint gives the sandbox its gateway in that family: ``plan.ports`` finds it.
    """

    protocol: Transport
    address: IPAddress
    """Of the host; 0.0.0.0 or ``::`` for all of its family."""
    host_port: int
    """The first one on the host. 0 on networks in gateway mode routed, where only the container's own port opens."""
    port: int
    """The first one in the container."""
    count: int = 1
    """How many ports; the n-th of the host goes to the n-th of the container."""
    limited: bool = False
    """Whether only ``sources`` may come; the host itself always may."""
    sources: tuple[IPNetwork, ...] = ()
    """Networks that may come, both families mixed. A limited publication of a family without any is closed."""

    @property
    def wildcard(self) -> bool:
        """Whether it is published on every address of its family."""
        return self.address.is_unspecified

    @property
    def host_ports(self) -> range:
        """All host ports."""
        return range(self.host_port, self.host_port + self.count)
