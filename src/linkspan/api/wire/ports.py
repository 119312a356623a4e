"""Exposed and published ports of a create -> the model."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from linkspan.api.wire.container_types import HostPort
from linkspan.errors import InvalidRequest
from linkspan.model.container import PortBinding

Protocol = Literal["tcp", "udp", "sctp"]
_PROTOCOLS: dict[str, Protocol] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}


def exposed(ports: dict[str, object]) -> tuple[str, ...]:
    """``80/tcp`` for ``80`` and ``80/tcp``; a range gives one text a port."""
    return tuple(f"{port}/{protocol}" for text in ports for port, protocol in _ports(text))


def bindings(published: dict[str, list[HostPort]]) -> tuple[PortBinding, ...]:
    """One binding for each host address of each port."""
    found = []
    for text, places in published.items():
        for port, protocol in _ports(text):
            for place in places:
                _check(place, text)
                found.append(
                    PortBinding(port=port, protocol=protocol, host_ip=place.host_ip, host_port=place.host_port)
                )
    return tuple(found)


def _ports(text: str) -> list[tuple[int, Protocol]]:
    numbers, _, name = text.partition("/")
    protocol = _PROTOCOLS.get((name or "tcp").lower())
    if protocol is None:
        raise InvalidRequest(f"invalid port {text!r}: the protocol must be tcp, udp or sctp")
    first, last = _range(numbers, text)
    return [(port, protocol) for port in range(first, last + 1)]


def _range(numbers: str, text: str) -> tuple[int, int]:
    low, _, high = numbers.partition("-")
    try:
        first, last = int(low), int(high or low)
    except ValueError:
        raise InvalidRequest(f"invalid port specification: {text!r}") from None
    if not 0 < first <= last <= 65535:
        raise InvalidRequest(f"invalid port specification: {text!r}: ports lie between 1 and 65535")
    return first, last


def _check(place: HostPort, text: str) -> None:
    if place.host_ip:
        try:
            ip_address(place.host_ip)
        except ValueError:
            raise InvalidRequest(f"invalid host address {place.host_ip!r} for port {text}") from None
    if place.host_port and place.host_port != "0":
        _range(place.host_port, place.host_port)
