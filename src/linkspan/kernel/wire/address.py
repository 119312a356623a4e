"""RTM_*ADDR: addresses of interfaces (linux/if_addr.h, rtnetlink(7))."""

from __future__ import annotations

import struct
from ipaddress import IPv4Interface, IPv6Interface, ip_address

import msgspec

from linkspan.kernel.wire.message import (
    AF_INET,
    AF_INET6,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    number,
)

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22

IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_PROTO = 11
"""Who made it, since Linux 5.18: 0 nobody said, 1 loopback, 2 from a router's advertisement, 3 link-local."""

IFA_F_NODAD = 0x02
IFA_F_PERMANENT = 0x80

IFADDR = struct.Struct("=BBBBi")


class LinkAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address with its prefix length, the interface's number, and the protocol that made it (IFA_PROTO)."""

    index: int
    address: str
    protocol: int


def decode(body: bytes) -> LinkAddress:
    """An RTM_NEWADDR message."""
    _, prefix, _, _, index = IFADDR.unpack_from(body)
    found = attributes(body[8:])
    local = found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b""))
    return LinkAddress(index=index, address=f"{ip_address(local)}/{prefix}", protocol=found.get(IFA_PROTO, b"\0")[0])


def add(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Adds an address. EEXIST when the interface has it. IPv6: without duplicate address detection."""
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _body(index, address) + _extras(address))


def delete(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Removes an address. EADDRNOTAVAIL when the interface does not have it."""
    return Request(RTM_DELADDR, 0, _body(index, address))


def dump() -> Request:
    """Asks for the addresses of all interfaces, both families."""
    return Request(RTM_GETADDR, NLM_F_DUMP, IFADDR.pack(0, 0, 0, 0, 0))


def _body(index: int, address: IPv4Interface | IPv6Interface) -> bytes:
    family = AF_INET if address.version == 4 else AF_INET6
    packed = address.ip.packed
    header = IFADDR.pack(family, address.network.prefixlen, 0, 0, index)
    return header + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def _extras(address: IPv4Interface | IPv6Interface) -> bytes:
    if isinstance(address, IPv6Interface):
        return number(IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT)
    if address.network.prefixlen < 31:
        return attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
    return b""
