"""SOCK_DIAG_BY_FAMILY: sockets of a namespace, by protocol, state and local port (linux/inet_diag.h, sock_diag(7))."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from linkspan.kernel.wire.message import AF_INET, AF_INET6, NLM_F_DUMP, Request, aligned, attribute, attributes

SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_REQ_BYTECODE = 1
INET_DIAG_SKV6ONLY = 11

ESTABLISHED = 1
TIME_WAIT = 6
CLOSE = 7
"""For UDP: without a peer. For TCP: bound and not listening, as BOUND_INACTIVE sockets are reported."""
LISTEN = 10
BOUND_INACTIVE = 13
"""A state to ask for only, since Linux 6.8 (net/tcp_states.h); older kernels do not show bound sockets at all."""
EVERY_STATE = 0xFFFFFFFF

BYTECODE_GREATER = 2
BYTECODE_LESS = 3
"""INET_DIAG_BC_S_GE and S_LE: the local port against the number in the next operation."""

REQUEST = struct.Struct("=BBBBI")
MESSAGE = struct.Struct("=BBBB")
TAIL = struct.Struct("=IIIII")
PORTS = struct.Struct("!HH")
OPERATION = struct.Struct("=BBH")
SOCKET_ID = 48
"""Bytes of struct inet_diag_sockid: two ports, two addresses, interface and cookie."""
MESSAGE_LENGTH = 4 + SOCKET_ID + 20


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """One socket. ``inode`` is 0 when no process holds it any more (TIME_WAIT, orphans)."""

    address: IPv4Address | IPv6Address
    port: int
    peer: IPv4Address | IPv6Address
    peer_port: int
    state: int
    inode: int
    user: int
    only_ipv6: bool = False
    """An IPv6 socket that leaves IPv4 to others; known for sockets without a peer."""


def dump(*, version: int, protocol: int, first: int, last: int, states: int = EVERY_STATE) -> Request:
    """Asks for sockets of one IP version with a local port from ``first`` to ``last``."""
    family = AF_INET if version == 4 else AF_INET6
    body = REQUEST.pack(family, protocol, 0, 0, states) + bytes(SOCKET_ID)
    body += attribute(INET_DIAG_REQ_BYTECODE, between(first, last))
    return Request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body)


def between(first: int, last: int) -> bytes:
    """The kernel's little program: go on where the port is in the range, else jump behind the end, which refuses.

    Each operation names the bytes to go on with yes and with no.
    """
    length = OPERATION.size
    program = OPERATION.pack(BYTECODE_GREATER, 2 * length, 4 * length + 4) + OPERATION.pack(0, 0, first)
    return program + OPERATION.pack(BYTECODE_LESS, 2 * length, 2 * length + 4) + OPERATION.pack(0, 0, last)


def decode(body: bytes) -> Socket:
    """One socket as listed. ValueError when the message is cut short."""
    if len(body) < MESSAGE_LENGTH:
        raise ValueError(f"a socket of {len(body)} bytes")
    family, state, _, _ = MESSAGE.unpack_from(body)
    port, peer_port = PORTS.unpack_from(body, 4)
    _, _, _, user, inode = TAIL.unpack_from(body, 4 + SOCKET_ID)
    found = attributes(body[aligned(MESSAGE_LENGTH) :])
    return Socket(
        address=address_of(family, body[8:24]),
        port=port,
        peer=address_of(family, body[24:40]),
        peer_port=peer_port,
        state=state,
        inode=inode,
        user=user,
        only_ipv6=found.get(INET_DIAG_SKV6ONLY, b"\0")[0] == 1,
    )


def address_of(family: int, data: bytes) -> IPv4Address | IPv6Address:
    """An address from its 16 bytes, of which IPv4 uses the first four."""
    return IPv4Address(data[:4]) if family == AF_INET else IPv6Address(data)
