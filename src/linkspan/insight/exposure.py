"""Every way in from outside: which ports of which container are open to whom, v4 and v6, and what says otherwise.

Pure, and from the same functions that plan the firewall, so the list is what a neighbour's scan finds:

* ``nat``: published on the host's addresses and translated by the kernel;
* ``relay``: published, and answered by a listener of ours on the host, which dials the container (IPv6 to a
  container without it, ``[::1]``, link-local addresses);
* ``routed``: published ports at the container's own address, for whoever has a route, or for trusted interfaces;
* ``unprotected``: all ports of the container's own address, in gateway mode nat-unprotected.

Containers in the host's own namespace have no row: what they listen on is the host's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from linkspan.insight.views import Exposure
from linkspan.kernel import foreign
from linkspan.kernel.passage import Packet, Ruleset, Stop, stops
from linkspan.model.address import IPAddress
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.port import MOST_HELD, Publication, Transport
from linkspan.model.sandbox import Sandbox
from linkspan.plan import firewall, ports
from linkspan.plan.bridge import options_of

Places = Sequence[tuple[Network, Endpoint]]
Reach = Literal["everywhere", "host", "sources"]

EVERY_PORT = 65535
TRANSPORTS: tuple[Transport, ...] = ("tcp", "udp")
DESTINATION_NAT = -100
"""NF_IP_PRI_NAT_DST: chains of a lower priority see the port of the host, later ones that of the container."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One row with what its judgement needs."""

    row: Exposure
    bridge: str
    inside: IPAddress
    """The container's address."""


def exposures(
    sandboxes: Iterable[Sandbox],
    networks: Mapping[str, Network],
    endpoints: Iterable[Endpoint],
    *,
    host_addresses: Collection[IPAddress],
    rules: Ruleset,
) -> tuple[Exposure, ...]:
    """All ways in, by container, protocol, port and address.

    ``networks`` are by id; ``rules`` are other people's firewalls (``kernel.foreign.read``).
    """
    places: dict[str, list[tuple[Network, Endpoint]]] = {}
    for endpoint in endpoints:
        if endpoint.network_id in networks:
            places.setdefault(endpoint.sandbox_id, []).append((networks[endpoint.network_id], endpoint))
    found = [
        msgspec.structs.replace(way.row, contradiction=contradiction(way, rules))
        for sandbox in sandboxes
        if not sandbox.host
        for way in ways(sandbox, places.get(sandbox.id, []), host_addresses)
    ]
    return tuple(sorted(found, key=lambda row: (row.container, row.protocol, row.host_port, row.address, row.way)))


def ways(sandbox: Sandbox, places: Places, host_addresses: Collection[IPAddress]) -> Iterator[Way]:
    """The rows of one sandbox, still without what others' firewalls say."""
    for publication in sandbox.publications:
        yield from published(sandbox, publication, places, host_addresses)
    yield from dict.fromkeys(opened(sandbox, places))
    for network, endpoint in places:
        yield from unprotected(sandbox, network, endpoint)


def published(
    sandbox: Sandbox, publication: Publication, places: Places, host_addresses: Collection[IPAddress]
) -> Iterator[Way]:
    """A publication at addresses of the host.

    Nothing where it leads nowhere, opens the container's own port, or has too many ports for the relay that it needs.
    """
    if not publication.host_port:
        return
    address = publication.address
    found = ports.target(publication, places)
    relayed = ports.relayed(publication, places)
    if found is not None and options_of(found[0]).gateway_mode(address.version) in firewall.TRANSLATED:
        network, inside = found[0], found[2]
        untranslated = address.version == 6 and (address.is_loopback or address.is_link_local)
    elif relayed is not None and publication.count <= MOST_HELD:
        network, inside, untranslated = network_with(relayed, places), relayed, True
    else:
        return
    reach, sources = who(publication)
    row = Exposure(
        container=sandbox.owner_name,
        network=network.name,
        protocol=publication.protocol,
        address=str(address),
        host_port=publication.host_port,
        port=publication.port,
        count=publication.count,
        reach="host" if address.is_loopback else reach,
        sources=() if address.is_loopback else sources,
        way="relay" if untranslated else "nat",
        pending=not (publication.wildcard or address.is_loopback or address in host_addresses),
    )
    yield Way(row=row, bridge=options_of(network).bridge_name, inside=inside)


def opened(sandbox: Sandbox, places: Places) -> Iterator[Way]:
    """Published ports at the container's own address: in mode routed, and for trusted interfaces."""
    for publication in sandbox.publications:
        found = ports.target(publication, places)
        if found is None:
            continue
        network, _, inside = found
        options = options_of(network)
        mode = options.gateway_mode(inside.version)
        reach, sources = who(publication)
        if mode == "nat" and options.trusted_interfaces and reach != "host":
            nets = sources or ("",)
            by = [f"interface {name}" for name in options.trusted_interfaces]
            reach, sources = "sources", tuple(f"{net} by {each}".removeprefix(" by ") for each in by for net in nets)
        elif mode != "routed" or reach == "host":
            continue
        row = Exposure(
            container=sandbox.owner_name,
            network=network.name,
            protocol=publication.protocol,
            address=str(inside),
            host_port=publication.port,
            port=publication.port,
            count=publication.count,
            reach=reach,
            sources=sources,
            way="routed",
        )
        yield Way(row=row, bridge=options.bridge_name, inside=inside)


def unprotected(sandbox: Sandbox, network: Network, endpoint: Endpoint) -> Iterator[Way]:
    """All ports of an endpoint's own addresses, where its network leaves them open."""
    options = network.bridge
    if options is None or network.internal:
        return
    for pool in network.pools:
        version = pool.subnet.version
        address = endpoint.ipv4 if version == 4 else endpoint.ipv6
        if address is None or options.gateway_mode(version) != "nat-unprotected":
            continue
        for protocol in TRANSPORTS:
            row = Exposure(
                container=sandbox.owner_name,
                network=network.name,
                protocol=protocol,
                address=str(address),
                host_port=1,
                port=1,
                count=EVERY_PORT,
                way="unprotected",
            )
            yield Way(row=row, bridge=options.bridge_name, inside=address)


def who(publication: Publication) -> tuple[Reach, tuple[str, ...]]:
    """Who may come to a publication. One that is limited to nobody of its family is the host's alone."""
    if not publication.limited:
        return "everywhere", ()
    sources = tuple(str(each) for each in publication.sources if each.version == publication.address.version)
    return ("sources", sources) if sources else ("host", ())


def network_with(address: IPAddress, places: Places) -> Network:
    """The network on which the sandbox has this address. It has it: ``places`` gave it."""
    return next(network for network, endpoint in places if address in (endpoint.ipv4, endpoint.ipv6))


def contradiction(way: Way, rules: Ruleset) -> str:
    """Where the host's own firewall means otherwise: it stops what we let in, or seems to stop what gets in."""
    row = way.row
    if row.reach == "host":
        return ""
    dialled = port_text(row, row.host_port)
    at_host = stopped_at_host(way, rules)
    if row.way == "relay":
        return closed(rules, at_host, row, opening=True) if at_host else ""
    on_the_way, answers = stopped_on_the_way(way, rules), stopped_on_the_way_back(way, rules)
    if on_the_way or answers:
        return closed(rules, on_the_way, row, bridge=way.bridge, answers=answers)
    if row.way == "nat" and at_host:
        owner = foreign.owner_of(rules, at_host[0])
        return (
            f"{owner} refuses {dialled} to the host itself ({foreign.where(at_host[0].base)}: {at_host[0].what}), "
            "but published ports are forwarded and never come by there, so it is open"
        )
    return ""


def stopped_on_the_way(way: Way, rules: Ruleset) -> tuple[Stop, ...]:
    """Where the way through the host to the container certainly ends."""
    row, version = way.row, way.inside.version
    forwarded = Packet(
        hook="forward",
        version=version,
        outgoing=way.bridge,
        protocol=row.protocol,
        port=row.port if row.count < EVERY_PORT else 0,
        destination=way.inside,
        translated=row.way == "nat",
    )
    arriving = Packet(
        hook="prerouting", version=version, protocol=row.protocol, port=row.host_port if row.count < EVERY_PORT else 0
    )
    early = [stop for stop in stops(rules, arriving) if row.way != "nat" or stop.base.priority < DESTINATION_NAT]
    return (*early, *stops(rules, forwarded))


def stopped_on_the_way_back(way: Way, rules: Ruleset) -> tuple[Stop, ...]:
    """Where the container's answers certainly end: a chain may let clients in and not know their connections."""
    row, version = way.row, way.inside.version
    answer = Packet(
        hook="forward",
        version=version,
        incoming=way.bridge,
        protocol=row.protocol,
        port=row.port if row.count < EVERY_PORT else 0,
        source=way.inside,
        translated=row.way == "nat",
        answering=True,
    )
    return stops(rules, answer)


def stopped_at_host(way: Way, rules: Ruleset) -> tuple[Stop, ...]:
    """Where a connection to the same port of the host itself certainly ends."""
    row = way.row
    version = 6 if ":" in row.address else 4
    return stops(rules, Packet(hook="input", version=version, protocol=row.protocol, port=row.host_port))


def closed(
    rules: Ruleset,
    arriving: Sequence[Stop],
    row: Exposure,
    *,
    bridge: str = "",
    opening: bool = False,
    answers: Sequence[Stop] = (),
) -> str:
    """The sentence for a port that foreign chains close, to its clients or to the answers."""
    stop = (*arriving, *answers)[0]
    lines = [
        foreign.opening(rules, each, row.protocol, row.host_port)
        if opening or each.base.hook == "prerouting"
        else foreign.lifting(rules, foreign.owner_of(rules, each), each.base, bridge, "in")
        for each in arriving[:1]
    ]
    lines += [foreign.lifting(rules, foreign.owner_of(rules, each), each.base, bridge, "out") for each in answers[:1]]
    stopped = port_text(row, row.host_port) if arriving else f"the answers of {port_text(row, row.host_port)}"
    return (
        f"{foreign.owner_of(rules, stop)} stops {stopped} on {'its' if arriving else 'their'} way "
        f"({foreign.where(stop.base)}: {stop.what}), so nobody outside gets through; "
        f"to open it: {' && '.join(dict.fromkeys(lines))}"
    )


def port_text(row: Exposure, first: int) -> str:
    """``tcp port 80``, ``udp ports 9000-9010``, ``all tcp ports``."""
    if row.count >= EVERY_PORT:
        return f"all {row.protocol} ports"
    if row.count == 1:
        return f"{row.protocol} port {first}"
    return f"{row.protocol} ports {first}-{first + row.count - 1}"
