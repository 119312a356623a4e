"""Published ports on the real kernel: who gets through, and whom the server sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.model.port import Transport
from plan_cases import network, published
from port_lab import HOST, LAN, REFUSED, SILENCE, UPLINK, Container, Lab, port_lab

pytestmark = pytest.mark.kernel

WEB = network("web", "10.81.0.0/24", "fd00:81::/64", digit="a")
BACK = network("back", "10.82.0.0/24", "fd00:82::/64", digit="b")
GATEWAY = {4: "10.81.0.1", 6: "fd00:81::1"}
ANY = {4: "0.0.0.0", 6: "::"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAMILIES = (4, 6)
PROTOCOLS: tuple[Transport, ...] = ("tcp", "udp")
EVERYTHING = tuple(published(ANY[version], 8080, 80, protocol=each) for version in FAMILIES for each in PROTOCOLS)


@pytest.fixture(params=[True, False], ids=["br-netfilter", "no-br-netfilter"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """The networks web and back."""
    with port_lab(tmp_path, bridge_netfilter=request.param) as made:
        made.add(WEB, BACK)
        yield made


def server(lab: Lab, *ports: int) -> Container:
    """A container on web that serves on these ports."""
    made = lab.start(WEB, host=2)
    lab.serve(made, *ports)
    return made


def test_a_published_port_is_reached_from_everywhere_and_only_hairpins_are_masqueraded(lab: Lab) -> None:
    web = server(lab, 80)
    sibling = lab.start(WEB, host=3)
    stranger = lab.start(BACK, host=2)
    assert lab.ask(lab.lan, HOST[4], 8080) == REFUSED
    lab.publish(web, *EVERYTHING)

    for version in FAMILIES:
        for protocol in PROTOCOLS:
            host = HOST[version]
            seen = {
                "lan": lab.ask(lab.lan, host, 8080, protocol),
                "host": lab.ask(None, host, 8080, protocol),
                "gateway": lab.ask(None, GATEWAY[version], 8080, protocol),
                "container itself": lab.ask(None, web.address(version), 80, protocol),
                "self": lab.ask(web, host, 8080, protocol),
                "sibling": lab.ask(sibling, host, 8080, protocol),
                "sibling by gateway": lab.ask(sibling, GATEWAY[version], 8080, protocol),
                "other bridge": lab.ask(stranger, host, 8080, protocol),
            }
            assert seen == {
                "lan": f"{LAN[version]} at 80",
                "host": f"{host} at 80",
                "gateway": f"{GATEWAY[version]} at 80",
                "container itself": f"{GATEWAY[version]} at 80",
                "self": f"{GATEWAY[version]} at 80",
                "sibling": f"{GATEWAY[version]} at 80",
                "sibling by gateway": f"{GATEWAY[version]} at 80",
                "other bridge": f"{stranger.address(version)} at 80",
            }, (version, protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_host_reaches_a_port_by_its_loopback_address(lab: Lab, protocol: Transport) -> None:
    web = server(lab, 80)
    lab.publish(
        web, published(ANY[4], 8080, 80, protocol=protocol), published("127.0.0.1", 9090, 80, protocol=protocol)
    )
    assert lab.ask(None, "127.0.0.1", 8080, protocol) == "10.81.0.1 at 80"
    assert lab.ask(None, "127.0.0.5", 8080, protocol) == "10.81.0.1 at 80"
    assert lab.ask(None, "127.0.0.1", 9090, protocol) == "10.81.0.1 at 80"
    assert lab.ask(None, HOST[4], 9090, protocol) == REFUSED


def test_ipv6_loopback_and_link_local_addresses_are_left_to_a_listener_of_the_host(lab: Lab) -> None:
    web = server(lab, 80)
    lab.publish(web, published("::", 8080, 80))
    lab.serve(None, 8080)
    assert lab.ask(None, "::1", 8080) == "::1 at 8080"
    shown = lab.run(None, "ip", "-6", "-o", "addr", "show", "dev", UPLINK, "scope", "link").split()
    local = shown[shown.index("inet6") + 1].partition("/")[0]
    assert lab.ask(lab.lan, f"{local}%{UPLINK}", 8080).endswith("at 8080")
    assert lab.ask(lab.lan, HOST[6], 8080) == f"{LAN[6]} at 80"


def test_unpublished_ports_are_closed_to_neighbours_that_know_the_way(lab: Lab) -> None:
    web = server(lab, 80, 81)
    stranger = lab.start(BACK, host=2)
    lab.publish(web, *EVERYTHING)
    before = lab.dropped("outsiders")
    for version in FAMILIES:
        for port in (80, 81):
            assert lab.ask(lab.lan, web.address(version), port) == SILENCE
            assert lab.ask(stranger, web.address(version), port) == SILENCE
        assert lab.ask(lab.lan, GATEWAY[version], 8080) == SILENCE
        assert lab.ask(lab.lan, HOST[version], 81) == REFUSED
    assert lab.dropped("outsiders") > before


def test_a_port_of_one_address_is_not_on_the_others(lab: Lab) -> None:
    web = server(lab, 80)
    second = {4: "198.51.100.77", 6: "2001:db8:51::77"}
    lab.publish(web, *(published(second[version], 8080, 80) for version in FAMILIES))
    for version in FAMILIES:
        assert lab.ask(lab.lan, HOST[version], 8080) == REFUSED
        assert lab.ask(lab.lan, second[version], 8080) == SILENCE  # the host does not have it yet

        lab.run(None, "ip", "addr", "add", f"{second[version]}/{32 if version == 4 else 128}", "dev", UPLINK)
        lab.lan.run("ip", "neigh", "flush", "dev", UPLINK)
        assert lab.ask(lab.lan, second[version], 8080, patience=3) == f"{LAN[version]} at 80"
        assert lab.ask(lab.lan, HOST[version], 8080) == REFUSED


def test_a_port_of_the_loopback_address_is_the_hosts_alone(lab: Lab) -> None:
    web = server(lab, 80)
    sibling = lab.start(WEB, host=3)
    lab.publish(web, published("127.0.0.1", 8080, 80))
    lab.serve(None, 7070, address="127.0.0.1")
    for attacker, gateway in ((lab.lan, HOST[4]), (sibling, GATEWAY[4])):
        claim_loopback(lab, attacker, gateway)
        before = lab.dropped("martians")
        assert lab.ask(attacker, "127.0.0.1", 8080) == SILENCE
        assert lab.ask(attacker, "127.0.0.1", 7070) == SILENCE
        assert lab.dropped("martians") > before
        assert lab.ask(attacker, HOST[4], 8080) == REFUSED
    assert lab.ask(None, "127.0.0.1", 8080) == "10.81.0.1 at 80"

    # The same attack succeeds where the filter is missing: so it is the filter that we have seen.
    lab.run(None, "nft", "flush", "chain", "inet", "linkspan", "raw")
    assert lab.ask(sibling, "127.0.0.1", 7070) == "10.81.0.3 at 7070"


def claim_loopback(lab: Lab, attacker: object, gateway: str) -> None:
    """Makes a namespace send what is for 127.0.0.1 to its gateway."""
    where = attacker if isinstance(attacker, Container) else lab.lan
    lab.run(where, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    lab.run(where, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    lab.run(where, "ip", "route", "add", "127.0.0.1/32", "via", gateway)


def test_ranges_keep_their_numbers(lab: Lab) -> None:
    web = server(lab, 9000, 9005, 9010, 9011)
    lab.publish(
        web,
        *(published(ANY[version], 9000, 9000, 11, protocol=each) for version in FAMILIES for each in PROTOCOLS),
    )
    for version in FAMILIES:
        for protocol in PROTOCOLS:
            told = [lab.ask(lab.lan, HOST[version], port, protocol) for port in (9000, 9005, 9010, 9011)]
            seen = LAN[version]
            assert told == [f"{seen} at 9000", f"{seen} at 9005", f"{seen} at 9010", REFUSED], (version, protocol)
    lab.publish(web, *(published(HOST[version], 9000, 9000, 6) for version in FAMILIES))
    for version in FAMILIES:
        told = [lab.ask(lab.lan, HOST[version], port) for port in (9005, 9010)]
        assert told == [f"{LAN[version]} at 9005", REFUSED]
        assert lab.ask(None, HOST[version], 9000) == f"{HOST[version]} at 9000"
        assert lab.ask(None, GATEWAY[version], 9000) == REFUSED


def test_ranges_under_other_numbers_are_shifted_port_by_port(lab: Lab) -> None:
    web = server(lab, 80, 83, 84)
    lab.publish(
        web,
        *(published(ANY[version], 8000, 80, 4, protocol=each) for version in FAMILIES for each in PROTOCOLS),
    )
    for version in FAMILIES:
        for protocol in PROTOCOLS:
            told = [lab.ask(lab.lan, HOST[version], port, protocol) for port in (8000, 8003, 8004, 8001)]
            assert told == [f"{LAN[version]} at 80", f"{LAN[version]} at 83", REFUSED, REFUSED], (version, protocol)


def test_a_port_that_is_no_longer_published_is_closed_to_new_connections(lab: Lab) -> None:
    web = server(lab, 80)
    lab.publish(web, *EVERYTHING)
    assert lab.ask(lab.lan, HOST[4], 8080) == f"{LAN[4]} at 80"
    lab.publish(web)
    for version in FAMILIES:
        assert lab.ask(lab.lan, HOST[version], 8080) == REFUSED
        assert lab.ask(None, HOST[version], 8080) == REFUSED


def test_two_containers_on_two_networks_publish_beside_each_other(lab: Lab) -> None:
    web = server(lab, 80)
    other = lab.start(BACK, host=2)
    lab.serve(other, 80)
    lab.publish(web, published(ANY[4], 8080, 80))
    lab.publish(other, published(ANY[4], 8081, 80))
    assert lab.ask(web, HOST[4], 8081) == "10.81.0.2 at 80"
    assert lab.ask(other, HOST[4], 8080) == "10.82.0.2 at 80"
    assert lab.ask(other, HOST[4], 8081) == "10.82.0.1 at 80"


def test_a_container_on_two_networks_answers_both_by_the_way_they_asked(lab: Lab) -> None:
    both = lab.start(WEB, BACK, host=2)
    lab.serve(both, 80)
    neighbours = {"web": lab.start(WEB, host=3), "back": lab.start(BACK, host=3)}
    lab.publish(both, *EVERYTHING)
    for version in FAMILIES:
        gateway = {"web": GATEWAY[version], "back": {4: "10.82.0.1", 6: "fd00:82::1"}[version]}
        for protocol in PROTOCOLS:
            for client in neighbours.values():
                # It has no way to the outside but by back, the first by name: so that is where ports lead.
                assert lab.ask(client, HOST[version], 8080, protocol) == f"{gateway['back']} at 80"
            for name in gateway.values():
                assert lab.ask(None, name, 8080, protocol) == f"{gateway['back']} at 80"
            assert lab.ask(lab.lan, HOST[version], 8080, protocol) == f"{LAN[version]} at 80"
