"""Who is called what: immutable tables, one a zone, swapped whole. Pure.

The order of look-up is Docker's: links of the sandbox, then its networks in their order, then ``name.NETWORK`` on
them. The first place that knows a name answers for it, also when it has no address of the family that was asked for:
what is known here is never asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeVar

import msgspec

from linkspan.dns.names import Client, Host, Zone
from linkspan.dns.services import SERVICES
from linkspan.dns.wire import encode_name

LOOPBACK: Final = {4: b"\x7f\0\0\1", 6: b"\0" * 15 + b"\1"}
"""What ``localhost`` and all below it mean (RFC 6761 section 6.3), packed, by version."""
REMEMBERED: Final = 16_384
"""Addresses whose packed form is remembered: those of one asked name each, some 200 bytes."""

Placed = tuple[Host, str]
"""A host and the name of its network (empty for a link)."""


class Table(msgspec.Struct, frozen=True):
    """The names on one network."""

    name: str
    """Of the network, as it is written."""
    hosts: Mapping[str, Host]
    """By id."""
    names: Mapping[str, tuple[Host, ...]]
    """By name in lower case."""
    addresses: Mapping[str, tuple[Host, ...]]
    """By address, as ``ipaddress`` writes it. Two hosts have one for the moment of a move."""


class Service(msgspec.Struct, frozen=True):
    """One place where a service is offered (RFC 2782)."""

    port: int
    target: str
    addresses: tuple[bytes, ...]
    """Packed."""


EMPTY: Final = Table("", {}, {}, {})


def build(zone: Zone) -> Table:
    """A table of all hosts at once; of two hosts with one id the later counts."""
    hosts = {host.id: host for host in zone.hosts}
    names: dict[str, tuple[Host, ...]] = {}
    addresses: dict[str, tuple[Host, ...]] = {}
    for host in hosts.values():
        insert(names, addresses, host)
    return Table(zone.name, hosts, names, addresses)


def insert(names: dict[str, tuple[Host, ...]], addresses: dict[str, tuple[Host, ...]], host: Host) -> None:
    here = (host,)
    for name in host.names:
        key = name.lower()
        present = names.get(key)
        if present is None:
            names[key] = here
        elif present[-1] is not host:
            names[key] = present + here
    for address in host.addresses:
        present = addresses.get(address)
        addresses[address] = here if present is None else here + present


def remove(index: dict[str, tuple[Host, ...]], keys: Iterable[str], gone: Host) -> None:
    for key in keys:
        left = tuple(host for host in index[key] if host is not gone)
        if left:
            index[key] = left
        else:
            del index[key]


def changed(table: Table, put: Iterable[Host] = (), drop: Iterable[str] = ()) -> Table:
    """The table with these hosts, each in the place of one with its id, and without those ids (absence is success)."""
    hosts, names, addresses = dict(table.hosts), dict(table.names), dict(table.addresses)

    def take_out(host_id: str) -> None:
        gone = hosts.pop(host_id, None)
        if gone is not None:
            remove(names, {name.lower() for name in gone.names}, gone)
            remove(addresses, set(gone.addresses), gone)

    for host_id in drop:
        take_out(host_id)
    for host in put:
        take_out(host.id)
        hosts[host.id] = host
        insert(names, addresses, host)
    return Table(table.name, hosts, names, addresses)


class Directory:
    """All zones. ``generation`` grows with every change, so that whoever remembers an answer knows when to forget."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.generation = 0

    def put_zone(self, zone: Zone) -> None:
        """Makes the zone exactly this."""
        self.swap(zone.id, build(zone))

    def drop_zone(self, zone_id: str) -> None:
        """Absence is success."""
        if self.tables.pop(zone_id, None) is not None:
            self.generation += 1

    def put_host(self, zone_id: str, host: Host) -> None:
        """Adds a host or replaces the one with its id. A zone that was not put is unnamed until it is."""
        self.put_hosts([(zone_id, host)])

    def drop_host(self, zone_id: str, host_id: str) -> None:
        """Absence of host or zone is success."""
        self.drop_hosts([(zone_id, host_id)])

    def put_hosts(self, hosts: Iterable[tuple[str, Host]]) -> None:
        """Adds or replaces hosts of several zones (zone id, host): each zone's table is made anew once."""
        for zone_id, put in grouped(hosts).items():
            self.swap(zone_id, changed(self.tables.get(zone_id, EMPTY), put=put))

    def drop_hosts(self, hosts: Iterable[tuple[str, str]]) -> None:
        """Takes hosts out of several zones (zone id, host id). Absence is success."""
        for zone_id, drop in grouped(hosts).items():
            if zone_id in self.tables:
                self.swap(zone_id, changed(self.tables[zone_id], drop=drop))

    def swap(self, zone_id: str, table: Table) -> None:
        self.tables[zone_id] = table
        self.generation += 1

    def find(self, client: Client, name: str) -> tuple[Placed, ...]:
        """All hosts that a lower-case name means to this client; none: the name is not known here."""
        linked = tuple((host, "") for host in client.extra if name in map(str.lower, host.names))
        if linked:
            return linked
        tables = [self.tables[zone] for zone in client.zones if zone in self.tables]
        for table in tables:
            if found := table.names.get(name):
                return tuple((host, table.name) for host in found)
        for table in tables:
            stem = name.removesuffix("." + table.name.lower())
            if stem != name and table.name and (found := table.names.get(stem)):
                return tuple((host, table.name) for host in found)
        return ()

    def addresses(self, client: Client, name: str, version: int) -> tuple[bytes, ...] | None:
        """Packed addresses of the family (4 or 6); None: unknown here; empty: known, without such an address."""
        name = plain(name)
        if is_localhost(name):
            return (LOOPBACK[version],)
        found = self.find(client, name)
        if not found:
            return None
        return tuple(dict.fromkeys(packed for host, _ in found for packed in packed_addresses(host, version)))

    def knows(self, client: Client, name: str) -> bool:
        """Whether a name, or the host of a service (``_http._tcp.web``), is known here."""
        name = plain(name)
        _, host = split_service(name)
        return is_localhost(name) or bool(self.find(client, name)) or bool(host and self.find(client, host))

    def reverse(self, client: Client, address: str) -> str | None:
        """What the holder of an address is called, without the final dot; None: nobody here has it."""
        if address in ("127.0.0.1", "::1"):
            return "localhost"
        for zone in client.zones:
            table = self.tables.get(zone, EMPTY)
            for host in table.addresses.get(address, ()):
                if name := full_name(host, table.name):
                    return name
        for host in client.extra:
            if address in host.addresses and (name := full_name(host, "")):
                return name
        return None

    def services(self, client: Client, name: str) -> tuple[Service, ...] | None:
        """Where ``_http._tcp.web`` or ``_80._tcp.web`` is offered; None: no such form, or no such host here."""
        wanted, host_name = split_service(plain(name))
        found = self.find(client, host_name) if wanted else ()
        if not wanted or not found:
            return None
        places = []
        for host, network in found:
            target = full_name(host, network)
            if wanted in host.ports and target:
                port = int(wanted.partition("/")[0])
                places.append(Service(port, target, (*packed_addresses(host, 4), *packed_addresses(host, 6))))
        return tuple(places)


T = TypeVar("T")


def grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """What belongs to each key, in order."""
    groups: dict[str, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def plain(name: str) -> str:
    """A name as tables know it."""
    return name.lower().removesuffix(".")


def full_name(host: Host, network: str) -> str | None:
    """A host's first name that the wire can carry (a container may be called by more than 63 characters)."""
    for name in host.names:
        full = f"{name}.{network}" if network else name
        if encode_name(full) is not None:
            return full
    return None


def is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def split_service(name: str) -> tuple[str, str]:
    """``_http._tcp.web`` as ``80/tcp`` and ``web``; two empty words when it is no such name."""
    service, _, rest = name.partition(".")
    protocol, _, host = rest.partition(".")
    if not host or not service.startswith("_") or protocol not in ("_tcp", "_udp", "_sctp"):
        return "", ""
    word = service[1:]
    number = word if word.isascii() and word.isdigit() else SERVICES.get(word, "")
    return f"{number}/{protocol[1:]}", host


def packed_addresses(host: Host, version: int) -> Iterator[bytes]:
    """Addresses of one family, as they are on the wire."""
    for address in host.addresses:
        if (version == 6) == (":" in address):
            yield pack(address)


@lru_cache(REMEMBERED)
def pack(address: str) -> bytes:
    return ip_address(address).packed


def address_of(name: str) -> str | None:
    """The address that a lower-case name below ``in-addr.arpa`` or ``ip6.arpa`` stands for (RFC 1035, RFC 3596).

    None when it is no whole address: a border of a zone, or nonsense.
    """
    labels = name.split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        octets = labels[3::-1]
        good = all(each.isascii() and each.isdigit() and len(each) < 4 and int(each) < 256 for each in octets)
        return ".".join(str(int(each)) for each in octets) if good else None
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        digits = "".join(labels[31::-1])
        if len(digits) == 32 and set(digits) <= set("0123456789abcdef"):
            return str(IPv6Address(int(digits, 16)))
    return None
