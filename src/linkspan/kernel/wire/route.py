"""RTM_*ROUTE: unicast routes (linux/rtnetlink.h, rtnetlink(7))."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network, IPv6Network, ip_address

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
    number_of,
)

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_PREFSRC = 7
RTA_TABLE = 15

RTN_UNICAST = 1
RTN_LOCAL = 2
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_NOWHERE = 255
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

DEFAULT_METRIC6 = 1024
"""IP6_RT_PRIO_USER (linux/ipv6_route.h): what the kernel takes for an IPv6 route without a metric."""

RTMSG = struct.Struct("=BBBBBBBBI")


class RouteEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A route as asked for or read. ``index`` is the outgoing interface, 0 for none or several."""

    destination: IPv4Network | IPv6Network
    index: int
    gateway: str = ""
    source: str = ""
    metric: int = 0
    """0: the kernel's default for the family."""
    table: int = RT_TABLE_MAIN
    protocol: int = 0
    kind: int = RTN_UNICAST


def decode(body: bytes) -> RouteEntry:
    """An RTM_NEWROUTE message. The kernel's default metric for IPv6 comes back as 0."""
    family, length, _, _, table, protocol, _, kind, _ = RTMSG.unpack_from(body)
    found = attributes(body[12:])
    metric = number_of(found[RTA_PRIORITY]) if RTA_PRIORITY in found else 0
    destination = found.get(RTA_DST, bytes(4 if family == AF_INET else 16))
    return RouteEntry(
        destination=network_of(destination, length),
        index=number_of(found[RTA_OIF]) if RTA_OIF in found else 0,
        gateway=str(ip_address(found[RTA_GATEWAY])) if RTA_GATEWAY in found else "",
        source=str(ip_address(found[RTA_PREFSRC])) if RTA_PREFSRC in found else "",
        metric=0 if family == AF_INET6 and metric == DEFAULT_METRIC6 else metric,
        table=number_of(found[RTA_TABLE]) if RTA_TABLE in found else table,
        protocol=protocol,
        kind=kind,
    )


def network_of(packed: bytes, length: int) -> IPv4Network | IPv6Network:
    """A prefix from its bytes."""
    return IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))


def add(route: RouteEntry) -> Request:
    """Adds a route. EEXIST when one of the same destination and metric is in the table."""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, _body(route, adding=True))


def delete(route: RouteEntry) -> Request:
    """Removes the route of this destination, metric, interface and protocol. ESRCH when there is none."""
    return Request(RTM_DELROUTE, 0, _body(route, adding=False))


def dump(*, family: int = 0, protocol: int = 0, kind: int = 0) -> Request:
    """Asks for routes; with strict checking the kernel filters by protocol and kind (RTN_*; 0: all)."""
    return Request(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, kind, 0))


def _body(route: RouteEntry, *, adding: bool) -> bytes:
    version4 = route.destination.version == 4
    if adding:
        scope = RT_SCOPE_LINK if version4 and not route.gateway else RT_SCOPE_UNIVERSE
    else:
        scope = RT_SCOPE_NOWHERE
    header = RTMSG.pack(
        AF_INET if version4 else AF_INET6,
        route.destination.prefixlen,
        0,
        0,
        route.table if route.table < 256 else 0,
        route.protocol,
        scope,
        RTN_UNICAST,
        0,
    )
    parts = [header, number(RTA_TABLE, route.table), number(RTA_OIF, route.index)]
    if route.destination.prefixlen:
        parts.append(attribute(RTA_DST, route.destination.network_address.packed))
    if route.gateway:
        parts.append(attribute(RTA_GATEWAY, ip_address(route.gateway).packed))
    if route.source:
        parts.append(attribute(RTA_PREFSRC, ip_address(route.source).packed))
    metric = route.metric or (0 if version4 else DEFAULT_METRIC6)
    if metric:
        parts.append(number(RTA_PRIORITY, metric))
    return b"".join(parts)
