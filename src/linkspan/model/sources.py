"""Labels that say who may come to a container's published ports.

``linkspan.publish-from=10.0.0.0/8,2001:db8::/32`` is for all its ports, ``linkspan.publish-from.80/tcp`` for one of the
container's, ``linkspan.publish-from.8000-8010/udp`` for a range. What is said of fewer ports goes before what is said
of more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network

from linkspan.errors import InvalidRequest
from linkspan.model.address import IPNetwork
from linkspan.model.port import Transport

PUBLISH_FROM = "linkspan.publish-from"
LAST_PORT = 65535
"""RFC 9293 section 3.1 and RFC 768: ports have 16 bits."""

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(tcp|udp)", re.ASCII)


def publish_sources(labels: Mapping[str, str]) -> dict[str, tuple[IPNetwork, ...]]:
    """Who may come, by ``80/tcp`` or, for all ports, the empty text: ``ContainerSpec.publish_sources``.

    Ranges are spelled out. InvalidRequest for what is no port or no network, and for ranges of one length that
    overlap and differ.
    """
    found: dict[str, tuple[IPNetwork, ...]] = {}
    widths: dict[str, int] = {}
    for label, value in labels.items():
        if label == PUBLISH_FROM:
            found[""] = networks(value, f"label {label}")
        elif is_source_label(label):
            ports, protocol = _ports(label)
            sources = networks(value, f"label {label}")
            for port in ports:
                key = f"{port}/{protocol}"
                width = widths.get(key, LAST_PORT + 1)
                if width == len(ports) and found[key] != sources:
                    raise InvalidRequest(f"label {label} says otherwise than another one of port {key}")
                if len(ports) < width:
                    found[key], widths[key] = sources, len(ports)
    return found


def sources_of(
    sources: Mapping[str, tuple[IPNetwork, ...]], port: int, protocol: Transport
) -> tuple[IPNetwork, ...] | None:
    """Who may come to a container's port; None: everybody."""
    return sources.get(f"{port}/{protocol}", sources.get(""))


def is_source_label(label: str) -> bool:
    """Whether a label says who may come. Its ports may still be none."""
    return label == PUBLISH_FROM or label.startswith(f"{PUBLISH_FROM}.")


def networks(text: str, what: str) -> tuple[IPNetwork, ...]:
    """Comma-separated networks; an address is a network of one. InvalidRequest, which begins with ``what``."""
    return tuple(dict.fromkeys(_network(part.strip(), what) for part in text.split(",")))


def _network(text: str, what: str) -> IPNetwork:
    if "%" not in text and not text.isdecimal():
        try:
            return ip_network(text)
        except ValueError:
            pass
        try:
            meant = ip_interface(text).network
        except ValueError:
            pass
        else:
            raise InvalidRequest(f'{what}: "{text}" has bits behind its prefix', remedy=f"say {meant}")
    raise InvalidRequest(
        f'{what}: "{text}" is not a network', remedy="give networks like 10.0.0.0/8 or addresses, with commas between"
    )


def _ports(label: str) -> tuple[range, str]:
    text = label.removeprefix(f"{PUBLISH_FROM}.")
    match = _PORTS.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            f'label {label}: "{text}" is not a port', remedy="say 80/tcp or 8000-8010/udp, the container's own ports"
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 < first <= last <= LAST_PORT:
        raise InvalidRequest(
            f'label {label}: "{text}" lies outside 1-{LAST_PORT} or runs backwards', remedy="correct it"
        )
    return range(first, last + 1), match[3]
