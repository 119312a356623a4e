"""Published ports: which endpoint they lead to, and the elements of the firewall that lead there.

A publication belongs to a sandbox and names no network. It leads to the endpoint that gives the sandbox its default
route in the publication's family: so the client's address can stay as it is, and the answers still come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import pairwise

from linkspan.kernel.state import Element
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.port import Publication, Transport
from linkspan.model.sandbox import Sandbox
from linkspan.plan import firewall, gateways
from linkspan.plan.bridge import options_of

PROTOCOLS: dict[Transport, str] = {"tcp": "6", "udp": "17"}
"""Protocol numbers (IANA): nft reads names from a file that not every host has."""

Places = Sequence[tuple[Network, Endpoint]]
Target = tuple[Network, Endpoint, IPAddress]


def publications(sandbox: Sandbox, endpoints: Places) -> Iterator[Element]:
    """The elements of all ports that a sandbox publishes; the host's own sandbox needs none.

    What lets traffic in is marked so, and comes last; who may not come is dropped before that.
    """
    if sandbox.host:
        return
    wanted: list[Element] = []
    for publication in sandbox.publications:
        if relay_target(publication, endpoints) is not None:
            wanted += _enclosure(publication)
        found = target(publication, endpoints)
        if found is None:
            if relayed(publication, endpoints) is not None:
                wanted += _gate(publication)
        elif _mode(found, publication) in firewall.TRANSLATED and publication.host_port:
            wanted += _gate(publication)
            wanted += _translation(publication, found[2])
            wanted += _shortcuts(found, endpoints)
    wanted += _direct(sandbox.publications, endpoints)
    yield from dict.fromkeys(wanted)


def target(publication: Publication, endpoints: Places) -> Target | None:
    """The endpoint that a publication leads to, its network, and the container's address there.

    None where no endpoint gives a gateway in the publication's family: no network has the family, or all that have
    it are internal.
    """
    return _gateway_endpoint(publication.address.version, endpoints)


def relayed(publication: Publication, endpoints: Places) -> IPAddress | None:
    """The IPv4 address that an IPv6 publication is relayed to, when its container has no IPv6; else None.

    The kernel cannot translate between families.
    """
    if publication.address.version == 4 or not publication.host_port or target(publication, endpoints):
        return None
    found = _gateway_endpoint(4, endpoints)
    if found is None or found[0].bridge is None or found[0].bridge.gateway_mode4 not in firewall.TRANSLATED:
        return None
    return found[2]


def relay_target(publication: Publication, endpoints: Places) -> IPAddress | None:
    """The address that a relay at the publication's held sockets dials; None when the kernel does it all.

    A relay is needed for IPv6 to a container without it, and for what the kernel does not translate: ``[::1]`` and
    link-local addresses, which are among the addresses of a wildcard.
    """
    if publication.address.version == 4:
        return None
    found = target(publication, endpoints)
    if found is None:
        return relayed(publication, endpoints)
    address = publication.address
    untranslated = address.is_unspecified or address.is_loopback or address.is_link_local
    published = _mode(found, publication) in firewall.TRANSLATED and publication.host_port
    return found[2] if untranslated and published else None


def _gateway_endpoint(version: int, endpoints: Places) -> Target | None:
    for network, endpoint in gateways.by_priority(endpoints):
        address = endpoint.ipv4 if version == 4 else endpoint.ipv6
        if address is not None and gateways.gateway_of(network, version):
            return network, endpoint, address
    return None


def _mode(found: Target, publication: Publication) -> str:
    options = options_of(found[0])
    return options.gateway_mode(publication.address.version)


def _translation(publication: Publication, address: IPAddress) -> Iterator[Element]:
    """From the host's address and port to the container's.

    A range under the same numbers is one element, whose value is the address alone, so that the port stays. Under
    other numbers each port has its own, since nft knows no offset.
    """
    if publication.address.is_loopback and publication.address.version == 6:
        return
    version, protocol = address.version, PROTOCOLS[publication.protocol]
    wildcard, host = publication.wildcard, str(publication.address)
    if publication.count > 1 and publication.host_port == publication.port:
        ports = _ports(publication.host_port, publication.count)
        name, item = ("anyrange", (ports, protocol)) if wildcard else ("range", (ports, host, protocol))
        yield firewall.element(f"{name}{version}", *item, value=(str(address),), publishes=True)
        return
    for number, port in enumerate(publication.host_ports):
        name, item = ("anyport", (protocol, str(port))) if wildcard else ("port", (protocol, host, str(port)))
        value = (str(address), str(publication.port + number))
        yield firewall.element(f"{name}{version}", *item, value=value, publishes=True)


def _shortcuts(found: Target, endpoints: Places) -> Iterator[Element]:
    """Networks that the container is on too: it would answer their clients there, under an address they never asked."""
    gateway, _, address = found
    for network, endpoint in endpoints:
        for pool in network.pools:
            on_it = endpoint.ipv4 if pool.subnet.version == 4 else endpoint.ipv6
            if network.id != gateway.id and pool.subnet.version == address.version and on_it is not None:
                yield firewall.element(f"shortcut{address.version}", str(pool.subnet), str(address))


def _enclosure(publication: Publication) -> Iterator[Element]:
    """Keeps internal networks from a listener of the keeper: it would carry them out of their network.

    What the kernel translates is kept from them where it is forwarded.
    """
    protocol, address = PROTOCOLS[publication.protocol], publication.address
    if address.is_loopback:
        return
    if publication.count > 1:
        everywhere = gateways.EVERYWHERE[6] if publication.wildcard else str(address)
        ports = _ports(publication.host_port, publication.count)
        yield firewall.element("relayrange", ports, everywhere, protocol)
    elif publication.wildcard:
        yield firewall.element("anyrelay", protocol, str(publication.host_port))
    else:
        yield firewall.element("relay", protocol, str(address), str(publication.host_port))


def _gate(publication: Publication) -> Iterator[Element]:
    """Closes a limited port to all but its sources. It stands before the port is published, and goes after."""
    if not publication.limited:
        return
    version = publication.address.version
    everywhere = gateways.EVERYWHERE[version]
    address = everywhere if publication.wildcard else str(publication.address)
    item = (_ports(publication.host_port, publication.count), address, PROTOCOLS[publication.protocol])
    yield firewall.element(f"limited{version}", *item)
    for source in _sources([publication], version):
        yield firewall.element(f"allowed{version}", *item, source, publishes=True)


def _direct(publications: Sequence[Publication], endpoints: Places) -> Iterator[Element]:
    """Published ports at the containers' own addresses, where those can be reached."""
    for version in gateways.EVERYWHERE:
        found = _gateway_endpoint(version, endpoints)
        if found is None:
            continue
        options = options_of(found[0])
        mode = options.gateway_mode(version)
        if mode == "routed" or (mode == "nat" and options.trusted_interfaces):
            for protocol in PROTOCOLS:
                ours = [each for each in publications if (each.protocol, each.address.version) == (protocol, version)]
                for ports, sources in _stretches(ours, version):
                    yield from _opening(protocol, found[2], ports, sources)


def _opening(
    protocol: Transport, address: IPAddress, ports: range, sources: tuple[str, ...] | None
) -> Iterator[Element]:
    version, number, text = address.version, PROTOCOLS[protocol], str(address)
    if sources is None and len(ports) == 1:
        yield firewall.element(f"open{version}", number, text, str(ports.start), publishes=True)
        return
    item = (_ports(ports.start, len(ports)), text, number)
    if sources is None:
        yield firewall.element(f"openrange{version}", *item, publishes=True)
    for source in sources or ():
        yield firewall.element(f"openfrom{version}", *item, source, publishes=True)


def _stretches(publications: Sequence[Publication], version: int) -> list[tuple[range, tuple[str, ...] | None]]:
    """Runs of container ports with who may reach them (None: everybody), in order and none over another.

    Several publications may lead to one container port, each with sources of its own: whoever may come by one of
    them may come. nftables refuses elements that overlap.
    """
    edges = sorted({edge for each in publications for edge in (each.port, each.port + each.count)})
    found: list[tuple[range, tuple[str, ...] | None]] = []
    for start, end in pairwise(edges):
        covering = [each for each in publications if each.port <= start < each.port + each.count]
        if not covering:
            continue
        sources = _sources(covering, version) if all(each.limited for each in covering) else None
        if found and found[-1][0].stop == start and found[-1][1] == sources:
            start = found.pop()[0].start
        found.append((range(start, end), sources))
    return found


def _sources(publications: Sequence[Publication], version: int) -> tuple[str, ...]:
    """All sources of a family as few networks, none in another: nftables refuses intervals that overlap."""
    sources = [source for each in publications for source in each.sources]
    if version == 4:
        return tuple(map(_network, collapse_addresses(each for each in sources if isinstance(each, IPv4Network))))
    return tuple(map(_network, collapse_addresses(each for each in sources if isinstance(each, IPv6Network))))


def _network(network: IPNetwork) -> str:
    """A network as nft lists it: one address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _ports(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
