"""Subnets and addresses as people write them: one reading, one set of refusals.

Python's ``ipaddress`` is more generous than Docker (a bare address is a /32, ``/255.255.0.0`` is a prefix, an IPv6
address may carry ``%eth0``); what Docker refuses is refused here, since a network made with it could not be made
again elsewhere.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from linkspan.errors import InvalidRequest
from linkspan.model.address import IPAddress, IPNetwork

Family = Literal[4, 6]

_UNUSABLE: tuple[tuple[IPNetwork, str], ...] = (
    (ipaddress.ip_network("0.0.0.0/8"), "means this host (RFC 1122)"),
    (ipaddress.ip_network("127.0.0.0/8"), "is loopback"),
    (ipaddress.ip_network("224.0.0.0/4"), "is multicast"),
    (ipaddress.ip_network("255.255.255.255/32"), "is the limited broadcast"),
    (ipaddress.ip_network("::/127"), "is loopback"),
    (ipaddress.ip_network("::ffff:0:0/96"), "is IPv4 mapped into IPv6"),
    (ipaddress.ip_network("fe80::/10"), "is link-local: every link has it already"),
    (ipaddress.ip_network("ff00::/8"), "is multicast"),
)


def family_of(value: IPAddress | IPNetwork) -> Family:
    """4 or 6."""
    return 4 if value.version == 4 else 6


def address_at(family: Family, number: int) -> IPAddress:
    """The address with that integer value."""
    return ipaddress.IPv4Address(number) if family == 4 else ipaddress.IPv6Address(number)


def bounds(subnet: IPNetwork) -> tuple[int, int]:
    """The lowest and highest address of a subnet as integers, both included."""
    return int(subnet.network_address), int(subnet.broadcast_address)


def contains(outer: IPNetwork, inner: IPNetwork | IPAddress) -> bool:
    """Whether ``inner`` lies wholly in ``outer``. False for different families."""
    if outer.version != inner.version:
        return False
    low, high = bounds(outer)
    if isinstance(inner, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return low <= int(inner) <= high
    first, last = bounds(inner)
    return low <= first and last <= high


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether two subnets share an address. False for different families."""
    if one.version != other.version:
        return False
    (low, high), (first, last) = bounds(one), bounds(other)
    return low <= last and first <= high


def parse_subnet(text: str, what: str = "subnet") -> IPNetwork:
    """``172.30.0.0/16`` or ``fd00:1::/64``. InvalidRequest for anything else, set host bits included.

    ``what`` is what the text is called in the refusal (``subnet``, ``IP range``).
    """
    address, slash, prefix = text.partition("/")
    if not slash or not (prefix.isascii() and prefix.isdigit()) or "%" in address:
        raise InvalidRequest(
            f'{what} "{text}" is not in CIDR notation', remedy="write it as 172.30.0.0/16 or fd00:1::/64"
        )
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise InvalidRequest(
            f'{what} "{text}" is not a valid CIDR block', remedy="write it as 172.30.0.0/16 or fd00:1::/64"
        ) from error
    if interface.ip != interface.network.network_address:
        raise InvalidRequest(f'{what} "{text}" has host bits set', remedy=f"it should be {interface.network}")
    return interface.network


def parse_address(text: str, what: str = "address") -> IPAddress:
    """One address without prefix or zone. InvalidRequest for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f'{what} "{text}" is not an IP address') from error
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise InvalidRequest(f'{what} "{text}" has a zone', remedy=f"leave out %{address.scope_id}")
    return address


def check_usable(subnet: IPNetwork) -> None:
    """InvalidRequest when containers cannot live in that part of the address space at all."""
    for special, why in _UNUSABLE:
        if overlap(subnet, special):
            raise InvalidRequest(
                f"subnet {subnet} cannot hold containers: {special} {why}",
                remedy="take one from 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8",
            )
