"""Addresses and subnets of either family: an address carries its family, so nothing comes in v4 and v6 twins.

msgspec cannot decode a union of two foreign classes, so at run time the two names are the classes' common base;
type checkers see the union. ``encode`` and ``decode`` are the hooks for msgspec.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
    IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
else:
    IPAddress = ipaddress._BaseAddress
    IPNetwork = ipaddress._BaseNetwork


def encode(value: object) -> str:
    """``enc_hook`` for msgspec: an address or a subnet as text. TypeError for anything else."""
    if isinstance(value, ipaddress._BaseAddress | ipaddress._BaseNetwork):
        return str(value)
    raise TypeError(f"cannot encode {type(value).__name__}")


def decode(kind: type, text: object) -> object:
    """``dec_hook`` for msgspec. ValueError for malformed text, TypeError for another class."""
    if issubclass(kind, ipaddress._BaseAddress):
        return ipaddress.ip_address(str(text))
    if issubclass(kind, ipaddress._BaseNetwork):
        return ipaddress.ip_network(str(text))
    raise TypeError(f"cannot decode {kind.__name__}")
