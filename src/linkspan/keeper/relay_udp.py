"""UDP relays: a connected socket to the container for each client, as conntrack would keep an entry.

The answer leaves from the address that was asked: a socket on a wildcard address learns it from each datagram
(IP_PKTINFO in ip(7), IPV6_RECVPKTINFO in ipv6(7)).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from linkspan.keeper.allowance import Allowance

IDLE_SECONDS = 60.0
"""An association without traffic goes after so long (nf_conntrack_udp_timeout_stream is 120, _timeout 30)."""
MOST_ASSOCIATIONS = 1024
"""Of one relay. One more takes the place of the one that was quiet for longest."""
READS = 32
"""Datagrams in one go, so that queries for names come in between."""
LARGEST = 65535

IP_PKTINFO = 8  # linux/in.h
_PACKET_INFO4 = struct.Struct("=I4s4s")  # interface, the address to answer from, the header's address
_PACKET_INFO6 = struct.Struct("=16sI")  # address, interface

Peer = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket module writes it."""
Control = tuple[int, int, bytes]
"""A control message: where an answer is to leave from."""


class UdpRelay:
    """Carries the datagrams of one bound socket to one address. The socket stays the caller's to close.

    ``admitted`` judges a client's address.
    """

    def __init__(
        self,
        bound: socket.socket,
        target: tuple[str, int],
        admitted: Callable[[str], bool],
        allowance: Allowance,
    ) -> None:
        self._allowance = allowance
        self._bound = bound
        self._target = target
        self._admitted = admitted
        self._loop = asyncio.get_running_loop()
        self._associations: OrderedDict[tuple[Peer, tuple[Control, ...]], _Association] = OrderedDict()
        self._tidying: asyncio.TimerHandle | None = None
        bound.setblocking(False)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._loop.add_reader(bound.fileno(), self._read)

    def close(self) -> None:
        """Carries nothing more."""
        self._loop.remove_reader(self._bound.fileno())
        if self._tidying is not None:
            self._tidying.cancel()
        while self._associations:
            self._drop_quietest()

    def _read(self) -> None:
        for _ in range(READS):
            try:
                data, ancillary, _, peer = self._bound.recvmsg(LARGEST, 64)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about an earlier answer
                continue
            if self._admitted(peer[0]):
                association = self._association(peer, _answer_from(ancillary))
                if association is not None:
                    association.forward(data)

    def _association(self, peer: Peer, source: tuple[Control, ...]) -> _Association | None:
        """The one of this client, or a new one; None when the container cannot be reached."""
        known = self._associations.get((peer, source))
        if known is not None:
            self._associations.move_to_end((peer, source))
            return known
        if len(self._associations) >= MOST_ASSOCIATIONS or (self._associations and not self._allowance.left):
            self._drop_quietest()
        if not self._allowance.take(1):
            return None
        try:
            opened = _Association(self._bound, self._target, peer, source)
        except OSError:
            self._allowance.give_back(1)
            return None
        self._associations[peer, source] = opened
        if self._tidying is None:
            self._tidying = self._loop.call_later(IDLE_SECONDS, self._tidy)
        return opened

    def _drop_quietest(self) -> None:
        self._associations.popitem(last=False)[1].close()
        self._allowance.give_back(1)

    def _tidy(self) -> None:
        """Closes what was quiet for too long, and looks again when the next one may have been."""
        now = self._loop.time()
        for key, association in list(self._associations.items()):
            if now - association.used >= IDLE_SECONDS:
                del self._associations[key]
                association.close()
                self._allowance.give_back(1)
        self._tidying = None
        if self._associations:
            oldest = min(association.used for association in self._associations.values())
            self._tidying = self._loop.call_at(oldest + IDLE_SECONDS, self._tidy)


class _Association:
    """One client, and the socket by which the container sees it. OSError when that cannot be opened."""

    def __init__(self, bound: socket.socket, target: tuple[str, int], peer: Peer, source: tuple[Control, ...]) -> None:
        self._bound = bound
        self._peer = peer
        self._source = source
        self._loop = asyncio.get_running_loop()
        self.used = self._loop.time()
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._far = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            self._far.connect(target)
        except OSError:
            self._far.close()
            raise
        self._loop.add_reader(self._far.fileno(), self._read)

    def close(self) -> None:
        """Lets go of the socket."""
        self._loop.remove_reader(self._far.fileno())
        self._far.close()

    def forward(self, data: bytes) -> None:
        """From the client to the container. A datagram that does not fit in is lost, as on any way."""
        self.used = self._loop.time()
        _try_to(lambda: self._far.send(data))

    def _read(self) -> None:
        for _ in range(READS):
            try:
                data = self._far.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:  # nobody listens in the container: told once per datagram
                    continue
                return
            self.used = self._loop.time()
            _try_to(lambda data=data: self._bound.sendmsg([data], self._source, 0, self._peer))  # type: ignore[misc]


def _try_to(send: Callable[[], int]) -> None:
    """Sends a datagram; a full buffer, a route that is gone or an ICMP error from before lose it."""
    try:
        send()
    except OSError:
        return


def _answer_from(ancillary: list[tuple[int, int, Any]]) -> tuple[Control, ...]:
    """The control message that makes an answer leave from where the question arrived."""
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, interface = _PACKET_INFO6.unpack_from(payload)
            local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            return ((level, kind, _PACKET_INFO6.pack(address, interface if local else 0)),)
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _, source, _ = _PACKET_INFO4.unpack_from(payload)
            return ((level, kind, _PACKET_INFO4.pack(0, source, bytes(4))),)
    return ()
