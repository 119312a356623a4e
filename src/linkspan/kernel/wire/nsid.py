"""RTM_GETNSID: the number by which one namespace knows another (linux/net_namespace.h)."""

from __future__ import annotations

import struct

from linkspan.kernel.wire.message import Request, attributes, number

RTM_GETNSID = 90
NETNSA_NSID = 1
NETNSA_FD = 3

UNKNOWN = -1
"""The asking namespace has no number for that one: no interface of the two is connected."""


def get(descriptor: int) -> Request:
    """Asks for the number of the namespace behind an open file."""
    return Request(RTM_GETNSID, 0, bytes(4) + number(NETNSA_FD, descriptor))


def decode(body: bytes) -> int:
    """The number, or ``UNKNOWN``."""
    found = attributes(body[4:])
    value: int = struct.unpack("=i", found[NETNSA_NSID])[0]
    return value
