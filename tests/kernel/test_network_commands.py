"""A network made by hand from the commands that are shown is the network that was planned, and it works."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from test_rendered_commands import in_a_place_of_its_own, shell

from linkspan.insight.commands import Member, network_commands, parts
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Facts, state_of
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.port import Publication
from linkspan.model.sandbox import Sandbox

pytestmark = pytest.mark.kernel

FACTS = Facts(instance="cafe0123", group=0x4C53)
WEB = Network(
    id="a" * 64,
    name="web",
    driver="bridge",
    created=0.0,
    enable_ipv6=True,
    pools=tuple(
        AddressPool(subnet=block, gateway=block[1]) for block in map(ip_network, ("10.9.0.0/24", "fd00:9::/64"))
    ),
    bridge=BridgeOptions(bridge_name="br-web"),
)


def member(number: int, *publications: Publication) -> Member:
    box = Sandbox(
        id=str(number) * 64,
        owner=str(number) * 64,
        owner_name=f"c{number}",
        hostname=f"c{number}",
        publications=publications,
        resolver_port=33000 + number,
    )
    endpoint = Endpoint(
        id=str(number) * 64,
        network_id=WEB.id,
        sandbox_id=box.id,
        request=EndpointRequest(network=WEB.id),
        interface="eth0",
        host_interface=f"veth{number}",
        mac=f"02:42:0a:09:00:0{number}",
        ipv4=IPv4Address(f"10.9.0.{number}"),
        ipv6=IPv6Address(f"fd00:9::{number}"),
    )
    return Member(name=f"c{number}", sandbox=box, places=((WEB, endpoint),))


def published(address: str, host_port: int, port: int, count: int = 1, **limits: object) -> Publication:
    made = {"protocol": "tcp", "host_port": host_port, "port": port, "count": count, **limits}
    return Publication(address=ip_address(address), **made)  # type: ignore[arg-type]


MEMBERS = (
    member(
        2,
        published("0.0.0.0", 8080, 80),
        published("::", 8080, 80),
        published("0.0.0.0", 9000, 9000, 11),
        published("127.0.0.1", 8081, 81),
        published("0.0.0.0", 8082, 82, limited=True, sources=(ip_network("198.51.100.0/24"),)),
    ),
    member(3),
)


def test_pasted_into_a_shell_they_make_the_network_that_was_planned() -> None:
    planned = state_of(item for _, objects in parts(WEB, MEMBERS, FACTS) for item in objects)

    def body() -> None:
        for part in network_commands(WEB, MEMBERS, FACTS):
            shell("\n".join(part.commands))
        kernel = LinuxKernel(Path("/run"), FACTS.instance, FACTS.group)
        try:
            kernel.expect(planned.values())
            made = kernel.read([member.sandbox.id[:12] for member in MEMBERS])
        finally:
            kernel.close()
        assert {key: made[key] for key in planned if key in made} == planned
        assert set(made) == set(planned)
        works()

    in_a_place_of_its_own(body)


def works() -> None:
    """The containers reach each other and the gateway, and the host reaches a published port."""
    shell("ip netns exec 222222222222 ping -n -c1 -W3 10.9.0.3")
    shell("ip netns exec 222222222222 ping -n -c1 -W3 fd00:9::3")
    shell("ip netns exec 333333333333 ping -n -c1 -W3 10.9.0.1")
    server = subprocess.Popen(
        ["nsenter", "--net=/run/netns/222222222222", "python3", "-m", "http.server", "80", "--bind", "::"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/proc/self",
    )
    try:
        shell(
            "for i in $(seq 50); do python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8080), 1)'"
            " 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
        )
    finally:
        server.kill()
        server.wait()
