"""What a neighbour's scan finds is what the list of ways in says, v4 and v6, with br_netfilter on and off."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from linkspan.insight.exposure import exposures
from linkspan.insight.views import Exposure
from linkspan.kernel import foreign
from linkspan.kernel.diff import diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.nft import Nft
from linkspan.kernel.state import Facts, Object, state_of
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.port import Publication
from linkspan.model.sandbox import Sandbox
from linkspan.plan import bridge, host
from linkspan.plan.sandbox import namespace_of
from linkspan.plan.sandbox import sandbox as plan_sandbox
from linux_objects import GROUP, INSTANCE, private_kernel
from namespaces import CLONE_NEWNET, Namespace, checked, libc

pytestmark = pytest.mark.kernel

HOST = ("192.0.2.1", "2001:db8::1")
NEIGHBOUR = ("192.0.2.9", "2001:db8::9")
PORTS = (22, 80, 81, 82, 83, 8080, 8081, 8082, 8083, 9000, 9001, 9002, 9003)
"""All that is tried at every address."""
PATIENCE = 0.4

Place = tuple[str, int]


def network(name: str, digit: str, *subnets: str, **options: object) -> Network:
    blocks = [ip_network(text) for text in subnets]
    return Network(
        id=digit * 64,
        name=name,
        driver="bridge",
        created=0.0,
        enable_ipv6=any(block.version == 6 for block in blocks),
        pools=tuple(AddressPool(subnet=block, gateway=block[1]) for block in blocks),
        bridge=msgspec.convert({"bridge_name": f"br-{name}", **options}, BridgeOptions),
    )


def published(address: str, host_port: int, port: int, **more: object) -> Publication:
    made = Publication(protocol="tcp", address=ip_address(address), host_port=host_port, port=port)
    return msgspec.structs.replace(made, **more)


HERS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::9/128"))
OTHERS = (ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48"))
NAT = network("nat", "a", "10.9.0.0/24", "fd00:9::/64")
ROUTED = network("routed", "b", "10.10.0.0/24", "fd00:10::/64", gateway_mode4="routed", gateway_mode6="routed")
OPEN = network("open", "c", "10.11.0.0/24", "fd00:11::/64", gateway_mode4="nat-unprotected")
TRUSTING = network("trusting", "d", "10.12.0.0/24", trusted_interfaces=["lan0"])
PUBLICATIONS = {
    "a": (
        published("0.0.0.0", 8080, 80),
        published("::", 8080, 80),
        published("127.0.0.1", 8081, 81),
        published("192.0.2.1", 8082, 82, limited=True, sources=HERS),
        published("2001:db8::1", 8082, 82, limited=True, sources=HERS),
        published("0.0.0.0", 8083, 83, limited=True, sources=OTHERS),
        published("0.0.0.0", 9000, 9000, count=3),
    ),
    "b": (published("0.0.0.0", 0, 80), published("::", 0, 81), published("::", 0, 82, limited=True, sources=OTHERS)),
    "c": (),
    "d": (published("127.0.0.1", 9003, 83),),
}


class House:
    """The host with four networks, a container on each, and a neighbour with routes to all of them."""

    def __init__(self, kernel: LinuxKernel, pins: Path) -> None:
        self._pins = pins
        self.neighbour = Namespace()
        self._wire()
        self.networks = {item.id: item for item in (NAT, ROUTED, OPEN, TRUSTING)}
        self.sandboxes = [self._sandbox(item.id[0]) for item in self.networks.values()]
        self.endpoints = [self._endpoint(item) for item in self.networks.values()]
        kernel.apply(diff(state_of(self._objects()), {}))
        self._ears = [ear for box in self.sandboxes for ear in self._listen(namespace_of(box))]

    def _wire(self) -> None:
        run = Namespace.run
        shell = "; ".join(
            (
                "set -e",
                "ip link set lo up",
                f"ip link add lan0 type veth peer name eth0 netns {self.neighbour.path}",
                "sysctl -qw net.ipv6.conf.lan0.dad_transmits=0",
                f"ip addr add {HOST[0]}/24 dev lan0",
                f"ip addr add {HOST[1]}/64 dev lan0 nodad",
                "ip link set lan0 up",
            )
        )
        assert os.system(f"sh -c '{shell}'") == 0
        run(self.neighbour, "sysctl", "-qw", "net.ipv6.conf.eth0.dad_transmits=0")
        for address, length, version in ((NEIGHBOUR[0], 24, 4), (NEIGHBOUR[1], 64, 6)):
            nodad = ("nodad",) if version == 6 else ()
            run(self.neighbour, "ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *nodad)
        run(self.neighbour, "ip", "link", "set", "eth0", "up")
        run(self.neighbour, "ip", "route", "add", "default", "via", HOST[0])
        run(self.neighbour, "ip", "-6", "route", "add", "default", "via", HOST[1])

    def _sandbox(self, digit: str) -> Sandbox:
        return Sandbox(
            id=digit * 64,
            owner=digit * 64,
            owner_name=digit,
            hostname=digit,
            publications=PUBLICATIONS[digit],
        )

    def _endpoint(self, on: Network) -> Endpoint:
        addresses = [pool.subnet[2] for pool in on.pools]
        return Endpoint(
            id=on.id,
            network_id=on.id,
            sandbox_id=on.id,
            request=EndpointRequest(network=on.id),
            interface="eth0",
            host_interface=f"veth-{on.name}",
            mac=f"02:42:0a:00:00:0{on.id[0]}",
            ipv4=next((each for each in addresses if isinstance(each, IPv4Address)), None),
            ipv6=next((each for each in addresses if isinstance(each, IPv6Address)), None),
        )

    def _objects(self) -> Iterator[Object]:
        facts = Facts(instance=INSTANCE, group=GROUP, bridge_netfilter=bridge_calls().exists())
        yield from host.base(facts, ipv6=True)
        for on, box, endpoint in zip(self.networks.values(), self.sandboxes, self.endpoints, strict=True):
            yield from bridge.network(on, facts)
            yield from plan_sandbox(box, [(on, endpoint)])
            yield from bridge.endpoint(on, endpoint, namespace_of(box), facts)

    def _listen(self, namespace: str) -> list[socket.socket]:
        """A server on every port, both families."""
        with entered(self._pins / namespace):
            return [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in PORTS]

    def listed(self) -> tuple[Exposure, ...]:
        nft = Nft()
        try:
            rules = foreign.read(nft)
        finally:
            nft.close()
        addresses = [ip_address(text) for text in HOST]
        return exposures(self.sandboxes, self.networks, self.endpoints, host_addresses=addresses, rules=rules)

    def scanned(self) -> set[Place]:
        own = [str(each) for item in self.endpoints for each in (item.ipv4, item.ipv6) if each is not None]
        places = [(address, port) for address in (*HOST, *own) for port in PORTS]
        with self.neighbour.entered():
            return answering(places)

    def close(self) -> None:
        for ear in self._ears:
            ear.close()
        self.neighbour.close()


def bridge_calls() -> Path:
    return Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@contextlib.contextmanager
def entered(pin: Path) -> Iterator[None]:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(pin, os.O_RDONLY)
    try:
        checked(libc.setns(there, CLONE_NEWNET))
        yield
    finally:
        checked(libc.setns(here, CLONE_NEWNET))
        os.close(here)
        os.close(there)


def answering(places: list[Place]) -> set[Place]:
    """Those of the places that take a TCP connection; all are tried at once."""
    found: set[Place] = set()
    with contextlib.ExitStack() as tried, selectors.DefaultSelector() as selector:
        for address, port in places:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            client = tried.enter_context(socket.socket(family, socket.SOCK_STREAM))
            client.setblocking(False)
            client.connect_ex((address, port))
            selector.register(client, selectors.EVENT_WRITE, (address, port))
        while ready := selector.select(PATIENCE):
            for key, _ in ready:
                selector.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add(key.data)
    return found


def told(rows: tuple[Exposure, ...]) -> set[Place]:
    """The places that the rows open to the neighbour, of those that are tried."""
    found: set[Place] = set()
    for row in rows:
        if row.protocol != "tcp" or row.reach == "host" or row.way == "relay" or row.pending:
            continue
        if row.reach == "sources" and not any(is_hers(source) for source in row.sources):
            continue
        everywhere = {"0.0.0.0": HOST[:1], "::": HOST[1:]}
        for address in everywhere.get(row.address, (row.address,)):
            found |= {(address, port) for port in PORTS if row.host_port <= port < row.host_port + row.count}
    return found


def is_hers(source: str) -> bool:
    if source.startswith("interface "):
        return source == "interface lan0"
    return any(ip_address(each) in ip_network(source) for each in NEIGHBOUR)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with private_kernel(tmp_path) as kernel:
        built = House(kernel, tmp_path / "netns")
        try:
            built.neighbour.run("ping", "-n", "-c1", "-W5", HOST[1])
            yield built
        finally:
            built.close()


@pytest.mark.parametrize("calls", ["0", "1"], ids=["br_netfilter off", "br_netfilter on"])
def test_a_neighbours_scan_finds_what_is_listed(house: House, calls: str) -> None:
    if bridge_calls().exists():
        for name in ("iptables", "ip6tables"):
            Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text(calls)
    found, rows = house.scanned(), house.listed()
    assert found == told(rows)
    assert {("192.0.2.1", 8080), ("2001:db8::1", 8082), ("10.10.0.2", 80), ("10.11.0.2", 22)} <= found
    assert not {("192.0.2.1", 8081), ("10.9.0.2", 80), ("192.0.2.1", 8083)} & found
    assert all(row.contradiction == "" for row in rows)


def test_a_foreign_firewall_closes_what_the_list_says_it_closes(house: House) -> None:
    nft = Nft()
    try:
        nft.run(
            [
                "add table inet mine",
                "add chain inet mine forward { type filter hook forward priority 0; policy drop; }",
                "add rule inet mine forward ct state established,related accept",
                'add rule inet mine forward oifname "br-nat" accept',
                "add chain inet mine input { type filter hook input priority 0; policy drop; }",
                "add rule inet mine input meta l4proto { icmp, ipv6-icmp } accept",
            ]
        )
    finally:
        nft.close()
    rows = house.listed()
    closed = {row for row in rows if "nobody outside gets through" in row.contradiction}
    assert {row.network for row in closed} == {"routed", "open", "trusting"}
    assert house.scanned() == told(tuple(row for row in rows if row not in closed))
    assert any("never come by there" in row.contradiction for row in rows if row.network == "nat")
