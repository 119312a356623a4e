"""Whatever is published, the elements lead each port where it should go, let in whom they should, and never overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.kernel.state import Element
from linkspan.model.address import IPAddress
from linkspan.model.port import Publication
from linkspan.plan import ports
from plan_cases import container_sandbox, endpoint, network, published

DUAL = network("dual", "10.7.0.0/24", "fd00:7::/64")
ROUTED = network("open", "10.7.0.0/24", "fd00:7::/64", change={"gateway_mode4": "routed", "gateway_mode6": "routed"})
OWN = {4: "10.7.0.2", 6: "fd00:7::2"}
ADDRESSES = ("0.0.0.0", "192.0.2.1", "127.0.0.1", "::", "2001:db8::1")
SOURCES = ("10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/9", "192.0.2.9/32", "0.0.0.0/0", "2001:db8::/32", "2001:db8:1::/48")
CLIENTS = tuple(map(ip_address, ("10.1.2.3", "10.200.0.1", "192.0.2.9", "203.0.113.1", "2001:db8:1::1", "2001:db9::1")))


@st.composite
def publication_lists(draw: st.DrawFn) -> tuple[Publication, ...]:
    """Up to six, no two on one host port: reservations see to that."""
    found = []
    for slot in range(draw(st.integers(1, 6))):
        host_port = 1000 * (slot + 1) + draw(st.integers(0, 9))
        found.append(
            published(
                draw(st.sampled_from(ADDRESSES)),
                host_port,
                draw(st.one_of(st.just(host_port), st.integers(1, 30))),
                draw(st.integers(1, 12)),
                protocol=draw(st.sampled_from(["tcp", "udp"])),
                sources=draw(st.none() | st.lists(st.sampled_from(SOURCES), max_size=4).map(tuple)),
            )
        )
    return tuple(found)


def wanted(publications: Sequence[Publication], *, routed: bool = False) -> list[Element]:
    on = ROUTED if routed else DUAL
    return list(ports.publications(container_sandbox(publications=tuple(publications)), [(on, endpoint(on))]))


def covers(part: str, value: str) -> bool:
    """Whether a part of an element holds a port, an address or a protocol."""
    if "/" in part:
        address, block = ip_address(value), ip_network(part)
        return address.version == block.version and address in block
    low, dash, high = part.partition("-")
    return int(low) <= int(value) <= int(high) if dash else part == value


def found_in(elements: Iterable[Element], name: str, *key: str) -> Element | None:
    for each in elements:
        if each.set == name and all(covers(part, value) for part, value in zip(each.item, key, strict=True)):
            return each
    return None


def translated(elements: list[Element], protocol: str, address: str, port: int) -> tuple[str, int] | None:
    """As the chain ``publish`` does."""
    version, number = ip_address(address).version, str(port)
    looks = (
        (f"port{version}", protocol, address, number),
        (f"anyport{version}", protocol, number),
        (f"range{version}", number, address, protocol),
        (f"anyrange{version}", number, protocol),
    )
    for name, *key in looks:
        hit = found_in(elements, name, *key)
        if hit is not None:
            return hit.value[0], int(hit.value[1]) if len(hit.value) > 1 else port
    return None


def stopped(elements: list[Element], protocol: str, address: str, port: int, client: IPAddress) -> bool:
    """As the chain ``arrive`` does."""
    version, key = client.version, (str(port), address, protocol)
    limited = found_in(elements, f"limited{version}", *key) is not None
    return limited and found_in(elements, f"allowed{version}", *key, str(client)) is None


def may_come(publication: Publication, client: IPAddress) -> bool:
    return not publication.limited or any(client in each for each in publication.sources)


@given(publication_lists())
def test_every_port_leads_where_it_should_and_no_other_port_anywhere(publications: tuple[Publication, ...]) -> None:
    elements = wanted(publications)
    for each in publications:
        version, protocol = each.address.version, ports.PROTOCOLS[each.protocol]
        asked = {4: "198.51.100.1", 6: "2001:db8:51::1"}[version] if each.wildcard else str(each.address)
        for number, port in enumerate(each.host_ports):
            assert translated(elements, protocol, asked, port) == (OWN[version], each.port + number)
        assert translated(elements, protocol, asked, each.host_port - 1) is None
        assert translated(elements, protocol, asked, each.host_ports.stop) is None
        if not each.wildcard:
            assert (
                translated(elements, protocol, {4: "203.0.113.9", 6: "2001:db8:9::9"}[version], each.host_port) is None
            )


@given(publication_lists())
def test_who_is_not_on_a_list_is_stopped_and_nobody_else(publications: tuple[Publication, ...]) -> None:
    elements = wanted(publications)
    for each in publications:
        asked = {4: "198.51.100.1", 6: "2001:db8:51::1"}[each.address.version] if each.wildcard else str(each.address)
        for client in CLIENTS:
            if client.version == each.address.version:
                for port in (each.host_ports[0], each.host_ports[-1]):
                    protocol = ports.PROTOCOLS[each.protocol]
                    assert stopped(elements, protocol, asked, port, client) != may_come(each, client)


@given(publication_lists())
def test_a_routed_port_is_open_to_whom_any_of_its_publications_lets_in(publications: tuple[Publication, ...]) -> None:
    elements = wanted(publications, routed=True)
    assert not [each for each in elements if not each.set.startswith("open")]
    candidates = {port for each in publications for port in range(each.port, each.port + each.count + 1)}
    for port in candidates:
        for client in CLIENTS:
            version = client.version
            for protocol, number in ports.PROTOCOLS.items():
                key = (str(port), OWN[version], number)
                is_open = (
                    found_in(elements, f"open{version}", number, OWN[version], str(port))
                    or found_in(elements, f"openrange{version}", *key)
                    or found_in(elements, f"openfrom{version}", *key, str(client))
                )
                covering = [
                    each
                    for each in publications
                    if (each.protocol, each.address.version) == (protocol, version)
                    and each.port <= port < each.port + each.count
                ]
                assert bool(is_open) == any(may_come(each, client) for each in covering)


@given(publication_lists(), st.booleans())
def test_no_two_elements_of_an_interval_set_overlap(publications: tuple[Publication, ...], routed: bool) -> None:
    by_set: dict[str, list[Element]] = defaultdict(list)
    for each in wanted(publications, routed=routed):
        by_set[each.set].append(each)
    for elements in by_set.values():
        for one, other in combinations(elements, 2):
            assert not all(map(meet, one.item, other.item)), (one, other)


def meet(one: str, other: str) -> bool:
    """Whether two parts hold anything in common."""
    if ":" in one + other or "." in one + other or "/" in other:
        return ip_network(one).overlaps(ip_network(other))
    if "-" in one or "-" in other:
        (low, high), (first, last) = ends(one), ends(other)
        return low <= last and first <= high
    return one == other


def ends(part: str) -> tuple[int, int]:
    low, _, high = part.partition("-")
    return int(low), int(high or low)
