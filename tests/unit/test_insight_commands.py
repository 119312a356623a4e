"""A network as commands: parts with headlines in the order in which they are made, nothing of other networks."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import msgspec

from linkspan.insight.commands import Member, network_commands
from linkspan.kernel.state import Facts
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.port import Publication
from linkspan.model.sandbox import Sandbox

FACTS = Facts(instance="cafe0123", group=0x4C53)


def network(name: str, digit: str, subnet: str, **options: object) -> Network:
    block = ip_network(subnet)
    return Network(
        id=digit * 64,
        name=name,
        driver="bridge",
        created=0.0,
        pools=(AddressPool(subnet=block, gateway=block[1]),),
        bridge=msgspec.convert({"bridge_name": f"br-{digit * 12}", **options}, BridgeOptions),
    )


def endpoint(on: Network, index: int, address: str, *, priority: int = 0) -> Endpoint:
    return Endpoint(
        id=str(index) * 64,
        network_id=on.id,
        sandbox_id="5" * 64,
        request=EndpointRequest(network=on.id, gateway_priority=priority),
        interface=f"eth{index}",
        host_interface=f"veth{index}",
        mac=f"02:42:0a:09:00:0{index + 2}",
        ipv4=IPv4Address(address),
    )


WEB = network("web", "a", "10.9.0.0/24")
BACK = network("back", "b", "10.10.0.0/24")
BOX = Sandbox(
    id="5" * 64,
    owner="c" * 64,
    owner_name="db",
    hostname="db",
    publications=(Publication(protocol="tcp", address=ip_address("0.0.0.0"), host_port=8080, port=80),),
    resolver_port=33333,
)


def member(*, web_first: bool) -> Member:
    web = endpoint(WEB, 0, "10.9.0.2", priority=int(web_first))
    back = endpoint(BACK, 1, "10.10.0.2", priority=int(not web_first))
    return Member(name="db", sandbox=BOX, places=((WEB, web), (BACK, back)))


def headlines(on: Network, *members: Member) -> list[str]:
    return [part.headline for part in network_commands(on, members, FACTS)]


def text(on: Network, *members: Member) -> str:
    return "\n".join(line for part in network_commands(on, members, FACTS) for line in part.commands)


def test_the_parts_come_in_the_order_in_which_they_are_made() -> None:
    found = headlines(WEB, member(web_first=True))
    words = (
        "Let the host pass packets on",
        "Tell the firewall about network web",
        "Make the bridge: a switch in software, whose address 10.9.0.1 is the containers' gateway",
        "Container db: make a network namespace",
        "Container db: lead its name queries",
        "Container db: tell the guard",
        "Container db: plug it in",
        "Container db: send what is not for its own network",
        "Container db: publish its ports",
    )
    assert len(found) == len(words)
    assert all(headline.startswith(word) for headline, word in zip(found, words, strict=True)), found


def test_a_network_without_containers_is_the_bridge_and_its_place_in_the_firewall() -> None:
    assert len(headlines(WEB)) == 3


def test_what_leads_by_another_network_is_left_to_that() -> None:
    through_back = text(WEB, member(web_first=False))
    assert "route add" not in through_back
    assert "8080" not in through_back
    assert "eth1" not in through_back
    through_web = text(WEB, member(web_first=True))
    assert "route add 0.0.0.0/0 via 10.9.0.1 dev eth0" in through_web
    assert "8080" in through_web
    assert "10.10.0" not in through_web


def test_an_isolated_bridge_has_no_gateway_to_speak_of() -> None:
    isolated = network("web", "a", "10.9.0.0/24", gateway_mode4="isolated")
    assert headlines(isolated)[2] == "Make the bridge: a switch in software"


def test_host_and_none_networks_need_nothing() -> None:
    plain = Network(id="d" * 64, name="host", driver="host", created=0.0)
    (part,) = network_commands(plain, [], FACTS)
    assert part.commands == ()
    assert part.headline.startswith("Containers use the host's own network stack")
