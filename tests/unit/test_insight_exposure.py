"""The list of ways in: what is published, how far it reaches, and where the host's own firewall means otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec
import pytest

from linkspan.insight.exposure import exposures
from linkspan.insight.views import Exposure
from linkspan.kernel.passage import Chain, Expression, Rule, Ruleset
from linkspan.model.address import IPAddress
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.port import MOST_HELD, Publication
from linkspan.model.sandbox import Sandbox

HOST: tuple[IPAddress, ...] = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
NO_RULES = Ruleset()
ALL4, ALL6 = ip_address("0.0.0.0"), ip_address("::")


def network(*subnets: str, internal: bool = False, **options: object) -> Network:
    blocks = [ip_network(text) for text in subnets]
    return Network(
        id="a" * 64,
        name="web",
        driver="bridge",
        created=0.0,
        internal=internal,
        pools=tuple(AddressPool(subnet=block, gateway=block[1]) for block in blocks),
        bridge=msgspec.convert({"bridge_name": "br-a", **options}, BridgeOptions),
    )


def endpoint(on: Network) -> Endpoint:
    addresses = [pool.subnet[2] for pool in on.pools]
    return Endpoint(
        id="e" * 64,
        network_id=on.id,
        sandbox_id="5" * 64,
        request=EndpointRequest(network=on.id),
        interface="eth0",
        host_interface="veth0",
        mac="02:42:0a:09:00:02",
        ipv4=next((item for item in addresses if isinstance(item, IPv4Address)), None),
        ipv6=next((item for item in addresses if isinstance(item, IPv6Address)), None),
    )


def published(address: IPAddress = ALL4, host_port: int = 8080, port: int = 80, **more: object) -> Publication:
    made = Publication(protocol="tcp", address=address, host_port=host_port, port=port)
    return msgspec.structs.replace(made, **more)


def listed(on: Network, *publications: Publication, rules: Ruleset = NO_RULES, host: bool = False) -> list[Exposure]:
    box = Sandbox(
        id="5" * 64, owner="c" * 64, owner_name="db", hostname="db", host=host, publications=tuple(publications)
    )
    return list(exposures([box], {on.id: on}, [endpoint(on)], host_addresses=HOST, rules=rules))


def the_one(found: Sequence[Exposure]) -> Exposure:
    assert len(found) == 1, found
    return found[0]


def drop_all(hook: str, *, family: str = "ip", table: str = "filter", priority: int = 0) -> Chain:
    return Chain(
        family=family,
        table=table,
        name=hook.upper(),
        hook=hook,
        kind="filter",
        policy="drop",
        priority=priority,
    )


def accept(*conditions: tuple[dict[str, object], object]) -> Rule:
    matches: list[Expression] = [{"match": {"op": "==", "left": left, "right": right}} for left, right in conditions]
    return Rule(handle=1, expressions=(*matches, {"accept": None}))


DUAL = network("10.9.0.0/24", "fd00:9::/64")


def test_a_port_published_on_all_addresses_is_one_row_a_family() -> None:
    found = listed(DUAL, published(), published(ALL6))
    assert [(row.address, row.way, row.reach) for row in found] == [
        ("0.0.0.0", "nat", "everywhere"),
        ("::", "nat", "everywhere"),
    ]
    assert found[0] == Exposure(
        container="db", network="web", protocol="tcp", address="0.0.0.0", host_port=8080, port=80
    )


@pytest.mark.parametrize(("address", "way"), [("127.0.0.1", "nat"), ("127.3.2.1", "nat"), ("::1", "relay")])
def test_a_loopback_address_is_reached_by_the_host_alone(address: str, way: str) -> None:
    row = the_one(listed(DUAL, published(ip_address(address))))
    assert (row.reach, row.way, row.pending) == ("host", way, False)


def test_ipv6_to_a_container_without_it_is_relayed() -> None:
    only4 = network("10.9.0.0/24")
    assert the_one(listed(only4, published(ALL6))).way == "relay"
    assert the_one(listed(only4, published(ALL6, count=MOST_HELD))).way == "relay"
    assert listed(only4, published(ALL6, count=MOST_HELD + 1)) == [], "no relay is so wide"
    assert listed(network("fd00:9::/64"), published(ALL4)) == [], "nothing carries IPv4 to a container without it"


def test_an_address_that_the_host_does_not_have_yet_is_pending() -> None:
    assert the_one(listed(DUAL, published(ip_address("198.51.100.7")))).pending
    assert not the_one(listed(DUAL, published(ip_address("192.0.2.1")))).pending


def test_a_limited_port_names_the_sources_of_its_family() -> None:
    sources = (ip_network("198.51.100.0/24"), ip_network("2001:db8:5::/48"))
    row4 = the_one(listed(DUAL, published(limited=True, sources=sources)))
    assert (row4.reach, row4.sources) == ("sources", ("198.51.100.0/24",))
    row6 = the_one(listed(DUAL, published(ALL6, limited=True, sources=sources[:1])))
    assert (row6.reach, row6.sources) == ("host", ()), "nobody of IPv6 may come"


def test_in_mode_routed_the_containers_own_port_is_open() -> None:
    routed = network("10.9.0.0/24", gateway_mode4="routed")
    row = the_one(listed(routed, published(host_port=0)))
    assert (row.address, row.host_port, row.port, row.way) == ("10.9.0.2", 80, 80, "routed")
    twice = listed(routed, published(host_port=0), published(ip_address("192.0.2.1"), host_port=0))
    assert len(twice) == 1


def test_in_mode_nat_unprotected_all_ports_of_the_own_address_are_open() -> None:
    found = listed(network("10.9.0.0/24", gateway_mode4="nat-unprotected"), published())
    assert [(row.protocol, row.address, row.host_port, row.count, row.way) for row in found] == [
        ("tcp", "10.9.0.2", 1, 65535, "unprotected"),
        ("tcp", "0.0.0.0", 8080, 1, "nat"),
        ("udp", "10.9.0.2", 1, 65535, "unprotected"),
    ]


def test_trusted_interfaces_reach_published_ports_at_the_own_address() -> None:
    trusting = network("10.9.0.0/24", trusted_interfaces=["lan0"])
    rows = listed(trusting, published())
    assert [(row.address, row.reach, row.sources) for row in rows] == [
        ("10.9.0.2", "sources", ("interface lan0",)),
        ("0.0.0.0", "everywhere", ()),
    ]
    limited = listed(trusting, published(limited=True, sources=(ip_network("10.0.0.0/8"),)))
    assert limited[0].sources == ("10.0.0.0/8 by interface lan0",)


def test_internal_and_isolated_networks_and_the_hosts_own_sandbox_open_nothing() -> None:
    assert listed(network("10.9.0.0/24", internal=True), published()) == []
    assert listed(network("10.9.0.0/24", gateway_mode4="isolated"), published()) == []
    assert listed(DUAL, published(), host=True) == []


def test_a_foreign_drop_on_the_way_is_named_with_its_remedy() -> None:
    rules = Ruleset(chains=(drop_all("forward"),))
    row = the_one(listed(DUAL, published(), rules=rules))
    assert row.contradiction == (
        "iptables stops tcp port 8080 on its way (table ip filter, chain FORWARD (hook forward): policy drop), "
        "so nobody outside gets through; "
        "to open it: iptables -I FORWARD -o br-a -j ACCEPT && iptables -I FORWARD -i br-a -j ACCEPT"
    )
    assert the_one(listed(DUAL, published(ALL6), rules=rules)).contradiction == "", "IPv6 has another table"
    assert the_one(listed(DUAL, published(ip_address("127.0.0.1")), rules=rules)).contradiction == ""


def test_a_firewall_that_lets_clients_in_and_no_answers_out_closes_the_port() -> None:
    """The first packet is not all: without a rule for known connections the client waits for ever."""
    inwards = accept(({"meta": {"key": "oifname"}}, "br-a"))
    rules = Ruleset(chains=(msgspec.structs.replace(drop_all("forward"), rules=(inwards,)),))
    assert the_one(listed(DUAL, published(), rules=rules)).contradiction == (
        "iptables stops the answers of tcp port 8080 on their way (table ip filter, chain FORWARD (hook forward): "
        "policy drop), so nobody outside gets through; to open it: iptables -I FORWARD -i br-a -j ACCEPT"
    )
    known = accept(({"ct": {"key": "state"}}, ["established", "related"]))
    rules = Ruleset(chains=(msgspec.structs.replace(drop_all("forward"), rules=(known, inwards)),))
    assert the_one(listed(DUAL, published(), rules=rules)).contradiction == ""


def test_a_port_that_the_host_refuses_is_open_all_the_same_when_it_is_published() -> None:
    """What people meet with ufw: ``ufw deny 8080`` closes the host's port, not the container's."""
    ufw = Chain(family="ip", table="filter", name="ufw-user-input")
    row = the_one(listed(DUAL, published(), rules=Ruleset(chains=(drop_all("input"), ufw))))
    assert row.contradiction.startswith("ufw refuses tcp port 8080 to the host itself (")
    assert row.contradiction.endswith("published ports are forwarded and never come by there, so it is open")
    dport: dict[str, object] = {"payload": {"protocol": "tcp", "field": "dport"}}
    opened = msgspec.structs.replace(drop_all("input"), rules=(accept((dport, 8080)),))
    assert the_one(listed(DUAL, published(), rules=Ruleset(chains=(opened, ufw)))).contradiction == ""


def test_a_relayed_port_is_the_hosts_and_its_firewall_closes_it() -> None:
    rules = Ruleset(chains=(drop_all("input", family="ip6"),))
    row = the_one(listed(network("10.9.0.0/24"), published(ALL6), rules=rules))
    assert "ip6tables -I INPUT -p tcp --dport 8080 -j ACCEPT" in row.contradiction


def test_a_rule_against_the_containers_port_counts_and_one_against_another_does_not() -> None:
    dport = {"payload": {"protocol": "tcp", "field": "dport"}}
    match: Expression = {"match": {"op": "==", "left": dport, "right": 80}}
    chain = Chain(
        family="inet",
        table="mine",
        name="forward",
        hook="forward",
        kind="filter",
        policy="accept",
        rules=(Rule(handle=4, expressions=(match, {"drop": None})),),
    )
    rules = Ruleset(chains=(chain,))
    assert "tcp dport 80 drop" in the_one(listed(DUAL, published(), rules=rules)).contradiction
    assert the_one(listed(DUAL, published(port=81), rules=rules)).contradiction == ""


def test_before_translation_a_foreign_chain_sees_the_hosts_port() -> None:
    dport = {"payload": {"protocol": "tcp", "field": "dport"}}
    match: Expression = {"match": {"op": "==", "left": dport, "right": 8080}}
    chain = Chain(
        family="ip",
        table="raw",
        name="PREROUTING",
        hook="prerouting",
        kind="filter",
        priority=-300,
        policy="accept",
        rules=(Rule(handle=4, expressions=(match, {"drop": None})),),
    )
    row = the_one(listed(DUAL, published(), rules=Ruleset(chains=(chain,))))
    assert row.contradiction.endswith("iptables -t raw -I PREROUTING -p tcp --dport 8080 -j ACCEPT")
