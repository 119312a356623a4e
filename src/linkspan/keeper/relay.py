"""What the kernel cannot translate: held sockets with a ``Relay``, the n-th to the container's n-th port."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

from linkspan.keeper.allowance import Allowance
from linkspan.keeper.face import Relay
from linkspan.keeper.relay_tcp import TcpRelay
from linkspan.keeper.relay_udp import UdpRelay
from linkspan.kernel import deafness


class Relaying:
    """The relay of one key. OSError when a socket cannot listen; then none of them is read.

    Without a relay the sockets are deaf: what the firewall does not translate for a moment is sent again.
    """

    def __init__(self, relay: Relay | None, sockets: Sequence[socket.socket], allowance: Allowance) -> None:
        self._allowance = allowance
        self._relays: list[TcpRelay | UdpRelay] = []
        try:
            for held in sockets:
                listen_to(relay, held)
            if relay is not None:
                self._carry(relay, sockets)
        except OSError:
            self.close()
            raise

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


def listen_to(relay: Relay | None, held: socket.socket) -> None:
    """Lets a socket hear what is its to carry. OSError.

    All that comes goes to a container without IPv6; to one that has it, only what the kernel does not translate.
    """
    if relay is None:
        deafness.hear_nothing(held)
    elif held.family == socket.AF_INET6 and ":" in relay.target:
        deafness.hear_untranslated(held)
    else:
        deafness.hear_all(held)


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
