"""How networks are kept apart, and the gateway modes, on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from linkspan.model.port import Publication
from namespaces import Namespace
from plan_cases import network, published
from port_lab import HOST, LAN, REFUSED, SILENCE, UPLINK, Container, Lab, connect, port_lab

pytestmark = pytest.mark.kernel

SUBNETS = ("10.81.0.0/24", "fd00:81::/64")
GATEWAY = {4: "10.81.0.1", 6: "fd00:81::1"}
BACK = network("back", "10.82.0.0/24", "fd00:82::/64", digit="b")
ANY = {4: "0.0.0.0", 6: "::"}
FAMILIES = (4, 6)
PUBLISHED = tuple(published(ANY[version], 8080, 80) for version in FAMILIES)
OPENED = tuple(published(ANY[version], 0, 80) for version in FAMILIES)
"""As the engine writes ports of routed networks."""


@pytest.fixture(params=[True, False], ids=["br-netfilter", "no-br-netfilter"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """The network back, and servers on port 7000 of the neighbour and the host."""
    with port_lab(tmp_path, bridge_netfilter=request.param) as made:
        made.add(BACK)
        made.serve(made.lan, 7000)
        made.serve(None, 7000)
        yield made


def web(lab: Lab, *publications: Publication, internal: bool = False, **options: object) -> Container:
    """The network web with these options, and a container on it that serves on 80 and 81."""
    on = network("web", *SUBNETS, digit="a", internal=internal, change=options)
    lab.add(on)
    made = lab.start(on, host=2, publish=publications)
    lab.serve(made, 80, 81)
    return made


def sibling_of(lab: Lab, container: Container) -> Container:
    return lab.start(container.places[0][0], host=3)


def test_containers_see_each_other_and_leave_under_the_hosts_address(lab: Lab) -> None:
    made = web(lab)
    sibling = sibling_of(lab, made)
    for version in FAMILIES:
        assert lab.ask(made, LAN[version], 7000) == f"{HOST[version]} at 7000"
        assert lab.ask(made, GATEWAY[version], 7000) == f"{made.address(version)} at 7000"
        assert lab.ask(sibling, made.address(version), 80) == f"{sibling.address(version)} at 80"


def test_an_internal_network_keeps_to_itself(lab: Lab) -> None:
    made = web(lab, *PUBLISHED, internal=True)
    sibling, stranger = sibling_of(lab, made), lab.start(BACK, host=2)
    lab.serve(stranger, 80)
    lab.publish(stranger, *(published(ANY[version], 8081, 80) for version in FAMILIES))
    for version in FAMILIES:
        lab.run(made, "ip", f"-{version}", "route", "add", "default", "via", GATEWAY[version])
        assert lab.ask(sibling, made.address(version), 80) == f"{sibling.address(version)} at 80"
        assert lab.ask(None, made.address(version), 80) == f"{GATEWAY[version]} at 80"
        assert lab.ask(made, GATEWAY[version], 7000) == f"{made.address(version)} at 7000"
        assert lab.ask(made, LAN[version], 7000) == SILENCE
        assert lab.ask(made, stranger.address(version), 80) == SILENCE
        assert lab.ask(made, GATEWAY[version], 8081) == SILENCE
        assert lab.ask(lab.lan, made.address(version), 80) == SILENCE
        assert lab.ask(stranger, made.address(version), 80) == SILENCE
        assert lab.ask(lab.lan, HOST[version], 8080) == REFUSED


def test_without_inter_container_traffic_only_published_ports_join_neighbours(lab: Lab) -> None:
    made = web(lab, *PUBLISHED, inter_container=False)
    sibling = sibling_of(lab, made)
    for version in FAMILIES:
        assert lab.ask(sibling, made.address(version), 80) == SILENCE
        for client in (sibling, made):
            assert lab.ask(client, HOST[version], 8080) == f"{GATEWAY[version]} at 80"
        assert lab.ask(lab.lan, HOST[version], 8080) == f"{LAN[version]} at 80"
        assert lab.ask(None, made.address(version), 80) == f"{GATEWAY[version]} at 80"
        assert lab.ask(made, LAN[version], 7000) == f"{HOST[version]} at 7000"
        assert lab.ask(sibling, GATEWAY[version], 7000) == f"{sibling.address(version)} at 7000"


def test_without_inter_container_traffic_the_gateway_leads_no_way_round(lab: Lab) -> None:
    made = web(lab, inter_container=False)
    sibling = sibling_of(lab, made)
    for version in FAMILIES:
        lab.run(sibling, "ip", f"-{version}", "route", "add", f"{made.address(version)}", "via", GATEWAY[version])
        assert lab.ask(sibling, made.address(version), 80) == SILENCE


def test_without_masquerading_containers_leave_under_their_own_addresses(lab: Lab) -> None:
    made = web(lab, *PUBLISHED, masquerade=False)
    for version in FAMILIES:
        assert lab.ask(made, LAN[version], 7000) == f"{made.address(version)} at 7000"
        assert lab.ask(lab.lan, HOST[version], 8080) == f"{LAN[version]} at 80"
        assert lab.ask(made, HOST[version], 8080) == f"{GATEWAY[version]} at 80"
        assert lab.ask(lab.lan, made.address(version), 80) == SILENCE


def test_containers_may_leave_under_one_fixed_address(lab: Lab) -> None:
    second = {4: "198.51.100.9", 6: "2001:db8:51::9"}
    for version in FAMILIES:
        lab.run(None, "ip", "addr", "add", f"{second[version]}/{32 if version == 4 else 128}", "dev", UPLINK)
    made = web(lab, *PUBLISHED, source4=IPv4Address(second[4]), source6=IPv6Address(second[6]))
    for version in FAMILIES:
        assert lab.ask(made, LAN[version], 7000) == f"{second[version]} at 7000"
        assert lab.ask(made, HOST[version], 8080) == f"{GATEWAY[version]} at 80"
        assert lab.ask(lab.lan, made.address(version), 80) == SILENCE


def test_a_routed_network_opens_published_ports_at_the_containers_own_addresses(lab: Lab) -> None:
    made = web(lab, *OPENED, gateway_mode4="routed", gateway_mode6="routed")
    stranger = lab.start(BACK, host=2)
    for version in FAMILIES:
        own = made.address(version)
        assert lab.ask(lab.lan, own, 80) == f"{LAN[version]} at 80"
        assert lab.ask(lab.lan, own, 81) == SILENCE
        assert lab.ask(lab.lan, HOST[version], 80) == REFUSED
        assert lab.ask(stranger, own, 80) == f"{stranger.address(version)} at 80"
        assert lab.ask(stranger, own, 81) == SILENCE
        assert lab.ask(made, LAN[version], 7000) == f"{own} at 7000"
        assert lab.ask(made, stranger.address(version), 7000) == SILENCE
        lab.lan.run("ping", "-c1", "-W1", own)


def test_a_routed_port_may_be_limited(lab: Lab) -> None:
    made = web(
        lab,
        published("0.0.0.0", 0, 80, sources=("10.82.0.0/24",)),
        published("0.0.0.0", 0, 81, sources=("198.51.100.2",)),
        published("::", 0, 80, 2, sources=("10.82.0.0/24",)),
        gateway_mode4="routed",
        gateway_mode6="routed",
    )
    stranger = lab.start(BACK, host=2)
    assert lab.ask(lab.lan, made.address(4), 80) == SILENCE
    assert lab.ask(lab.lan, made.address(4), 81) == f"{LAN[4]} at 81"
    assert lab.ask(stranger, made.address(4), 80) == "10.82.0.2 at 80"
    assert lab.ask(stranger, made.address(4), 81) == SILENCE
    assert lab.ask(stranger, made.address(6), 80) == SILENCE
    assert lab.ask(None, made.address(6), 81) == f"{GATEWAY[6]} at 81"


def test_a_network_may_be_routed_in_one_family_alone(lab: Lab) -> None:
    made = web(lab, published("0.0.0.0", 8080, 80), published("::", 0, 80), gateway_mode6="routed")
    assert lab.ask(lab.lan, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert lab.ask(lab.lan, made.address(4), 80) == SILENCE
    assert lab.ask(lab.lan, made.address(6), 80) == f"{LAN[6]} at 80"
    assert lab.ask(lab.lan, HOST[6], 8080) == REFUSED
    assert lab.ask(made, LAN[4], 7000) == f"{HOST[4]} at 7000"
    assert lab.ask(made, LAN[6], 7000) == f"{made.address(6)} at 7000"


def test_an_unprotected_network_is_open_to_who_has_a_route_but_not_to_other_networks(lab: Lab) -> None:
    made = web(lab, *PUBLISHED, gateway_mode4="nat-unprotected", gateway_mode6="nat-unprotected")
    stranger = lab.start(BACK, host=2)
    for version in FAMILIES:
        own = made.address(version)
        assert lab.ask(lab.lan, own, 81) == f"{LAN[version]} at 81"
        assert lab.ask(lab.lan, HOST[version], 8080) == f"{LAN[version]} at 80"
        assert lab.ask(stranger, own, 81) == SILENCE
        assert lab.ask(stranger, HOST[version], 8080) == f"{stranger.address(version)} at 80"
        assert lab.ask(made, LAN[version], 7000) == f"{HOST[version]} at 7000"


def test_a_trusted_interface_leads_to_published_ports_alone(lab: Lab) -> None:
    publications = (*PUBLISHED, published("127.0.0.1", 8081, 81), published("0.0.0.0", 8082, 82, sources=("10.0.0.1",)))
    made = web(lab, *publications, trusted_interfaces=(UPLINK,))
    lab.serve(made, 82, 83)
    stranger = lab.start(BACK, host=2)
    for version in FAMILIES:
        own = made.address(version)
        assert lab.ask(lab.lan, own, 80) == f"{LAN[version]} at 80"
        assert lab.ask(lab.lan, own, 82) == SILENCE
        assert lab.ask(lab.lan, own, 83) == SILENCE
        assert lab.ask(stranger, own, 80) == SILENCE
    assert lab.ask(lab.lan, made.address(4), 81) == f"{LAN[4]} at 81"
    assert lab.ask(lab.lan, HOST[4], 8081) == REFUSED


def test_trust_in_one_interface_is_not_trust_in_another(lab: Lab) -> None:
    made = web(lab, *PUBLISHED, trusted_interfaces=("other0",))
    for version in FAMILIES:
        assert lab.ask(lab.lan, made.address(version), 80) == SILENCE
        assert lab.ask(lab.lan, HOST[version], 8080) == f"{LAN[version]} at 80"


def test_an_isolated_network_has_no_address_of_the_host(lab: Lab) -> None:
    made = web(lab, internal=True, gateway_mode4="isolated", gateway_mode6="isolated")
    sibling = sibling_of(lab, made)
    shown = lab.run(None, "ip", "-o", "addr", "show", "dev", "br-aaaaaaaaaaaa")
    assert shown == ""
    for version in FAMILIES:
        assert lab.ask(sibling, made.address(version), 80) == f"{sibling.address(version)} at 80"
        assert lab.ask(made, GATEWAY[version], 7000) == SILENCE


def test_what_passes_between_foreign_interfaces_is_not_judged(lab: Lab) -> None:
    web(lab)
    with Namespace() as foreign:
        connect("other0", foreign)
        lab.run(None, "ip", "addr", "add", "203.0.113.1/24", "dev", "other0")
        foreign.run("ip", "addr", "add", "203.0.113.2/24", "dev", "other0")
        foreign.run("ip", "route", "add", "default", "via", "203.0.113.1")
        lab.lan.run("ip", "route", "add", "203.0.113.0/24", "via", HOST[4])
        lab.settle({"other0"})
        assert lab.ask(foreign, LAN[4], 7000) == "203.0.113.2 at 7000"
