"""Where published ports lead: the endpoint with the gateway, and what a relay carries where the kernel cannot."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from linkspan.kernel.state import Element
from linkspan.model.network import Network
from linkspan.model.port import Publication
from linkspan.plan import ports
from plan_cases import Pair, container_sandbox, endpoint, network, published

FOUR = network("four", "10.4.0.0/24", digit="4")
SIX = network("six", "fd00:6::/64", digit="6")
DUAL = network("dual", "10.7.0.0/24", "fd00:7::/64", digit="7")
VAULT = network("vault", "10.8.0.0/24", "fd00:8::/64", digit="8", internal=True)
OPEN = network("open", "10.9.0.0/24", "fd00:9::/64", digit="9", change={"gateway_mode4": "routed"})
ALL_ROUTED = network(
    "routed", "10.9.0.0/24", "fd00:9::/64", digit="9", change={"gateway_mode4": "routed", "gateway_mode6": "routed"}
)
ANY4, ANY6 = published("0.0.0.0", 8080, 80), published("::", 8080, 80)


def places(*networks: Network) -> list[Pair]:
    return [(each, endpoint(each, index)) for index, each in enumerate(networks)]


def elements(*publications: Publication, on: list[Pair]) -> list[Element]:
    return list(ports.publications(container_sandbox(publications=publications), on))


RELAYED = ("anyrelay", "relay", "relayrange")


def texts(found: list[Element]) -> list[str]:
    """Without what keeps internal networks from the relay: that has a test of its own."""
    return [text(each) for each in found if each.set not in RELAYED]


def text(element: Element) -> str:
    return " ".join((element.set, *element.item, ":", *element.value)).rstrip(" :")


@pytest.mark.parametrize(
    ("publication", "networks", "address"),
    [
        (ANY4, (FOUR,), "10.4.0.2"),
        (ANY4, (SIX, FOUR), "10.4.0.2"),
        (ANY4, (FOUR, DUAL), "10.7.0.2"),
        (ANY6, (FOUR, DUAL), "fd00:7::2"),
        (ANY6, (FOUR,), None),
        (ANY4, (SIX,), None),
        (ANY4, (VAULT,), None),
        (ANY4, (VAULT, FOUR), "10.4.0.2"),
        (ANY4, (), None),
    ],
)
def test_a_publication_leads_to_the_endpoint_with_the_gateway_of_its_family(
    publication: Publication, networks: tuple[Network, ...], address: str | None
) -> None:
    found = ports.target(publication, places(*networks))
    assert (str(found[2]) if found else None) == address


def test_gateway_priority_decides_before_the_name() -> None:
    pairs = [(DUAL, endpoint(DUAL, 0)), (FOUR, endpoint(FOUR, 1, priority=1))]
    found = ports.target(ANY4, pairs)
    assert found is not None
    assert found[0] == FOUR
    found = ports.target(ANY6, pairs)
    assert found is not None
    assert found[0] == DUAL


@pytest.mark.parametrize(
    ("publication", "networks", "address"),
    [
        (ANY4, (FOUR,), None),
        (published("127.0.0.1", 8080, 80), (DUAL,), None),
        (ANY6, (FOUR,), "10.4.0.2"),
        (published("2001:db8::1", 8080, 80), (FOUR,), "10.4.0.2"),
        (ANY6, (DUAL,), "fd00:7::2"),
        (published("::1", 8080, 80), (DUAL,), "fd00:7::2"),
        (published("fe80::1", 8080, 80), (DUAL,), "fd00:7::2"),
        (published("2001:db8::1", 8080, 80), (DUAL,), None),
        (ANY6, (VAULT,), None),
        (ANY6, (), None),
        (ANY6, (ALL_ROUTED,), None),
        (published("::", 0, 80), (ALL_ROUTED,), None),
        (published("::", 0, 80), (FOUR,), None),
        (ANY6, (OPEN,), "fd00:9::2"),
    ],
)
def test_a_relay_carries_what_the_kernel_cannot(
    publication: Publication, networks: tuple[Network, ...], address: str | None
) -> None:
    assert ports.relay_target(publication, places(*networks)) == (ip_address(address) if address else None)


def test_ipv6_is_not_relayed_to_a_routed_network_without_it() -> None:
    routed = network("open", "10.9.0.0/24", digit="9", change={"gateway_mode4": "routed"})
    assert ports.relayed(ANY6, places(routed)) is None
    assert ports.relayed(ANY6, places(FOUR)) == ip_address("10.4.0.2")
    assert ports.relayed(ANY6, places(DUAL)) is None
    assert ports.relayed(ANY4, places(FOUR)) is None


def test_single_ports_ranges_and_shifted_ranges_have_maps_of_their_own() -> None:
    found = elements(
        ANY4,
        published("192.0.2.1", 5353, 53, protocol="udp"),
        published("0.0.0.0", 9000, 9000, 11),
        published("192.0.2.1", 9100, 9100, 2),
        published("::", 7000, 70, 2),
        published("::1", 6000, 60),
        on=places(DUAL),
    )
    assert texts(found) == [
        "anyport4 6 8080 : 10.7.0.2 80",
        "port4 17 192.0.2.1 5353 : 10.7.0.2 53",
        "anyrange4 9000-9010 6 : 10.7.0.2",
        "range4 9100-9101 192.0.2.1 6 : 10.7.0.2",
        "anyport6 6 7000 : fd00:7::2 70",
        "anyport6 6 7001 : fd00:7::2 71",
    ]
    assert all(each.publishes for each in found if each.set not in RELAYED)


def test_a_range_of_ten_thousand_ports_is_one_element() -> None:
    assert len(elements(published("0.0.0.0", 20000, 20000, 10000), on=places(FOUR))) == 1


def test_a_limited_port_is_closed_before_it_is_published() -> None:
    sources = ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/25", "192.0.2.128/25", "2001:db8::7/128")
    found = elements(
        published("0.0.0.0", 8080, 80, sources=sources),
        published("::", 8080, 80, sources=("10.0.0.0/8",)),
        on=places(DUAL),
    )
    assert texts(found) == [
        "limited4 8080 0.0.0.0/0 6",
        "allowed4 8080 0.0.0.0/0 6 10.0.0.0/8",
        "allowed4 8080 0.0.0.0/0 6 192.0.2.0/24",
        "anyport4 6 8080 : 10.7.0.2 80",
        "limited6 8080 ::/0 6",
        "anyport6 6 8080 : fd00:7::2 80",
    ]
    assert [each.set for each in found if not each.publishes] == ["limited4", "anyrelay", "limited6"]


def test_internal_networks_and_the_hosts_own_sandbox_publish_nothing() -> None:
    assert elements(ANY4, ANY6, on=places(VAULT)) == []
    assert list(ports.publications(replace(container_sandbox(on_host=True), publications=(ANY4,)), places(DUAL))) == []


def test_a_routed_family_opens_the_containers_own_ports_without_overlap() -> None:
    found = elements(
        published("0.0.0.0", 0, 80),
        published("0.0.0.0", 7777, 80),
        published("0.0.0.0", 0, 8000, 11),
        published("0.0.0.0", 0, 8005, 11),
        published("0.0.0.0", 0, 8014, 4, sources=("10.0.0.0/8",)),
        published("::", 8080, 80),
        on=places(OPEN),
    )
    assert texts(found) == [
        "anyport6 6 8080 : fd00:9::2 80",
        "open4 6 10.9.0.2 80",
        "openrange4 8000-8015 10.9.0.2 6",
        "openfrom4 8016-8017 10.9.0.2 6 10.0.0.0/8",
    ]


def test_what_is_published_twice_the_same_way_is_one_element() -> None:
    assert len(elements(ANY4, ANY4, on=places(FOUR))) == 1


def test_clients_of_the_containers_other_networks_are_known() -> None:
    """From there it would answer under an address that they never asked."""
    found = elements(ANY4, ANY6, on=places(FOUR, DUAL, VAULT))
    assert texts(found) == [
        "anyport4 6 8080 : 10.7.0.2 80",
        "shortcut4 10.4.0.0/24 10.7.0.2",
        "shortcut4 10.8.0.0/24 10.7.0.2",
        "anyport6 6 8080 : fd00:7::2 80",
        "shortcut6 fd00:8::/64 fd00:7::2",
    ]


@pytest.mark.parametrize(
    ("publication", "on", "kept"),
    [
        (ANY4, DUAL, []),
        (ANY6, DUAL, ["anyrelay 6 8080"]),
        (ANY6, FOUR, ["anyrelay 6 8080"]),
        (published("::1", 8080, 80), FOUR, []),
        (published("2001:db8::1", 8080, 80), DUAL, []),
        (published("2001:db8::1", 8080, 80), FOUR, ["relay 6 2001:db8::1 8080"]),
        (published("2001:db8::1", 8080, 80, 3), FOUR, ["relayrange 8080-8082 2001:db8::1 6"]),
        (published("::", 8080, 80, 3), FOUR, ["relayrange 8080-8082 ::/0 6"]),
    ],
)
def test_internal_networks_are_kept_from_what_is_relayed(
    publication: Publication, on: Network, kept: list[str]
) -> None:
    found = [each for each in elements(publication, on=places(on)) if each.set in RELAYED]
    assert [text(each) for each in found] == kept
    assert not any(each.publishes for each in found), "closed before it is open"
