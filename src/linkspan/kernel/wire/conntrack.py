"""IPCTNL_MSG_CT_*: connections that the kernel tracks (linux/netfilter/nfnetlink_conntrack.h).

A connection has two tuples: the original one as its first packet came, before any translation, and the reply's as
answers are awaited, after it. So the destination that somebody dialled stands in the first, and the place that it was
translated to is the *source* of the second.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from linkspan.kernel.wire.message import (
    AF_INET,
    AF_INET6,
    NLM_F_DUMP,
    Request,
    attribute,
    attributes,
    nested,
    number,
    octet,
)

CTNETLINK = 1 << 8
"""NFNL_SUBSYS_CTNETLINK in linux/netfilter/nfnetlink.h: the upper byte of every message type."""
CT_NEW = CTNETLINK | 0
CT_GET = CTNETLINK | 1
CT_DELETE = CTNETLINK | 2
CT_GET_STATS = CTNETLINK | 5

CTA_TUPLE_ORIG = 1
CTA_TUPLE_REPLY = 2
CTA_ID = 12
CTA_ZONE = 18
CTA_FILTER = 25
"""Since Linux 5.8; an older kernel ignores it and gives the whole table."""

CTA_TUPLE_IP = 1
CTA_TUPLE_PROTO = 2
CTA_IP_SRC = {4: 1, 6: 3}
CTA_IP_DST = {4: 2, 6: 4}
CTA_PROTO_NUM = 1
CTA_PROTO_SRC_PORT = 2
CTA_PROTO_DST_PORT = 3

CTA_STATS_GLOBAL_ENTRIES = 1

CTA_FILTER_ORIG_FLAGS = 1
CTA_FILTER_REPLY_FLAGS = 2
FILTER_PROTOCOL = 1 << 3
FILTER_DESTINATION_PORT = 1 << 5
"""CTA_FILTER_F_CTA_* in the kernel's net/netfilter/nf_internals.h: which parts of the tuple must be equal."""

NFGENMSG = struct.Struct("!BBH")
PORT = struct.Struct("!H")
ENTRIES = struct.Struct("!I")
PORT_ATTRIBUTE = struct.Struct("=HH")
PORT_PLACE = {AF_INET: 48, AF_INET6: 72}
"""Where the kernel puts the dialled port of the original tuple, from the start of a listed connection."""
FAMILIES = {4: AF_INET, 6: AF_INET6}

Address = IPv4Address | IPv6Address
ANY: dict[int, Address] = {4: IPv4Address(0), 6: IPv6Address(0)}


class Tuple(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a connection. ``protocol`` as in /etc/protocols; ports are 0 where there are none."""

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A tracked connection. ``id`` tells it from a later one with the same tuples."""

    original: Tuple
    reply: Tuple
    id: bytes = b""
    zone: bytes = b""


def decode(body: bytes) -> Flow | None:
    """A connection as listed; None for one of another family than IP or without tuples."""
    found = attributes(body[4:])
    if body[:1] not in (bytes((AF_INET,)), bytes((AF_INET6,))):
        return None
    if CTA_TUPLE_ORIG not in found or CTA_TUPLE_REPLY not in found:
        return None
    return Flow(
        original=tuple_of(found[CTA_TUPLE_ORIG]),
        reply=tuple_of(found[CTA_TUPLE_REPLY]),
        id=found.get(CTA_ID, b""),
        zone=found.get(CTA_ZONE, b""),
    )


def dialled_port(body: bytes) -> int:
    """The destination port of a listed connection's original tuple, 0 where there is none.

    In a large table nearly all connections are somebody else's. A whole ``decode`` takes 30 times as long, so the port
    is read where the kernel always puts it; what looks otherwise there is decoded.
    """
    place = PORT_PLACE.get(body[0], 0)
    if place and len(body) >= place + 6:
        length, kind = PORT_ATTRIBUTE.unpack_from(body, place)
        if (length, kind) == (6, CTA_PROTO_DST_PORT):
            port: int = PORT.unpack_from(body, place + 4)[0]
            return port
    flow = decode(body)
    return flow.original.destination_port if flow else 0


def statistics() -> Request:
    """Asks how many connections are tracked; ``entries`` reads the answer."""
    return Request(CT_GET_STATS, 0, NFGENMSG.pack(0, 0, 0))


def entries(body: bytes) -> int:
    """How many connections are tracked."""
    result: int = ENTRIES.unpack_from(attributes(body[4:])[CTA_STATS_GLOBAL_ENTRIES])[0]
    return result


def tuple_of(data: bytes) -> Tuple:
    """One tuple read back."""
    parts = attributes(data)
    ip = attributes(parts[CTA_TUPLE_IP])
    protocol = attributes(parts[CTA_TUPLE_PROTO])
    version = 4 if CTA_IP_SRC[4] in ip else 6
    return Tuple(
        source=ip_address(ip[CTA_IP_SRC[version]]),
        destination=ip_address(ip[CTA_IP_DST[version]]),
        protocol=protocol[CTA_PROTO_NUM][0],
        source_port=port_of(protocol.get(CTA_PROTO_SRC_PORT, b"\0\0")),
        destination_port=port_of(protocol.get(CTA_PROTO_DST_PORT, b"\0\0")),
    )


def port_of(value: bytes) -> int:
    """A port read back; ports travel in network order."""
    result: int = PORT.unpack_from(value)[0]
    return result


def dump(*, version: int, protocol: int, port: int = 0) -> Request:
    """Asks for connections of one IP version by protocol and port that were dialled; port 0 stands for any.

    The kernel walks its table by itself and answers with what matches. One that does not know the filter gives
    everything of that version, so the reader compares too. Not by address: Linux up to 6.18 at least compares IPv6
    addresses the wrong way round and answers with all *others* (ctnetlink_filter_match_tuple).
    """
    flags = FILTER_PROTOCOL | (FILTER_DESTINATION_PORT if port else 0)
    wanted = Tuple(source=ANY[version], destination=ANY[version], protocol=protocol, destination_port=port)
    body = header(version) + encoded(CTA_TUPLE_ORIG, wanted)
    body += nested(CTA_FILTER, number(CTA_FILTER_ORIG_FLAGS, flags) + number(CTA_FILTER_REPLY_FLAGS, 0))
    return Request(CT_GET, NLM_F_DUMP, body)


def delete(flow: Flow) -> Request:
    """Forgets exactly this connection. ENOENT when it is gone, also when a new one has its place."""
    body = header(flow.original.source.version) + encoded(CTA_TUPLE_ORIG, flow.original)
    if flow.id:
        body += attribute(CTA_ID, flow.id)
    if flow.zone:
        body += attribute(CTA_ZONE, flow.zone)
    return Request(CT_DELETE, 0, body)


def header(version: int) -> bytes:
    """struct nfgenmsg: the address family, version 0, no resource."""
    return NFGENMSG.pack(FAMILIES[version], 0, 0)


def encoded(kind: int, value: Tuple) -> bytes:
    """One tuple as an attribute."""
    version = value.source.version
    ip = attribute(CTA_IP_SRC[version], value.source.packed) + attribute(CTA_IP_DST[version], value.destination.packed)
    protocol = octet(CTA_PROTO_NUM, value.protocol)
    protocol += attribute(CTA_PROTO_SRC_PORT, PORT.pack(value.source_port))
    protocol += attribute(CTA_PROTO_DST_PORT, PORT.pack(value.destination_port))
    return nested(kind, nested(CTA_TUPLE_IP, ip) + nested(CTA_TUPLE_PROTO, protocol))
