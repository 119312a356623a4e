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
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec

from linkspan.kernel.netlink import Netlink
from linkspan.kernel.wire import conntrack, route
from linkspan.kernel.wire.conntrack import Flow
from linkspan.kernel.wire.message import AF_INET, AF_INET6

NETLINK_NETFILTER = 12
"""linux/netlink.h."""

Address = IPv4Address | IPv6Address


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Ports of the host that were published or unpublished (``gone``), and the place that they lead to."""

    protocol: int
    """Its number: 17 for UDP."""
    address: Address
    """0.0.0.0 or ``::`` for all of the host's own."""
    first: int
    count: int = 1
    target: Address | None = None
    """None: a socket of ours answers; then all that was translated goes elsewhere."""
    target_port: int = 0
    """The n-th port of the host leads to the n-th from here."""
    gone: bool = False

    @property
    def ports(self) -> range:
        """The ports of the host."""
        return range(self.first, self.first + self.count)

    def concerns(self, flow: Flow) -> bool:
        """Whether a connection dialled these ports and goes where it should not, or no longer."""
        dialled = flow.original
        if dialled.destination_port not in self.ports or dialled.protocol != self.protocol:
            return False
        if not self.address.is_unspecified and dialled.destination != self.address:
            return False
        return self._goes_there(flow) == self.gone

    def _goes_there(self, flow: Flow) -> bool:
        if self.target is None:
            return flow.reply.source == flow.original.destination
        port = self.target_port + flow.original.destination_port - self.first
        return (flow.reply.source, flow.reply.source_port) == (self.target, port)


class Conntrack:
    """Two netlink sockets in the namespace of the thread that opens them. OSError.

    One walk through the kernel's table takes 12 ms with its usual 262,144 buckets, however few connections there are,
    so changes are best purged together, and not while somebody waits. It needs no lock of rtnetlink's.
    """

    def __init__(self) -> None:
        self._tracking = Netlink(NETLINK_NETFILTER)
        self._routing = Netlink()

    def close(self) -> None:
        """Closes both sockets."""
        self._tracking.close()
        self._routing.close()

    def purge(self, changes: Iterable[Change]) -> int:
        """Forgets the connections that these changes make wrong; returns how many. NetlinkError.

        One walk for each protocol and IP version among the changes, none while nothing at all is tracked.
        """
        groups: dict[tuple[int, int], list[Change]] = {}
        for change in changes:
            groups.setdefault((change.address.version, change.protocol), []).append(change)
        if not groups or not conntrack.entries(self._tracking.get(conntrack.statistics())):
            return 0
        return sum(self._purge(version, protocol, group) for (version, protocol), group in groups.items())

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

        Arguments as the fields of ``Change``. Returns how many were forgotten. NetlinkError.
        """
        change = Change(
            protocol=protocol, address=address, first=first, count=count, target=target, target_port=target_port
        )
        return self.purge([change])

    def purge_target(
        self, protocol: int, address: Address, first: int, count: int = 1, *, target: Address, target_port: int
    ) -> int:
        """After unpublishing: forgets connections to these ports that go on to the target.

        Arguments as the fields of ``Change``. Returns how many were forgotten. NetlinkError.
        """
        change = Change(
            protocol=protocol,
            address=address,
            first=first,
            count=count,
            target=target,
            target_port=target_port,
            gone=True,
        )
        return self.purge([change])

    def _purge(self, version: int, protocol: int, changes: Sequence[Change]) -> int:
        found = [
            flow
            for flow in self._flows(version, protocol, frozenset(port for item in changes for port in item.ports))
            if any(item.concerns(flow) for item in changes)
        ]
        if found and any(item.address.is_unspecified for item in changes):
            networks = self._own_networks(version)
            exact = {item.address for item in changes}
            found = [
                flow
                for flow in found
                if flow.original.destination in exact or any(flow.original.destination in each for each in networks)
            ]
        outcomes = self._tracking.batch([conntrack.delete(flow) for flow in found])
        for outcome in outcomes:
            if outcome is not None and outcome.errno != errno.ENOENT:
                raise outcome
        return outcomes.count(None)

    def _flows(self, version: int, protocol: int, ports: frozenset[int]) -> Iterator[Flow]:
        """Connections that dialled one of the ports. For a single one the kernel picks them, if it can."""
        request = conntrack.dump(version=version, protocol=protocol, port=min(ports) if len(ports) == 1 else 0)
        for body in self._tracking.dump(request):
            if conntrack.dialled_port(body) in ports:
                flow = conntrack.decode(body)
                if flow is not None:
                    yield flow

    def _own_networks(self, version: int) -> list[IPv4Network | IPv6Network]:
        """What the host takes for itself, 127.0.0.0/8 and routes of kind ``local`` included."""
        family = AF_INET if version == 4 else AF_INET6
        question = route.dump(family=family, kind=route.RTN_LOCAL)
        entries = [route.decode(body) for body in self._routing.dump(question)]
        return [entry.destination for entry in entries if entry.kind == route.RTN_LOCAL]
