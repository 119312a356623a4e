"""What the kernel cannot translate: held sockets with a ``Relay``, the n-th to the container's n-th port."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

from linkspan.keeper.allowance import Allowance
from linkspan.keeper.face import Relay
from linkspan.keeper.relay_tcp import TcpRelay
from linkspan.keeper.relay_udp import UdpRelay


class Relaying:
    """The relay of one key. OSError when a socket cannot listen; then none of them is read.

    Without a relay those that listen since an earlier one refuse everybody, who would wait for ever otherwise.
    """

    def __init__(self, relay: Relay | None, sockets: Sequence[socket.socket], allowance: Allowance) -> None:
        self._allowance = allowance
        self._relays: list[TcpRelay | UdpRelay] = []
        try:
            if relay is None:
                self._refuse(sockets)
            else:
                self._carry(relay, sockets)
        except OSError:
            self.close()
            raise

    def _refuse(self, sockets: Sequence[socket.socket]) -> None:
        for held in sockets:
            if held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._relays.append(TcpRelay(held, ("", 0), lambda _: False, self._allowance))

    def _carry(self, relay: Relay, sockets: Sequence[socket.socket]) -> None:
        admitted = admission(relay)
        for place, held in enumerate(sockets):
            target = (relay.target, relay.port + place)
            if held.type == socket.SOCK_STREAM:
                self._relays.append(TcpRelay(held, target, admitted, self._allowance))
            else:
                self._relays.append(UdpRelay(held, target, admitted, self._allowance))

    def close(self) -> None:
        """Ends all that is being carried."""
        for each in self._relays:
            each.close()
        self._relays.clear()


def admission(relay: Relay) -> Callable[[str], bool]:
    """Judges clients by address: all, or those on loopback and in the relay's source networks."""
    if not relay.limited:
        return lambda _: True
    sources = relay.sources

    def admitted(text: str) -> bool:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in sources)

    return admitted
