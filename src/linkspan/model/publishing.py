"""From ``-p`` and ``-P`` to what is to be published: addresses, protocols, runs of ports. Pure.

Which ports of the host are free is for ``engine.ports`` to find out; here is only what a definition means. The Docker
client expands ``-p 8000-18000:8000-18000`` into 10,001 bindings: consecutive ones become one wish again, so that a
range costs one element in the firewall.

As with Docker, all bindings of one container port that ask for the same host port (or for any) get the same one,
on all their addresses and in both families: a name with A and AAAA records then works for either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

import msgspec

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import ContainerSpec, PortBinding
from linkspan.model.image import ImageConfig
from linkspan.model.network import BridgeOptions, GatewayMode
from linkspan.model.port import Publication, Transport

LAST_PORT = 65535
"""RFC 9293 section 3.1 and RFC 768: ports have 16 bits."""

ANY4 = IPv4Address("0.0.0.0")
ANY6 = IPv6Address("::")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be published under one choice of host ports, the same on every one of ``addresses``.

    ``first`` and ``last`` are the host ports that will do. A fixed wish has exactly as many as it needs; one with
    more of them takes any one; 0 and 0 is any free one of the host's. Only fixed and routed wishes have a count
    above 1.
    """

    protocol: Transport
    addresses: tuple[IPAddress, ...]
    """Of the host; 0.0.0.0 and ``::`` for all of a family."""
    port: int
    """The first one in the container."""
    count: int = 1
    first: int = 0
    last: int = 0
    routed: bool = False
    """Only the container's own port opens: no host port is needed."""
    limited: bool = False
    sources: tuple[IPNetwork, ...] = ()
    """Who may come, as in ``Publication``."""
    warning: str = ""

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.routed or (self.first > 0 and self.last - self.first + 1 == self.count)

    def publications(self, host_port: int) -> tuple[Publication, ...]:
        """What becomes of it at this (first) host port, one an address."""
        return tuple(
            Publication(
                protocol=self.protocol,
                address=address,
                host_port=host_port,
                port=self.port,
                count=self.count,
                limited=self.limited,
                sources=self.sources,
            )
            for address in self.addresses
        )


def wishes(
    spec: ContainerSpec,
    image: ImageConfig,
    options: BridgeOptions,
    *,
    options6: BridgeOptions | None = None,
    default: IPAddress | None = None,
    ipv4: bool = True,
    ipv6: bool = True,
) -> tuple[Wish, ...]:
    """What this definition publishes, in its order.

    ``options`` are those of the network that gives the sandbox its gateway, ``options6`` of the one that gives the
    IPv6 gateway where that is another. ``default`` is the daemon's address for bindings that name none
    (``DaemonConfig.publish_address``); the network's ``host_binding`` goes before it. ``ipv4`` says whether the
    sandbox has IPv4 (from IPv4 to IPv6 nothing is carried), ``ipv6`` whether the host has IPv6 and it leads to the
    sandbox (to one without it the keeper carries, unless its network routes).

    InvalidRequest for a binding that can never work and for two bindings that want the same host port;
    NotSupported for sctp.
    """
    places = {4: _Place(options, default, ipv4), 6: _Place(options6 or options, default, ipv6)}
    single = list(_single(spec, _asked(spec, image), places))
    found = _coalesced(single)
    _refuse_overlaps(found)
    return found


def reservation_key(sandbox_id: str, publication: Publication) -> str:
    """Under which the keeper holds the sockets of a publication."""
    return f"{sandbox_id}/{publication.protocol}/{publication.address}/{publication.host_port}"


def spelled(protocol: Transport, address: IPAddress, first: int, count: int = 1) -> str:
    """``port 8080/tcp on 0.0.0.0``, ``ports 8000-8010/udp on ::``: as messages name host ports."""
    numbers = f"port {first}" if count == 1 else f"ports {first}-{first + count - 1}"
    return f"{numbers}/{protocol} on {address}"


def overlap(one: IPAddress, other: IPAddress) -> bool:
    """Whether what is published on the two addresses would meet: equal ones, and wildcards with all of the family."""
    return one.version == other.version and (one == other or one.is_unspecified or other.is_unspecified)


class _Place:
    """Where one family publishes."""

    def __init__(self, options: BridgeOptions, default: IPAddress | None, present: bool) -> None:
        self.options = options
        self.default = options.host_binding or default
        self.present = present

    def mode(self, version: int) -> GatewayMode:
        return self.options.gateway_mode4 if version == 4 else self.options.gateway_mode6

    def default_address(self, version: int) -> IPAddress | None:
        """For a binding without an address; None: it is not published in this family.

        Docker's meaning: 0.0.0.0 is every address of both families, ``::`` every one of IPv6.
        """
        if not self.present:
            return None
        if self.default is None or self.default == ANY4 or self.mode(version) == "routed":
            return _any(version)
        return self.default if self.default.version == version else None


def _asked(spec: ContainerSpec, image: ImageConfig) -> Iterator[PortBinding]:
    """The bindings, and with ``-P`` one more for each exposed port that has none."""
    yield from spec.port_bindings
    if not spec.publish_all:
        return
    bound = {(item.protocol, item.port) for item in spec.port_bindings}
    exposed = [port for text in (*spec.exposed_ports, *image.exposed_ports) for port in _exposed(text)]
    for protocol, port in dict.fromkeys(exposed):
        if (protocol, port) not in bound:
            yield PortBinding(port=port, protocol=protocol)


def _exposed(text: str) -> Iterator[tuple[Transport, int]]:
    """``80``, ``80/tcp`` and ``8000-8010/udp``: images say all three."""
    numbers, _, name = text.partition("/")
    protocol = _transport(name.lower() or "tcp", text)
    first, last = _numbers(numbers, f"exposed port {text}")
    for port in range(first, last + 1):
        yield protocol, port


def _transport(name: str, text: str) -> Transport:
    if name == "tcp":
        return "tcp"
    if name == "udp":
        return "udp"
    if name == "sctp":
        raise NotSupported(f"port {text} cannot be published: sctp is not supported", remedy="publish tcp or udp")
    raise InvalidRequest(f"port {text}: {name} is no protocol that can be published", remedy="say tcp or udp")


def _numbers(text: str, what: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    digits = (low, high) if dash else (low, low)
    if not all(item.isascii() and item.isdigit() and len(item) <= 5 for item in digits):
        raise InvalidRequest(f"{what} is not a port or a range of ports", remedy="say 8080 or 8000-8010")
    first, last = int(digits[0]), int(digits[1])
    if not 0 < first <= last <= LAST_PORT:
        raise InvalidRequest(f"{what} lies outside 1-{LAST_PORT} or runs backwards", remedy="correct it")
    return first, last


Way = Literal["translated", "routed", "closed"]
"""``closed``: routed, and open to the host alone."""

Group = tuple[Transport, int, int, int, Way]
"""Protocol, container port, first and last host port that will do, way."""


def _single(spec: ContainerSpec, asked: Iterable[PortBinding], places: dict[int, _Place]) -> Iterator[Wish]:
    """One wish for each container port and choice of host ports, with all addresses that ask for it."""
    groups: dict[Group, dict[IPAddress, None]] = {}
    warnings: dict[Group, str] = {}
    spellings: dict[str, tuple[IPAddress, ...]] = {}
    for binding in asked:
        protocol = _transport(binding.protocol, f"{binding.port}/{binding.protocol}")
        first, last = _host_ports(binding)
        if binding.host_ip not in spellings:
            spellings[binding.host_ip] = _addresses(binding, places)
        for address in spellings[binding.host_ip]:
            mode = places[address.version].mode(address.version)
            if mode == "routed":
                way: Way = "closed" if address.is_loopback else "routed"
                group: Group = (protocol, binding.port, 0, 0, way)
                groups.setdefault(group, {})[_any(address.version)] = None
                if not address.is_unspecified:
                    warnings[group] = _unused(binding, address)
            elif mode != "isolated":
                groups.setdefault((protocol, binding.port, first, last, "translated"), {})[address] = None
    _refuse_unpublished_sources(spec, groups)
    for group, found in groups.items():
        protocol, port, first, last, way = group
        opened = groups.get((protocol, port, 0, 0, "routed"), {}) if way == "closed" else {}
        addresses = tuple(item for item in _uncovered(found) if item not in opened)
        limited, sources = (True, ()) if way == "closed" else _sources(spec, protocol, port)
        if addresses:
            yield Wish(
                protocol=protocol,
                addresses=addresses,
                port=port,
                first=first,
                last=last,
                routed=way != "translated",
                limited=limited,
                sources=sources,
                warning=warnings.get(group, ""),
            )


def _host_ports(binding: PortBinding) -> tuple[int, int]:
    if binding.host_port in ("", "0"):
        return 0, 0
    return _numbers(binding.host_port, f"host port {binding.host_port} of port {binding.port}/{binding.protocol}")


def _addresses(binding: PortBinding, places: dict[int, _Place]) -> tuple[IPAddress, ...]:
    """The host addresses of a binding; InvalidRequest where there is none."""
    port = f"port {binding.port}/{binding.protocol}"
    if not binding.host_ip:
        defaults = [places[version].default_address(version) for version in (4, 6)]
        found = tuple(item for item in defaults if item is not None)
        if not found:
            raise InvalidRequest(
                f"{port} cannot be published: the default address {places[4].default or ANY4} is of a family that "
                "the container or the host does not have",
                remedy="name an address of the host, as in -p ADDRESS:8080:80",
            )
        return found
    address = _parsed(binding.host_ip, port)
    if not places[address.version].present:
        missing = "the container has no IPv4" if address.version == 4 else "no IPv6 leads to the container"
        raise InvalidRequest(
            f"{port} cannot be published on {address}: {missing}", remedy="name an address of the other family"
        )
    return (address,)


def _parsed(text: str, port: str) -> IPAddress:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{port} cannot be published on {text}: that is not an IP address", remedy="name an address of the host"
        ) from error
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise InvalidRequest(
            f"{port} cannot be published on {address}: that is no address of one host",
            remedy="name an address of the host",
        )
    if address.version == 6 and address.is_link_local:
        raise InvalidRequest(
            f"{port} cannot be published on {address}: a link-local address means another host on every link",
            remedy="name a global or unique local address",
        )
    return address


def _any(version: int) -> IPAddress:
    return ANY4 if version == 4 else ANY6


def _unused(binding: PortBinding, address: IPAddress) -> str:
    """A warning: where packets are routed, there is no host address that a port could be bound to."""
    who = "only the host itself reaches the port" if address.is_loopback else "the port is open"
    return (
        f"port {binding.port}/{binding.protocol}: the network routes IPv{address.version}, so {address} is not used; "
        f"{who}, at the container's own address"
    )


def _uncovered(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Without those that a wildcard covers: the port is the same."""
    wild = {item.version for item in addresses if item.is_unspecified}
    return tuple(item for item in addresses if item.is_unspecified or item.version not in wild)


def _sources(spec: ContainerSpec, protocol: Transport, port: int) -> tuple[bool, tuple[IPNetwork, ...]]:
    """Whether the port is limited, and to whom: its own list goes before that of all ports."""
    found = spec.publish_sources.get(f"{port}/{protocol}", spec.publish_sources.get(""))
    return found is not None, found or ()


def _refuse_unpublished_sources(spec: ContainerSpec, published: Iterable[Group]) -> None:
    known = {f"{port}/{protocol}" for protocol, port, *_ in published} if spec.publish_sources else set()
    for text in spec.publish_sources:
        if text and text not in known:
            raise InvalidRequest(
                f"sources are given for port {text}, which is not published", remedy=f"publish it with -p {text}"
            )


def _coalesced(single: Sequence[Wish]) -> tuple[Wish, ...]:
    """Runs of consecutive ports as one wish each, in the order in which the first of each run came.

    Bindings come sorted as text (``10000/tcp`` before ``8000/tcp``), so neighbours are found by sorting numbers. The
    time is that of one sort.
    """
    runs: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    ordered: list[tuple[int, Wish]] = []
    for index, wish in enumerate(single):
        if wish.fixed:
            shift = 0 if wish.routed else wish.first - wish.port
            alike = (wish.protocol, shift, wish.routed, wish.addresses, wish.limited, wish.sources)
            runs.setdefault(alike, []).append((wish.port, index))
        else:
            ordered.append((index, wish))
    for members in runs.values():
        members.sort()
        start = 0
        for end in range(1, len(members) + 1):
            if end < len(members) and members[end][0] == members[end - 1][0] + 1:
                continue
            positions = [index for _, index in members[start:end]]
            head, count = single[positions[0]], end - start
            warning = next((single[index].warning for index in positions if single[index].warning), "")
            last = 0 if head.routed else head.first + count - 1
            ordered.append((min(positions), msgspec.structs.replace(head, count=count, last=last, warning=warning)))
            start = end
    ordered.sort(key=lambda pair: pair[0])
    return tuple(wish for _, wish in ordered)


def _refuse_overlaps(found: Iterable[Wish]) -> None:
    """InvalidRequest for two fixed wishes that need one host port."""
    fixed = sorted((item for item in found if item.fixed and not item.routed), key=lambda item: item.first)
    open_ended: list[Wish] = []
    for wish in fixed:
        open_ended = [item for item in open_ended if item.last >= wish.first]
        for other in open_ended:
            if other.protocol != wish.protocol:
                continue
            for address in wish.addresses:
                if any(overlap(address, item) for item in other.addresses):
                    here, there = (item.port + wish.first - item.first for item in (wish, other))
                    raise InvalidRequest(
                        f"{spelled(wish.protocol, address, wish.first)} is asked for twice, for the container's "
                        f"ports {there} and {here}",
                        remedy="choose another host port for one of them",
                    )
        open_ended.append(wish)
