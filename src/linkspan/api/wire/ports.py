"""Exposed and published ports of a create -> the model. A body may hold tens of thousands of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Literal

from linkspan.api.wire.container_types import HostPort
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import PortBinding

Protocol = Literal["tcp", "udp", "sctp"]
_PROTOCOLS: dict[str, Protocol] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}

LAST_PORT = 65535


def exposed(ports: dict[str, object]) -> tuple[str, ...]:
    """``80/tcp`` for ``80`` and ``80/tcp``; a range gives one text a port."""
    found = []
    for text in ports:
        span, protocol = _ports(text)
        found += [f"{port}/{protocol}" for port in span] if len(span) > 1 else [f"{span.start}/{protocol}"]
    return tuple(found)


def bindings(published: dict[str, list[HostPort]]) -> tuple[PortBinding, ...]:
    """One binding for each host address of each port. InvalidRequest names the bad value; NotSupported for sctp.

    An empty list publishes on any free port, as with Docker. Host ports keep their text: empty for any, one number,
    or ``8000-9000`` for any free one of those.
    """
    found = []
    for text, places in published.items():
        span, protocol = _ports(text)
        if protocol == "sctp":
            raise NotSupported(f"port {text} cannot be published", remedy="only tcp and udp ports can be")
        for place in places or (HostPort(),):
            address = _host_address(place.host_ip) if place.host_ip else ""
            if place.host_port and place.host_port != "0":
                _range(place.host_port, place.host_port)
            found += [
                PortBinding(port=port, protocol=protocol, host_ip=address, host_port=place.host_port) for port in span
            ]
    return tuple(found)


def check_sources(sources: Mapping[str, object], published: Iterable[PortBinding]) -> None:
    """InvalidRequest where sources are limited for a port that is not published: an allow-list in vain is a hole."""
    ports = {f"{each.port}/{each.protocol}" for each in published}
    for port in sources:
        if port and port not in ports:
            raise InvalidRequest(
                f"sources are limited for port {port}, which is not published",
                remedy="name the container's port, not the host's",
            )


def _ports(text: str) -> tuple[range, Protocol]:
    numbers, _, name = text.partition("/")
    protocol = _PROTOCOLS.get(name or "tcp") or _PROTOCOLS.get(name.lower())
    if protocol is None:
        raise InvalidRequest(f"invalid port {text!r}: the protocol must be tcp, udp or sctp")
    return _range(numbers, text), protocol


def _range(numbers: str, text: str) -> range:
    if numbers.isdecimal() and numbers.isascii() and len(numbers) < 6 and 0 < (port := int(numbers)) <= LAST_PORT:
        return range(port, port + 1)
    low, dash, high = numbers.partition("-")
    if not (low.isdecimal() and (high.isdecimal() or not dash) and numbers.isascii()):
        raise InvalidRequest(f"invalid port specification: {text!r}")
    first = int(low[-6:])
    last = int(high[-6:]) if dash else first
    if not 0 < first <= last <= LAST_PORT:
        raise InvalidRequest(f"invalid port specification: {text!r}: ports lie between 1 and {LAST_PORT}")
    return range(first, last + 1)


@lru_cache(maxsize=64)
def _host_address(address: str) -> str:
    """The address as the model holds it: without brackets, and IPv4 where it is IPv4 in IPv6's clothes."""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        found = ip_address(bare)
    except ValueError:
        raise InvalidRequest(f"invalid host address {address!r} of a published port") from None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise InvalidRequest(
                f"invalid host address {address!r} of a published port: it names an interface", remedy="leave that out"
            )
        found = found.ipv4_mapped or found
    if found.is_multicast:
        raise InvalidRequest(f"invalid host address {address!r} of a published port: it is a multicast address")
    return str(found)
