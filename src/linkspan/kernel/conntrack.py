"""Forgets tracked connections that would go on to the wrong place after a port was published or unpublished.

The nat rules are asked once, for the first packet of a connection. A UDP client that never pauses keeps its
connection alive, and with it the old place: the host itself from before the port was published, or a container that is
gone (moby#8795, moby#44742). So connections are purged by what the client dialled, which is the *original* tuple with
the host's port: by the container's port, the stale ones stay and strangers on that port lose theirs (moby#53384).
A port that is published on all addresses concerns the host's own addresses only: what merely passes through the host
to the same port elsewhere (a container that asks 8.8.8.8:53) is left alone.

UDP needs it. TCP connections that go on after their port was unpublished may be cut too: they stall, and end by
themselves. Docker and the CNI plugin portmap purge UDP alone. Blocking; for the kernel thread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from linkspan.kernel.netlink import Netlink
from linkspan.kernel.wire import conntrack, route
from linkspan.kernel.wire.conntrack import Flow
from linkspan.kernel.wire.message import AF_INET, AF_INET6

NETLINK_NETFILTER = 12
"""linux/netlink.h."""

Address = IPv4Address | IPv6Address


class Conntrack:
    """Two netlink sockets in the namespace of the thread that opens them. OSError."""

    def __init__(self) -> None:
        self._tracking = Netlink(NETLINK_NETFILTER)
        self._routing = Netlink()

    def close(self) -> None:
        """Closes both sockets."""
        self._tracking.close()
        self._routing.close()

    def purge_published(
        self,
        protocol: int,
        address: Address,
        first: int,
        count: int = 1,
        *,
        target: Address | None = None,
        target_port: int = 0,
    ) -> int:
        """After publishing: forgets connections to these ports that do not go to the new target.

        ``address`` 0.0.0.0 or ``::`` means all of the host's own. The n-th port belongs to the n-th of the target.
        Without a target (the port is answered by a socket of ours) all connections that were translated go.
        ``protocol`` is its number (17 for UDP). Returns how many were forgotten. NetlinkError.
        """

        def elsewhere(flow: Flow) -> bool:
            if target is None:
                return flow.reply.source != flow.original.destination
            return not goes_to(flow, target, target_port + flow.original.destination_port - first)

        return self._purge(protocol, address, first, count, elsewhere)

    def purge_target(
        self, protocol: int, address: Address, first: int, count: int = 1, *, target: Address, target_port: int
    ) -> int:
        """After unpublishing: forgets connections to these ports that go on to the target.

        Arguments as for ``purge_published``. Returns how many were forgotten. NetlinkError.
        """

        def there(flow: Flow) -> bool:
            return goes_to(flow, target, target_port + flow.original.destination_port - first)

        return self._purge(protocol, address, first, count, there)

    def _purge(self, protocol: int, address: Address, first: int, count: int, stale: Callable[[Flow], bool]) -> int:
        found = [flow for flow in self._flows(protocol, address, first, count) if stale(flow)]
        if found and address.is_unspecified:
            networks = self._own_networks(address.version)
            found = [flow for flow in found if any(flow.original.destination in each for each in networks)]
        outcomes = self._tracking.batch([conntrack.delete(flow) for flow in found])
        for outcome in outcomes:
            if outcome is not None and outcome.errno != errno.ENOENT:
                raise outcome
        return outcomes.count(None)

    def _flows(self, protocol: int, address: Address, first: int, count: int) -> list[Flow]:
        """Connections to the ports. The kernel filters; what an older one gives besides is dropped here."""
        request = conntrack.dump(version=address.version, protocol=protocol, port=first if count == 1 else 0)
        flows = [conntrack.decode(body) for body in self._tracking.dump(request)]
        return [
            flow
            for flow in flows
            if flow is not None
            and flow.original.protocol == protocol
            and first <= flow.original.destination_port < first + count
            and (address.is_unspecified or flow.original.destination == address)
        ]

    def _own_networks(self, version: int) -> list[IPv4Network | IPv6Network]:
        """What the host takes for itself, 127.0.0.0/8 and routes of kind ``local`` included."""
        family = AF_INET if version == 4 else AF_INET6
        question = route.dump(family=family, kind=route.RTN_LOCAL)
        entries = [route.decode(body) for body in self._routing.dump(question)]
        return [entry.destination for entry in entries if entry.kind == route.RTN_LOCAL]


def goes_to(flow: Flow, target: Address, port: int) -> bool:
    """Whether a connection was translated to this place."""
    return flow.reply.source == target and flow.reply.source_port == port
